import CPikaShim
import Synchronization

/// What a commit came to.
public enum CommitResult: Equatable, Sendable {
    /// The rows are in the store; the transaction is empty again.
    case done
    /// RocksDB would have stalled; nothing was written, the transaction still holds its rows.
    case wouldStall
}

/// Whether a commit may wait for RocksDB.
public enum CommitMode: UInt8, Sendable {
    /// Answer `.wouldStall` instead of waiting.
    case withoutStall = 0
    /// Wait as long as it takes.
    case waiting = 1
}

/// The writes of one group to one store, and a reader that sees them.
///
/// Used by one thread at a time. Reads look at the rows written here first, then at the store.
public final class StoreTransaction {
    /// The store that is read and written.
    public private(set) var store: Store

    /// The type of the keys.
    public let kind: StoreKind

    let core: UnsafeMutablePointer<TransactionCore>

    init(store: Store) {
        self.store = store
        kind = store.kind
        core = .allocate(capacity: 1)
        core.initialize(to: TransactionCore(store))
    }

    deinit {
        core.pointee.deallocate()
        core.deinitialize(count: 1)
        core.deallocate()
    }

    /// Whether nothing has been written since the last commit or reset.
    public var isEmpty: Bool { core.pointee.overlay.rowCount == 0 }

    /// Whether a commit has something to do: false for what was prepared and is in the store, too.
    public var needsCommit: Bool { !isEmpty && !core.pointee.isInStore }

    /// Rows that the next commit will write.
    public var pendingRowCount: Int { core.pointee.overlay.rowCount }

    /// Memory that the rows take, values overwritten since included.
    ///
    /// A group that has grown large should be committed.
    public var pendingByteCount: Int { core.pointee.overlay.byteCount }

    // MARK: Reading rows

    /// Reads one row; nil if there is none.
    ///
    /// The bytes are valid during `body`, which may read and write this transaction.
    @inlinable
    public func withRow<R>(
        _ family: Family, _ key: Bytes, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        let row = try beginRead(family, key)
        defer { endRead() }
        return try body(row)
    }

    /// Reads a row; `endRead` MUST follow unless this throws.
    @usableFromInline
    func beginRead(_ family: Family, _ key: Bytes) throws(StorageError) -> Bytes? {
        let core = core
        core.pointee.pins.enter()
        if core.pointee.overlay.rowCount != 0,
            let row = core.pointee.overlay.find(family, key),
            row.pointee.value_length != PK_ROW_VOID
        {
            guard row.pointee.value_length != PK_ROW_DELETE else { return nil }
            return Bytes(start: row.pointee.value, count: Int(row.pointee.value_length))
        }
        guard family == .meta, core.pointee.snapshot == nil, let cache = core.pointee.cache else {
            return try readStore(family, key)
        }
        let buffer = core.pointee.pins.buffer()
        switch cache._withUnsafeGuaranteedRef({ $0.copy(key, to: buffer) }) {
        case .hit(let length): return Bytes(start: buffer, count: length)
        case .absent: return nil
        case .miss(let ticket):
            let row = try readMissed(family, key)
            cache._withUnsafeGuaranteedRef { $0.install(key, row, ticket) }
            return row
        }
    }

    /// Reads a row as the store has it, whatever this group wrote.
    func withStoredRow<R>(
        _ family: Family, _ key: Bytes, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        core.pointee.pins.enter()
        let row = try readStore(family, key)
        defer { endRead() }
        return try body(row)
    }

    /// Reads a row of the store into the pin of this level; leaves the level when it throws.
    private func readStore(_ family: Family, _ key: Bytes) throws(StorageError) -> Bytes? {
        let core = core
        var value: UnsafeRawPointer?
        var length = 0
        var error = pk_error()
        let code = pk_get(
            core.pointee.handle, family.rawValue, key.baseAddress, key.count,
            core.pointee.snapshot, core.pointee.pins.pin(), &value, &length, &error)
        return try row(family, key, value, length, code, &error)
    }

    /// As `readStore` without a snapshot, for a row that the row cache did not have; now and then
    /// notes how long that took.
    @inline(__always)
    private func readMissed(_ family: Family, _ key: Bytes) throws(StorageError) -> Bytes? {
        let core = core
        guard core.pointee.readTime.isDue() else { return try readStore(family, key) }
        var value: UnsafeRawPointer?
        var length = 0
        var nanoseconds: Int64 = 0
        var error = pk_error()
        let code = pk_get_timed(
            core.pointee.handle, family.rawValue, key.baseAddress, key.count,
            core.pointee.pins.pin(), &value, &length, &nanoseconds, &error)
        core.pointee.readTime.note(nanoseconds: Int(nanoseconds), rowBytes: length)
        return try row(family, key, value, length, code, &error)
    }

