/// Operations on string keys.
///
/// A row of the default family:
/// ```
/// | value, n bytes | expiry i32 |      expiry: Unix seconds, 0 = none; little-endian
/// ```
/// All take `now`, the effective now in Unix seconds; a key is stale when expiry != 0 and
/// expiry < now. Deadlines are stored in 32 bits and cut to them, as Pika does: callers refuse or
/// clamp what does not fit.
public struct Strings {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Operates on a transaction of the strings store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    /// Reads a live value; nil and 0 if there is none. The bytes are valid during `body`.
    @inlinable
    public func withValue<R>(
        _ key: Bytes, now: Int64,
        _ body: (_ value: Bytes?, _ expiry: Int32) throws(StorageError) -> R
    ) throws(StorageError) -> R { fatalError("skeleton") }

    /// The length of a live value; nil if there is none.
    public func length(_ key: Bytes, now: Int64) throws(StorageError) -> Int? {
        fatalError("skeleton")
    }

    /// Whether a live value exists.
    public func exists(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        fatalError("skeleton")
    }

    /// The deadline of a live key (0 for none); nil if there is no such key.
    public func expiry(_ key: Bytes, now: Int64) throws(StorageError) -> Int32? {
        fatalError("skeleton")
    }

    /// SET, SETEX, PKSETEXAT: writes value and deadline (0 for none).
    public func set(_ key: Bytes, _ value: Bytes, expiry: Int64 = 0) { fatalError("skeleton") }

    /// SETNX: writes unless a live value exists; returns whether it wrote.
    public func setIfAbsent(
        _ key: Bytes, _ value: Bytes, expiry: Int64 = 0, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// SET XX: writes if a live value exists; returns whether it wrote.
    public func setIfPresent(
        _ key: Bytes, _ value: Bytes, expiry: Int64 = 0, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// SET VX: writes if the live value equals `expected`. 1: written, 0: no such key, -1: differs.
    public func setIfEqual(
        _ key: Bytes, expected: Bytes, _ value: Bytes, expiry: Int64 = 0, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// DELVX: deletes if the live value equals `expected`. 1: deleted, 0: no such key, -1: differs.
    public func deleteIfEqual(
        _ key: Bytes, expected: Bytes, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// DEL: returns whether a live value was there.
    public func delete(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        fatalError("skeleton")
    }

    /// EXPIREAT: sets the deadline of a live key, deletes it if `expiry` <= 0 in 32 bits; returns
    /// whether the key was there.
    public func setExpiry(_ key: Bytes, _ expiry: Int64, now: Int64) throws(StorageError) -> Bool {
        fatalError("skeleton")
    }

    /// PERSIST: returns whether there was a deadline to remove.
    public func persist(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        fatalError("skeleton")
    }

    /// APPEND: keeps the deadline; returns the new length.
    public func append(_ key: Bytes, _ value: Bytes, now: Int64) throws(StorageError) -> Int {
        fatalError("skeleton")
    }

    /// SETRANGE: pads with zeros, removes the deadline; returns the new length.
    public func setRange(
        _ key: Bytes, offset: Int64, _ value: Bytes, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }

    /// SETBIT: removes the deadline; returns the old bit. `offset` counts from the most significant
    /// bit of the first byte and is below `setBitLimit`.
    public func setBit(
        _ key: Bytes, offset: Int64, on: Bool, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }

    /// SETBIT's first offset that is refused.
    public static let setBitLimit = 1 << 21

    /// The longest value that APPEND and SETRANGE may make.
    public static let valueLimit = 512 << 20

    /// INCR, INCRBY, DECR, DECRBY as real masters log them: keeps the deadline; returns the result.
    public func increment(
        _ key: Bytes, by delta: Int64, now: Int64
    ) throws(StorageError) -> Int64 { fatalError("skeleton") }

    /// INCRBYFLOAT as real masters log it: keeps the deadline.
    public func incrementFloat(
        _ key: Bytes, by delta: Bytes, now: Int64
    ) throws(StorageError) { fatalError("skeleton") }

    /// PFADD: returns whether the estimate changed. Removes the deadline.
    public func pfAdd(
        _ key: Bytes, _ elements: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Bool { fatalError("skeleton") }
}
