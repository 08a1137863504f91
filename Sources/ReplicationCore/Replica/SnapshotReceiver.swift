public import SyncProtocol

/// The copy of one database's snapshot from the file service; performs no I/O.
///
/// What to ask for is pulled: while `nextReadBytes` is not nil and the limiter grants it, the shell
/// calls `takeRead`. Replies are matched by number (one of ours) or by reader, name and offset (a
/// real Pika); a reply that matches nothing is dropped (F1). A file counts when all of it was
/// stored and read back; the copy is finished when every file of the list counts, never earlier
/// (F4, F5).
///
/// Invariants: only names of the checked list are asked for; every range is asked for by one
/// request at a time; another snapshot id in any reply ends the copy; failures without progress are
/// bounded, and every retry pauses (F2).
/// Source: pika v3.5.0 src/rsync_client.cc.
public struct SnapshotReceiver: Equatable, Sendable {
    /// The limits of a copy.
    public struct Configuration: Hashable, Sendable {
        /// The database.
        public var database: String
        /// Whether the master is one of ours.
        public var isPeer: Bool
        /// Opens the file service of a master of ours.
        public var fileToken: [UInt8]?
        /// Readers of a real Pika, 1...4: each has one request in flight.
        public var readers: Int32 = 4
        /// Requests in flight at one of ours.
        public var requestsInFlight = 32
        /// Bytes of a request to one of ours.
        public var chunkBytes: UInt64 = 262_144
        /// Bytes of a request to a real Pika, at most 4 MiB.
        public var pikaChunkBytes: UInt64 = 1_048_576
        /// The smallest request, whatever the rate.
        public var leastChunkBytes: UInt64 = 4_096
        /// Silence of the connection, with requests out, that is borne at least.
        public var leastTimeout: Duration = .seconds(1)
        /// … and at most.
        public var longestTimeout: Duration = .seconds(60)
        /// Pause between list requests to a real Pika, which answers late or never.
        public var listInterval: Duration = .seconds(1)
        /// How long the snapshot may take to be made.
        public var preparationLimit: Duration = .seconds(3_600)
        /// The first and the longest pause before the connection is made again.
        public var reconnectPause: ClosedRange<Duration> = .milliseconds(200)...(.seconds(10))
        /// Failures in a row without a stored byte that end the copy.
        public var maxFailures = 10
        /// How often one file is begun anew because it was read back wrong.
        public var maxFileRestarts = 3
        /// How often the list is asked for again because digests of files are missing in it.
        public var maxDigestLists = 5
        /// Stored bytes after which the resume point moves.
        public var checkpointBytes: UInt64 = 64 << 20
        /// Time after which it moves if anything was stored.
        public var checkpointInterval: Duration = .seconds(1)

        /// The usual limits.
        public init(database: String, isPeer: Bool, fileToken: [UInt8]? = nil) {
            self.database = database
            self.isPeer = isPeer
            self.fileToken = fileToken
        }
    }

    /// What an earlier run left, as found on the disk.
    public struct Remainder: Hashable, Sendable {
        /// One file.
        public struct File: Hashable, Sendable {
            /// Its name.
            public var name: String
            /// Its size, if it was known.
            public var sizeBytes: UInt64?
            /// Bytes from the start that are here and intact.
            public var prefixBytes: UInt64
            /// Ranges behind them that are here and intact too, in order.
            public var islands: [Range<UInt64>]

            /// Creates a description.
            public init(
                name: String, sizeBytes: UInt64?, prefixBytes: UInt64,
                islands: [Range<UInt64>] = []
            ) {
                self.name = name
                self.sizeBytes = sizeBytes
                self.prefixBytes = prefixBytes
                self.islands = islands
            }
        }

        /// The snapshot that the files are of.
        public var snapshotID: SnapshotID
        /// Its position, if it was known.
        public var position: BinlogPosition?
        /// The files.
        public var files: [File]
        /// Bytes that had been sent twice until then.
        public var bytesSentTwice: UInt64

        /// Creates a description.
        public init(
            snapshotID: SnapshotID, position: BinlogPosition?, files: [File],
            bytesSentTwice: UInt64
        ) {
            self.snapshotID = snapshotID
            self.position = position
            self.files = files
            self.bytesSentTwice = bytesSentTwice
        }
    }

