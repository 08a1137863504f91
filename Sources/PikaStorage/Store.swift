import CPikaShim
import Glibc
import Synchronization

/// One RocksDB: the keys of one type of one database.
///
/// `close` MUST be called when no transaction is in a call any more; everything else may be called
/// from several threads. What is asked of a closed store fails with `.closed`.
public final class Store: Sendable {
    /// The type of the keys.
    public let kind: StoreKind
    /// The directory.
    public let path: String
    /// Whether the store was opened for reading only.
    public let isReadOnly: Bool

    // SAFETY: RocksDB's calls are thread-safe; the handle is freed in deinit only.
    nonisolated(unsafe) let handle: OpaquePointer
    let environment: StoreEnvironment
    private let hooks: HookBox?
    /// Rows of the meta family that were read lately.
    let rowCache: RowCache?
    /// Elements that were written lately, of hashes and sets.
    let knownElements: KnownElements?
    /// For those who keep elements; nil for strings, and without a row cache.
    let elementVersions: ElementVersions?
    /// Batches with values of other families than the meta one, counted before they are written.
    let elementWrites = Atomic<UInt64>(0)

    /// How long `flush` waits for memtables to go before it reports that they stay.
    static let flushCheckLimitMilliseconds = 5000

    private init(
        handle: OpaquePointer, path: String, kind: StoreKind, isReadOnly: Bool,
        environment: StoreEnvironment, hooks: HookBox?, rowCacheBytes: Int = 0
    ) {
        self.handle = handle
        self.path = path
        self.kind = kind
        self.isReadOnly = isReadOnly
        self.environment = environment
        self.hooks = hooks
        elementVersions = kind != .strings && rowCacheBytes > 0 ? ElementVersions() : nil
        rowCache = rowCacheBytes > 0 ? RowCache(limitBytes: rowCacheBytes) : nil
        knownElements =
            kind.hasElementsToRemember ? KnownElements(limitBytes: rowCacheBytes) : nil
    }

    /// Bytes used by rows kept, and the room for elements remembered.
    public var rowCacheUsageBytes: Int {
        (rowCache?.usedBytes ?? 0) + (knownElements?.sizeBytes ?? 0)
    }

    deinit { pk_store_free(handle) }

    /// Opens or creates the store.
    ///
    /// - Throws: `.locked` if another process has it open; `.engine` for damaged files.
    public static func open(
        path: String, kind: StoreKind, options: StoreOptions, environment: StoreEnvironment,
        hooks: StoreHooks = StoreHooks()
    ) throws(StorageError) -> Store {
        let box = HookBox(hooks: hooks)
        var error = pk_error()
        let opened = options.withShimOptions(of: kind) { shimOptions in
            var callbacks = box.callbacks
            return pk_store_open(
                path, Int32(kind.rawValue), &shimOptions, environment.handle, &callbacks, &error)
        }
        guard let opened else { throw takeError(&error, path: path) }
        return Store(
            handle: opened, path: path, kind: kind, isReadOnly: false, environment: environment,
            hooks: box, rowCacheBytes: options.rowCacheBytes / (kind == .strings ? 2 : 8))
    }

    /// Opens an existing store for reading only: nothing in the directory is changed.
    ///
    /// Not to be used on a directory that another store writes.
    public static func openReadOnly(
        path: String, kind: StoreKind, environment: StoreEnvironment
    ) throws(StorageError) -> Store {
        var error = pk_error()
        let opened = pk_store_open_read_only(
            path, Int32(kind.rawValue), environment.handle, &error)
        guard let opened else { throw takeError(&error, path: path) }
        return Store(
            handle: opened, path: path, kind: kind, isReadOnly: true, environment: environment,
            hooks: nil)
    }

    /// A new transaction; with no rows in it it is a plain reader.
    public func makeTransaction() -> StoreTransaction { StoreTransaction(store: self) }

