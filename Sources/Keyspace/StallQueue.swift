internal import Binlog
internal import PikaStorage
internal import Synchronization

/// The groups of a database that wait until their stores take writes again, and the thread that
/// finishes them, one after the other.
///
/// While a group waits, none that touches the same stores is appended: loops answer busy, the pool
/// waits here. Groups of other stores go on; what they publish waits until all before them are in
/// their stores. The thread starts with the first stall.
final class StallQueue: @unchecked Sendable {
    // SAFETY: all variables are guarded by the monitor.
    private let monitor = Monitor()
    /// The stores for which groups wait: bits of `StoreKinds`.
    private let waiting = Atomic<UInt8>(0)
    private let count = Atomic<UInt64>(0)
    private var groups: [WriteGroup] = []
    /// The end of the last group that was finished while others waited.
    private var overtaking: BinlogMark?
    private var thread: WorkerThread?
    private var isStopped = false

    /// True while a group waits; set under the commit lock.
    var isOccupied: Bool { waiting.load(ordering: .acquiring) != 0 }
    var total: UInt64 { count.load(ordering: .relaxed) }

    /// Whether a group that writes these stores must wait.
    @inline(__always)
    func blocks(_ kinds: StoreKinds) -> Bool {
        waiting.load(ordering: .acquiring) & kinds.rawValue != 0
    }

    /// Hands a group over, under the commit lock.
    ///
    /// - Parameters:
    ///   - finish: puts it into its stores.
    ///   - publish: tells how far the stores are, once nobody waits any more: the end of a group that
    ///     was published meanwhile.
    func put(
        _ group: WriteGroup, finish: @escaping @Sendable (WriteGroup) -> CommitOutcome,
        publish: @escaping @Sendable (BinlogMark) -> Void
    ) {
        monitor.lock()
        defer { monitor.unlock() }
        let kinds = group.set.touched.rawValue
        precondition(
            waiting.load(ordering: .relaxed) & kinds == 0, "two groups are stalled by one store")
        count.add(1, ordering: .relaxed)
        group.stallOutcome = nil
        group.stallKinds = kinds
        groups.append(group)
        waiting.store(waiting.load(ordering: .relaxed) | kinds, ordering: .releasing)
        if thread == nil { thread = WorkerThread { [self] in run(finish, publish) } }
        monitor.signalAll()
    }

    /// Publishes the end of a group that is in its stores: at once, or behind those that wait.
    ///
    /// Under the commit lock. Returns false if it waits.
    func publish(_ end: BinlogMark, _ body: (BinlogMark) -> Void) -> Bool {
        guard isOccupied else {
            body(end)
            return true
        }
        return monitor.withLock {
            guard groups.isEmpty else {
                overtaking = end
                return false
            }
            body(end)
            return true
        }
    }

    private func run(
        _ finish: @Sendable (WriteGroup) -> CommitOutcome,
        _ publish: @Sendable (BinlogMark) -> Void
    ) {
        monitor.lock()
        while true {
            if let group = groups.first {
                monitor.unlock()
                let outcome = finish(group)
                monitor.lock()
                group.stallOutcome = outcome
                groups.removeFirst()
                if groups.isEmpty, let end = overtaking {
                    overtaking = nil
                    publish(end)
                }
                waiting.store(groups.reduce(0) { $0 | $1.stallKinds }, ordering: .releasing)
                monitor.signalAll()
            } else if isStopped {
                break
            } else {
                monitor.wait()
            }
        }
        monitor.unlock()
    }

    /// Waits for a group that was handed over.
    func wait(for group: WriteGroup) -> CommitOutcome {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            if let outcome = group.stallOutcome {
                group.stallOutcome = nil
                return outcome
            }
            monitor.wait()
        }
    }

    /// Waits until no group waits for one of these stores.
    func waitUntilEmpty(_ kinds: StoreKinds) {
        monitor.lock()
        defer { monitor.unlock() }
        while blocks(kinds) { monitor.wait() }
    }

    /// Ends the thread behind the last group.
    func stop() {
        let thread = monitor.withLock { () -> WorkerThread? in
            isStopped = true
            monitor.signalAll()
            defer { self.thread = nil }
            return self.thread
        }
        thread?.join()
    }
}
