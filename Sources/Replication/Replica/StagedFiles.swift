internal import CXXHash
internal import FileIO
internal import NIOCore
internal import ReplicationCore
internal import SyncProtocol
internal import Synchronization

/// Why staged files can't be worked with.
enum StagingError: Error, Sendable, CustomStringConvertible {
    case file(FileError)
    /// The device has not enough room for the rest of the copy.
    case noRoom(neededBytes: UInt64, availableBytes: UInt64)

    var description: String {
        switch self {
        case .file(let error):
            error.isOutOfSpace
                ? "the disk is full: \(error); the old data are untouched" : error.description
        case .noRoom(let needed, let available):
            "the copy needs \(needed) more bytes, the disk has \(available); the old data are"
                + " untouched"
        }
    }
}

/// The files of one database's copy, below `<staging>/<db>/`.
///
/// All calls block and may come from several threads of the pool at once.
final class StagedFiles: Sendable {
    /// Room that is left free on the device beside the copy itself.
    static let reserveBytes: UInt64 = 64 << 20
    /// Bytes read at once when a file is read back.
    static let readBackBytes = 1 << 20
    /// Written bytes of a file after which the kernel is asked to write them out.
    static let writebackBytes: UInt64 = 8 << 20

    private struct OpenFile {
        var file: any File
        var writtenSinceWriteback: UInt64 = 0
    }

    private struct State {
        var open: [String: OpenFile] = [:]
        var chunks: [UInt64: [ChunkJournal.Chunk]] = [:]
        var journal: ChunkJournal?
    }

    let directory: String
    private let journalPath: String
    private let fileSystem: any FileSystem
    private let state = Mutex(State())

    init(stagingPath: String, database: String, fileSystem: any FileSystem) {
        self.directory = Path.join(stagingPath, database)
        self.journalPath = Path.join(stagingPath, database + ".chunks")
        self.fileSystem = fileSystem
    }

    private func onFiles<Result>(
        _ body: () throws(FileError) -> Result
    ) throws(StagingError) -> Result {
        do throws(FileError) {
            return try body()
        } catch {
            throw .file(error)
        }
    }

    private func path(_ name: String) -> String { Path.join(self.directory, name) }

    // MARK: Beginning and resuming

    /// What an earlier run left of a snapshot, each byte of it checked or covered by a resume point.
    ///
    /// `known` are the files of the resume point. What lies on the disk beyond it counts when the
    /// journal has its digest. Files are cut to what counts, so that nothing stale stays (C4).
    func survey(
        snapshotID: SnapshotID, known: [SnapshotReceiver.Remainder.File]
    ) throws(StagingError) -> (files: [SnapshotReceiver.Remainder.File], droppedBytes: UInt64) {
        let reopened = try self.onFiles { () throws(FileError) in
            try ChunkJournal.reopen(
                self.journalPath, snapshotID: snapshotID, fileSystem: self.fileSystem)
        }
        var files: [SnapshotReceiver.Remainder.File] = []
        var dropped: UInt64 = 0
        for var entry in known {
            let chunks = reopened?.chunks[ChunkJournal.nameHash(entry.name)] ?? []
            let result = try self.onFiles { () throws(FileError) in
                try self.survey(&entry, chunks)
            }
            dropped += result
            if entry.prefixBytes > 0 || !entry.islands.isEmpty || entry.sizeBytes == 0 {
                files.append(entry)
            }
        }
        self.state.withLock { state in
            state.journal = reopened?.journal
            state.chunks = reopened?.chunks ?? [:]
        }
        return (files, dropped)
    }

