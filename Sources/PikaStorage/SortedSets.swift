/// Operations on sorted set keys.
///
/// ```
/// default    key                                                             -> CollectionMeta
/// data_cf    | key length u32 | key | version i32 | member |                  -> score f64
/// score_cf   | key length u32 | key | version i32 | score f64 | member |      -> nothing
/// ```
/// All take `now`, the effective now in Unix seconds. Scores may be infinite, never NaN. Pika's own
/// ranges miss infinite scores and may take entries of other keys; ours bound every range by the
/// key's prefix.
public struct SortedSets {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Bytes of a score.
    static let scoreSize = 8

    /// Operates on a transaction of the zsets store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// Takes member and score; returns whether to go on.
    public typealias Visitor = (_ member: Bytes, _ score: Double) throws(StorageError) -> Bool

    // MARK: Reading

    /// The meta row of a live key; nil if there is none.
    public func meta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        try transaction.liveMeta(key, now: now)
    }

    /// ZCARD.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        Int(try meta(key, now: now)?.count ?? 0)
    }

    /// ZSCORE: nil if key or member are missing.
    public func score(_ key: Bytes, _ member: Bytes, now: Int64) throws(StorageError) -> Double? {
        guard let meta = try meta(key, now: now) else { return nil }
        return try score(key, meta, member)
    }

    /// The score of a member of a key whose meta has been read.
    public func score(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes
    ) throws(StorageError) -> Double? {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        return try score(row: keys.key(member))
    }

    /// The score in a row of `data_cf`.
    func score(row: Bytes) throws(StorageError) -> Double? {
        let value = try transaction.beginRead(.data, row)
        defer { transaction.endRead() }
        guard let value else { return nil }
        return try Self.decodeScore(value)
    }

    static func decodeScore(_ value: Bytes) throws(StorageError) -> Double {
        guard value.count == scoreSize else {
            throw .corruptRow(
                kind: .zsets, family: .data, expected: scoreSize, length: value.count)
        }
        return Double(bitPattern: value.number(UInt64.self, at: 0))
    }

    /// Splits what follows the prefix in a key of `score_cf`.
    static func splitScore(_ element: Bytes) throws(StorageError) -> (Double, Bytes) {
        guard element.count >= scoreSize else {
            throw .corruptRow(
                kind: .zsets, family: .score, expected: scoreSize, length: element.count)
        }
        return (
            Double(bitPattern: element.number(UInt64.self, at: 0)), element.dropping(scoreSize)
        )
    }

    /// ZRANK, ZREVRANK: nil if key or member are missing.
    public func rank(
        _ key: Bytes, _ member: Bytes, reverse: Bool, now: Int64
    ) throws(StorageError) -> Int? {
        var rank = 0
        var found = false
        try forEachByScore(key, .all, reverse: reverse, now: now) { candidate, _ in
            if candidate.equals(member) {
                found = true
                return false
            }
            rank += 1
            return true
        }
        return found ? rank : nil
    }

    /// ZSCAN: visits members in byte order until `body` returns false.
    ///
    /// - Parameters:
    ///   - key: the key.
    ///   - from: the first member that may be visited; empty for all.
    ///   - prefix: only members that begin with it.
    ///   - now: effective now.
    ///   - body: takes member and score; returns whether to go on.
    public func forEachMember(
        _ key: Bytes, from: Bytes = .none, prefix: Bytes = .none, now: Int64, _ body: Visitor
    ) throws(StorageError) {
        try transaction.forEachElement(
            key, .data, prefix: prefix, now: now,
            start: { keys, _ in keys.key(from.isBefore(prefix) ? prefix : from) },
            { member, value, _ throws(StorageError) in
                try body(member, try Self.decodeScore(value))
            })
    }

    /// ZRANGE, ZREVRANGE: ranks `start` to `stop`, both included, negative ones from the end.
    public func forEachByRank(
        _ key: Bytes, start: Int64, stop: Int64, reverse: Bool, now: Int64, _ body: Visitor
    ) throws(StorageError) {
        var position = 0
        try forEachScored(
            key, from: nil, reverse: reverse, now: now,
            limit: { (Self.ranks(start, stop, count: $0.count)?.upperBound ?? -1) + 1 }
        ) {
            member, score, meta throws(StorageError) in
            guard let range = Self.ranks(start, stop, count: meta.count),
                position <= range.upperBound
            else { return false }
            defer { position += 1 }
            if position < range.lowerBound { return true }
            return try body(member, score) && position < range.upperBound
        }
    }

    /// Ranks cut to what exists.
    static func ranks(_ start: Int64, _ stop: Int64, count: Int32) -> ClosedRange<Int>? {
        let count = Int64(max(count, 0))
        let first = max(start < 0 ? count &+ start : start, 0)
        let last = min(stop < 0 ? count &+ stop : stop, count - 1)
        guard first <= last else { return nil }
        return Int(first)...Int(last)
    }

    /// How many members a range of ranks has.
    public func rankRangeCount(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) -> Int {
        guard let meta = try meta(key, now: now) else { return 0 }
        return Self.ranks(start, stop, count: meta.count)?.count ?? 0
    }

    /// ZRANGEBYSCORE, ZREVRANGEBYSCORE without LIMIT, which the caller counts.
    public func forEachByScore(
        _ key: Bytes, _ range: ScoreRange, reverse: Bool, now: Int64, _ body: Visitor
    ) throws(StorageError) {
        // The first key that may be visited; behind an exclusive or last score it is the empty
        // member of the next score.
        let bound = reverse ? range.maximum : range.minimum
        let from =
            reverse
            ? (bound.isExclusive ? bound.value : bound.value.nextUp)
            : (bound.isExclusive ? bound.value.nextUp : bound.value)
        let isOpen = reverse && !bound.isExclusive && bound.value == .infinity
        try forEachScored(key, from: isOpen ? nil : from, reverse: reverse, now: now) {
            member, score, _ throws(StorageError) in
            if range.contains(score) { return try body(member, score) }
            // Outside: behind the far end, or in reverse the empty member of the first score.
            return reverse && (bound.isExclusive ? score >= bound.value : score > bound.value)
        }
    }

    /// Visits a live key's entries of `score_cf` from a score on.
    private func forEachScored(
        _ key: Bytes, from score: Double?, reverse: Bool, now: Int64,
        limit: (CollectionMeta) -> Int = { _ in .max },
        _ body: (Bytes, Double, CollectionMeta) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try transaction.forEachElement(
            key, .score, reverse: reverse, now: now,
            start: { keys, _ in score.map { keys.key(score: $0, .none) } }, limit: limit,
            { element, _, meta throws(StorageError) in
                let (score, member) = try Self.splitScore(element)
                return try body(member, score, meta)
            })
    }

    /// ZRANGEBYLEX, ZREVRANGEBYLEX without LIMIT, which the caller counts.
    public func forEachByLex(
        _ key: Bytes, _ range: LexRange, reverse: Bool, now: Int64, _ body: Visitor
    ) throws(StorageError) {
        let bound = reverse ? range.maximum : range.minimum
        try transaction.forEachElement(
            key, .data, reverse: reverse, now: now,
            start: { keys, _ in bound.member.map { keys.key($0) } },
            { member, value, _ throws(StorageError) in
                if reverse {
                    if !range.maximum.isAtOrAbove(member) { return true }
                    guard range.minimum.isAtOrBelow(member) else { return false }
                } else {
                    if !range.minimum.isAtOrBelow(member) { return true }
                    guard range.maximum.isAtOrAbove(member) else { return false }
                }
                return try body(member, try Self.decodeScore(value))
            })
    }

    /// ZCOUNT.
    public func countByScore(
        _ key: Bytes, _ range: ScoreRange, now: Int64
    ) throws(StorageError) -> Int {
        var count = 0
        try forEachByScore(key, range, reverse: false, now: now) { _, _ in
            count += 1
            return true
        }
        return count
    }

    /// ZLEXCOUNT.
    public func countByLex(
        _ key: Bytes, _ range: LexRange, now: Int64
    ) throws(StorageError) -> Int {
        var count = 0
        try forEachByLex(key, range, reverse: false, now: now) { _, _ in
            count += 1
            return true
        }
        return count
    }
}
