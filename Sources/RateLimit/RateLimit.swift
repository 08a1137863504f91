/// What a bucket answers.
public enum RateVerdict: Hashable, Sendable {
    /// Go on.
    case granted
    /// Nothing was taken; ask again at this time (nanoseconds of the caller's clock).
    case waitUntil(nanoseconds: UInt64)
}

/// A token bucket over bytes: integers only, time is an argument.
///
/// Times are nanoseconds of any monotonic clock; a clock that steps back stands still. Deadlines
/// come from the total of bytes since the bucket was last full (or the rate last changed), never
/// from the last sleep, so errors do not add up.
///
/// The burst is 40 ms of the rate, at least ``minimumBurstBytes``: who asks for no more than
/// ``grantBytes`` at once gets at most 1.4 times its share in any 100 ms, as counted here. What a
/// socket holds back and passes on at once comes on top, and 1.6 is promised. A larger request is
/// granted when the bucket is full and leaves a debt; the average still holds.
///
/// Invariant: bytes granted since any moment <= burst + rate * time since then (+ one debt).
public struct TokenBucket: Hashable, Sendable {
    /// The burst as a part of a second: 1/25 s = 40 ms.
    public static let burstsPerSecond: UInt64 = 25
    /// The burst of very low rates.
    public static let minimumBurstBytes: UInt64 = 1_024

    private static let nanosecondsPerSecond: UInt64 = 1_000_000_000

    /// Bytes per second; 0 = no limit.
    public private(set) var bytesPerSecond: UInt64
    /// The largest request that the owner cares to make, in bytes.
    public let chunkBytes: UInt64
    /// When the count of ``spentBytes`` began.
    private var anchor: UInt64
    /// Bytes granted since the anchor, over what a full bucket at the anchor could do.
    private var spentBytes: UInt64

    /// Creates a full bucket.
    ///
    /// - Parameters:
    ///   - bytesPerSecond: 0 = no limit.
    ///   - chunkBytes: The largest request that the owner cares to make: see ``grantBytes``.
    ///   - now: Nanoseconds.
    public init(bytesPerSecond: UInt64, chunkBytes: UInt64, now: UInt64) {
        self.bytesPerSecond = bytesPerSecond
        self.chunkBytes = chunkBytes
        anchor = now
        spentBytes = 0
    }

    /// Most bytes that are granted at once after a pause; without meaning when there is no limit.
    public var burstBytes: UInt64 {
        max(bytesPerSecond / Self.burstsPerSecond, Self.minimumBurstBytes)
    }

    /// What to ask for at once: the chunk, or less where a chunk is more than half of the burst.
    ///
    /// The other half is the time by which one may wake up too late without losing rate: 20 ms.
    public var grantBytes: UInt64 {
        bytesPerSecond == 0 ? chunkBytes : min(chunkBytes, burstBytes / 2)
    }

    /// Takes `bytes` if they are there, all or nothing.
    public mutating func acquire(_ bytes: UInt64, now: UInt64) -> RateVerdict {
        if let deadline = deadline(for: bytes, behind: 0, now: now) {
            return .waitUntil(nanoseconds: deadline)
        }
        take(bytes)
        return .granted
    }

    /// Gives back what was acquired and not used.
    public mutating func refund(_ bytes: UInt64, now: UInt64) {
        spentBytes -= min(bytes, spentBytes)
    }

    /// Changes the rate at once.
    ///
    /// Bytes already granted stay granted: what is left in the bucket is kept up to the new burst,
    /// a debt is kept whole. Deadlines given before are void: whoever waits must ask again now.
    public mutating func setRate(bytesPerSecond: UInt64, now: UInt64) {
        guard bytesPerSecond != self.bytesPerSecond else { return }
        guard self.bytesPerSecond > 0, bytesPerSecond > 0 else {
            // From or to "no limit": a full bucket.
            self.bytesPerSecond = bytesPerSecond
            anchor = now
            spentBytes = 0
            return
        }
        let missing = spentBytes - min(earned(now: now), spentBytes)
        let left = burstBytes - min(missing, burstBytes)
        let debt = missing - min(missing, burstBytes)
        self.bytesPerSecond = bytesPerSecond
        anchor = max(anchor, now)
        spentBytes = saturatingSum(burstBytes - min(left, burstBytes), debt)
    }

    /// When `bytes` could be granted if `behind` other bytes had to be granted before; nil = now.
    mutating func deadline(for bytes: UInt64, behind: UInt64, now: UInt64) -> UInt64? {
        guard bytesPerSecond > 0 else { return nil }
        refill(now: now)
        let burst = burstBytes
        let wanted = saturatingSum(saturatingSum(spentBytes, behind), min(bytes, burst))
        guard wanted > burst else { return nil }
        let needed = wanted - burst
        guard earned(now: now) < needed else { return nil }
        return saturatingSum(anchor, nanoseconds(toEarn: needed))
    }

    /// Takes bytes, be they there or not.
    mutating func take(_ bytes: UInt64) {
        guard bytesPerSecond > 0 else { return }
        spentBytes = saturatingSum(spentBytes, bytes)
    }

    /// Starts to count anew when the bucket is full: what is earned above that is lost.
    private mutating func refill(now: UInt64) {
        guard now > anchor, earned(now: now) >= spentBytes else { return }
        anchor = now
        spentBytes = 0
    }

    /// Bytes earned since the anchor, rounded down.
    private func earned(now: UInt64) -> UInt64 {
        guard now > anchor else { return 0 }
        let product = (now - anchor).multipliedFullWidth(by: bytesPerSecond)
        guard product.high < Self.nanosecondsPerSecond else { return .max }
        return Self.nanosecondsPerSecond.dividingFullWidth(product).quotient
    }

    /// Time until `bytes` are earned since the anchor, rounded up.
    private func nanoseconds(toEarn bytes: UInt64) -> UInt64 {
        let product = bytes.multipliedFullWidth(by: Self.nanosecondsPerSecond)
        guard product.high < bytesPerSecond else { return .max }
        let (quotient, remainder) = bytesPerSecond.dividingFullWidth(product)
        return remainder == 0 ? quotient : saturatingSum(quotient, 1)
    }
}

func saturatingSum(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let (sum, overflow) = left.addingReportingOverflow(right)
    return overflow ? .max : sum
}
