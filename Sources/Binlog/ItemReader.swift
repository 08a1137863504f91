import FileIO

/// Walks the items of one log file in large reads; items are shown in place where they are whole.
///
/// Not thread-safe. What is shown stays valid until the next call.
final class ItemReader {
    enum Outcome {
        /// Header and content, and where the item ends.
        case item(UnsafeRawBufferPointer, end: UInt64)

        /// The limit is reached exactly at an item's end (or the start).
        case end

        /// A zero record header: preallocated space, or a hole.
        case zeros

        /// The limit lies inside an item.
        case torn
    }

    let file: any File
    /// Where the next item begins (before any filling): the end of the item shown last.
    private(set) var offset: UInt64

    /// Where the zero header was after ``Outcome/zeros``.
    private(set) var zerosOffset: UInt64 = 0

    /// Checksums of whole blocks, compared when a block is read whole; nil where unknown.
    var blockSums: BlockSums?

    private var buffer: UnsafeMutableRawBufferPointer
    private var bufferStart: UInt64 = 0
    private var bufferCount = 0
    private var scratch: UnsafeMutableRawPointer?
    private var scratchCapacity = 0
    private var scratchCount = 0

    /// - Parameter bufferBytes: At least two blocks, so that a whole record always fits.
    init(file: any File, offset: UInt64, bufferBytes: Int = 4 * Record.blockSize) {
        precondition(bufferBytes >= 2 * Record.blockSize, "reader buffer below two blocks")
        self.file = file
        self.offset = offset
        buffer = .allocate(byteCount: bufferBytes, alignment: 16)
    }

    deinit {
        buffer.deallocate()
        scratch?.deallocate()
    }

    /// Goes to another item end and forgets what was read.
    func move(to newOffset: UInt64) {
        offset = newOffset
        bufferCount = 0
    }

    /// Goes back to where an item began, which was just shown.
    func rewind(to itemStart: UInt64) { offset = itemStart }

    /// Shows the next item that ends at or before `limit`; bytes behind it are not read.
    func next(limit: UInt64) throws(BinlogError) -> Outcome {
        var at = offset
        var isInside = false
        var mayContinue = false
        scratchCount = 0
        while true {
            if at >= limit { return at == offset ? .end : .torn }
            let room = Record.roomInBlock(at)
            if room <= Record.headerSize {
                // Less than a header is filling; exactly a header may be a First of length 0,
                // after which the item goes on with a Middle or Last.
                mayContinue = room == Record.headerSize && !isInside
                at += UInt64(room)
                continue
            }
            guard at + 8 <= limit else { return .torn }
            try ensure(at, Record.headerSize, limit)
            let header = Record.loadHeader(pointer(at))
            if header.type == 0 || header.dataBytes == 0 {
                zerosOffset = at
                return .zeros
            }
            guard header.dataBytes <= room - Record.headerSize else {
                throw damage(
                    at,
                    .recordTooLong(
                        bytes: header.dataBytes, roomInBlock: room - Record.headerSize))
            }
            guard let kind = Record.Kind(rawValue: header.type) else {
                throw damage(at, .unexpectedRecordType(header.type))
            }
            let next = at + UInt64(Record.headerSize + header.dataBytes)
            guard next <= limit else { return .torn }
            if kind == .padding {
                guard !isInside else { throw damage(at, .unexpectedRecordType(header.type)) }
                at = next
                offset = next
                continue
            }
            try ensure(at, Record.headerSize + header.dataBytes, limit)
            let data = UnsafeRawBufferPointer(
                start: pointer(at) + Record.headerSize, count: header.dataBytes)
            if kind == .full {
                guard !isInside else { throw damage(at, .unexpectedRecordType(header.type)) }
                offset = next
                return .item(data, end: next)
            }
            let begins = kind == .first
            guard begins ? !isInside : (isInside || mayContinue) else {
                throw damage(at, .unexpectedRecordType(header.type))
            }
            try gather(data, at)
            isInside = true
            mayContinue = false
            at = next
            if kind == .last {
                offset = next
                return .item(
                    UnsafeRawBufferPointer(start: scratch, count: scratchCount), end: next)
            }
        }
    }

    /// The first item's start, found by passing the padding at the start of a file.
    ///
    /// MUST be called with the reader at 0.
    func skipPadding(limit: UInt64) throws(BinlogError) -> UInt64 {
        while offset + 8 <= limit {
            let room = Record.roomInBlock(offset)
            guard room > Record.headerSize else { break }
            try ensure(offset, Record.headerSize, limit)
            let header = Record.loadHeader(pointer(offset))
            guard header.type == Record.Kind.padding.rawValue,
                header.dataBytes <= room - Record.headerSize,
                offset + UInt64(Record.headerSize + header.dataBytes) <= limit
            else { break }
            offset += UInt64(Record.headerSize + header.dataBytes)
        }
        return offset
    }

