/// A moment on a clock that never goes back; the only time the machines know.
///
/// The shells read it from the machine's monotonic clock, tests and the simulation make it up.
public struct MonotonicInstant: Comparable, Hashable, Sendable {
    /// Nanoseconds since an arbitrary start.
    public var nanoseconds: UInt64

    /// Creates an instant from nanoseconds since an arbitrary start.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// Orders instants by time.
    public static func < (left: MonotonicInstant, right: MonotonicInstant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// The instant `duration` later; saturates instead of overflowing.
    public static func + (instant: MonotonicInstant, duration: Duration) -> MonotonicInstant {
        let (seconds, attoseconds) = duration.components
        let added = UInt64(clamping: seconds).multipliedReportingOverflow(by: 1_000_000_000)
        guard !added.overflow, seconds >= 0, attoseconds >= 0 else {
            return seconds < 0 || attoseconds < 0 ? instant : .distantFuture
        }
        let nanoseconds = added.partialValue &+ UInt64(attoseconds / 1_000_000_000)
        let sum = instant.nanoseconds.addingReportingOverflow(nanoseconds)
        return sum.overflow ? .distantFuture : MonotonicInstant(nanoseconds: sum.partialValue)
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    public func since(_ earlier: MonotonicInstant) -> Duration {
        guard self > earlier else { return .zero }
        return .nanoseconds(Int64(clamping: self.nanoseconds - earlier.nanoseconds))
    }

    /// A moment that is never reached.
    public static let distantFuture = MonotonicInstant(nanoseconds: .max)
}
