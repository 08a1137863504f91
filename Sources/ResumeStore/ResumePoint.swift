public import SyncProtocol

/// Who a replica copies from and follows.
public struct MasterIdentity: Sendable, Equatable {
    /// Host and client port.
    public var address: ReplicaAddress

    /// What a 3.5.0 calls itself; nil if it never said.
    public var runID: RunID?

    /// What a 3.5.5 calls itself; nil if it never said.
    public var replicationID: ReplicationID?

    /// Whether the peer speaks our extensions.
    public var isOurs: Bool

    /// Creates an identity.
    public init(
        address: ReplicaAddress, runID: RunID?, replicationID: ReplicationID?, isOurs: Bool
    ) {
        self.address = address
        self.runID = runID
        self.replicationID = replicationID
        self.isOurs = isOurs
    }
}

/// How far one file of a snapshot is here.
public struct FileProgress: Sendable, Equatable {
    /// Name inside the snapshot, with sub-directory: `strings/000012.sst`.
    public var name: String

    /// Its size, once known.
    public var sizeBytes: UInt64?

    /// Bytes from the start that are written, hashed and durable.
    public var verifiedBytes: UInt64

    /// XXH64 of the whole file as the master names it, once known.
    public var digest: UInt64?

    /// State of the hash over the first `verifiedBytes`, so that it need not begin again; empty if
    /// none.
    public var hashState: [UInt8]

    /// Creates a progress entry.
    public init(
        name: String, sizeBytes: UInt64? = nil, verifiedBytes: UInt64 = 0, digest: UInt64? = nil,
        hashState: [UInt8] = []
    ) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.verifiedBytes = verifiedBytes
        self.digest = digest
        self.hashState = hashState
    }

    /// Whether every byte is here.
    public var isComplete: Bool { sizeBytes == verifiedBytes }
}

/// The snapshot that is being copied.
public struct SnapshotProgress: Sendable, Equatable {
    /// The master's name of the snapshot.
    public var snapshotID: String

    /// The binlog position that it holds exactly.
    public var position: BinlogPosition

    /// Running digest there; nil from a real Pika.
    public var runningDigest: UInt64?

    /// The master's histories up to `position`; empty from a real Pika.
    public var history: [HistoryEntry]

    /// Sum of all sizes, once known.
    public var totalBytes: UInt64?

    /// The files.
    public var files: [FileProgress]

    /// Creates a snapshot's progress.
    public init(
        snapshotID: String, position: BinlogPosition, runningDigest: UInt64? = nil,
        history: [HistoryEntry] = [], totalBytes: UInt64? = nil, files: [FileProgress] = []
    ) {
        self.snapshotID = snapshotID
        self.position = position
        self.runningDigest = runningDigest
        self.history = history
        self.totalBytes = totalBytes
        self.files = files
    }
}

/// What a replica persists, per database, to go on where it was.
public struct ResumePoint: Sendable, Equatable {
    /// Where the replica stands.
    public enum Phase: UInt8, Sendable, Equatable, CaseIterable {
        /// It follows nobody.
        case none = 0

        /// Files of a snapshot are coming in; the old data are untouched.
        case copying = 1

        /// The copy is verified and takes the old data's place; a start repeats from the first
        /// rename.
        case switching = 2

        /// The end of the own binlog is where it goes on.
        case following = 3
    }

    /// Where the replica stands.
    public var phase: Phase

    /// The master; nil only in phase `none`.
    public var master: MasterIdentity?

    /// The snapshot; only while copying (nil until the master named it) and switching.
    public var snapshot: SnapshotProgress?

    /// Bytes received twice so far in this copy, over all restarts.
    public var bytesReceivedTwice: UInt64

    /// Creates a resume point.
    public init(
        phase: Phase, master: MasterIdentity? = nil, snapshot: SnapshotProgress? = nil,
        bytesReceivedTwice: UInt64 = 0
    ) {
        self.phase = phase
        self.master = master
        self.snapshot = snapshot
        self.bytesReceivedTwice = bytesReceivedTwice
    }

    /// A replica that follows nobody.
    public static let none = ResumePoint(phase: .none)
}
