import CXXHash
import FileIO
import SyncProtocol

/// Layout of `write2file<N>.sum`: what proves the content of `write2file<N>`.
///
/// ```text
/// 0     header   magic "PIKASUM1" | version u32 | N u32 | start offset u64 | XXH64 of the 24 before
/// 32    record   kind 1: start of the file's items and the running digest there
/// 64    126 slots for records of kind 2, 3 and 7, overwritten in turn by each sync
/// 4096  records appended: kinds 4 to 7
/// ```
/// A record:
/// ```text
/// 0   u8   kind: 1 start, 2 published end, 3 written end, 4 milestone, 5 end of a finished file,
///          6 block, 7 begun block
/// 1   3 zero bytes
/// 4   u32  block number (kind 6), else 0
/// 8   u64  offset of the end (kind 6: end of the block)
/// 16  u64  running digest there (kind 6: XXH64 of the block's 65,536 bytes; kind 7: XXH64 of the
///          bytes from the start of the block that holds the end to the end)
/// 24  u64  XXH64 of the 24 bytes before, seed N
/// ```
/// All little-endian. Slots are written in place, so that a sync of the sidecar costs no change of
/// its length; a torn slot spoils only itself. Milestones (every 64 KiB at least) make the digest
/// at any position cheap.
enum Sidecar {
    static let magic: [UInt8] = Array("PIKASUM1".utf8)
    static let version: UInt32 = 1
    static let recordSize = 32
    static let headSize = 4_096
    static let slotCount = (headSize - 2 * recordSize) / recordSize
    static let milestoneBytes: UInt64 = 65_536

    enum Kind: UInt8 {
        case start = 1
        case published = 2
        case written = 3
        case milestone = 4
        case fileEnd = 5
        case block = 6
        case begunBlock = 7
    }

    struct Entry: Equatable {
        var kind: Kind
        var block: UInt32 = 0
        var offset: UInt64
        var digest: UInt64
    }

    static func header(number: UInt32, startOffset: UInt64) -> [UInt8] {
        var bytes = magic
        append(UInt64(version) | UInt64(number) << 32, to: &bytes)
        append(startOffset, to: &bytes)
        append(XXH64(bytes, bytes.count, 0), to: &bytes)
        return bytes
    }

    static func encode(_ entry: Entry, number: UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(recordSize)
        append(UInt64(entry.kind.rawValue) | UInt64(entry.block) << 32, to: &bytes)
        append(entry.offset, to: &bytes)
        append(entry.digest, to: &bytes)
        append(XXH64(bytes, bytes.count, UInt64(number)), to: &bytes)
        return bytes
    }

    /// The first 4,096 bytes of a new sidecar.
    static func head(number: UInt32, startOffset: UInt64, digest: UInt64) -> [UInt8] {
        var bytes = header(number: number, startOffset: startOffset)
        bytes += encode(
            Entry(kind: .start, offset: startOffset, digest: digest), number: number)
        return bytes + [UInt8](repeating: 0, count: headSize - bytes.count)
    }

    static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    static func load(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
        bytes.withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
    }

    static func isZero(_ bytes: ArraySlice<UInt8>) -> Bool { bytes.allSatisfy { $0 == 0 } }
}

/// What a sidecar says.
struct SidecarContents: Equatable {
    var startOffset: UInt64
    var startDigest: UInt64

    /// Ends with their digests, ascending by offset; the start is not among them.
    var ends: [Sidecar.Entry] = []

    var blocks = BlockSums()

    /// Checksums of blocks that were begun, ascending by offset.
    var begunBlocks: [Sidecar.Entry] = []

    /// Records whose own checksum is wrong.
    var skippedRecords = 0

    /// The slot that the next sync may overwrite.
    var nextSlot = 0

    /// Where the next record is appended.
    var appendOffset = UInt64(Sidecar.headSize)

    /// Everything that the file claims to hold is at least this long.
    var lastEnd: Sidecar.Entry? { ends.last }