    /// Extends what the resume point says by what the journal proves; returns the bytes dropped.
    private func survey(
        _ entry: inout SnapshotReceiver.Remainder.File, _ chunks: [ChunkJournal.Chunk]
    ) throws(FileError) -> UInt64 {
        let path = self.path(entry.name)
        guard SnapshotPlan.isAllowed(entry.name), let status = try self.fileSystem.status(path),
            status.kind == .regular
        else {
            entry.prefixBytes = 0
            return 0
        }
        if status.sizeBytes < entry.prefixBytes { entry.prefixBytes = 0 }
        let file = try self.fileSystem.open(path, .readWrite)
        for chunk in chunks.sorted(by: { $0.offset < $1.offset }) {
            let end = chunk.offset &+ chunk.count
            let top = entry.islands.last?.upperBound ?? entry.prefixBytes
            guard end > top, chunk.offset >= top || entry.islands.isEmpty,
                end <= status.sizeBytes,
                try Self.digest(of: file, chunk.offset..<end) == chunk.digest
            else { continue }
            if entry.islands.isEmpty, chunk.offset <= entry.prefixBytes {
                entry.prefixBytes = end
            } else if let last = entry.islands.last, last.upperBound == chunk.offset {
                entry.islands[entry.islands.count - 1] = last.lowerBound..<end
            } else {
                entry.islands.append(chunk.offset..<end)
            }
        }
        let kept = entry.islands.last?.upperBound ?? entry.prefixBytes
        if status.sizeBytes > kept { try file.truncate(to: kept) }
        try file.close()
        return status.sizeBytes - min(kept, status.sizeBytes)
    }

