/// What a replica asks of the file service (port+10001).
public enum FileServiceRequest: Hashable, Sendable {
    /// Asks for the files of a database's snapshot.
    case list(FileListRequest)
    /// Asks for a range of a file.
    case read(FileReadRequest)
}

/// Asks for the files of a database's snapshot.
public struct FileListRequest: Hashable, Sendable {
    /// `db0`…`db7`.
    public var database: String
    /// 0 by convention.
    public var readerIndex: Int32
    /// Extension: the token from MetaSync.
    public var fileToken: [UInt8]?
    /// Extension: echoed in the response.
    public var requestID: UInt64?
    /// Extension: the snapshot of which the replica holds a part.
    public var wantedSnapshot: SnapshotID?

    /// Creates a request.
    public init(
        database: String, readerIndex: Int32 = 0, fileToken: [UInt8]? = nil,
        requestID: UInt64? = nil, wantedSnapshot: SnapshotID? = nil
    ) {
        self.database = database
        self.readerIndex = readerIndex
        self.fileToken = fileToken
        self.requestID = requestID
        self.wantedSnapshot = wantedSnapshot
    }
}

/// Asks for a range of a file.
public struct FileReadRequest: Hashable, Sendable {
    /// `db0`…`db7`.
    public var database: String
    /// The reader, 0...3; a real server has one open file for each.
    public var readerIndex: Int32
    /// A name of the list.
    public var filename: String
    /// First byte.
    public var offset: UInt64
    /// Bytes wanted, 1...4 MiB; the response may have fewer.
    public var count: UInt64
    /// Extension: the token from MetaSync.
    public var fileToken: [UInt8]?
    /// Extension: echoed in the response, so that several ranges may be in flight.
    public var requestID: UInt64?
    /// Extension: the snapshot that the range is of.
    public var snapshot: SnapshotID?

    /// Creates a request.
    public init(
        database: String, readerIndex: Int32, filename: String, offset: UInt64, count: UInt64,
        fileToken: [UInt8]? = nil, requestID: UInt64? = nil, snapshot: SnapshotID? = nil
    ) {
        self.database = database
        self.readerIndex = readerIndex
        self.filename = filename
        self.offset = offset
        self.count = count
        self.fileToken = fileToken
        self.requestID = requestID
        self.snapshot = snapshot
    }
}

/// What the file service answers.
public enum FileServiceResponse: Hashable, Sendable {
    /// Answers a list request.
    case list(FileListResponse)
    /// Answers a read request.
    case read(FileReadResponse)
}

/// Answers a list request.
public struct FileListResponse: Hashable, Sendable {
    /// ok or error.
    public var status: StatusCode
    /// Echo.
    public var database: String
    /// Echo.
    public var readerIndex: Int32
    /// The snapshot; empty on an error, and then "not ready" to a replica of ours.
    public var snapshotID: String
    /// The files, relative to the database's directory.
    ///
    /// `strings/000012.sst`, …, `info`. nil when the response has no list.
    public var filenames: [String]?
    /// Extension: the snapshot in full.
    public var manifest: SnapshotManifest?
    /// Extension: echo.
    public var requestID: UInt64?
    /// Extension: why not.
    public var refusal: FileRefusal?

    /// Creates a response.
    public init(
        status: StatusCode, database: String, readerIndex: Int32 = 0, snapshotID: String,
        filenames: [String]? = nil, manifest: SnapshotManifest? = nil, requestID: UInt64? = nil,
        refusal: FileRefusal? = nil
    ) {
        self.status = status
        self.database = database
        self.readerIndex = readerIndex
        self.snapshotID = snapshotID
        self.filenames = filenames
        self.manifest = manifest
        self.requestID = requestID
        self.refusal = refusal
    }
}

/// Answers a read request; the bytes travel beside it (``DecodedFileResponse``).
public struct FileReadResponse: Hashable, Sendable {
    /// ok or error.
    public var status: StatusCode
    /// Echo.
    public var database: String
    /// Echo.
    public var readerIndex: Int32
    /// The snapshot that the bytes are of.
    public var snapshotID: String
    /// The range; nil on an error.
    public var chunk: FileChunk?
    /// Extension: echo.
    public var requestID: UInt64?
    /// Extension: why not.
    public var refusal: FileRefusal?

