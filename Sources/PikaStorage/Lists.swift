/// An end of a list.
public enum ListEnd: UInt8, Sendable {
    case left = 0
    case right = 1
}

/// The meta row of a list.
///
/// ```
/// | count u64 | version i32 | expiry i32 | left u64 | right u64 |     32 bytes, little-endian
/// ```
/// Elements are at left + 1 ..< right. The count is read from the front, the rest from the end.
struct ListMeta: Equatable {
    var count: UInt64
    var version: Int32
    var expiry: Int32
    var left: UInt64
    var right: UInt64

    static let encodedSize = 32
    static let initialLeft: UInt64 = 1 << 63 - 1
    static let initialRight: UInt64 = 1 << 63

    /// The meta of a key made at `now`.
    init(version: Int32) {
        count = 0
        self.version = version
        expiry = 0
        left = Self.initialLeft
        right = Self.initialRight
    }

    init(decoding row: Bytes) throws(StorageError) {
        guard row.count >= Self.encodedSize else {
            throw .corruptRow(
                kind: .lists, family: .meta, expected: Self.encodedSize, length: row.count)
        }
        count = row.number(UInt64.self, at: 0)
        version = row.number(Int32.self, at: row.count - 24)
        expiry = row.number(Int32.self, at: row.count - 20)
        left = row.number(UInt64.self, at: row.count - 16)
        right = row.number(UInt64.self, at: row.count - 8)
    }

    func encode(into row: UnsafeMutableRawPointer) {
        row.put(count, at: 0)
        row.put(version, at: 8)
        row.put(expiry, at: 12)
        row.put(left, at: 16)
        row.put(right, at: 24)
    }

    func isLive(now: Int64) -> Bool { count != 0 && !isStale(expiry: expiry, now: now) }

    /// The meta of a key made anew over this one.
    func recreated(now: Int64) -> ListMeta {
        ListMeta(version: newVersion(over: version, now: now))
    }

    /// The storage index of an element; nil if there is none at `index`.
    func storageIndex(_ index: Int64) -> UInt64? {
        let length = Int64(clamping: right &- left &- 1)
        let position = index < 0 ? length &+ index : index
        guard position >= 0, position < length else { return nil }
        return left &+ 1 &+ UInt64(position)
    }

    /// The storage indexes from `start` to `stop`, both included, cut to what exists.
    func storageRange(_ start: Int64, _ stop: Int64) -> ClosedRange<UInt64>? {
        let length = Int64(clamping: right &- left &- 1)
        let first = max(start < 0 ? length &+ start : start, 0)
        let last = min(stop < 0 ? length &+ stop : stop, length - 1)
        guard first <= last, first < length else { return nil }
        return left &+ 1 &+ UInt64(first)...left &+ 1 &+ UInt64(last)
    }
}

/// Operations on list keys.
///
/// ```
/// default   key                                                 -> ListMeta
/// data_cf   | key length u32 | key | version i32 | index u64 |   -> element
/// ```
/// All take `now`, the effective now in Unix seconds. Indexes count from 0, negative ones from the
/// end, as in Redis.
public struct Lists {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Elements up to which single reads are cheaper than an iterator.
    static let readsWithoutIterator: UInt64 = 2

    /// Operates on a transaction of the lists store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    // MARK: Reading

    func meta(_ key: Bytes) throws(StorageError) -> ListMeta? {
        let row = try transaction.beginRead(.meta, key)
        defer { transaction.endRead() }
        guard let row else { return nil }
        return try ListMeta(decoding: row)
    }

    func liveMeta(_ key: Bytes, now: Int64) throws(StorageError) -> ListMeta? {
        guard let meta = try meta(key), meta.isLive(now: now) else { return nil }
        return meta
    }

