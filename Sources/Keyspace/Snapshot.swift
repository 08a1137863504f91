public import SyncProtocol

/// One file of a snapshot.
public struct SnapshotFile: Hashable, Sendable {
    /// Path below the database's directory of the snapshot, for example `strings/000008.sst`.
    public var path: String
    /// Its size; a snapshot's files never change.
    public var sizeBytes: UInt64
}

/// An exact cut of one database.
public struct DatabaseSnapshot: Hashable, Sendable {
    /// The name: `db0`, `db1`, ….
    public var database: String
    /// The directory of this database's files.
    public var directory: String
    /// The stores hold exactly the log up to here.
    public var position: BinlogPosition
    /// Running digest at ``position``.
    public var runningDigest: UInt64
    /// Highest effective now of the items up to ``position``.
    public var highestEffectiveNow: Int64
    /// History up to ``position``.
    public var history: [HistoryEntry]
    /// RocksDB's files; `info` and our metadata are not among them.
    public var files: [SnapshotFile]
    /// How long writers had to wait.
    public var gateHeldMicroseconds: Int
}

/// An exact cut of several databases, each at its own position.
public struct Snapshot: Hashable, Sendable {
    /// The directory given to `cutSnapshot`.
    public var directory: String
    /// When it was cut, Unix seconds.
    public var cutAtSeconds: Int64
    /// The databases.
    public var databases: [DatabaseSnapshot]
}

/// A copy of a master's database that lies beside ours and is going to take its place.
public struct StagedDatabase: Hashable, Sendable {
    /// Directory with `strings` … , on the device of the data.
    public var directory: String
    /// The position that the copy holds.
    public var position: BinlogPosition
    /// Running digest at the position (0 from a real Pika).
    public var runningDigest: UInt64
    /// Highest effective now (0 from a real Pika: rows found inside are void).
    public var highestEffectiveNow: Int64
    /// The master's history up to the position (empty from a real Pika: a new one begins).
    public var history: [HistoryEntry]

    /// Describes a staged copy.
    public init(
        directory: String, position: BinlogPosition, runningDigest: UInt64,
        highestEffectiveNow: Int64, history: [HistoryEntry]
    ) {
        self.directory = directory
        self.position = position
        self.runningDigest = runningDigest
        self.highestEffectiveNow = highestEffectiveNow
        self.history = history
    }
}
