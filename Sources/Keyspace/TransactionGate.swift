internal import Synchronization

/// Parks command loops and pool tasks at a command boundary.
///
/// A loop enters before the first command of a read burst and leaves after its commit; while the
/// gate is closed it can't enter. The closer waits until everybody left and no group waits in a
/// stall queue.
public final class TransactionGate: Sendable {
    private struct State {
        var entrances: [Entrance] = []
        var waiters: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())
    private let closers = Monitor()
    private let wakeUp = Monitor()
    private let closed = Atomic<Bool>(false)
    private let queuedGroups = Atomic<Int>(0)

    init() {}

    /// One per loop or pool thread.
    public func makeEntrance() -> Entrance {
        let entrance = Entrance(gate: self)
        state.withLock { $0.entrances.append(entrance) }
        return entrance
    }

    /// Forgets an entrance that is not used any more.
    public func remove(_ entrance: Entrance) {
        state.withLock { $0.entrances.removeAll { $0 === entrance } }
    }

    /// Calls `body` once, on any thread, when the gate is open.
    public func whenOpen(_ body: @escaping @Sendable () -> Void) {
        let waits = state.withLock { state -> Bool in
            guard closed.load(ordering: .sequentiallyConsistent) else { return false }
            state.waiters.append(body)
            return true
        }
        if !waits { body() }
    }

    /// Closes the gate, waits until nobody is inside, runs `body`, opens it.
    ///
    /// MUST NOT be called by a loop, nor by a task that is inside.
    public func withClosed<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        closers.lock()
        defer { closers.unlock() }
        closed.store(true, ordering: .sequentiallyConsistent)
        waitUntilQuiet()
        defer { open() }
        return try body()
    }

    private func open() {
        let waiters = state.withLock { state -> [@Sendable () -> Void] in
            closed.store(false, ordering: .sequentiallyConsistent)
            defer { state.waiters = [] }
            return state.waiters
        }
        wakeUp.withLock { wakeUp.signalAll() }
        for waiter in waiters { waiter() }
    }

    private func waitUntilQuiet() {
        wakeUp.lock()
        defer { wakeUp.unlock() }
        while !isQuiet {
            // The time limit only covers a wake-up that came between the test and the wait.
            _ = wakeUp.wait(untilNanoseconds: monotonicNanoseconds() + 1_000_000)
        }
    }

    private var isQuiet: Bool {
        guard queuedGroups.load(ordering: .sequentiallyConsistent) == 0 else { return false }
        return state.withLock { state in
            state.entrances.allSatisfy { !$0.isInside }
        }
    }

    var isClosed: Bool { closed.load(ordering: .sequentiallyConsistent) }

    func notifyCloser() {
        if isClosed { wakeUp.withLock { wakeUp.signalAll() } }
    }

    func waitWhileClosed() {
        wakeUp.lock()
        defer { wakeUp.unlock() }
        while isClosed { wakeUp.wait() }
    }

    func groupQueued() { queuedGroups.add(1, ordering: .sequentiallyConsistent) }

    func groupFinished() {
        queuedGroups.subtract(1, ordering: .sequentiallyConsistent)
        notifyCloser()
    }
}

/// A loop's or a pool thread's way through the gate.
public final class Entrance: @unchecked Sendable {
    // SAFETY: `depth` is used by one thread at a time; `inside` is atomic.
    private let gate: TransactionGate
    private let inside = Atomic<Bool>(false)
    private var depth = 0

    init(gate: TransactionGate) { self.gate = gate }

    var isInside: Bool { inside.load(ordering: .sequentiallyConsistent) }

    /// Enters; false if the gate is closed (see ``TransactionGate/whenOpen(_:)``).
    ///
    /// Calls nest.
    public func enter() -> Bool {
        if depth == 0 {
            inside.store(true, ordering: .sequentiallyConsistent)
            if gate.isClosed {
                inside.store(false, ordering: .sequentiallyConsistent)
                gate.notifyCloser()
                return false
            }
        }
        depth += 1
        return true
    }

    /// Enters, waiting for the gate; for pool threads.
    public func enterBlocking() {
        while !enter() { gate.waitWhileClosed() }
    }

    /// Leaves.
    public func leave() {
        precondition(depth > 0, "left the gate without entering")
        depth -= 1
        guard depth == 0 else { return }
        inside.store(false, ordering: .sequentiallyConsistent)
        gate.notifyCloser()
    }
}
