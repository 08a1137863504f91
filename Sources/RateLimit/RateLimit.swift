/// A token bucket over bytes: pure, exact, time is an argument.
///
/// Times are nanoseconds of any monotonic clock. Deadlines come from the total of bytes since the
/// last change of the rate, never from the last sleep, so errors do not add up.
public struct TokenBucket: Hashable, Sendable {
    /// Bytes per second; 0 = no limit.
    public private(set) var bytesPerSecond: UInt64

    /// Creates a full bucket.
    ///
    /// - Parameter chunkBytes: The largest single request that must always be possible.
    public init(bytesPerSecond: UInt64, chunkBytes: UInt64, now: UInt64) {
        fatalError("skeleton")
    }

    /// Takes `bytes` if they are there, all or nothing.
    public mutating func acquire(_ bytes: UInt64, now: UInt64) -> RateVerdict {
        fatalError("skeleton")
    }

    /// Gives back what was acquired and not used.
    public mutating func refund(_ bytes: UInt64, now: UInt64) {
        fatalError("skeleton")
    }

    /// Changes the rate at once.
    public mutating func setRate(bytesPerSecond: UInt64, now: UInt64) {
        fatalError("skeleton")
    }
}

/// What a bucket answers.
public enum RateVerdict: Hashable, Sendable {
    /// Go on.
    case granted
    /// Nothing was taken; ask again at this time (nanoseconds of the caller's clock).
    case waitUntil(nanoseconds: UInt64)
}

/// host > replica > {binlog, snapshot}: a request must pass every level; binlog goes first.
public struct BucketTree<ReplicaKey: Hashable & Sendable>: Sendable {
    /// What bytes are for.
    public enum Stream: UInt8, Hashable, Sendable, CaseIterable {
        /// Items of the log: never kept waiting by a snapshot.
        case binlog
        /// Files of a snapshot.
        case snapshot
    }

    /// Creates a tree without replicas.
    ///
    /// - Parameter chunkBytes: The largest single request that must always be possible.
    public init(bytesPerSecond: UInt64, chunkBytes: UInt64, now: UInt64) {
        fatalError("skeleton")
    }

    /// The limit of the host; 0 = none.
    public var bytesPerSecond: UInt64 { fatalError("skeleton") }

    /// Changes the host's limit at once.
    public mutating func setRate(bytesPerSecond: UInt64, now: UInt64) {
        fatalError("skeleton")
    }

    /// Adds a replica, or changes its own limit (0 = none but the host's).
    public mutating func setReplica(_ key: ReplicaKey, bytesPerSecond: UInt64, now: UInt64) {
        fatalError("skeleton")
    }

    /// Forgets a replica.
    public mutating func removeReplica(_ key: ReplicaKey) {
        fatalError("skeleton")
    }

    /// Takes `bytes` on every level, or on none.
    ///
    /// An unknown replica is limited by the host only.
    public mutating func acquire(
        _ bytes: UInt64, for key: ReplicaKey, stream: Stream, now: UInt64
    ) -> RateVerdict {
        fatalError("skeleton")
    }

    /// Gives back what was acquired and not used.
    public mutating func refund(
        _ bytes: UInt64, for key: ReplicaKey, stream: Stream, now: UInt64
    ) {
        fatalError("skeleton")
    }
}
