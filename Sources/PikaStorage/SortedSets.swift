/// One end of a range of scores.
public struct ScoreBound: Equatable, Sendable {
    public var value: Double
    public var isExclusive: Bool

    /// Makes a bound.
    @inlinable
    public init(_ value: Double, isExclusive: Bool = false) {
        self.value = value
        self.isExclusive = isExclusive
    }
}

/// A range of scores.
public struct ScoreRange: Equatable, Sendable {
    public var minimum: ScoreBound
    public var maximum: ScoreBound

    /// Makes a range.
    @inlinable
    public init(minimum: ScoreBound, maximum: ScoreBound) {
        self.minimum = minimum
        self.maximum = maximum
    }

    /// All scores, infinities included.
    public static let all = ScoreRange(
        minimum: ScoreBound(-.infinity), maximum: ScoreBound(.infinity))

    /// Whether `score` lies inside.
    @inlinable
    public func contains(_ score: Double) -> Bool {
        (minimum.isExclusive ? score > minimum.value : score >= minimum.value)
            && (maximum.isExclusive ? score < maximum.value : score <= maximum.value)
    }
}

/// One end of a range of members.
public enum LexBound {
    /// `-`
    case lowest
    /// `+`
    case highest
    /// `[member`
    case inclusive(Bytes)
    /// `(member`
    case exclusive(Bytes)
}

/// A range of members; the bytes must outlive it.
public struct LexRange {
    public var minimum: LexBound
    public var maximum: LexBound

    /// Makes a range.
    @inlinable
    public init(minimum: LexBound, maximum: LexBound) {
        self.minimum = minimum
        self.maximum = maximum
    }
}

/// Operations on sorted set keys.
///
/// All take `now`, the effective now in Unix seconds. Scores may be infinite, never NaN.
public struct SortedSets {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Operates on a transaction of the zsets store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// Takes member and score; returns whether to go on.
    public typealias Visitor = (_ member: Bytes, _ score: Double) throws(StorageError) -> Bool

    /// The meta row of a live key; nil if there is none.
    public func meta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        fatalError("skeleton")
    }

    /// ZCARD.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        fatalError("skeleton")
    }

    /// ZSCORE: nil if key or member are missing.
    public func score(_ key: Bytes, _ member: Bytes, now: Int64) throws(StorageError) -> Double? {
        fatalError("skeleton")
    }

    /// The score of a member of a key whose meta has been read.
    public func score(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes
    ) throws(StorageError) -> Double? { fatalError("skeleton") }

    /// ZRANK, ZREVRANK: nil if key or member are missing.
    public func rank(
        _ key: Bytes, _ member: Bytes, reverse: Bool, now: Int64
    ) throws(StorageError) -> Int? { fatalError("skeleton") }

    /// ZSCAN: visits members in byte order.
    public func forEachMember(
        _ key: Bytes, from: Bytes = .none, prefix: Bytes = .none, now: Int64, _ body: Visitor
    ) throws(StorageError) { fatalError("skeleton") }

    /// ZRANGE, ZREVRANGE: ranks `start` to `stop`, both included, negative ones from the end.
    public func forEachByRank(
        _ key: Bytes, start: Int64, stop: Int64, reverse: Bool, now: Int64, _ body: Visitor
    ) throws(StorageError) { fatalError("skeleton") }

    /// How many members a range of ranks has.
    public func rankRangeCount(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZRANGEBYSCORE, ZREVRANGEBYSCORE without LIMIT, which the caller counts.
    public func forEachByScore(
        _ key: Bytes, _ range: ScoreRange, reverse: Bool, now: Int64, _ body: Visitor
    ) throws(StorageError) { fatalError("skeleton") }

    /// ZRANGEBYLEX, ZREVRANGEBYLEX without LIMIT, which the caller counts.
    public func forEachByLex(
        _ key: Bytes, _ range: LexRange, reverse: Bool, now: Int64, _ body: Visitor
    ) throws(StorageError) { fatalError("skeleton") }

    /// ZCOUNT.
    public func countByScore(
        _ key: Bytes, _ range: ScoreRange, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZLEXCOUNT.
    public func countByLex(
        _ key: Bytes, _ range: LexRange, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZADD of one member: returns whether it is new.
    public func add(
        _ key: Bytes, _ member: Bytes, score: Double, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// ZADD: score text, member, score text, member …; of a member named twice the first counts.
    /// Nothing is written if a score is not a number. Returns the number of new members.
    public func addPairs(
        _ key: Bytes, _ scoresAndMembers: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZREM: returns the number of members removed.
    public func remove(
        _ key: Bytes, _ members: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZINCRBY as real masters log it: returns the new score.
    public func increment(
        _ key: Bytes, _ member: Bytes, by delta: Double, now: Int64
    ) throws(StorageError) -> Double { fatalError("skeleton") }

    /// ZPOPMIN, ZPOPMAX (`highest`): takes up to `count` members; returns how many.
    public func pop(
        _ key: Bytes, highest: Bool, count: Int, now: Int64,
        _ body: (_ member: Bytes, _ score: Double) -> Void
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZREMRANGEBYRANK: returns the number of members removed.
    public func removeByRank(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZREMRANGEBYSCORE: returns the number of members removed.
    public func removeByScore(
        _ key: Bytes, _ range: ScoreRange, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// ZREMRANGEBYLEX: returns the number of members removed.
    public func removeByLex(
        _ key: Bytes, _ range: LexRange, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// GEOADD: longitude text, latitude text, member …; returns the number of new members.
    public func geoAdd(
        _ key: Bytes, _ triples: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }
}
