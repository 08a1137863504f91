/// Pauses between attempts: doubled after every failure up to a limit, short again after success.
public struct Backoff: Hashable, Sendable {
    /// The first pause.
    public var first: Duration
    /// The longest pause.
    public var longest: Duration
    /// Failures since the last success.
    public private(set) var failures = 0

    /// Creates pauses.
    public init(first: Duration, longest: Duration) {
        self.first = first
        self.longest = longest
    }

    /// Counts a failure and tells how long to wait now; never zero.
    public mutating func next() -> Duration {
        var pause = self.first
        var doublings = self.failures
        while doublings > 0, pause < self.longest {
            pause = pause * 2
            doublings -= 1
        }
        self.failures += 1
        return min(pause, self.longest)
    }

    /// Something worked.
    public mutating func reset() {
        self.failures = 0
    }
}
