import Glibc

/// The signals that end the process, received by the main thread alone.
///
/// `block()` MUST run before the first thread is started: threads inherit the mask.
public struct StopSignal: Sendable {
    private static let stopping = [SIGTERM, SIGINT, SIGQUIT]

    /// Blocks the stop signals in this thread and those that it starts; ignores HUP and PIPE.
    public static func block() -> StopSignal {
        signal(SIGHUP, SIG_IGN)
        signal(SIGPIPE, SIG_IGN)
        var set = mask
        pthread_sigmask(SIG_BLOCK, &set, nil)
        return StopSignal()
    }

    /// Waits for a stop signal, and returns its number.
    public func wait() -> Int32 {
        var set = Self.mask
        var number: Int32 = 0
        while sigwait(&set, &number) != 0 {}
        return number
    }

    /// Sends this process the signal that ends it (SHUTDOWN).
    static func raise() {
        kill(getpid(), SIGTERM)
    }

    private static var mask: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in stopping { sigaddset(&set, number) }
        return set
    }
}
