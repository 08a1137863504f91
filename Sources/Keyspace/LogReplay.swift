internal import Binlog
internal import PikaStorage
internal import SyncProtocol

/// Brings the stores up to the end of the log: each item on the stores that do not hold it yet.
struct LogReplay {
    let files: DatabaseFiles
    let rows: [StoreKind: AppliedPosition]
    let historyID: HistoryID

    /// Rows are written when this much waits for them and no group is open.
    static let batchLimitBytes = 4 << 20

    func run(_ opened: inout OpenedDatabase, until published: BinlogMark) throws(KeyspaceError) {
        let log = opened.live.logState.log
        opened.tracker = try trackerAtEnd(log, from: published.position)
        let start = rows.values.map(\.position).min() ?? published.position
        let startTime =
            rows.values.filter { $0.position == start }.map(\.highestEffectiveNow).max() ?? 0
        let highest = rows.values.map(\.highestEffectiveNow).max() ?? 0
        opened.clock.highest = highest
        guard start < published.position else { return }

        let replayer = ItemReplayer(
            stores: opened.live.stores, clock: LogClock(highest: startTime), historyID: historyID,
            flushRules: opened.flushRules)
        let pass = ReplayPass(replayer: replayer, from: start)
        let cursor = try onLog { () throws(BinlogError) in try log.makeCursor(at: start) }
        while pass.failure == nil {
            let count = try onLog { () throws(BinlogError) in
                try cursor.next(upTo: published.position, maxBytes: Self.batchLimitBytes) {
                    item, header, end in
                    pass.take(item, header, end: end, only: storesWithout(end))
                }
            }
            if let flush = pass.flush {
                pass.flush = nil
                try replace(flush, pass, &opened)
            } else if count == 0 {
                break
            } else if !pass.isInsideGroup {
                try replayer.commit(at: pass.boundary)
            }
        }
        try finish(pass, &opened, published)
        opened.clock.highest = max(highest, replayer.clock.highest)
        opened.ignoredItemCount = replayer.ignoredItemCount
    }

    /// The stores that do not hold an item yet.
    private func storesWithout(_ end: BinlogPosition) -> StoreKinds {
        var kinds: StoreKinds = []
        for kind in StoreKind.allCases {
            if let row = rows[kind], row.position < end { kinds.insert(StoreKinds(kind)) }
        }
        return kinds
    }

    private func replace(
        _ flush: ReplayPass.Flush, _ pass: ReplayPass, _ opened: inout OpenedDatabase
    ) throws(KeyspaceError) {
        // No row may name the flush before its store is exchanged.
        try pass.replayer.commit(at: flush.previousEnd)
        opened.live.stores = try files.replaceByEmpty(
            flush.kinds, of: opened.live.stores, hooks: opened.live.hooks,
            applied: pass.replayer.applied(at: flush.end))
        pass.replayer.rebind(to: opened.live.stores)
        try files.removeReplacedStores()
    }

    private func finish(
        _ pass: ReplayPass, _ opened: inout OpenedDatabase, _ published: BinlogMark
    ) throws(KeyspaceError) {
        let logState = opened.live.logState
        guard let failure = pass.failure else {
            try pass.replayer.commit(at: published.position)
            return
        }
        // Only a received log may hold what we do not know: reads go on from what is applied.
        guard case .stoppedAtUnknownItem = failure else { throw failure }
        let boundary = pass.boundary
        let mark = try onLog { () throws(BinlogError) in try logState.log.mark(at: boundary) }
        if pass.isInsideGroup {
            // What was taken of the open group must not be seen: once more, up to its start.
            pass.replayer.reset()
            let rows = try currentRows(opened.live.stores)
            try LogReplay(files: files, rows: rows, historyID: historyID).run(&opened, until: mark)
        } else {
            try pass.replayer.commit(at: boundary)
        }
        logState.publish(mark)
        opened.stoppedBy = failure
    }

    private func currentRows(
        _ stores: StoreSet
    ) throws(KeyspaceError) -> [StoreKind: AppliedPosition] {
        var current = rows
        for kind in StoreKind.allCases {
            let row = try onStores { () throws(StorageError) in
                try stores[kind].appliedPosition()
            }
            if let row { current[kind] = row }
        }
        return current
    }

    /// The group marks behind the last whole group.
    private func trackerAtEnd(
        _ log: BinlogLog, from position: BinlogPosition
    ) throws(KeyspaceError) -> GroupTracker {
        var tracker = GroupTracker()
        let end = log.end.position
        guard position < end else { return tracker }
        let cursor = try onLog { () throws(BinlogError) in try log.makeCursor(at: position) }
        try onLog { () throws(BinlogError) in
            while try cursor.next(
                upTo: end, maxBytes: Self.batchLimitBytes,
                { _, header, _ in
                    _ = tracker.take(itemsLeftInGroup: header.itemsLeftInGroup)
                    return .next
                }) > 0
            {}
        }
        return tracker
    }
}
