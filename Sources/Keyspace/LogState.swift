internal import Binlog
internal import SyncProtocol
internal import Synchronization

/// A log with the positions that belong to it and those who wait for them.
///
/// A database gets another one when its log is opened again or exchanged.
final class LogState: Sendable {
    private struct Waiter {
        var position: BinlogPosition
        var body: @Sendable (Bool) -> Void
    }

    private struct State {
        /// End of what all stores hold; never inside a group.
        var published: BinlogMark
        var waiters: [Waiter] = []
        /// No sync will succeed any more.
        var isOver = false
    }

    let log: BinlogLog
    private let state: Mutex<State>

    init(log: BinlogLog, published: BinlogMark) {
        self.log = log
        state = Mutex(State(published: published))
    }

    var published: BinlogMark { state.withLock { $0.published } }

    func publish(_ mark: BinlogMark) { state.withLock { $0.published = mark } }

    /// What survives a power loss and is in the stores.
    var durable: BinlogPosition { min(log.durable, published.position) }

    var hasWaiters: Bool { state.withLock { !$0.waiters.isEmpty } }

    /// Calls `body` when the log is durable up to `position`; returns true if a sync is needed.
    func whenDurable(
        _ position: BinlogPosition, _ body: @escaping @Sendable (Bool) -> Void
    ) -> Bool {
        if log.durable >= position {
            body(true)
            return false
        }
        let waits = state.withLock { state -> Bool in
            guard !state.isOver else { return false }
            state.waiters.append(Waiter(position: position, body: body))
            return true
        }
        if !waits { body(false) }
        return waits
    }

    /// One sync of what is there now; then those who waited for it are called.
    @discardableResult
    func sync() throws(BinlogError) -> BinlogSyncOutcome {
        do throws(BinlogError) {
            let outcome = try log.sync(published: published)
            callWaiters()
            return outcome
        } catch {
            finish()
            throw error
        }
    }

    /// Makes everything that the stores may hold durable, before a flush writes it.
    func syncForFlush() throws(BinlogError) {
        // A log that is cut all the time would keep us here; each cut is a failed append.
        while try sync().overtaken {}
    }

    /// Nobody is to wait any more: the log failed or is closed.
    func finish() {
        let waiters = state.withLock { state -> [Waiter] in
            state.isOver = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.body(false) }
    }

    private func callWaiters() {
        let durable = log.durable
        let due = state.withLock { state -> [Waiter] in
            guard !state.waiters.isEmpty else { return [] }
            let due = state.waiters.filter { $0.position <= durable }
            state.waiters.removeAll { $0.position <= durable }
            return due
        }
        for waiter in due { waiter.body(true) }
    }
}

/// What the flush hook of a store holds on to: the log that has to be synced first.
final class FlushGuard: Sendable {
    private let logState: LogState
    private let stopProcess: @Sendable (String) -> Void

    init(logState: LogState, stopProcess: @escaping @Sendable (String) -> Void) {
        self.logState = logState
        self.stopProcess = stopProcess
    }

    /// Called by RocksDB before it writes a memtable: a flush can't be refused, so a log that
    /// can't be synced ends the process.
    func beforeFlush() {
        do throws(BinlogError) {
            try logState.syncForFlush()
        } catch {
            stopProcess("the binlog can't be synced before a flush: \(error)")
        }
    }
}
