public import ReplicationCore
public import SyncProtocol

/// What INFO says about the replica's side; plain data, read without waiting for anybody.
public struct ReplicaStatus: Hashable, Sendable {
    /// The master that is followed or sought.
    public struct Master: Hashable, Sendable {
        /// As given to SLAVEOF.
        public var host: String
        /// The base port.
        public var port: Int
        /// Whether the master is one of ours; nil while that is not known.
        public var isPeer: Bool?
        /// Its run id; nil while it is not known.
        public var runID: RunID?

        /// Creates a description.
        public init(host: String, port: Int, isPeer: Bool? = nil, runID: RunID? = nil) {
            self.host = host
            self.port = port
            self.isPeer = isPeer
            self.runID = runID
        }
    }

    /// nil without SLAVEOF.
    public var master: Master?
    /// The servers above us as far as they are ours, our master first.
    public var upstreams: [ReplicaAddress] = []
    /// The connection to the master.
    public var link: ReplicaSession.LinkState = .stopped
    /// The databases in order.
    public var databases: [Database] = []
    /// Limit for received bytes per second; 0 = none.
    public var throttleBytesPerSecond: UInt64 = 0
    /// Bytes received per second, lately, binlog and files together.
    public var receivedBytesPerSecond: UInt64 = 0
    /// Seconds since the last byte from the master; nil if there was none.
    public var secondsSinceLastReceive: UInt64?
    /// Seconds since the connection was lost; nil while it is up.
    public var linkDownSeconds: UInt64?
    /// The last failure, for operators.
    public var lastFailure: String?

    /// Creates the status of a process without a master.
    public init() {}

    /// Whether every database of this replica holds a whole copy, so that it may become a master.
    public var isEligibleForMaster: Bool {
        self.databases.allSatisfy { !$0.hasUnfinishedCopy }
    }

    /// Whether every database follows its master.
    public var isLinkUp: Bool {
        self.link == .established && self.databases.allSatisfy { $0.phase == .following }
    }
}

extension ReplicaStatus {
    /// Where one database is, in one word for INFO.
    public enum Phase: String, Hashable, Sendable, CaseIterable {
        /// No master, or DBSLAVEOF NO ONE.
        case detached
        /// Waits for the connection.
        case connecting
        /// Negotiates with the master.
        case handshake
        /// The master makes its snapshot.
        case waitingForSnapshot = "waiting_for_snapshot"
        /// Files are copied.
        case copying
        /// The copied files are checked.
        case verifying
        /// The copy takes the place of the old data.
        case switching
        /// Items of the master's binlog are applied.
        case following
        /// A failure; tries again later.
        case retrying
        /// Needs an operator; the reason says why.
        case broken
    }

    /// One database.
    public struct Database: Hashable, Sendable {
        /// `db0`…`db7`.
        public var name: String
        /// Where it is.
        public var phase: Phase
        /// Why it is broken or retrying.
        public var reason: String?
        /// The session that the master gave.
        public var session: SessionID?
        /// End of what was received.
        public var received: BinlogPosition
        /// End of what is on the disk.
        public var durable: BinlogPosition
        /// End of what clients see.
        public var applied: BinlogPosition
        /// The full copy, while there is one; afterwards the last one of this process.
        public var copy: Copy?
        /// Whether a full copy was begun and is not in use yet: persisted before its first byte.
        public var hasUnfinishedCopy: Bool

        /// Creates a database's status.
        public init(
            name: String, phase: Phase, reason: String? = nil, session: SessionID? = nil,
            received: BinlogPosition = .zero, durable: BinlogPosition = .zero,
            applied: BinlogPosition = .zero, copy: Copy? = nil, hasUnfinishedCopy: Bool = false
        ) {
            self.name = name
            self.phase = phase
            self.reason = reason
            self.session = session
            self.received = received
            self.durable = durable
            self.applied = applied
            self.copy = copy
            self.hasUnfinishedCopy = hasUnfinishedCopy
        }
    }

    /// The progress of a full copy.
    public struct Copy: Hashable, Sendable {
        /// The snapshot; nil while the master makes it.
        public var snapshotID: SnapshotID?
        /// The master's progress in making it, 0...100.
        public var preparingPercent: UInt32 = 0
        /// Verified bytes on this disk.
        public var bytesDone: UInt64 = 0
        /// Bytes of all files; nil while a real Pika has not told all sizes.
        public var bytesTotal: UInt64?
        /// Bytes that had to be sent more than once, over restarts too.
        public var bytesSentTwice: UInt64 = 0
        /// Bytes that were there already when the copy went on after a restart or a lost link.
        public var bytesResumed: UInt64 = 0
        /// Files that are complete.
        public var filesDone: Int = 0
        /// Files of the snapshot.
        public var filesTotal: Int = 0
        /// Bytes per second, lately.
        public var bytesPerSecond: UInt64 = 0
        /// Seconds left at this rate; nil while it can't be told.
        public var etaSeconds: UInt64?

        /// Creates a copy's progress.
        public init() {}
    }
}
