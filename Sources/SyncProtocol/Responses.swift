/// The outer verdict of a response.
public enum StatusCode: Int32, Hashable, Sendable, CaseIterable {
    /// Accepted. A TrySync's verdict is in ``TrySyncVerdict/code`` though.
    case ok = 1
    /// Refused for good; an operator has to act.
    case error = 2
    /// Not now; ask again.
    case other = 3
}

/// A master's verdict on a TrySync.
public enum TrySyncCode: Int32, Hashable, Sendable, CaseIterable {
    /// Follow from the asked position.
    case ok = 1
    /// The log no longer reaches back to there: a full copy is needed.
    case syncPointPurged = 2
    /// The replica is ahead of the master.
    case syncPointLarger = 3
    /// Refused: not an item's end, unknown database, another history.
    case error = 4
}

/// What a master says on the replication connection.
public enum ReplicationResponse: Hashable, Sendable {
    /// Answers MetaSync.
    case metaSync(MetaSyncResponse)
    /// Answers TrySync.
    case trySync(TrySyncResponse)
    /// Answers DBSync.
    case dbSync(DBSyncResponse)
    /// Items, or a keep-alive; never asked for one by one.
    case binlogSync(BinlogSyncResponse)
    /// Answers RemoveSlaveNode.
    case removeReplica(RemoveReplicaResponse)
}

/// Answers MetaSync.
public struct MetaSyncResponse: Hashable, Sendable {
    /// ok, error (wrong password) or other (this address is connected already).
    public var status: StatusCode
    /// Error text.
    public var reply: String?
    /// The master; there with ok.
    public var master: MasterInfo?

    /// Creates a response.
    public init(status: StatusCode, reply: String? = nil, master: MasterInfo? = nil) {
        self.status = status
        self.reply = reply
        self.master = master
    }
}

/// What a master says of itself.
public struct MasterInfo: Hashable, Sendable {
    /// Always true; a replica does not look at it.
    public var isClassicMode: Bool
    /// Its databases; a real replica refuses a master whose set differs from its own.
    public var databases: [DatabaseInfo]
    /// Its run id; nil when what came is not one.
    public var runID: RunID?
    /// Its replication id; nil from a 3.5.0.
    public var replicationID: ReplicationID?
    /// Extension: what a master of ours is and can do.
    ///
    /// nil from a real Pika.
    public var peer: PeerInfo?
    /// Extension: random bytes that open the file service (port+10001) to this replica.
    public var fileToken: [UInt8]?

    /// Creates the description.
    public init(
        isClassicMode: Bool = true, databases: [DatabaseInfo], runID: RunID?,
        replicationID: ReplicationID? = nil, peer: PeerInfo? = nil, fileToken: [UInt8]? = nil
    ) {
        self.isClassicMode = isClassicMode
        self.databases = databases
        self.runID = runID
        self.replicationID = replicationID
        self.peer = peer
        self.fileToken = fileToken
    }
}

/// A database in a MetaSync response.
public struct DatabaseInfo: Hashable, Sendable {
    /// `db0`…`db7`.
    public var name: String
    /// Always 1.
    public var slotCount: Int32

    /// Creates the description.
    public init(name: String, slotCount: Int32 = 1) {
        self.name = name
        self.slotCount = slotCount
    }
}

/// Answers TrySync.
public struct TrySyncResponse: Hashable, Sendable {
    /// ok whatever the verdict, except for an unknown database at a real master.
    public var status: StatusCode
    /// Error text.
    public var reply: String?
    /// The verdict.
    public var verdict: TrySyncVerdict?

    /// Creates a response.
    public init(status: StatusCode, reply: String? = nil, verdict: TrySyncVerdict? = nil) {
        self.status = status
        self.reply = reply
        self.verdict = verdict
    }
}

/// A master's verdict on a TrySync.
public struct TrySyncVerdict: Hashable, Sendable {
    /// The verdict.
    public var code: TrySyncCode
    /// `db0`…`db7`.
    public var database: String
    /// End of the master's log, without a logical counter; absent when the check did not begin.
    public var masterEnd: BinlogOffset?
    /// The session; there with ok.
    public var session: SessionID?
    /// Extension: why not, in words, both positions named.
    public var reason: String?
    /// Extension: the master's history of this database, oldest entry first.
    public var history: [HistoryEntry]
    /// Extension: what `FLUSHDB <type>` means in the master's log, in order of positions.
    public var typedFlush: [TypedFlushRule]

