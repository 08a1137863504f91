public import FileIO
public import SyncProtocol
import Synchronization

/// An item as it came from a master: 34 bytes of header, content, and where it ends there.
public struct ReceivedItem {
    /// Header and content; the memory is the caller's.
    public var bytes: UnsafeRawBufferPointer

    /// The item's end in the master's log.
    public var end: BinlogPosition

    /// Creates an item.
    public init(bytes: UnsafeRawBufferPointer, end: BinlogPosition) {
        self.bytes = bytes
        self.end = end
    }
}

/// What readers, the syncer and the writer share, under one short lock.
struct LogState {
    struct Entry {
        var number: UInt32
        var startOffset: UInt64
        var endOffset: UInt64?
    }

    struct DirtyFile {
        var file: LogFile
        /// The end, once the file is finished.
        var end: BinlogMark?
    }

    /// The files, ascending and without a gap; the last one is being written.
    var entries: [Entry]
    var current: LogFile
    var end: BinlogMark
    var durable: BinlogPosition = .zero
    var generation: UInt64 = 0
    var failure: FileError?
    var finishedDirty: [DirtyFile] = []
    var isCurrentDirty = true
    var isDirectoryDirty = true
    /// Set at open: everything on disk may still be in the page cache only.
    var needsFullSync = true
    var staleFiles: [UInt32] = []
    var logicIndex: UInt64
    var resets: UInt64 = 0

    func entry(_ number: UInt32) -> Entry? {
        guard let first = entries.first?.number, number >= first else { return nil }
        let index = Int(number - first)
        return index < entries.count ? entries[index] : nil
    }
}

/// The log of one database: a directory `log_db<N>` of `write2file<N>` files.
///
/// Threads: the methods that change the log (``append(_:execTimeSeconds:atomicGroup:)``,
/// ``appendReceived(_:)``, ``truncate(to:)``, ``reset(to:)``, ``startNewFile()``, ``close()``) MUST
/// be called under the database's commit lock. ``sync(published:)``, cursors, questions about
/// positions and purging may run on any thread at the same time.
public final class BinlogLog: Sendable {
    let directory: LogDirectory
    let configuration: BinlogConfiguration
    let state: Mutex<LogState>
    let hasFailed = Atomic<Bool>(false)

    /// One sync at a time; held during fdatasync.
    let syncLock = Mutex<Void>(())

    /// Held while sidecars are written; never during an fdatasync.
    let sidecarLock = Mutex<Void>(())
    let manifest: ManifestFile

    // SAFETY: only the methods that need the commit lock touch the writer, as their contract says.
    nonisolated(unsafe) let writer: LogWriter

    /// What opening found.
    public let openReport: BinlogOpenReport

    init(_ recovered: RecoveredLog, configuration: BinlogConfiguration) {
        directory = recovered.directory
        self.configuration = configuration
        manifest = recovered.manifest
        openReport = recovered.report
        writer = LogWriter(
            directory: recovered.directory,
            fileSizeLimitBytes: configuration.fileSizeLimitBytes, file: recovered.current,
            end: recovered.end, logicIndex: recovered.logicIndex)
        state = Mutex(
            LogState(
                entries: recovered.entries, current: recovered.current, end: recovered.end,
                staleFiles: recovered.report.staleFiles, logicIndex: recovered.logicIndex))
    }

    /// End of the log and running digest there (the *written* end: only whole own groups).
    public var end: BinlogMark { state.withLock { $0.end } }

    /// Everything up to here survives a power loss; zero until the first ``sync(published:)``.
    public var durable: BinlogPosition { state.withLock { $0.durable } }

    /// Start of the oldest item that is here.
    public var start: BinlogPosition {
        state.withLock { state in
            let first = state.entries[0]
            return BinlogPosition(fileNumber: first.number, offset: first.startOffset)
        }
    }

    /// The number of times that the log was cut or emptied since it was opened.
    public var generation: UInt64 { state.withLock { $0.generation } }

    /// The failure after which the log takes no more writes, if there was one.
    public var failure: FileError? { state.withLock { $0.failure } }

