import CPikaShim

/// What all stores of a process share: block cache, write buffer budget, background I/O limit and
/// the logger that stands in for RocksDB's LOG files.
public final class StoreEnvironment: Sendable {
    /// How chatty RocksDB may be.
    public enum LogLevel: UInt8, Comparable, Sendable {
        case debug = 0
        case info = 1
        case warning = 2
        case error = 3
        case fatal = 4

        /// Whether `a` is less important than `b`.
        public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
    }

    // SAFETY: the shim's parts are thread-safe; the pointer is freed in deinit only.
    nonisolated(unsafe) let handle: OpaquePointer
    private let log: LogBox?
    private let writeBufferBytes: Int
    /// Names under which large values were seen, in any store.
    public let largeNames = LargeNames()

    /// Makes the shared parts.
    ///
    /// - Parameters:
    ///   - blockCacheBytes: size of the one block cache.
    ///   - writeBufferBytes: budget of all memtables together; 0 for none. At half of it stores that
    ///     nobody writes are to be flushed (`isCrowded`); at the double RocksDB flushes whoever writes.
    ///   - backgroundBytesPerSecond: limit of flush and compaction writes; 0 for none.
    ///   - backgroundThreads: threads for compactions of all stores; half as many flush.
    ///   - logLevel: messages below are not formatted.
    ///   - log: takes RocksDB's messages, on any thread.
    public init(
        blockCacheBytes: Int,
        writeBufferBytes: Int,
        backgroundBytesPerSecond: Int64 = 0,
        backgroundThreads: Int = 2,
        logLevel: LogLevel = .warning,
        log: (@Sendable (LogLevel, String) -> Void)? = nil
    ) {
        let box = log.map { LogBox(log: $0) }
        self.log = box
        self.writeBufferBytes = writeBufferBytes
        handle = pk_env_create(
            blockCacheBytes, writeBufferBytes, backgroundBytesPerSecond, Int32(backgroundThreads),
            Int32(logLevel.rawValue), box == nil ? nil : logCallback,
            box.map { Unmanaged.passUnretained($0).toOpaque() })
    }

    deinit { pk_env_destroy(handle) }

    /// Bytes used by the block cache.
    public var blockCacheUsageBytes: Int { pk_env_block_cache_usage(handle) }

    /// Size of the block cache.
    public var blockCacheCapacityBytes: Int { pk_env_block_cache_capacity(handle) }

    /// Bytes used by memtables of all stores.
    public var writeBufferUsageBytes: Int { pk_env_write_buffer_usage(handle) }

    /// Whether memtables that are not being flushed hold half of the budget.
    public var isCrowded: Bool {
        writeBufferBytes > 0 && pk_env_write_buffer_mutable(handle) > writeBufferBytes / 2
    }

    /// Changes the size of the block cache.
    public func setBlockCacheCapacity(bytes: Int) {
        pk_env_set_block_cache_capacity(handle, bytes)
    }

    /// Changes the limit of background writes; without effect if it was 0 at the start.
    public func setBackgroundRate(bytesPerSecond: Int64) {
        pk_env_set_background_rate(handle, bytesPerSecond)
    }
}

private final class LogBox: Sendable {
    let log: @Sendable (StoreEnvironment.LogLevel, String) -> Void

    init(log: @escaping @Sendable (StoreEnvironment.LogLevel, String) -> Void) { self.log = log }
}

private let logCallback: pk_log_callback = { context, level, text in
    guard let context else { return }
    let box = Unmanaged<LogBox>.fromOpaque(context).takeUnretainedValue()
    let level = StoreEnvironment.LogLevel(rawValue: UInt8(truncatingIfNeeded: level))
    box.log(level ?? .fatal, String(cString: text))
}
