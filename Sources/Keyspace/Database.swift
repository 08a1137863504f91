public import Binlog
public import PikaStorage
public import SyncProtocol
internal import Synchronization

/// One database: five stores and one log.
public final class Database: @unchecked Sendable {
    // SAFETY: each variable names its lock; the rest is constant or locks itself.

    /// 0 … 7.
    public let index: Int
    /// The name: `db0`, `db1`, ….
    public let name: String

    let configuration: KeyspaceConfiguration
    let files: DatabaseFiles
    let node: NodeState
    let gate: TransactionGate
    let syncer: Syncer
    let keyLocks: KeyLocks
    /// Watches and waiters of single keys.
    public let events = KeyEvents()

    /// Orders everything that changes log and stores.
    let commitLock = HandLock()
    /// Orders FLUSHDB, snapshots, compactions and switches; taken before gate and commit lock.
    let maintenance = Monitor()
    let stalls = StallQueue()
    /// The stores' sequence numbers when the housekeeper looked last; under the maintenance lock.
    var idleSequences: [StoreKind: UInt64] = [:]

    /// Bytes that one write group may hold (`atomic-group-limit`).
    let groupLimitBytes = Atomic<Int>(KeyspaceConfiguration.groupLimitBytes)

    private let liveBox: Mutex<LiveDatabase>
    private let generation = Atomic<UInt64>(1)
    private let owners = Atomic<UInt32>(0)
    private let clockHighest: Atomic<Int64>
    private let roleWord: Atomic<UInt8>
    private let attachedReplicas = Atomic<Int>(0)
    private let observers = Mutex<[WeakObserver]>([])
    /// True while ``Notes/refusal`` is set or the database is closed.
    private let refuses = Atomic<Bool>(false)
    private let logError = Atomic<Bool>(false)
    /// Replaced stores lie there to be deleted.
    let hasLeftovers = Atomic<Bool>(false)
    let notes: Mutex<Notes>

    // Under the commit lock.
    var currentHistoryID: HistoryID
    var tracker: GroupTracker
    /// The group at the end of the log may hold a `flushdb` (changed by the applying thread only).
    var mayFlush: Bool

    struct Notes {
        var history: [HistoryEntry]
        var refusal: String?
        var applyFailure: KeyspaceError?
        var ignoredItemCount: UInt64
        var flushRules = FlushRules()
        var isClosed = false
    }

    private struct WeakObserver {
        weak var observer: (any DatabaseObserver)?
    }

    init(
        files: DatabaseFiles, node: NodeState, gate: TransactionGate, syncer: Syncer,
        opened: OpenedDatabase, role: LogRole
    ) {
        index = files.index
        name = files.name
        configuration = files.configuration
        self.files = files
        self.node = node
        self.gate = gate
        self.syncer = syncer
        keyLocks = KeyLocks(count: files.configuration.stripeCount)
        liveBox = Mutex(opened.live)
        clockHighest = Atomic(opened.clock.highest)
        roleWord = Atomic(role.rawValue)
        notes = Mutex(
            Notes(
                history: opened.history, applyFailure: opened.stoppedBy,
                ignoredItemCount: opened.ignoredItemCount, flushRules: opened.flushRules))
        currentHistoryID = historyID(opened.history)
        tracker = opened.tracker
        mayFlush = opened.tracker.isInsideGroup
    }

    var writesBinlog: Bool { configuration.writesBinlog }
    var live: LiveDatabase { liveBox.withLock { $0 } }
    var logState: LogState { liveBox.withLock { $0.logState } }

    /// Takes over what was opened anew; under gate and commit lock.
    func install(_ opened: OpenedDatabase) {
        liveBox.withLock { $0 = opened.live }
        clock = opened.clock
        currentHistoryID = historyID(opened.history)
        tracker = opened.tracker
        mayFlush = opened.tracker.isInsideGroup
        notes.withLock {
            $0 = Notes(
                history: opened.history, applyFailure: opened.stoppedBy,
                ignoredItemCount: $0.ignoredItemCount + opened.ignoredItemCount,
                flushRules: opened.flushRules)
        }
        refuses.store(false, ordering: .sequentiallyConsistent)
        setLogError(false)
        generation.add(1, ordering: .sequentiallyConsistent)
        events.touchAll()
        events.wakeAll()
        forEachObserver { $0.logReplaced(database: index) }
    }

    /// Goes on with exchanged stores; under gate and commit lock.
    func install(_ stores: StoreSet) {
        liveBox.withLock { $0.stores = stores }
        generation.add(1, ordering: .sequentiallyConsistent)
    }

    // MARK: Groups

