/// The meta row of a hash, set or sorted set.
///
/// ```
/// | count i32 | version i32 | expiry i32 |     12 bytes, little-endian
/// ```
/// The count is read from the front, the others from the end: Pika writes back a longer value that
/// it found.
public struct CollectionMeta: Equatable, Sendable {
    /// Number of elements.
    public var count: Int32
    /// Elements are live only with this version.
    public var version: Int32
    /// Deadline in Unix seconds, 0 for none.
    public var expiry: Int32

    static let encodedSize = 12

    /// Makes a meta.
    @inlinable
    public init(count: Int32, version: Int32, expiry: Int32) {
        self.count = count
        self.version = version
        self.expiry = expiry
    }

    init(decoding row: Bytes, kind: StoreKind) throws(StorageError) {
        guard row.count >= Self.encodedSize else {
            throw .corruptRow(
                kind: kind, family: .meta, expected: Self.encodedSize, length: row.count)
        }
        count = row.number(Int32.self, at: 0)
        version = row.number(Int32.self, at: row.count - 8)
        expiry = row.number(Int32.self, at: row.count - 4)
    }

    func encode(into row: UnsafeMutableRawPointer) {
        row.put(count, at: 0)
        row.put(version, at: 4)
        row.put(expiry, at: 8)
    }

    /// Whether the key exists at `now`.
    func isLive(now: Int64) -> Bool { count != 0 && !isStale(expiry: expiry, now: now) }

    /// The meta of a key made anew over this one.
    func recreated(now: Int64) -> CollectionMeta {
        CollectionMeta(count: 0, version: newVersion(over: version, now: now), expiry: 0)
    }

    /// Adds to the count.
    mutating func add(_ delta: Int) throws(StorageError) {
        guard let sum = Int32(exactly: Int(count) + delta) else { throw .countOverflow }
        count = sum
    }
}

/// Whether a deadline has passed: the key still lives in the second that equals it.
@inlinable
func isStale(expiry: Int32, now: Int64) -> Bool { expiry != 0 && Int64(expiry) < now }

/// The version of a key made at `now` over an old one: versions never repeat.
func newVersion(over old: Int32, now: Int64) -> Int32 {
    Int64(old) >= now ? old &+ 1 : Int32(truncatingIfNeeded: now)
}

/// A deadline as it is stored: 32 bits, whatever is cut off.
func storedExpiry(_ expiry: Int64) -> Int32 { Int32(truncatingIfNeeded: expiry) }

/// Keys of the element families, put together in a transaction's scratch buffers.
///
/// ```
/// | key length u32 | key | version i32 | field or member           |   hashes, sets, zsets data
/// | key length u32 | key | version i32 | index u64                 |   lists data
/// | key length u32 | key | version i32 | score f64 | member        |   zsets score
/// ```
struct ElementKeys {
    private let core: UnsafeMutablePointer<TransactionCore>
    private let slot: Scratch.Slot
    private let prefixCount: Int

    init(_ transaction: StoreTransaction, _ slot: Scratch.Slot, _ key: Bytes, version: Int32) {
        core = transaction.core
        self.slot = slot
        prefixCount = key.count + 8
        let buffer = core.pointee.scratch.buffer(slot, capacity: prefixCount)
        buffer.put(UInt32(key.count), at: 0)
        buffer.put(key, at: 4)
        buffer.put(version, at: key.count + 4)
    }

    /// The part that all elements of the key share.
    var prefix: Bytes {
        Bytes(start: core.pointee.scratch.buffer(slot, capacity: prefixCount), count: prefixCount)
    }

    /// Length of `prefix`.
    var prefixLength: Int { prefixCount }

    /// The key of a field or member.
    func key(_ element: Bytes) -> Bytes {
        let count = prefixCount + element.count
        let buffer = core.pointee.scratch.buffer(slot, capacity: count, keeping: prefixCount)
        buffer.put(element, at: prefixCount)
        return Bytes(start: buffer, count: count)
    }

    /// The key of a list's element.
    func key(index: UInt64) -> Bytes {
        let count = prefixCount + 8
        let buffer = core.pointee.scratch.buffer(slot, capacity: count, keeping: prefixCount)
        buffer.put(index, at: prefixCount)
        return Bytes(start: buffer, count: count)
    }

    /// The key of a score.
    func key(score: Double, _ member: Bytes) -> Bytes {
        let count = prefixCount + 8 + member.count
        let buffer = core.pointee.scratch.buffer(slot, capacity: count, keeping: prefixCount)
        buffer.put(score.bitPattern, at: prefixCount)
        buffer.put(member, at: prefixCount + 8)
        return Bytes(start: buffer, count: count)
    }
}

extension StoreTransaction {
    /// The meta row of a hash, set or sorted set, live or not.
    func collectionMeta(_ key: Bytes) throws(StorageError) -> CollectionMeta? {
        let row = try beginRead(.meta, key)
        defer { endRead() }
        guard let row else { return nil }
        return try CollectionMeta(decoding: row, kind: kind)
    }

    /// The meta row of a live key.
    func liveMeta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        guard let meta = try collectionMeta(key), meta.isLive(now: now) else { return nil }
        return meta
    }

    /// The meta to which elements are added: the live one, or that of a key made anew.
    func metaForWriting(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta {
        if AppliedRow.isReserved(key) { throw .reservedName }
        guard let meta = try collectionMeta(key) else {
            return CollectionMeta(count: 0, version: Int32(truncatingIfNeeded: now), expiry: 0)
        }
        return meta.isLive(now: now) ? meta : meta.recreated(now: now)
    }

    func putMeta(_ key: Bytes, _ meta: CollectionMeta) {
        meta.encode(into: reserve(.meta, key, valueLength: CollectionMeta.encodedSize))
    }

    /// Whether a row exists.
    func hasRow(_ family: Family, _ key: Bytes) throws(StorageError) -> Bool {
        let row = try beginRead(family, key)
        defer { endRead() }
        return row != nil
    }

    /// Visits the elements of a live key in the order of `family`, with their meta, as one state.
    ///
    /// - Parameters:
    ///   - key: the key.
    ///   - family: where the elements are.
    ///   - reverse: from high to low.
    ///   - now: effective now.
    ///   - start: puts the first row key together in the scratch buffer `.start`; nil for the end.
    ///   - prefix: only elements that begin with it (data families).
    ///   - limit: elements at most.
    ///   - body: takes the element without the key's prefix, the row's value, and the meta.
    func forEachElement(
        _ key: Bytes, _ family: Family, reverse: Bool = false, prefix: Bytes = .none, now: Int64,
        start: (ElementKeys, CollectionMeta) -> Bytes?,
        limit: (CollectionMeta) -> Int = { _ in .max },
        _ body: (Bytes, Bytes, CollectionMeta) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try consistently { sequence throws(StorageError) in
            guard let meta = try liveMeta(key, now: now) else { return true }
            let keys = ElementKeys(self, .element, key, version: meta.version)
            let length = keys.prefixLength
            let from = start(ElementKeys(self, .start, key, version: meta.version), meta)
            return try scan(
                family, prefix: keys.key(prefix), from: from, reverse: reverse, fillCache: true,
                limit: limit(meta), unchangedSince: sequence
            ) { row, value throws(StorageError) in
                try body(row.dropping(length), value, meta)
            }
        }
    }
}
