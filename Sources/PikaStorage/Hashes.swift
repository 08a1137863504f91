/// Operations on hash keys.
///
/// All take `now`, the effective now in Unix seconds.
public struct Hashes {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Operates on a transaction of the hashes store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// The meta row of a live key; nil if there is none. To be passed to `withField`.
    public func meta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        fatalError("skeleton")
    }

    /// Reads one field of a key whose meta has been read (HMGET).
    @inlinable
    public func withField<R>(
        _ key: Bytes, _ meta: CollectionMeta, _ field: Bytes,
        _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R { fatalError("skeleton") }

    /// HGET, HSTRLEN: reads one field; nil if key or field are missing.
    @inlinable
    public func withField<R>(
        _ key: Bytes, _ field: Bytes, now: Int64, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R { fatalError("skeleton") }

    /// HEXISTS.
    public func exists(_ key: Bytes, _ field: Bytes, now: Int64) throws(StorageError) -> Bool {
        fatalError("skeleton")
    }

    /// HLEN.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        fatalError("skeleton")
    }

    /// HGETALL, HKEYS, HVALS, HSCAN: visits fields in byte order until `body` returns false.
    ///
    /// - Parameters:
    ///   - key: the key.
    ///   - from: the first field that may be visited; empty for all.
    ///   - prefix: only fields that begin with it.
    ///   - now: effective now.
    ///   - body: takes field and value; returns whether to go on.
    public func forEach(
        _ key: Bytes, from: Bytes = .none, prefix: Bytes = .none, now: Int64,
        _ body: (_ field: Bytes, _ value: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) { fatalError("skeleton") }

    /// HSET: returns whether the field is new.
    public func set(
        _ key: Bytes, _ field: Bytes, _ value: Bytes, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// HMSET: field, value, field, value …; the last value of a field counts. Returns the number of
    /// new fields.
    public func setPairs(
        _ key: Bytes, _ fieldsAndValues: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// HSETNX: returns whether it wrote.
    public func setIfAbsent(
        _ key: Bytes, _ field: Bytes, _ value: Bytes, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// HDEL: returns the number of fields deleted.
    public func delete(
        _ key: Bytes, _ fields: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// HINCRBY as real masters log it.
    public func increment(
        _ key: Bytes, _ field: Bytes, by delta: Int64, now: Int64
    ) throws(StorageError) -> Int64 { fatalError("skeleton") }

    /// HINCRBYFLOAT as real masters log it.
    public func incrementFloat(
        _ key: Bytes, _ field: Bytes, by delta: Bytes, now: Int64
    ) throws(StorageError) { fatalError("skeleton") }
}

/// The meta row of a hash, set or sorted set.
public struct CollectionMeta: Equatable, Sendable {
    /// Number of elements.
    public var count: Int32
    /// Elements are live only with this version.
    public var version: Int32
    /// Deadline in Unix seconds, 0 for none.
    public var expiry: Int32

    /// Makes a meta.
    @inlinable
    public init(count: Int32, version: Int32, expiry: Int32) {
        self.count = count
        self.version = version
        self.expiry = expiry
    }
}
