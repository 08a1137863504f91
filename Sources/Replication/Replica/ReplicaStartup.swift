internal import FileIO
public import Keyspace
internal import ResumeStore
internal import SyncProtocol

/// What has to be done before a keyspace is opened.
public enum ReplicaStartup {
    /// Finishes switches that a crash interrupted: for every database whose resume point says
    /// `switching`, the copy takes its place.
    ///
    /// Idempotent; MUST be called before `Keyspace.open`, and a failure MUST stop the start: the
    /// directories may be half exchanged.
    ///
    /// - Parameters:
    ///   - resumeDirectory: Where the resume points lie (`db-path`).
    ///   - stagingPath: `db-sync-path`.
    ///   - keyspaceConfiguration: How the keyspace is going to be opened.
    public static func finishSwitches(
        resumeDirectory: String, stagingPath: String, keyspaceConfiguration: KeyspaceConfiguration
    ) throws(ReplicaStartupError) {
        let fileSystem = keyspaceConfiguration.fileSystem
        let records = ResumeRecords(resumePath: resumeDirectory, fileSystem: fileSystem)
        for index in 0..<keyspaceConfiguration.databaseCount {
            let name = "db\(index)"
            let point: ResumePoint
            do throws(ResumeError) {
                point = try records.load(name)
            } catch {
                throw .resumePoint(database: name, reason: "\(error)")
            }
            guard point.phase == .switching else { continue }
            guard let snapshot = point.snapshot, !snapshot.history.isEmpty else {
                throw .resumePoint(
                    database: name, reason: "it says switching without a snapshot's history")
            }
            do {
                let staging = try Staging.path(
                    configured: stagingPath, databasePath: keyspaceConfiguration.databasePath,
                    fileSystem: fileSystem)
                let files = StagedFiles(
                    stagingPath: staging.path, database: name, fileSystem: fileSystem)
                let staged = StagedDatabase(
                    directory: files.directory, position: snapshot.position,
                    runningDigest: snapshot.runningDigest ?? 0, highestEffectiveNow: 0,
                    history: snapshot.history)
                try Keyspace.finishSwitch(
                    staged, databaseIndex: index, configuration: keyspaceConfiguration)
                try records.save(
                    ResumePoint(phase: .following, master: point.master), for: name)
                try files.removeJournal()
            } catch {
                throw .unfinishedSwitch(database: name, reason: "\(error)")
            }
        }
    }
}

/// Where copies are staged.
enum Staging {
    /// The directory used instead of `db-sync-path` when that lies on another device.
    static let fallbackName = "pika-swift.staging"

    /// `db-sync-path`, or a directory beside the data if a rename from there would be a copy (F25).
    static func path(
        configured: String, databasePath: String, fileSystem: any FileSystem
    ) throws(FileError) -> (path: String, isFallback: Bool) {
        try fileSystem.makeDirectory(configured)
        try fileSystem.makeDirectory(databasePath)
        let staging = try fileSystem.status(configured)?.deviceID
        let data = try fileSystem.status(databasePath)?.deviceID
        if staging == data { return (configured, false) }
        let fallback = Path.join(databasePath, Self.fallbackName)
        try fileSystem.makeDirectory(fallback)
        return (fallback, true)
    }
}

/// Why a start can't go on.
public enum ReplicaStartupError: Error, Sendable, CustomStringConvertible {
    /// A resume point can't be read.
    case resumePoint(database: String, reason: String)
    /// An interrupted switch can't be finished.
    case unfinishedSwitch(database: String, reason: String)

    /// Text for an operator.
    public var description: String {
        switch self {
        case .resumePoint(let database, let reason):
            "resume point of \(database): \(reason)"
        case .unfinishedSwitch(let database, let reason):
            "the switch of \(database) to its new copy can't be finished: \(reason)"
        }
    }
}