    /// Flushes all families and makes sure that what was written before the call is in files.
    ///
    /// RocksDB answers success without work after a background error, hence the check.
    ///
    /// - Parameter allowStall: flush at once although writers may be stalled: under a gate.
    /// - Throws: `.flushIncomplete` if memtables stay.
    public func flush(allowStall: Bool = false) throws(StorageError) {
        let before = try appliedPosition()
        try checked(path: path) { pk_store_flush(handle, allowStall ? 1 : 0, $0) }
        try waitUntilFlushed(applied: before)
    }

    private func waitUntilFlushed(applied: AppliedPosition?) throws(StorageError) {
        var waitedMilliseconds = 0
        while true {
            let left = memtablesLeft
            if left == 0 { return }
            // With writers at work memtables are never empty; then the row tells.
            if let applied, let persisted = try appliedPosition(persistedOnly: true),
                persisted.historyID == applied.historyID, persisted.position >= applied.position,
                persisted.highestEffectiveNow >= applied.highestEffectiveNow
            {
                return
            }
            guard waitedMilliseconds < Self.flushCheckLimitMilliseconds else {
                throw .flushIncomplete(memtables: left)
            }
            usleep(1000)
            waitedMilliseconds += 1
        }
    }

    /// Flushes, then compacts everything; filters drop what is stale.
    public func compact() throws(StorageError) {
        try checked(path: path) { pk_store_compact(handle, $0) }
    }

    /// Makes a copy by hard links; `path` must not exist, its parent must.
    ///
    /// MUST be called with no writer active, after `flush`; compare the copy's applied row with the
    /// position that it shall have.
    public func checkpoint(to path: String) throws(StorageError) {
        try checked(path: path) { pk_store_checkpoint(handle, path, $0) }
    }

    /// The position of the reserved row; nil if there is none.
    ///
    /// - Parameter persistedOnly: leave the memtables out: what would be found after a crash.
    public func appliedPosition(
        persistedOnly: Bool = false
    ) throws(StorageError) -> AppliedPosition? {
        let pin: OpaquePointer = pk_pin_create()
        defer { pk_pin_destroy(pin) }
        var error = pk_error()
        var value: UnsafeRawPointer?
        var length = 0
        let code = AppliedRow.name.withUnsafeBytes { name in
            persistedOnly
                ? pk_get_persisted(
                    handle, 0, name.baseAddress, name.count, pin, &value, &length, &error)
                : pk_get(handle, 0, name.baseAddress, name.count, nil, pin, &value, &length, &error)
        }
        switch code {
        case 0:
            do {
                return try AppliedRow.decode(Bytes(start: value, count: length))
            } catch {
                throw .corruptAppliedRow(error)
            }
        case 1: return nil
        default: throw takeError(&error, path: path)
        }
    }

    /// Writes the reserved row alone.
    public func writeApplied(_ position: AppliedPosition) throws(StorageError) {
        let value = UnsafeMutableRawPointer.allocate(
            byteCount: AppliedRow.encodedSize, alignment: 8)
        defer { value.deallocate() }
        AppliedRow.encode(position, into: value)
        try writeReservedRow(value: value, length: UInt32(AppliedRow.encodedSize))
    }

    /// Deletes the reserved row (found inside a copy that is not ours).
    public func removeApplied() throws(StorageError) {
        try writeReservedRow(value: nil, length: PK_ROW_DELETE)
    }

    private func writeReservedRow(
        value: UnsafeMutableRawPointer?, length: UInt32
    ) throws(StorageError) {
        let batch: OpaquePointer = pk_batch_create()
        defer { pk_batch_destroy(batch) }
        var name = AppliedRow.name
        var error = pk_error()
        let code = name.withUnsafeMutableBytes { name in
            guard let key = name.baseAddress else { return Int32(PK_UNKNOWN) }
            var row = pk_row(
                key: key, value: value, key_length: UInt32(name.count), value_length: length,
                value_capacity: 0, family: 0)
            return pk_write(handle, batch, &row, 1, 0, &error)
        }
        guard code == 0 else { throw takeError(&error, path: path) }
    }

    /// The newest sequence number.
    public var sequenceNumber: UInt64 { pk_store_sequence(handle) }

