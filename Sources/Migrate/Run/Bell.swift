internal import Synchronization

/// Wakes one waiting task; a ring that nobody waits for is kept.
final class Bell: Sendable {
    private struct State {
        var isRung = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    func ring() {
        let waiter = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            defer { state.waiter = nil }
            if state.waiter == nil { state.isRung = true }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Returns after a ring, or at once when the task is cancelled.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isReady = self.state.withLock { state -> Bool in
                    if state.isRung || Task.isCancelled {
                        state.isRung = false
                        return true
                    }
                    state.waiter = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            self.ring()
        }
    }
}

/// Where workers meet for a unit that touches keys of several of them.
///
/// The one that executes waits until the others have done all that came before; they wait until it
/// has.
final class Meeting: Sendable {
    let executor: Int
    private let arrivals: [Int: Bell]
    private let releases: [Int: Bell]

    /// - Parameter workers: All that take part, the executor among them.
    init(executor: Int, workers: Set<Int>) {
        self.executor = executor
        let others = workers.subtracting([executor])
        self.arrivals = Dictionary(uniqueKeysWithValues: others.map { ($0, Bell()) })
        self.releases = Dictionary(uniqueKeysWithValues: others.map { ($0, Bell()) })
    }

    /// For the others.
    func attend(_ worker: Int) async {
        self.arrivals[worker]?.ring()
        await self.releases[worker]?.wait()
    }

    /// For the executor, before it executes.
    func gather() async {
        for bell in self.arrivals.values { await bell.wait() }
    }

    /// For the executor, when it has executed.
    func release() {
        for bell in self.releases.values { bell.ring() }
    }
}
