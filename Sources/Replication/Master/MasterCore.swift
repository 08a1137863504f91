internal import Binlog
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ReplicationCore
internal import SyncProtocol
internal import Synchronization

/// What all connections of replicas share: who is connected, leases, snapshots, timers.
final class MasterCore: DatabaseObserver, @unchecked Sendable {
    // SAFETY: the variables are used on `context.loop` only; `published` and the flags of `wakes`
    // are synchronised themselves.

    /// How often sessions look at the clock.
    static let tickInterval: Duration = .milliseconds(100)
    /// How often old files of the logs are looked for.
    static let purgeInterval: Duration = .seconds(5)
    /// How often expired dumps are looked for.
    static let dumpExpiryInterval: Duration = .seconds(3_600)
    /// Connections of either service at once.
    static let connectionLimit = 1_000

    let context: ReplicationContext
    let catalog: SnapshotCatalog
    let dumps: DumpWriter
    let published = Mutex(MasterStatus())
    private let wakes: [WakeFlag]

    private(set) var connections: [UInt64: ReplicaConnection] = [:]
    private(set) var fileConnections: [UInt64: FileConnection] = [:]
    var leases = PurgeLeases()
    let leaseKeeper: LeaseKeeper
    var binlogBytesSent: UInt64 = 0
    var snapshotBytesSent: UInt64 = 0
    var hostileConnections: UInt64 = 0
    private var leasesDropped: UInt64 = 0
    /// The servers that we follow ourselves.
    private(set) var upstreams = UpstreamChain.none
    private var tokens: [[UInt8]: UInt64] = [:]
    private var nextSessions: [Int32]
    private var nextConnection: UInt64 = 1
    private var timer: RepeatedTask?
    private var lastPurge: MonotonicInstant
    private var lastDumpExpiry = MonotonicInstant(nanoseconds: 0)
    private var purging: Set<Int> = []
    private var tickCount: UInt64 = 0

    init(context: ReplicationContext) {
        self.context = context
        self.lastPurge = context.loop.instant
        let count = context.keyspace.databases.count
        self.wakes = (0..<count).map { _ in WakeFlag() }
        self.nextSessions = Array(repeating: 0, count: count)
        self.catalog = SnapshotCatalog(storage: SnapshotStorage(context: context))
        self.dumps = DumpWriter(context: context)
        self.leaseKeeper = LeaseKeeper(context: context)
    }

    var now: MonotonicInstant { self.context.loop.instant }

    // MARK: Life

    func begin(snapshots: [StoredSnapshot], leases: [PurgeLeases.Remembered] = []) {
        self.settingsChanged()
        self.leases.restore(leases, now: self.now)
        self.catalog.core = self
        for snapshot in snapshots { self.catalog.install(snapshot, now: self.now) }
        for database in self.context.keyspace.databases { database.addObserver(self) }
        self.timer = self.context.loop.scheduleRepeatedTask(
            initialDelay: TimeAmount(Self.tickInterval), delay: TimeAmount(Self.tickInterval)
        ) { [weak self] _ in self?.tick() }
        self.publish()
    }

    func shutDown() {
        self.timer?.cancel()
        self.timer = nil
        for database in self.context.keyspace.databases { database.removeObserver(self) }
        self.leaseKeeper.keepAtEnd(self.leases.remembered(now: self.now))
        for connection in self.connections.values { connection.close() }
        for connection in self.fileConnections.values { connection.close() }
        self.catalog.persistLeases(now: self.now)
    }

    func settingsChanged() {
        let settings = self.context.settings.current
        self.leases.configuration.lostReplica = .seconds(settings.lostReplicaLeaseSeconds)
        self.leases.configuration.ceilingBytes = settings.leasedBinlogLimitBytes
        self.catalog.settings = settings
        for connection in self.connections.values { connection.settingsChanged(settings) }
        for connection in self.fileConnections.values { connection.settingsChanged() }
    }

    // MARK: Connections

    func makeConnectionID() -> UInt64 {
        defer { self.nextConnection += 1 }
        return self.nextConnection
    }

    /// False: there are too many.
    func add(_ connection: ReplicaConnection) -> Bool {
        guard self.connections.count < Self.connectionLimit else { return false }
        self.connections[connection.id] = connection
        return true
    }

    func add(_ connection: FileConnection) -> Bool {
        guard self.fileConnections.count < Self.connectionLimit else { return false }
        self.fileConnections[connection.id] = connection
        return true
    }

    func remove(_ connection: ReplicaConnection) {
        self.connections[connection.id] = nil
        if let token = connection.fileToken { self.tokens[token] = nil }
        self.publish()
    }

    func remove(_ connection: FileConnection) {
        self.fileConnections[connection.id] = nil
    }

