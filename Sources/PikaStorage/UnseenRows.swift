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
/// A key that has elements keeps its meta row until the commit. There an ``UnseenClaim`` goes in, and
/// the rows are taken away when the group is dropped, or when the store is opened.
///
/// The other way round, a compaction must not take the rows for garbage: see `pk_store_unseen_begin`.
extension StoreTransaction {
    /// Rows of a group from which on `writeUnseen` writes them.
    public static let unseenRowsLimit = 1000

    /// Writes the element rows of `key`, when there are many, and nobody can see them.
    ///
    /// The group goes on reading them. Only where the store's key of that name has no deadline, and the
    /// group no element of another key; else nothing is done. Not with a write-ahead log: its filters
    /// go by other rules. No row that was read may be held. `endUnseen` or `dropUnseen` MUST follow
    /// once `holdsUnseen` is true, whatever becomes of the group.
    ///
    /// - Throws: whatever RocksDB says; the rows are kept.
    public func writeUnseen(_ key: Bytes) throws(StorageError) {
        let core = core
        guard kind != .strings, core.pointee.overlay.rowCount >= Self.unseenRowsLimit,
            let row = core.pointee.overlay.find(.meta, key), row.pointee.isValue
        else { return }
        let version = try head(
            of: Bytes(start: row.pointee.value, count: Int(row.pointee.value_length))
        ).version
        guard let beginning = try beginning(version, key) else { return }
        let rows = UnsafeMutablePointer<pk_row>.allocate(
            capacity: core.pointee.overlay.rowCount + 1)
        defer { rows.deallocate() }
        guard let count = copyElementRows(of: key, version, to: rows + 1), count > 0 else { return }
        if !core.pointee.holdsUnseen {
            core.pointee.holdsUnseen = true
            pk_store_unseen_begin(core.pointee.handle)
        }
        switch beginning {
        case .done: try writeSlice(rows + 1, count)
        case .emptyMeta:
            try withUnsafeTemporaryAllocation(byteCount: ListMeta.encodedSize, alignment: 8) {
                buffer throws(StorageError) in
                guard let value = buffer.baseAddress else { return }
                rows.initialize(to: emptyMeta(of: row.pointee, version, value))
                try writeSlice(rows, count + 1)
            }
        case .claim: try writeClaimed(rows, count, UnseenClaim(key, version: version))
        }
        // What was read ahead may have come from the overlay.
        core.pointee.ahead.clear()
        core.pointee.overlay.keep(.meta)
        for claim in core.pointee.claims {
            claim.name.withUnsafeBytes { core.pointee.overlay.delete(.meta, $0) }
        }
    }

    /// Whether element rows were written that are not seen yet.
    public var holdsUnseen: Bool { core.pointee.holdsUnseen }

    /// What was written ahead is seen.
    ///
    /// - Parameter end: the position of the group in the log.
    public func endUnseen(at end: BinlogPosition) {
        guard core.pointee.holdsUnseen else { return }
        core.pointee.holdsUnseen = false
        core.pointee.claims = []
        pk_store_unseen_end(core.pointee.handle, end.fileNumber, end.offset)
    }

    /// What was written ahead never will be seen; the transaction is empty then.
    ///
    /// - Throws: whatever RocksDB says. Versions that were claimed must not be used then before the
    ///   store was opened again.
    public func dropUnseen() throws(StorageError) {
        guard core.pointee.holdsUnseen else { return }
        defer { endUnseen(at: .zero) }
        try removeClaimed()
    }

    /// What has to go in with the first slice.
    private enum Beginning {
        case done, emptyMeta, claim
    }

    /// What a meta row says about its key.
    struct Head {
        var version: Int32
        var isEmpty: Bool
        var expiry: Int32
    }

    func head(of row: Bytes) throws(StorageError) -> Head {
        if kind == .lists {
            let meta = try ListMeta(decoding: row)
            return Head(version: meta.version, isEmpty: meta.count == 0, expiry: meta.expiry)
        }
        let meta = try CollectionMeta(decoding: row, kind: kind)
        return Head(version: meta.version, isEmpty: meta.count == 0, expiry: meta.expiry)
    }

    /// What has to take the version before rows of it are written; nil if none may be.
    ///
    /// A key that is stale has elements, too: the clock that says so may stand on a lower second after
    /// a crash. With a deadline compaction may drop its meta row, and then all rows of the key.
    private func beginning(_ version: Int32, _ key: Bytes) throws(StorageError) -> Beginning? {
        try withStoredRow(.meta, key) { row throws(StorageError) -> Beginning? in
            guard let row else { return .emptyMeta }
            let stored = try head(of: row)
            if stored.isEmpty { return stored.version == version ? .done : .emptyMeta }
            guard stored.expiry == 0, stored.version < version else { return nil }
            let isClaimed = core.pointee.claims.contains {
                $0.version == version && key.elementsEqual($0.key)
            }
            return isClaimed ? .done : .claim
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

    /// Writes rows behind the claim of their version, for which there is room in front of them.
    private func writeClaimed(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, _ claim: UnseenClaim
    ) throws(StorageError) {
        // Whatever becomes of the slice: some of it may be in the store.
        core.pointee.claims.append(claim)
        var (name, value) = (claim.name, UnseenClaim.value)
        let result = name.withUnsafeMutableBytes { name in
            value.withUnsafeMutableBytes { value in
                Result { () throws(StorageError) in
                    guard let key = name.baseAddress else { return }
                    rows.initialize(
                        to: pk_row(
                            key: key, value: value.baseAddress, key_length: UInt32(name.count),
                            value_length: UInt32(value.count), value_capacity: 0,
                            family: UInt32(Family.meta.rawValue)))
                    try writeSlice(rows, count + 1)
                }
            }
        }
        try result.get()
    }

    /// Writes rows in batches that others need not wait for.
    private func writeSlice(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int
    ) throws(StorageError) {
        var start = 0
        while start < count {
            let piece = pieceCount(rows + start, count - start)
            var error = pk_error()
            let code = writeNoted(rows + start, piece, hasElements: true) {
                pk_write(core.pointee.handle, core.pointee.batch, rows + start, piece, 0, &error)
            }
            guard code == 0 else { throw takeError(&error, path: store.path) }
            start += piece
        }
    }

    /// How many rows may be one batch: all, unless RocksDB slows writes down.
    ///
    /// It holds a batch back for as long as its bytes take at the rate that it allows, and whoever
    /// writes meanwhile waits as long.
    private func pieceCount(_ rows: UnsafeMutablePointer<pk_row>, _ count: Int) -> Int {
        guard store.stallState != .normal else { return count }
        let rate = Int(clamping: store.delayedBytesPerSecond)
        guard rate > 0 else { return count }
        let limit = max(rate / Self.piecesPerSecond, Self.leastPieceBytes)
        var bytes = 0
        for index in 0..<count {
            let row = rows[index]
            bytes += Int(row.key_length) + (row.isValue ? Int(row.value_length) : 0)
            if bytes >= limit { return index + 1 }
        }
        return count
    }

    /// Batches a second that a store takes which is slowed down: 20 ms each.
    private static let piecesPerSecond = 50
    private static let leastPieceBytes = 4096
}