    /// LLEN.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        Int(clamping: try liveMeta(key, now: now)?.count ?? 0)
    }

    /// LINDEX: nil if there is no such element.
    @inlinable
    public func withElement<R>(
        _ key: Bytes, at index: Int64, now: Int64, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        let (element, isReading) = try beginElement(key, at: index, now: now)
        defer { if isReading { transaction.endRead() } }
        return try body(element)
    }

    /// Reads an element; retries when it went while the meta row was read.
    @usableFromInline
    func beginElement(
        _ key: Bytes, at index: Int64, now: Int64
    ) throws(StorageError) -> (Bytes?, Bool) {
        for _ in 0..<StoreTransaction.optimisticAttempts {
            guard let meta = try liveMeta(key, now: now), let at = meta.storageIndex(index) else {
                return (nil, false)
            }
            let keys = ElementKeys(transaction, .element, key, version: meta.version)
            if let element = try transaction.beginRead(.data, keys.key(index: at)) {
                return (element, true)
            }
            transaction.endRead()
        }
        return (nil, false)
    }

    /// LRANGE: visits the elements from `start` to `stop`, both included, until `body` returns false.
    public func forEach(
        _ key: Bytes, start: Int64 = 0, stop: Int64 = -1, now: Int64,
        _ body: (_ element: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try transaction.consistently { sequence throws(StorageError) in
            guard let meta = try liveMeta(key, now: now),
                let range = meta.storageRange(start, stop)
            else { return true }
            return try scan(
                key, meta, from: range.lowerBound,
                limit: Int(clamping: range.upperBound - range.lowerBound + 1),
                unchangedSince: sequence
            ) { index, element throws(StorageError) in
                guard index <= range.upperBound, try body(element) else { return false }
                return index < range.upperBound
            }
        }
    }

    /// LPOS: visits all elements with their indexes, from one end on, until `body` returns false.
    public func forEachIndexed(
        _ key: Bytes, from end: ListEnd, now: Int64,
        _ body: (_ index: Int64, _ element: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try transaction.consistently { sequence throws(StorageError) in
            guard let meta = try liveMeta(key, now: now) else { return true }
            return try scan(
                key, meta, from: end == .left ? meta.left &+ 1 : meta.right &- 1,
                reverse: end == .right, unchangedSince: sequence
            ) { index, element throws(StorageError) in
                try body(Int64(clamping: index &- meta.left &- 1), element)
            }
        }
    }

    /// Visits elements from a storage index on.
    func scan(
        _ key: Bytes, _ meta: ListMeta, from index: UInt64, reverse: Bool = false,
        limit: Int = .max, unchangedSince sequence: UInt64? = nil,
        _ body: (UInt64, Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) -> Bool {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        let start = ElementKeys(transaction, .start, key, version: meta.version)
        let prefixLength = keys.prefixLength
        return try transaction.scan(
            .data, prefix: keys.prefix, from: start.key(index: index), reverse: reverse,
            fillCache: true, limit: limit, unchangedSince: sequence
        ) { row, element throws(StorageError) in
            guard row.count == prefixLength + 8 else {
                throw .corruptRow(
                    kind: .lists, family: .data, expected: prefixLength + 8, length: row.count)
            }
            let index = row.number(UInt64.self, at: prefixLength)
            guard index > meta.left, index < meta.right else { return false }
            return try body(index, element)
        }
    }

    /// How many elements LRANGE of these indexes will visit.
    public func rangeCount(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) -> Int {
        guard let range = try liveMeta(key, now: now)?.storageRange(start, stop) else { return 0 }
        return Int(clamping: range.upperBound - range.lowerBound + 1)
    }

    // MARK: Writing

    func putMeta(_ key: Bytes, _ meta: ListMeta) {
        meta.encode(into: transaction.reserve(.meta, key, valueLength: ListMeta.encodedSize))
    }

    /// LPUSH, RPUSH, LPUSHX, RPUSHX: returns the new length; 0 if nothing was done.
    public func push(
        _ key: Bytes, _ end: ListEnd, _ elements: UnsafeBufferPointer<Bytes>,
        onlyIfExists: Bool = false, now: Int64
    ) throws(StorageError) -> Int {
        if AppliedRow.isReserved(key) { throw .reservedName }
        let old = try meta(key)
        let isLive = old?.isLive(now: now) ?? false
        if onlyIfExists, !isLive { return 0 }
        var meta =
            (isLive ? old : old?.recreated(now: now))
            ?? ListMeta(version: Int32(truncatingIfNeeded: now))
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        for element in elements {
            switch end {
            case .left:
                transaction.put(.data, keys.key(index: meta.left), element)
                meta.left &-= 1
            case .right:
                transaction.put(.data, keys.key(index: meta.right), element)
                meta.right &+= 1
            }
        }
        meta.count += UInt64(elements.count)
        if !elements.isEmpty { putMeta(key, meta) }
        return Int(clamping: meta.count)
    }

    /// LPOP, RPOP: takes up to `count` elements; returns how many.
    ///
    /// The bytes are valid during `body`; without one, few elements are not even read.
    public func pop(
        _ key: Bytes, _ end: ListEnd, count: Int, now: Int64,
        _ body: ((_ element: Bytes) -> Void)? = nil
    ) throws(StorageError) -> Int {
        guard count > 0, var meta = try liveMeta(key, now: now) else { return 0 }
        let wanted = min(UInt64(count), meta.right &- meta.left &- 1)
        let first = end == .left ? meta.left &+ 1 : meta.right &- 1
        var taken: UInt64 = 0
        if wanted <= Self.readsWithoutIterator {
            taken = wanted
            for step in 0..<(body == nil ? 0 : wanted) {
                let index = end == .left ? first &+ step : first &- step
                let keys = ElementKeys(transaction, .element, key, version: meta.version)
                try transaction.withRow(.data, keys.key(index: index)) { element in
                    if let element { body?(element) }
                }
            }
        } else {
            _ = try scan(key, meta, from: first, reverse: end == .right) { _, element in
                body?(element)
                taken += 1
                return taken < wanted
            }
        }
        switch end {
        case .left:
            delete(key, meta.version, first..<first &+ taken)
            meta.left &+= taken
        case .right:
            delete(key, meta.version, first &- taken &+ 1..<first &+ 1)
            meta.right &-= taken
        }
        meta.count -= min(taken, meta.count)
        putMeta(key, meta)
        return Int(taken)
    }

    /// Deletes the rows of elements that the meta row shows no longer: many as one range.
    private func delete(
        _ key: Bytes, _ version: Int32, _ indexes: Range<UInt64>, mayDeleteRange: Bool? = nil
    ) {
        let keys = ElementKeys(transaction, .element, key, version: version)
        guard indexes.count >= StoreTransaction.rangeRows,
            mayDeleteRange ?? transaction.mayDeleteRange
        else {
            for index in indexes { transaction.delete(.data, keys.key(index: index)) }
            return
        }
        let end = ElementKeys(transaction, .start, key, version: version)
        transaction.deleteRange(
            .data, from: keys.key(index: indexes.lowerBound),
            to: end.key(index: indexes.upperBound))
    }

    /// LSET.
    ///
    /// - Throws: `.noSuchKey`, `.indexOutOfRange`.
    public func set(
        _ key: Bytes, at index: Int64, _ element: Bytes, now: Int64
    ) throws(StorageError) {
        guard let meta = try liveMeta(key, now: now) else { throw .noSuchKey }
        guard let at = meta.storageIndex(index) else { throw .indexOutOfRange }
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        transaction.put(.data, keys.key(index: at), element)
    }

    /// LTRIM: keeps the elements from `start` to `stop`, both included.
    public func trim(
        _ key: Bytes, start: Int64, stop: Int64, now: Int64
    ) throws(StorageError) {
        guard var meta = try liveMeta(key, now: now) else { return }
        guard let range = meta.storageRange(start, stop) else {
            // What is left of the elements is the compaction filter's.
            putMeta(key, meta.recreated(now: now))
            return
        }
        let front = meta.left &+ 1..<range.lowerBound
        let back = range.upperBound &+ 1..<meta.right
        let deleted = UInt64(front.count) + UInt64(back.count)
        // Asked once: the first range is an element that was written.
        let mayDeleteRange = transaction.mayDeleteRange
        delete(key, meta.version, front, mayDeleteRange: mayDeleteRange)
        delete(key, meta.version, back, mayDeleteRange: mayDeleteRange)
        meta.left = range.lowerBound &- 1
        meta.right = range.upperBound &+ 1
        meta.count -= min(deleted, meta.count)
        putMeta(key, meta)
    }
}