    /// Walks records from the reader's offset, a block's start, and says whether an item (or the
    /// padding) ends exactly at `target`.
    func walk(to target: UInt64, limit: UInt64) throws(BinlogError) -> Bool {
        var at = offset
        var isInside = false
        while at < target || isInside {
            let room = Record.roomInBlock(at)
            if room <= Record.headerSize {
                at += UInt64(room)
                if at >= target, !isInside { return false }
                continue
            }
            guard at + 8 <= limit else { return false }
            try ensure(at, Record.headerSize, limit)
            let header = Record.loadHeader(pointer(at))
            guard header.dataBytes > 0, header.dataBytes <= room - Record.headerSize else {
                throw damage(
                    at,
                    .recordTooLong(
                        bytes: header.dataBytes, roomInBlock: room - Record.headerSize))
            }
            guard let kind = Record.Kind(rawValue: header.type), kind != .zero else {
                throw damage(at, .unexpectedRecordType(header.type))
            }
            isInside = kind == .first || kind == .middle
            at += UInt64(Record.headerSize + header.dataBytes)
            if at > limit { return false }
        }
        return at == target
    }

    /// Whether all bytes in a range are zero.
    func isZero(from start: UInt64, to end: UInt64) throws(BinlogError) -> Bool {
        var at = start
        while at < end {
            try fill(from: at, limit: end)
            guard bufferCount > 0 else { return true }
            let isClean = UnsafeRawBufferPointer(buffer)[..<bufferCount].allSatisfy { $0 == 0 }
            if !isClean { return false }
            at += UInt64(bufferCount)
        }
        return true
    }

    func damage(_ offset: UInt64, _ kind: BinlogDamage) -> BinlogError {
        .damaged(path: file.path, offset: offset, kind)
    }

    @inline(__always)
    private func pointer(_ at: UInt64) -> UnsafeRawPointer {
        // `ensure` established that the buffer is allocated and holds `at`.
        UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped) + Int(at - bufferStart)
    }

    @inline(__always)
    private func ensure(_ at: UInt64, _ count: Int, _ limit: UInt64) throws(BinlogError) {
        if at >= bufferStart && at + UInt64(count) <= bufferStart + UInt64(bufferCount) { return }
        try refill(at, count, limit)
    }

    @inline(never)
    private func refill(_ at: UInt64, _ count: Int, _ limit: UInt64) throws(BinlogError) {
        let block = at / UInt64(Record.blockSize)
        if let blockSums, blockSums.sum(ofBlock: block) != nil {
            let start = block * UInt64(Record.blockSize)
            let whole = limit - limit % UInt64(Record.blockSize)
            if whole > start {
                try fill(from: start, limit: whole)
                try verifyBlocks(blockSums, first: block)
            }
            if at + UInt64(count) <= bufferStart + UInt64(bufferCount), at >= bufferStart { return }
        }
        try fill(from: at, limit: limit)
        guard bufferCount >= count else {
            throw damage(
                at,
                .truncated(
                    expectedBytes: at + UInt64(count), actualBytes: at + UInt64(bufferCount)))
        }
    }

    private func fill(from start: UInt64, limit: UInt64) throws(BinlogError) {
        let count = Int(min(UInt64(buffer.count), limit - start))
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        bufferCount = 0
        bufferCount = try io { () throws(FileError) in try file.read(into: target, at: start) }
        bufferStart = start
    }

    private func verifyBlocks(_ sums: BlockSums, first: UInt64) throws(BinlogError) {
        for index in 0..<(bufferCount / Record.blockSize) {
            let block = first + UInt64(index)
            guard let expected = sums.sum(ofBlock: block) else { continue }
            let start = index * Record.blockSize
            let bytes = UnsafeRawBufferPointer(
                rebasing: UnsafeRawBufferPointer(buffer)[start..<(start + Record.blockSize)])
            let actual = BlockSums.digest(bytes)
            guard actual == expected else {
                bufferCount = 0
                throw damage(
                    block * UInt64(Record.blockSize),
                    .blockChecksum(block: UInt32(block), expected: expected, actual: actual))
            }
        }
    }

    private func gather(_ data: UnsafeRawBufferPointer, _ at: UInt64) throws(BinlogError) {
        let needed = scratchCount + data.count
        guard needed <= BinlogLimits.maxItemBytes else {
            throw damage(at, .itemTooLong(bytes: needed, limit: BinlogLimits.maxItemBytes))
        }
        if needed > scratchCapacity {
            let capacity = max(needed, scratchCapacity * 2, 2 * Record.blockSize)
            let new = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
            if let scratch {
                new.copyMemory(from: scratch, byteCount: scratchCount)
                scratch.deallocate()
            }
            scratch = new
            scratchCapacity = capacity
        }
        if let scratch, let source = data.baseAddress {
            (scratch + scratchCount).copyMemory(from: source, byteCount: data.count)
        }
        scratchCount = needed
    }
}
