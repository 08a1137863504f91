/// Block compression, by the words of the configuration file.
public enum StoreCompression: UInt8, Sendable {
    case none = 0
    case snappy = 1
    case zlib = 2
    case lz4 = 4
    case zstd = 7
}

/// Which clock decides in compaction whether a key has expired.
public enum FilterClock: UInt8, Sendable {
    /// The persisted applied row's highest effective now - 2 s; without such a row nothing is
    /// dropped. The rule with the binlog as the only log.
    case horizon = 0
    /// The machine's clock: for a store with its own write-ahead log.
    case wall = 1
}

/// How rows lie in memory until they are flushed.
public enum MemtableKind: UInt8, Sendable {
    /// RocksDB's own: in order with every write.
    case skipList = 0
    /// Single rows by hash; put in order for a flush, or when somebody iterates.
    case hash = 1
}

/// How one store is opened.
public struct StoreOptions: Equatable, Sendable {
    /// Create the directory and its families when missing.
    public var createIfMissing = true
    /// Keep RocksDB's own write-ahead log (only with `write-binlog no`).
    public var writeAheadLog = false
    /// The clock of the compaction filters.
    public var filterClock = FilterClock.horizon
    /// How rows lie in memory until they are flushed.
    public var memtableKind = MemtableKind.hash
    /// Bytes of one memtable.
    public var memtableBytes = 8 << 20
    /// Memtables per family before writes stop.
    public var memtableCount = 4
    /// Level-0 files that start a compaction, at least; see `level0Trigger(of:)`.
    public var level0CompactionTrigger = 4
    /// Level-0 files of strings that start a compaction, at most.
    static let stringsLevel0Limit = 16
    /// Size of a table file at level 1.
    public var targetFileBytes = 20 << 20
    /// Total size of level 1.
    public var levelBaseBytes: UInt64 = 256 << 20
    /// Growth of the levels.
    public var levelMultiplier = 10
    /// Compression of levels 2 and deeper; levels 0 and 1 stay uncompressed.
    public var compression = StoreCompression.none
    /// One entry per level; overrules `compression` when not empty.
    public var compressionPerLevel: [StoreCompression] = []
    /// Bytes of a block.
    public var blockBytes = 4096
    /// Bits per key of the bloom filters.
    public var bloomBitsPerKey = 10
    /// Bytes for rows read lately, over the five stores of a database; 0 keeps none.
    ///
    /// Half of them are for strings, an eighth for each other type.
    public var rowCacheBytes = 8 << 20
    /// Leave out the filter blocks of the last level (GET of missing keys gets dearer).
    public var optimizeFiltersForHits = false
    /// Read table files through mappings.
    ///
    /// A block that the system has in memory costs no call and no copy then. An error of the disk ends
    /// the process, where it would else be one reply's.
    public var mapsFiles = false
    /// Table files kept open; -1 for all.
    public var maxOpenFiles = 5000
    /// No compaction on its own.
    public var disableAutoCompactions = false
    /// Background jobs of one store.
    public var backgroundJobs = 2
    /// Threads of one compaction.
    public var maxSubcompactions = 1

    /// The defaults.
    public init() {}

    /// Level-0 files that start a compaction of a store.
    ///
    /// Each of them has the row of the applied position and so overlaps all of level 1: a compaction
    /// rewrites level 1, and is worth it when level 0 holds as much. Strings wait for that, as they
    /// are read one by one, where a filter answers for most files; where elements are iterated, each
    /// file costs every iterator a seek.
    func level0Trigger(of kind: StoreKind) -> Int {
        guard kind == .strings else { return level0CompactionTrigger }
        let files = Int(clamping: levelBaseBytes / UInt64(max(1, memtableBytes)))
        return max(level0CompactionTrigger, min(files, Self.stringsLevel0Limit))
    }
}

/// Whether RocksDB slows or stops writes.
public enum StallState: UInt8, Comparable, Sendable {
    case normal = 0
    case delayed = 1
    case stopped = 2

    /// Whether `a` slows less than `b`.
    public static func < (a: StallState, b: StallState) -> Bool { a.rawValue < b.rawValue }
}

/// What a store reports; called on RocksDB's threads.
public struct StoreHooks: Sendable {
    /// A flush is about to begin, before any file is created.
    ///
    /// The log must be durable to its written end when this returns. Called once per family of the
    /// atomic flush.
    public var onFlushBegin: (@Sendable () -> Void)?
    /// Writes are slowed, stopped, or normal again.
    public var onStallStateChanged: (@Sendable (StallState) -> Void)?
    /// A flush, compaction or write failed in the background.
    public var onBackgroundError: (@Sendable (EngineFault) -> Void)?

    /// Makes the hooks.
    public init(
        onFlushBegin: (@Sendable () -> Void)? = nil,
        onStallStateChanged: (@Sendable (StallState) -> Void)? = nil,
        onBackgroundError: (@Sendable (EngineFault) -> Void)? = nil
    ) {
        self.onFlushBegin = onFlushBegin
        self.onStallStateChanged = onStallStateChanged
        self.onBackgroundError = onBackgroundError
    }
}
