public import SyncProtocol

/// All databases of one process.
public final class Keyspace: Sendable {
    /// The databases by index.
    public let databases: [Database]
    /// Parks the command loops for FLUSHDB, exchanges of stores and transactions over stores.
    public let gate: TransactionGate

    init(databases: [Database], gate: TransactionGate) {
        self.databases = databases
        self.gate = gate
    }

    /// Opens the directories, recovers, and starts the syncer.
    ///
    /// Blocks. Switches that were under way MUST have been finished before
    /// (``finishSwitch(_:databaseIndex:configuration:)``).
    public static func open(
        _ configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> Keyspace { fatalError("skeleton") }

    /// Ids of this process as its peers know them; persisted.
    public var runID: RunID { fatalError("skeleton") }
    /// Pika 3.5.5's id of the data set, if there is one.
    public var replicationID: ReplicationID? { fatalError("skeleton") }
    /// Persists another replication id.
    public func setReplicationID(_ id: ReplicationID?) throws(KeyspaceError) {
        fatalError("skeleton")
    }

    /// When the log is synced; live.
    public var syncPolicy: SyncPolicy { fatalError("skeleton") }
    /// Changes the policy.
    public func setSyncPolicy(_ policy: SyncPolicy) { fatalError("skeleton") }

    /// Cuts all databases asked for and writes a dump that a real Pika can open.
    ///
    /// Blocks; on the pool. `directory` must not exist; on an error it is removed.
    /// - Parameters:
    ///   - indexes: which databases.
    ///   - directory: gets `db0/strings` …, `db0/info`.
    ///   - host: goes into `info`.
    ///   - port: goes into `info`.
    public func cutSnapshot(
        databases indexes: [Int], into directory: String, host: String, port: Int
    ) throws(KeyspaceError) -> Snapshot { fatalError("skeleton") }

    /// Reads the description that lies in a snapshot's directory (after a restart).
    public static func readSnapshot(
        _ directory: String, configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) -> Snapshot { fatalError("skeleton") }

    /// Removes everything in every database; blocks.
    public func removeAll() throws(KeyspaceError) { fatalError("skeleton") }

    /// Writes position rows into a staged copy, flushes and closes it; idempotent.
    public static func prepareStaged(
        _ staged: StagedDatabase, configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) { fatalError("skeleton") }

    /// Closes the database, puts the staged copy in its place, resets the log and reopens.
    ///
    /// - Parameters:
    ///   - staged: a prepared copy.
    ///   - index: the database.
    ///   - beforeFirstRename: persists the resume point `switching`; the database is closed then.
    ///   - afterReset: persists the resume point `following`.
    public func switchDatabase(
        _ index: Int, to staged: StagedDatabase,
        beforeFirstRename: () throws(KeyspaceError) -> Void,
        afterReset: () throws(KeyspaceError) -> Void
    ) throws(KeyspaceError) { fatalError("skeleton") }

    /// Finishes a switch that a crash interrupted, before the keyspace is opened; idempotent.
    public static func finishSwitch(
        _ staged: StagedDatabase, databaseIndex: Int, configuration: KeyspaceConfiguration
    ) throws(KeyspaceError) { fatalError("skeleton") }

    /// Deletes what a finished switch or FLUSHDB left (`_bak`, old stores).
    public func removeLeftovers() { fatalError("skeleton") }

    /// Stops: syncs the logs, flushes within the limit and leaves the clean marks if it could.
    ///
    /// No group may be open. Returns true if every database has its mark.
    @discardableResult
    public func close() -> Bool { fatalError("skeleton") }
}
