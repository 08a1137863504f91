internal import NIOCore
internal import RateLimit
internal import ReplicationCore

/// Holds back the reading of a connection until the limiter has granted what was read already.
///
/// What arrives is paid for after the fact, piece by piece; while something is owed nothing more is
/// read, so the sender is slowed by TCP itself. Of a connection, on its loop.
struct ReceiveGate {
    private let limiter: ReceiveLimiter
    private var owedBytes: UInt64 = 0

    init(limiter: ReceiveLimiter) {
        self.limiter = limiter
    }

    /// Whether reading has to wait.
    var isClosed: Bool { self.owedBytes > 0 }

    /// Notes what was read.
    mutating func add(_ bytes: Int) {
        self.owedBytes += UInt64(bytes)
    }

    /// Pays as much as is granted now; returns when to try again, or nil when nothing is owed.
    mutating func pay(now: MonotonicInstant) -> NIODeadline? {
        while self.owedBytes > 0 {
            let piece = min(self.owedBytes, self.limiter.grantBytes)
            switch self.limiter.acquire(piece, now: now.nanoseconds) {
            case .granted:
                self.owedBytes -= piece
            case .waitUntil(let nanoseconds):
                return .uptimeNanoseconds(nanoseconds)
            }
        }
        return nil
    }
}
