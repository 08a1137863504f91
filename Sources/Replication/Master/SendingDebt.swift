internal import NIOCore
internal import RateLimit
internal import SyncProtocol

/// Bytes that a connection sent beyond what it was granted: heads of frames, lists, one large item.
///
/// They are paid before anything more is granted, so that the limit holds for all that goes out.
struct SendingDebt {
    private(set) var bytes = 0

    mutating func add(_ count: Int) { self.bytes += count }

    /// Pays as much as is granted now; returns when to try again, or nil when nothing is owed.
    mutating func pay(
        _ limiter: Limiter, for peer: ReplicaAddress, stream: BucketTree<ReplicaAddress>.Stream
    ) -> NIODeadline? {
        while self.bytes > 0 {
            let part = min(self.bytes, limiter.grantBytes(for: peer))
            if let deadline = limiter.acquire(part, for: peer, stream: stream) { return deadline }
            self.bytes -= part
        }
        return nil
    }
}
