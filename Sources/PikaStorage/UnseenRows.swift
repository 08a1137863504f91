import CPikaShim
public import SyncProtocol

/// Element rows that go into the store before their group does.
///
/// A collection that is made anew gets a version of its own, and nobody sees rows of a version that
/// no meta row shows. So a large one is written in slices, each a batch of its own, and what the
/// commit has to write at once is its meta row. Before the first slice's rows an *empty* meta row
/// with that version goes in, what a DEL leaves: should the group never be committed, or should the
/// machine stop before its rows are in files, the version is taken, and the key is made anew with a
/// higher one. Rows of the lower one are garbage, which compaction drops.
///
/// The other way round, a compaction must not take the rows for garbage: see `pk_store_unseen_begin`.
extension StoreTransaction {
    /// Rows of a group from which on `writeUnseen` writes them.
    public static let unseenRowsLimit = 1000

    /// Writes the element rows of `key`, when there are many, and nobody can see them.
    ///
    /// The group goes on reading them. Only where the store has no key of that name but an empty one,
    /// and the group no element of another key; else nothing is done. Not with a write-ahead log:
    /// its filters go by other rules. No row that was read may be held. `endUnseen` MUST follow once
    /// `holdsUnseen` is true, whatever becomes of the group.
    ///
    /// - Throws: whatever RocksDB says; the rows are kept.
    public func writeUnseen(_ key: Bytes) throws(StorageError) {
        let core = core
        guard kind != .strings, core.pointee.overlay.rowCount >= Self.unseenRowsLimit,
            let row = core.pointee.overlay.find(.meta, key), row.pointee.isValue
        else { return }
        let version = try version(
            of: Bytes(start: row.pointee.value, count: Int(row.pointee.value_length))
        ).version
        guard let isTaken = try isTaken(version, key) else { return }
        let rows = UnsafeMutablePointer<pk_row>.allocate(
            capacity: core.pointee.overlay.rowCount + 1)
        defer { rows.deallocate() }
        guard let count = copyElementRows(of: key, version, to: rows + 1), count > 0 else { return }
        if !core.pointee.holdsUnseen {
            core.pointee.holdsUnseen = true
            pk_store_unseen_begin(core.pointee.handle)
        }
        try withUnsafeTemporaryAllocation(byteCount: ListMeta.encodedSize, alignment: 8) {
            buffer throws(StorageError) in
            guard let value = buffer.baseAddress else { return }
            if isTaken { return try writeSlice(rows + 1, count) }
            rows.initialize(to: emptyMeta(of: row.pointee, version, value))
            try writeSlice(rows, count + 1)
        }
        // What was read ahead may have come from the overlay.
        core.pointee.ahead.clear()
        core.pointee.overlay.keep(.meta)
    }

    /// Whether element rows were written that are not seen yet.
    public var holdsUnseen: Bool { core.pointee.holdsUnseen }

    /// What was written ahead is seen, or never will be.
    ///
    /// - Parameter end: the position of the group in the log; `.zero` if it was dropped.
    public func endUnseen(at end: BinlogPosition) {
        guard core.pointee.holdsUnseen else { return }
        core.pointee.holdsUnseen = false
        pk_store_unseen_end(core.pointee.handle, end.fileNumber, end.offset)
    }

    private func version(of row: Bytes) throws(StorageError) -> (version: Int32, isEmpty: Bool) {
        if kind == .lists {
            let meta = try ListMeta(decoding: row)
            return (meta.version, meta.count == 0)
        }
        let meta = try CollectionMeta(decoding: row, kind: kind)
        return (meta.version, meta.count == 0)
    }

    /// Whether the store has an empty meta row with the version; nil if there is one with elements.
    ///
    /// One that is stale has some, too: the clock that says so may stand on a lower second after a
    /// crash.
    private func isTaken(_ version: Int32, _ key: Bytes) throws(StorageError) -> Bool? {
        try withStoredRow(.meta, key) { row throws(StorageError) -> Bool? in
            guard let row else { return false }
            let stored = try self.version(of: row)
            return stored.isEmpty ? stored.version == version : nil
        }
    }

    /// The group's rows of the element families; nil if one belongs to anything else.
    private func copyElementRows(
        of key: Bytes, _ version: Int32, to target: UnsafeMutablePointer<pk_row>
    ) -> Int? {
        let prefix = ElementKeys(self, .start, key, version: version).prefix
        let overlay = core.pointee.overlay
        var count = 0
        for index in 0..<overlay.rowCount {
            let row = overlay.rows[index]
            if row.family == UInt32(Family.meta.rawValue) || row.value_length == PK_ROW_VOID {
                continue
            }
            let name = Bytes(start: row.key, count: Int(row.key_length))
            guard name.count >= prefix.count,
                prefix.equals(Bytes(rebasing: name[..<prefix.count]))
            else { return nil }
            (target + count).initialize(to: row)
            count += 1
        }
        return count
    }

    /// The row that takes a version: what a DEL leaves.
    private func emptyMeta(
        of row: pk_row, _ version: Int32, _ value: UnsafeMutableRawPointer
    ) -> pk_row {
        var empty = row
        empty.value = value
        if kind == .lists {
            ListMeta(version: version).encode(into: value)
            empty.value_length = UInt32(ListMeta.encodedSize)
        } else {
            CollectionMeta(count: 0, version: version, expiry: 0).encode(into: value)
            empty.value_length = UInt32(CollectionMeta.encodedSize)
        }
        return empty
    }

    private func writeSlice(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int
    ) throws(StorageError) {
        var error = pk_error()
        let code = writeNoted(rows, count, hasElements: true) {
            pk_write(core.pointee.handle, core.pointee.batch, rows, count, 0, &error)
        }
        guard code == 0 else { throw takeError(&error, path: store.path) }
    }
}
