import CPikaShim

extension StoreTransaction {
    /// Calls `body` for the rows whose key begins with `prefix`, until it returns false.
    ///
    /// Rows come in the order of the family. Own writes are merged in, as they were when the scan
    /// began; the rest is one state of the store.
    ///
    /// - Parameters:
    ///   - family: the column family.
    ///   - prefix: only rows that begin with it; empty for all. In lists' data and in sorted sets'
    ///     scores it must reach to the version.
    ///   - from: the first (reverse: the last) key that may be visited; nil for the end of the
    ///     prefix where the scan starts. Need not exist.
    ///   - reverse: from high to low.
    ///   - fillCache: whether blocks that are read shall stay in the block cache.
    ///   - body: takes key and value; returns whether to go on. It may read and write this
    ///     transaction.
    public func scan(
        _ family: Family, prefix: Bytes, from: Bytes?, reverse: Bool = false,
        fillCache: Bool = true,
        _ body: (_ key: Bytes, _ value: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) {
        _ = try scan(
            family, prefix: prefix, from: from, reverse: reverse, fillCache: fillCache,
            unchangedSince: nil, body)
    }

    /// As `scan`; but returns false, without a call of `body`, when the store's sequence number is
    /// not `sequence` any more: then the rows do not fit what the caller read before.
    ///
    /// At most `limit` rows are visited: who knows how many will be wanted MUST say so, since rows of
    /// a scan that `body` ended are not kept for the next one.
    func scan(
        _ family: Family, prefix: Bytes, from: Bytes?, reverse: Bool, fillCache: Bool,
        limit: Int = .max, unchangedSince sequence: UInt64?,
        _ body: (_ key: Bytes, _ value: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) -> Bool {
        let core = core
        let name = ScanName(
            family: family, prefix: prefix, from: from, isReverse: reverse, limit: limit)
        guard core.pointee.scans.isOn, fillCache, core.pointee.snapshot == nil,
            !core.pointee.overlay.touchesElements, let versions = store.elementVersions,
            let place = ElementVersions.place(prefix), let version = versions.current(place),
            let found = core.pointee.scans.find(name, version: version)
        else {
            return try scanStore(
                family, prefix: prefix, from: from, reverse: reverse, fillCache: fillCache,
                limit: limit, unchangedSince: sequence, body)
        }
        switch found {
        case .hit(let index):
            // The meta row that the caller has read fits: no batch that changes these elements has
            // begun since they were kept.
            var rows = core.pointee.scans.beginVisit(index)
            defer { core.pointee.scans.endVisit() }
            while let (key, value) = rows.next(), try body(key, value) {}
            return true
        case .record(let index):
            var recording = ScanRecording(name)
            defer { recording.end() }
            var isEnded = false
            let isDone = try scanStore(
                family, prefix: prefix, from: from, reverse: reverse, fillCache: fillCache,
                limit: limit, unchangedSince: sequence
            ) { key, value throws(StorageError) in
                recording.append(key, value)
                isEnded = !(try body(key, value))
                return !isEnded
            }
            if isDone, !isEnded || recording.rowCount == limit,
                versions.isCurrent(version, place)
            {
                core.pointee.scans.keep(&recording, in: index, version: version)
            }
            return isDone
        }
    }

    private func scanStore(
        _ family: Family, prefix: Bytes, from: Bytes?, reverse: Bool, fillCache: Bool, limit: Int,
        unchangedSince sequence: UInt64?,
        _ body: (_ key: Bytes, _ value: Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) -> Bool {
        guard limit > 0 else { return true }
        var cursor = try MergeCursor(
            transaction: self, family: family, prefix: prefix, reverse: reverse,
            fillCache: fillCache)
        defer { cursor.deallocate() }
        if let sequence, pk_store_sequence(core.pointee.handle) != sequence { return false }
        cursor.start(from: from)
        var rest = limit
        while let row = cursor.row {
            rest -= 1
            guard try body(row.key, row.value), rest > 0 else { return true }
            cursor.advance()
        }
        try cursor.checkStatus(path: store.path)
        return true
    }

    /// Runs `attempt` until it returns true; the last time under a snapshot, where it must.
    ///
    /// For reads that start with a key's meta row and go on with its elements: both must be of one
    /// state. An attempt passes the sequence number on to `scan`.
    func consistently(
        _ attempt: (_ sequence: UInt64?) throws(StorageError) -> Bool
    ) throws(StorageError) {
        if core.pointee.snapshot == nil {
            for _ in 0..<Self.optimisticAttempts {
                if try attempt(pk_store_sequence(core.pointee.handle)) { return }
            }
        }
        try withSnapshot { () throws(StorageError) in _ = try attempt(nil) }
    }

    /// Attempts without a snapshot: writers come in between a few times in a hundred at most.
    static var optimisticAttempts: Int { 3 }
}

/// A RocksDB iterator merged with the rows of an overlay.
private struct MergeCursor {
    struct Row {
        var key: Bytes
        var value: Bytes
    }

    /// A row of the overlay as it was when the cursor was made.
    private struct OwnRow {
        var key: Bytes
        /// nil: deleted.
        var value: Bytes?
    }

    private let kind: StoreKind
    private let family: Family
    private let reverse: Bool
    /// A copy: the caller's prefix may lie in a buffer that `body` uses again.
    private let prefix: UnsafeMutableRawBufferPointer
    private let iterator: OpaquePointer
    private var storeEntry = pk_entry()
    private var storeHasEntry = false
    private var own: [OwnRow] = []
    private var ownIndex = 0
    private var rowIsOwn = false
    private var rowIsStores = false
    private(set) var row: Row?

    init(
        transaction: StoreTransaction, family: Family, prefix: Bytes, reverse: Bool,
        fillCache: Bool
    ) throws(StorageError) {
        kind = transaction.kind
        self.family = family
        self.reverse = reverse
        self.prefix = .allocate(byteCount: max(prefix.count * 2, 16), alignment: 8)
        let prefixCopy = UnsafeMutableRawBufferPointer(rebasing: self.prefix[..<prefix.count])
        prefixCopy.copyMemory(from: prefix)
        let upper = UnsafeMutableRawBufferPointer(
            rebasing: self.prefix[prefix.count..<prefix.count * 2])
        upper.copyMemory(from: prefix)
        let upperCount = Self.makeUpperBound(
            upper, signedVersion: kind == .lists && family == .data)
        let core = transaction.core
        let iterator = pk_iterator_create(
            core.pointee.handle, family.rawValue, prefixCopy.baseAddress, prefix.count,
            upper.baseAddress, upperCount, fillCache ? 1 : 0, core.pointee.snapshot)
        guard let iterator else {
            self.prefix.deallocate()
            throw .closed
        }
        self.iterator = iterator
        prefixCount = prefix.count
        if core.pointee.overlay.rowCount != 0 { collectOwnRows(core.pointee.overlay) }
    }

    private let prefixCount: Int

    private var prefixBytes: Bytes { Bytes(rebasing: prefix[..<prefixCount]) }

    /// Turns a copy of the prefix into the first key behind it; returns its length, 0 for no bound.
    private static func makeUpperBound(
        _ bound: UnsafeMutableRawBufferPointer, signedVersion: Bool
    ) -> Int {
        if signedVersion {
            guard bound.count >= 8 else { return 0 }
            let version = Bytes(bound).number(Int32.self, at: bound.count - 4)
            guard version < .max else { return 0 }
            bound.baseAddress?.put(version + 1, at: bound.count - 4)
            return bound.count
        }
        var count = bound.count
        while count > 0 {
            if bound[count - 1] < 0xFF {
                bound[count - 1] += 1
                return count
            }
            count -= 1
        }
        return 0
    }

    func deallocate() {
        pk_iterator_destroy(iterator)
        prefix.deallocate()
    }

    private mutating func collectOwnRows(_ overlay: Overlay) {
        var rows: [OwnRow] = []
        for index in 0..<overlay.rowCount {
            let row = overlay.rows[index]
            let key = Bytes(start: row.key, count: Int(row.key_length))
            guard row.family == family.rawValue, row.value_length != PK_ROW_VOID,
                key.hasPrefix(prefixBytes)
            else { continue }
            let isDeleted = row.value_length == PK_ROW_DELETE
            rows.append(
                OwnRow(
                    key: key,
                    value: isDeleted
                        ? nil : Bytes(start: row.value, count: Int(row.value_length))))
        }
        rows.sort { isBefore($0.key, $1.key) }
        own = rows
    }

    /// Whether `a` is visited before `b`.
    private func isBefore(_ a: Bytes, _ b: Bytes) -> Bool {
        let order = compare(a, b)
        return reverse ? order > 0 : order < 0
    }

    private func compare(_ a: Bytes, _ b: Bytes) -> Int32 {
        pk_compare(
            Int32(kind.rawValue), family.rawValue, a.baseAddress, a.count, b.baseAddress, b.count)
    }

    mutating func start(from: Bytes?) {
        let found: Int32
        if let from {
            found =
                reverse
                ? pk_iterator_seek_for_prev(iterator, from.baseAddress, from.count, &storeEntry)
                : pk_iterator_seek(iterator, from.baseAddress, from.count, &storeEntry)
            while ownIndex < own.count, isBefore(own[ownIndex].key, from) { ownIndex += 1 }
        } else {
            found =
                reverse
                ? pk_iterator_last(iterator, &storeEntry)
                : pk_iterator_seek(iterator, prefix.baseAddress, prefixCount, &storeEntry)
        }
        storeHasEntry = found == 1
        settle()
    }

    mutating func advance() {
        if rowIsOwn { ownIndex += 1 }
        if rowIsStores { advanceStore() }
        settle()
    }

    private mutating func advanceStore() {
        let found =
            reverse
            ? pk_iterator_prev(iterator, &storeEntry) : pk_iterator_next(iterator, &storeEntry)
        storeHasEntry = found == 1
    }

    /// Chooses the next row that is visible.
    private mutating func settle() {
        while true {
            if storeHasEntry {
                let key = Bytes(start: storeEntry.key, count: storeEntry.key_length)
                if !key.hasPrefix(prefixBytes) { storeHasEntry = false }
            }
            guard ownIndex < own.count else {
                row = storeHasEntry ? storeRow : nil
                rowIsOwn = false
                rowIsStores = storeHasEntry
                return
            }
            let candidate = own[ownIndex]
            if storeHasEntry {
                let order = compare(candidate.key, storeRow.key)
                if reverse ? order < 0 : order > 0 {
                    row = storeRow
                    rowIsOwn = false
                    rowIsStores = true
                    return
                }
                // The own row comes first, or stands for the store's.
                if order == 0 { advanceStore() }
            }
            guard let value = candidate.value else {
                ownIndex += 1
                continue
            }
            row = Row(key: candidate.key, value: value)
            rowIsOwn = true
            rowIsStores = false
            return
        }
    }

    private var storeRow: Row {
        Row(
            key: Bytes(start: storeEntry.key, count: storeEntry.key_length),
            value: Bytes(start: storeEntry.value, count: storeEntry.value_length))
    }

    func checkStatus(path: String) throws(StorageError) {
        var error = pk_error()
        guard pk_iterator_status(iterator, &error) == 0 else {
            throw takeError(&error, path: path)
        }
    }
}
