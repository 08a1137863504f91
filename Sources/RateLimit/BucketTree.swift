/// Buckets of a host and of its replicas: a request passes every level or none.
///
/// ```
/// host > replica > { binlog, snapshot }
/// ```
/// Who was refused keeps a *claim* on the bytes: later requests wait behind it, so that nobody
/// starves; a binlog's claim goes before every snapshot's. A claim lapses when its owner does not
/// come back in time (``claimGraceNanoseconds`` after the deadline that it was given).
public struct BucketTree<ReplicaKey: Hashable & Sendable>: Sendable {
    /// What bytes are for.
    public enum Stream: UInt8, Hashable, Sendable, CaseIterable {
        /// Items of the log: never kept waiting by a snapshot.
        case binlog
        /// Files of a snapshot.
        case snapshot
    }

    /// How late the owner of a claim may come back.
    public static var claimGraceNanoseconds: UInt64 { 100_000_000 }
    /// Claims that are kept; whoever comes then has none.
    public static var maxClaims: Int { 1_024 }

    private struct Claim: Sendable {
        var key: ReplicaKey
        var stream: Stream
        var bytes: UInt64
        var lapses: UInt64
    }

    private var host: TokenBucket
    private var replicas: [ReplicaKey: TokenBucket] = [:]
    /// In the order in which they will be served.
    private var claims: [Claim] = []

    /// Creates a tree without replicas.
    ///
    /// - Parameters:
    ///   - bytesPerSecond: The limit of the host; 0 = none.
    ///   - chunkBytes: The largest request that anybody cares to make: see ``grantBytes(for:)``.
    ///   - now: Nanoseconds.
    public init(bytesPerSecond: UInt64, chunkBytes: UInt64, now: UInt64) {
        host = TokenBucket(bytesPerSecond: bytesPerSecond, chunkBytes: chunkBytes, now: now)
    }

    /// The limit of the host; 0 = none.
    public var bytesPerSecond: UInt64 { host.bytesPerSecond }

    /// What to ask for at once.
    public func grantBytes(for key: ReplicaKey) -> UInt64 {
        min(host.grantBytes, replicas[key]?.grantBytes ?? .max)
    }

    /// Changes the host's limit at once; whoever waits must ask again now.
    public mutating func setRate(bytesPerSecond: UInt64, now: UInt64) {
        host.setRate(bytesPerSecond: bytesPerSecond, now: now)
        claims.removeAll()
    }

    /// Adds a replica, or changes its own limit (0 = none but the host's).
    public mutating func setReplica(_ key: ReplicaKey, bytesPerSecond: UInt64, now: UInt64) {
        if replicas[key] == nil {
            replicas[key] = TokenBucket(
                bytesPerSecond: bytesPerSecond, chunkBytes: host.chunkBytes, now: now)
        } else {
            replicas[key]?.setRate(bytesPerSecond: bytesPerSecond, now: now)
            claims.removeAll { $0.key == key }
        }
    }

    /// Forgets a replica.
    public mutating func removeReplica(_ key: ReplicaKey) {
        replicas[key] = nil
        claims.removeAll { $0.key == key }
    }

    /// Takes `bytes` on every level, or on none.
    ///
    /// An unknown replica is limited by the host only.
    public mutating func acquire(
        _ bytes: UInt64, for key: ReplicaKey, stream: Stream, now: UInt64
    ) -> RateVerdict {
        claims.removeAll { $0.lapses < now }
        let own = claims.firstIndex { $0.key == key && $0.stream == stream }
        let ahead = claims.prefix(own ?? insertionIndex(stream))
        let hostAhead = ahead.reduce(0) { saturatingSum($0, $1.bytes) }
        let ownAhead = ahead.reduce(0) { $1.key == key ? saturatingSum($0, $1.bytes) : $0 }

        // Both levels are asked before either is charged: a refusal leaves no trace.
        let hostDeadline = host.deadline(for: bytes, behind: hostAhead, now: now)
        let ownDeadline = replicas[key]?.deadline(for: bytes, behind: ownAhead, now: now)
        guard let deadline = [hostDeadline, ownDeadline].compactMap({ $0 }).max() else {
            host.take(bytes)
            replicas[key]?.take(bytes)
            if let own { claims.remove(at: own) }
            return .granted
        }
        // Only the host's bytes are contended: who waits for its own limit claims nothing.
        let isContended = hostDeadline != nil && (ownDeadline ?? 0) <= (hostDeadline ?? 0)
        note(isContended ? bytes : nil, own, key, stream, deadline: deadline)
        return .waitUntil(nanoseconds: deadline)
    }

    /// Gives back what was acquired and not used.
    public mutating func refund(
        _ bytes: UInt64, for key: ReplicaKey, stream: Stream, now: UInt64
    ) {
        host.refund(bytes, now: now)
        replicas[key]?.refund(bytes, now: now)
    }

    /// Behind all binlogs for a binlog, behind everybody for a snapshot.
    private func insertionIndex(_ stream: Stream) -> Int {
        switch stream {
        case .binlog: claims.firstIndex { $0.stream == .snapshot } ?? claims.count
        case .snapshot: claims.count
        }
    }

    private mutating func note(
        _ bytes: UInt64?, _ own: Int?, _ key: ReplicaKey, _ stream: Stream, deadline: UInt64
    ) {
        guard let bytes else {
            if let own { claims.remove(at: own) }
            return
        }
        let claim = Claim(
            key: key, stream: stream, bytes: bytes,
            lapses: saturatingSum(deadline, Self.claimGraceNanoseconds))
        if let own {
            claims[own] = claim
        } else if claims.count < Self.maxClaims {
            claims.insert(claim, at: insertionIndex(stream))
        }
    }
}
