public import FileIO
public import Logging
internal import Synchronization

/// What the replication side is told at its start and keeps.
public struct ReplicationConfiguration: Sendable {
    /// The base port; replication listens on +2000, the file service on +10001.
    public var port: Int
    /// Where +2000 listens; real Pika always listens everywhere.
    public var replicationListenHosts = ["0.0.0.0"]
    /// Where +10001 listens: the same addresses as the clients' port.
    public var fileListenHosts = ["0.0.0.0"]
    /// The address of this node that goes into `info` files and answers; nil = what a socket says.
    public var announceHost: String?
    /// `dump-path`: snapshots and BGSAVE dumps.
    public var dumpPath: String
    /// `dump-prefix`.
    public var dumpPrefix = ""
    /// `db-sync-path`: copies that a replica is fetching.
    public var databaseSyncPath: String
    /// Files of snapshots, leases and copies.
    public var fileSystem: any FileSystem
    /// The process's log.
    public var logger: Logger
    /// Opens connections to a master.
    var dialer = Dialer.tcp

    /// Creates a configuration.
    public init(
        port: Int, dumpPath: String, databaseSyncPath: String, fileSystem: any FileSystem,
        logger: Logger
    ) {
        self.port = port
        self.dumpPath = dumpPath
        self.databaseSyncPath = databaseSyncPath
        self.fileSystem = fileSystem
        self.logger = logger
    }
}

/// What CONFIG SET may change while the process runs.
public struct ReplicationSettings: Hashable, Sendable {
    /// `requirepass`: what a replica must present in MetaSync; empty = nothing.
    public var requirePassword = ""
    /// `masterauth`: what we present to our master.
    public var masterPassword = ""
    /// `throttle-bytes-per-second`, for what is sent and, separately, for what is received; 0 = no
    /// limit.
    public var throttleBytesPerSecond: UInt64 = 0
    /// `sync-window-size`: unacknowledged items per replica and database.
    public var syncWindowItems = 9_000
    /// `expire-logs-nums`: binlog files per database that are kept; at least 10.
    public var keepLogFiles = 10
    /// `expire-logs-days`: age at which a file may go while more than 10 remain.
    public var keepLogDays = 7
    /// `dump-expire` in days; 0 = dumps are kept.
    public var dumpExpireDays = 0
    /// `max-rsync-parallel-num`: file requests at once, 1...4.
    public var parallelFileRequests = 4
    /// `rsync-timeout-ms`: how long a file request may take at least.
    public var fileRequestTimeoutMilliseconds = 1_000
    /// `max-conn-rbuf-size`: the largest response in bytes that a replica parses.
    public var maximumResponseBytes = 256 << 20
    /// `slave-priority`: only shown.
    public var replicaPriority = 100
    /// A DBSync within this many seconds of a snapshot's cut shares it.
    public var snapshotJoinSeconds = 60
    /// How long an unread snapshot is kept for the replica that asked for it.
    public var snapshotLeaseSeconds = 600
    /// Snapshots kept at once, per database.
    public var snapshotCountLimit = 4
    /// Bytes of files that only snapshots hold any more, of all databases; 0 = no limit.
    public var snapshotSizeLimitBytes: UInt64 = 50 << 30
    /// How long a lost replica keeps its binlog from being purged.
    public var lostReplicaLeaseSeconds = 1_800
    /// Bytes of binlog per database that replicas and snapshots may hold.
    public var leasedBinlogLimitBytes: UInt64 = 50 << 30

    /// Creates the defaults.
    public init() {}
}

/// The live settings, shared by all parts; reading costs one uncontended lock.
final class SettingsBox: Sendable {
    private let box: Mutex<ReplicationSettings>

    init(_ settings: ReplicationSettings) { self.box = Mutex(settings) }

    var current: ReplicationSettings {
        self.box.withLock { $0 }
    }

    func replace(with settings: ReplicationSettings) {
        self.box.withLock { $0 = settings }
    }
}

/// Why the replication side could not do something.
public struct ReplicationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind.
    public enum Code: Hashable, Sendable {
        /// A port could not be bound.
        case bind
        /// The command does not fit the role or the state.
        case wrongState
        /// An argument is wrong.
        case badArgument
        /// A database's store, log or file failed.
        case storage
        /// The same is running already.
        case busy
        /// The service is stopping.
        case stopped
    }

    /// The kind.
    public var code: Code
    /// A sentence for the client or the log, without "ERR".
    public var message: String
    /// What failed below, as text.
    public var cause: String?

    /// Creates an error.
    public init(_ code: Code, _ message: String, cause: String? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// The message with its cause.
    public var description: String {
        self.cause.map { "\(self.message): \($0)" } ?? self.message
    }
}
