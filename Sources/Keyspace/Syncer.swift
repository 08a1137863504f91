internal import Binlog
internal import PikaStorage
internal import SyncProtocol
internal import Synchronization

/// The thread that makes logs durable, one for all databases.
///
/// Every second by default; at once while a reply or an acknowledgement is owed, and after appends
/// while replicas are attached. Appends that come during a sync share the next one.
final class Syncer: @unchecked Sendable {
    // SAFETY: variables are guarded by the monitor; the rest is atomic.
    private let monitor = Monitor()
    private let requested: [RequestFlag]
    private let policyWord: Atomic<UInt8>
    private var databases: [Database] = []
    private var thread: WorkerThread?
    private var isStopped = false
    private var isSleeping = false

    /// Time between two syncs of the policy `everySecond`.
    static let intervalNanoseconds: UInt64 = 1_000_000_000

    private final class RequestFlag: Sendable {
        let isSet = Atomic<Bool>(false)
    }

    init(policy: SyncPolicy, databaseCount: Int) {
        policyWord = Atomic(policy.rawValue)
        requested = (0..<databaseCount).map { _ in RequestFlag() }
    }

    var policy: SyncPolicy {
        get { SyncPolicy(rawValue: policyWord.load(ordering: .relaxed)) ?? .everySecond }
        set { policyWord.store(newValue.rawValue, ordering: .sequentiallyConsistent) }
    }

    func start(_ databases: [Database]) {
        monitor.withLock { self.databases = databases }
        thread = WorkerThread { [self] in run() }
    }

    /// Asks for a sync; cheap when one is asked for already.
    func request(_ index: Int) {
        let wasSet = requested[index].isSet.exchange(true, ordering: .sequentiallyConsistent)
        if !wasSet { monitor.withLock { monitor.signalAll() } }
    }

    private func run() {
        var nextTick = monotonicNanoseconds() + Self.intervalNanoseconds
        while true {
            monitor.lock()
            while !isStopped && !isRequested && monotonicNanoseconds() < nextTick {
                _ = monitor.wait(untilNanoseconds: nextTick)
            }
            let stop = isStopped
            let databases = self.databases
            monitor.unlock()
            if stop { return }
            let isTick = monotonicNanoseconds() >= nextTick
            if isTick { nextTick = monotonicNanoseconds() + Self.intervalNanoseconds }
            for database in databases {
                let wasRequested = requested[database.index].isSet.exchange(
                    false, ordering: .sequentiallyConsistent)
                if wasRequested || (isTick && policy != .never) { database.syncNow() }
            }
        }
    }

    private var isRequested: Bool {
        requested.contains { $0.isSet.load(ordering: .sequentiallyConsistent) }
    }

    func stop() {
        monitor.withLock {
            isStopped = true
            monitor.signalAll()
        }
        thread?.join()
        thread = nil
        monitor.withLock { databases = [] }
    }
}

extension Database {
    /// One sync of the log, on the syncer's thread; tells observers what moved.
    func syncNow() {
        guard writesBinlog else { return }
        let state = logState
        let log = state.log
        guard log.failure == nil else { return state.finish() }
        guard log.durable < log.end.position || state.hasWaiters else { return }
        do throws(BinlogError) {
            try state.sync()
        } catch {
            refuseWrites("the binlog can't be synced: \(error)")
            return
        }
        announceDurable()
    }

    func announceDurable() {
        let isReplica = role == .replica
        let durable = isReplica ? receivedDurable : self.durable
        let sendable = self.sendable
        forEachObserver { observer in
            observer.durable(durable, database: index)
            observer.sendable(sendable, database: index)
        }
    }
}

/// The thread that keeps restarts short: it writes rows to idle stores and flushes stores whose
/// persisted row is far behind.
final class Housekeeper: @unchecked Sendable {
    // SAFETY: variables are guarded by the monitor.
    private let monitor = Monitor()
    private var thread: WorkerThread?
    private var isStopped = false

    /// Time between two looks.
    static let intervalNanoseconds: UInt64 = 1_000_000_000