    /// A range to be asked for.
    public struct ReadOrder: Hashable, Sendable {
        /// Number of the request.
        public var id: UInt64
        /// Reader of a real Pika.
        public var reader: Int32
        /// Which file of the plan.
        public var fileIndex: Int
        /// Its name.
        public var name: String
        /// From where.
        public var offset: UInt64
        /// How many bytes.
        public var count: UInt64
    }

    /// A reply to a range, without its bytes.
    public struct Arrival: Hashable, Sendable {
        /// Echo of the number, from one of ours.
        public var id: UInt64?
        /// Echo.
        public var reader: Int32
        /// Echo.
        public var snapshotID: String
        /// Echo, and what came.
        public var chunk: FileChunk

        /// Creates an arrival.
        public init(id: UInt64?, reader: Int32, snapshotID: String, chunk: FileChunk) {
            self.id = id
            self.reader = reader
            self.snapshotID = snapshotID
            self.chunk = chunk
        }
    }

    /// What the resume point has to say.
    public struct Checkpoint: Hashable, Sendable {
        /// The files in the order of the list.
        public var files: [SnapshotFile]
        /// Stored bytes from the start, per file.
        public var prefixBytes: [UInt64]
        /// Whether the size is known, per file.
        public var hasSize: [Bool]
        /// The snapshot's position; nil while a real Pika's `info` is not here.
        public var position: BinlogPosition?
        /// Bytes sent twice.
        public var bytesSentTwice: UInt64
    }

    /// What the whole, verified copy is.
    public struct Outcome: Hashable, Sendable {
        /// The snapshot.
        public var snapshotID: SnapshotID
        /// Where its binlog stood.
        public var position: BinlogPosition
        /// Digest there; 0 from a real Pika.
        public var digest: UInt64
        /// The master's history; empty from a real Pika.
        public var history: [HistoryEntry]
        /// Highest effective now; 0 from a real Pika.
        public var highestEffectiveNowSeconds: Int64
        /// Names of all files.
        public var names: [String]

        /// Creates an outcome.
        public init(
            snapshotID: SnapshotID, position: BinlogPosition, digest: UInt64,
            history: [HistoryEntry], highestEffectiveNowSeconds: Int64, names: [String]
        ) {
            self.snapshotID = snapshotID
            self.position = position
            self.digest = digest
            self.history = history
            self.highestEffectiveNowSeconds = highestEffectiveNowSeconds
            self.names = names
        }
    }

    /// What happened.
    public enum Event: Hashable, Sendable {
        /// DBSync was granted.
        case begin
        /// The connection to port+10001 is up.
        case connected
        /// It could not be made, or was lost; bytes of a reply that had come in part.
        case disconnected(String, partialBytes: UInt64)
        /// Bytes came, be it a part of a reply.
        case heard
        /// An answer to a list request.
        case listed(FileListResponse)
        /// A range came.
        case arrived(Arrival)
        /// A range was refused.
        case refused(
            id: UInt64?, reader: Int32, snapshotID: String, FileRefusal?)
        /// A range was written; false: its digest was wrong, it was not written.
        case stored(id: UInt64, isIntact: Bool)
        /// Writing failed: disk full, I/O error.
        case storageFailed(String)
        /// A whole file was read back.
        case verified(fileIndex: Int, digest: UInt64, badRanges: [Range<UInt64>])
        /// The files of another snapshot are deleted.
        case discarded
        /// There is room, and the resume point says that a copy has begun.
        case prepared
        /// What the file `info` says; nil = it is no such file.
        case info(BinlogPosition?)
        /// The stores of a real Pika's copy were opened and every block read; or why not.
        case storesChecked(String?)
        /// The resume point is on the disk.
        case checkpointed
        /// Time passed.
        case tick
    }

    /// What the shell has to do.
    public enum Directive: Hashable, Sendable {
        /// Connect to the master's base port + 10001.
        case connect
        /// Close the connection; `disconnected` need not be reported.
        case disconnect(String)
        /// Ask for the list.
        case requestList(FileListRequest)
        /// Delete staged files of another snapshot, then report.
        case discard
        /// The plan is made: check the disk's room and persist that a copy has begun, then report
        /// `prepared`. Sizes are 0 where a real Pika has not told them.
        case prepare(SnapshotManifest, knowsSizes: Bool)
        /// Ranges may be asked for.
        case pump
        /// Check the digest and write the range that arrived last.
        case store(ReadOrder, count: UInt64, digest: UInt64?)
        /// Make files and resume point durable.
        case checkpoint(Checkpoint)
        /// Read a whole file back, sync it and close it.
        case verify(fileIndex: Int, name: String, sizeBytes: UInt64)
        /// Read the staged `info`.
        case readInfo
        /// Open the staged stores read-only and read every block.
        case checkStores
        /// The copy is whole and verified.
        case finish(Outcome)
        /// The copy can't go on; `discards`: what is staged is of no use any more.
        case fail(String, discards: Bool, madeProgress: Bool)
    }

