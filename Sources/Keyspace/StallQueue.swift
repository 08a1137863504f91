internal import PikaStorage
internal import Synchronization

/// The one group of a database that waits until its stores take writes again, and the thread that
/// finishes it.
///
/// While a group waits, no other is appended: loops answer busy, the pool waits here. The thread
/// starts with the first stall.
final class StallQueue: @unchecked Sendable {
    // SAFETY: all variables are guarded by the monitor.
    private let monitor = Monitor()
    private let occupied = Atomic<Bool>(false)
    private let count = Atomic<UInt64>(0)
    private var group: WriteGroup?
    private var thread: WorkerThread?
    private var isStopped = false

    /// True while a group waits; set under the commit lock.
    var isOccupied: Bool { occupied.load(ordering: .acquiring) }
    var total: UInt64 { count.load(ordering: .relaxed) }

    /// Hands a group over, under the commit lock.
    func put(_ group: WriteGroup, finish: @escaping @Sendable (WriteGroup) -> CommitOutcome) {
        monitor.lock()
        defer { monitor.unlock() }
        precondition(self.group == nil, "two groups are stalled")
        count.add(1, ordering: .relaxed)
        self.group = group
        group.stallOutcome = nil
        occupied.store(true, ordering: .releasing)
        if thread == nil { thread = WorkerThread { [self] in run(finish) } }
        monitor.signalAll()
    }

    private func run(_ finish: @Sendable (WriteGroup) -> CommitOutcome) {
        monitor.lock()
        while true {
            if let group {
                monitor.unlock()
                let outcome = finish(group)
                monitor.lock()
                group.stallOutcome = outcome
                self.group = nil
                occupied.store(false, ordering: .releasing)
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

    /// Waits until no group waits.
    func waitUntilEmpty() {
        monitor.lock()
        defer { monitor.unlock() }
        while group != nil { monitor.wait() }
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
