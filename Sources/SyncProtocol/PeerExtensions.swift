/// What two peers of ours tell each other in MetaSync; a real Pika ignores it.
public struct PeerInfo: Hashable, Sendable {
    /// Version of the extensions; ``PeerInfo/currentVersion`` here.
    public var protocolVersion: UInt32
    /// What the peer can do.
    public var capabilities: PeerCapabilities
    /// The histories of its databases.
    public var histories: [DatabaseHistory]
    /// The sender, in an answer to MetaSync; nil from one that does not look for rings.
    public var nodeID: NodeID?
    /// The servers that the sender follows, its master first; in an answer to MetaSync.
    public var upstreams: [UpstreamNode]

    /// The version that this code speaks.
    public static let currentVersion: UInt32 = 1

    /// Creates the description.
    public init(
        protocolVersion: UInt32 = PeerInfo.currentVersion,
        capabilities: PeerCapabilities = .current, histories: [DatabaseHistory] = [],
        nodeID: NodeID? = nil, upstreams: [UpstreamNode] = []
    ) {
        self.protocolVersion = protocolVersion
        self.capabilities = capabilities
        self.histories = histories
        self.nodeID = nodeID
        self.upstreams = upstreams
    }
}

/// A random number by which a running process knows itself in a chain of replicas.
///
/// A restart makes another one: a process that is gone can't be part of a ring.
public struct NodeID: Hashable, Comparable, Sendable {
    /// The number on the wire.
    public let rawValue: UInt64

    /// Creates an id.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Orders by number; only that all nodes order alike matters.
    public static func < (left: NodeID, right: NodeID) -> Bool { left.rawValue < right.rawValue }
}

/// A server above another one in a chain of replicas.
public struct UpstreamNode: Hashable, Sendable {
    /// Which process.
    public var id: NodeID
    /// What the server below it follows it by.
    public var address: ReplicaAddress

    /// Creates a description.
    public init(id: NodeID, address: ReplicaAddress) {
        self.id = id
        self.address = address
    }
}

/// From a position on, what `FLUSHDB <type>` means in a log.
public struct TypedFlushRule: Hashable, Sendable {
    /// End of the last item before it.
    public var from: BinlogPosition
    /// Whether the type is without meaning and everything is emptied, as by a 3.5.5.
    public var emptiesAll: Bool

    /// Creates a rule.
    public init(from: BinlogPosition, emptiesAll: Bool) {
        self.from = from
        self.emptiesAll = emptiesAll
    }
}

/// What a peer of ours can do; bits that the other end does not know are ignored.
public struct PeerCapabilities: OptionSet, Hashable, Sendable {
    /// The bits on the wire.
    public let rawValue: UInt64

    /// Creates a set of bits.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Applies atomic groups whole, by the countdown in `term`.
    public static let atomicGroups = PeerCapabilities(rawValue: 1 << 0)
    /// Compares histories and running digests in TrySync.
    public static let history = PeerCapabilities(rawValue: 1 << 1)
    /// Lists files with sizes, digests and the snapshot's position.
    public static let snapshotManifest = PeerCapabilities(rawValue: 1 << 2)
    /// Answers file requests by id, in any order, several in flight, each with a digest.
    public static let parallelRanges = PeerCapabilities(rawValue: 1 << 3)
    /// Reports received, durable and applied positions in its acks.
    public static let replicaProgress = PeerCapabilities(rawValue: 1 << 4)
    /// Takes BinlogSync responses of more than 100 items.
    public static let largeBatches = PeerCapabilities(rawValue: 1 << 5)

    /// Everything that this code can do.
    public static let current: PeerCapabilities = [
        .atomicGroups, .history, .snapshotManifest, .parallelRanges, .replicaProgress,
        .largeBatches,
    ]
}

/// The history of one database.
public struct DatabaseHistory: Hashable, Sendable {
    /// `db0`…`db7`.
    public var database: String
    /// Its entries, oldest first.
    public var entries: [HistoryEntry]

    /// Creates a history.
    public init(database: String, entries: [HistoryEntry]) {
        self.database = database
        self.entries = entries
    }
}

/// Proof, in a TrySync, that the replica's log is of the master's history.
public struct HistoryClaim: Hashable, Sendable {
    /// The replica's history of this database, oldest entry first.
    public var entries: [HistoryEntry]
    /// Running digest of the replica's log at its end.
    public var digest: UInt64
    /// Whether the replica's log ends inside an atomic group.
    public var endsInsideGroup: Bool

    /// Creates a claim.
    public init(entries: [HistoryEntry], digest: UInt64, endsInsideGroup: Bool) {
        self.entries = entries
        self.digest = digest
        self.endsInsideGroup = endsInsideGroup
    }
}

/// How far a replica is with the log.
public struct ReplicaProgress: Hashable, Sendable {
    /// In its memory or page cache.
    public var received: BinlogPosition
    /// On its disk.
    public var durable: BinlogPosition
    /// In its stores, visible to its clients.
    public var applied: BinlogPosition

    /// Creates a report.
    public init(received: BinlogPosition, durable: BinlogPosition, applied: BinlogPosition) {
        self.received = received
        self.durable = durable
        self.applied = applied
    }
}

/// Name of a snapshot: the `snapshot_uuid` of the file service.
///
/// 1...64 visible ASCII characters; a real Pika uses 32 hex digits.
public struct SnapshotID: Hashable, Sendable, CustomStringConvertible {
    /// The text.
    public let description: String

    /// Creates an id; nil if the text is empty, too long or not visible ASCII.
    public init?(_ text: String) {
        let count = text.utf8.count
        guard count > 0, count <= WireLimits.maxSnapshotIDBytes,
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return nil }
        description = text
    }
}

/// How far the master is with a snapshot.
public struct SnapshotStatus: Hashable, Sendable {
    /// The snapshot; nil while it is being made.
    public var id: SnapshotID?
    /// Whether its files can be fetched.
    public var isReady: Bool
    /// Progress of making it, 0...100.
    public var percent: UInt32
    /// When to ask again.
    public var retryAfterMilliseconds: UInt32

    /// Creates a status.
    public init(
        id: SnapshotID?, isReady: Bool, percent: UInt32, retryAfterMilliseconds: UInt32
    ) {
        self.id = id
        self.isReady = isReady
        self.percent = percent
        self.retryAfterMilliseconds = retryAfterMilliseconds
    }
}