    /// What a read came to.
    @inline(__always)
    private func row(
        _ family: Family, _ key: Bytes, _ value: UnsafeRawPointer?, _ length: Int, _ code: Int32,
        _ error: inout pk_error
    ) throws(StorageError) -> Bytes? {
        switch code {
        case 0:
            if length >= LargeNames.rowBytes {
                store.environment.largeNames.note(kind, family, row: key)
            }
            return Bytes(start: value, count: length)
        case 1: return nil
        default:
            core.pointee.pins.leave()
            throw takeError(&error, path: store.path)
        }
    }

    @usableFromInline
    func endRead() { core.pointee.pins.leave() }

    /// Brings a row of the meta family into the store's row cache; whether the store was asked.
    ///
    /// An error is left to whoever needs the row. What a transaction wrote is not looked at: for
    /// threads that read ahead of it.
    public func readAhead(_ key: Bytes) -> Bool {
        guard let cache = store.rowCache else { return false }
        core.pointee.pins.enter()
        let buffer = core.pointee.pins.buffer()
        guard case .miss(let ticket) = cache.copy(key, to: buffer) else {
            endRead()
            return false
        }
        do {
            cache.install(key, try readStore(.meta, key), ticket)
            endRead()
        } catch {
            // The level was left by `readStore`.
        }
        return true
    }

    /// How long a read of the store takes that its row cache could have saved, in nanoseconds: a
    /// moving average.
    public var readNanoseconds: Int { core.pointee.readTime.meanNanoseconds }

    /// Calls `body` while all reads show one state of the store (own writes on top).
    ///
    /// For commands that put several reads together. Costs a lock of RocksDB: not for single reads.
    public func withSnapshot<R>(
        _ body: () throws(StorageError) -> R
    ) throws(StorageError) -> R {
        guard core.pointee.snapshot == nil else { return try body() }
        guard let snapshot = pk_snapshot_create(core.pointee.handle) else { throw .closed }
        core.pointee.snapshot = snapshot
        defer {
            core.pointee.snapshot = nil
            pk_snapshot_release(core.pointee.handle, snapshot)
        }
        return try body()
    }

    // MARK: Writing rows

    /// Writes a row.
    public func put(_ family: Family, _ key: Bytes, _ value: Bytes) {
        reserve(family, key, valueLength: value.count).put(value, at: 0)
    }

    /// Writes a row whose `valueLength` bytes the caller fills in at once.
    ///
    /// Bytes that a read has handed out stay as they are.
    public func reserve(
        _ family: Family, _ key: Bytes, valueLength: Int
    ) -> UnsafeMutableRawPointer {
        core.pointee.overlay.reserve(family, key, valueLength: valueLength)
    }

    /// Deletes a row.
    public func delete(_ family: Family, _ key: Bytes) {
        core.pointee.overlay.delete(family, key)
    }

    /// Rows from which on it is worth to delete them as one range: each costs readers a little until
    /// it is compacted.
    static let rangeRows = 4096

    /// Whether `deleteRange` may be used: nothing of this transaction would be in the range.
    var mayDeleteRange: Bool { !core.pointee.overlay.writesElements }

    /// Deletes the store's rows from `start` up to, not including, `end`.
    ///
    /// Whoever reads this transaction sees them all the same until it is committed: only for rows
    /// that no meta row shows any more. What is written behind it stays.
    func deleteRange(_ family: Family, from start: Bytes, to end: Bytes) {
        core.pointee.deletedRanges.append(
            DeletedRange(family: family, start: Array(start), end: Array(end)))
        core.pointee.overlay.noteElements()
    }

    /// Takes back what was written to a row here.
    func forget(_ family: Family, _ key: Bytes) { core.pointee.overlay.forget(family, key) }

    /// The registers of a HyperLogLog's value, if they were kept.
    func takeRegisters(_ value: Bytes) -> HyperLogLog? {
        core.pointee.recentRegisters.take(value)
    }

    /// Keeps a HyperLogLog's registers for the next time.
    func keepRegisters(_ registers: HyperLogLog) { core.pointee.recentRegisters.keep(registers) }

    // MARK: Ending

