import Commands
import FileIO
import Keyspace
import NIOCore
import NIOPosix
import PikaStorage
import Replication
import SyncProtocol

/// The databases and, with a binlog, replication: opened and closed in the right order.
struct OpenedData: Sendable {
    let keyspace: Keyspace
    let replication: ReplicationBridge?

    /// The master that is followed although the settings name none.
    private(set) var rememberedMaster: String?
    private let group: MultiThreadedEventLoopGroup
    private let pool: NIOThreadPool

    /// Threads for what replication must not do on its loop.
    private static let replicationPoolThreads = 4

    init(
        settings: Settings, hosts: [String], fileSystem: any FileSystem, log: ServerLog
    ) throws(ServerError) {
        let configuration = Self.configuration(settings, fileSystem, log)
        if settings.writeBinlog {
            do throws(ReplicaStartupError) {
                try ReplicaStartup.finishSwitches(
                    resumeDirectory: settings.dbPath, stagingPath: settings.dbSyncPath,
                    keyspaceConfiguration: configuration)
            } catch {
                throw ServerError(.replication, "\(error)")
            }
        }
        do throws(KeyspaceError) {
            keyspace = try Keyspace.open(configuration)
        } catch {
            throw ServerError(.keyspace, "the databases can't be opened: \(error)")
        }
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        pool = NIOThreadPool(numberOfThreads: Self.replicationPoolThreads)
        guard settings.writeBinlog else {
            replication = nil
            return
        }
        pool.start()
        var replicationConfiguration = ReplicationConfiguration(
            port: settings.port, dumpPath: settings.dumpPath, databaseSyncPath: settings.dbSyncPath,
            fileSystem: fileSystem, logger: log.logger)
        replicationConfiguration.dumpPrefix = settings.dumpPrefix
        replicationConfiguration.replicationListenHosts = hosts
        replicationConfiguration.fileListenHosts = hosts
        let service = ReplicationService(
            keyspace: keyspace, keyspaceConfiguration: configuration,
            configuration: replicationConfiguration, settings: ReplicationSettings(settings),
            loop: group.next(), pool: pool)
        let bridge = ReplicationBridge(
            service: service, databaseNames: keyspace.databases.map(\.name), log: log)
        replication = bridge
        do {
            try service.start()
            if let master = ConfAddress(settings.slaveOf) {
                try service.slaveOf(host: master.host, port: master.port)
            } else if let master = try service.rememberedMaster() {
                // SLAVEOF at run time: going on is better than silently taking writes.
                log.warning("following \(master.host):\(master.port), as before the restart")
                try service.slaveOf(host: master.host, port: master.port)
                rememberedMaster = "\(master.host):\(master.port)"
            }
        } catch {
            close()
            throw ServerError(.replication, "\(error)")
        }
    }

    /// Stops replication, then the databases.
    func close() {
        replication?.shutdown()
        keyspace.close()
        try? pool.syncShutdownGracefully()
        try? group.syncShutdownGracefully()
    }

    static func configuration(
        _ settings: Settings, _ fileSystem: any FileSystem, _ log: ServerLog
    ) -> KeyspaceConfiguration {
        let environment = StoreEnvironment(
            blockCacheBytes: settings.blockCacheBytes,
            writeBufferBytes: settings.writeBufferBytes,
            backgroundBytesPerSecond: settings.storageBytesPerSecond >= 1 << 40
                ? 0 : Int64(settings.storageBytesPerSecond),
            backgroundThreads: settings.backgroundJobs,
            log: { level, text in
                // Noise: a new store finds no directory; a checkpoint of a store that is being copied.
                if text.contains("dir NotFound") || text.contains("File Deletions") { return }
                let line = text.split(separator: "\n").joined(separator: " ")
                if level >= .error { log.error(line) } else { log.warning(line) }
            })
        var configuration = KeyspaceConfiguration(
            databasePath: settings.dbPath, logPath: settings.logPath, fileSystem: fileSystem,
            environment: environment)
        configuration.databaseCount = settings.databases
        configuration.store = storeOptions(settings)
        configuration.runID = RunID(settings.runID)
        configuration.replicationID = ReplicationID(settings.replicationID)
        configuration.syncPolicy = SyncPolicy(word: settings.binlogSync)
        configuration.writesBinlog = settings.writeBinlog
        configuration.note = { note in
            let text = (note.database.map { $0 + ": " } ?? "") + note.text
            switch note.level {
            case .info: log.info(text)
            case .warning: log.warning(text)
            case .error: log.error(text)
            }
        }
        return configuration
    }

    private static func storeOptions(_ settings: Settings) -> StoreOptions {
        var options = StoreOptions()
        // 16 MB at the shipped budget: fewer flushes and compactions, and more reads that end in
        // memory. In a skip list a larger memtable makes each put dearer, so it gets half.
        options.memtableKind = settings.memtable == "skiplist" ? .skipList : .hash
        let parts = options.memtableKind == .hash ? 4 : 8
        options.memtableBytes = min(16 << 20, max(1 << 20, settings.writeBufferBytes / parts))
        options.targetFileBytes = settings.targetFileBytes
        options.rowCacheBytes = settings.rowCacheBytes / max(1, settings.databases)
        options.blockBytes = settings.blockSizeBytes
        options.mapsFiles = settings.mapsFiles
        options.maxOpenFiles = settings.maxCacheFiles
        options.compression =
            switch settings.compression {
            case "snappy": .snappy
            case "zlib": .zlib
            case "lz4": .lz4
            case "zstd": .zstd
            default: .none
            }
        return options
    }
}

extension SyncPolicy {
    /// The policy by the words of `binlog-sync`.
    init(word: String) {
        switch word {
        case "always": self = .always
        case "no": self = .never
        default: self = .everySecond
        }
    }
}
