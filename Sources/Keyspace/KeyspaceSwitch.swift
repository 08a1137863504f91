internal import Binlog
internal import FileIO
internal import PikaStorage
internal import SyncProtocol

extension Keyspace {
    /// Writes position rows into a staged copy, flushes and closes it; idempotent.
    ///
    /// Rows found inside are void. A copy that can't be opened, or lacks a store, is an error.
    /// - Returns: the copy with a history: a copy from a real Pika gets a new one, which MUST be
    ///   persisted with the resume point before the switch.
    public static func prepareStaged(
        _ staged: StagedDatabase, configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> StagedDatabase {
        var complete = staged
        if complete.history.isEmpty {
            complete.history = [
                HistoryEntry(
                    id: newReplicationID(), previousEnd: .zero, previousDigest: 0,
                    start: staged.position)
            ]
        }
        let row = AppliedPosition(
            historyID: historyID(complete.history), position: staged.position,
            highestEffectiveNow: staged.highestEffectiveNow)
        let files = DatabaseFiles(
            index: 0, configuration: configuration, backgroundErrors: BackgroundErrors())
        _ = try StoreSet.inParallel { kind throws(KeyspaceError) in
            let path = Path.join(staged.directory, kind.directoryName)
            let store = try files.openStore(
                kind, at: path, hooks: StoreHooks(), createIfMissing: false)
            defer { store.close(flush: false) }
            try onStores { () throws(StorageError) in
                try store.writeApplied(row)
                try store.flush(allowStall: true)
                guard try store.appliedPosition(persistedOnly: true) == row else {
                    throw .flushIncomplete(memtables: store.memtablesLeft)
                }
            }
        }
        try onFiles { () throws(FileError) in
            try configuration.fileSystem.syncDirectory(staged.directory)
        }
        return complete
    }

    /// Closes the database, puts the staged copy in its place, resets the log and reopens.
    ///
    /// Blocks; outside the gate. If `beforeFirstRename` throws, the old database is opened again.
    /// - Parameters:
    ///   - index: the database.
    ///   - staged: a prepared copy.
    ///   - beforeFirstRename: persists the resume point `switching`; the database is closed then.
    ///   - afterReset: persists the resume point `following`.
    public func switchDatabase(
        _ index: Int, to staged: StagedDatabase,
        beforeFirstRename: () throws(KeyspaceError) -> Void,
        afterReset: () throws(KeyspaceError) -> Void
    ) throws(KeyspaceError) {
        let database = databases[index]
        let configuration = self.configuration
        database.maintenance.lock()
        defer { database.maintenance.unlock() }
        try onFiles { () throws(FileError) in
            try configuration.fileSystem.removeTree(database.files.backupDirectory)
        }
        try gate.withClosed { () throws(KeyspaceError) in
            database.lockCommitOnPool()
            defer { database.commitLock.unlock() }
            try database.closeFiles(flush: false)
            do throws(KeyspaceError) {
                try beforeFirstRename()
            } catch {
                try database.reopen()
                throw error
            }
            do throws(KeyspaceError) {
                try Self.finishSwitch(
                    staged, databaseIndex: index, configuration: configuration)
                try afterReset()
            } catch {
                database.refuseWrites("the switch to the master's copy failed: \(error)")
                throw error
            }
            try database.reopen()
        }
    }

    /// Finishes a switch that a crash interrupted, before the keyspace is opened; idempotent.
    ///
    /// MUST be called for every resume point that says `switching`, with the same `staged`.
    public static func finishSwitch(
        _ staged: StagedDatabase, databaseIndex: Int, configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) {
        precondition(!staged.history.isEmpty, "a staged copy without a history")
        let files = DatabaseFiles(
            index: databaseIndex, configuration: configuration,
            backgroundErrors: BackgroundErrors())
        try exchange(staged, files)
        let mark = BinlogMark(position: staged.position, digest: staged.runningDigest)
        let log = try onLog { () throws(BinlogError) in
            try BinlogLog.create(
                directory: files.logDirectory, fileSystem: files.fileSystem,
                configuration: configuration.binlog, at: mark)
        }
        try onLog { () throws(BinlogError) in try log.close() }
        try HistoryFile(entries: staged.history).write(
            in: files.logDirectory, fileSystem: files.fileSystem)
        try StateFile.remove(in: files.directory, fileSystem: files.fileSystem)
    }

    /// Old to `_bak`, new in; each step is left out if it was done before.
    private static func exchange(
        _ staged: StagedDatabase, _ files: DatabaseFiles
    ) throws(KeyspaceError) {
        let fileSystem = files.fileSystem
        try onFiles { () throws(FileError) in
            guard try fileSystem.exists(staged.directory) else { return }
            if try fileSystem.exists(files.directory) {
                // Both in place: the copy has not been moved in, so what is there is the old one.
                if try fileSystem.exists(files.backupDirectory) {
                    try fileSystem.removeTree(files.backupDirectory)
                }
                try fileSystem.rename(files.directory, to: files.backupDirectory)
            }
            try fileSystem.rename(staged.directory, to: files.directory)
            try fileSystem.syncDirectory(files.configuration.databasePath)
            try fileSystem.syncDirectory(Path.directory(of: staged.directory))
        }
    }
}
