import CXXHash

/// Operations on set keys.
///
/// ```
/// default     key                                              -> CollectionMeta
/// member_cf   | key length u32 | key | version i32 | member |   -> nothing
/// ```
/// All take `now`, the effective now in Unix seconds.
public struct Sets {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Operates on a transaction of the sets store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// The meta row of a live key; nil if there is none.
    public func meta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        try transaction.liveMeta(key, now: now)
    }

    /// SCARD.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        Int(try meta(key, now: now)?.count ?? 0)
    }

    /// SISMEMBER.
    public func contains(_ key: Bytes, _ member: Bytes, now: Int64) throws(StorageError) -> Bool {
        guard let meta = try meta(key, now: now) else { return false }
        return try contains(key, meta, member)
    }

    /// Whether `member` belongs to a key whose meta has been read (SINTER, SDIFF).
    public func contains(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes
    ) throws(StorageError) -> Bool {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        return try transaction.hasRow(.data, keys.key(member))
    }

    /// SMEMBERS, SSCAN: visits members in byte order until `body` returns false.
    ///
    /// - Parameters:
    ///   - key: the key.
    ///   - from: the first member that may be visited; empty for all.
    ///   - prefix: only members that begin with it.
    ///   - now: effective now.
    ///   - body: takes a member; returns whether to go on.
    public func forEach(
        _ key: Bytes, from: Bytes = .none, prefix: Bytes = .none, now: Int64,
        _ body: (_ member: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try transaction.forEachElement(
            key, .data, prefix: prefix, now: now,
            start: { keys, _ in keys.key(from.isBefore(prefix) ? prefix : from) },
            { member, _, _ throws(StorageError) in try body(member) })
    }

    /// SADD: returns the number of new members.
    public func add(
        _ key: Bytes, _ members: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        var meta = try transaction.metaForWriting(key, now: now)
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        var added = 0
        for member in members {
            let row = keys.key(member)
            if try transaction.hasElement(row, wasEmpty: meta.count == 0) { continue }
            transaction.put(.data, row, .none)
            added += 1
        }
        guard added > 0 else { return 0 }
        try meta.add(added)
        transaction.putMeta(key, meta)
        return added
    }

    /// SREM: returns the number of members removed.
    public func remove(
        _ key: Bytes, _ members: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        try transaction.deleteElements(key, members, now: now)
    }

    /// SPOP as real masters of 3.5.0 log it: takes `count` members by a hash of `seed` and member.
    ///
    /// So replays and sub-replicas choose alike. Pika deletes the meta row when the count is larger
    /// than the set; then an old version could be born again, with members of long ago. Here the
    /// row stays, with a count of 0.
    ///
    /// - Returns: how many were taken.
    public func popByHash(
        _ key: Bytes, count: Int, seed: UInt64, now: Int64
    ) throws(StorageError) -> Int {
        guard count > 0, var meta = try meta(key, now: now) else { return 0 }
        var chosen: [(order: UInt64, member: [UInt8])] = []
        try forEach(key, now: now) { member in
            chosen.append(
                (XXH64(member.baseAddress, member.count, seed), [UInt8](member)))
            return true
        }
        chosen.sort {
            $0.order != $1.order
                ? $0.order < $1.order : $0.member.lexicographicallyPrecedes($1.member)
        }
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        let taken = chosen.prefix(count)
        for (_, member) in taken {
            member.withUnsafeBytes { transaction.delete(.data, keys.key($0)) }
        }
        meta.count = Int32(clamping: chosen.count - taken.count)
        transaction.putMeta(key, meta)
        return taken.count
    }
}