    /// Appends a group in one `write()` per file touched.
    ///
    /// With `atomicGroup` the items' `term` counts down to 0. A failed call leaves the log as it
    /// was: what was written is cut off and the cut made durable. If even that fails, the log
    /// takes nothing more (``BinlogError/closedByFailure(_:)``).
    ///
    /// - Returns: the new end.
    @discardableResult
    public func append(
        _ items: borrowing BinlogItems, execTimeSeconds: UInt32, atomicGroup: Bool
    ) throws(BinlogError) -> BinlogMark {
        try checkOpen()
        let count = items.count
        if atomicGroup, count > BinlogLimits.maxGroupItems {
            throw .groupTooLarge(items: count, limit: BinlogLimits.maxGroupItems)
        }
        try checkSizes(items)
        let writer = self.writer
        do throws(FileError) {
            for index in 0..<count {
                try writer.put(
                    content: items.content(index), execTimeSeconds: execTimeSeconds,
                    itemsLeft: atomicGroup ? UInt32(truncatingIfNeeded: count - 1 - index) : 0)
            }
            try writer.flush()
        } catch {
            throw rollBack() ?? .file(error)
        }
        return commit()
    }

    private func checkSizes(_ items: borrowing BinlogItems) throws(BinlogError) {
        let limit = BinlogLimits.maxItemBytes - BinlogItemHeader.encodedSize
        guard items.byteCount > limit else { return }
        for index in 0..<items.count where items.content(index).count > limit {
            throw .itemTooLarge(bytes: items.content(index).count, limit: limit)
        }
    }

    /// Appends items of a master byte for byte and rolls where the master rolled.
    ///
    /// All or none: if an item does not end where the master says, nothing is appended.
    ///
    /// - Returns: the new end.
    @discardableResult
    public func appendReceived(
        _ items: UnsafeBufferPointer<ReceivedItem>
    ) throws(BinlogError) -> BinlogMark {
        try checkOpen()
        let writer = self.writer
        do throws(BinlogError) {
            for item in items { try putReceived(item) }
            try io { () throws(FileError) in try writer.flush() }
        } catch {
            throw rollBack() ?? error
        }
        return commit()
    }

    private func putReceived(_ item: ReceivedItem) throws(BinlogError) {
        let header: BinlogItemHeader
        do throws(BinlogItemError) {
            header = try BinlogItemHeader(item: item.bytes)
        } catch {
            throw .receivedItem(end: item.end, error)
        }
        guard item.bytes.count <= BinlogLimits.maxItemBytes else {
            throw .itemTooLarge(bytes: item.bytes.count, limit: BinlogLimits.maxItemBytes)
        }
        let number = writer.file.number
        guard item.end.fileNumber >= number,
            item.end.fileNumber - number <= BinlogLimits.maxFilesSkippedByReceivedItem
        else { throw .receivedPosition(expected: item.end, actual: writer.end.position) }
        let writer = self.writer
        try io { () throws(FileError) in
            while writer.file.number < item.end.fileNumber { try writer.roll() }
            try writer.put(received: item.bytes, header: header)
        }
        let actual = writer.end.position
        guard actual == item.end else {
            throw .receivedPosition(expected: item.end, actual: actual)
        }
    }

    func checkOpen() throws(BinlogError) {
        guard hasFailed.load(ordering: .relaxed) else { return }
        if let failure { throw .closedByFailure(failure) }
    }

    /// Publishes what the writer put as the new written end.
    func commit() -> BinlogMark {
        let writer = self.writer
        let end = writer.end
        let hasRolled = !writer.finished.isEmpty
        state.withLock { state in
            if hasRolled { Self.noteRoll(writer, &state) }
            state.end = end
            state.isCurrentDirty = true
            state.logicIndex = writer.logicIndex
        }
        writer.commit()
        if hasRolled { writeManifest(end.position, writer.logicIndex) }
        return end
    }

    private static func noteRoll(_ writer: LogWriter, _ state: inout LogState) {
        for (file, end) in writer.finished {
            state.entries[state.entries.count - 1].endOffset = end.position.offset
            state.entries.append(
                LogState.Entry(number: file.number + 1, startOffset: 0, endOffset: nil))
            state.finishedDirty.append(LogState.DirtyFile(file: file, end: end))
        }
        state.current = writer.file
        state.isDirectoryDirty = true
    }

    /// A hint for us; a real Pika is only let in after ``close()``, which checks for errors.
    func writeManifest(_ position: BinlogPosition, _ logicIndex: UInt64) {
        try? manifest.write(
            Manifest(
                fileNumber: position.fileNumber, offset: position.offset, logicIndex: logicIndex))
    }

    /// Takes away what a failed append left; the error if that fails too.
    func rollBack() -> BinlogError? {
        do throws(FileError) {
            try writer.rollBack()
            return nil
        } catch {
            fail(error)
            return .closedByFailure(error)
        }
    }

    /// Closes the log for writes.
    func fail(_ error: FileError) {
        state.withLock { state in
            if state.failure == nil { state.failure = error }
        }
        hasFailed.store(true, ordering: .relaxed)
    }
}