    private static func digest(
        of file: any File, _ range: Range<UInt64>
    ) throws(FileError) -> UInt64? {
        var bytes = [UInt8](repeating: 0, count: Int(range.upperBound - range.lowerBound))
        let result = bytes.withUnsafeMutableBytes { buffer -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(try file.read(into: buffer, at: range.lowerBound))
            } catch {
                return .failure(error)
            }
        }
        guard try result.get() == bytes.count else { return nil }
        return XXH64(bytes, bytes.count, 0)
    }

    /// Makes the directories, removes files that are not of the snapshot, and checks the room.
    func prepare(
        _ manifest: SnapshotManifest, knowsSizes: Bool, presentBytes: UInt64
    ) throws(StagingError) {
        try self.onFiles { () throws(FileError) in
            for store in SnapshotPlan.stores {
                let directory = self.path(store)
                try self.fileSystem.makeDirectory(directory)
                let wanted = Set(manifest.files.map(\.name))
                for name in try self.fileSystem.list(directory)
                where !wanted.contains("\(store)/\(name)") {
                    try self.fileSystem.removeTree(Path.join(directory, name))
                }
            }
            try self.state.withLock { state throws(FileError) in
                guard state.journal == nil else { return }
                state.journal = try ChunkJournal(
                    create: self.journalPath, snapshotID: manifest.id,
                    fileSystem: self.fileSystem)
            }
        }
        guard knowsSizes else { return }
        let space = try self.onFiles { () throws(FileError) in
            try self.fileSystem.diskSpace(self.directory)
        }
        let missing = manifest.totalBytes - min(presentBytes, manifest.totalBytes)
        guard space.availableBytes >= missing + Self.reserveBytes else {
            throw .noRoom(
                neededBytes: missing + Self.reserveBytes, availableBytes: space.availableBytes)
        }
    }

    /// Deletes everything.
    func discard() throws(StagingError) {
        self.state.withLock { $0 = State() }
        try self.onFiles { () throws(FileError) in
            try self.fileSystem.removeTree(self.directory)
            try self.fileSystem.unlinkIfPresent(self.journalPath)
        }
    }

    // MARK: Writing

    private func open(_ name: String) throws(FileError) -> any File {
        try self.state.withLock { state throws(FileError) in
            if let open = state.open[name] { return open.file }
            let file = try self.fileSystem.open(self.path(name), .openOrCreate)
            state.open[name] = OpenFile(file: file)
            return file
        }
    }

    /// Checks a chunk and writes it; false = its digest is wrong, nothing was written.
    func write(
        _ name: String, at offset: UInt64, _ data: ByteBuffer, digest expected: UInt64?
    ) throws(StagingError) -> Bool {
        let digest = FileServiceCodec.digest(of: data)
        if let expected, expected != digest { return false }
        try self.onFiles { () throws(FileError) in
            let file = try self.open(name)
            try data.withUnsafeReadableBytes { bytes throws(FileError) in
                try file.write(bytes, at: offset)
            }
            let count = UInt64(data.readableBytes)
            let hash = ChunkJournal.nameHash(name)
            let chunk = ChunkJournal.Chunk(offset: offset, count: count, digest: digest)
            let isDue = try self.state.withLock { state throws(FileError) -> Bool in
                state.chunks[hash, default: []].append(chunk)
                try state.journal?.append(nameHash: hash, chunk)
                let written = (state.open[name]?.writtenSinceWriteback ?? 0) + count
                let isDue = written >= Self.writebackBytes
                state.open[name]?.writtenSinceWriteback = isDue ? 0 : written
                return isDue
            }
            if isDue { file.startWriteback(offset: 0, count: offset + count) }
        }
        return true
    }

    /// Makes all that was written durable.
    func synchronize() throws(StagingError) {
        let files = self.state.withLock { $0.open.values.map(\.file) }
        try self.onFiles { () throws(FileError) in
            for file in files { try file.synchronize() }
        }
    }

    // MARK: Reading back

    /// Reads a whole file back, compares each chunk with its digest, and makes the file durable.
    ///
    /// - Returns: XXH64 of the whole file, and the ranges that are not what was written.
    func verify(
        _ name: String, sizeBytes: UInt64
    ) throws(StagingError) -> (digest: UInt64, badRanges: [Range<UInt64>]) {
        let hash = ChunkJournal.nameHash(name)
        let chunks = self.state.withLock { $0.chunks[hash] ?? [] }
        return try self.onFiles { () throws(FileError) in
            let file = try self.open(name)
            if try file.size() > sizeBytes { try file.truncate(to: sizeBytes) }
            let (digest, bad) = try Self.readBack(file, sizeBytes: sizeBytes, chunks)
            if !bad.isEmpty {
                let offsets = Set(bad.map(\.lowerBound))
                self.state.withLock { state in
                    state.chunks[hash]?.removeAll { offsets.contains($0.offset) }
                }
            }
            if bad.isEmpty {
                try file.synchronize()
                // Not closed here: a sync of another task may still hold it, and a closed
                // descriptor's number may already be another file's. Its last reference closes it.
                self.state.withLock { $0.open[name] = nil }
            }
            return (digest, bad)
        }
    }

    /// One pass over the file: its digest, and the chunks that differ from theirs.
    private static func readBack(
        _ file: any File, sizeBytes: UInt64, _ chunks: [ChunkJournal.Chunk]
    ) throws(FileError) -> (digest: UInt64, badRanges: [Range<UInt64>]) {
        let hasher = XXH64_createState()
        defer { _ = XXH64_freeState(hasher) }
        _ = XXH64_reset(hasher, 0)
        // A later chunk of the same place replaced an earlier one.
        var latest: [UInt64: ChunkJournal.Chunk] = [:]
        for chunk in chunks where chunk.offset &+ chunk.count <= sizeBytes {
            latest[chunk.offset] = chunk
        }
        var bad: [Range<UInt64>] = []
        var position: UInt64 = 0
        var buffer = [UInt8](repeating: 0, count: Self.readBackBytes)
        for chunk in latest.values.sorted(by: { $0.offset < $1.offset }) {
            let range = chunk.offset..<chunk.offset + chunk.count
            guard chunk.offset >= position else {
                if try Self.digest(of: file, range) != chunk.digest { bad.append(range) }
                continue
            }
            try Self.feed(file, position..<chunk.offset, &buffer) { bytes in
                _ = XXH64_update(hasher, bytes.baseAddress, bytes.count)
            }
            if buffer.count < Int(chunk.count) {
                buffer = [UInt8](repeating: 0, count: Int(chunk.count))
            }
            var found: UInt64?
            try Self.feed(file, range, &buffer) { bytes in
                _ = XXH64_update(hasher, bytes.baseAddress, bytes.count)
                if bytes.count == Int(chunk.count) {
                    found = XXH64(bytes.baseAddress, bytes.count, 0)
                }
            }
            if found != chunk.digest { bad.append(range) }
            position = range.upperBound
        }
        try Self.feed(file, position..<max(position, sizeBytes), &buffer) { bytes in
            _ = XXH64_update(hasher, bytes.baseAddress, bytes.count)
        }
        return (XXH64_digest(hasher), bad)
    }

    /// Reads a range piece by piece; ends early where the file ends.
    private static func feed(
        _ file: any File, _ range: Range<UInt64>, _ buffer: inout [UInt8],
        _ body: (UnsafeRawBufferPointer) -> Void
    ) throws(FileError) {
        var offset = range.lowerBound
        while offset < range.upperBound {
            let wanted = min(buffer.count, Int(range.upperBound - offset))
            let result = buffer.withUnsafeMutableBytes { bytes -> Result<Int, FileError> in
                do throws(FileError) {
                    let piece = UnsafeMutableRawBufferPointer(rebasing: bytes[..<wanted])
                    let count = try file.read(into: piece, at: offset)
                    body(UnsafeRawBufferPointer(rebasing: piece[..<count]))
                    return .success(count)
                } catch {
                    return .failure(error)
                }
            }
            let count = try result.get()
            if count == 0 { return }
            offset += UInt64(count)
        }
    }

    /// Where the binlog stood, from `info` of a real Pika; nil if it is no such file.
    func readInfo() throws(StagingError) -> BinlogPosition? {
        let bytes = try self.onFiles { () throws(FileError) in
            try self.fileSystem.readFile(
                self.path(SnapshotPlan.infoName), limitBytes: SnapshotInfo.maxBytes)
        }
        return bytes.flatMap { SnapshotInfo.position(in: $0) }
    }

    /// Leaves only the stores in the directory and makes all names durable.
    func seal() throws(StagingError) {
        try self.onFiles { () throws(FileError) in
            for name in try self.fileSystem.list(self.directory)
            where !SnapshotPlan.stores.contains(name) {
                try self.fileSystem.removeTree(self.path(name))
            }
            for store in SnapshotPlan.stores {
                try self.fileSystem.syncDirectory(self.path(store))
            }
            try self.fileSystem.syncDirectory(self.directory)
            try self.fileSystem.syncDirectory(Path.directory(of: self.directory))
        }
    }

    /// Forgets the journal: the copy is in use.
    func removeJournal() throws(StagingError) {
        self.state.withLock { $0 = State() }
        try self.onFiles { () throws(FileError) in
            try self.fileSystem.unlinkIfPresent(self.journalPath)
        }
    }
}

/// The `info` file of a real Pika's dump: lines of text. (spec: replication-protocol 8.3)
enum SnapshotInfo {
    static let maxBytes = 4_096

    /// File number and offset: lines 4 and 5; nil if any line is not what it must be.
    static func position(in bytes: [UInt8]) -> BinlogPosition? {
        let lines = String(decoding: bytes, as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false)
        // A last line feed leaves an empty rest.
        let count = lines.last?.isEmpty == true ? lines.count - 1 : lines.count
        guard (5...8).contains(count), let port = Int(lines[2]), port >= 0,
            let fileNumber = UInt32(lines[3]), let offset = UInt64(lines[4])
        else { return nil }
        for line in lines[5..<count].prefix(2) where UInt64(line) == nil { return nil }
        return BinlogPosition(fileNumber: fileNumber, offset: offset)
    }
}
