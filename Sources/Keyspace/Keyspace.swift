internal import Binlog
internal import FileIO
public import PikaStorage
public import SyncProtocol
internal import Synchronization

/// All databases of one process.
public final class Keyspace: Sendable {
    /// The databases by index.
    public let databases: [Database]
    /// Parks the command loops for FLUSHDB, exchanges of stores and transactions over stores.
    public let gate: TransactionGate

    let configuration: KeyspaceConfiguration
    let node: NodeState
    let syncer: Syncer
    let housekeeper: Housekeeper
    private let locks: Mutex<[DirectoryLock]>
    private let isClosed = Atomic<Bool>(false)

    /// Largest number of databases.
    public static let databaseLimitCount = 8

    private init(
        configuration: KeyspaceConfiguration, databases: [Database], gate: TransactionGate,
        node: NodeState, syncer: Syncer, locks: [DirectoryLock]
    ) {
        self.configuration = configuration
        self.databases = databases
        self.gate = gate
        self.node = node
        self.syncer = syncer
        self.locks = Mutex(locks)
        housekeeper = Housekeeper()
    }

    /// Names under which large values were seen.
    public var largeNames: LargeNames { configuration.environment.largeNames }

    /// Changes how many bytes one write group may hold; one that would come to more fails whole.
    public func setGroupLimit(bytes: Int) {
        for database in databases { database.groupLimitBytes.store(bytes, ordering: .relaxed) }
    }

    // MARK: Open

