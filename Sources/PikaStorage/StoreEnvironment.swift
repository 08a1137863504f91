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

        public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
    }

    /// Makes the shared parts.
    ///
    /// - Parameters:
    ///   - blockCacheBytes: size of the one block cache.
    ///   - writeBufferBytes: budget of all memtables together.
    ///   - backgroundBytesPerSecond: limit of flush and compaction writes; 0 for none.
    ///   - backgroundThreads: threads for flushes and compactions of all stores.
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
        fatalError("skeleton")
    }

    /// Bytes used by the block cache.
    public var blockCacheUsageBytes: Int { fatalError("skeleton") }

    /// Bytes used by memtables of all stores.
    public var writeBufferUsageBytes: Int { fatalError("skeleton") }
}
