import FileIO
import SyncProtocol

/// Walks items forward from a proven position and compares the digest with what sidecars claim.
struct LogScan {
    /// Why a scan stopped.
    enum Stop: Equatable {
        /// All data were read and were whole.
        case end
        /// A torn last item, or nothing but zeros behind this offset.
        case tail
        /// Something that no stop of a process explains.
        case damage(BinlogError)
    }

    /// The last item end, its digest included.
    private(set) var mark: BinlogMark

    /// The last position that a claim confirmed; the scan begins at one.
    private(set) var verified: BinlogMark

    /// The first claim that did not hold.
    private(set) var broken: BinlogError?

    /// Where the group begins that is unfinished at `mark`.
    private(set) var groupStart: BinlogMark?

    /// Whether the unfinished group's first item is the first item of the scan.
    private(set) var groupStartsAtScanStart = false

    /// The header's logic id of the last item.
    private(set) var logicIndex: UInt64?

    /// Items read.
    private(set) var itemCount = 0

    private var tracker = GroupTracker()
    private let start: BinlogMark
    private var verifiedGroup: (start: BinlogMark?, isAtScanStart: Bool) = (nil, false)

    init(from mark: BinlogMark) {
        self.mark = mark
        verified = mark
        start = mark
    }

    /// Reads a file's items up to `limit` from the scan's place in it.
    mutating func read(
        _ file: any File, limit: UInt64, sidecar: SidecarContents?
    ) throws(BinlogError) -> Stop {
        let reader = ItemReader(file: file, offset: mark.position.offset)
        reader.blockSums = sidecar?.blocks
        let claims = sidecar?.ends ?? []
        var pending = claims.filter { $0.offset > mark.position.offset }[...]
        var begun = (sidecar?.begunBlocks ?? []).filter { begun in
            !claims.contains { $0.offset == begun.offset }
        }[...]
        while true {
            let before = mark
            let outcome: ItemReader.Outcome
            do throws(BinlogError) {
                outcome = try reader.next(limit: limit)
            } catch {
                guard case .damaged = error else { throw error }
                return .damage(error)
            }
            switch outcome {
            case .item(let bytes, let end):
                do throws(BinlogItemError) {
                    let header = try BinlogItemHeader(item: bytes)
                    take(header, bytes, end, before)
                } catch {
                    return .damage(
                        .damaged(
                            path: file.path, offset: before.position.offset, .item(error)))
                }
                check(&pending)
                try checkBegun(&begun, file)
            case .end:
                return .end
            case .torn:
                return .tail
            case .zeros:
                let isClean = try reader.isZero(from: reader.zerosOffset, to: limit)
                guard isClean else {
                    return .damage(
                        .damaged(path: file.path, offset: before.position.offset, .zeros))
                }
                return .tail
            }
        }
    }

    /// Compares the bytes of the block that a file's last synced end is in.
    func checkBegunBlock(
        _ file: any File, _ sidecar: SidecarContents
    ) throws(BinlogError) {
        let end = mark.position.offset
        guard let entry = sidecar.begunBlocks.last(where: { $0.offset <= end }) else { return }
        let actual = try Self.digestOfBegunBlock(file, end: entry.offset)
        guard actual == entry.digest else {
            let block = entry.offset / UInt64(Record.blockSize)
            throw .damaged(
                path: file.path, offset: block * UInt64(Record.blockSize),
                .blockChecksum(block: UInt32(block), expected: entry.digest, actual: actual))
        }
    }

    private static func digestOfBegunBlock(
        _ file: any File, end: UInt64
    ) throws(BinlogError) -> UInt64 {
        let count = Int(end % UInt64(Record.blockSize))
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Record.blockSize, alignment: 16)
        defer { buffer.deallocate() }
        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        let got = try io { () throws(FileError) in
            try file.read(into: bytes, at: end - UInt64(count))
        }
        return BlockSums.digest(UnsafeRawBufferPointer(rebasing: bytes[..<got]))
    }

    /// Takes a begun block whose end has no readable entry as a proof of that end.
    ///
    /// Both were written after the data were durable, so one spoilt record costs nothing.
    private mutating func checkBegun(
        _ entries: inout ArraySlice<Sidecar.Entry>, _ file: any File
    ) throws(BinlogError) {
        while let entry = entries.first, entry.offset <= mark.position.offset {
            entries.removeFirst()
            guard entry.offset == mark.position.offset, broken == nil else { continue }
            if try Self.digestOfBegunBlock(file, end: entry.offset) == entry.digest {
                noteVerified()
            }
        }
    }

    /// Goes on in the next file, whose sidecar claims a start.
    mutating func enter(fileNumber: UInt32, startOffset: UInt64, claimedDigest: UInt64?) {
        mark.position = BinlogPosition(fileNumber: fileNumber, offset: startOffset)
        if claimedDigest == mark.digest { noteVerified() }
    }

    private mutating func noteVerified() {
        verified = mark
        verifiedGroup = (groupStart, groupStartsAtScanStart)
    }

    /// Goes back to the last confirmed position: what follows is not believed.
    mutating func forgetUnverified() {
        mark = verified
        (groupStart, groupStartsAtScanStart) = verifiedGroup
    }

    /// Goes back to the start of the unfinished group.
    mutating func cutToGroupStart() {
        guard let groupStart else { return }
        mark = groupStart
        self.groupStart = nil
    }

    private mutating func take(
        _ header: BinlogItemHeader, _ bytes: UnsafeRawBufferPointer, _ end: UInt64,
        _ before: BinlogMark
    ) {
        itemCount += 1
        mark.position.offset = end
        mark.digest = RunningDigest.after(
            before.digest,
            content: UnsafeRawBufferPointer(rebasing: bytes[BinlogItemHeader.encodedSize...]),
            end: mark.position)
        logicIndex = header.logicIndex
        switch tracker.take(itemsLeftInGroup: header.itemsLeftInGroup) {
        case .complete:
            groupStart = nil
            groupStartsAtScanStart = false
        case .begins:
            groupStart = before
            groupStartsAtScanStart = before == start
        case .continues:
            break
        }
    }

    private mutating func check(_ claims: inout ArraySlice<Sidecar.Entry>) {
        while let claim = claims.first, claim.offset <= mark.position.offset {
            claims.removeFirst()
            let isTrue =
                claim.offset == mark.position.offset && claim.digest == mark.digest
            if isTrue, broken == nil {
                noteVerified()
            } else if !isTrue, broken == nil {
                broken = .digestMismatch(
                    position: BinlogPosition(
                        fileNumber: mark.position.fileNumber, offset: claim.offset),
                    expected: claim.digest, actual: mark.digest)
            }
        }
    }
}
