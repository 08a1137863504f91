import FileIO
import SyncProtocol
import Synchronization

extension BinlogLog {
    /// Cuts the log back to `mark`, which must be an item end of this log with its digest (one
    /// that ``end`` gave, or ``mark(at:)``); durable when it returns.
    public func truncate(to mark: BinlogMark) throws(BinlogError) {
        try checkOpen()
        let number = mark.position.fileNumber
        let now = end
        if mark == now { return }
        guard mark.position <= now.position else { throw .position(mark.position, .larger) }
        guard let entry = state.withLock({ $0.entry(number) }),
            mark.position.offset >= entry.startOffset,
            mark.position.offset <= entry.endOffset ?? .max
        else { throw .position(mark.position, .purged) }
        do throws(BinlogError) {
            try cut(to: mark, entry)
        } catch {
            if case .file(let cause) = error { fail(cause) }
            throw error
        }
    }

    private func cut(to mark: BinlogMark, _ entry: LogState.Entry) throws(BinlogError) {
        let number = mark.position.fileNumber
        let isCurrent = state.withLock { $0.current.number == number }
        let file = isCurrent ? writer.file : try openFile(entry)
        let removed = state.withLock { state -> [UInt32] in
            let removed = state.entries.map(\.number).filter { $0 > number }
            state.generation += 1
            state.entries.removeAll { $0.number > number }
            state.entries[state.entries.count - 1].endOffset = nil
            state.finishedDirty.removeAll { $0.file.number >= number }
            state.current = file
            state.end = mark
            state.durable = min(state.durable, mark.position)
            state.isCurrentDirty = true
            state.isDirectoryDirty = state.isDirectoryDirty || !removed.isEmpty
            return removed
        }
        sidecarLock.withLock { _ in writeManifest(mark.position, writer.logicIndex) }
        try Self.cutFiles(
            directory, to: mark, file, removing: removed, sidecarLock: sidecarLock)
        writer.move(to: mark, file: file, logicIndex: writer.logicIndex)
    }

    /// Cuts on disk, sidecars first: whenever the machine stops, no sidecar claims what is gone.
    static func cutFiles(
        _ directory: LogDirectory, to mark: BinlogMark, _ file: LogFile,
        removing removed: [UInt32], sidecarLock: borrowing Mutex<Void>
    ) throws(BinlogError) {
        let fileSystem = directory.fileSystem
        try sidecarLock.withLock { _ throws(BinlogError) in
            try file.sidecar.trim(to: mark)
            try io { () throws(FileError) in
                for number in removed.reversed() {
                    try fileSystem.unlinkIfPresent(directory.sidecar(number))
                }
                if !removed.isEmpty { try fileSystem.syncDirectory(directory.path) }
            }
        }
        try io { () throws(FileError) in
            for number in removed.reversed() {
                try fileSystem.unlinkIfPresent(directory.data(number))
            }
            try file.data.truncate(to: mark.position.offset)
            try file.data.synchronize()
            if !removed.isEmpty { try fileSystem.syncDirectory(directory.path) }
        }
    }

    private func openFile(_ entry: LogState.Entry) throws(BinlogError) -> LogFile {
        let path = directory.sidecar(entry.number)
        let data = try io { () throws(FileError) in
            try directory.fileSystem.open(directory.data(entry.number), .readWrite)
        }
        let contents = try SidecarFile.read(
            path: path, number: entry.number, fileSystem: directory.fileSystem)
        let sidecar = try io { () throws(FileError) in
            guard let contents else {
                return try SidecarFile.create(
                    path: path, number: entry.number,
                    start: BinlogMark(
                        position: BinlogPosition(
                            fileNumber: entry.number, offset: entry.startOffset), digest: 0),
                    fileSystem: directory.fileSystem)
            }
            return try SidecarFile.open(
                path: path, number: entry.number, contents: contents,
                fileSystem: directory.fileSystem)
        }
        return LogFile(
            number: entry.number, startOffset: entry.startOffset, data: data, sidecar: sidecar)
    }