    /// Opens the directories, recovers, and starts the syncer.
    ///
    /// Blocks. Switches that were under way MUST have been finished before
    /// (``finishSwitch(_:databaseIndex:configuration:)``).
    public static func open(
        _ configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> Keyspace {
        precondition(
            (1...databaseLimitCount).contains(configuration.databaseCount),
            "databases: \(configuration.databaseCount)")
        let locks = try lockDirectories(configuration)
        do throws(KeyspaceError) {
            return try open(configuration, locks: locks)
        } catch {
            for lock in locks { lock.release() }
            throw error
        }
    }

    private static func lockDirectories(
        _ configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> [DirectoryLock] {
        let paths = [configuration.databasePath, configuration.logPath]
        var locks: [DirectoryLock] = []
        do throws(DirectoryLockError) {
            for path in paths where !locks.contains(where: { $0.directory == path }) {
                locks.append(try DirectoryLock(path, fileSystem: configuration.fileSystem))
            }
        } catch {
            for lock in locks { lock.release() }
            switch error {
            case .heldByAnotherProcess(let directory): throw .directoryInUse(directory)
            case .file(let error): throw .file(error)
            }
        }
        return locks
    }

    private static func open(
        _ configuration: KeyspaceConfiguration, locks: [DirectoryLock]
    ) throws(KeyspaceError) -> Keyspace {
        let bootID = try bootID(configuration)
        var file = try readNode(configuration)
        let isSameBoot = file.bootID == bootID
        if !configuration.writesBinlog {
            try leaveBinlog(configuration, file, isSameBoot: isSameBoot)
        }
        let syncer = Syncer(
            policy: configuration.syncPolicy, databaseCount: configuration.databaseCount)
        let gate = TransactionGate()
        var opened: [(DatabaseFiles, OpenedDatabase)] = []
        do throws(KeyspaceError) {
            for index in 0..<configuration.databaseCount {
                let files = DatabaseFiles(
                    index: index, configuration: configuration,
                    backgroundErrors: BackgroundErrors())
                let opener = DatabaseOpener(
                    files: files, role: file.roles[index], isSameBoot: isSameBoot)
                opened.append((files, try opener.open()))
            }
            updateIdentity(&file, configuration, opened.contains { $0.1.hasNewHistory })
            // Last: until then another crash is still the first one.
            file.bootID = bootID
            try file.write(
                in: configuration.databasePath, fileSystem: configuration.fileSystem)
        } catch {
            for (_, database) in opened { database.live.stores.close(flush: false) }
            throw error
        }
        let node = NodeState(
            file, directory: configuration.databasePath, fileSystem: configuration.fileSystem)
        let databases = opened.map { files, opened in
            Database(
                files: files, node: node, gate: gate, syncer: syncer, opened: opened,
                role: file.roles[files.index])
        }
        let keyspace = Keyspace(
            configuration: configuration, databases: databases, gate: gate, node: node,
            syncer: syncer, locks: locks)
        syncer.start(databases)
        keyspace.housekeeper.start(databases)
        return keyspace
    }

    private static func bootID(
        _ configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> String {
        if let bootID = configuration.bootID { return bootID }
        return try onFiles { () throws(FileError) in try configuration.fileSystem.bootID() }
    }

    private static func readNode(
        _ configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> NodeFile {
        var file =
            try NodeFile.read(
                in: configuration.databasePath, fileSystem: configuration.fileSystem)
            ?? NodeFile(bootID: "", runID: newRunID(), replicationID: nil, roles: [])
        while file.roles.count < configuration.databaseCount { file.roles.append(.master) }
        return file
    }

    /// A log that was cut is another one for its peers, whatever the configuration file says.
    private static func updateIdentity(
        _ file: inout NodeFile, _ configuration: KeyspaceConfiguration, _ hasNewHistory: Bool
    ) {
        let previous = file.runID
        if let runID = configuration.runID { file.runID = runID }
        if hasNewHistory && file.runID == previous { file.runID = newRunID() }
        if let replicationID = configuration.replicationID { file.replicationID = replicationID }
    }

    /// Before a start without the binlog: everything into the stores, and no sign of ours left, so
    /// that the next start with the binlog takes the stores as they are.
    private static func leaveBinlog(
        _ configuration: KeyspaceConfiguration, _ file: NodeFile, isSameBoot: Bool
    ) throws(KeyspaceError) {
        var withBinlog = configuration
        withBinlog.writesBinlog = true
        for index in 0..<configuration.databaseCount {
            let files = DatabaseFiles(
                index: index, configuration: withBinlog, backgroundErrors: BackgroundErrors())
            let history = try HistoryFile.read(
                in: files.logDirectory, fileSystem: files.fileSystem)
            guard history != nil else { continue }
            let opened = try DatabaseOpener(
                files: files, role: file.roles[index], isSameBoot: isSameBoot
            ).open()
            defer { opened.live.stores.close(flush: false) }
            try opened.live.stores.flush(allowStall: true)
            let state = opened.live.logState
            try onLog { () throws(BinlogError) in
                _ = try state.sync()
                try state.log.close()
            }
            try HistoryFile.remove(in: files.logDirectory, fileSystem: files.fileSystem)
        }
    }

    // MARK: Identity

    /// How peers of Pika 3.5.0 know this process; persisted.
    public var runID: RunID { node.current.runID }
    /// Pika 3.5.5's id of the data set, if there is one.
    public var replicationID: ReplicationID? { node.current.replicationID }

    /// Persists another run id.
    public func setRunID(_ id: RunID) throws(KeyspaceError) {
        try node.update { $0.runID = id }
    }

    /// Persists another replication id.
    public func setReplicationID(_ id: ReplicationID?) throws(KeyspaceError) {
        try node.update { $0.replicationID = id }
    }

    // MARK: Policies and whole-keyspace operations

    /// When the log is synced; live.
    public var syncPolicy: SyncPolicy { syncer.policy }
    /// Changes the policy.
    public func setSyncPolicy(_ policy: SyncPolicy) {
        syncer.policy = policy
        for database in databases { database.requestSync() }
    }

    /// FLUSHALL: removes everything in every database; blocks.
    public func removeAll() throws(KeyspaceError) {
        for database in databases { try database.removeAll() }
    }

    /// Deletes what finished switches and FLUSHDBs left (`_bak`, old stores).
    public func removeLeftovers() {
        for database in databases {
            database.maintenance.lock()
            defer { database.maintenance.unlock() }
            do throws(KeyspaceError) {
                try database.files.removeReplacedStores()
                try onFiles { () throws(FileError) in
                    try configuration.fileSystem.removeTree(database.files.backupDirectory)
                }
            } catch {
                database.files.note(.warning, "leftovers could not be deleted: \(error)")
            }
        }
    }

    // MARK: Close

    /// Stops: syncs the logs, flushes within the limit and leaves the clean marks if it could.
    ///
    /// Waits until nobody is inside the gate. Returns true if every database has its mark; if not,
    /// a flush may still be running: the process has to end without running destructors.
    @discardableResult
    public func close() -> Bool {
        guard !isClosed.exchange(true, ordering: .sequentiallyConsistent) else { return true }
        housekeeper.stop()
        syncer.stop()
        let deadline =
            monotonicNanoseconds()
            + UInt64(max(configuration.cleanStopLimitMilliseconds, 0)) * 1_000_000
        let marked = Atomic<Int>(0)
        gate.withClosed { () throws(Never) in
            let count = CloseCount()
            let threads = databases.map { database in
                WorkerThread {
                    if database.close(deadlineNanoseconds: deadline) { count.add() }
                }
            }
            for thread in threads { thread.join() }
            marked.store(count.value, ordering: .relaxed)
        }
        locks.withLock { locks in
            for lock in locks { lock.release() }
            locks = []
        }
        return marked.load(ordering: .relaxed) == databases.count
    }
}

private final class CloseCount: Sendable {
    private let count = Atomic<Int>(0)
    func add() { count.add(1, ordering: .relaxed) }
    var value: Int { count.load(ordering: .relaxed) }
}
