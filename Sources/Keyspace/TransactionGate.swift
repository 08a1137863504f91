internal import Synchronization

/// Parks command loops and pool tasks at a command boundary.
///
/// A loop enters before the first command of a read burst and leaves after its commit; while the
/// gate is closed it can't enter. The closer waits until everybody left and no group waits in a
/// stall queue: first for the pool, whose tasks may take long, while loops still come and go; then
/// for the loops, which leave at once. So a long command and a closer together hold up the pool, not
/// the loops.
public final class TransactionGate: Sendable {
    private struct State {
        var entrances: [Entrance] = []
        var waiters: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())
    private let closers = Monitor()
    private let wakeUp = Monitor()
    /// The pool may not enter.
    private let closing = Atomic<Bool>(false)
    /// Nobody may enter.
    private let closed = Atomic<Bool>(false)
    private let queuedGroups = Atomic<Int>(0)

    init() {}

    /// One per loop or pool thread.
    public func makeEntrance(onPool: Bool = false) -> Entrance {
        let entrance = Entrance(gate: self, onPool: onPool)
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
        closing.store(true, ordering: .sequentiallyConsistent)
        wait { !$0.isOnPool }
        closed.store(true, ordering: .sequentiallyConsistent)
        wait { _ in false }
        defer { open() }
        return try body()
    }

    private func open() {
        let waiters = state.withLock { state -> [@Sendable () -> Void] in
            closed.store(false, ordering: .sequentiallyConsistent)
            closing.store(false, ordering: .sequentiallyConsistent)
            defer { state.waiters = [] }
            return state.waiters
        }
        wakeUp.withLock { wakeUp.signalAll() }
        for waiter in waiters { waiter() }
    }

    /// Waits until no group is queued and nobody is inside, but for those that may stay.
    private func wait(_ mayStay: (Entrance) -> Bool) {
        wakeUp.lock()
        defer { wakeUp.unlock() }
        while !isQuiet(mayStay) {
            // The time limit only covers a wake-up that came between the test and the wait.
            _ = wakeUp.wait(untilNanoseconds: monotonicNanoseconds() + 1_000_000)
        }
    }

    private func isQuiet(_ mayStay: (Entrance) -> Bool) -> Bool {
        guard queuedGroups.load(ordering: .sequentiallyConsistent) == 0 else { return false }
        return state.withLock { state in
            state.entrances.allSatisfy { !$0.isInside || mayStay($0) }
        }
    }

    var isClosing: Bool { closing.load(ordering: .sequentiallyConsistent) }
    var isClosed: Bool { closed.load(ordering: .sequentiallyConsistent) }

    func notifyCloser() {
        if isClosing { wakeUp.withLock { wakeUp.signalAll() } }
    }

    func waitWhileClosing() {
        wakeUp.lock()
        defer { wakeUp.unlock() }
        while isClosing { wakeUp.wait() }
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
    let isOnPool: Bool
    private let inside = Atomic<Bool>(false)
    private var depth = 0

    init(gate: TransactionGate, onPool: Bool) {
        self.gate = gate
        isOnPool = onPool
    }

    var isInside: Bool { inside.load(ordering: .sequentiallyConsistent) }

    /// Enters; false if the gate is closed (see ``TransactionGate/whenOpen(_:)``).
    ///
    /// Calls nest.
    public func enter() -> Bool {
        if depth == 0 {
            inside.store(true, ordering: .sequentiallyConsistent)
            if isOnPool ? gate.isClosing : gate.isClosed {
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
        while !enter() { gate.waitWhileClosing() }
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
