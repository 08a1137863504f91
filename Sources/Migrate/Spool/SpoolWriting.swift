internal import FileIO
internal import Synchronization

extension Spool {
    /// Begins a generation: what comes has no connection to what is there.
    ///
    /// An incomplete snapshot of the generation before is removed.
    public func beginGeneration(_ origin: SpoolOrigin) throws(SpoolError) {
        try self.discardIncompleteGeneration()
        try self.synchronize()
        // A number is never used twice: a reader may still have one that was discarded.
        let number = self.state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        let digits = String(number)
        let name = "g" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
        let path = Path.join(self.directory, name)
        let bytes: [UInt8]
        do { bytes = try origin.encode() } catch {
            throw .damaged(path: path, reason: "\(error)")
        }
        try onSpoolFiles { () throws(FileError) in
            try self.fileSystem.removeTree(path)
            try self.fileSystem.makeDirectory(path)
            try self.fileSystem.writeAtomically(Path.join(path, "origin"), bytes)
            try self.fileSystem.syncDirectory(self.directory)
        }
        var writer: Writer?
        if origin.hasSnapshot {
            let file = try onSpoolFiles { () throws(FileError) in
                try self.fileSystem.open(Path.join(path, "snapshot.part"), .createEmpty)
            }
            writer = Writer(file: file, fileBytes: 0, offset: 0)
        }
        self.state.withLock { state in
            state.writer = writer
            state.generations.append(
                Generation(
                    number: number, origin: origin, path: path,
                    snapshotBytes: origin.hasSnapshot ? 0 : nil, isSnapshotComplete: false,
                    sourceIDs: [origin.sourceID]))
            state.sourceID = origin.sourceID
            state.durableOffset = origin.startOffset
        }
        self.announceChange()
    }

    /// Removes the newest generation if its snapshot is incomplete: the source begins anew.
    public func discardIncompleteGeneration() throws(SpoolError) {
        let path = self.state.withLock { state -> String? in
            guard let last = state.generations.last, last.origin.hasSnapshot,
                !last.isSnapshotComplete
            else { return nil }
            state.totalBytes -= min(state.totalBytes, last.snapshotBytes ?? 0)
            state.generations.removeLast()
            state.writer = nil
            return last.path
        }
        guard let path else { return }
        try onSpoolFiles { () throws(FileError) in try self.fileSystem.removeTree(path) }
    }

    /// Adds bytes of the snapshot.
    public func appendSnapshot(_ bytes: UnsafeRawBufferPointer) throws(SpoolError) {
        let writer = try self.room(for: UInt64(bytes.count))
        guard let writer else { return }
        try onSpoolFiles { () throws(FileError) in
            try writer.file.write(bytes, at: writer.fileBytes)
        }
        self.state.withLock { state in
            state.writer?.fileBytes += UInt64(bytes.count)
            state.totalBytes += UInt64(bytes.count)
            let last = state.generations.count - 1
            state.generations[last].snapshotBytes = writer.fileBytes + UInt64(bytes.count)
        }
        self.announceChange()
    }

    /// The snapshot is complete: it is made durable.
    ///
    /// Blocks for the disk.
    public func finishSnapshot() throws(SpoolError) {
        let (found, path) = self.state.withLock { ($0.writer, $0.generations.last?.path) }
        guard let file = found?.file, let path else { return }
        try onSpoolFiles { () throws(FileError) in
            try file.synchronize()
            try self.fileSystem.rename(
                Path.join(path, "snapshot.part"), to: Path.join(path, "snapshot.rdb"))
            try self.fileSystem.syncDirectory(path)
        }
        self.state.withLock { state in
            state.writer = nil
            state.generations[state.generations.count - 1].isSnapshotComplete = true
        }
        self.announceChange()
    }

    /// The source goes on under another id: the next bytes are in a segment that says so.
    public func changeSourceID(_ id: String, receivedAtMilliseconds: Int64) throws(SpoolError) {
        guard id != self.sourceID else { return }
        self.state.withLock { state in
            state.sourceID = id
            guard let last = state.generations.indices.last else { return }
            state.generations[last].sourceIDs.insert(id)
        }
        // An unused segment at this place has the old id in its header: it is written anew.
        try self.beginSegment(receivedAtMilliseconds: receivedAtMilliseconds)
        try self.synchronize()
    }

    /// Most bytes for one call of `append`.
    public static let maxAppendBytes = SpoolBlockHeader.maxPayloadBytes

    /// Adds bytes of the stream, at most `maxAppendBytes`: all of them, or none if it throws.
    ///
    /// Readers see them at once; a power loss may take them until `synchronize` has returned.
    public func append(
        _ payload: UnsafeRawBufferPointer, receivedAtMilliseconds: Int64
    ) throws(SpoolError) {
        precondition(payload.count <= Self.maxAppendBytes, "too much for one block")
        guard !payload.isEmpty else { return }
        defer { self.announceChange() }
        let needed = UInt64(payload.count + SpoolBlockHeader.encodedBytes)
        var writer = try self.room(for: needed)
        if writer.map({ $0.fileBytes + needed > self.limits.segmentBytes }) ?? true {
            try self.beginSegment(receivedAtMilliseconds: receivedAtMilliseconds)
            writer = self.state.withLock { $0.writer }
        }
        guard let writer else { return }
        let header = SpoolBlockHeader(
            payload: payload, offset: writer.offset,
            receivedAtMilliseconds: receivedAtMilliseconds)
        var block = header.encode()
        block.append(contentsOf: payload)
        // A write that failed may have left a part: the next one goes over it.
        try onSpoolFiles { () throws(FileError) in
            try writer.file.write(block, at: writer.fileBytes)
        }
        self.state.withLock { state in
            state.writer?.fileBytes += needed
            state.writer?.offset += UInt64(payload.count)
            state.totalBytes += needed
            let last = state.generations.count - 1
            let segment = state.generations[last].segments.count - 1
            state.generations[last].segments[segment].endOffset += UInt64(payload.count)
            state.generations[last].segments[segment].fileBytes += needed
        }
    }

