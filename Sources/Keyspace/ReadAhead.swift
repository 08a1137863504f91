internal import PikaStorage
internal import Synchronization

/// Threads that read strings into the row cache while a loop executes the requests before them.
///
/// A loop gives away the keys of a pipeline and goes on as if nothing had happened: a key that was
/// read meanwhile is in the row cache when its turn comes, any other is read by the loop itself. So
/// nobody waits for these threads, and what the loop sees is what the row cache would show anyway.
///
/// The threads begin with the last key, since the loop begins with the first one. There are none
/// until keys are posted.
public final class ReadAhead: @unchecked Sendable {
    // SAFETY: the loop writes `keys`, `lengths` and `database` while no thread is inside and nothing
    // is to be claimed; a thread reads them behind a claim, while it is inside. `workers` and
    // `count` are the loop's alone; the rest is atomic.

    /// Keys that are posted at once.
    public static let keyLimit = 32
    /// Longer keys are left to the loop.
    public static let keyLimitBytes = 256
    /// Threads at most, for reads that come from the disk.
    public static let threadLimit = 4
    /// How long a thread without keys looks for new ones before it sleeps: waking it costs a loop
    /// more than a read does.
    private static let alertNanoseconds: UInt64 = 30_000

    private let keyspace: Keyspace
    private let keys: UnsafeMutableRawPointer
    private let lengths: UnsafeMutablePointer<Int>
    private var count = 0
    private var database = 0
    private var workers: [Worker] = []

    /// Keys that no thread has taken yet: the first so many.
    private let unclaimed = Atomic<Int>(0)
    /// Threads that may take them.
    private let wanted = Atomic<Int>(0)
    /// Threads that look for keys or read one.
    private let inside = Atomic<Int>(0)
    private let isStopped = Atomic<Bool>(false)
    private let reads = Atomic<Int>(0)

    /// Makes it for one loop.
    public init(_ keyspace: Keyspace) {
        self.keyspace = keyspace
        keys = .allocate(byteCount: Self.keyLimit * Self.keyLimitBytes, alignment: 16)
        lengths = .allocate(capacity: Self.keyLimit)
    }

    deinit {
        keys.deallocate()
        lengths.deallocate()
    }

    // MARK: The loop's part

    /// Rows that the threads have read from stores so far.
    public var readCount: Int { reads.load(ordering: .relaxed) }

    /// Begins a list of keys; false, and nothing may be added, while a thread reads one of the last.
    public func begin() -> Bool {
        guard unclaimed.load(ordering: .acquiring) == 0,
            inside.load(ordering: .sequentiallyConsistent) == 0
        else { return false }
        count = 0
        return true
    }

    /// Adds a key; false when the list is full.
    ///
    /// Keys that are too long are left out.
    public func add(_ key: UnsafeRawBufferPointer) -> Bool {
        guard count < Self.keyLimit else { return false }
        guard let start = key.baseAddress, key.count <= Self.keyLimitBytes else { return true }
        (keys + count * Self.keyLimitBytes).copyMemory(from: start, byteCount: key.count)
        lengths[count] = key.count
        count += 1
        return true
    }

    /// Keys added since `begin`.
    public var keyCount: Int { count }

    /// Lets the threads read the keys of the list.
    ///
    /// - Parameters:
    ///   - database: index of the database.
    ///   - threads: how many may work, `threadLimit` at most.
    public func post(database: Int, threads: Int) {
        self.database = database
        let threads = min(threads, Self.threadLimit)
        while workers.count < threads {
            let (index, alarm) = (workers.count, Alarm())
            workers.append(
                Worker(alarm: alarm, thread: WorkerThread { [self] in run(index, alarm) }))
        }
        wanted.store(threads, ordering: .relaxed)
        unclaimed.store(count, ordering: .sequentiallyConsistent)
        for worker in workers[..<threads] { worker.alarm.wake() }
    }

    /// Takes back the keys that no thread has taken yet.
    public func withdraw() { unclaimed.store(0, ordering: .sequentiallyConsistent) }

    /// Ends the threads; nothing may be posted any more.
    public func stop() {
        withdraw()
        isStopped.store(true, ordering: .sequentiallyConsistent)
        for worker in workers {
            worker.alarm.wake()
            worker.thread.join()
        }
        workers = []
    }

    // MARK: A thread

    private func run(_ worker: Int, _ alarm: Alarm) {
        let entrance = keyspace.gate.makeEntrance(onPool: true)
        var groups: [WriteGroup?] = Array(repeating: nil, count: keyspace.databases.count)
        while waitForKeys(worker, alarm) {
            inside.add(1, ordering: .sequentiallyConsistent)
            if entrance.enter() {
                readKeys(&groups)
                entrance.leave()
            } else {
                withdraw()
            }
            inside.subtract(1, ordering: .sequentiallyConsistent)
        }
        keyspace.gate.remove(entrance)
    }

    private func hasKeys(for worker: Int) -> Bool {
        unclaimed.load(ordering: .sequentiallyConsistent) > 0
            && worker < wanted.load(ordering: .relaxed)
    }

    private var isOver: Bool { isStopped.load(ordering: .sequentiallyConsistent) }

    /// False: the thread is to end.
    private func waitForKeys(_ worker: Int, _ alarm: Alarm) -> Bool {
        let end = monotonicNanoseconds() + Self.alertNanoseconds
        repeat {
            if isOver || hasKeys(for: worker) { return !isOver }
            yieldThread()
        } while monotonicNanoseconds() < end
        alarm.sleep { isOver || hasKeys(for: worker) }
        return !isOver
    }

    /// Reads keys of one list; `groups` are the thread's own, made when they are needed.
    private func readKeys(_ groups: inout [WriteGroup?]) {
        var used: WriteGroup?
        while let index = claim() {
            let group = groups[database] ?? keyspace.databases[database].makeGroup(onPool: true)
            groups[database] = group
            used = group
            let key = Bytes(start: keys + index * Self.keyLimitBytes, count: lengths[index])
            if group.transactions.strings.readAhead(key) { reads.add(1, ordering: .relaxed) }
        }
        used?.discard()
    }

    /// Takes the last key that nobody has taken.
    private func claim() -> Int? {
        var seen = unclaimed.load(ordering: .acquiring)
        while seen > 0 {
            let (exchanged, original) = unclaimed.compareExchange(
                expected: seen, desired: seen - 1, ordering: .acquiringAndReleasing)
            if exchanged { return seen - 1 }
            seen = original
        }
        return nil
    }
}

private struct Worker {
    let alarm: Alarm
    let thread: WorkerThread
}

/// What one thread sleeps on.
private final class Alarm: Sendable {
    private let monitor = Monitor()
    private let isAsleep = Atomic<Bool>(false)

    /// Waits for `wake`, unless there is something to do, which the one who wakes MUST show before.
    func sleep(unless hasWork: () -> Bool) {
        monitor.lock()
        defer { monitor.unlock() }
        isAsleep.store(true, ordering: .sequentiallyConsistent)
        if !hasWork() { monitor.wait() }
        isAsleep.store(false, ordering: .sequentiallyConsistent)
    }

    /// Costs nothing while the thread is awake.
    func wake() {
        guard isAsleep.load(ordering: .sequentiallyConsistent) else { return }
        monitor.withLock { monitor.signalAll() }
    }
}
