internal import FileIO
internal import Keyspace
internal import ReplicationCore
internal import ResumeStore
internal import SyncProtocol

/// Puts a verified copy in the place of a database, so that a crash at any step is repaired by the
/// next start.
///
/// ```text
/// resume point   on the disk
/// copying        old data in use; copy whole and read back          a start goes on copying
/// copying        position rows in the copy, flushed, closed         (same: files are read back)
/// switching      old data closed                                    a start repeats from here
/// switching      old -> _bak, copy -> data, log reset               (each step is left out if done)
/// following      the copy is in use
///                _bak deleted
/// ```
struct DatabaseSwitch: Sendable {
    /// A step of the switch; tests make it fail there.
    enum Step: String, CaseIterable, Sendable {
        case seal
        case prepareStaged
        case saveSwitching
        case saveFollowing
        case removeJournal
        case removeLeftovers
    }

    /// What went wrong, for the operator.
    struct Failure: Error, Sendable, CustomStringConvertible {
        var step: Step
        var description: String
        /// The copy itself is of no use.
        var discards: Bool
    }

    let keyspace: Keyspace
    let configuration: KeyspaceConfiguration
    let databaseIndex: Int
    let records: ResumeRecords
    let files: StagedFiles
    let master: KnownMaster
    /// Called before each step; throws to make it fail.
    var faults: @Sendable (Step) throws(Failure) -> Void = { _ in }

    private var database: String { self.keyspace.databases[self.databaseIndex].name }

    /// Blocks; on the pool.
    func run(_ outcome: SnapshotReceiver.Outcome) throws(Failure) {
        try self.step(.seal, discards: false) { () throws(StagingError) in
            try self.files.seal()
        }
        let staged = StagedDatabase(
            directory: self.files.directory, position: outcome.position,
            runningDigest: outcome.digest,
            highestEffectiveNow: outcome.highestEffectiveNowSeconds, history: outcome.history)
        let complete = try self.step(.prepareStaged, discards: true) { () throws(KeyspaceError) in
            try Keyspace.prepareStaged(staged, configuration: self.configuration)
        }
        let switching = ResumePoint(
            phase: .switching, master: MasterIdentity(self.master),
            snapshot: SnapshotProgress(
                snapshotID: outcome.snapshotID.description, position: complete.position,
                runningDigest: complete.runningDigest, history: complete.history))
        try self.step(.saveFollowing, discards: false) { () throws(KeyspaceError) in
            try self.keyspace.switchDatabase(
                self.databaseIndex, to: complete,
                beforeFirstRename: { () throws(KeyspaceError) in
                    try self.save(switching, .saveSwitching)
                },
                afterReset: { () throws(KeyspaceError) in
                    try self.save(
                        ResumePoint(phase: .following, master: MasterIdentity(self.master)),
                        .saveFollowing)
                })
        }
        try self.step(.removeJournal, discards: false) { () throws(StagingError) in
            try self.files.removeJournal()
        }
        try self.step(.removeLeftovers, discards: false) { () throws(StagingError) in
            self.keyspace.removeLeftovers()
        }
    }

    private func step<Result, Fault: Error>(
        _ step: Step, discards: Bool, _ body: () throws(Fault) -> Result
    ) throws(Failure) -> Result {
        if step != .saveFollowing { try self.faults(step) }
        do throws(Fault) {
            return try body()
        } catch {
            throw Failure(step: step, description: "\(step.rawValue): \(error)", discards: discards)
        }
    }

    private func save(_ point: ResumePoint, _ step: Step) throws(KeyspaceError) {
        do throws(Failure) {
            try self.faults(step)
        } catch {
            throw .damaged(path: self.records.directory, reason: error.description)
        }
        do throws(ResumeError) {
            try self.records.save(point, for: self.database)
        } catch {
            throw .damaged(path: self.records.directory, reason: "\(error)")
        }
    }
}
