/// What a replica says on the replication connection (port+2000).
public enum ReplicationRequest: Hashable, Sendable {
    /// Asks to be accepted, once per connection.
    case metaSync(MetaSyncRequest)
    /// Asks to follow a database from a position.
    case trySync(TrySyncRequest)
    /// Asks for a full copy of a database.
    case dbSync(DBSyncRequest)
    /// Acknowledges items, answers a keep-alive, or starts the flow.
    case binlogSync(BinlogAck)
    /// Gives up a database.
    case removeReplica(RemoveReplicaRequest)
}

/// The first request of a connection: who the replica is, and its password for the master.
public struct MetaSyncRequest: Hashable, Sendable {
    /// The replica.
    public var replica: ReplicaAddress
    /// `masterauth`; nil when empty.
    public var auth: String?
    /// Extension: what a replica of ours is and can do.
    ///
    /// nil from a real Pika.
    public var peer: PeerInfo?

    /// Creates a request.
    public init(replica: ReplicaAddress, auth: String? = nil, peer: PeerInfo? = nil) {
        self.replica = replica
        self.auth = auth
        self.peer = peer
    }
}

/// Asks to follow a database from the end of the replica's own log.
public struct TrySyncRequest: Hashable, Sendable {
    /// The replica.
    public var replica: ReplicaAddress
    /// `db0`…`db7`.
    public var database: String
    /// End of the replica's log, without a logical counter.
    public var end: BinlogOffset
    /// Extension: proof that the replica's log is of the same history.
    public var claim: HistoryClaim?

    /// Creates a request.
    public init(
        replica: ReplicaAddress, database: String, end: BinlogOffset, claim: HistoryClaim? = nil
    ) {
        self.replica = replica
        self.database = database
        self.end = end
        self.claim = claim
    }
}

/// Asks for a full copy of a database.
public struct DBSyncRequest: Hashable, Sendable {
    /// The replica.
    public var replica: ReplicaAddress
    /// `db0`…`db7`.
    public var database: String
    /// End of the replica's log.
    ///
    /// A real master looks at the file number only, and makes no new dump when it equals the
    /// dump's.
    public var end: BinlogOffset
    /// Extension: the snapshot of which the replica holds a part.
    public var wantedSnapshot: SnapshotID?

    /// Creates a request.
    public init(
        replica: ReplicaAddress, database: String, end: BinlogOffset,
        wantedSnapshot: SnapshotID? = nil
    ) {
        self.replica = replica
        self.database = database
        self.end = end
        self.wantedSnapshot = wantedSnapshot
    }
}

/// Acknowledges a range of items; also starts the flow and answers keep-alives.
public struct BinlogAck: Hashable, Sendable {
    /// The replica.
    public var replica: ReplicaAddress
    /// `db0`…`db7`.
    public var database: String
    /// End of the first item of the range.
    public var start: BinlogOffset
    /// End of the last item of the range.
    public var end: BinlogOffset
    /// The session that TrySync or DBSync gave.
    public var session: SessionID
    /// True exactly once, right after a TrySync that was answered with ok.
    public var isFirst: Bool
    /// Extension: how far the replica is with what it received.
    public var progress: ReplicaProgress?

    /// Whether this only answers a keep-alive.
    public var isPing: Bool { !isFirst && start.position == .zero && end.position == .zero }

    /// Creates an ack.
    public init(
        replica: ReplicaAddress, database: String, start: BinlogOffset, end: BinlogOffset,
        session: SessionID, isFirst: Bool, progress: ReplicaProgress? = nil
    ) {
        self.replica = replica
        self.database = database
        self.start = start
        self.end = end
        self.session = session
        self.isFirst = isFirst
        self.progress = progress
    }
}

/// Gives up a database (`DBSLAVEOF db NO ONE`).
public struct RemoveReplicaRequest: Hashable, Sendable {
    /// The replica.
    public var replica: ReplicaAddress
    /// `db0`…`db7`.
    public var database: String

    /// Creates a request.
    public init(replica: ReplicaAddress, database: String) {
        self.replica = replica
        self.database = database
    }
}