    /// Makes a group for one command loop, or for one task of the pool.
    ///
    /// A group of the pool waits for keys and locks where a loop's group would be busy. Called
    /// inside the gate.
    public func makeGroup(onPool: Bool = false) -> WriteGroup {
        WriteGroup(
            database: self, owner: owners.add(1, ordering: .relaxed).newValue, onPool: onPool)
    }

    var storesGeneration: UInt64 { generation.load(ordering: .acquiring) }

    func makeTransactions() -> (TransactionSet, UInt64) {
        liveBox.withLock { ($0.stores.makeTransactions(), storesGeneration) }
    }

    /// Binds transactions to the present stores; returns their generation.
    func rebind(_ set: TransactionSet) -> UInt64 {
        liveBox.withLock { live in
            for kind in StoreKind.allCases { set[kind].rebind(to: live.stores[kind]) }
            return storesGeneration
        }
    }

    /// A transaction set to read with, for one thread (replication, key scan).
    ///
    /// Made and used inside the gate; nothing is to be written through it.
    public func makeReader() -> TransactionSet { makeTransactions().0 }

    // MARK: The log's clock

    func wallSeconds() -> Int64 { configuration.wallClock() }

    /// Moved under the commit lock.
    var clock: LogClock {
        get { LogClock(highest: clockHighest.load(ordering: .acquiring)) }
        set { clockHighest.store(newValue.highest, ordering: .releasing) }
    }

    func effectiveNow(execTimeSeconds: Int64) -> Int64 {
        clock.effective(execTimeSeconds: execTimeSeconds)
    }

    /// Effective now for a reader that has no group.
    public var now: Int64 { effectiveNow(execTimeSeconds: wallSeconds()) }

    // MARK: Positions

    /// The stores hold everything up to here.
    public var published: BinlogPosition { logState.published.position }
    /// ``published`` with the running digest there.
    public var publishedMark: BinlogMark { logState.published }
    /// End of the log: of its last whole group (masters), of its last item (replicas).
    public var written: BinlogPosition { log.end.position }
    /// The log is on the disk up to here, and the stores have it.
    public var durable: BinlogPosition { logState.durable }
    /// A master sends up to here.
    public var sendable: BinlogPosition {
        syncer.policy == .never ? published : durable
    }
    /// End of the log's last item, whole group or not: what a replica has received.
    public var received: BinlogPosition { log.end.position }
    /// What a replica may acknowledge: its log is on the disk up to here, whole group or not (policy
    /// `never`: what it has received).
    public var receivedDurable: BinlogPosition {
        let log = self.log
        return syncer.policy == .never ? log.end.position : log.durable
    }
    /// Running digest at ``received``.
    public var receivedDigest: UInt64 { log.end.digest }
    /// True if the log ends inside an atomic group (replicas only).
    public var hasIncompleteGroup: Bool {
        let state = logState
        return state.published.position < state.log.end.position
    }
    /// True if nothing was ever logged and the stores are empty.
    public var isPristine: Bool {
        let live = self.live
        guard live.logState.log.end == .zero, history.count == 1 else { return false }
        return StoreKind.allCases.allSatisfy { isEmpty(live.stores[$0]) }
    }

    private func isEmpty(_ store: Store) -> Bool {
        var isEmpty = true
        // Dead keys count too: only a store that nobody wrote to is pristine.
        try? store.makeTransaction().scan(.meta, prefix: .none, from: nil) { key, _ in
            isEmpty = AppliedRow.isReserved(key)
            return isEmpty
        }
        return isEmpty
    }

    /// Running digest at a position of the log; `nil` if there is no such boundary.
    ///
    /// Reads files: not on a loop.
    public func digest(at position: BinlogPosition) throws(KeyspaceError) -> UInt64? {
        do throws(BinlogError) {
            return try log.mark(at: position).digest
        } catch .position {
            return nil
        } catch {
            throw .binlog(error)
        }
    }

    /// The log, for cursors and file numbers.
    ///
    /// It is another object after a switch or DISKRECOVERY.
    public var log: BinlogLog { logState.log }

    // MARK: History and role

    /// Ids of this log with the positions where they began.
    public var history: [HistoryEntry] { notes.withLock { $0.history } }

    /// Replaces the history durably (a replica that follows takes over its master's entries).
    ///
    /// Sessions of this node's own replicas end: they learn of a new entry by asking anew, and would
    /// be refused later if they held items behind an entry that they never heard of.
    public func setHistory(_ entries: [HistoryEntry]) throws(KeyspaceError) {
        guard entries != history else { return }
        try replaceHistory(entries)
        forEachObserver { $0.logReplaced(database: index) }
    }

