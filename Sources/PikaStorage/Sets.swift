/// Operations on set keys.
///
/// All take `now`, the effective now in Unix seconds.
public struct Sets {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Operates on a transaction of the sets store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// The meta row of a live key; nil if there is none.
    public func meta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        fatalError("skeleton")
    }

    /// SCARD.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        fatalError("skeleton")
    }

    /// SISMEMBER.
    public func contains(_ key: Bytes, _ member: Bytes, now: Int64) throws(StorageError) -> Bool {
        fatalError("skeleton")
    }

    /// Whether `member` belongs to a key whose meta has been read (SINTER, SDIFF).
    public func contains(
        _ key: Bytes, _ meta: CollectionMeta, _ member: Bytes
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// SMEMBERS, SSCAN: visits members in byte order until `body` returns false.
    public func forEach(
        _ key: Bytes, from: Bytes = .none, prefix: Bytes = .none, now: Int64,
        _ body: (_ member: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) { fatalError("skeleton") }

    /// SADD: returns the number of new members.
    public func add(
        _ key: Bytes, _ members: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// SREM: returns the number of members removed.
    public func remove(
        _ key: Bytes, _ members: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// SPOP as real masters of 3.5.0 log it: takes the `count` members that come first by a hash of
    /// `seed` and member, so that replays and sub-replicas choose alike; returns how many.
    public func popByHash(
        _ key: Bytes, count: Int, seed: UInt64, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }
}
