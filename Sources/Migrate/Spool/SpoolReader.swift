internal import FileIO
internal import Synchronization

/// Reads the stream of one generation, from one offset on.
///
/// Owned by one task.
struct SpoolStreamReader {
    private let spool: Spool
    private let generation: UInt32
    private var cursor: SpoolFileCursor?
    private var cursorStart: UInt64 = 0
    /// Offset of the next byte that is given out.
    private(set) var offset: UInt64
    /// The id under which the bytes given out last were received.
    private(set) var sourceID = ""

    /// Throws `notHeld` if the spool does not have it.
    init(spool: Spool, generation: UInt32, offset: UInt64) throws(SpoolError) {
        guard spool.holds(generation: generation, offset: offset) else {
            throw .notHeld(generation: generation, offset: offset)
        }
        self.spool = spool
        self.generation = generation
        self.offset = offset
    }

    /// What the spool knows at an offset.
    enum Place: Sendable {
        case segment(Spool.Segment)
        /// At the end; more may come.
        case end
        /// At the end, and another generation follows.
        case closed(next: UInt32)
        case gone
    }

    /// Bytes at `offset`, received at one time; nil at the end.
    mutating func next() throws(SpoolError) -> (bytes: [UInt8], receivedAtMilliseconds: Int64)? {
        while true {
            guard case .segment(let segment) = self.spool.place(self.generation, self.offset)
            else { return nil }
            if self.cursor == nil || self.cursorStart != segment.startOffset {
                let file = try onSpoolFiles { () throws(FileError) in
                    try self.spool.fileSystem.open(segment.path, .readOnly)
                }
                var cursor = SpoolFileCursor(file: file)
                guard let header = try cursor.readHeader(),
                    header.startOffset == segment.startOffset
                else { throw .damaged(path: segment.path, reason: "header is damaged") }
                self.sourceID = header.sourceID
                self.cursor = cursor
                self.cursorStart = segment.startOffset
            }
            guard let block = try self.cursor?.readBlock(), let cursor = self.cursor else {
                throw .damaged(
                    path: segment.path,
                    reason: "block at \(self.cursor?.filePosition ?? 0) is not what was written")
            }
            guard cursor.offset > self.offset else { continue }
            let skipped = Int(self.offset - (cursor.offset - UInt64(block.length)))
            self.offset = cursor.offset
            let bytes =
                skipped == 0 ? cursor.lastPayload : Array(cursor.lastPayload.dropFirst(skipped))
            return (bytes, block.receivedAtMilliseconds)
        }
    }
}

extension Spool {
    /// Where one can read at an offset.
    func place(_ generation: UInt32, _ offset: UInt64) -> SpoolStreamReader.Place {
        self.state.withLock { state in
            guard let index = state.generations.firstIndex(where: { $0.number == generation })
            else { return .gone }
            let found = state.generations[index]
            let segment = found.segments.first {
                offset >= $0.startOffset && offset < $0.endOffset
            }
            if let segment { return .segment(segment) }
            guard index + 1 < state.generations.count else { return .end }
            return .closed(next: state.generations[index + 1].number)
        }
    }

    /// The newest generation that holds an offset of a history.
    func find(id: String, offset: UInt64) -> UInt32? {
        self.state.withLock { state in
            state.generations.last { found in
                let start = found.segments.first?.startOffset ?? found.origin.startOffset
                return found.sourceIDs.contains(id) && offset >= start
                    && offset <= found.endOffset
            }?.number
        }
    }

    /// The oldest generation whose number is above `number` and that can be read from its start; its
    /// snapshot may still grow.
    func nextReadable(after number: UInt32) -> GenerationView? {
        let found = self.state.withLock { state in
            state.generations.first { $0.number > number }?.number
        }
        return found.flatMap { self.view($0) }
    }

    /// The id that a generation goes on under; nil unless it is the newest.
    func currentID(of generation: UInt32) -> String? {
        self.state.withLock { state in
            state.generations.last?.number == generation ? state.sourceID : nil
        }
    }

    /// What a reader has to know of a generation.
    struct GenerationView: Sendable {
        var number: UInt32
        var origin: SpoolOrigin
        /// nil = there is none, or it was removed.
        var snapshotPath: String?
        var snapshotBytes: UInt64
        /// No bytes are added to the snapshot any more.
        var isWhole: Bool
    }

    func view(_ generation: UInt32) -> GenerationView? {
        self.state.withLock { state in
            guard let found = state.generations.first(where: { $0.number == generation }) else {
                return nil
            }
            let name = found.isSnapshotComplete ? "snapshot.rdb" : "snapshot.part"
            return GenerationView(
                number: found.number, origin: found.origin,
                snapshotPath: found.snapshotBytes == nil ? nil : Path.join(found.path, name),
                snapshotBytes: found.snapshotBytes ?? 0,
                isWhole: found.isSnapshotComplete || !found.origin.hasSnapshot)
        }
    }
}
