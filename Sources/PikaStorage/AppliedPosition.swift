public import SyncProtocol

/// A history's id in the form in which the reserved row holds it: 32 bytes.
///
/// Fifty hexadecimal digits (every id that Pika or ours makes) are packed into 25 bytes; any other
/// text is replaced by a digest of it. Equal ids have equal forms.
public struct HistoryID: Hashable, Sendable {
    var word0: UInt64
    var word1: UInt64
    var word2: UInt64
    var word3: UInt64

    /// The id of no history.
    public static let zero = HistoryID(word0: 0, word1: 0, word2: 0, word3: 0)

    init(word0: UInt64, word1: UInt64, word2: UInt64, word3: UInt64) {
        self.word0 = word0
        self.word1 = word1
        self.word2 = word2
        self.word3 = word3
    }

    /// Packs an id.
    public init(_ id: ReplicationID) { fatalError("skeleton") }
}

/// Up to where of the binlog a store holds the effects.
public struct AppliedPosition: Hashable, Sendable {
    /// The history that the position belongs to.
    public var historyID: HistoryID
    /// The end of the last item applied.
    public var position: BinlogPosition
    /// The highest effective now (Unix seconds) of the items applied.
    public var highestEffectiveNow: Int64

    /// Makes a position.
    @inlinable
    public init(historyID: HistoryID, position: BinlogPosition, highestEffectiveNow: Int64) {
        self.historyID = historyID
        self.position = position
        self.highestEffectiveNow = highestEffectiveNow
    }
}

/// The row that holds a store's applied position: the same bytes in all five stores.
public enum AppliedRow {
    /// Bytes of the row's value.
    public static let encodedSize = 104

    /// The row's key: a NUL, then `pika-swift:applied`.
    public static let name: [UInt8] = [0] + Array("pika-swift:applied".utf8)

    /// Whether `key` is the reserved name.
    public static func isReserved(_ key: Bytes) -> Bool { fatalError("skeleton") }

    /// Writes the value of the row, `encodedSize` bytes.
    public static func encode(_ position: AppliedPosition, into value: UnsafeMutableRawPointer) {
        fatalError("skeleton")
    }

    /// Reads the value of a row; also one that a real Pika made longer.
    public static func decode(_ value: Bytes) throws(AppliedRowFault) -> AppliedPosition {
        fatalError("skeleton")
    }
}