    /// Creates a verdict.
    public init(
        code: TrySyncCode, database: String, masterEnd: BinlogOffset? = nil,
        session: SessionID? = nil, reason: String? = nil, history: [HistoryEntry] = [],
        typedFlush: [TypedFlushRule] = []
    ) {
        self.code = code
        self.database = database
        self.masterEnd = masterEnd
        self.session = session
        self.reason = reason
        self.history = history
        self.typedFlush = typedFlush
    }
}

/// Answers DBSync.
public struct DBSyncResponse: Hashable, Sendable {
    /// ok, or a refusal.
    public var status: StatusCode
    /// Error text.
    public var reply: String?
    /// Database and session; a real replica needs it whatever the status.
    public var grant: DBSyncGrant?

    /// Creates a response.
    public init(status: StatusCode, reply: String? = nil, grant: DBSyncGrant? = nil) {
        self.status = status
        self.reply = reply
        self.grant = grant
    }
}

/// What a DBSync got.
public struct DBSyncGrant: Hashable, Sendable {
    /// `db0`…`db7`.
    public var database: String
    /// The session; -1 on an error.
    public var session: SessionID
    /// Extension: the snapshot that will be served.
    public var snapshot: SnapshotStatus?

    /// Creates a grant.
    public init(database: String, session: SessionID, snapshot: SnapshotStatus? = nil) {
        self.database = database
        self.session = session
        self.snapshot = snapshot
    }
}

/// One binlog item as a BinlogSync response carries it, owned.
///
/// For machines, simulations and tests; the hot path reads items in place (``BinlogSyncBatch``).
public struct BinlogChip: Hashable, Sendable {
    /// `db0`…`db7`.
    public var database: String
    /// Where the item *ends* in the master's log; 0/0 in a keep-alive.
    public var end: BinlogOffset
    /// The whole item, header included; empty in a keep-alive.
    public var item: [UInt8]
    /// The session that the chip belongs to.
    public var session: SessionID

    /// Whether this is a keep-alive: to be answered by a ping.
    public var isKeepAlive: Bool { item.isEmpty }

    /// Creates a chip.
    public init(database: String, end: BinlogOffset, item: [UInt8], session: SessionID) {
        self.database = database
        self.end = end
        self.item = item
        self.session = session
    }
}

/// Items, or a keep-alive.
public struct BinlogSyncResponse: Hashable, Sendable {
    /// Always ok.
    public var status: StatusCode
    /// Error text.
    public var reply: String?
    /// 1…100 from a real master; may belong to several databases.
    public var chips: [BinlogChip]
    /// Extension: how far the master's log of the first chip's database is on its disk.
    public var durableEnd: BinlogPosition?

    /// Creates a response.
    public init(
        status: StatusCode = .ok, reply: String? = nil, chips: [BinlogChip],
        durableEnd: BinlogPosition? = nil
    ) {
        self.status = status
        self.reply = reply
        self.chips = chips
        self.durableEnd = durableEnd
    }

    /// The keep-alive of a session.
    public static func keepAlive(database: String, session: SessionID) -> BinlogSyncResponse {
        BinlogSyncResponse(
            chips: [BinlogChip(database: database, end: .ping, item: [], session: session)])
    }
}

/// Answers RemoveSlaveNode.
public struct RemoveReplicaResponse: Hashable, Sendable {
    /// ok, also when there was nothing to remove.
    public var status: StatusCode
    /// Error text.
    public var reply: String?
    /// The *master's* own address, as real Pika has it.
    public var master: ReplicaAddress?
    /// `db0`…`db7`.
    public var database: String?

    /// Creates a response; `master` and `database` are there both or not at all.
    public init(
        status: StatusCode, reply: String? = nil, master: ReplicaAddress? = nil,
        database: String? = nil
    ) {
        self.status = status
        self.reply = reply
        self.master = master
        self.database = database
    }
}
