import FileIO
public import SyncProtocol
import Synchronization

extension BinlogLog {
    /// Whether a reader can start at `position`. (spec: binlog-format 2.4)
    ///
    /// Reads a block or two. Stricter than a real Pika: the start of a block is an item end only
    /// if an item ends there.
    public func verdict(at position: BinlogPosition) throws(BinlogError) -> PositionVerdict {
        let (entry, end) = state.withLock { ($0.entry(position.fileNumber), $0.end.position) }
        if position > end { return .larger }
        guard let entry, position.offset >= entry.startOffset else { return .purged }
        let limit = entry.endOffset ?? end.offset
        if position.offset == entry.startOffset || position.offset == limit { return .ok }
        guard position.offset < limit else { return .notABoundary }
        guard let file = try openForReading(entry.number) else { return .purged }
        // Begin at the block that holds the byte before the position.
        let block = (position.offset - 1) / UInt64(Record.blockSize)
        let start = max(block * UInt64(Record.blockSize), entry.startOffset)
        let reader = ItemReader(file: file, offset: start, bufferBytes: 2 * Record.blockSize)
        let isEnd = try reader.walk(to: position.offset, limit: limit)
        return isEnd ? .ok : .notABoundary
    }

    /// The file for reading; nil if a purge was faster.
    func openForReading(_ number: UInt32) throws(BinlogError) -> (any File)? {
        do throws(FileError) {
            return try directory.fileSystem.open(directory.data(number), .readOnly)
        } catch {
            if error.isNotFound { return nil }
            throw .file(error)
        }
    }

    /// The mark of an item end: its digest is computed from the nearest sidecar entry before it.
    ///
    /// Reads up to some hundred KiB, or the whole file if it has no sidecar; not for a loop.
    ///
    /// - Throws: ``BinlogError/position(_:_:)`` if it is not an item end of this log.
    public func mark(at position: BinlogPosition) throws(BinlogError) -> BinlogMark {
        let (entry, end) = state.withLock { ($0.entry(position.fileNumber), $0.end) }
        if position == end.position { return end }
        if position > end.position { throw .position(position, .larger) }
        guard let entry, position.offset >= entry.startOffset,
            let file = try openForReading(entry.number)
        else { throw .position(position, .purged) }
        var scan = LogScan(from: try nearestMark(entry, atOrBefore: position.offset))
        let limit = min(position.offset, entry.endOffset ?? end.position.offset)
        let stop = try scan.read(file, limit: limit, sidecar: nil)
        if case .damage(let error) = stop { throw error }
        guard scan.mark.position == position else { throw .position(position, .notABoundary) }
        return scan.mark
    }

    private func nearestMark(
        _ entry: LogState.Entry, atOrBefore offset: UInt64
    ) throws(BinlogError) -> BinlogMark {
        let sidecar = try SidecarFile.read(
            path: directory.sidecar(entry.number), number: entry.number,
            fileSystem: directory.fileSystem)
        if let nearest = sidecar?.nearest(atOrBefore: offset) {
            return BinlogMark(
                position: BinlogPosition(fileNumber: entry.number, offset: nearest.offset),
                digest: nearest.digest)
        }
        var digest: UInt64 = 0
        if entry.number > 0, state.withLock({ $0.entry(entry.number - 1) }) != nil {
            let before = try SidecarFile.read(
                path: directory.sidecar(entry.number - 1), number: entry.number - 1,
                fileSystem: directory.fileSystem)
            digest = before?.fileEnd?.digest ?? 0
        }
        return BinlogMark(
            position: BinlogPosition(fileNumber: entry.number, offset: entry.startOffset),
            digest: digest)
    }

    /// A cursor that delivers the items behind `position`.
    ///
    /// - Throws: ``BinlogError/position(_:_:)`` if it is not an item end of this log.
    public func makeCursor(at position: BinlogPosition) throws(BinlogError) -> BinlogCursor {
        let verdict = try verdict(at: position)
        guard verdict == .ok else { throw .position(position, verdict) }
        return BinlogCursor(log: self, position: position)
    }

    /// The files in ascending order, the current one last.
    public func files() -> [BinlogFileInfo] {
        let entries = state.withLock { $0.entries }
        return entries.map { entry in
            let status = try? directory.fileSystem.status(directory.data(entry.number))
            return BinlogFileInfo(
                number: entry.number, startOffset: entry.startOffset, endOffset: entry.endOffset,
                modifiedSeconds: status?.modifiedSeconds ?? .max)
        }
    }

    /// Bytes of items between two positions of this log, record headers included.
    public func distanceBytes(from: BinlogPosition, to: BinlogPosition) -> UInt64 {
        guard from < to else { return 0 }
        return state.withLock { state in
            let endOfLog = state.end.position
            return state.entries.reduce(0) { sum, entry in
                let end = entry.endOffset ?? endOfLog.offset
                guard entry.number >= from.fileNumber, entry.number <= to.fileNumber else {
                    return sum
                }
                let low = entry.number == from.fileNumber ? from.offset : entry.startOffset
                let high = entry.number == to.fileNumber ? to.offset : end
                return sum + (high > low ? high - low : 0)
            }
        }
    }

    /// The last position at which a file ended without having reached `binlog-file-size`; nil if
    /// none did.
    ///
    /// A real Pika rolls by size itself and can't cross such an end: its TrySync at or before it
    /// is answered with BePurged.
    public func lastEarlyEnd() -> BinlogPosition? {
        let limit = configuration.fileSizeLimitBytes
        return state.withLock { state in
            for entry in state.entries.reversed() {
                guard let end = entry.endOffset, end <= limit else { continue }
                return BinlogPosition(fileNumber: entry.number, offset: end)
            }
            return nil
        }
    }

    /// Removes files (and their sidecars) that a ``PurgePlan`` named, and stale ones.
    ///
    /// Only files from the oldest on go: a number whose predecessor stays is left alone, and so is
    /// the current file, whatever the list says.
    ///
    /// - Returns: the numbers that were removed.
    @discardableResult
    public func purge(_ fileNumbers: [UInt32]) throws(BinlogError) -> [UInt32] {
        let wanted = Set(fileNumbers)
        let (removed, stale) = state.withLock { state -> ([UInt32], [UInt32]) in
            var removed: [UInt32] = []
            while state.entries.count > 1, wanted.contains(state.entries[0].number) {
                removed.append(state.entries.removeFirst().number)
            }
            defer { state.staleFiles.removeAll() }
            return (removed, state.staleFiles.filter { $0 < state.end.position.fileNumber })
        }
        guard !removed.isEmpty || !stale.isEmpty else { return [] }
        try io { () throws(FileError) in
            for number in stale + removed { try directory.remove(number) }
            try directory.fileSystem.syncDirectory(directory.path)
        }
        return removed
    }
}
