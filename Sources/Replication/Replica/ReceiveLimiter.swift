public import RateLimit
internal import Synchronization

/// The limit of what this process receives: one bucket for the binlog and for files.
///
/// May be used from any thread. Times are nanoseconds of the monotonic clock.
public final class ReceiveLimiter: Sendable {
    /// The largest piece that is ever acquired at once.
    public static let pieceBytes: UInt64 = 262_144

    private let bucket: Mutex<TokenBucket>
    private let received = Atomic<UInt64>(0)

    /// Creates a limiter; 0 = no limit.
    public init(bytesPerSecond: UInt64, now: UInt64) {
        self.bucket = Mutex(
            TokenBucket(bytesPerSecond: bytesPerSecond, chunkBytes: Self.pieceBytes, now: now))
    }

    /// The rate; 0 = no limit.
    public var bytesPerSecond: UInt64 {
        self.bucket.withLock { $0.bytesPerSecond }
    }

    /// The most to ask for at once, so that bursts stay within their bound.
    public var grantBytes: UInt64 {
        self.bucket.withLock { $0.grantBytes }
    }

    /// Bytes received from masters since the start, binlog and files.
    public var receivedBytes: UInt64 { self.received.load(ordering: .relaxed) }

    /// Counts bytes that came in.
    func note(receivedBytes count: UInt64) {
        self.received.wrappingAdd(count, ordering: .relaxed)
    }

    /// Changes the rate at once.
    public func setRate(bytesPerSecond: UInt64, now: UInt64) {
        self.bucket.withLock { $0.setRate(bytesPerSecond: bytesPerSecond, now: now) }
    }

    /// Takes `bytes` (at most ``pieceBytes``), or says when to ask again.
    public func acquire(_ bytes: UInt64, now: UInt64) -> RateVerdict {
        self.bucket.withLock { $0.acquire(bytes, now: now) }
    }

    /// Gives back what was taken and not used.
    public func refund(_ bytes: UInt64, now: UInt64) {
        self.bucket.withLock { $0.refund(bytes, now: now) }
    }
}
