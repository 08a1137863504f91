internal import Glibc

/// Wall clock of the machine in Unix seconds.
@Sendable public func systemWallClock() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec)
}

/// Writes the reason to stderr and ends the process at once.
@Sendable public func abortProcess(_ reason: String) {
    let line = "pika: stopped: \(reason)\n"
    line.withCString { text in _ = write(STDERR_FILENO, text, strlen(text)) }
    _exit(70)
}

/// Gives the processor to another thread.
func yieldThread() { sched_yield() }

/// Sleeps; for threads of the pool.
func pause(microseconds: Int) { usleep(UInt32(microseconds)) }
