/// Tells when a target without transactions is done with what an earlier try sent.
///
/// A server may still carry out what came over a connection that is gone. Markers or values that
/// are read meanwhile are no ground to go on from, and nothing in such a target could be asked
/// whether it is over. So it is waited for: until no marker has moved for a while.
public struct Settling: Sendable {
    /// So long must all markers rest; a loaded real Pika took half a second.
    public static let quietMilliseconds: Int64 = 2_000
    /// Markers that move for so long are another run's, which the lock will stop.
    public static let maxMilliseconds: Int64 = 10_000

    private let began: Int64
    private var moved: Int64
    private var markers: [Int: [Int: Marker]]?

    /// The wait begins.
    public init(now: Int64) {
        self.began = now
        self.moved = now
    }

    /// Whether the target has settled, by its markers as they are now.
    ///
    /// - Parameter now: Milliseconds of a clock that never goes back.
    public mutating func isOver(_ markers: [Int: [Int: Marker]], now: Int64) -> Bool {
        if let before = self.markers, before != markers { self.moved = now }
        self.markers = markers
        return now - self.moved >= Self.quietMilliseconds
            || now - self.began >= Self.maxMilliseconds
    }
}
