public import SyncProtocol

/// The replication side at one moment, for INFO: plain data, at most 200 ms old.
public struct ReplicationStatus: Hashable, Sendable {
    /// What a master knows.
    public var master = MasterStatus()
    /// What a replica knows; nil without SLAVEOF.
    public var replica: ReplicaStatus?
    /// Bytes received from masters since the start, binlog and files, with their framing.
    public var receivedBytes: UInt64 = 0

    /// Creates an empty status.
    public init() {}
}

/// What a master knows.
public struct MasterStatus: Hashable, Sendable {
    /// The connected replicas; not empty = the role has the master bit.
    public var replicas: [ConnectedReplica] = []
    /// The databases' logs.
    public var databases: [MasterDatabaseStatus] = []
    /// The snapshots that exist.
    public var snapshots: [SnapshotListing] = []
    /// BGSAVE.
    public var backgroundSave = BackgroundSaveStatus()
    /// Bytes of binlog items sent since the start.
    public var binlogBytesSent: UInt64 = 0
    /// Bytes of snapshot files sent since the start.
    public var snapshotBytesSent: UInt64 = 0
    /// Leases of replicas that were dropped because they held too much (F27): an alarm.
    public var leasesDropped: UInt64 = 0
    /// Connections closed because of what came over them.
    public var hostileConnections: UInt64 = 0

    /// Creates an empty status.
    public init() {}
}

/// One connected replica.
public struct ConnectedReplica: Hashable, Sendable {
    /// How it calls itself.
    public var address: ReplicaAddress
    /// Number of its connection in this process, growing.
    public var connectionID: UInt64
    /// Whether it is one of ours.
    public var isOurs: Bool
    /// Its databases in the order of their numbers.
    public var databases: [ConnectedReplicaDatabase]
}

/// One replica's conversation about one database.
public struct ConnectedReplicaDatabase: Hashable, Sendable {
    /// Where it is.
    public enum State: String, Hashable, Sendable {
        /// TrySync was accepted, the first BinlogSync is awaited.
        case starting
        /// A full copy runs.
        case copying
        /// Items are sent.
        case streaming
    }

    /// Its name, such as `db0`.
    public var database: String
    /// Where it is.
    public var state: State
    /// The session.
    public var session: SessionID
    /// The end of the last item sent.
    public var sent: BinlogPosition
    /// The end of the last item acknowledged.
    public var acknowledged: BinlogPosition
    /// What it reports of itself (a real Pika's acknowledgement stands for all three).
    public var progress: ReplicaProgress
    /// Bytes of binlog that it was not sent yet, as Pika computes `lag`.
    public var lagBytes: UInt64
}

/// One database's log.
public struct MasterDatabaseStatus: Hashable, Sendable {
    /// Its name, such as `db0`.
    public var database: String
    /// The end of its log.
    public var end: BinlogPosition
    /// Synced up to here.
    public var durable: BinlogPosition
    /// The newest file that PURGELOGSTO may name without hurting anybody; nil = none.
    public var safePurgeFile: UInt32?
}

/// One snapshot.
public struct SnapshotListing: Hashable, Sendable {
    /// Its id.
    public var id: SnapshotID
    /// Its name, such as `db0`.
    public var database: String
    /// The position that it holds.
    public var position: BinlogPosition
    /// Its size.
    public var totalBytes: UInt64
    /// Connections that read it now.
    public var readerCount: Int
    /// Seconds until it may be deleted, from the last use on.
    public var leaseSecondsLeft: Int
    /// How long writers had to wait for its cut.
    public var gateHeldMicroseconds: Int
}

/// BGSAVE.
public struct BackgroundSaveStatus: Hashable, Sendable {
    /// Whether one runs.
    public var isRunning = false
    /// When the last one began (Unix seconds); nil = never.
    public var startedAtSeconds: Int64?
    /// How long the last one took.
    public var lastDurationSeconds: Int?
    /// Why the last one failed; nil = it did not.
    public var lastFailure: String?
    /// Where the last one lies.
    public var lastDirectory: String?

    /// Creates the status of a process that never saved.
    public init() {}
}
