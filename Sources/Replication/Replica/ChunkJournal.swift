internal import CXXHash
internal import FileIO
internal import SyncProtocol

/// What was written of a copy, chunk by chunk, with digests: `<staging>/<db>.chunks`.
///
/// It lets a copy go on at the very chunk after a kill, ahead of the last resume point, and tells
/// which chunk of a file is damaged. It is never synced and never trusted: a chunk counts only if
/// the bytes on the disk have the digest.
///
/// ```text
/// 0   8 bytes  "PKSWCHNK"
/// 8   u32 LE   version, 1
/// 12  u32 LE   length of the snapshot's id
/// 16  64 bytes snapshot's id, padded with zeros
/// 80  records of 40 bytes:
///     u64 XXH64 of the file's name | u64 offset | u64 count | u64 XXH64 of the bytes
///     u64 XXH64 of the 32 bytes before
/// ```
/// All little-endian. The first record that does not fit its own digest ends the journal.
struct ChunkJournal {
    /// A written chunk.
    struct Chunk: Hashable, Sendable {
        var offset: UInt64
        var count: UInt64
        var digest: UInt64
    }

    static let headerBytes = 80
    static let recordBytes = 40
    /// Records of 80 GB at 256 KiB; what does not fit is copied again after a kill.
    static let maxBytes = 16 << 20

    private let file: any File
    private var end: UInt64

    static func nameHash(_ name: String) -> UInt64 {
        let bytes = Array(name.utf8)
        return XXH64(bytes, bytes.count, 0)
    }

    /// Starts an empty journal, in place of an older one.
    init(
        create path: String, snapshotID: SnapshotID, fileSystem: any FileSystem
    ) throws(FileError) {
        self.file = try fileSystem.open(path, .createEmpty)
        let name = Array(snapshotID.description.utf8)
        var header = Array("PKSWCHNK".utf8)
        Self.append(1, width: 4, to: &header)
        Self.append(UInt64(name.count), width: 4, to: &header)
        header += name
        header += [UInt8](repeating: 0, count: Self.headerBytes - header.count)
        try self.file.write(header, at: 0)
        self.end = UInt64(Self.headerBytes)
    }

    private init(file: any File, end: UInt64) {
        self.file = file
        self.end = end
    }

    /// Reads the journal of a snapshot and goes on behind it; nil if there is none of this snapshot.
    static func reopen(
        _ path: String, snapshotID: SnapshotID, fileSystem: any FileSystem
    ) throws(FileError) -> (journal: ChunkJournal, chunks: [UInt64: [Chunk]])? {
        guard
            let bytes = try fileSystem.readFile(
                path, limitBytes: Self.maxBytes + Self.headerBytes + Self.recordBytes),
            bytes.count >= Self.headerBytes
        else { return nil }
        var expected = Array("PKSWCHNK".utf8)
        let name = Array(snapshotID.description.utf8)
        Self.append(1, width: 4, to: &expected)
        Self.append(UInt64(name.count), width: 4, to: &expected)
        expected += name
        guard Array(bytes[..<expected.count]) == expected else { return nil }
        var chunks: [UInt64: [Chunk]] = [:]
        var offset = Self.headerBytes
        while offset + Self.recordBytes <= bytes.count {
            let record = Array(bytes[offset..<offset + Self.recordBytes])
            guard XXH64(record, 32, 0) == Self.load(record, at: 32) else { break }
            let chunk = Chunk(
                offset: Self.load(record, at: 8), count: Self.load(record, at: 16),
                digest: Self.load(record, at: 24))
            guard chunk.count <= UInt64(WireLimits.maxFileChunkBytes), chunk.offset < 1 << 62
            else { break }
            chunks[Self.load(record, at: 0), default: []].append(chunk)
            offset += Self.recordBytes
        }
        let file = try fileSystem.open(path, .readWrite)
        try file.truncate(to: UInt64(offset))
        return (ChunkJournal(file: file, end: UInt64(offset)), chunks)
    }

    /// Notes a written chunk.
    mutating func append(nameHash: UInt64, _ chunk: Chunk) throws(FileError) {
        guard self.end < UInt64(Self.maxBytes) else { return }
        var record: [UInt8] = []
        record.reserveCapacity(Self.recordBytes)
        Self.append(nameHash, width: 8, to: &record)
        Self.append(chunk.offset, width: 8, to: &record)
        Self.append(chunk.count, width: 8, to: &record)
        Self.append(chunk.digest, width: 8, to: &record)
        Self.append(XXH64(record, 32, 0), width: 8, to: &record)
        try self.file.write(record, at: self.end)
        self.end += UInt64(Self.recordBytes)
    }

    private static func append(_ value: UInt64, width: Int, to bytes: inout [UInt8]) {
        for index in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    private static func load(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }
}