    /// Rows from which on, and bytes from which on, `prepareCommit` does something.
    static let preparedRows = 256, preparedBytes = 256 << 10

    /// Puts a large batch together, so that the commit has less to do under its lock; `reset` MUST
    /// follow behind the commit.
    ///
    /// Nothing may be written to the transaction between this and `commit` or `reset`. Never fails:
    /// what is wrong shows at the commit.
    public func prepareCommit() {
        let core = core
        guard core.pointee.preparedCount == 0,
            pendingRowCount >= Self.preparedRows || pendingByteCount >= Self.preparedBytes
        else { return }
        var error = pk_error()
        let rows = core.pointee.overlay.rows
        let count = core.pointee.overlay.rowCount
        guard fillBatch(&error) == 0 else {
            pk_error_clear(&error)
            pk_batch_clear(core.pointee.batch)
            return
        }
        core.pointee.preparedCount = count
        pk_batch_make_ready(core.pointee.handle, rows, count)
        beginNoting(rows, count, hasElements: core.pointee.overlay.writesElements)
    }

    /// Makes the batch anew, with all that is to be written.
    private func fillBatch(_ error: inout pk_error) -> Int32 {
        let (handle, batch) = (core.pointee.handle, core.pointee.batch)
        pk_batch_clear(batch)
        for range in core.pointee.deletedRanges {
            let code = range.start.withUnsafeBytes { start in
                range.end.withUnsafeBytes { end in
                    pk_batch_delete_range(
                        handle, batch, range.family.rawValue, start.baseAddress, start.count,
                        end.baseAddress, end.count, &error)
                }
            }
            guard code == 0 else { return code }
        }
        return pk_batch_fill(
            handle, batch, core.pointee.overlay.rows, core.pointee.overlay.rowCount, &error)
    }

    /// Writes the rows of the overlay, of which the first ones may be in the batch already.
    private func writeRows(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, _ mode: CommitMode,
        _ error: inout pk_error
    ) -> Int32 {
        let (handle, batch) = (core.pointee.handle, core.pointee.batch)
        let noSlowdown: Int32 = mode == .withoutStall ? 1 : 0
        let prepared = core.pointee.preparedCount
        if prepared == 0, core.pointee.deletedRanges.isEmpty {
            return pk_write(handle, batch, rows, count, noSlowdown, &error)
        }
        // Behind the prepared ones there is the reserved row alone, once more at each try.
        let code =
            prepared == 0
            ? fillBatch(&error)
            : pk_batch_fill(handle, batch, rows + prepared, count - prepared, &error)
        guard code == 0 else { return code }
        return pk_batch_write(handle, batch, noSlowdown, &error)
    }

    /// Calls `write`, which puts the rows into the store, and tells all who remember rows before and
    /// after; returns its code, 0 for success.
    @inline(__always)
    func writeNoted(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, hasElements: Bool, _ write: () -> Int32
    ) -> Int32 {
        beginNoting(rows, count, hasElements: hasElements)
        let code = write()
        endNoting(rows, count, isWritten: code == 0)
        return code
    }

    /// Tells all who remember rows that these are about to be written; `endNoting` MUST follow.
    @inline(__always)
    private func beginNoting(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, hasElements: Bool
    ) {
        store.environment.largeNames.noteLarge(kind, rows, count: count)
        if hasElements { store.elementWrites.add(1, ordering: .acquiringAndReleasing) }
        store.rowCache?.beginWrite(rows, count: count)
        store.knownElements?.beginWrite(rows, count: count)
        store.elementVersions?.beginWrite(rows, count: count, core.pointee.deletedRanges)
    }

    @inline(__always)
    private func endNoting(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, isWritten: Bool
    ) {
        store.rowCache?.endWrite(rows, count: count, isWritten: isWritten)
        store.knownElements?.endWrite(rows, count: count, isWritten: isWritten)
        store.elementVersions?.endWrite(rows, count: count, core.pointee.deletedRanges)
    }

