/// Holds a target's reply time below a limit: the run keeps it busy for a share of the time only.
///
/// A reply above the limit halves the share at once; each round without one adds a thirty-second.
/// Times are nanoseconds of any monotonic clock.
///
/// Invariant: `minShare <= share <= 1`.
public struct LatencyGovernor: Sendable, Equatable {
    /// The share never falls below this.
    public static let minShare = 1.0 / 64
    /// What a good round adds.
    public static let step = 1.0 / 32
    /// What a reply above the limit leaves.
    public static let factor = 0.5
    /// How long a round lasts: what was changed must be seen before it is judged.
    public static let roundNanoseconds: UInt64 = 1_000_000_000
    /// The longest pause at once.
    public static let maxPauseNanoseconds: UInt64 = 1_000_000_000

    /// The part of the time in which the target may be kept busy.
    public private(set) var share = 1.0
    private let limitMicroseconds: Int64
    private var roundBegan: UInt64?

    /// A governor.
    ///
    /// - Parameter limitMicroseconds: 0 = it never does anything.
    public init(limitMicroseconds: Int64) { self.limitMicroseconds = limitMicroseconds }

    /// The target has answered a question after so long.
    public mutating func sample(microseconds: Int64, now: UInt64) {
        guard self.limitMicroseconds > 0 else { return }
        guard let began = self.roundBegan, now >= began else {
            self.roundBegan = now
            self.judge(microseconds)
            return
        }
        if microseconds > self.limitMicroseconds {
            // The cut before may not have had its effect yet.
            guard self.share == 1 || now - began >= Self.roundNanoseconds / 2 else { return }
            self.judge(microseconds)
            self.roundBegan = now
        } else if now - began >= Self.roundNanoseconds {
            self.share = min(1, self.share + Self.step)
            self.roundBegan = now
        }
    }

    private mutating func judge(_ microseconds: Int64) {
        guard microseconds > self.limitMicroseconds else { return }
        self.share = max(Self.minShare, self.share * Self.factor)
    }

    /// How long to rest behind work that took so long.
    public func pause(after tookNanoseconds: UInt64) -> UInt64 {
        guard self.share < 1 else { return 0 }
        let pause = Double(tookNanoseconds) * (1 / self.share - 1)
        return min(UInt64(min(pause, 1e18)), Self.maxPauseNanoseconds)
    }
}