    /// Empties the log and starts it anew at `mark`: after a full sync.
    ///
    /// Cursors that are open then report ``BinlogError/cursorOvertaken(_:)``.
    public func reset(to mark: BinlogMark) throws(BinlogError) {
        try checkOpen()
        do throws(BinlogError) {
            let file = try syncLock.withLock { _ throws(BinlogError) in
                let file = try Self.makeEmpty(directory, at: mark, manifest)
                state.withLock { state in
                    state.generation += 1
                    state.resets += 1
                    state.entries = [
                        LogState.Entry(
                            number: mark.position.fileNumber,
                            startOffset: mark.position.offset, endOffset: nil)
                    ]
                    state.finishedDirty.removeAll()
                    state.staleFiles.removeAll()
                    state.current = file
                    state.end = mark
                    state.durable = mark.position
                    state.logicIndex = 0
                }
                return file
            }
            writer.move(to: mark, file: file, logicIndex: 0)
        } catch {
            if case .file(let cause) = error { fail(cause) }
            throw error
        }
    }

    /// Deletes every file of a log and begins one at `mark`; durable, and repeatable from any
    /// point where the machine may stop.
    static func makeEmpty(
        _ directory: LogDirectory, at mark: BinlogMark, _ manifest: ManifestFile
    ) throws(BinlogError) -> LogFile {
        let fileSystem = directory.fileSystem
        let number = mark.position.fileNumber
        return try io { () throws(FileError) in
            for name in try fileSystem.list(directory.path) {
                if LogNames.sidecarNumber(name) != nil || LogNames.dataNumber(name) != nil {
                    try fileSystem.unlink(Path.join(directory.path, name))
                }
            }
            let file = try LogFile.create(number: number, start: mark, directory: directory)
            try writePadding(file.data, upTo: mark.position.offset)
            try file.data.synchronize()
            try file.sidecar.synchronize()
            try manifest.write(
                Manifest(fileNumber: number, offset: mark.position.offset, logicIndex: 0))
            try manifest.synchronize()
            try fileSystem.syncDirectory(directory.path)
            return file
        }
    }

    /// Fills a file up to a position with BadRecord records. (spec: binlog-format 5)
    private static func writePadding(_ file: any File, upTo end: UInt64) throws(FileError) {
        var at: UInt64 = 0
        var block = [UInt8](repeating: UInt8(ascii: "*"), count: Record.blockSize)
        while at < end {
            let count = Int(min(UInt64(Record.blockSize), end - at))
            guard count >= Record.headerSize else {
                try file.write([UInt8](repeating: 0, count: count), at: at)
                return
            }
            block.withUnsafeMutableBytes { raw in
                guard let base = raw.baseAddress else { return }
                Record.storeHeader(
                    to: base, dataBytes: count - Record.headerSize, timeSeconds: 0,
                    kind: .padding)
            }
            try file.write(Array(block[..<count]), at: at)
            at += UInt64(count)
        }
    }

    /// Ends the current file and begins the next one, durably: a new history begins there.
    ///
    /// - Returns: the start of the new file, with the digest of what is before it.
    @discardableResult
    public func startNewFile() throws(BinlogError) -> BinlogMark {
        try checkOpen()
        let writer = self.writer
        do throws(FileError) {
            try writer.roll()
        } catch {
            throw rollBack() ?? .file(error)
        }
        let mark = commit()
        do throws(FileError) {
            try directory.fileSystem.syncDirectory(directory.path)
            try writer.file.data.synchronize()
            try writer.file.sidecar.synchronize()
        } catch {
            fail(error)
            throw .closedByFailure(error)
        }
        return mark
    }

    /// Writes the manifest so that a real Pika can open the log, after a last ``sync(published:)``.
    public func close() throws(BinlogError) {
        let (end, logicIndex) = state.withLock { ($0.end, $0.logicIndex) }
        try io { () throws(FileError) in
            try manifest.write(
                Manifest(
                    fileNumber: end.position.fileNumber, offset: end.position.offset,
                    logicIndex: logicIndex))
            try manifest.synchronize()
        }
    }
}
