private import Synchronization

/// A clock that stands still until a test moves it.
public final class ManualClock: Sendable {
    private let nanoseconds: Mutex<Int64>

    /// Starts at a time in Unix seconds.
    public init(unixSeconds: Int64 = 1_795_399_804) {
        nanoseconds = Mutex(unixSeconds * 1_000_000_000)
    }

    /// Unix time in whole seconds.
    public var unixSeconds: Int64 { nanoseconds.withLock { $0 / 1_000_000_000 } }

    /// Unix time in nanoseconds; also a monotonic time for those who want one.
    public var unixNanoseconds: Int64 { nanoseconds.withLock { $0 } }

    /// Moves the clock; it may be moved back.
    public func advance(by duration: Duration) {
        let (seconds, attoseconds) = duration.components
        nanoseconds.withLock { $0 += seconds * 1_000_000_000 + attoseconds / 1_000_000_000 }
    }

    /// Sets the clock.
    public func set(unixSeconds: Int64) {
        nanoseconds.withLock { $0 = unixSeconds * 1_000_000_000 }
    }
}