    /// The end of a finished file.
    var fileEnd: Sidecar.Entry? { ends.last { $0.kind == .fileEnd } }

    /// Reads a sidecar; nil if it is empty or was never written (all zero).
    ///
    /// Records that fail their checksum are counted and ignored: the rest proves what it proves.
    init?(_ bytes: [UInt8], number: UInt32, path: String) throws(BinlogError) {
        if Sidecar.isZero(bytes[...].prefix(2 * Sidecar.recordSize)) { return nil }
        func fail(_ damage: SidecarDamage) -> BinlogError { .sidecarDamaged(path: path, damage) }
        guard bytes.count >= 2 * Sidecar.recordSize else {
            throw fail(
                .truncated(expectedBytes: 2 * Sidecar.recordSize, actualBytes: bytes.count))
        }
        guard Array(bytes[..<8]) == Sidecar.magic else { throw fail(.wrongKind) }
        let expected = Sidecar.load(bytes, 24)
        let actual = XXH64(bytes, 24, 0)
        guard expected == actual else {
            throw fail(.headerChecksum(expected: expected, actual: actual))
        }
        let word = Sidecar.load(bytes, 8)
        let version = UInt32(truncatingIfNeeded: word)
        guard version == Sidecar.version else {
            throw fail(.unknownVersion(newestKnown: Sidecar.version, actual: version))
        }
        let found = UInt32(truncatingIfNeeded: word >> 32)
        guard found == number else {
            throw fail(.wrongFileNumber(expected: number, actual: found))
        }
        startOffset = Sidecar.load(bytes, 16)
        guard let start = Self.record(bytes, 32, number), start.kind == .start,
            start.offset == startOffset
        else { throw fail(.startRecord) }
        startDigest = start.digest
        readRecords(bytes, number)
    }

    private mutating func readRecords(_ bytes: [UInt8], _ number: UInt32) {
        var newest: (offset: UInt64, slot: Int)?
        var at = 2 * Sidecar.recordSize
        while at + Sidecar.recordSize <= bytes.count {
            let isSlot = at < Sidecar.headSize
            if let entry = Self.record(bytes, at, number),
                isSlot == entry.kind.isSlot || entry.kind == .begunBlock
            {
                switch entry.kind {
                case .block: blocks.set(entry.block, entry.digest)
                case .begunBlock: begunBlocks.append(entry)
                case .start, .published, .written, .milestone, .fileEnd: ends.append(entry)
                }
                let slot = (at - 2 * Sidecar.recordSize) / Sidecar.recordSize
                if isSlot, newest.map({ $0.offset <= entry.offset }) ?? true {
                    newest = (entry.offset, slot)
                }
            } else if !Sidecar.isZero(bytes[at..<(at + Sidecar.recordSize)]) {
                skippedRecords += 1
            }
            at += Sidecar.recordSize
        }
        if at < bytes.count { skippedRecords += 1 }
        begunBlocks.sort { $0.offset < $1.offset }
        ends.sort { ($0.offset, $0.kind.rawValue) < ($1.offset, $1.kind.rawValue) }
        nextSlot = newest.map { ($0.slot + 1) % Sidecar.slotCount } ?? 0
        appendOffset = UInt64(max(at, Sidecar.headSize))
    }

    /// True for bytes in which no record behind the head is whole: no sync of such a file was ever
    /// finished, since one leaves the end that it made durable.
    static func provesNothing(_ bytes: [UInt8], number: UInt32) -> Bool {
        var at = 2 * Sidecar.recordSize
        while at + Sidecar.recordSize <= bytes.count {
            if Self.record(bytes, at, number) != nil { return false }
            at += Sidecar.recordSize
        }
        return true
    }

