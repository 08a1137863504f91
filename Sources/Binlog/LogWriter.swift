import FileIO
import SyncProtocol

/// Frames items into records and writes them: the append side, used under the commit lock only.
///
/// Between ``begin()`` and ``finish()`` the file may hold bytes of the group; ``rollBack()`` takes
/// them away.
final class LogWriter {
    /// EOVERFLOW: there is no file number behind this one.
    private static let overflowCode: Int32 = 75

    /// Framed bytes that are kept before they are written; a usual group is far below.
    private static let flushBytes = 1 << 20

    let directory: LogDirectory
    var fileSizeLimitBytes: UInt64

    /// The file being written.
    private(set) var file: LogFile

    /// End and digest with the items framed so far.
    private(set) var offset: UInt64
    private(set) var digest: UInt64
    private(set) var logicIndex: UInt64

    /// Files that the open group finished, with the mark of their end.
    private(set) var finished: [(file: LogFile, end: BinlogMark)] = []

    private var committed: (file: LogFile, offset: UInt64, digest: UInt64, logicIndex: UInt64)
    private var created: [UInt32] = []

    private var buffer: UnsafeMutableRawPointer
    private var capacity: Int
    private var used = 0
    private var bufferStart: UInt64

    init(
        directory: LogDirectory, fileSizeLimitBytes: UInt64, file: LogFile, end: BinlogMark,
        logicIndex: UInt64
    ) {
        self.directory = directory
        self.fileSizeLimitBytes = fileSizeLimitBytes
        self.file = file
        offset = end.position.offset
        digest = end.digest
        self.logicIndex = logicIndex
        committed = (file, end.position.offset, end.digest, logicIndex)
        bufferStart = end.position.offset
        capacity = 64 << 10
        buffer = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit {
        buffer.deallocate()
    }

    var end: BinlogMark {
        BinlogMark(
            position: BinlogPosition(fileNumber: file.number, offset: offset), digest: digest)
    }

    /// Whether a real Pika would roll before the next put.
    @inline(__always)
    var isFileFull: Bool { offset > fileSizeLimitBytes }

    /// Frames one item of our own at the end.
    @inline(__always)
    func put(content: UnsafeRawBufferPointer, execTimeSeconds: UInt32, itemsLeft: UInt32)
        throws(FileError)
    {
        // The header names the end before the put: the old file if the put rolls.
        let header = BinlogItemHeader(
            execTimeSeconds: execTimeSeconds, itemsLeftInGroup: itemsLeft,
            logicIndex: logicIndex + 1, fileNumber: file.number, offset: offset,
            contentLength: UInt32(content.count))
        if isFileFull { try roll() }
        let total = BinlogItemHeader.encodedSize + content.count
        if total + Record.headerSize <= Record.roomInBlock(offset) {
            reserve(total + Record.headerSize)
            let target = buffer + used
            Record.storeHeader(
                to: target, dataBytes: total, timeSeconds: execTimeSeconds, kind: .full)
            header.encode(to: target + Record.headerSize)
            if let source = content.baseAddress {
                (target + Record.headerSize + BinlogItemHeader.encodedSize)
                    .copyMemory(from: source, byteCount: content.count)
            }
            used += total + Record.headerSize
            offset += UInt64(total + Record.headerSize)
        } else {
            try putSplit(header, content)
        }
        logicIndex += 1
        digest = RunningDigest.after(
            digest, content: content,
            end: BinlogPosition(fileNumber: file.number, offset: offset))
        if used >= Self.flushBytes { try flush() }
    }

    /// Frames an item of a master, header and all, at the end of the current file.
    func put(received item: UnsafeRawBufferPointer, header: BinlogItemHeader) throws(FileError) {
        let content = UnsafeRawBufferPointer(rebasing: item[BinlogItemHeader.encodedSize...])
        if item.count + Record.headerSize <= Record.roomInBlock(offset) {
            reserve(item.count + Record.headerSize)
            let target = buffer + used
            Record.storeHeader(
                to: target, dataBytes: item.count, timeSeconds: header.execTimeSeconds,
                kind: .full)
            if let source = item.baseAddress {
                (target + Record.headerSize).copyMemory(from: source, byteCount: item.count)
            }
            used += item.count + Record.headerSize
            offset += UInt64(item.count + Record.headerSize)
        } else {
            try putSplit(header, content)
        }
        logicIndex = header.logicIndex
        digest = RunningDigest.after(
            digest, content: content,
            end: BinlogPosition(fileNumber: file.number, offset: offset))
        if used >= Self.flushBytes { try flush() }
    }

    /// Writes an item that does not fit into the rest of the block. (spec: binlog-format 2.2)
    @inline(never)
    private func putSplit(
        _ header: BinlogItemHeader, _ content: UnsafeRawBufferPointer
    ) throws(FileError) {
        let total = BinlogItemHeader.encodedSize + content.count
        var done = 0
        while done < total {
            let room = Record.roomInBlock(offset)
            reserve(Record.blockSize + Record.headerSize)
            guard room >= Record.headerSize else {
                (buffer + used).initializeMemory(as: UInt8.self, repeating: 0, count: room)
                advance(room)
                continue
            }
            let count = min(total - done, room - Record.headerSize)
            let isLast = done + count == total
            let kind: Record.Kind =
                done == 0 && !hasBegun ? (isLast ? .full : .first) : (isLast ? .last : .middle)
            hasBegun = true
            Record.storeHeader(
                to: buffer + used, dataBytes: count, timeSeconds: header.execTimeSeconds,
                kind: kind)
            copy(header, content, from: done, count: count, to: buffer + used + Record.headerSize)
            advance(Record.headerSize + count)
            done += count
            if used >= Self.flushBytes { try flush() }
        }
        hasBegun = false
    }

    /// Whether the item being split has its First record already (it may have had no data).
    private var hasBegun = false

    private func copy(
        _ header: BinlogItemHeader, _ content: UnsafeRawBufferPointer, from start: Int,
        count: Int, to target: UnsafeMutableRawPointer
    ) {
        let headerSize = BinlogItemHeader.encodedSize
        var written = 0
        if start < headerSize {
            withUnsafeTemporaryAllocation(byteCount: headerSize, alignment: 8) { scratch in
                guard let base = scratch.baseAddress else { return }
                header.encode(to: base)
                written = min(count, headerSize - start)
                target.copyMemory(from: base + start, byteCount: written)
            }
        }
        guard count > written, let source = content.baseAddress else { return }
        (target + written).copyMemory(
            from: source + (start + written - headerSize), byteCount: count - written)
    }

    @inline(__always)
    private func advance(_ count: Int) {
        used += count
        offset += UInt64(count)
    }

    @inline(__always)
    private func reserve(_ count: Int) {
        if used + count > capacity { grow(used + count) }
    }

    @inline(never)
    private func grow(_ needed: Int) {
        let newCapacity = max(needed, capacity * 2)
        let new = UnsafeMutableRawPointer.allocate(byteCount: newCapacity, alignment: 16)
        new.copyMemory(from: buffer, byteCount: used)
        buffer.deallocate()
        buffer = new
        capacity = newCapacity
    }

    /// Writes what is framed, in one call.
    func flush() throws(FileError) {
        guard used > 0 else { return }
        try file.data.write(UnsafeRawBufferPointer(start: buffer, count: used), at: bufferStart)
        bufferStart += UInt64(used)
        used = 0
    }

    /// Finishes the file and begins the next one.
    func roll() throws(FileError) {
        try flush()
        let (number, isExhausted) = file.number.addingReportingOverflow(1)
        guard !isExhausted else {
            throw FileError(.create, directory.data(file.number), code: Self.overflowCode)
        }
        finished.append((file, end))
        created.append(number)
        let start = BinlogMark(
            position: BinlogPosition(fileNumber: number, offset: 0), digest: digest)
        // A stale sidecar of that number must not outlive the file that it belonged to.
        file = try LogFile.create(number: number, start: start, directory: directory)
        offset = 0
        bufferStart = 0
    }

    /// Keeps what was put since the last commit.
    func commit() {
        committed = (file, offset, digest, logicIndex)
        finished.removeAll(keepingCapacity: true)
        created.removeAll(keepingCapacity: true)
        if capacity > 4 << 20, used == 0 {
            buffer.deallocate()
            capacity = 64 << 10
            buffer = .allocate(byteCount: capacity, alignment: 16)
        }
    }

    /// Takes away what was put since the last commit, durably.
    func rollBack() throws(FileError) {
        hasBegun = false
        used = 0
        file = committed.file
        offset = committed.offset
        bufferStart = committed.offset
        digest = committed.digest
        logicIndex = committed.logicIndex
        finished.removeAll()
        defer { created.removeAll() }
        for number in created.reversed() { try directory.remove(number) }
        try file.data.truncate(to: offset)
        try file.data.synchronize()
        if !created.isEmpty { try directory.fileSystem.syncDirectory(directory.path) }
    }

    /// Continues at another place: after a cut or a reset.
    func move(to mark: BinlogMark, file: LogFile, logicIndex: UInt64) {
        self.file = file
        offset = mark.position.offset
        digest = mark.digest
        self.logicIndex = logicIndex
        used = 0
        bufferStart = offset
        commit()
    }
}
