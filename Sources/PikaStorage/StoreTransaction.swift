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
            let row = try readStore(family, key)
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

    /// Puts a large batch together, so that the commit has less to do under its lock.
    ///
    /// Nothing may be written to the transaction between this and `commit` or `reset`. Never fails:
    /// what is wrong shows at the commit.
    public func prepareCommit() {
        let core = core
        guard core.pointee.preparedCount == 0,
            pendingRowCount >= Self.preparedRows || pendingByteCount >= Self.preparedBytes
        else { return }
        var error = pk_error()
        let count = core.pointee.overlay.rowCount
        pk_batch_clear(core.pointee.batch)
        guard
            pk_batch_fill(
                core.pointee.handle, core.pointee.batch, core.pointee.overlay.rows, count, &error)
                == 0
        else {
            pk_error_clear(&error)
            pk_batch_clear(core.pointee.batch)
            return
        }
        core.pointee.preparedCount = count
    }

    /// Writes the rows of the overlay, of which the first ones may be in the batch already.
    private func writeRows(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, _ mode: CommitMode,
        _ error: inout pk_error
    ) -> Int32 {
        let (handle, batch) = (core.pointee.handle, core.pointee.batch)
        let noSlowdown: Int32 = mode == .withoutStall ? 1 : 0
        let prepared = core.pointee.preparedCount
        guard prepared > 0 else { return pk_write(handle, batch, rows, count, noSlowdown, &error) }
        // Behind the first ones there is the reserved row alone, once more at each try.
        let code = pk_batch_fill(handle, batch, rows + prepared, count - prepared, &error)
        guard code == 0 else { return code }
        return pk_batch_write(handle, batch, noSlowdown, &error)
    }

    /// Calls `write`, which puts the rows into the store, and tells all who remember rows before and
    /// after; returns its code, 0 for success.
    @inline(__always)
    func writeNoted(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, hasElements: Bool, _ write: () -> Int32
    ) -> Int32 {
        store.environment.largeNames.noteLarge(kind, rows, count: count)
        if hasElements { store.elementWrites.add(1, ordering: .acquiringAndReleasing) }
        store.rowCache?.beginWrite(rows, count: count)
        store.knownElements?.beginWrite(rows, count: count)
        let code = write()
        store.rowCache?.endWrite(rows, count: count, isWritten: code == 0)
        store.knownElements?.endWrite(rows, count: count, isWritten: code == 0)
        return code
    }

    /// Writes all rows and the reserved row with `applied` in one batch.
    ///
    /// - Returns: `.done` (the transaction is empty then) or `.wouldStall`.
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
        let code = writeNoted(rows, rowCount, hasElements: core.pointee.overlay.writesElements) {
            writeRows(rows, rowCount, mode, &error)
        }
        guard code == 0 else {
            if mode == .withoutStall, code == Int32(PK_INCOMPLETE) {
                pk_error_clear(&error)
                return .wouldStall
            }
            throw takeError(&error, path: store.path)
        }
        store.environment.largeNames.forgetShort(kind, rows, count: rowCount)
        core.pointee.reset()
        return .done
    }

    /// Forgets all rows.
    public func reset() { core.pointee.reset() }

    /// Goes on with another store of the same kind (FLUSHDB, reopening); forgets all rows.
    public func rebind(to store: Store) {
        precondition(store.kind == kind, "a transaction of \(kind) can't go on with \(store.kind)")
        core.pointee.reset()
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

    /// Forgets all rows in all stores.
    public func reset() {
        for kind in StoreKind.allCases { self[kind].reset() }
    }
}
