public import FileIO
public import Keyspace
public import Logging
public import NIOCore
public import NIOPosix
internal import ReplicationCore
public import SyncProtocol

/// What the replica's side is told at its creation.
public struct ReplicaConfiguration: Sendable {
    /// Our own base port: what the master calls us by.
    public var ownPort: Int
    /// What the master shall call us; nil = the local address of the connection to it.
    public var announcedHost: String?
    /// `db-sync-path`: copies are staged in `<here>/<db>/`, on the device of the data.
    public var stagingPath: String
    /// Where the resume points lie (`db-path`).
    public var resumePath: String
    /// `db-path`: `<here>/<db>` is what a copy replaces.
    public var databasePath: String
    /// Ourselves, where others may follow us; nil = rings of replicas are not looked for.
    public var nodeID: NodeID?
    /// `masterauth`, live.
    public var masterAuth: @Sendable () -> String
    /// `max-rsync-parallel-num`: requests in flight at a real Pika, 1...4.
    public var pikaReaders = 4
    /// `rsync-timeout-ms`: the least time that a file request is waited for.
    public var leastRequestTimeoutMilliseconds = 1_000
    /// Whether items are acknowledged before they are on the disk (`binlog-sync no`).
    public var acknowledgesBeforeSync = false
    /// Silence of the master after which a database is asked for anew; as real Pika.
    public var masterSilenceTimeout: Duration = .seconds(20)
    /// The same for a real Pika that has said nothing since it was asked for items.
    public var firstSignTimeout: Duration = .seconds(4)

    /// Creates a configuration.
    public init(
        ownPort: Int, stagingPath: String, resumePath: String, databasePath: String,
        masterAuth: @escaping @Sendable () -> String = { "" }
    ) {
        self.ownPort = ownPort
        self.stagingPath = stagingPath
        self.resumePath = resumePath
        self.databasePath = databasePath
        self.masterAuth = masterAuth
    }
}

/// What the replica's side works with.
public struct ReplicaEnvironment: Sendable {
    /// The databases.
    public var keyspace: Keyspace
    /// How they were opened: staged copies are opened the same way.
    public var keyspaceConfiguration: KeyspaceConfiguration
    /// Staged files and resume points.
    public var fileSystem: any FileSystem
    /// The loop of replication; all of the link's state belongs to it.
    public var eventLoop: any EventLoop
    /// Everything that blocks.
    public var pool: NIOThreadPool
    /// Received bytes, binlog and files.
    public var limiter: ReceiveLimiter
    /// The process's log.
    public var logger: Logger
    /// Opens connections.
    var dialer = Dialer.tcp
    /// The servers above us changed; on the loop.
    var onUpstreams: @Sendable (UpstreamChain) -> Void = { _ in }

    /// Bundles what the replica's side works with.
    public init(
        keyspace: Keyspace, keyspaceConfiguration: KeyspaceConfiguration,
        fileSystem: any FileSystem, eventLoop: any EventLoop, pool: NIOThreadPool,
        limiter: ReceiveLimiter, logger: Logger
    ) {
        self.keyspace = keyspace
        self.keyspaceConfiguration = keyspaceConfiguration
        self.fileSystem = fileSystem
        self.eventLoop = eventLoop
        self.pool = pool
        self.limiter = limiter
        self.logger = logger
    }
}