    /// The text of the IDENTITY file.
    public func identity() throws(StorageError) -> String {
        var text: UnsafeMutablePointer<CChar>?
        try checked(path: path) { pk_store_identity(handle, &text, $0) }
        defer { pk_free(text) }
        return text.map { String(cString: $0) } ?? ""
    }

    /// A property of RocksDB as text; nil if there is none of this name.
    public func property(_ name: String, family: Family = .meta) -> String? {
        guard Int(family.rawValue) < kind.familyCount else { return nil }
        var text: UnsafeMutablePointer<CChar>?
        guard pk_store_property(handle, family.rawValue, name, &text) == 1 else { return nil }
        defer { pk_free(text) }
        return text.map { String(cString: $0) }
    }

    /// An integer property, added up over all families; nil if there is none of this name.
    public func integerProperty(_ name: String) -> UInt64? {
        var sum: UInt64 = 0
        for family in 0..<kind.familyCount {
            var value: UInt64 = 0
            guard pk_store_int_property(handle, UInt8(family), name, &value) == 1 else {
                return nil
            }
            sum &+= value
        }
        return sum
    }

    /// Memtables with rows and immutable memtables of all families: 0 when all is in files.
    public var memtablesLeft: Int { Int(pk_store_memtables_left(handle)) }

    /// Bytes of the memtables that are written to.
    public var activeMemtableBytes: Int {
        Int(clamping: integerProperty("rocksdb.cur-size-active-mem-table") ?? 0)
    }

    /// Bytes of live table files.
    public var tableFileBytes: UInt64 { integerProperty("rocksdb.live-sst-files-size") ?? 0 }

    /// Whether writes are slowed or stopped at present.
    public var stallState: StallState {
        StallState(rawValue: UInt8(truncatingIfNeeded: pk_store_stall_state(handle))) ?? .normal
    }

    /// Pauses that flushes and compactions made so that loops and clients get their cores.
    public var pauseCount: Int { Int(clamping: pk_store_pauses(handle)) }

    /// Bytes a second that RocksDB takes while it slows writes down; 0 if it does not.
    var delayedBytesPerSecond: UInt64 {
        var rate: UInt64 = 0
        _ = pk_store_int_property(handle, 0, "rocksdb.actual-delayed-write-rate", &rate)
        return rate
    }

    /// Sets mutable options of all families, by RocksDB's names.
    public func setOptions(_ options: [(name: String, value: String)]) throws(StorageError) {
        try setOptions(options, wholeStore: false)
    }

    /// Sets mutable options of the whole store, by RocksDB's names.
    public func setStoreOptions(_ options: [(name: String, value: String)]) throws(StorageError) {
        try setOptions(options, wholeStore: true)
    }

    private func setOptions(
        _ options: [(name: String, value: String)], wholeStore: Bool
    ) throws(StorageError) {
        let copies = options.flatMap { [strdup($0.name), strdup($0.value)] }
        defer { for copy in copies { free(copy) } }
        let words = copies.compactMap { $0.map { UnsafePointer($0) } }
        guard words.count == options.count * 2 else { return }
        try checked(path: path) { error in
            words.withUnsafeBufferPointer { words in
                guard let start = words.baseAddress else { return 0 }
                return pk_store_set_options(
                    handle, wholeStore ? 1 : 0, start, options.count, error)
            }
        }
    }

    /// Asks RocksDB to leave its error state; reopening the store is the safe way.
    public func resume() throws(StorageError) {
        try checked(path: path) { pk_store_resume(handle, $0) }
    }

    /// Reads every block of every table file and checks its checksum.
    public func verifyChecksums() throws(StorageError) {
        try checked(path: path) { pk_store_verify_checksums(handle, $0) }
    }

