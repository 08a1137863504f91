/// One RocksDB: the keys of one type of one database.
///
/// `close` MUST be called once, when no transaction is in a call any more; everything else may be
/// called from several threads.
public final class Store: Sendable {
    /// The type of the keys.
    public let kind: StoreKind
    /// The directory.
    public let path: String

    init(kind: StoreKind, path: String) {
        self.kind = kind
        self.path = path
    }

    /// Opens or creates the store.
    ///
    /// - Throws: `.locked` if another process has it open; `.engine` for damaged files.
    public static func open(
        path: String, kind: StoreKind, options: StoreOptions, environment: StoreEnvironment,
        hooks: StoreHooks = StoreHooks()
    ) throws(StorageError) -> Store { fatalError("skeleton") }

    /// Opens an existing store for reading only: nothing in the directory is changed.
    public static func openReadOnly(
        path: String, kind: StoreKind, environment: StoreEnvironment
    ) throws(StorageError) -> Store { fatalError("skeleton") }

    /// A new transaction; with no rows in it it is a plain reader.
    public func makeTransaction() -> StoreTransaction { fatalError("skeleton") }

    /// Flushes all families and checks that no memtable is left.
    ///
    /// - Parameter allowStall: flush at once although writers may be stalled: under a gate.
    public func flush(allowStall: Bool = false) throws(StorageError) { fatalError("skeleton") }

    /// Flushes, then compacts everything; filters drop what is stale.
    public func compact() throws(StorageError) { fatalError("skeleton") }

    /// Makes a copy by hard links; `path` must not exist, its parent must.
    ///
    /// MUST be called with no writer active, after `flush`.
    public func checkpoint(to path: String) throws(StorageError) { fatalError("skeleton") }

    /// The position of the reserved row.
    ///
    /// - Parameter persistedOnly: leave the memtables out: what would be found after a crash.
    public func appliedPosition(
        persistedOnly: Bool = false
    ) throws(StorageError) -> AppliedPosition? { fatalError("skeleton") }

    /// Writes the reserved row alone.
    public func writeApplied(_ position: AppliedPosition) throws(StorageError) {
        fatalError("skeleton")
    }

    /// Deletes the reserved row (found inside a copy that is not ours).
    public func removeApplied() throws(StorageError) { fatalError("skeleton") }

    /// The newest sequence number.
    public var sequenceNumber: UInt64 { fatalError("skeleton") }

    /// The text of the IDENTITY file.
    public func identity() throws(StorageError) -> String { fatalError("skeleton") }

    /// A property of RocksDB as text; nil if there is none of this name.
    public func property(_ name: String, family: Family = .meta) -> String? {
        fatalError("skeleton")
    }

    /// An integer property, added up over all families.
    public func integerProperty(_ name: String) -> UInt64? { fatalError("skeleton") }

    /// Memtables with rows and immutable memtables of all families: 0 when all is in files.
    public var memtablesLeft: Int { fatalError("skeleton") }

    /// Bytes of table files and memtables, as RocksDB estimates them.
    public var estimatedBytes: UInt64 { fatalError("skeleton") }

    /// Whether writes are slowed or stopped at present.
    public var stallState: StallState { fatalError("skeleton") }

    /// Sets mutable options of all families, by RocksDB's names.
    public func setOptions(_ options: [(name: String, value: String)]) throws(StorageError) {
        fatalError("skeleton")
    }

    /// Sets mutable options of the whole store, by RocksDB's names.
    public func setStoreOptions(_ options: [(name: String, value: String)]) throws(StorageError) {
        fatalError("skeleton")
    }

    /// Asks RocksDB to leave its error state. Reopening the store is the safe way.
    public func resume() throws(StorageError) { fatalError("skeleton") }

    /// Reads every block of every table file and checks its checksum.
    public func verifyChecksums() throws(StorageError) { fatalError("skeleton") }

    /// Closes the store.
    ///
    /// - Parameter flush: whether rows that are only in memtables shall be written first (the flush
    ///   hook is called).
    public func close(flush: Bool = true) { fatalError("skeleton") }

    /// Deletes the directory of a closed store.
    public static func destroy(path: String, kind: StoreKind) throws(StorageError) {
        fatalError("skeleton")
    }
}