    private static func record(
        _ bytes: [UInt8], _ at: Int, _ number: UInt32
    ) -> Sidecar.Entry? {
        let checksum = bytes.withUnsafeBytes { raw in
            XXH64(raw.baseAddress.map { $0 + at }, 24, UInt64(number))
        }
        guard checksum == Sidecar.load(bytes, at + 24) else { return nil }
        let word = Sidecar.load(bytes, at)
        guard let kind = Sidecar.Kind(rawValue: UInt8(truncatingIfNeeded: word)) else {
            return nil
        }
        return Sidecar.Entry(
            kind: kind, block: UInt32(truncatingIfNeeded: word >> 32),
            offset: Sidecar.load(bytes, at + 8), digest: Sidecar.load(bytes, at + 16))
    }

    /// The sidecar's bytes with nothing that lies behind `mark`; nil if nothing does.
    ///
    /// A dropped end proved everything before it, so the mark itself takes its place.
    func trimmed(to mark: BinlogMark, number: UInt32) -> [UInt8]? {
        let offset = mark.position.offset
        let blockSize = UInt64(Record.blockSize)
        let kept = ends.filter { $0.offset <= offset && $0.kind != .fileEnd }
        let keptBlocks = blocks.known().filter { (UInt64($0.block) + 1) * blockSize <= offset }
        let keptBegun = begunBlocks.filter { $0.offset <= offset }
        guard
            kept.count < ends.count || keptBlocks.count < blocks.known().count
                || keptBegun.count < begunBlocks.count
        else { return nil }
        var bytes = Sidecar.head(number: number, startOffset: startOffset, digest: startDigest)
        let slots =
            kept.filter { $0.kind.isSlot }.suffix(Sidecar.slotCount / 2)
            + keptBegun.suffix(Sidecar.slotCount / 2)
        for (index, entry) in slots.enumerated() {
            let at = (index + 2) * Sidecar.recordSize
            bytes.replaceSubrange(
                at..<(at + Sidecar.recordSize), with: Sidecar.encode(entry, number: number))
        }
        for entry in kept where !entry.kind.isSlot {
            bytes += Sidecar.encode(entry, number: number)
        }
        if kept.count < ends.count, offset > startOffset {
            bytes += Sidecar.encode(
                Sidecar.Entry(kind: .milestone, offset: offset, digest: mark.digest),
                number: number)
        }
        for (block, sum) in keptBlocks {
            bytes += Sidecar.encode(
                Sidecar.Entry(
                    kind: .block, block: block, offset: UInt64(block + 1) * blockSize,
                    digest: sum),
                number: number)
        }
        return bytes
    }

    /// The last entry at or before an offset; the start if there is none.
    func nearest(atOrBefore offset: UInt64) -> (offset: UInt64, digest: UInt64) {
        guard let entry = ends.last(where: { $0.offset <= offset }) else {
            return (startOffset, startDigest)
        }
        return (entry.offset, entry.digest)
    }
}

extension Sidecar.Kind {
    var isSlot: Bool { self == .published || self == .written }
}

/// Checksums of a file's finished blocks.
struct BlockSums: Equatable {
    private var sums: [UInt64] = []
    private var isKnown: [Bool] = []

    /// The number of leading blocks from `first` on that are known without a gap.
    func contiguousCount(from first: Int) -> Int {
        var index = first
        while index < isKnown.count, isKnown[index] { index += 1 }
        return index - first
    }

    func sum(ofBlock block: UInt64) -> UInt64? {
        guard block < UInt64(isKnown.count), isKnown[Int(block)] else { return nil }
        return sums[Int(block)]
    }

    mutating func set(_ block: UInt32, _ sum: UInt64) {
        // A file stays below 2 GiB; a larger number is no block of ours.
        guard block < 1 << 15 else { return }
        while sums.count <= Int(block) {
            sums.append(0)
            isKnown.append(false)
        }
        sums[Int(block)] = sum
        isKnown[Int(block)] = true
    }

    func known() -> [(block: UInt32, sum: UInt64)] {
        isKnown.indices.filter { isKnown[$0] }.map { (UInt32($0), sums[$0]) }
    }

    static func digest(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        XXH64(bytes.baseAddress, bytes.count, 0)
    }
}
