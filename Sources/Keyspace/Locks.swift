internal import Glibc
internal import Synchronization

/// A mutex that is locked and unlocked by hand, with the kind of its holder visible to others.
final class HandLock: @unchecked Sendable {
    // SAFETY: the pointer is set once and freed in deinit; pthread mutexes are thread-safe.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let heldByPool = Atomic<Bool>(false)

    init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deinitialize(count: 1)
        mutex.deallocate()
    }

    /// Takes the lock on a loop: waits microseconds for another loop, never for the pool.
    func lockOnLoop() -> Bool {
        if pthread_mutex_trylock(mutex) == 0 { return true }
        while !heldByPool.load(ordering: .acquiring) {
            if pthread_mutex_trylock(mutex) == 0 { return true }
            sched_yield()
        }
        return false
    }

    /// Takes the lock on a pool thread.
    func lockOnPool() {
        pthread_mutex_lock(mutex)
        heldByPool.store(true, ordering: .releasing)
    }

    /// Releases the lock, whoever took it.
    func unlock() {
        heldByPool.store(false, ordering: .releasing)
        pthread_mutex_unlock(mutex)
    }
}

/// A mutex with a condition variable.
final class Monitor: @unchecked Sendable {
    // SAFETY: the pointers are set once and freed in deinit; pthread objects are thread-safe.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }

    func withLock<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        lock()
        defer { unlock() }
        return try body()
    }

    /// Waits for a signal; MUST be called with the lock held.
    func wait() { pthread_cond_wait(condition, mutex) }

    /// Waits for a signal until a time of the monotonic clock; false when the time is over.
    func wait(untilNanoseconds deadline: UInt64) -> Bool {
        var time = timespec()
        time.tv_sec = Int(deadline / 1_000_000_000)
        time.tv_nsec = Int(deadline % 1_000_000_000)
        return pthread_cond_timedwait(condition, mutex, &time) != ETIMEDOUT
    }

    func signalAll() { pthread_cond_broadcast(condition) }
}

/// Monotonic clock in nanoseconds.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// A thread of ours, joined by its owner.
final class WorkerThread: @unchecked Sendable {
    // SAFETY: `handle` is written once before the thread is shared and read in `join` only.
    private var handle = pthread_t()

    init(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(ThreadBody(body: body))
        let result = pthread_create(&handle, nil, runThreadBody, box.toOpaque())
        precondition(result == 0, "no thread: errno \(result)")
    }

    func join() { pthread_join(handle, nil) }
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void

    init(body: @escaping @Sendable () -> Void) { self.body = body }
}

private func runThreadBody(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    let thread = Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue()
    thread.body()
    return nil
}
