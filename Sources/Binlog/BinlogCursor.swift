import FileIO
public import SyncProtocol
import Synchronization

/// What to do after an item was shown.
public enum CursorStep: Sendable, Equatable {
    /// Go on.
    case next

    /// Take the item and stop.
    case stopAfter

    /// Stop; the item comes again next time.
    case stopBefore
}

/// Reads items in order, in large pieces, and shows them in place.
///
/// A cursor reads independently of the writer and costs one buffer. When a purge removed its file
/// (a lease prevents that) the next call is ``BinlogError/position(_:_:)`` `.purged`.
public final class BinlogCursor {
    /// End of the last item taken.
    public private(set) var position: BinlogPosition

    private let log: BinlogLog
    private var reader: ItemReader?
    private var readerFile: UInt32
    private var readerOffset: UInt64
    private var finishedEnd: UInt64?
    private var generation: UInt64
    private let resets: UInt64

    init(log: BinlogLog, position: BinlogPosition) {
        self.log = log
        self.position = position
        readerFile = position.fileNumber
        readerOffset = position.offset
        (generation, resets) = log.state.withLock { ($0.generation, $0.resets) }
    }

    /// Shows the items that end at or before `limit`.
    ///
    /// Nothing behind `limit` is read. `limit` MUST be an item end: published, durable, or the
    /// log's end.
    ///
    /// - Parameters:
    ///   - maxBytes: Stops once that many bytes of items were taken.
    ///   - body: Gets header and content (valid during the call), the decoded header, and the
    ///     item's end.
    /// - Returns: the number of items taken; 0 means that there is nothing more up to `limit`.
    @discardableResult
    public func next(
        upTo limit: BinlogPosition, maxBytes: Int = .max,
        _ body: (UnsafeRawBufferPointer, BinlogItemHeader, BinlogPosition) -> CursorStep
    ) throws(BinlogError) -> Int {
        guard position < limit else { return 0 }
        try noticeCuts()
        var taken = 0
        var bytesTaken = 0
        while bytesTaken < maxBytes {
            let reader = try currentReader()
            let fileLimit = try fileLimit(limit)
            switch try reader.next(limit: fileLimit) {
            case .item(let bytes, let end):
                let header = try decode(bytes, reader)
                let itemEnd = BinlogPosition(fileNumber: readerFile, offset: end)
                let step = body(bytes, header, itemEnd)
                if step == .stopBefore {
                    reader.rewind(to: readerOffset)
                    return taken
                }
                readerOffset = end
                position = itemEnd
                taken += 1
                bytesTaken += bytes.count
                if step == .stopAfter { return taken }
            case .end:
                guard limit.fileNumber > readerFile else { return taken }
                try enterNextFile()
                if position >= limit { return taken }
            case .torn, .zeros:
                throw reader.damage(
                    readerOffset,
                    .truncated(expectedBytes: fileLimit, actualBytes: readerOffset))
            }
        }
        return taken
    }

    private func decode(
        _ bytes: UnsafeRawBufferPointer, _ reader: ItemReader
    ) throws(BinlogError) -> BinlogItemHeader {
        do throws(BinlogItemError) {
            return try BinlogItemHeader(item: bytes)
        } catch {
            reader.rewind(to: readerOffset)
            throw reader.damage(readerOffset, .item(error))
        }
    }

    /// After a cut only a cursor that is still inside the log may go on.
    private func noticeCuts() throws(BinlogError) {
        let (now, resetsNow, end) = log.state.withLock {
            ($0.generation, $0.resets, $0.end.position)
        }
        guard now != generation else { return }
        guard resetsNow == resets, position <= end else {
            throw .cursorOvertaken(position)
        }
        generation = now
        reader = nil
        finishedEnd = nil
    }

    private func currentReader() throws(BinlogError) -> ItemReader {
        if let reader { return reader }
        guard let file = try log.openForReading(readerFile) else {
            throw .position(position, .purged)
        }
        let new = ItemReader(file: file, offset: readerOffset)
        if log.configuration.verifiesBlocksWhenReading {
            let sidecar = try SidecarFile.read(
                path: log.directory.sidecar(readerFile), number: readerFile,
                fileSystem: log.directory.fileSystem)
            new.blockSums = sidecar?.blocks
        }
        reader = new
        return new
    }

    /// How far the reader's file may be read.
    private func fileLimit(_ limit: BinlogPosition) throws(BinlogError) -> UInt64 {
        if limit.fileNumber == readerFile { return limit.offset }
        if let finishedEnd { return finishedEnd }
        guard let end = log.state.withLock({ $0.entry(readerFile)?.endOffset }) else {
            throw .position(position, .purged)
        }
        finishedEnd = end
        return end
    }

    private func enterNextFile() throws(BinlogError) {
        let next = readerFile + 1
        guard let entry = log.state.withLock({ $0.entry(next) }) else {
            throw .position(BinlogPosition(fileNumber: next, offset: 0), .purged)
        }
        reader = nil
        finishedEnd = nil
        readerFile = next
        readerOffset = entry.startOffset
    }
}

// SAFETY: a cursor has one owner; whoever hands it to another thread stops using it before.
extension BinlogCursor: @unchecked Sendable {}
