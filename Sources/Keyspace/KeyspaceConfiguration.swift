public import Binlog
public import FileIO
public import PikaStorage
public import SyncProtocol

/// When the log is synced to the disk (`binlog-sync`).
public enum SyncPolicy: UInt8, Sendable {
    /// Replies wait for the disk.
    case always
    /// The syncer runs every second, and at once when a replica's acknowledgement is owed.
    case everySecond
    /// Only before flushes and at a stop; replicas are sent unsynced bytes.
    case never
}

/// Whether a database's log is written by this process or received from a master.
public enum LogRole: UInt8, Sendable {
    case master = 1
    case replica = 2
}

/// Something that an operator should read; goes to the process's log.
public struct KeyspaceNote: Sendable {
    /// How much it matters.
    public enum Level: Sendable { case info, warning, error }

    /// How much it matters.
    public var level: Level
    /// The database that it is about, or `nil`.
    public var database: String?
    /// What happened, in one sentence.
    public var text: String
}

/// Everything that a ``Keyspace`` is told at its opening.
public struct KeyspaceConfiguration: Sendable {
    /// Directory that holds `db0` … (`db-path`).
    public var databasePath: String
    /// Directory that holds `log_db0` … (`log-path`).
    public var logPath: String
    /// Number of databases, 1 … 8.
    public var databaseCount = 1
    /// Sizes and limits of the logs.
    public var binlog = BinlogConfiguration()
    /// Options of each store.
    public var store = StoreOptions()
    /// What all stores share.
    public var environment: StoreEnvironment
    /// Wins over the persisted run id, and is persisted.
    public var runID: RunID?
    /// Wins over the persisted replication id, and is persisted.
    public var replicationID: ReplicationID?
    /// When the log is synced.
    public var syncPolicy = SyncPolicy.everySecond
    /// False: nothing is logged, RocksDB's own log is on, and replication is off.
    public var writesBinlog = true
    /// Number of key locks per database; a power of two.
    public var stripeCount = 4096
    /// A store whose applied row trails the log by more than this gets a row of its own.
    public var idleRowDistanceBytes: UInt64 = 64 << 20
    /// Stores are flushed when a restart would have to replay more than this.
    public var replayLimitBytes: UInt64 = 512 << 20
    /// A clean stop that can't flush within this time leaves without the clean mark.
    public var cleanStopLimitMilliseconds = 1500
    /// Wall clock in Unix seconds.
    public var wallClock: @Sendable () -> Int64 = systemWallClock
    /// Names the machine's boot; `nil` reads the kernel's.
    public var bootID: String?
    /// Files of the log, of the marks and of the swap of directories.
    public var fileSystem: any FileSystem
    /// Takes notes for the operator.
    public var note: @Sendable (KeyspaceNote) -> Void = { _ in }
    /// Called when going on would break a promise (the log can't be synced before a flush).
    ///
    /// It must not return in production.
    public var stopProcess: @Sendable (String) -> Void = abortProcess

    /// Bytes that one write group may hold unless ``Keyspace/setGroupLimit(bytes:)`` says otherwise.
    public static let groupLimitBytes = 1 << 30

    /// Creates a configuration with the defaults of the shipped file.
    public init(
        databasePath: String, logPath: String, fileSystem: any FileSystem,
        environment: StoreEnvironment
    ) {
        self.databasePath = databasePath
        self.logPath = logPath
        self.environment = environment
        self.fileSystem = fileSystem
    }
}
