/// Operations on hash keys.
///
/// ```
/// default   key                                             -> CollectionMeta
/// data_cf   | key length u32 | key | version i32 | field |   -> value
/// ```
/// All take `now`, the effective now in Unix seconds.
public struct Hashes {
    /// The transaction that is read and written.
    public let transaction: StoreTransaction

    /// Fields up to which `forEachField` reads without a snapshot.
    static let fieldsWithoutSnapshot = 8

    /// Operates on a transaction of the hashes store.
    @inlinable
    public init(_ transaction: StoreTransaction) { self.transaction = transaction }

    // MARK: Reading

    /// The meta row of a live key; nil if there is none.
    public func meta(_ key: Bytes, now: Int64) throws(StorageError) -> CollectionMeta? {
        try transaction.liveMeta(key, now: now)
    }

    /// Reads one field of a key whose meta has been read; nil if it is missing.
    @inlinable
    public func withField<R>(
        _ key: Bytes, _ meta: CollectionMeta, _ field: Bytes,
        _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        let value = try beginField(key, meta, field)
        defer { transaction.endRead() }
        return try body(value)
    }

    @usableFromInline
    func beginField(
        _ key: Bytes, _ meta: CollectionMeta, _ field: Bytes
    ) throws(StorageError) -> Bytes? {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        return try transaction.beginRead(.data, keys.key(field))
    }

    /// HGET, HSTRLEN: reads one field; nil if key or field are missing.
    @inlinable
    public func withField<R>(
        _ key: Bytes, _ field: Bytes, now: Int64, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        guard let meta = try meta(key, now: now) else { return try body(nil) }
        return try withField(key, meta, field, body)
    }

    /// HMGET: reads several fields of one state of the key.
    ///
    /// - Parameters:
    ///   - key: the key.
    ///   - fields: the fields.
    ///   - now: effective now.
    ///   - body: takes the field's index and its value, nil if it is missing.
    public func forEachField(
        _ key: Bytes, _ fields: UnsafeBufferPointer<Bytes>, now: Int64,
        _ body: (_ index: Int, _ value: Bytes?) throws(StorageError) -> Void
    ) throws(StorageError) {
        guard fields.count <= Self.fieldsWithoutSnapshot else {
            try transaction.withSnapshot { () throws(StorageError) in
                let meta = try meta(key, now: now)
                for (index, field) in fields.enumerated() {
                    guard let meta else {
                        try body(index, nil)
                        continue
                    }
                    try withField(key, meta, field) { value throws(StorageError) in
                        try body(index, value)
                    }
                }
            }
            return
        }
        try transaction.consistently { sequence throws(StorageError) in
            try visitFields(key, fields, now: now, unchangedSince: sequence, body)
        }
    }

    private func visitFields(
        _ key: Bytes, _ fields: UnsafeBufferPointer<Bytes>, now: Int64,
        unchangedSince sequence: UInt64?,
        _ body: (_ index: Int, _ value: Bytes?) throws(StorageError) -> Void
    ) throws(StorageError) -> Bool {
        let meta = try meta(key, now: now)
        let values = UnsafeMutableBufferPointer<Bytes?>.allocate(capacity: fields.count)
        var reads = 0
        defer {
            for _ in 0..<reads { transaction.endRead() }
            values.deallocate()
        }
        for (index, field) in fields.enumerated() {
            guard let meta else {
                values.initializeElement(at: index, to: nil)
                continue
            }
            values.initializeElement(at: index, to: try beginField(key, meta, field))
            reads += 1
        }
        if let sequence, transaction.store.sequenceNumber != sequence { return false }
        for index in values.indices { try body(index, values[index]) }
        return true
    }

    /// HEXISTS.
    public func exists(_ key: Bytes, _ field: Bytes, now: Int64) throws(StorageError) -> Bool {
        try withField(key, field, now: now) { $0 != nil }
    }

    /// HLEN.
    public func count(_ key: Bytes, now: Int64) throws(StorageError) -> Int {
        Int(try meta(key, now: now)?.count ?? 0)
    }

