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

    init(store: Store) {
        self.store = store
        kind = store.kind
    }

    /// Whether nothing has been written since the last commit or reset.
    public var isEmpty: Bool { fatalError("skeleton") }

    /// Rows that the next commit will write.
    public var pendingRowCount: Int { fatalError("skeleton") }

    /// Bytes of keys and values that the next commit will write.
    public var pendingByteCount: Int { fatalError("skeleton") }

    /// Reads one row; nil if there is none. The bytes are valid during `body`.
    @inlinable
    public func withRow<R>(
        _ family: Family, _ key: Bytes, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        let row = try beginRead(family, key)
        defer { endRead() }
        return try body(row)
    }

    @usableFromInline
    func beginRead(_ family: Family, _ key: Bytes) throws(StorageError) -> Bytes? {
        fatalError("skeleton")
    }

    @usableFromInline
    func endRead() { fatalError("skeleton") }

    /// Writes a row.
    public func put(_ family: Family, _ key: Bytes, _ value: Bytes) { fatalError("skeleton") }

    /// Writes a row whose `valueLength` bytes the caller fills in before the next call.
    public func reserve(
        _ family: Family, _ key: Bytes, valueLength: Int
    ) -> UnsafeMutableRawPointer { fatalError("skeleton") }

    /// Deletes a row.
    public func delete(_ family: Family, _ key: Bytes) { fatalError("skeleton") }

    /// Calls `body` for the rows whose key begins with `prefix`, from `from` on in the order of the
    /// family, until it returns false. Own writes are merged in, as they were when the scan began.
    ///
    /// - Parameters:
    ///   - family: the column family.
    ///   - prefix: only rows that begin with it; empty for all.
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
    ) throws(StorageError) { fatalError("skeleton") }

    /// Calls `body` for every live key from `from` on in byte order, until it returns false. The
    /// reserved row is left out.
    ///
    /// - Parameters:
    ///   - from: the first key that may be visited; empty for the start.
    ///   - prefix: only keys that begin with it.
    ///   - now: effective now, Unix seconds.
    ///   - body: takes the key and its deadline (0 for none); returns whether to go on.
    public func forEachKey(
        from: Bytes, prefix: Bytes = .none, now: Int64,
        _ body: (_ key: Bytes, _ expiry: Int32) throws(StorageError) -> Bool
    ) throws(StorageError) { fatalError("skeleton") }

    /// Counts the keys, live and not, as INFO keyspace 1 shows them.
    public func keyStatistics(now: Int64) throws(StorageError) -> KeyStatistics {
        fatalError("skeleton")
    }

    /// Writes all rows and the reserved row with `applied` in one batch.
    ///
    /// - Returns: `.done` (the transaction is empty then) or `.wouldStall`.
    /// - Throws: whatever RocksDB says; the rows are kept. It does not mean that none was applied.
    public func commit(
        applied: AppliedPosition?, mode: CommitMode = .withoutStall
    ) throws(StorageError) -> CommitResult { fatalError("skeleton") }

    /// Forgets all rows.
    public func reset() { fatalError("skeleton") }

    /// Goes on with another store of the same kind (FLUSHDB, reopening); forgets all rows.
    public func rebind(to store: Store) { fatalError("skeleton") }
}

/// How many keys a store holds.
public struct KeyStatistics: Equatable, Sendable {
    /// Live keys.
    public var keys: UInt64 = 0
    /// Live keys with a deadline.
    public var expiring: UInt64 = 0
    /// Sum of the remaining seconds of these.
    public var remainingSeconds: UInt64 = 0
    /// Rows that are stale or empty.
    public var invalid: UInt64 = 0

    /// All zero.
    public init() {}
}

/// One transaction per store of a database.
public final class TransactionSet {
    public let strings: StoreTransaction
    public let hashes: StoreTransaction
    public let lists: StoreTransaction
    public let sets: StoreTransaction
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
        var kinds: StoreKinds = []
        for kind in StoreKind.allCases where !self[kind].isEmpty { kinds.insert(StoreKinds(kind)) }
        return kinds
    }

    /// Forgets all rows in all stores.
    public func reset() {
        for kind in StoreKind.allCases { self[kind].reset() }
    }
}
