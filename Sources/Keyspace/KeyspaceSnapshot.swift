internal import Binlog
internal import FileIO
internal import PikaStorage
internal import SyncProtocol

extension Keyspace {
    /// Cuts all databases asked for and writes a dump that a real Pika can open.
    ///
    /// Blocks; on the pool, outside the gate. `directory` must not exist; on an error it is
    /// removed.
    /// - Parameters:
    ///   - indexes: which databases.
    ///   - directory: gets `db0/strings` …, `db0/info`.
    ///   - host: goes into `info`.
    ///   - port: goes into `info`.
    public func cutSnapshot(
        databases indexes: [Int], into directory: String, host: String, port: Int
    ) throws(KeyspaceError) -> Snapshot {
        let fileSystem = configuration.fileSystem
        let exists = try onFiles { () throws(FileError) in try fileSystem.exists(directory) }
        guard !exists else { throw .damaged(path: directory, reason: "exists already") }
        do throws(KeyspaceError) {
            try onFiles { () throws(FileError) in try fileSystem.makeDirectory(directory) }
            let cutAt = configuration.wallClock()
            var cuts: [DatabaseSnapshot] = []
            for index in indexes.sorted() {
                let cut = try databases[index].cut(into: directory)
                try databases[index].writeDescription(
                    of: cut, cutAtSeconds: cutAt, host: host, port: port)
                cuts.append(cut)
            }
            return Snapshot(directory: directory, cutAtSeconds: cutAt, databases: cuts)
        } catch {
            try? fileSystem.removeTree(directory)
            throw error
        }
    }

    /// Reads the description that lies in a snapshot's directory (after a restart).
    ///
    /// - Throws: `.damaged` if a file is missing or has another size.
    public static func readSnapshot(
        _ directory: String, configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> Snapshot {
        let fileSystem = configuration.fileSystem
        var snapshot = Snapshot(directory: directory, cutAtSeconds: 0, databases: [])
        for index in 0..<databaseLimitCount {
            let path = Path.join(directory, "db\(index)")
            let record = try SnapshotFileRecord.read(in: path, fileSystem: fileSystem)
            guard let record else { continue }
            for file in record.files {
                let filePath = Path.join(path, file.path)
                let status = try onFiles { () throws(FileError) in
                    try fileSystem.status(filePath)
                }
                guard status?.sizeBytes == file.sizeBytes else {
                    throw .damaged(
                        path: filePath,
                        reason: "\(status?.sizeBytes ?? 0) bytes, expected \(file.sizeBytes)")
                }
            }
            snapshot.cutAtSeconds = record.cutAtSeconds
            snapshot.databases.append(
                DatabaseSnapshot(
                    database: "db\(index)", directory: path, position: record.position,
                    runningDigest: record.runningDigest,
                    highestEffectiveNow: record.highestEffectiveNow, history: record.history,
                    files: record.files, gateHeldMicroseconds: 0))
        }
        guard !snapshot.databases.isEmpty else {
            throw .damaged(path: directory, reason: "holds no snapshot")
        }
        return snapshot
    }
}

extension Database {
    /// An exact cut: every store holds the log up to one position, and says so.
    func cut(into directory: String) throws(KeyspaceError) -> DatabaseSnapshot {
        maintenance.lock()
        defer { maintenance.unlock() }
        let path = Path.join(directory, name)
        let fileSystem = files.fileSystem
        try onFiles { () throws(FileError) in try fileSystem.makeDirectory(path) }
        // Most of the rows, while writers go on.
        try live.stores.flush(allowStall: false)

        lockCommitOnPool()
        let started = monotonicNanoseconds()
        let frozen = try freeze(path)
        let held = (monotonicNanoseconds() - started) / 1000
        try verifyCut(path, frozen.mark.position)
        return DatabaseSnapshot(
            database: name, directory: path, position: frozen.mark.position,
            runningDigest: frozen.mark.digest, highestEffectiveNow: frozen.clock.highest,
            history: frozen.history, files: try listFiles(path), gateHeldMicroseconds: Int(held))
    }

    /// The part under the commit lock, which is released here.
    private func freeze(
        _ path: String
    ) throws(KeyspaceError) -> (mark: BinlogMark, clock: LogClock, history: [HistoryEntry]) {
        defer { commitLock.unlock() }
        if writesBinlog { try writeRows(fartherThan: 0) }
        let stores = live.stores
        try stores.flush(allowStall: true)
        _ = try StoreSet.inParallel { kind throws(KeyspaceError) in
            try onStores { () throws(StorageError) in
                try stores[kind].checkpoint(to: Path.join(path, kind.directoryName))
            }
        }
        return (logState.published, clock, history)
    }

    /// After a background error a checkpoint may lack rows without saying so: the rows in it tell.
    private func verifyCut(_ path: String, _ position: BinlogPosition) throws(KeyspaceError) {
        guard writesBinlog else { return }
        let environment = configuration.environment
        let name = self.name
        _ = try StoreSet.inParallel { kind throws(KeyspaceError) in
            let copy = Path.join(path, kind.directoryName)
            let row = try onStores { () throws(StorageError) in
                let store = try Store.openReadOnly(
                    path: copy, kind: kind, environment: environment)
                defer { store.close(flush: false) }
                return try store.appliedPosition()
            }
            guard row?.position == position else {
                throw .damaged(
                    path: copy,
                    reason: "checkpoint of \(name) holds \(String(describing: row?.position)), "
                        + "expected \(position)")
            }
        }
    }

    private func listFiles(_ path: String) throws(KeyspaceError) -> [SnapshotFile] {
        var found: [SnapshotFile] = []
        let fileSystem = files.fileSystem
        for kind in StoreKind.allCases {
            let directory = Path.join(path, kind.directoryName)
            try onFiles { () throws(FileError) in
                for name in try fileSystem.list(directory) {
                    let status = try fileSystem.status(Path.join(directory, name))
                    guard let status, status.kind == .regular else { continue }
                    found.append(
                        SnapshotFile(
                            path: kind.directoryName + "/" + name, sizeBytes: status.sizeBytes))
                }
            }
        }
        return found
    }

    /// Pika's `info` (spec: replication-protocol 8) and our own description.
    func writeDescription(
        of cut: DatabaseSnapshot, cutAtSeconds: Int64, host: String, port: Int
    ) throws(KeyspaceError) {
        let position = cut.position
        let info = "0s\n\(host)\n\(port)\n\(position.fileNumber)\n\(position.offset)\n"
        let fileSystem = files.fileSystem
        try onFiles { () throws(FileError) in
            try fileSystem.writeAtomically(Path.join(cut.directory, "info"), Array(info.utf8))
        }
        try SnapshotFileRecord(
            position: position, runningDigest: cut.runningDigest,
            highestEffectiveNow: cut.highestEffectiveNow, cutAtSeconds: cutAtSeconds,
            history: cut.history, files: cut.files
        ).write(in: cut.directory, fileSystem: fileSystem)
    }
}
