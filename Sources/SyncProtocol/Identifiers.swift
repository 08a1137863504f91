/// A place in a binlog: a byte offset inside `write2file<fileNumber>`.
///
/// A position names the *end* of an item (or the start of a file), never a byte inside one.
/// Positions of one database are ordered; those of different databases have nothing in common.
public struct BinlogPosition: Comparable, Hashable, Sendable, CustomStringConvertible {
    /// The number N of the file `write2file<N>`.
    public var fileNumber: UInt32
    /// Byte offset inside that file, record headers included.
    public var offset: UInt64

    /// The place where the log of a database that never held anything begins.
    public static let zero = BinlogPosition(fileNumber: 0, offset: 0)

    /// Creates a position.
    public init(fileNumber: UInt32, offset: UInt64) {
        self.fileNumber = fileNumber
        self.offset = offset
    }

    /// Orders by file, then by offset.
    public static func < (left: BinlogPosition, right: BinlogPosition) -> Bool {
        if left.fileNumber != right.fileNumber { return left.fileNumber < right.fileNumber }
        return left.offset < right.offset
    }

    /// The form of log lines and error texts: `3:1024`.
    public var description: String { "\(fileNumber):\(offset)" }
}

/// The logical counter in an item's header.
///
/// Informational on the wire: nobody decides by it. In our own logs `term` counts the items that
/// are left in an atomic group.
public struct LogicID: Hashable, Sendable {
    /// Items left in the group; 0 for single items and in whatever a 3.5.5 writes.
    public var term: UInt32
    /// Number of the item since the log began.
    public var index: UInt64

    /// Creates an id.
    public init(term: UInt32, index: UInt64) {
        self.term = term
        self.index = index
    }
}

/// A position as messages carry it: with or without the item's logical counter.
///
/// Pika writes the counter in BinlogSync messages, be it 0/0, and leaves it out of TrySync and
/// DBSync; the encoder keeps that difference.
public struct BinlogOffset: Hashable, Sendable {
    /// File number and offset.
    public var position: BinlogPosition
    /// The counter, if the message has it.
    ///
    /// A half-present counter reads with 0 for the other half.
    public var logicID: LogicID?

    /// 0/0 with a counter of 0: both ends of the ack that answers a keep-alive, and the offset of
    /// a keep-alive.
    public static let ping = BinlogOffset(.zero, logicID: LogicID(term: 0, index: 0))

    /// Creates a wire offset.
    public init(_ position: BinlogPosition, logicID: LogicID? = nil) {
        self.position = position
        self.logicID = logicID
    }
}

/// What a replica calls itself: the address that it sees towards the master, and its base port.
///
/// Host and port stay apart: glued together without a separator, 10.0.0.1 + 19221 would equal
/// 10.0.0.11 + 9221, as they do in real Pika.
public struct ReplicaAddress: Hashable, Sendable, CustomStringConvertible {
    /// IP address or host name, at most ``WireLimits/maxHostBytes`` bytes.
    public var host: String
    /// The port for clients (not the +2000 one), 0...65535.
    public var port: Int

    /// Creates an address.
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`.
    public var description: String { "\(host):\(port)" }
}

/// The number that a master gives to its conversation with one replica about one database.
public struct SessionID: Hashable, Sendable, CustomStringConvertible {
    /// The number on the wire; -1 in a refused DBSync.
    public var rawValue: Int32

    /// Creates an id.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// The number.
    public var description: String { "\(rawValue)" }
}

/// The 40 characters by which a 3.5.0 replica knows its master again.
///
/// Real masters make it of lowercase hex digits, but take any 40 characters from their conf file;
/// so any 40 visible ASCII characters are accepted here.
public struct RunID: Hashable, Sendable, CustomStringConvertible {
    /// Length in bytes.
    public static let byteCount = 40
    /// The text.
    public let description: String

    /// Creates an id; nil if the text is not 40 visible ASCII characters.
    public init?(_ text: String) {
        guard isIdentifier(text, byteCount: Self.byteCount) else { return nil }
        description = text
    }
}

/// The 50 characters that name a history of a data set: a 3.5.5 replica refuses another one.
public struct ReplicationID: Hashable, Sendable, CustomStringConvertible {
    /// Length in bytes.
    public static let byteCount = 50
    /// The text.
    public let description: String

    /// Creates an id; nil if the text is not 50 visible ASCII characters.
    public init?(_ text: String) {
        guard isIdentifier(text, byteCount: Self.byteCount) else { return nil }
        description = text
    }
}

/// The point where one history of a database's log gave way to the next.
public struct HistoryEntry: Hashable, Sendable {
    /// The id of the history that begins here.
    public var id: ReplicationID
    /// End of the last item before it.
    public var previousEnd: BinlogPosition
    /// Running digest of the log at `previousEnd`.
    public var previousDigest: UInt64
    /// Where the history's first item begins: the start of a new file.
    public var start: BinlogPosition

    /// Creates an entry.
    public init(
        id: ReplicationID, previousEnd: BinlogPosition, previousDigest: UInt64,
        start: BinlogPosition
    ) {
        self.id = id
        self.previousEnd = previousEnd
        self.previousDigest = previousDigest
        self.start = start
    }
}

private func isIdentifier(_ text: String, byteCount: Int) -> Bool {
    text.utf8.count == byteCount && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
}