    /// Gives the connection of a replica of ours its key to the file service.
    func makeFileToken(for connection: ReplicaConnection) -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        let token = (0..<4).flatMap { _ in
            withUnsafeBytes(of: random.next() as UInt64) { Array($0) }
        }
        self.tokens[token] = connection.id
        return token
    }

    func connection(token: [UInt8]) -> ReplicaConnection? {
        self.tokens[token].flatMap { self.connections[$0] }
    }

    /// Drops older connections of the replica that has just said hello.
    func replaceOlder(than connection: ReplicaConnection, address: ReplicaAddress) {
        for other in self.connections.values
        where other.id != connection.id && other.address == address {
            other.replaced()
        }
    }

    /// We follow others now: replicas of ours look whether they are among them (F23).
    func announce(_ chain: UpstreamChain) {
        self.upstreams = chain
        for connection in self.connections.values { connection.announceUpstreams() }
    }

    /// Ids are per database and never used twice in a process (spec replication-protocol 6.3).
    func makeSessionID(database: Int) -> SessionID {
        defer { self.nextSessions[database] = self.nextSessions[database] &+ 1 & .max }
        return SessionID(rawValue: self.nextSessions[database])
    }

    /// While replicas are attached, a database's syncer is woken by appends.
    func countAttached(database: Int) {
        let count = self.connections.values.count { $0.isFollowing(database) }
        self.context.keyspace.databases[database].setAttachedReplicas(count: count)
    }

    // MARK: News of the log

    func sendable(_ position: BinlogPosition, database: Int) {
        guard self.wakes[database].raise() else { return }
        self.context.loop.execute {
            self.wakes[database].lower()
            let sendable = self.context.keyspace.databases[database].sendable
            for connection in self.connections.values {
                connection.logAdvanced(database, to: sendable)
            }
        }
    }

    func durable(_ position: BinlogPosition, database: Int) {}

    func applied(_ position: BinlogPosition, database: Int) {}

    func logReplaced(database: Int) {
        self.context.loop.execute {
            for connection in self.connections.values where connection.isFollowing(database) {
                connection.logReplaced(database)
            }
        }
    }

    // MARK: Time

    private func tick() {
        let now = self.now
        for connection in self.connections.values { connection.tick(now: now) }
        for connection in self.fileConnections.values { connection.tick(now: now) }
        self.catalog.tick(now: now)
        self.leases.expire(now: now)
        self.tickCount += 1
        if self.tickCount.isMultiple(of: 2) { self.publish() }
        if self.tickCount.isMultiple(of: 10) {
            self.leaseKeeper.keep(self.leases.remembered(now: now)) {}
        }
        if now.since(self.lastPurge) >= Self.purgeInterval {
            self.lastPurge = now
            for database in self.context.keyspace.databases.indices {
                self.purge(database: database, manualUpTo: nil)
            }
        }
        if now.since(self.lastDumpExpiry) >= Self.dumpExpiryInterval {
            self.lastDumpExpiry = now
            let dumps = self.dumps
            let days = self.context.settings.current.dumpExpireDays
            self.context.pool.submit { _ in dumps.removeExpired(days: days) }
        }
    }

    // MARK: Purge

    /// Deletes old files of a log on the pool; one purge per database at a time.
    func purge(database index: Int, manualUpTo: UInt32?) {
        guard !self.purging.contains(index) else {
            // A manual purge must not be lost behind the one that is under way.
            if manualUpTo != nil {
                self.context.loop.scheduleTask(in: .milliseconds(20)) { [weak self] in
                    self?.purge(database: index, manualUpTo: manualUpTo)
                }
            }
            return
        }
        let database = self.context.keyspace.databases[index]
        self.dropGreedyLeases(database)
        let floor = self.leases.floor(database: database.name)
        let settings = self.context.settings.current
        let policy = PurgePolicy(
            keepFileCount: settings.keepLogFiles, keepDays: settings.keepLogDays)
        let logger = self.context.logger
        self.purging.insert(index)
        self.context.pool.submit { _ in
            do {
                let removed = try database.purgeLog(
                    policy: policy, manualUpTo: manualUpTo, protectedFrom: floor)
                if !removed.isEmpty {
                    logger.info(
                        "binlog files removed",
                        metadata: [
                            "db": "\(database.name)", "files": "\(removed)",
                        ])
                }
            } catch {
                logger.error(
                    "binlog purge failed",
                    metadata: [
                        "db": "\(database.name)", "error": "\(error)",
                    ])
            }
            self.context.loop.execute { self.purging.remove(index) }
        }
    }

    private func dropGreedyLeases(_ database: Database) {
        let log = database.log
        let end = database.written
        let dropped = self.leases.enforceCeiling(database: database.name) { position in
            log.distanceBytes(from: position, to: end)
        }
        self.leasesDropped += UInt64(dropped.count)
        for lease in dropped {
            self.context.logger.warning(
                "a lease holds more binlog than leased-binlog-limit: it is dropped",
                metadata: [
                    "db": "\(database.name)", "holder": "\(lease.holder)",
                    "position": "\(lease.position)",
                ])
        }
    }

    // MARK: Status

    func publish() {
        var status = MasterStatus()
        status.replicas = self.connections.values.compactMap { $0.status() }
            .sorted { $0.connectionID < $1.connectionID }
        status.databases = self.context.keyspace.databases.map { self.status(of: $0) }
        status.snapshots = self.catalog.listing(now: self.now)
        status.binlogBytesSent = self.binlogBytesSent
        status.snapshotBytesSent = self.snapshotBytesSent
        status.leasesDropped = self.leasesDropped
        status.hostileConnections = self.hostileConnections
        self.published.withLock { $0 = status }
    }

    private func status(of database: Database) -> MasterDatabaseStatus {
        let end = database.published
        var safe: UInt32?
        if end.fileNumber >= 10 { safe = end.fileNumber - 10 }
        if let floor = self.leases.floor(database: database.name)?.fileNumber {
            safe = floor == 0 ? nil : safe.map { min($0, floor - 1) }
        }
        return MasterDatabaseStatus(
            database: database.name, end: end, durable: database.durable, safePurgeFile: safe)
    }
}

/// One wake-up under way at a time.
private final class WakeFlag: Sendable {
    private let isRaised = Atomic<Bool>(false)

    /// True if it was not raised before.
    func raise() -> Bool {
        self.isRaised.compareExchange(
            expected: false, desired: true, ordering: .acquiringAndReleasing
        ).exchanged
    }

    func lower() {
        self.isRaised.store(false, ordering: .releasing)
    }
}
