import FileIO
import SyncProtocol
import Synchronization

/// The open sidecar of one log file.
///
/// Its lock is held for the time of a few small writes.
final class SidecarFile: Sendable {
    private struct State {
        var file: any File
        var nextSlot: Int
        var appendOffset: UInt64
        var nextBlock: Int
        var lastMilestone: UInt64
        var isFinished: Bool
    }

    let path: String
    let number: UInt32
    private let fileSystem: any FileSystem
    private let state: Mutex<State>

    private init(path: String, number: UInt32, fileSystem: any FileSystem, state: State) {
        self.path = path
        self.number = number
        self.fileSystem = fileSystem
        self.state = Mutex(state)
    }

    /// Makes a new sidecar whose first entry is the file's start; not yet durable.
    static func create(
        path: String, number: UInt32, start: BinlogMark, fileSystem: any FileSystem
    ) throws(FileError) -> SidecarFile {
        let file = try fileSystem.open(path, .createEmpty)
        let startOffset = start.position.offset
        try file.write(
            Sidecar.head(number: number, startOffset: startOffset, digest: start.digest), at: 0)
        return SidecarFile(
            path: path, number: number, fileSystem: fileSystem,
            state: State(
                file: file, nextSlot: 0, appendOffset: UInt64(Sidecar.headSize),
                nextBlock: Int(startOffset) / Record.blockSize, lastMilestone: startOffset,
                isFinished: false))
    }

    /// Opens a sidecar that was read.
    static func open(
        path: String, number: UInt32, contents: SidecarContents, fileSystem: any FileSystem
    ) throws(FileError) -> SidecarFile {
        let file = try fileSystem.open(path, .readWrite)
        return SidecarFile(
            path: path, number: number, fileSystem: fileSystem,
            state: Self.state(file, contents))
    }

    private static func state(_ file: any File, _ contents: SidecarContents) -> State {
        let first = Int(contents.startOffset) / Record.blockSize
        return State(
            file: file, nextSlot: contents.nextSlot, appendOffset: contents.appendOffset,
            nextBlock: first + contents.blocks.contiguousCount(from: first),
            lastMilestone: contents.ends.last { !$0.kind.isSlot }?.offset
                ?? contents.startOffset,
            isFinished: contents.fileEnd != nil)
    }

    /// The first block without a checksum.
    var nextBlock: Int { state.withLock { $0.nextBlock } }

    /// What one sync adds.
    struct Additions {
        var firstBlock = 0
        var blockSums: [UInt64] = []
        var published: (offset: UInt64, digest: UInt64)?
        var written: (offset: UInt64, digest: UInt64)?
        var fileEnd: (offset: UInt64, digest: UInt64)?
        var begunBlock: (offset: UInt64, digest: UInt64)?

        var isEmpty: Bool {
            blockSums.isEmpty && published == nil && written == nil && fileEnd == nil
                && begunBlock == nil
        }
    }

    /// Writes entries; not yet durable.
    func add(_ additions: Additions) throws(FileError) {
        try state.withLock { state throws(FileError) in
            var appended: [UInt8] = []
            for (index, sum) in additions.blockSums.enumerated() {
                let block = additions.firstBlock + index
                guard block == state.nextBlock else { continue }
                appended += Sidecar.encode(
                    Sidecar.Entry(
                        kind: .block, block: UInt32(block),
                        offset: UInt64(block + 1) * UInt64(Record.blockSize), digest: sum),
                    number: number)
                state.nextBlock += 1
            }
            if let published = additions.published,
                published.offset >= state.lastMilestone + Sidecar.milestoneBytes
            {
                appended += encode(.milestone, published)
                state.lastMilestone = published.offset
            }
            var slots: [UInt8] = []
            if let published = additions.published { slots += encode(.published, published) }
            if let written = additions.written { slots += encode(.written, written) }
            let begun = additions.begunBlock.map { encode(.begunBlock, $0) } ?? []
            if let end = additions.fileEnd {
                if !state.isFinished { appended += encode(.fileEnd, end) + begun }
                state.isFinished = true
            } else {
                slots += begun
            }
            if !appended.isEmpty {
                try state.file.write(appended, at: state.appendOffset)
                state.appendOffset += UInt64(appended.count)
            }
            try writeSlots(slots, &state)
        }
    }

    private func encode(
        _ kind: Sidecar.Kind, _ end: (offset: UInt64, digest: UInt64)
    ) -> [UInt8] {
        Sidecar.encode(
            Sidecar.Entry(kind: kind, offset: end.offset, digest: end.digest), number: number)
    }

    /// Overwrites the oldest slots, in one call.
    private func writeSlots(_ bytes: [UInt8], _ state: inout State) throws(FileError) {
        let count = bytes.count / Sidecar.recordSize
        guard count > 0 else { return }
        if state.nextSlot + count > Sidecar.slotCount { state.nextSlot = 0 }
        try state.file.write(bytes, at: UInt64((state.nextSlot + 2) * Sidecar.recordSize))
        state.nextSlot = (state.nextSlot + count) % Sidecar.slotCount
    }

    /// Makes what was written durable.
    func synchronize() throws(FileError) {
        let file = state.withLock { $0.file }
        try file.synchronize()
    }

    /// Drops everything behind the mark, durably, if there is anything.
    func trim(to mark: BinlogMark) throws(BinlogError) {
        let result = state.withLock { state -> Result<Void, BinlogError> in
            do throws(BinlogError) {
                return .success(try trim(to: mark, &state))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func trim(to mark: BinlogMark, _ state: inout State) throws(BinlogError) {
        let file = state.file
        let bytes = try io { () throws(FileError) in
            try file.readAll(limitBytes: BinlogLimits.maxSidecarBytes)
        }
        guard let contents = try SidecarContents(bytes, number: number, path: path),
            let trimmed = contents.trimmed(to: mark, number: number)
        else { return }
        let new = try io { () throws(FileError) in
            try fileSystem.writeAtomically(path, trimmed)
            return try fileSystem.open(path, .readWrite)
        }
        if let kept = try SidecarContents(trimmed, number: number, path: path) {
            state = Self.state(new, kept)
        }
    }

    /// Reads a sidecar from disk; nil if it does not exist or was never written.
    static func read(
        path: String, number: UInt32, fileSystem: any FileSystem
    ) throws(BinlogError) -> SidecarContents? {
        let bytes: [UInt8]?
        do throws(FileError) {
            bytes = try fileSystem.readFile(path, limitBytes: BinlogLimits.maxSidecarBytes)
        } catch {
            throw .file(error)
        }
        guard let bytes else { return nil }
        return try SidecarContents(bytes, number: number, path: path)
    }

    /// True for a file of which no sync was ever finished (``SidecarContents/provesNothing(_:number:)``).
    static func provesNothing(
        path: String, number: UInt32, fileSystem: any FileSystem
    ) throws(BinlogError) -> Bool {
        do throws(FileError) {
            let bytes = try fileSystem.readFile(path, limitBytes: BinlogLimits.maxSidecarBytes)
            return bytes.map { SidecarContents.provesNothing($0, number: number) } ?? true
        } catch {
            throw .file(error)
        }
    }
}