    func start(_ databases: [Database]) {
        thread = WorkerThread { [self] in
            while waitForTick() {
                for database in databases { database.keepHouse() }
            }
        }
    }

    private func waitForTick() -> Bool {
        let end = monotonicNanoseconds() + Self.intervalNanoseconds
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopped && monotonicNanoseconds() < end {
            _ = monitor.wait(untilNanoseconds: end)
        }
        return !isStopped
    }

    func stop() {
        monitor.withLock {
            isStopped = true
            monitor.signalAll()
        }
        thread?.join()
        thread = nil
    }
}

extension Database {
    /// One look of the housekeeper.
    func keepHouse() {
        maintenance.lock()
        defer { maintenance.unlock() }
        // A database that refuses writes may have closed stores.
        guard !isRefusing else { return }
        do throws(KeyspaceError) {
            if hasLeftovers.exchange(false, ordering: .relaxed) {
                try files.removeReplacedStores()
            }
            try flushIdleStores()
            guard writesBinlog else { return }
            try writeIdleRows()
            try flushLaggards()
        } catch {
            files.note(.warning, "housekeeping failed: \(error)")
        }
    }

    /// A quiet store gets a row of its own, else it would pin the log for ever.
    func writeIdleRows() throws(KeyspaceError) {
        let state = logState
        let published = state.published.position
        var trails = false
        for kind in StoreKind.allCases {
            let trail = try distance(of: kind, persisted: false, to: published)
            if trail > configuration.idleRowDistanceBytes { trails = true }
        }
        guard trails else { return }
        lockCommitOnPool()
        defer { commitLock.unlock() }
        try writeRows(fartherThan: configuration.idleRowDistanceBytes)
    }

    /// Rows without items name the end of the last group that all stores have; under the commit
    /// lock, with no stalled group.
    func writeRows(fartherThan limitBytes: UInt64) throws(KeyspaceError) {
        let published = logState.published.position
        let row = AppliedPosition(
            historyID: currentHistoryID, position: published, highestEffectiveNow: clock.highest)
        let stores = live.stores
        for kind in StoreKind.allCases {
            let current = try onStores { () throws(StorageError) in
                try stores[kind].appliedPosition()
            }
            if let current {
                if current.position >= published { continue }
                let distance = logState.log.distanceBytes(from: current.position, to: published)
                if limitBytes > 0 && distance <= limitBytes { continue }
            }
            try onStores { () throws(StorageError) in try stores[kind].writeApplied(row) }
        }
    }

    /// A store that nobody writes any more would keep its part of the memtables' budget for ever.
    func flushIdleStores() throws(KeyspaceError) {
        let stores = live.stores
        for kind in StoreKind.allCases {
            let store = stores[kind]
            let sequence = store.sequenceNumber
            let isIdle = idleSequences.updateValue(sequence, forKey: kind) == sequence
            guard isIdle, configuration.environment.isCrowded,
                store.activeMemtableBytes >= Self.idleFlushBytes
            else { continue }
            try onStores { () throws(StorageError) in try store.flush() }
        }
    }

    /// Less than that is not worth a file.
    static let idleFlushBytes = 512 << 10

    /// Bounds what a restart has to replay.
    func flushLaggards() throws(KeyspaceError) {
        let published = logState.published.position
        let stores = live.stores
        for kind in StoreKind.allCases {
            let lag = try distance(of: kind, persisted: true, to: published)
            guard lag > configuration.replayLimitBytes else { continue }
            try onStores { () throws(StorageError) in try stores[kind].flush() }
        }
    }

    private func distance(
        of kind: StoreKind, persisted: Bool, to end: BinlogPosition
    ) throws(KeyspaceError) -> UInt64 {
        let stores = live.stores
        let row = try onStores { () throws(StorageError) in
            try stores[kind].appliedPosition(persistedOnly: persisted)
        }
        guard let row else { return .max }
        guard row.position < end else { return 0 }
        return logState.log.distanceBytes(from: row.position, to: end)
    }
}
