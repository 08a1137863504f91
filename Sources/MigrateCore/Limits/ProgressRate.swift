internal import Glibc

/// The speed of something that grows, smoothed, and how long the rest will take.
///
/// Times are nanoseconds of any monotonic clock. A count that falls begins anew.
public struct ProgressRate: Sendable, Equatable {
    /// What was long ago counts half after this time.
    public static let halfLifeSeconds = 5.0
    /// Nothing is told of a rest that would take longer.
    public static let maxSecondsLeft = 365.0 * 24 * 3_600

    /// How much a second; 0 before there are two samples.
    public private(set) var perSecond = 0.0
    private var last: (count: UInt64, time: UInt64)?
    private var weight = 0.0

    /// A rate without samples.
    public init() {}

    /// So much is done at a time.
    public mutating func sample(_ count: UInt64, now: UInt64) {
        defer { self.last = (count, now) }
        guard let last, count >= last.count, now > last.time else {
            if let last, count < last.count { self = ProgressRate() }
            return
        }
        let seconds = Double(now - last.time) / 1e9
        let current = Double(count - last.count) / seconds
        let keep = exp2(-seconds / Self.halfLifeSeconds)
        self.weight = self.weight * keep + (1 - keep)
        self.perSecond += (current - self.perSecond) * (1 - keep) / self.weight
    }

    /// Seconds until a total; nil = not known.
    public func secondsLeft(_ done: UInt64, of total: UInt64) -> Double? {
        guard total > done else { return 0 }
        guard self.perSecond > 0 else { return nil }
        let seconds = Double(total - done) / self.perSecond
        return seconds <= Self.maxSecondsLeft ? seconds : nil
    }

    /// Whether two rates say the same.
    public static func == (one: ProgressRate, other: ProgressRate) -> Bool {
        one.perSecond == other.perSecond && one.weight == other.weight
            && one.last?.count == other.last?.count && one.last?.time == other.last?.time
    }
}
