internal import NIOPosix
internal import Synchronization

/// Runs blocking work on the pool, one piece after the other, in the order of arrival.
final class WorkQueue: Sendable {
    private struct State: Sendable {
        var work: [@Sendable () -> Void] = []
        var isRunning = false
    }

    private let pool: NIOThreadPool
    private let state = Mutex(State())

    init(pool: NIOThreadPool) {
        self.pool = pool
    }

    /// Adds a piece of work.
    func enqueue(_ work: @escaping @Sendable () -> Void) {
        let starts = self.state.withLock { state -> Bool in
            state.work.append(work)
            if state.isRunning { return false }
            state.isRunning = true
            return true
        }
        if starts { self.pool.submit { _ in self.run() } }
    }

    /// Works off what is there; a pool that is shut down calls it too, so that nobody waits for ever.
    private func run() {
        while true {
            let batch = self.state.withLock { state -> [@Sendable () -> Void] in
                let batch = state.work
                state.work = []
                if batch.isEmpty { state.isRunning = false }
                return batch
            }
            if batch.isEmpty { return }
            for work in batch { work() }
        }
    }
}
