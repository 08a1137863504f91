import CXXHash

extension SortedSets {
    // MARK: Rows

    /// Writes or deletes an entry of `score_cf`.
    ///
    /// -0.0 and 0.0 are one key there with two byte forms, and a batch holds at most one of them.
    private func writeScoreRow(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes, _ score: Double, isDelete: Bool
    ) {
        let keys = ElementKeys(transaction, .score, key, version: meta.version)
        if score == 0 { transaction.forget(.score, keys.key(score: -score, member)) }
        let row = keys.key(score: score, member)
        if isDelete {
            transaction.delete(.score, row)
        } else {
            transaction.put(.score, row, .none)
        }
    }

    private func writeScore(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes, _ score: Double
    ) {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        let value = transaction.reserve(
            .data, keys.key(member), valueLength: Self.scoreSize)
        value.put(score.bitPattern, at: 0)
        writeScoreRow(key, meta, member, score, isDelete: false)
    }

    private func deleteMember(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes, _ score: Double
    ) {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        transaction.delete(.data, keys.key(member))
        writeScoreRow(key, meta, member, score, isDelete: true)
    }

    /// Sets one member's score, counting it in `meta` if it is new.
    private func put(
        _ key: Bytes, _ meta: inout CollectionMeta, wasEmpty: Bool, _ member: Bytes,
        _ score: Double
    ) throws(StorageError) -> Bool {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        let row = keys.key(member)
        let old = wasEmpty && !transaction.hasWritten(row) ? nil : try self.score(row: row)
        if let old {
            if old == score { return false }
            writeScoreRow(key, meta, member, old, isDelete: true)
            writeScore(key, meta, member, score)
            return false
        }
        try meta.add(1)
        writeScore(key, meta, member, score)
        return true
    }

    // MARK: Adding

    /// ZADD of one member: returns whether it is new.
    public func add(
        _ key: Bytes, _ member: Bytes, score: Double, now: Int64
    ) throws(StorageError) -> Bool {
        guard !score.isNaN else { throw .resultIsNaN }
        var meta = try transaction.metaForWriting(key, now: now)
        let isNew = try put(key, &meta, wasEmpty: meta.count == 0, member, score)
        if isNew { transaction.putMeta(key, meta) }
        return isNew
    }

    /// ZADD: score text, member, score text, member …; of a member named twice the first counts.
    ///
    /// Nothing is written if a score is not a number.
    ///
    /// - Returns: the number of new members.
    public func addPairs(
        _ key: Bytes, _ scoresAndMembers: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        guard scoresAndMembers.count % 2 == 0 else {
            throw .unpairedArguments(count: scoresAndMembers.count)
        }
        var scores: [Double] = []
        scores.reserveCapacity(scoresAndMembers.count / 2)
        for index in stride(from: 0, to: scoresAndMembers.count, by: 2) {
            guard let score = Numbers.double(scoresAndMembers[index]) else { throw .notAFloat }
            scores.append(score)
        }
        return try add(key, scores, now: now) { scoresAndMembers[2 * $0 + 1] }
    }

    private func add(
        _ key: Bytes, _ scores: [Double], now: Int64, member: (Int) -> Bytes
    ) throws(StorageError) -> Int {
        var meta = try transaction.metaForWriting(key, now: now)
        let wasEmpty = meta.count == 0
        var seen = MemberSet(capacity: scores.count)
        var added = 0
        for (index, score) in scores.enumerated() {
            let member = member(index)
            guard seen.insert(member) else { continue }
            if try put(key, &meta, wasEmpty: wasEmpty, member, score) { added += 1 }
        }
        if added > 0 { transaction.putMeta(key, meta) }
        return added
    }

    /// GEOADD: longitude text, latitude text, member …; returns the number of new members.
    public func geoAdd(
        _ key: Bytes, _ triples: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        guard triples.count % 3 == 0 else { throw .unpairedArguments(count: triples.count) }
        var scores: [Double] = []
        scores.reserveCapacity(triples.count / 3)
        for index in stride(from: 0, to: triples.count, by: 3) {
            guard let longitude = Numbers.double(triples[index]),
                let latitude = Numbers.double(triples[index + 1])
            else { throw .notAFloat }
            guard let hash = Geohash.encode(longitude: longitude, latitude: latitude) else {
                throw .invalidCoordinates
            }
            scores.append(Double(hash))
        }
        return try add(key, scores, now: now) { triples[3 * $0 + 2] }
    }

    /// ZINCRBY as real masters log it: returns the new score.
    public func increment(
        _ key: Bytes, _ member: Bytes, by delta: Double, now: Int64
    ) throws(StorageError) -> Double {
        let sum = (try score(key, member, now: now) ?? 0) + delta
        _ = try add(key, member, score: sum, now: now)
        return sum
    }