    /// Writes all rows and the reserved row with `applied` in one batch.
    ///
    /// - Returns: `.done` (the transaction is empty then, or, if it was prepared, is to be reset) or
    ///   `.wouldStall`.
    /// - Throws: whatever RocksDB says; the rows are kept. It does not mean that none was applied.
    public func commit(
        applied: AppliedPosition?, mode: CommitMode = .withoutStall
    ) throws(StorageError) -> CommitResult {
        let core = core
        if let applied {
            // After everything else, so that it stays whatever was done to the name.
            AppliedRow.name.withUnsafeBytes { name in
                let value = core.pointee.overlay.reserve(
                    .meta, name, valueLength: AppliedRow.encodedSize)
                AppliedRow.encode(applied, into: value)
            }
        }
        guard core.pointee.overlay.rowCount != 0 else {
            core.pointee.reset()
            return .done
        }
        var error = pk_error()
        let rows = core.pointee.overlay.rows
        let rowCount = core.pointee.overlay.rowCount
        let isPrepared = core.pointee.preparedCount > 0
        let code =
            isPrepared
            ? writeRows(rows, rowCount, mode, &error)
            : writeNoted(rows, rowCount, hasElements: core.pointee.overlay.writesElements) {
                writeRows(rows, rowCount, mode, &error)
            }
        guard code == 0 else {
            if mode == .withoutStall, code == Int32(PK_INCOMPLETE) {
                pk_error_clear(&error)
                return .wouldStall
            }
            throw takeError(&error, path: store.path)
        }
        if isPrepared {
            // What is left to do needs no lock but those of the keys.
            core.pointee.isInStore = true
            return .done
        }
        store.environment.largeNames.forgetShort(kind, rows, count: rowCount)
        core.pointee.reset()
        return .done
    }

    /// Forgets all rows; behind the commit of a prepared transaction it gives back its memory.
    public func reset() {
        if core.pointee.preparedCount > 0 { endPrepared() }
        core.pointee.reset()
    }

    private func endPrepared() {
        let rows = core.pointee.overlay.rows
        let count = core.pointee.preparedCount
        endNoting(rows, count, isWritten: core.pointee.isInStore)
        guard core.pointee.isInStore else { return }
        store.environment.largeNames.forgetShort(kind, rows, count: count)
    }

    /// From here on this transaction keeps the rows of small scans that it runs again and again.
    ///
    /// For the transactions of loops: it takes up to 2 MiB (`ScanCache.limitBytes`). Nothing is kept
    /// of strings, and of a store without a row cache.
    public func keepScans() {
        if store.elementVersions != nil { core.pointee.scans.begin() }
    }

    /// Goes on with another store of the same kind (FLUSHDB, reopening); forgets all rows.
    public func rebind(to store: Store) {
        precondition(store.kind == kind, "a transaction of \(kind) can't go on with \(store.kind)")
        reset()
        core.pointee.bind(to: store)
        self.store = store
    }
}

/// One transaction per store of a database.
public final class TransactionSet {
    /// The transaction of the strings.
    public let strings: StoreTransaction
    /// The transaction of the hashes.
    public let hashes: StoreTransaction
    /// The transaction of the lists.
    public let lists: StoreTransaction
    /// The transaction of the sets.
    public let sets: StoreTransaction
    /// The transaction of the sorted sets.
    public let zsets: StoreTransaction

    /// Makes transactions over five stores; each must be of the kind of its name.
    public init(strings: Store, hashes: Store, lists: Store, sets: Store, zsets: Store) {
        self.strings = strings.makeTransaction()
        self.hashes = hashes.makeTransaction()
        self.lists = lists.makeTransaction()
        self.sets = sets.makeTransaction()
        self.zsets = zsets.makeTransaction()
    }

    /// The transaction of one kind.
    @inlinable
    public subscript(kind: StoreKind) -> StoreTransaction {
        switch kind {
        case .strings: strings
        case .hashes: hashes
        case .lists: lists
        case .sets: sets
        case .zsets: zsets
        }
    }

    /// The stores that have rows to commit.
    public var touched: StoreKinds {
        var bits: UInt8 = 0
        if !strings.isEmpty { bits |= StoreKinds.strings.rawValue }
        if !hashes.isEmpty { bits |= StoreKinds.hashes.rawValue }
        if !lists.isEmpty { bits |= StoreKinds.lists.rawValue }
        if !sets.isEmpty { bits |= StoreKinds.sets.rawValue }
        if !zsets.isEmpty { bits |= StoreKinds.zsets.rawValue }
        return StoreKinds(rawValue: bits)
    }

    /// Keeps the rows of scans that are run again and again, see `StoreTransaction.keepScans`.
    public func keepScans() {
        for kind in StoreKind.allCases { self[kind].keepScans() }
    }

    /// Forgets all rows in all stores.
    public func reset() {
        for kind in StoreKind.allCases { self[kind].reset() }
    }
}