    /// HGETALL, HKEYS, HVALS, HSCAN: visits fields in byte order until `body` returns false.
    ///
    /// - Parameters:
    ///   - key: the key.
    ///   - from: the first field that may be visited (in reverse the last); empty for all.
    ///   - prefix: only fields that begin with it.
    ///   - now: effective now.
    ///   - reverse: from high to low; needs an empty prefix.
    ///   - body: takes field and value; returns whether to go on.
    public func forEach(
        _ key: Bytes, from: Bytes = .none, prefix: Bytes = .none, now: Int64,
        reverse: Bool = false, _ body: (_ field: Bytes, _ value: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) {
        try transaction.forEachElement(
            key, .data, reverse: reverse, prefix: prefix, now: now,
            start: { keys, _ in
                reverse && from.isEmpty
                    ? nil : keys.key(from.isBefore(prefix) ? prefix : from)
            },
            { field, value, _ throws(StorageError) in try body(field, value) })
    }

    // MARK: Writing

    /// HSET: returns whether the field is new.
    public func set(
        _ key: Bytes, _ field: Bytes, _ value: Bytes, now: Int64
    ) throws(StorageError) -> Bool {
        var meta = try transaction.metaForWriting(key, now: now)
        let isNew = try put(key, &meta, wasEmpty: meta.count == 0, field, value)
        if isNew { transaction.putMeta(key, meta) }
        return isNew
    }

    /// Writes one field, counting it in `meta` if it is new.
    private func put(
        _ key: Bytes, _ meta: inout CollectionMeta, wasEmpty: Bool, _ field: Bytes, _ value: Bytes
    ) throws(StorageError) -> Bool {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        let row = keys.key(field)
        let isNew = try !transaction.hasElement(row, wasEmpty: wasEmpty)
        if isNew { try meta.add(1) }
        transaction.put(.data, row, value)
        return isNew
    }

    /// HMSET: field, value, field, value …; of a field named twice the last value counts.
    ///
    /// - Returns: the number of new fields.
    public func setPairs(
        _ key: Bytes, _ fieldsAndValues: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        guard fieldsAndValues.count % 2 == 0 else {
            throw .unpairedArguments(count: fieldsAndValues.count)
        }
        var meta = try transaction.metaForWriting(key, now: now)
        let wasEmpty = meta.count == 0
        var created = 0
        for index in stride(from: 0, to: fieldsAndValues.count, by: 2) {
            let (field, value) = (fieldsAndValues[index], fieldsAndValues[index + 1])
            if try put(key, &meta, wasEmpty: wasEmpty, field, value) { created += 1 }
        }
        if created > 0 { transaction.putMeta(key, meta) }
        return created
    }

    /// HSETNX: returns whether it wrote.
    public func setIfAbsent(
        _ key: Bytes, _ field: Bytes, _ value: Bytes, now: Int64
    ) throws(StorageError) -> Bool {
        if try exists(key, field, now: now) { return false }
        return try set(key, field, value, now: now)
    }

    /// HDEL: returns the number of fields deleted.
    public func delete(
        _ key: Bytes, _ fields: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        try transaction.deleteElements(key, fields, now: now)
    }

    /// HINCRBY as real masters log it: returns the result.
    public func increment(
        _ key: Bytes, _ field: Bytes, by delta: Int64, now: Int64
    ) throws(StorageError) -> Int64 {
        let sum = try withField(key, field, now: now) { value throws(StorageError) in
            try Numbers.add(value, delta)
        }
        var failure: StorageError?
        withNumberText(sum) { text in
            do throws(StorageError) {
                _ = try set(key, field, text, now: now)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return sum
    }

    /// HINCRBYFLOAT as real masters log it.
    public func incrementFloat(
        _ key: Bytes, _ field: Bytes, by delta: Bytes, now: Int64
    ) throws(StorageError) {
        let text = try withField(key, field, now: now) { value throws(StorageError) in
            try transaction.addFloat(value, delta)
        }
        _ = try set(key, field, text, now: now)
    }
}

extension StoreTransaction {
    /// Whether a data row exists, for a group that has locked the key.
    ///
    /// A key without elements has none under its version, except what this group wrote: the store
    /// needs not be asked then.
    ///
    /// - Parameter wasEmpty: the key had no elements when this command began.
    func hasElement(_ row: Bytes, wasEmpty: Bool) throws(StorageError) -> Bool {
        let own = isEmpty ? nil : core.pointee.overlay.find(.data, row)
        if let own, !own.pointee.isVoid { return own.pointee.isValue }
        if wasEmpty { return false }
        guard let known = core.pointee.known else { return try hasRow(.data, row) }
        if known._withUnsafeGuaranteedRef({ $0.contains(row) }) { return true }
        guard try hasRow(.data, row) else { return false }
        // Nobody else can delete it meanwhile.
        known._withUnsafeGuaranteedRef { $0.insert(row) }
        return true
    }

    /// Whether this group wrote a value to a data row.
    func hasWritten(_ row: Bytes) -> Bool {
        core.pointee.overlay.find(.data, row)?.pointee.isValue ?? false
    }

    /// HDEL, SREM: deletes rows of a live key; returns how many there were.
    func deleteElements(
        _ key: Bytes, _ elements: UnsafeBufferPointer<Bytes>, now: Int64
    ) throws(StorageError) -> Int {
        guard var meta = try liveMeta(key, now: now) else { return 0 }
        let keys = ElementKeys(self, .element, key, version: meta.version)
        var deleted = 0
        for element in elements {
            let row = keys.key(element)
            guard try hasRow(.data, row) else { continue }
            delete(.data, row)
            deleted += 1
        }
        guard deleted > 0 else { return 0 }
        try meta.add(-deleted)
        putMeta(key, meta)
        return deleted
    }
}