    private func replaceHistory(_ entries: [HistoryEntry]) throws(KeyspaceError) {
        commitLock.lockOnPool()
        defer { commitLock.unlock() }
        try storeHistory(entries)
    }

    func storeHistory(_ entries: [HistoryEntry]) throws(KeyspaceError) {
        precondition(!entries.isEmpty, "a log without a history")
        guard entries != history else { return }
        try HistoryFile(entries: entries).write(
            in: files.logDirectory, fileSystem: files.fileSystem)
        currentHistoryID = historyID(entries)
        notes.withLock { $0.history = entries }
    }

    /// Master or replica.
    public var role: LogRole {
        LogRole(rawValue: roleWord.load(ordering: .acquiring)) ?? .master
    }

    /// Persists a role before the first item of that role; under the commit lock.
    func storeRole(_ role: LogRole) throws(KeyspaceError) {
        guard role != self.role else { return }
        let index = self.index
        try node.update { $0.roles[index] = role }
        roleWord.store(role.rawValue, ordering: .releasing)
    }

    // MARK: Observers

    /// Adds an observer; it is held weakly.
    public func addObserver(_ observer: any DatabaseObserver) {
        observers.withLock { $0.append(WeakObserver(observer: observer)) }
    }

    /// Removes an observer.
    public func removeObserver(_ observer: any DatabaseObserver) {
        observers.withLock { list in
            list.removeAll { $0.observer == nil || $0.observer === observer }
        }
    }

    func forEachObserver(_ body: (any DatabaseObserver) -> Void) {
        let list = observers.withLock { $0 }
        for entry in list {
            if let observer = entry.observer { body(observer) }
        }
    }

    // MARK: Syncing

    /// While replicas are attached, appends wake the syncer.
    public func setAttachedReplicas(count: Int) {
        attachedReplicas.store(count, ordering: .sequentiallyConsistent)
        if count > 0 { requestSync() }
    }

    var hasAttachedReplicas: Bool { attachedReplicas.load(ordering: .relaxed) > 0 }

    /// Asks the syncer for a sync now (an acknowledgement is owed).
    public func requestSync() { syncer.request(index) }

    /// Calls `body` once, on any thread, when the log is durable up to `position` (at once if it is
    /// already), with false if that can't happen any more; wakes the syncer.
    public func whenDurable(
        _ position: BinlogPosition, _ body: @escaping @Sendable (Bool) -> Void
    ) {
        if logState.whenDurable(position, body) { requestSync() }
    }

    // MARK: Faults

    /// Why writes are refused, or `nil`; the text is for the client.
    public var writeRefusal: String? { notes.withLock { $0.refusal } }

    /// True after an append failed, until one succeeds or DISKRECOVERY.
    public var hasLogError: Bool { logError.load(ordering: .relaxed) }

    func setLogError(_ value: Bool) {
        if hasLogError != value { logError.store(value, ordering: .relaxed) }
    }

    func refuseWrites(_ text: String) {
        files.note(.error, "writes are refused: \(text)")
        notes.withLock { if $0.refusal == nil { $0.refusal = text } }
        refuses.store(true, ordering: .sequentiallyConsistent)
    }

    /// No group is taken any more.
    func refuseAsClosed() {
        notes.withLock { $0.isClosed = true }
        refuses.store(true, ordering: .sequentiallyConsistent)
    }

    /// True while writes are refused or the database is closed.
    var isRefusing: Bool { refuses.load(ordering: .acquiring) }

    /// Why a group can't be committed, or `nil`.
    func reasonToRefuse() -> KeyspaceError? {
        if isRefusing {
            return notes.withLock { $0.isClosed ? .closed : .writesRefused($0.refusal ?? "") }
        }
        return role == .master ? nil : .wrongRole(expected: .master, actual: role)
    }

    /// Why applying stopped, or `nil` (a replica met an item that is not known here).
    public var applyFailure: KeyspaceError? { notes.withLock { $0.applyFailure } }

    /// Items of a real master that were stored without effect.
    public var ignoredItemCount: UInt64 { notes.withLock { $0.ignoredItemCount } }

    /// A numeric property of a store, summed over its families.
    public func storeProperty(_ kind: StoreKind, _ name: String) -> UInt64? {
        live.stores[kind].integerProperty(name)
    }

    /// Bytes used by a store's rows kept in memory.
    public func rowCacheUsageBytes(of kind: StoreKind) -> Int {
        live.stores[kind].rowCacheUsageBytes
    }

    /// The last background error of a store, or `nil`.
    public func backgroundError(of kind: StoreKind) -> String? { files.backgroundErrors[kind] }

    /// Groups that had to wait because a store would have stalled.
    public var stalledGroupCount: UInt64 { stalls.total }
}
