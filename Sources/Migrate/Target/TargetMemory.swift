internal import MigrateCore

/// What the tool keeps in the target: the lock, the markers, the last checkpoint; and what it has to
/// know of the target's keys.
///
/// Markers are those of workers, or of slots where the target is sharded.
protocol TargetMemory: Sendable {
    /// The target.
    var server: TargetServer { get }
    /// Number of this run.
    var epoch: UInt64 { get set }

    /// The number of the run that holds the target; nil = none ever did.
    func lockEpoch() async throws(RunError) -> UInt64?
    /// Takes the target over: no other run's batch is carried out from here on.
    func lock(epoch: UInt64) async throws(RunError)
    /// Keeps the position that the file is about to have.
    func keepLow(_ position: SourcePosition, epoch: UInt64) async throws(RunError)
    /// The position kept last.
    func low() async throws(RunError) -> SourcePosition?
    /// All markers by database.
    func markers(workers: Int, databases: [Int]) async throws(RunError) -> [Int: [Int: Marker]]
    /// Removes all markers: a new copy begins a new count.
    func removeMarkers(workers: Int, databases: [Int]) async throws(RunError)
    /// All keys of the copy that were handed over so far are in the target, and stay there.
    func keepCopied() async throws(RunError)
    /// Calls `body` with pages of the names in a database, without our own.
    func scan(
        database: Int, _ body: ([[UInt8]]) async throws(RunError) -> Bool
    ) async throws(RunError)
    /// Whether a database has keys.
    func hasKeys(database: Int) async throws(RunError) -> Bool
    /// Whether a copy of a two-way job has brought keys.
    func hasCopyMark() async throws(RunError) -> Bool
    /// Empties a database and waits until it is empty.
    func flush(database: Int) async throws(RunError)
    /// Empties a database for a `FLUSHDB` of the source, and leaves markers that say so.
    func empty(database: Int, workers: Int, end: SourcePosition) async throws(RunError)
}

extension TargetMemory {
    /// A server has answered: nothing is to be done.
    func keepCopied() async throws(RunError) {}

    /// Whether a database has keys.
    func hasKeys(database: Int) async throws(RunError) -> Bool {
        var found = false
        try await self.scan(database: database) { keys throws(RunError) in
            found = !keys.isEmpty
            return !found
        }
        return found
    }
}

extension TargetState: TargetMemory {}
