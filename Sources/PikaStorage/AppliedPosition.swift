import CXXHash
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
    public init(_ id: ReplicationID) {
        let text = Array(id.description.utf8)
        var bytes = [UInt8](repeating: 0, count: 32)
        if text.count == 50, text.allSatisfy({ Self.digit($0) != nil }) {
            for index in 0..<25 {
                let high = Self.digit(text[2 * index]) ?? 0
                let low = Self.digit(text[2 * index + 1]) ?? 0
                bytes[index] = high << 4 | low
            }
        } else {
            for part in 0..<3 {
                let digest = XXH64(text, text.count, UInt64(part))
                for byte in 0..<8 {
                    bytes[part * 8 + byte] = UInt8(truncatingIfNeeded: digest >> (8 * UInt64(byte)))
                }
            }
            bytes[31] = 1
        }
        func word(_ index: Int) -> UInt64 {
            (0..<8).reduce(0) { $0 | UInt64(bytes[index * 8 + $1]) << (8 * UInt64($1)) }
        }
        self.init(word0: word(0), word1: word(1), word2: word(2), word3: word(3))
    }

    private static func digit(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
        default: nil
        }
    }
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
///
/// ```
/// offset  width
///      0      8  zeros: a collection's count
///      8      4  format version, 1             \
///     12      4  zeros                          |
///     16     32  history id                     |
///     48      4  file number                    |  payload, 72 bytes
///     52      4  zeros                          |
///     56      8  offset in the file             |
///     64      8  highest effective now          |
///     72      8  XXH64 of bytes 8 ..< 72       /
///     80      4  version 0                      a list's version
///     84      4  01000000                       a list's deadline: second 1
///     88      8  zeros                          a list's left index
///     96      4  version 0                      a collection's version
///    100      4  01000000                       the deadline of any other type: second 1
/// ```
/// Stale and empty by every type's rules, so a real Pika never shows it. Its own compaction may drop
/// it. Numbers are little-endian.
public enum AppliedRow {
    /// Bytes of the row's value.
    public static let encodedSize = 104

    static let formatVersion: UInt32 = 1
    private static let payload = 8
    private static let checksum = 72

    /// The row's key: a NUL, then `pika-swift:applied`.
    public static let name: [UInt8] = [0] + Array("pika-swift:applied".utf8)

    /// Whether `key` is the reserved name, or begins with that of an ``UnseenClaim``.
    @inlinable
    public static func isReserved(_ key: Bytes) -> Bool {
        guard key.count >= 19, key[0] == 0 else { return false }
        return isReservedText(key)
    }

    @usableFromInline
    static func isReservedText(_ key: Bytes) -> Bool {
        key.elementsEqual(name) || UnseenClaim.isName(key)
    }

    /// Writes the value of the row, `encodedSize` bytes.
    public static func encode(_ position: AppliedPosition, into value: UnsafeMutableRawPointer) {
        value.put(UInt64(0), at: 0)
        value.put(UInt64(formatVersion), at: payload)
        value.put(position.historyID.word0, at: 16)
        value.put(position.historyID.word1, at: 24)
        value.put(position.historyID.word2, at: 32)
        value.put(position.historyID.word3, at: 40)
        value.put(UInt64(position.position.fileNumber), at: 48)
        value.put(position.position.offset, at: 56)
        value.put(position.highestEffectiveNow, at: 64)
        value.put(XXH64(value + payload, checksum - payload, 0), at: checksum)
        value.put(UInt64(1) << 32, at: 80)
        value.put(UInt64(0), at: 88)
        value.put(UInt64(1) << 32, at: 96)
    }

    /// Reads the value of a row.
    public static func decode(_ value: Bytes) throws(AppliedRowFault) -> AppliedPosition {
        guard value.count == encodedSize, let start = value.baseAddress else {
            throw .length(expected: encodedSize, actual: value.count)
        }
        let version = value.number(UInt32.self, at: payload)
        guard version == formatVersion else {
            throw .formatVersion(expected: formatVersion, actual: version)
        }
        let stored = value.number(UInt64.self, at: checksum)
        let actual = XXH64(start + payload, checksum - payload, 0)
        guard stored == actual else { throw .checksum(expected: stored, actual: actual) }
        guard value.number(UInt64.self, at: 0) == 0, value.number(UInt64.self, at: 80) == 1 << 32,
            value.number(UInt64.self, at: 88) == 0, value.number(UInt64.self, at: 96) == 1 << 32
        else { throw .frame }
        return AppliedPosition(
            historyID: HistoryID(
                word0: value.number(UInt64.self, at: 16), word1: value.number(UInt64.self, at: 24),
                word2: value.number(UInt64.self, at: 32), word3: value.number(UInt64.self, at: 40)),
            position: BinlogPosition(
                fileNumber: value.number(UInt32.self, at: 48),
                offset: value.number(UInt64.self, at: 56)),
            highestEffectiveNow: value.number(Int64.self, at: 64))
    }
}
