public import SyncProtocol

/// A replica's conversation with one master about all databases; performs no I/O.
///
/// The shell reports what arrives and what its disk did, and does what the directives say. Every
/// state that waits for somebody else has a time-out, every retry a bounded pause, and what goes
/// wrong with one database never touches another one.
///
/// Invariants: nothing is applied to a database outside `following`; an item is acknowledged once;
/// a database follows only from the position at which its log and the master's agree.
/// Source: pika v3.5.0 src/pika_rm.cc RunSyncSlaveSlotStateMachine,
/// src/pika_repl_client_conn.cc.
public struct ReplicaSession: Equatable, Sendable {
    /// Who we are, and how long we wait.
    public struct Configuration: Hashable, Sendable {
        /// The master's host and base port.
        public var master: ReplicaAddress
        /// Our own base port.
        public var ownPort: Int
        /// What the master shall call us; nil = the local address of the connection.
        public var announcedHost: String?
        /// `masterauth`; nil when empty.
        public var auth: String?
        /// Our databases.
        public var databases: [String]
        /// Ourselves, where others may follow us; nil = rings are not looked for.
        public var nodeID: NodeID?
        /// How long a connection may take to be made.
        public var connectTimeout: Duration = .seconds(5)
        /// How long an answer to MetaSync, TrySync or DBSync may take.
        public var answerTimeout: Duration = .seconds(10)
        /// Silence of the master after which a database is asked for anew.
        public var silenceTimeout: Duration = .seconds(20)
        /// Silence of a real Pika, on the whole connection, behind the first BinlogSync of a database
        /// after which it is asked again.
        ///
        /// It sends items or, after 2 s, a keep-alive. It does neither when a former connection's
        /// end has swept away what it queued for this one; only a new first BinlogSync helps.
        public var firstSignTimeout: Duration = .seconds(4)
        /// Silence of ours after which a sign of life is due (a real master gives up after 20 s).
        public var keepAliveInterval: Duration = .seconds(5)
        /// The first and the longest pause before the connection is made again.
        public var reconnectPause: ClosedRange<Duration> = .milliseconds(200)...(.seconds(10))
        /// The first and the longest pause before a database is tried again.
        public var retryPause: ClosedRange<Duration> = .milliseconds(250)...(.seconds(60))
        /// Failures of a database in a row, without progress, after which an operator is needed.
        public var maxFailures = 16

        /// Creates a configuration with the usual time-outs.
        public init(
            master: ReplicaAddress, ownPort: Int, announcedHost: String? = nil,
            auth: String? = nil, databases: [String]
        ) {
            self.master = master
            self.ownPort = ownPort
            self.announcedHost = announcedHost
            self.auth = auth
            self.databases = databases
        }
    }

    /// The connection to the master.
    public enum LinkState: String, Hashable, Sendable, CaseIterable {
        /// Not started, or stopped for good.
        case stopped
        /// A connection is being made.
        case connecting
        /// MetaSync is not answered yet.
        case handshake
        /// MetaSync passed.
        case established
        /// A pause before the next attempt.
        case pausing
        /// Refused: an operator has to act.
        case broken
    }

    /// One database.
    public enum DatabaseState: Hashable, Sendable {
        /// DBSLAVEOF NO ONE.
        case detached
        /// Waits for MetaSync.
        case needsMeta
        /// The shell drains what is queued and reads the end of the log.
        case readingLocal
        /// TrySync is not answered yet.
        case waitingForTrySync
        /// Refused already; the master's end is asked for, to be named.
        case probing(BrokenReason)
        /// DBSync is not answered yet.
        case waitingForDBSync
        /// The files are copied and put in place.
        case copying
        /// Items are applied.
        case following
        /// A pause before the next attempt.
        case retrying
        /// An operator has to act.
        case broken(BrokenReason)
    }

    /// Why a database, or the whole session, can't go on by itself.
    public enum BrokenReason: Hashable, Sendable {
        /// The master wants another password.
        case authRefused(String)
        /// The master refused MetaSync.
        case metaSyncRefused(String)
        /// Our master follows us, over these servers: itself first, ourselves last.
        case ring([ReplicaAddress])
        /// The sets of databases differ.
        case databasesDiffer(master: [String], ours: [String])
        /// This server wrote items itself that the master never had.
        case ownData(ours: BinlogPosition, theirs: BinlogPosition?)
        /// The data here come from another data set than the master's.
        case otherHistory(ours: BinlogPosition, theirs: BinlogPosition?)
        /// Our log reaches further than the master's.
        case ahead(ours: BinlogPosition, theirs: BinlogPosition?)
        /// The master refused our position.
        case refused(String, ours: BinlogPosition, theirs: BinlogPosition?)
        /// An item could not be applied.
        case applyFailed(String)
        /// A full copy failed too often.
        case copyFailed(String)
        /// Too many failures in a row.
        case tooManyFailures(String)
    }

    /// What DBSLAVEOF asks for.
    public enum DatabaseAction: Hashable, Sendable {
        /// DBSLAVEOF db NO ONE.
        case detach
        /// DBSLAVEOF db.
        case attach
        /// DBSLAVEOF db FORCE.
        case copyAnew
    }

    /// What the shell needs to know for a full copy.
    public struct CopyOrder: Hashable, Sendable {
        /// The session that DBSync gave.
        public var session: SessionID
        /// Whose data.
        public var master: KnownMaster
        /// Opens the file service of a master of ours.
        public var fileToken: [UInt8]?
        /// What a master of ours said about its snapshot.
        public var snapshot: SnapshotStatus?
        /// What is here already, of this master's data.
        public var resuming: LocalDatabase.UnfinishedCopy?
    }

