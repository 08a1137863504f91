internal import Binlog
internal import PikaStorage
internal import SyncProtocol

/// Applies items of a log to the stores: recovery and replicas.
///
/// Items are taken one after the other; the rows that they make stay in the transactions until
/// ``commit(at:)``, which MUST be called at the end of a whole group.
final class ItemReplayer {
    /// What became of an item.
    enum Outcome {
        case applied
        /// Stores have to be exchanged: ``commit(at:)`` first.
        case flush(StoreKinds)
    }

    let transactions: TransactionSet
    var clock: LogClock
    private(set) var ignoredItemCount: UInt64 = 0
    /// Items since the last commit.
    private(set) var pendingItemCount = 0
    private var arguments = ItemArguments()
    private let historyID: HistoryID
    private let flushRules: FlushRules
    private let events: KeyEvents?
    /// Keys written while somebody watched, to be reported once readers see what was written.
    private var touched: [[UInt8]] = []
    private var touchedAll = false
    /// What was applied while somebody wants to hear of it, to be reported likewise.
    private var appliedItems: [AppliedItem] = []

    init(
        stores: StoreSet, clock: LogClock, historyID: HistoryID, events: KeyEvents? = nil,
        flushRules: FlushRules
    ) {
        transactions = stores.makeTransactions()
        self.clock = clock
        self.historyID = historyID
        self.flushRules = flushRules
        self.events = events
    }

    /// Bytes that wait for the commit.
    var pendingByteCount: Int {
        StoreKind.allCases.reduce(0) { $0 + transactions[$1].pendingByteCount }
    }

    /// Moves the clock over an item and applies it to the stores in `only`.
    ///
    /// - Parameters:
    ///   - item: header and content.
    ///   - header: the decoded header.
    ///   - end: the item's end.
    ///   - only: stores that do not hold it yet.
    func take(
        _ item: Bytes, _ header: BinlogItemHeader, end: BinlogPosition, only: StoreKinds
    ) throws(ApplyError) -> Outcome {
        let content = item.dropping(BinlogItemHeader.encodedSize)
        try arguments.parse(content)
        let words = arguments.all
        guard let effect = Effect(word: words[0]) else {
            throw .unknownItem(word: String(decoding: words[0].prefix(64), as: UTF8.self))
        }
        let now = clock.advance(execTimeSeconds: Int64(header.execTimeSeconds))
        pendingItemCount += 1
        if effect.isStoredWithoutEffect {
            ignoredItemCount += 1
            return .applied
        }
        if effect == .flushdb {
            let target = try ItemApplier.flushTarget(
                words, typeIsWithoutMeaning: flushRules.emptiesAll(at: end))
            return .flush(target.intersection(only))
        }
        if let events, events.isActive { noteTouched(effect, words) }
        do throws(ApplyError) {
            try apply(effect, words, now: now, position: end, only: only)
        } catch .storage(let error) where ItemApplier.isWithoutEffect(error) {
            // The master that logged it, and everybody else, was stopped by the same rule.
        }
        return .applied
    }

    private func apply(
        _ effect: Effect, _ words: UnsafeBufferPointer<Bytes>, now: Int64,
        position: BinlogPosition, only: StoreKinds
    ) throws(ApplyError) {
        guard let events, events.reportsItems else {
            try ItemApplier.apply(
                effect, words, now: now, position: position, to: transactions, only: only)
            return
        }
        var noted = try onRows { () throws(StorageError) in
            try AppliedItem.before(effect, words, transactions, now: now)
        }
        let count = try ItemApplier.apply(
            effect, words, now: now, position: position, to: transactions, only: only)
        if events.remembersDeadlines { events.noteDeadline(effect, words, count: count) }
        for index in noted.indices {
            try onRows { () throws(StorageError) in
                try noted[index].complete(count: count, transactions, now: now)
            }
        }
        appliedItems += noted
    }

    private func onRows<R>(_ body: () throws(StorageError) -> R) throws(ApplyError) -> R {
        do throws(StorageError) { return try body() } catch { throw .storage(error) }
    }

    private func noteTouched(_ effect: Effect, _ words: UnsafeBufferPointer<Bytes>) {
        switch effect {
        case .del, .unlink: for word in words.dropFirst() { touched.append(Array(word)) }
        case .pkpatternmatchdel: touchedAll = true
        default: if words.count > 1 { touched.append(Array(words[1])) }
        }
    }

    /// Tells watches, and who else wants to know, what was written; readers see it by now.
    func reportTouched() {
        if touchedAll { events?.touchAll() }
        for key in touched { events?.touch(key) }
        touched = []
        touchedAll = false
        if !appliedItems.isEmpty { events?.report(appliedItems) }
        appliedItems = []
    }

    /// The row that names `position`.
    func applied(at position: BinlogPosition) -> AppliedPosition {
        AppliedPosition(
            historyID: historyID, position: position, highestEffectiveNow: clock.highest)
    }

    /// Writes what was taken to the touched stores, with the row that names the end of it.
    func commit(at position: BinlogPosition) throws(KeyspaceError) {
        pendingItemCount = 0
        let applied = applied(at: position)
        for kind in StoreKind.allCases where !transactions[kind].isEmpty {
            _ = try onStores { () throws(StorageError) in
                try transactions[kind].commit(applied: applied, mode: .waiting)
            }
        }
    }

    /// Drops what was taken since the last commit.
    func reset() {
        pendingItemCount = 0
        transactions.reset()
    }

    /// Goes on with exchanged stores.
    func rebind(to stores: StoreSet) {
        for kind in StoreKind.allCases { transactions[kind].rebind(to: stores[kind]) }
    }
}