    /// Where the copy is.
    public enum Phase: Hashable, Sendable {
        case idle
        case connecting
        /// The list is asked for; the master may be making the snapshot.
        case waitingForList
        /// Files of another snapshot are being deleted.
        case discarding
        /// The disk is prepared.
        case preparing
        case reading
        /// All files are here; the rest of the checks runs.
        case finishing
        case pausing
        case finished
        case failed
    }

    struct Request: Equatable, Sendable {
        var order: ReadOrder
        var isStoring = false
        var issued: MonotonicInstant
    }

    /// The limits.
    public let configuration: Configuration
    /// Where the copy is.
    public internal(set) var phase = Phase.idle
    /// The snapshot, once listed.
    public internal(set) var snapshotID: SnapshotID?
    /// Bytes of the files that came more than once.
    public internal(set) var bytesSentTwice: UInt64 = 0
    /// Bytes that an earlier run had left here.
    public internal(set) var bytesResumed: UInt64 = 0
    /// Bytes that came.
    public internal(set) var bytesReceived: UInt64 = 0
    /// The master's progress in making the snapshot.
    public internal(set) var preparingPercent: UInt32 = 0
    /// The last failure.
    public internal(set) var lastFailure: String?
    /// Limit of the rate, for the size of requests; 0 = none.
    public var limitBytesPerSecond: UInt64 = 0

    var remainder: Remainder?
    var manifest: SnapshotManifest?
    var position: BinlogPosition?
    var files: [ReceivedFile] = []
    var order: [Int] = []
    /// Where each file is in `order`.
    var ranks: [Int] = []
    /// The first place of `order` that may have something to ask for.
    var cursor = 0
    /// Files that are not read back yet.
    var openFiles = 0
    /// Nothing is asked for before this time.
    var holdUntil = MonotonicInstant(nanoseconds: 0)
    var requests: [UInt64: Request] = [:]
    /// The file that each reader of a real Pika is at.
    var readerFiles: [Int32: Int] = [:]
    var nextID: UInt64 = 1
    var pendingList: FileListResponse?
    var listAskedAt: MonotonicInstant
    var listRetryAt = MonotonicInstant.distantFuture
    var digestLists = 0
    var preparationBegan: MonotonicInstant?
    var lastHeard: MonotonicInstant
    var resumeAt = MonotonicInstant.distantFuture
    var isConnected = false
    var backoff: Backoff
    var latency: Duration = .milliseconds(200)
    var storedSinceCheckpoint: UInt64 = 0
    var lastCheckpoint: MonotonicInstant
    var isCheckpointing = false
    var madeProgress = false
    var storesAreChecked = false
    var isCheckingStores = false
    var isReadingInfo = false

    /// Creates a copy that waits for `begin`.
    ///
    /// - Parameter remainder: What an earlier run left of a snapshot of the same master.
    public init(
        _ configuration: Configuration, remainder: Remainder? = nil, now: MonotonicInstant
    ) {
        self.configuration = configuration
        self.remainder = remainder
        self.bytesSentTwice = remainder?.bytesSentTwice ?? 0
        self.listAskedAt = now
        self.lastHeard = now
        self.lastCheckpoint = now
        self.backoff = Backoff(
            first: configuration.reconnectPause.lowerBound,
            longest: configuration.reconnectPause.upperBound)
    }

    /// Bytes of all files; nil while a real Pika has not told all sizes.
    public var bytesTotal: UInt64? {
        guard !self.files.isEmpty else { return nil }
        var sum: UInt64 = 0
        for file in self.files {
            guard let size = file.sizeBytes else { return nil }
            sum &+= size
        }
        return sum
    }

    /// Bytes that are stored from the start of their files on.
    public var bytesDone: UInt64 { self.files.reduce(0) { $0 &+ $1.prefix } }

    /// Files that were read back.
    public var filesDone: Int {
        self.files.count { file in
            if case .done = file.check { true } else { false }
        }
    }

    /// Files of the snapshot.
    public var filesTotal: Int { self.files.count }
}
