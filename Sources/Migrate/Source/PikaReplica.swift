internal import Binlog
internal import FileIO
internal import Keyspace
internal import Logging
internal import MigrateCore
internal import NIOCore
internal import NIOPosix
internal import PikaStorage
internal import Replication
internal import SyncProtocol
internal import Synchronization

/// How a Pika is followed.
public struct PikaSourceConfiguration: Sendable {
    /// The port of its clients; +2000 and +10001 are used beside it.
    public var address: RedisAddress
    /// The user of reads; nil = the password alone.
    public var user: String?
    /// Asked for at each connection: a file may have changed.
    public var password: @Sendable () -> [UInt8]?
    /// Encrypts and verifies the reads of single keys; Pika's replication knows no encryption.
    public var tls: RedisTLS?
    /// The directory of the copy and its logs: as large as the source's data.
    public var directory: String
    /// How many databases the source has; nil = it is asked.
    public var databaseCount: Int?
    /// What the master knows us by, with our address; nothing listens there.
    public var announcedPort: Int
    /// Bytes that the copy's logs may hold before a note says so.
    public var logLimitBytes: UInt64 = 200 << 30
    /// Limits what is received, bytes per second; 0 = no limit.
    public var receiveBytesPerSecond: UInt64 = 0
    /// A source that lost writes is followed: what it has is copied anew.
    public var followsLostWrites = false
    /// Unix time.
    public var wallClockMilliseconds: @Sendable () -> Int64 = systemMilliseconds
    /// Takes lines for the operator.
    public var log: @Sendable (String) -> Void = { _ in }

    /// A configuration with the defaults of the shipped file.
    public init(
        address: RedisAddress, user: String? = nil,
        password: @escaping @Sendable () -> [UInt8]? = { nil }, directory: String,
        announcedPort: Int = 29_221
    ) {
        self.address = address
        self.user = user
        self.password = password
        self.directory = directory
        self.announcedPort = announcedPort
    }
}

/// A replica of a Pika inside of this process: its copy is the snapshot, its logs are the spool.
///
/// Everything that a replica survives (kills, cut links, restarted masters) this one does too. Calls
/// block for the disk.
final class PikaReplica: Sendable {
    let keyspace: Keyspace
    let directory: String
    private let link: ReplicaLink
    private let limiter: ReceiveLimiter
    private let group: MultiThreadedEventLoopGroup
    private let pool: NIOThreadPool
    private let fileSystem = RealFileSystem()
    private let lock: DirectoryLock
    let environment: StoreEnvironment

    init(_ configuration: PikaSourceConfiguration, databaseCount: Int) throws(SourceError) {
        self.directory = configuration.directory
        let log = configuration.log
        do throws(DirectoryLockError) {
            self.lock = try DirectoryLock(configuration.directory, fileSystem: self.fileSystem)
        } catch { throw .io("\(error)") }
        // Small: this process must stay small whatever the source's size.
        self.environment = StoreEnvironment(blockCacheBytes: 16 << 20, writeBufferBytes: 48 << 20)
        var settings = KeyspaceConfiguration(
            databasePath: Path.join(configuration.directory, "data"),
            logPath: Path.join(configuration.directory, "log"), fileSystem: self.fileSystem,
            environment: self.environment)
        settings.databaseCount = databaseCount
        settings.store.memtableBytes = 4 << 20
        settings.store.rowCacheBytes = 1 << 20
        settings.store.maxOpenFiles = 256
        settings.note = { note in
            if note.level != .info { log("\(note.database ?? "copy"): \(note.text)") }
        }
        let staging = Path.join(configuration.directory, "staging")
        do {
            try ReplicaStartup.finishSwitches(
                resumeDirectory: settings.databasePath, stagingPath: staging,
                keyspaceConfiguration: settings)
            self.keyspace = try Keyspace.open(settings)
        } catch { throw .io("the copy of the source can't be opened: \(error)") }
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.pool = NIOThreadPool(numberOfThreads: 4)
        self.pool.start()
        let password = configuration.password
        self.limiter = ReceiveLimiter(
            bytesPerSecond: configuration.receiveBytesPerSecond,
            now: NIODeadline.now().uptimeNanoseconds)
        var logger = Logger(label: "pika-migrate.source") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .warning
        self.link = ReplicaLink(
            ReplicaConfiguration(
                ownPort: configuration.announcedPort, stagingPath: staging,
                resumePath: settings.databasePath, databasePath: settings.databasePath,
                masterAuth: { String(decoding: password() ?? [], as: UTF8.self) }),
            ReplicaEnvironment(
                keyspace: self.keyspace, keyspaceConfiguration: settings,
                fileSystem: self.fileSystem, eventLoop: self.group.next(), pool: self.pool,
                limiter: self.limiter, logger: logger))
    }

    /// Follows; a copy that is there goes on unless `anew`.
    func follow(_ address: RedisAddress, anew: Bool) throws(SourceError) {
        do throws(ReplicaLinkError) {
            try self.link.slaveOf(host: address.host, port: address.port, force: anew)
        } catch { throw .unsupported("\(error)") }
    }

    var status: ReplicaStatus { self.link.status() }

    func setLimit(bytesPerSecond: UInt64) {
        self.limiter.setRate(
            bytesPerSecond: bytesPerSecond, now: NIODeadline.now().uptimeNanoseconds)
    }

    /// Whether every database has a whole copy and follows.
    var isComplete: Bool {
        let status = self.status
        return !status.databases.isEmpty && status.databases.allSatisfy { $0.phase == .following }
    }

    /// A frozen copy of all databases with their positions, in `<directory>/cut`.
    func cut() throws(SourceError) -> Snapshot {
        let path = self.cutPath
        do {
            try self.fileSystem.removeTree(path)
            return try self.keyspace.cutSnapshot(
                databases: Array(self.keyspace.databases.indices), into: path,
                host: "127.0.0.1", port: 0)
        } catch { throw .io("the copy can't be frozen: \(error)") }
    }

    var cutPath: String { Path.join(self.directory, "cut") }

    func removeCut() { try? self.fileSystem.removeTree(self.cutPath) }

    var hasCut: Bool { (try? self.fileSystem.exists(self.cutPath)) ?? false }

    /// Removes logs that are not needed from `position` on.
    func release(database: Int, before position: BinlogPosition) {
        guard self.keyspace.databases.indices.contains(database) else { return }
        // The newest ten files stay in any case.
        _ = try? self.keyspace.databases[database].purgeLog(
            policy: PurgePolicy(keepFileCount: 1, keepDays: 1), manualUpTo: nil,
            protectedFrom: position)
    }

    func close() {
        self.link.shutdown()
        self.keyspace.close()
        try? self.pool.syncShutdownGracefully()
        try? self.group.syncShutdownGracefully()
        self.lock.release()
    }
}
