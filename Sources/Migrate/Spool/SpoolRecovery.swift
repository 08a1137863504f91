internal import FileIO

/// Reads the directory of a spool after a stop of whatever kind.
struct SpoolRecovery {
    let directory: String
    let fileSystem: any FileSystem

    func run() throws(SpoolError) -> Spool.State {
        var state = Spool.State()
        let names = try onSpoolFiles { () throws(FileError) in
            try self.fileSystem.list(self.directory)
        }
        let found = names.compactMap { name -> (UInt32, String)? in
            guard name.first == "g", let number = UInt32(name.dropFirst()) else { return nil }
            return (number, Path.join(self.directory, name))
        }
        for (index, (number, path)) in found.sorted(by: { $0.0 < $1.0 }).enumerated() {
            let isLast = index == found.count - 1
            state.lastNumber = max(state.lastNumber, number)
            guard let generation = try self.generation(number, path, isLast, &state) else {
                // Nothing of it can have been used: the source sends it again.
                try onSpoolFiles { () throws(FileError) in try self.fileSystem.removeTree(path) }
                continue
            }
            state.totalBytes += Spool.bytes(of: generation)
            state.generations.append(generation)
        }
        state.durableOffset = state.generations.last?.endOffset ?? 0
        return state
    }

    /// nil = incomplete.
    private func generation(
        _ number: UInt32, _ path: String, _ isLast: Bool, _ state: inout Spool.State
    ) throws(SpoolError) -> Spool.Generation? {
        let names = try onSpoolFiles { () throws(FileError) in try self.fileSystem.list(path) }
        let originPath = Path.join(path, "origin")
        let bytes = try onSpoolFiles { () throws(FileError) in
            try self.fileSystem.readFile(originPath, limitBytes: 4096)
        }
        guard let bytes else { return nil }
        guard let origin = SpoolOrigin(file: bytes) else {
            throw .damaged(path: originPath, reason: "damaged, or of a newer version")
        }
        if names.contains("snapshot.part") { return nil }
        let snapshot = try onSpoolFiles { () throws(FileError) in
            try self.fileSystem.status(Path.join(path, "snapshot.rdb"))
        }
        let segments = names.filter { $0.hasSuffix(".seg") }.sorted()
        // A snapshot that was used is removed; then there are segments.
        if origin.hasSnapshot, snapshot == nil, segments.isEmpty { return nil }
        state.sourceID = origin.sourceID
        var generation = Spool.Generation(
            number: number, origin: origin, path: path, snapshotBytes: snapshot?.sizeBytes,
            isSnapshotComplete: origin.hasSnapshot)
        generation.sourceIDs.insert(origin.sourceID)
        for (index, name) in segments.enumerated() {
            let isTail = index == segments.count - 1
            let read = try self.segment(
                Path.join(path, name), isTail: isTail, cuts: isTail && isLast, &state)
            guard let segment = read else { continue }
            // A segment is synced before the next one is begun: it is whole, and ends there.
            if let before = generation.segments.indices.last {
                generation.segments[before].endOffset = segment.startOffset
            }
            generation.segments.append(segment)
            generation.sourceIDs.insert(state.sourceID)
        }
        return generation
    }

    /// nil = a tail without a complete header.
    private func segment(
        _ path: String, isTail: Bool, cuts: Bool, _ state: inout Spool.State
    ) throws(SpoolError) -> Spool.Segment? {
        let file = try onSpoolFiles { () throws(FileError) in
            try self.fileSystem.open(path, .readWrite)
        }
        let size = try onSpoolFiles { () throws(FileError) in try file.size() }
        var cursor = SpoolFileCursor(file: file)
        guard let header = try cursor.readHeader() else {
            guard isTail else { throw .damaged(path: path, reason: "header is damaged") }
            if cuts {
                try onSpoolFiles { () throws(FileError) in try self.fileSystem.unlink(path) }
            }
            return nil
        }
        state.sourceID = header.sourceID
        var segment = Spool.Segment(
            startOffset: header.startOffset, endOffset: header.startOffset, fileBytes: size,
            path: path)
        guard isTail else { return segment }
        while try cursor.readBlock() != nil {}
        segment.endOffset = cursor.offset
        if cuts, cursor.filePosition < size {
            try onSpoolFiles { () throws(FileError) in
                try file.truncate(to: cursor.filePosition)
                try file.synchronize()
            }
            segment.fileBytes = cursor.filePosition
        }
        return segment
    }
}

/// Goes through the blocks of one segment.
struct SpoolFileCursor {
    let file: any File
    /// Offset in the history of the next block's first byte.
    private(set) var offset: UInt64 = 0
    /// Where the next block begins in the file.
    private(set) var filePosition: UInt64 = 0
    private var header = [UInt8](repeating: 0, count: SpoolBlockHeader.encodedBytes)
    private var payload: [UInt8] = []

    init(file: any File) { self.file = file }

    /// The payload of the block that was read last.
    var lastPayload: [UInt8] { self.payload }

    /// The segment's header; nil if it is incomplete or damaged.
    mutating func readHeader() throws(SpoolError) -> SpoolSegmentHeader? {
        var bytes = [UInt8](repeating: 0, count: SpoolSegmentHeader.encodedBytes)
        guard try self.fill(&bytes, at: 0), let header = SpoolSegmentHeader(bytes) else {
            return nil
        }
        self.offset = header.startOffset
        self.filePosition = UInt64(bytes.count)
        return header
    }

    /// The next block, its bytes in `lastPayload`; nil if there is none that is whole and right.
    mutating func readBlock() throws(SpoolError) -> SpoolBlockHeader? {
        guard try self.fill(&self.header, at: self.filePosition),
            let block = SpoolBlockHeader(self.header)
        else { return nil }
        if self.payload.count != block.length {
            self.payload = [UInt8](repeating: 0, count: block.length)
        }
        let start = self.filePosition + UInt64(SpoolBlockHeader.encodedBytes)
        guard try self.fill(&self.payload, at: start) else { return nil }
        let offset = self.offset
        guard self.payload.withUnsafeBytes({ block.matches($0, offset: offset) }) else {
            return nil
        }
        self.filePosition = start + UInt64(block.length)
        self.offset += UInt64(block.length)
        return block
    }

    private func fill(_ bytes: inout [UInt8], at offset: UInt64) throws(SpoolError) -> Bool {
        let wanted = bytes.count
        let file = self.file
        let result = bytes.withUnsafeMutableBytes { buffer -> Result<Int, FileError> in
            do throws(FileError) { return .success(try file.read(into: buffer, at: offset)) } catch
            { return .failure(error) }
        }
        return try onSpoolFiles { () throws(FileError) in try result.get() } == wanted
    }
}
