/// Limits of what is accepted from, or sent to, a peer.
public enum WireLimits {
    /// Bytes of the length field in front of each message.
    public static let frameHeaderBytes = 4
    /// A body of this size and more closes the connection at a real Pika.
    public static let maxPikaBodyBytes = 536_870_912 - frameHeaderBytes - 1
    /// The largest response that a real replica with default settings parses.
    public static let maxPikaResponseBytes = 268_435_456
    /// Items in one BinlogSync response to a real Pika.
    public static let maxPikaChipsPerResponse = 100
    /// Items in one BinlogSync response that we accept.
    public static let maxChipsPerResponse = 65_536
    /// Bytes of file data in one reply that we ask for or send.
    public static let maxFileChunkBytes = 4_194_304
    /// `reader_index` of a real server's table: 0...3.
    public static let maxReaderIndex: Int32 = 3
    /// Bytes of a host name.
    public static let maxHostBytes = 255
    /// Bytes of a database's name.
    public static let maxDatabaseNameBytes = 64
    /// Bytes of a file name in a snapshot.
    public static let maxFileNameBytes = 1_024
    /// Bytes of a password in MetaSync.
    public static let maxAuthBytes = 4_096
    /// Bytes of an error text.
    public static let maxReplyTextBytes = 4_096
    /// Databases of a server.
    public static let maxDatabases = 8
    /// Files in a snapshot's list.
    public static let maxFilesPerSnapshot = 1_000_000
    /// Entries of one database's history.
    public static let maxHistoryEntries = 1_024
    /// Servers above another one that are named; a ring of more is not noticed.
    public static let maxUpstreams = 64
    /// Changes in the meaning of `FLUSHDB <type>` that are told.
    public static let maxTypedFlushRules = 64
    /// Bytes of the token that opens the file service.
    public static let maxFileTokenBytes = 64
    /// Bytes of a snapshot's id.
    public static let maxSnapshotIDBytes = 64
}

/// How long a frame's body may be.
public struct FrameLimits: Hashable, Sendable {
    /// Longest body accepted, in bytes.
    public var maxBodyBytes: Int

    /// Creates limits; the body is never allowed to reach Pika's hard limit.
    public init(maxBodyBytes: Int) {
        self.maxBodyBytes = min(maxBodyBytes, WireLimits.maxPikaBodyBytes)
    }

    /// Requests to the replication service (port+2000): small, histories included.
    public static let replicationRequest = FrameLimits(maxBodyBytes: 2_097_152)
    /// Responses of the replication service: batches of binlog items.
    public static let replicationResponse = FrameLimits(maxBodyBytes: WireLimits.maxPikaBodyBytes)
    /// Requests to the file service (port+10001).
    public static let fileRequest = FrameLimits(maxBodyBytes: 65_536)
    /// Responses of the file service: a chunk, or a list of file names.
    public static let fileResponse = FrameLimits(maxBodyBytes: WireLimits.maxPikaResponseBytes)
}