    /// The open file, if there is one and `bytes` more are allowed.
    private func room(for bytes: UInt64) throws(SpoolError) -> Writer? {
        let (total, writer) = self.state.withLock { ($0.totalBytes, $0.writer) }
        guard total + bytes <= self.limits.ceilingBytes else {
            throw .ceilingReached(bytes: total, limit: self.limits.ceilingBytes)
        }
        return writer
    }

    private func beginSegment(receivedAtMilliseconds: Int64) throws(SpoolError) {
        let (last, id) = self.state.withLock { ($0.generations.last, $0.sourceID) }
        guard let last else { return }
        // Only the last segment can be torn.
        try self.synchronize()
        let start = last.endOffset
        let header = SpoolSegmentHeader(
            sourceID: id, startOffset: start,
            database: start == last.origin.startOffset ? last.origin.database : nil,
            receivedAtMilliseconds: receivedAtMilliseconds)
        let digits = String(start)
        let name = String(repeating: "0", count: max(0, 20 - digits.count)) + digits + ".seg"
        let path = Path.join(last.path, name)
        let file = try onSpoolFiles { () throws(FileError) in
            let file = try self.fileSystem.open(path, .createEmpty)
            try file.write(header.encode(), at: 0)
            return file
        }
        let size = UInt64(SpoolSegmentHeader.encodedBytes)
        self.state.withLock { state in
            state.writer = Writer(file: file, fileBytes: size, offset: start)
            state.unsyncedDirectories.insert(last.path)
            state.totalBytes += size
            let index = state.generations.count - 1
            // One that is begun where an empty one lies takes its place.
            state.generations[index].segments.removeAll { $0.startOffset == start }
            state.generations[index].segments.append(
                Segment(startOffset: start, endOffset: start, fileBytes: size, path: path))
        }
    }

    /// Makes durable what was added before the call.
    ///
    /// Blocks for the disk. After a failure the spool must be opened anew.
    public func synchronize() throws(SpoolError) {
        let (file, directories, generation, offset) = self.state.withLock {
            state -> ((any File)?, Set<String>, UInt32?, UInt64) in
            defer { state.unsyncedDirectories = [] }
            return (
                state.writer?.file, state.unsyncedDirectories, state.generations.last?.number,
                state.generations.last?.endOffset ?? 0
            )
        }
        try onSpoolFiles { () throws(FileError) in
            try file?.synchronize()
            for directory in directories { try self.fileSystem.syncDirectory(directory) }
        }
        self.state.withLock { state in
            guard state.generations.last?.number == generation else { return }
            state.durableOffset = max(state.durableOffset, offset)
        }
    }

    /// Removes everything.
    public func removeAll() throws(SpoolError) {
        let paths = self.state.withLock { state -> [String] in
            defer {
                state.generations = []
                state.totalBytes = 0
                state.durableOffset = 0
                state.sourceID = ""
                state.writer = nil
            }
            return state.generations.map(\.path)
        }
        try onSpoolFiles { () throws(FileError) in
            for path in paths { try self.fileSystem.removeTree(path) }
        }
    }

    /// Removes what lies wholly before a position; the newest segment always stays.
    ///
    /// - Parameter isBehindSnapshot: the snapshot of that generation is not needed any more.
    public func release(
        before generation: UInt32, offset: UInt64, isBehindSnapshot: Bool
    ) throws(SpoolError) {
        let paths = self.state.withLock { state -> [String] in
            var paths: [String] = []
            while let first = state.generations.first, first.number < generation,
                state.generations.count > 1
            {
                paths.append(first.path)
                state.totalBytes -= min(state.totalBytes, Self.bytes(of: first))
                state.generations.removeFirst()
            }
            guard isBehindSnapshot, var first = state.generations.first,
                first.number == generation
            else { return paths }
            if first.isSnapshotComplete, let size = first.snapshotBytes {
                paths.append(Path.join(first.path, "snapshot.rdb"))
                state.totalBytes -= min(state.totalBytes, size)
                first.snapshotBytes = nil
            }
            while first.segments.count > 1, first.segments[0].endOffset <= offset {
                paths.append(first.segments[0].path)
                state.totalBytes -= min(state.totalBytes, first.segments[0].fileBytes)
                first.segments.removeFirst()
            }
            state.generations[0] = first
            return paths
        }
        try onSpoolFiles { () throws(FileError) in
            for path in paths { try self.fileSystem.removeTree(path) }
        }
    }

    static func bytes(of generation: Generation) -> UInt64 {
        generation.segments.reduce(generation.snapshotBytes ?? 0) { $0 + $1.fileBytes }
    }
}
