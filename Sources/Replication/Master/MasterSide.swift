internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ReplicationCore
internal import SyncProtocol
internal import Synchronization

/// The master's half of ``ReplicationService``: the two listeners, and the way onto the loop.
final class MasterSide: Sendable {
    let core: MasterCore
    private let context: ReplicationContext
    private let listeners = Mutex<[any Channel]>([])

    /// Distance of the replication service's port from the base port.
    static let replicationPortOffset = 2_000
    /// Distance of the file service's port from the base port.
    static let filePortOffset = 10_001
    /// Unsent bytes at which a connection counts as not writable, and writable again.
    static let writeBufferBytes = (low: 512 << 10, high: 1 << 20)

    init(context: ReplicationContext) {
        self.context = context
        self.core = MasterCore(context: context)
    }

    /// Takes up old snapshots, then binds.
    ///
    /// Blocks.
    func start() throws(ReplicationError) {
        let snapshots = SnapshotStorage(context: self.context).restore()
        let core = self.core
        let leases = self.rememberedLeases()
        self.run { core.begin(snapshots: snapshots, leases: leases) }
        let configuration = self.context.configuration
        guard (1...(65_535 - Self.filePortOffset)).contains(configuration.port) else {
            throw ReplicationError(
                .bind,
                "port \(configuration.port) is not in 1...\(65_535 - Self.filePortOffset): the file"
                    + " service listens on port+\(Self.filePortOffset)")
        }
        for host in configuration.replicationListenHosts {
            try self.listen(host, configuration.port + Self.replicationPortOffset) { channel in
                try channel.pipeline.syncOperations.addHandler(ReplicaConnection(core: core))
            }
        }
        for host in configuration.fileListenHosts {
            try self.listen(host, configuration.port + Self.filePortOffset) { channel in
                try channel.pipeline.syncOperations.addHandler(FileConnection(core: core))
            }
        }
    }

    /// A file that can't be read costs the replicas that were away a full copy at worst: it is
    /// reported, and replaced by the next one.
    private func rememberedLeases() -> [PurgeLeases.Remembered] {
        let file = LeaseFile(
            databasePath: self.context.keyspaceConfiguration.databasePath,
            fileSystem: self.context.configuration.fileSystem)
        do {
            return try file.load(wallSeconds: SnapshotStorage.wallSeconds())
        } catch {
            self.context.logger.error(
                "leases of replicas can't be read: the log is purged without them",
                metadata: ["path": "\(file.path)", "error": "\(error)"])
            return []
        }
    }

    private func listen(
        _ host: String, _ port: Int, _ configure: @escaping @Sendable (any Channel) throws -> Void
    ) throws(ReplicationError) {
        let bootstrap = ServerBootstrap(group: self.context.loop)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .writeBufferWaterMark,
                value: ChannelOptions.Types.WriteBufferWaterMark(
                    low: Self.writeBufferBytes.low, high: Self.writeBufferBytes.high)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try configure(channel) }
            }
        do {
            let listener = try bootstrap.bind(host: host, port: port).wait()
            self.listeners.withLock { $0.append(listener) }
        } catch {
            throw ReplicationError(.bind, "can't listen on \(host):\(port)", cause: "\(error)")
        }
    }

    /// Closes the listeners and all connections.
    ///
    /// Blocks.
    func shutdown() {
        for listener in self.listeners.withLock({ $0 }) {
            try? listener.close().wait()
        }
        let core = self.core
        self.run { core.shutDown() }
    }

    private func run(_ body: @escaping @Sendable () -> Void) {
        try? self.context.loop.submit(body).wait()
    }

    func backgroundSave(databases: [Int]) throws(ReplicationError) {
        try self.core.dumps.begin(databases: databases)
    }

    func save(databases: [Int]) throws(ReplicationError) {
        try self.core.dumps.save(databases: databases)
    }

    func purgeLogs(database: Int, upTo fileNumber: UInt32) throws(ReplicationError) {
        guard self.context.keyspace.databases.indices.contains(database) else {
            throw ReplicationError(.badArgument, "no database db\(database)")
        }
        let core = self.core
        self.context.loop.execute { core.purge(database: database, manualUpTo: fileNumber) }
    }

    func settingsChanged() {
        let core = self.core
        self.context.loop.execute { core.settingsChanged() }
    }

    func status() -> MasterStatus {
        var status = self.core.published.withLock { $0 }
        status.backgroundSave = self.core.dumps.status
        return status
    }
}
