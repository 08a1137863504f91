internal import CXXHash
internal import FileIO

/// What stands at the beginning of a segment of the spool.
///
/// ```text
/// 0    8 bytes   "PKSPOOL1": kind and version
/// 8    40 bytes  the source's id (ASCII, padded with zeros)
/// 48   u64 LE    offset: how many bytes of the history come before the segment
/// 56   u64 LE    database at that offset; all ones = told by the segments before
/// 64   u64 LE    when the segment was begun, Unix milliseconds
/// 72   u64 LE    XXH64 (seed 0) of everything before
/// 80   blocks
/// ```
struct SpoolSegmentHeader: Sendable, Equatable {
    static let encodedBytes = 80
    static let magic = Array("PKSPOOL1".utf8)
    static let maxSourceIDBytes = 40
    static let unknownDatabase = UInt64.max

    var sourceID: String
    var startOffset: UInt64
    var database: UInt64?
    var receivedAtMilliseconds: Int64

    func encode() -> [UInt8] {
        var bytes = Self.magic
        let id = Array(self.sourceID.utf8.prefix(Self.maxSourceIDBytes))
        bytes += id + [UInt8](repeating: 0, count: Self.maxSourceIDBytes - id.count)
        SpoolBytes.append(self.startOffset, to: &bytes)
        SpoolBytes.append(self.database ?? Self.unknownDatabase, to: &bytes)
        SpoolBytes.append(UInt64(bitPattern: self.receivedAtMilliseconds), to: &bytes)
        SpoolBytes.append(XXH64(bytes, bytes.count, 0), to: &bytes)
        return bytes
    }

    init(
        sourceID: String, startOffset: UInt64, database: UInt64?, receivedAtMilliseconds: Int64
    ) {
        self.sourceID = sourceID
        self.startOffset = startOffset
        self.database = database
        self.receivedAtMilliseconds = receivedAtMilliseconds
    }

    /// nil if the bytes are no header of this version, or damaged.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.encodedBytes, bytes.starts(with: Self.magic),
            XXH64(bytes, 72, 0) == SpoolBytes.load(bytes, at: 72)
        else { return nil }
        self.sourceID = String(decoding: bytes[8..<48].prefix { $0 != 0 }, as: UTF8.self)
        self.startOffset = SpoolBytes.load(bytes, at: 48)
        let database = SpoolBytes.load(bytes, at: 56)
        self.database = database == Self.unknownDatabase ? nil : database
        self.receivedAtMilliseconds = Int64(bitPattern: SpoolBytes.load(bytes, at: 64))
    }
}

/// What stands before the bytes of one block: at most 64 KiB that were received together.
///
/// ```text
/// 0   u32 LE  length of the payload, 1…65536
/// 4   u32 LE  zero
/// 8   u64 LE  when it was received, Unix milliseconds
/// 16  u64 LE  XXH64 of the payload, seeded with XXH64 of bytes 0..<16 seeded with the payload's
///             offset in the history
/// 24  payload
/// ```
/// The offset is in the checksum: a block in a wrong place is found.
struct SpoolBlockHeader: Sendable, Equatable {
    static let encodedBytes = 24
    static let maxPayloadBytes = 65_536

    var length: Int
    var receivedAtMilliseconds: Int64
    var checksum: UInt64

    init(payload: UnsafeRawBufferPointer, offset: UInt64, receivedAtMilliseconds: Int64) {
        self.length = payload.count
        self.receivedAtMilliseconds = receivedAtMilliseconds
        self.checksum = 0
        self.checksum = Self.checksum(self.prefix, payload, offset)
    }

    /// nil if the bytes can't be a header.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.encodedBytes else { return nil }
        let first = SpoolBytes.load(bytes, at: 0)
        guard first >= 1, first <= UInt64(Self.maxPayloadBytes) else { return nil }
        self.length = Int(first)
        self.receivedAtMilliseconds = Int64(bitPattern: SpoolBytes.load(bytes, at: 8))
        self.checksum = SpoolBytes.load(bytes, at: 16)
    }

    func encode() -> [UInt8] {
        var bytes = self.prefix
        SpoolBytes.append(self.checksum, to: &bytes)
        return bytes
    }

    func matches(_ payload: UnsafeRawBufferPointer, offset: UInt64) -> Bool {
        payload.count == self.length
            && Self.checksum(self.prefix, payload, offset) == self.checksum
    }

    private var prefix: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.encodedBytes)
        SpoolBytes.append(UInt64(self.length), to: &bytes)
        SpoolBytes.append(UInt64(bitPattern: self.receivedAtMilliseconds), to: &bytes)
        return bytes
    }

    private static func checksum(
        _ prefix: [UInt8], _ payload: UnsafeRawBufferPointer, _ offset: UInt64
    ) -> UInt64 {
        XXH64(payload.baseAddress, payload.count, XXH64(prefix, prefix.count, offset))
    }
}

/// Little-endian numbers.
enum SpoolBytes {
    static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    static func load(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        bytes.withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
    }
}

/// How a generation of the spool began: what its bytes belong to.
///
/// The payload of the sealed file `origin`:
/// ```text
/// 0   40 bytes  the source's id when it began (padded with zeros)
/// 40  u64 LE    offset that the stream begins behind
/// 48  u64 LE    database at that offset
/// 56  u64 LE    1 = a snapshot comes before the stream
/// 64  u64 LE    when it began, Unix milliseconds
/// ```
public struct SpoolOrigin: Sendable, Equatable {
    /// The source's id when it began.
    public var sourceID: String
    /// Offset that the stream begins behind.
    public var startOffset: UInt64
    /// Database at that offset.
    public var database: UInt64
    /// Whether a snapshot comes before the stream.
    public var hasSnapshot: Bool
    /// When it began, Unix milliseconds.
    public var receivedAtMilliseconds: Int64

    static let file = SealedFile(kind: "PKSPORIG", version: 1, limitBytes: 72)

    /// Describes a generation.
    public init(
        sourceID: String, startOffset: UInt64, database: UInt64, hasSnapshot: Bool,
        receivedAtMilliseconds: Int64
    ) {
        self.sourceID = sourceID
        self.startOffset = startOffset
        self.database = database
        self.hasSnapshot = hasSnapshot
        self.receivedAtMilliseconds = receivedAtMilliseconds
    }

    func encode() throws(SealedFileError) -> [UInt8] {
        let id = Array(self.sourceID.utf8.prefix(SpoolSegmentHeader.maxSourceIDBytes))
        var bytes =
            id + [UInt8](repeating: 0, count: SpoolSegmentHeader.maxSourceIDBytes - id.count)
        SpoolBytes.append(self.startOffset, to: &bytes)
        SpoolBytes.append(self.database, to: &bytes)
        SpoolBytes.append(self.hasSnapshot ? 1 : 0, to: &bytes)
        SpoolBytes.append(UInt64(bitPattern: self.receivedAtMilliseconds), to: &bytes)
        return try Self.file.encode(bytes)
    }

    init?(file bytes: [UInt8]) {
        guard let (_, payload) = try? Self.file.decode(bytes), payload.count == 72 else {
            return nil
        }
        self.sourceID = String(decoding: payload[..<40].prefix { $0 != 0 }, as: UTF8.self)
        self.startOffset = SpoolBytes.load(payload, at: 40)
        self.database = SpoolBytes.load(payload, at: 48)
        self.hasSnapshot = SpoolBytes.load(payload, at: 56) == 1
        self.receivedAtMilliseconds = Int64(bitPattern: SpoolBytes.load(payload, at: 64))
    }
}