    /// Creates a response.
    public init(
        status: StatusCode, database: String, readerIndex: Int32, snapshotID: String,
        chunk: FileChunk? = nil, requestID: UInt64? = nil, refusal: FileRefusal? = nil
    ) {
        self.status = status
        self.database = database
        self.readerIndex = readerIndex
        self.snapshotID = snapshotID
        self.chunk = chunk
        self.requestID = requestID
        self.refusal = refusal
    }
}

/// A range of a file, without its bytes.
public struct FileChunk: Hashable, Sendable {
    /// Echo.
    public var filename: String
    /// Echo.
    public var offset: UInt64
    /// Bytes really there; fewer than asked for is normal.
    public var count: UInt64
    /// Whether the range ends at the end of the file.
    public var isEnd: Bool
    /// Always empty from a real Pika.
    public var checksum: String
    /// Extension: XXH64 (seed 0) of the bytes.
    public var digest: UInt64?

    /// Creates a range.
    public init(
        filename: String, offset: UInt64, count: UInt64, isEnd: Bool, checksum: String = "",
        digest: UInt64? = nil
    ) {
        self.filename = filename
        self.offset = offset
        self.count = count
        self.isEnd = isEnd
        self.checksum = checksum
        self.digest = digest
    }
}

/// A snapshot in full: what a replica of ours plans its copy by.
public struct SnapshotManifest: Hashable, Sendable {
    /// The snapshot.
    public var id: SnapshotID
    /// Its files.
    public var files: [SnapshotFile]
    /// Where the log stood when it was cut: following continues from here.
    public var position: BinlogPosition
    /// Running digest of the log there.
    public var digest: UInt64
    /// History of the database, oldest entry first.
    public var history: [HistoryEntry]
    /// Highest effective now (Unix seconds) of the items that the snapshot holds.
    public var highestEffectiveNowSeconds: Int64

    /// Sum of the files' sizes.
    public var totalBytes: UInt64 { files.reduce(0) { $0 &+ $1.sizeBytes } }

    /// Creates a manifest.
    public init(
        id: SnapshotID, files: [SnapshotFile], position: BinlogPosition, digest: UInt64,
        history: [HistoryEntry] = [], highestEffectiveNowSeconds: Int64 = 0
    ) {
        self.id = id
        self.files = files
        self.position = position
        self.digest = digest
        self.history = history
        self.highestEffectiveNowSeconds = highestEffectiveNowSeconds
    }
}

/// A file of a snapshot.
public struct SnapshotFile: Hashable, Sendable {
    /// Relative name, as in the list.
    public var name: String
    /// Its size.
    public var sizeBytes: UInt64
    /// XXH64 (seed 0) of the whole file, once the master knows it.
    public var digest: UInt64?

    /// Creates a description.
    public init(name: String, sizeBytes: UInt64, digest: UInt64? = nil) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.digest = digest
    }
}

/// Why the file service refused.
public struct FileRefusal: Hashable, Sendable {
    /// The kind.
    public var reason: FileRefusalReason
    /// When to ask again; 0 = never.
    public var retryAfterMilliseconds: UInt32
    /// Progress of making the snapshot, 0...100.
    public var percent: UInt32

    /// Creates a refusal.
    public init(
        reason: FileRefusalReason, retryAfterMilliseconds: UInt32 = 0, percent: UInt32 = 0
    ) {
        self.reason = reason
        self.retryAfterMilliseconds = retryAfterMilliseconds
        self.percent = percent
    }
}

/// Kinds of refusals of the file service.
public enum FileRefusalReason: UInt32, Hashable, Sendable, CaseIterable {
    /// A number that this version does not know.
    case unspecified = 0
    /// No such database.
    case unknownDatabase = 1
    /// The snapshot is being made.
    case preparing = 2
    /// No snapshot, or another one: start again with DBSync.
    case snapshotGone = 3
    /// The name is not in the list.
    case unknownFile = 4
    /// The range is not inside the file.
    case badRange = 5
    /// The peer did not pass MetaSync.
    case notAllowed = 6
    /// The master could not read the file.
    case readFailed = 7
    /// Too many requests in flight.
    case busy = 8
}
