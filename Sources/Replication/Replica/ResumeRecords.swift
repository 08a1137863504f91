internal import FileIO
internal import ReplicationCore
internal import ResumeStore
internal import SyncProtocol

/// The resume points of all databases: `<db-path>/pika-swift.resume/<db>/resume`.
///
/// All calls block for the disk.
struct ResumeRecords: Sendable {
    /// The directory's name below `db-path`.
    static let directoryName = "pika-swift.resume"

    let directory: String
    let fileSystem: any FileSystem

    init(resumePath: String, fileSystem: any FileSystem) {
        self.directory = Path.join(resumePath, Self.directoryName)
        self.fileSystem = fileSystem
    }

    private func store(_ database: String) -> ResumeStore {
        ResumeStore(
            directory: Path.join(self.directory, database), fileSystem: self.fileSystem)
    }

    func load(_ database: String) throws(ResumeError) -> ResumePoint {
        try self.store(database).load()
    }

    func save(_ point: ResumePoint, for database: String) throws(ResumeError) {
        do throws(FileError) {
            let path = Path.join(self.directory, database)
            if try !self.fileSystem.exists(path) {
                try self.fileSystem.makeDirectory(path)
                try self.fileSystem.syncDirectory(self.directory)
                try self.fileSystem.syncDirectory(Path.directory(of: self.directory))
            }
        } catch {
            throw .file(error)
        }
        try self.store(database).save(point)
    }

    func remove(_ database: String) throws(ResumeError) {
        try self.store(database).remove()
    }
}

extension MasterIdentity {
    init(_ master: KnownMaster) {
        self.init(
            address: master.address, runID: master.runID, replicationID: master.replicationID,
            isOurs: master.isPeer)
    }

    var known: KnownMaster {
        KnownMaster(
            address: self.address, runID: self.runID, replicationID: self.replicationID,
            isPeer: self.isOurs)
    }
}

extension ResumePoint {
    /// The full copy that this point describes, if it describes one.
    var unfinishedCopy: LocalDatabase.UnfinishedCopy? {
        guard self.phase == .copying, let master = self.master else { return nil }
        let position = self.snapshot.flatMap { snapshot in
            snapshot.position == .zero && !master.isOurs ? nil : snapshot.position
        }
        return LocalDatabase.UnfinishedCopy(
            master: master.known, snapshotID: self.snapshot.flatMap { SnapshotID($0.snapshotID) },
            position: position)
    }
}
