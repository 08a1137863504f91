public import Keyspace
public import NIOCore
public import NIOPosix
public import ReplicationCore
internal import SyncProtocol

/// Replication with both roles: serves replicas (port+2000, port+10001), and follows a master.
///
/// All functions are safe from any thread. Those marked *blocking* MUST NOT be called on an event
/// loop; they belong on the pool.
public final class ReplicationService: Sendable {
    private let context: ReplicationContext
    let masterSide: MasterSide
    private let receiving: ReceiveLimiter
    let link: ReplicaLink

    /// Builds the service; nothing runs before ``start()``.
    ///
    /// - Parameters:
    ///   - keyspace: the open databases.
    ///   - keyspaceConfiguration: how they were opened.
    ///   - configuration: what does not change while the process runs.
    ///   - settings: what does.
    ///   - loop: the replication loop; connections, machines and timers live on it.
    ///   - pool: for checkpoints, digests and cold reads.
    public init(
        keyspace: Keyspace, keyspaceConfiguration: KeyspaceConfiguration,
        configuration: ReplicationConfiguration, settings: ReplicationSettings,
        loop: any EventLoop, pool: NIOThreadPool
    ) {
        let box = SettingsBox(settings)
        self.context = ReplicationContext(
            keyspace: keyspace, keyspaceConfiguration: keyspaceConfiguration,
            configuration: configuration, settings: box, loop: loop,
            pool: pool,
            sending: Limiter(bytesPerSecond: settings.throttleBytesPerSecond, loop: loop),
            logger: configuration.logger)
        self.receiving = ReceiveLimiter(
            bytesPerSecond: settings.throttleBytesPerSecond, now: loop.instant.nanoseconds)
        self.masterSide = MasterSide(context: self.context)
        var replica = ReplicaConfiguration(
            ownPort: configuration.port, stagingPath: configuration.databaseSyncPath,
            resumePath: keyspaceConfiguration.databasePath,
            databasePath: keyspaceConfiguration.databasePath,
            masterAuth: { box.current.masterPassword })
        replica.nodeID = self.context.nodeID
        replica.announcedHost = configuration.announceHost
        replica.pikaReaders = settings.parallelFileRequests
        replica.leastRequestTimeoutMilliseconds = settings.fileRequestTimeoutMilliseconds
        replica.acknowledgesBeforeSync = keyspaceConfiguration.syncPolicy == .never
        var environment = ReplicaEnvironment(
            keyspace: keyspace, keyspaceConfiguration: keyspaceConfiguration,
            fileSystem: configuration.fileSystem, eventLoop: loop, pool: pool,
            limiter: self.receiving, logger: configuration.logger)
        environment.dialer = configuration.dialer
        let masterCore = self.masterSide.core
        environment.onUpstreams = { masterCore.announce($0) }
        self.link = ReplicaLink(replica, environment)
    }

    /// Binds the two ports and takes up the snapshots that a former process left.
    ///
    /// *Blocking.*
    public func start() throws(ReplicationError) {
        try self.masterSide.start()
    }

    /// Closes all connections; the state on disk allows to go on.
    ///
    /// *Blocking*, at most a second.
    public func shutdown() {
        self.link.shutdown()
        self.masterSide.shutdown()
    }

    /// The master that is remembered from before this process: for a start without `slaveof`.
    ///
    /// *Blocking*: reads files. nil after SLAVEOF NO ONE, and where no master was ever followed.
    public func rememberedMaster() throws(ReplicaLinkError) -> (host: String, port: Int)? {
        try self.link.rememberedMaster()
    }

    /// Follows a master (`SLAVEOF host port [FORCE]`).
    ///
    /// The same master as now: nothing changes, unless forced. A server that is connected here as a
    /// replica is refused: both would wait for the other's writes for ever (F23).
    public func slaveOf(
        host: String, port: Int, force: Bool = false
    ) throws(ReplicaLinkError) {
        for replica in self.masterSide.status().replicas.map(\.address)
        where replica.port == port {
            if replica.host == host
                || (self.link.isThisMachine(replica.host) && self.link.isThisMachine(host))
            {
                throw .ring(host: host, port: port)
            }
        }
        try self.link.slaveOf(host: host, port: port, force: force)
    }

    /// Promotes all databases (`SLAVEOF NO ONE [FORCE]`).
    ///
    /// *Blocking.*
    public func slaveOfNoOne(force: Bool = false) throws(ReplicaLinkError) {
        try self.link.slaveOfNoOne(force: force)
    }

    /// Takes one database out, puts it back or copies it anew (`DBSLAVEOF`).
    ///
    /// *Blocking.*
    public func databaseSlaveOf(
        _ action: ReplicaSession.DatabaseAction, database: String
    ) throws(ReplicaLinkError) {
        try self.link.dbSlaveOf(action, database: database)
    }

    /// Begins a dump of the databases of these indexes (empty = all) and returns (`BGSAVE`).
    public func backgroundSave(databases: [Int] = []) throws(ReplicationError) {
        try self.masterSide.backgroundSave(databases: databases)
    }

    /// Makes a dump of the databases of these indexes (empty = all) and returns when it is whole
    /// (`SAVE`).
    ///
    /// *Blocking.* Fails with `busy` while another one runs.
    public func save(databases: [Int] = []) throws(ReplicationError) {
        try self.masterSide.save(databases: databases)
    }

    /// Begins a purge of a database's log up to a file, and returns (`PURGELOGSTO`).
    ///
    /// Files that recovery, a replica or a snapshot still needs stay, and the current one always.
    public func purgeLogs(database: Int, upTo fileNumber: UInt32) throws(ReplicationError) {
        try self.masterSide.purgeLogs(database: database, upTo: fileNumber)
    }

    /// The live settings.
    public var settings: ReplicationSettings { self.context.settings.current }

    /// Changes the live settings; the limit of bandwidth holds from now on.
    public func apply(_ settings: ReplicationSettings) {
        self.context.settings.replace(with: settings)
        self.context.sending.setRate(bytesPerSecond: settings.throttleBytesPerSecond)
        self.receiving.setRate(
            bytesPerSecond: settings.throttleBytesPerSecond,
            now: self.context.loop.instant.nanoseconds)
        self.masterSide.settingsChanged()
    }

    /// Both roles at one moment; cheap, at most 200 ms old.
    public func status() -> ReplicationStatus {
        var status = ReplicationStatus()
        status.master = self.masterSide.status()
        let replica = self.link.status()
        status.replica = replica.master == nil ? nil : replica
        status.receivedBytes = self.receiving.receivedBytes
        return status
    }
}