    /// Closes the store, whatever happens; closing again does nothing.
    ///
    /// - Parameter flush: whether rows that are only in memtables shall be written first (the flush
    ///   hook is called).
    /// - Returns: what the flush or the closing failed with. Rows may then be missing from the files.
    @discardableResult
    public func close(flush: Bool = true) -> StorageError? {
        var failure: StorageError?
        if flush, !isReadOnly {
            do throws(StorageError) {
                try self.flush(allowStall: true)
            } catch .closed {
                return nil
            } catch {
                failure = error
            }
        }
        var error = pk_error()
        if pk_store_close(handle, &error) != 0 {
            failure = failure ?? takeError(&error, path: path)
        }
        return failure
    }

    /// Deletes the files of a closed store.
    public static func destroy(path: String, kind: StoreKind) throws(StorageError) {
        try checked(path: path) { pk_store_destroy(path, Int32(kind.rawValue), $0) }
    }
}

/// Holds a store's hooks for the shim's callbacks.
private final class HookBox: Sendable {
    let hooks: StoreHooks

    init(hooks: StoreHooks) { self.hooks = hooks }

    var callbacks: pk_hooks {
        pk_hooks(
            context: Unmanaged.passUnretained(self).toOpaque(),
            flush_begin: hooks.onFlushBegin == nil ? nil : flushBegin,
            stall_changed: hooks.onStallStateChanged == nil ? nil : stallChanged,
            background_error: hooks.onBackgroundError == nil ? nil : backgroundError)
    }

    static func from(_ context: UnsafeMutableRawPointer?) -> StoreHooks? {
        guard let context else { return nil }
        return Unmanaged<HookBox>.fromOpaque(context).takeUnretainedValue().hooks
    }
}

private let flushBegin: @convention(c) (UnsafeMutableRawPointer?) -> Void = { context in
    HookBox.from(context)?.onFlushBegin?()
}

private let stallChanged: @convention(c) (UnsafeMutableRawPointer?, Int32) -> Void = {
    context, state in
    guard let state = StallState(rawValue: UInt8(truncatingIfNeeded: state)) else { return }
    HookBox.from(context)?.onStallStateChanged?(state)
}

private let backgroundError:
    @convention(c) (UnsafeMutableRawPointer?, Int32, Int32, UnsafePointer<CChar>) -> Void = {
        context, code, isNoSpace, text in
        let code = EngineFault.Code(rawValue: UInt8(truncatingIfNeeded: code)) ?? .unknown
        HookBox.from(context)?.onBackgroundError?(
            EngineFault(code: code, isNoSpace: isNoSpace != 0, message: String(cString: text)))
    }

extension StoreOptions {
    /// Calls `body` with the options in the shim's form.
    fileprivate func withShimOptions<R>(
        of kind: StoreKind, _ body: (inout pk_options) -> R
    ) -> R {
        let levels = compressionPerLevel.map(\.rawValue)
        return levels.withUnsafeBufferPointer { levels in
            var options = pk_options()
            options.create_if_missing = createIfMissing ? 1 : 0
            options.write_ahead_log = writeAheadLog ? 1 : 0
            options.filter_clock = Int32(filterClock.rawValue)
            options.memtable_kind = Int32(memtableKind.rawValue)
            options.memtable_bytes = memtableBytes
            options.memtable_count = Int32(memtableCount)
            options.level0_trigger = Int32(clamping: level0Trigger(of: kind))
            options.target_file_bytes = UInt64(targetFileBytes)
            options.level_base_bytes = levelBaseBytes
            options.level_multiplier = Int32(levelMultiplier)
            options.compression = Int32(compression.rawValue)
            options.compression_per_level = levels.baseAddress
            options.compression_level_count = levels.count
            options.block_bytes = blockBytes
            options.bloom_bits = Int32(bloomBitsPerKey)
            options.optimize_filters_for_hits = optimizeFiltersForHits ? 1 : 0
            options.maps_files = mapsFiles ? 1 : 0
            options.max_open_files = Int32(maxOpenFiles)
            options.disable_auto_compactions = disableAutoCompactions ? 1 : 0
            options.background_jobs = Int32(backgroundJobs)
            options.max_subcompactions = Int32(maxSubcompactions)
            return body(&options)
        }
    }
}