    // MARK: Removing

    /// Members from which on a removal of all gives the key a new version, as DEL does, and leaves
    /// the rows to compaction.
    static let recreatedCount: Int32 = 1000

    /// ZREM: returns the number of members removed.
    public func remove(
        _ key: Bytes, _ members: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        guard var meta = try meta(key, now: now) else { return 0 }
        var removed = 0
        for member in members {
            guard let score = try score(key, meta, member) else { continue }
            deleteMember(key, meta, member, score)
            removed += 1
        }
        try finishRemoval(key, &meta, removed)
        return removed
    }

    private func finishRemoval(
        _ key: Bytes, _ meta: inout CollectionMeta, _ removed: Int
    ) throws(StorageError) {
        guard removed > 0 else { return }
        // A directory that Pika damaged may hold more entries than it counts.
        try meta.add(-min(removed, Int(meta.count)))
        transaction.putMeta(key, meta)
    }

    /// ZPOPMIN, ZPOPMAX (`highest`): takes up to `count` members; returns how many.
    ///
    /// The bytes are valid during `body`.
    public func pop(
        _ key: Bytes, highest: Bool, count: Int, now: Int64,
        _ body: (_ member: Bytes, _ score: Double) -> Void
    ) throws(StorageError) -> Int {
        guard count > 0 else { return 0 }
        return try removeVisited(key, now: now) { visit throws(StorageError) in
            var rest = count
            try forEachByScore(key, .all, reverse: highest, now: now) {
                member, score throws(StorageError) in
                body(member, score)
                visit(member, score)
                rest -= 1
                return rest > 0
            }
        }
    }

    /// ZREMRANGEBYRANK: returns the number of members removed.
    public func removeByRank(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) -> Int {
        if let meta = try meta(key, now: now), meta.count >= Self.recreatedCount,
            start == 0 || start <= -Int64(meta.count), stop == -1 || stop >= Int64(meta.count) - 1
        {
            transaction.putMeta(key, meta.recreated(now: now))
            return Int(meta.count)
        }
        return try removeVisited(key, now: now) { visit throws(StorageError) in
            try forEachByRank(key, start: start, stop: stop, reverse: false, now: now) {
                visit($0, $1)
                return true
            }
        }
    }

    /// ZREMRANGEBYSCORE: returns the number of members removed.
    public func removeByScore(
        _ key: Bytes, _ range: ScoreRange, now: Int64
    ) throws(StorageError) -> Int {
        try removeVisited(key, now: now) { visit throws(StorageError) in
            try forEachByScore(key, range, reverse: false, now: now) {
                visit($0, $1)
                return true
            }
        }
    }

    /// ZREMRANGEBYLEX: returns the number of members removed.
    public func removeByLex(
        _ key: Bytes, _ range: LexRange, now: Int64
    ) throws(StorageError) -> Int {
        try removeVisited(key, now: now) { visit throws(StorageError) in
            try forEachByLex(key, range, reverse: false, now: now) {
                visit($0, $1)
                return true
            }
        }
    }

    /// Removes each member that `walk` reports, while it walks.
    private func removeVisited(
        _ key: Bytes, now: Int64,
        _ walk: (_ visit: (Bytes, Double) -> Void) throws(StorageError) -> Void
    ) throws(StorageError) -> Int {
        guard var meta = try meta(key, now: now) else { return 0 }
        let found = meta
        var removed = 0
        try walk { member, score in
            deleteMember(key, found, member, score)
            removed += 1
        }
        try finishRemoval(key, &meta, removed)
        return removed
    }
}

/// The members that one call has named so far.
private struct MemberSet {
    /// Calls with fewer members compare one by one.
    private static let linearLimit = 8

    private var members: [Bytes] = []
    private var byHash: [UInt64: [Int]] = [:]
    private let seed: UInt64
    private let isLinear: Bool
    private let isSingle: Bool

    init(capacity: Int) {
        isSingle = capacity == 1
        isLinear = capacity <= Self.linearLimit
        // Asks the system, which costs more than a member.
        seed = isLinear ? 0 : UInt64.random(in: .min ... .max)
        if !isSingle { members.reserveCapacity(capacity) }
    }

    /// Returns whether the member is new.
    mutating func insert(_ member: Bytes) -> Bool {
        if isSingle { return true }
        if isLinear {
            for other in members where other.equals(member) { return false }
        } else {
            let hash = XXH3_64bits_withSeed(member.baseAddress, member.count, seed)
            for index in byHash[hash, default: []] where members[index].equals(member) {
                return false
            }
            byHash[hash, default: []].append(members.count)
        }
        members.append(member)
        return true
    }
}
