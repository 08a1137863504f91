/// An end of a list.
public enum ListEnd: UInt8, Sendable {
    case left = 0
    case right = 1
}

/// Operations on list keys.
///
/// All take `now`, the effective now in Unix seconds. Indexes count from 0, negative ones from the
/// end, as in Redis.
public struct Lists {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Operates on a transaction of the lists store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// LLEN.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        fatalError("skeleton")
    }

    /// LINDEX: nil if there is no such element.
    @inlinable
    public func withElement<R>(
        _ key: Bytes, at index: Int64, now: Int64, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R { fatalError("skeleton") }

    /// LRANGE: visits the elements from `start` to `stop`, both included, until `body` returns false.
    public func forEach(
        _ key: Bytes, start: Int64 = 0, stop: Int64 = -1, now: Int64,
        _ body: (_ element: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) { fatalError("skeleton") }

    /// How many elements LRANGE of these indexes will visit.
    public func rangeCount(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// LPUSH, RPUSH, LPUSHX, RPUSHX: returns the new length; 0 if nothing was done.
    public func push(
        _ key: Bytes, _ end: ListEnd, _ elements: UnsafeBufferPointer<Bytes>,
        onlyIfExists: Bool = false, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// LPOP, RPOP: takes up to `count` elements; returns how many. The bytes are valid during `body`.
    public func pop(
        _ key: Bytes, _ end: ListEnd, count: Int, now: Int64, _ body: (_ element: Bytes) -> Void
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// LSET.
    ///
    /// - Throws: `.noSuchKey`, `.indexOutOfRange`.
    public func set(
        _ key: Bytes, at index: Int64, _ element: Bytes, now: Int64
    ) throws(StorageError) { fatalError("skeleton") }

    /// LINSERT: returns the new length, 0 if there is no such key, -1 if there is no such pivot.
    public func insert(
        _ key: Bytes, before: Bool, pivot: Bytes, _ element: Bytes, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// LREM: removes `count` elements equal to `element` from the left (negative: from the right,
    /// 0: all); returns how many.
    public func remove(
        _ key: Bytes, count: Int64, _ element: Bytes, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// LTRIM.
    public func trim(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) { fatalError("skeleton") }
}
