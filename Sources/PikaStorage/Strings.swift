import CPikaShim

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

    /// SETBIT's first offset that is refused.
    public static let setBitLimit = 1 << 21

    /// The longest value that APPEND and SETRANGE may make.
    public static let valueLimit = 512 << 20

    /// Bytes of the deadline behind a value.
    @usableFromInline static let expirySize = 4

    /// Operates on a transaction of the strings store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    // MARK: Reading

    /// Reads a live value; nil and 0 if there is none.
    ///
    /// The bytes are valid during `body`.
    @inlinable
    public func withValue<R>(
        _ key: Bytes, now: Int64,
        _ body: (_ value: Bytes?, _ expiry: Int32) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        let row = try transaction.beginRead(.meta, key)
        defer { transaction.endRead() }
        guard let row else { return try body(nil, 0) }
        let (value, expiry) = try Self.parts(of: row)
        if isStale(expiry: expiry, now: now) { return try body(nil, 0) }
        return try body(value, expiry)
    }

    /// Visits live keys and their values in byte order until `body` returns false.
    ///
    /// - Parameters:
    ///   - from: the first key that may be visited; empty for all.
    ///   - now: effective now.
    ///   - fillCache: whether blocks that are read shall stay in the block cache.
    ///   - body: takes key, value and deadline (0 for none); returns whether to go on.
    public func forEach(
        from: Bytes, now: Int64, fillCache: Bool = true,
        _ body: (
            _ key: Bytes, _ value: Bytes, _ expiry: Int32
        ) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try transaction.scan(
            .meta, prefix: .none, from: from, fillCache: fillCache
        ) { key, row throws(StorageError) in
            let (value, expiry) = try Self.parts(of: row)
            if isStale(expiry: expiry, now: now) || AppliedRow.isReserved(key) { return true }
            return try body(key, value, expiry)
        }
    }

    /// Value and deadline of a row.
    @inlinable
    static func parts(of row: Bytes) throws(StorageError) -> (value: Bytes, expiry: Int32) {
        guard row.count >= Self.expirySize else {
            throw .corruptRow(
                kind: .strings, family: .meta, expected: Self.expirySize, length: row.count)
        }
        let length = row.count - Self.expirySize
        let expiry = Int32(
            littleEndian: row.loadUnaligned(fromByteOffset: length, as: Int32.self))
        return (Bytes(rebasing: row[..<length]), expiry)
    }

    /// The length of a live value; nil if there is none.
    public func length(_ key: Bytes, now: Int64) throws(StorageError) -> Int? {
        try withValue(key, now: now) { value, _ in value?.count }
    }

    /// Whether a live value exists.
    public func exists(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        try withValue(key, now: now) { value, _ in value != nil }
    }

    /// The deadline of a live key (0 for none); nil if there is no such key.
    public func expiry(_ key: Bytes, now: Int64) throws(StorageError) -> Int32? {
        try withValue(key, now: now) { value, expiry in value == nil ? nil : expiry }
    }

    // MARK: Writing whole values

    /// SET, SETEX, PKSETEXAT: writes value and deadline (0 for none).
    public func set(_ key: Bytes, _ value: Bytes, expiry: Int64 = 0) throws(StorageError) {
        if AppliedRow.isReserved(key) { throw .reservedName }
        put(key, value, expiry: storedExpiry(expiry))
    }

    private func put(_ key: Bytes, _ value: Bytes, expiry: Int32) {
        let row = reserve(key, length: value.count, expiry: expiry)
        row.put(value, at: 0)
    }

    /// Makes room for a value of `length` bytes, which the caller fills in.
    private func reserve(_ key: Bytes, length: Int, expiry: Int32) -> UnsafeMutableRawPointer {
        let row = transaction.reserve(.meta, key, valueLength: length + Self.expirySize)
        row.put(expiry, at: length)
        return row
    }

    /// SETNX: writes unless a live value exists; returns whether it wrote.
    public func setIfAbsent(
        _ key: Bytes, _ value: Bytes, expiry: Int64 = 0, now: Int64
    ) throws(StorageError) -> Bool {
        if try exists(key, now: now) { return false }
        try set(key, value, expiry: expiry)
        return true
    }

    /// SET XX: writes if a live value exists; returns whether it wrote.
    public func setIfPresent(
        _ key: Bytes, _ value: Bytes, expiry: Int64 = 0, now: Int64
    ) throws(StorageError) -> Bool {
        guard try exists(key, now: now) else { return false }
        try set(key, value, expiry: expiry)
        return true
    }

    /// SET VX: writes if the live value equals `expected`; 1: written, 0: no such key, -1: differs.
    public func setIfEqual(
        _ key: Bytes, expected: Bytes, _ value: Bytes, expiry: Int64 = 0, now: Int64
    ) throws(StorageError) -> Int {
        let outcome = try compare(key, expected, now: now)
        if outcome == 1 { try set(key, value, expiry: expiry) }
        return outcome
    }

    /// DELVX: deletes if the live value equals `expected`; 1: deleted, 0: no such key, -1: differs.
    public func deleteIfEqual(
        _ key: Bytes, expected: Bytes, now: Int64
    ) throws(StorageError) -> Int {
        let outcome = try compare(key, expected, now: now)
        if outcome == 1 { transaction.delete(.meta, key) }
        return outcome
    }

    private func compare(
        _ key: Bytes, _ expected: Bytes, now: Int64
    ) throws(StorageError) -> Int {
        try withValue(key, now: now) { value, _ in
            guard let value else { return 0 }
            return value.equals(expected) ? 1 : -1
        }
    }

    // MARK: Keys

    /// DEL: returns whether a live value was there.
    public func delete(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        guard try exists(key, now: now) else { return false }
        transaction.delete(.meta, key)
        return true
    }

    /// EXPIREAT: sets the deadline of a live key, deletes it if that is not positive in 32 bits.
    ///
    /// - Returns: whether the key was there.
    public func setExpiry(_ key: Bytes, _ expiry: Int64, now: Int64) throws(StorageError) -> Bool {
        try withValue(key, now: now) { value, _ in
            guard let value else { return false }
            let stored = storedExpiry(expiry)
            if stored > 0 {
                put(key, value, expiry: stored)
            } else {
                transaction.delete(.meta, key)
            }
            return true
        }
    }

    /// PERSIST: returns whether there was a deadline to remove.
    public func persist(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        try withValue(key, now: now) { value, expiry in
            guard let value, expiry != 0 else { return false }
            put(key, value, expiry: 0)
            return true
        }
    }

    // MARK: Changing values

    /// APPEND: keeps the deadline; returns the new length.
    public func append(_ key: Bytes, _ value: Bytes, now: Int64) throws(StorageError) -> Int {
        if AppliedRow.isReserved(key) { throw .reservedName }
        return try withValue(key, now: now) { old, expiry throws(StorageError) in
            let oldLength = old?.count ?? 0
            let length = oldLength + value.count
            guard length <= Self.valueLimit else {
                throw .valueTooLong(limit: Self.valueLimit, length: length)
            }
            let row = reserve(key, length: length, expiry: expiry)
            if let old { row.put(old, at: 0) }
            row.put(value, at: oldLength)
            return length
        }
    }

    /// SETRANGE: pads with zeros, removes the deadline; returns the new length.
    ///
    /// An empty `value` pads too, as in Pika.
    public func setRange(
        _ key: Bytes, offset: Int64, _ value: Bytes, now: Int64
    ) throws(StorageError) -> Int {
        if AppliedRow.isReserved(key) { throw .reservedName }
        guard offset >= 0, offset <= Int64(Self.valueLimit - value.count) else {
            throw .offsetOutOfRange(limit: Self.valueLimit, offset: offset)
        }
        let start = Int(offset)
        return try withValue(key, now: now) { old, _ in
            let old = old ?? .none
            let length = max(old.count, start + value.count)
            let row = reserve(key, length: length, expiry: 0)
            row.put(old, at: 0)
            if start > old.count {
                (row + old.count).initializeMemory(
                    as: UInt8.self, repeating: 0, count: start - old.count)
            }
            row.put(value, at: start)
            return length
        }
    }

    /// SETBIT as real Pika has it; returns the old bit.
    ///
    /// A bit that is there already, beyond the end a 0, has no effect at all: a key is not made, a
    /// value not extended, a deadline not removed. Any other removes the deadline.
    ///
    /// - Parameter offset: counts from the most significant bit of the first byte and is below
    ///   `setBitLimit`.
    public func setBit(
        _ key: Bytes, offset: Int64, on: Bool, now: Int64
    ) throws(StorageError) -> Bool {
        if AppliedRow.isReserved(key) { throw .reservedName }
        guard offset >= 0, offset < Int64(Self.setBitLimit) else {
            throw .offsetOutOfRange(limit: Self.setBitLimit - 1, offset: offset)
        }
        let byte = Int(offset >> 3)
        let mask = UInt8(0x80) >> UInt8(offset & 7)
        return try withValue(key, now: now) { old, _ in
            let old = old ?? .none
            let isSet = byte < old.count && old[byte] & mask != 0
            guard isSet != on else { return isSet }
            let length = max(old.count, byte + 1)
            let row = reserve(key, length: length, expiry: 0)
            row.put(old, at: 0)
            if length > old.count {
                (row + old.count).initializeMemory(
                    as: UInt8.self, repeating: 0, count: length - old.count)
            }
            let before = row.load(fromByteOffset: byte, as: UInt8.self)
            row.storeBytes(
                of: on ? before | mask : before & ~mask, toByteOffset: byte, as: UInt8.self)
            return isSet
        }
    }

    /// INCR, INCRBY, DECR, DECRBY as real masters log them: keeps the deadline; returns the result.
    public func increment(
        _ key: Bytes, by delta: Int64, now: Int64
    ) throws(StorageError) -> Int64 {
        if AppliedRow.isReserved(key) { throw .reservedName }
        return try withValue(key, now: now) { old, expiry throws(StorageError) in
            let sum = try Numbers.add(old, delta)
            withNumberText(sum) { text in put(key, text, expiry: expiry) }
            return sum
        }
    }

    /// INCRBYFLOAT as real masters log it: keeps the deadline.
    public func incrementFloat(
        _ key: Bytes, by delta: Bytes, now: Int64
    ) throws(StorageError) {
        if AppliedRow.isReserved(key) { throw .reservedName }
        try withValue(key, now: now) { old, expiry throws(StorageError) in
            let text = try transaction.addFloat(old, delta)
            put(key, text, expiry: expiry)
        }
    }

    /// PFADD: returns whether the estimate changed; removes the deadline.
    public func pfAdd(
        _ key: Bytes, _ elements: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Bool {
        if AppliedRow.isReserved(key) { throw .reservedName }
        return try withValue(key, now: now) { old, expiry in
            if elements.isEmpty {
                put(key, .none, expiry: 0)
                return old == nil
            }
            var registers =
                transaction.takeRegisters(old ?? .none) ?? HyperLogLog(registers: old ?? .none)
            let (hasRisen, isOtherEstimate) = registers.add(elements)
            defer { transaction.keepRegisters(registers) }
            // The row is there already, as it would be written.
            if !hasRisen, expiry == 0, old?.count == HyperLogLog.registerCount { return false }
            registers.withBytes { put(key, $0, expiry: 0) }
            return isOtherEstimate
        }
    }
}