    /// A run of items of one database, as it came.
    public struct Items: Hashable, Sendable {
        /// `db0`…`db7`.
        public var database: String
        /// Their session.
        public var session: SessionID
        /// End of the first one.
        public var first: BinlogOffset
        /// End of the last one.
        public var last: BinlogOffset

        /// Creates a description.
        public init(
            database: String, session: SessionID, first: BinlogOffset, last: BinlogOffset
        ) {
            self.database = database
            self.session = session
            self.first = first
            self.last = last
        }
    }

    /// What happened.
    public enum Event: Hashable, Sendable {
        /// SLAVEOF; `force` asks for new copies of all databases.
        case start(force: Bool)
        /// SLAVEOF NO ONE, another master, or the end of the process.
        case stop
        /// The connection to port+2000 is up; our address as seen there.
        case connected(localHost: String)
        /// It could not be made, or was lost.
        case disconnected(String)
        /// A frame that is no message of the protocol.
        case malformedFrame(String)
        /// An answer; never `.binlogSync`.
        case response(ReplicationResponse)
        /// A keep-alive of the master.
        case keepAlive(database: String, session: SessionID)
        /// Items arrived.
        case items(Items)
        /// What a database holds; answers `readLocal`.
        case local(database: String, LocalDatabase)
        /// Items up to here are in the log.
        case received(database: String, BinlogPosition)
        /// Items up to here may be acknowledged: they are on the disk.
        case durable(database: String, BinlogPosition)
        /// Items up to here are in the stores.
        case applied(database: String, BinlogPosition)
        /// Items did not continue the log, or could not be read: ask again from our own end.
        case sessionFailed(database: String, String)
        /// An item can't be applied: the database stops there.
        case applyFailed(database: String, String)
        /// The copy took the place of the old data.
        case copyFinished(database: String)
        /// The copy failed; it made progress since the last failure, or not.
        case copyFailed(database: String, String, madeProgress: Bool)
        /// DBSLAVEOF.
        case databaseAction(database: String, DatabaseAction)
        /// Bytes came over the connection, be they a whole message or not.
        case bytesArrived
        /// Reading from the connection is paused by us, or goes on.
        case readingPaused(Bool)
        /// Time passed.
        case tick
    }

    /// What the shell has to do.
    public enum Directive: Hashable, Sendable {
        /// Connect to the master's base port + 2000.
        case connect
        /// Close the connection; `disconnected` need not be reported for it.
        case disconnect(String)
        /// Send a request.
        case send(ReplicationRequest)
        /// Remember whom we follow.
        case adopt(KnownMaster)
        /// The servers above us changed: tell our own replicas.
        case announce(UpstreamChain)
        /// Apply all that is queued, stop a copy that may still run, then report `local`.
        case readLocal(database: String)
        /// Delete what was copied of a snapshot.
        case discardCopy(database: String)
        /// Begin or resume a full copy.
        case startCopy(database: String, CopyOrder)
        /// Stop a copy; what was verified stays.
        case stopCopy(database: String)
        /// Items follow; a master of ours told its history, and what FLUSHDB of a type means in it.
        case beginFollowing(
            database: String, session: SessionID, history: [HistoryEntry],
            typedFlush: [TypedFlushRule])
        /// Append and apply the items that were reported.
        case apply(database: String)
        /// Tell the operator.
        case report(database: String?, String)
    }

    struct Database: Equatable, Sendable {
        var state = DatabaseState.needsMeta
        var since: MonotonicInstant
        var lastHeard: MonotonicInstant
        var lastSent: MonotonicInstant
        var retryAt = MonotonicInstant.distantFuture
        var backoff: Backoff
        var attempts = 0
        var force = false
        var session: SessionID?
        var local: LocalDatabase?
        var resuming: LocalDatabase.UnfinishedCopy?
        var acknowledgements = AcknowledgementQueue()
        var progress = ReplicaProgress(received: .zero, durable: .zero, applied: .zero)
        var lastFailure: String?
        /// Nothing was heard since the first BinlogSync.
        var awaitsFirstSign = false
        /// A failed TrySync position: the second refusal of the same position ends in a copy.
        var failedAt: BinlogPosition?
    }

    /// Who we are, and how long we wait.
    public let configuration: Configuration
    /// The connection to the master.
    public internal(set) var link = LinkState.stopped
    /// Why the whole session is broken.
    public internal(set) var linkBrokenReason: BrokenReason?
    /// The last failure of the connection.
    public internal(set) var lastFailure: String?
    /// The master, once MetaSync passed.
    public internal(set) var master: KnownMaster?
    /// The servers above us, our master first, while the connection is established.
    public internal(set) var upstreams = UpstreamChain.none

    var databases: [String: Database]
    var capabilities: PeerCapabilities = []
    var fileToken: [UInt8]?
    var localHost = "127.0.0.1"
    var since: MonotonicInstant
    var retryAt = MonotonicInstant.distantFuture
    var reconnect: Backoff
    var isReadingPaused = false
    var lastBytes: MonotonicInstant

    /// Creates a session that waits for `start`.
    public init(_ configuration: Configuration, now: MonotonicInstant) {
        self.configuration = configuration
        self.since = now
        self.lastBytes = now
        self.reconnect = Backoff(
            first: configuration.reconnectPause.lowerBound,
            longest: configuration.reconnectPause.upperBound)
        self.databases = [:]
        for name in configuration.databases {
            self.databases[name] = Database(
                since: now, lastHeard: now, lastSent: now,
                backoff: Backoff(
                    first: configuration.retryPause.lowerBound,
                    longest: configuration.retryPause.upperBound))
        }
    }
}
