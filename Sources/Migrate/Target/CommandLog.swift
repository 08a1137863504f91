internal import CXXHash
internal import FileIO
internal import MigrateCore
internal import Synchronization

/// A file of commands that is written as a target, and the mark beside it.
///
/// The mark says up to which byte the file is whole, and with that what of the stream is in it. What
/// a crash leaves behind that byte is cut off when the next run takes the file over.
final class CommandLog: Sendable {
    private static let format = SealedFile(
        kind: "PKMIGLOG", version: LogMark.version, limitBytes: LogMark.maxBytes)

    private struct State {
        var mark: LogMark
        /// The database of the last command; nil = not known.
        var selected: Int?
        /// Up to where keys were read from the source.
        var horizon: SourcePosition?
        /// Nothing is written any more: where the file ends is not known.
        var isBroken = false
    }

    let path: String
    private let fileSystem: any FileSystem
    private let lock: any FileLock
    private let file: any File
    private let state: Mutex<State>
    /// The number of the run that had the file last; nil = it is not this job's.
    let heldEpoch: UInt64?
    /// There is something in it that no run of this job wrote.
    let isForeign: Bool

    /// Opens a file, or makes it.
    ///
    /// Nothing in it is changed before ``take(epoch:)``.
    init(
        _ path: String, job: String, fileSystem: any FileSystem = RealFileSystem()
    ) throws(RunError) {
        self.path = path
        self.fileSystem = fileSystem
        do {
            guard let lock = try fileSystem.tryLock(path) else {
                throw RunError.fenced("\(path) is being written by another run")
            }
            self.lock = lock
            self.file = try fileSystem.open(path, .openOrCreate)
            let size = try self.file.size()
            let found = try Self.readMark(path, fileSystem)
            let mine = found.flatMap { $0.job == job ? $0 : nil }
            if let mine, mine.sizeBytes <= size,
                try Self.tailHash(self.file, mine.sizeBytes) == mine.tailHash
            {
                self.heldEpoch = mine.epoch
                self.isForeign = false
                self.state = Mutex(State(mark: mine))
            } else {
                self.heldEpoch = nil
                self.isForeign = size > 0
                self.state = Mutex(State(mark: LogMark(job: job, epoch: 0)))
            }
        } catch let error as RunError {
            throw error
        } catch let error as FileError {
            throw .writing(path, error)
        } catch { throw .io("\(error)") }
    }

    private static func markPath(_ path: String) -> String { path + ".pika-migrate" }

    /// The mark beside a file; nil = there is none that is whole.
    private static func readMark(
        _ path: String, _ fileSystem: any FileSystem
    ) throws(FileError) -> LogMark? {
        let bytes = try fileSystem.readFile(
            Self.markPath(path), limitBytes: LogMark.maxBytes + SealedFile.overheadBytes)
        guard let bytes, let payload = try? Self.format.decode(bytes),
            payload.version == LogMark.version
        else { return nil }
        return try? LogMark(decoding: payload.payload)
    }

    private static func tailHash(_ file: any File, _ end: UInt64) throws(FileError) -> UInt64 {
        let count = Int(min(end, UInt64(LogMark.tailBytes)))
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { buffer -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(try file.read(into: buffer, at: end - UInt64(count)))
            } catch { return .failure(error) }
        }
        let found = try result.get()
        return XXH64(bytes, found, 0)
    }

    // MARK: - The mark

    /// The last mark, with what was written since.
    var mark: LogMark { self.state.withLock { $0.mark } }

    /// Makes the file this run's: cuts off what is behind its mark, all of it if it has none.
    func take(epoch: UInt64) throws(RunError) {
        self.state.withLock { $0.mark.epoch = epoch }
        try self.writing { () throws(FileError) in
            try self.file.truncate(to: self.mark.sizeBytes)
            try self.fileSystem.syncDirectory(Path.directory(of: self.path))
        }
        try self.persist(nil)
    }

    /// Begins the file anew: a copy follows.
    func restart() throws(RunError) {
        self.state.withLock { state in
            state.mark = LogMark(job: state.mark.job, epoch: state.mark.epoch)
            state.selected = nil
            state.horizon = nil
        }
        // The mark first: it fits the longer file as well as the empty one.
        try self.persist(nil)
        try self.writing { () throws(FileError) in try self.file.truncate(to: 0) }
    }

    /// Makes everything that was written so far durable, then the mark that says so.
    ///
    /// - Parameter low: The position that the checkpoint is about to have; nil = as before.
    func persist(_ low: SourcePosition?) throws(RunError) {
        var mark = self.state.withLock { state in
            if let low { state.mark.low = low }
            return state.mark
        }
        try self.writing { () throws(FileError) in
            try self.file.synchronize()
            mark.tailHash = try Self.tailHash(self.file, mark.sizeBytes)
        }
        let bytes: [UInt8]
        do { bytes = try Self.format.encode(mark.encode()) } catch {
            throw .io("\(Self.markPath(self.path)) can't be written: \(error)")
        }
        try self.writing { () throws(FileError) in
            try self.fileSystem.writeAtomically(Self.markPath(self.path), bytes)
        }
    }

    private func writing(_ body: () throws(FileError) -> Void) throws(RunError) {
        do throws(FileError) { try body() } catch { throw .writing(self.path, error) }
    }

    // MARK: - Commands

    /// Writes work behind what is there: all of it or, if that fails, nothing.
    func append(_ items: [WorkItem]) throws(RunError) {
        var state = self.state.withLock { $0 }
        var window = CommandBuffer()
        for item in items {
            switch item {
            case .bulk(let commands, let database, _):
                Self.select(database, &window, &state)
                window.append(commands)
            case .unit(let unit): Self.add(unit, &window, &state)
            case .slot: preconditionFailure("a slot's units for a target without slots")
            // Alone in its file: nobody to wait for, no lock to look at.
            case .meet, .watch: break
            }
        }
        try self.write(window, state)
    }

    /// Empties a database, behind what is there.
    func empty(database: Int, end: SourcePosition) throws(RunError) {
        var state = self.state.withLock { $0 }
        var window = CommandBuffer()
        // A server that has fewer databases must not be sent to one that was never used.
        if state.mark.databases.contains(database) {
            Self.select(database, &window, &state)
            window.append(["FLUSHDB"])
        }
        state.mark.markers[database] = Marker(
            epoch: state.mark.epoch, position: end, horizon: state.horizon)
        try self.write(window, state)
    }

    private static func select(
        _ database: Int, _ window: inout CommandBuffer, _ state: inout State
    ) {
        guard state.selected != database else { return }
        state.selected = database
        state.mark.databases.insert(database)
        window.append(["SELECT", "\(database)"])
    }

    private static func add(
        _ unit: WorkUnit, _ window: inout CommandBuffer, _ state: inout State
    ) {
        if !unit.commands.isEmpty {
            Self.select(unit.database, &window, &state)
            // A server that loads the file leaves out a transaction that is cut off.
            let isTransaction = unit.commands.commandCount > 1
            if isTransaction { window.append(["MULTI"]) }
            window.append(unit.commands)
            if isTransaction { window.append(["EXEC"]) }
        }
        if let horizon = unit.horizon { state.horizon = horizon }
        if let horizon = state.horizon, unit.end.coversAll(horizon) { state.horizon = nil }
        state.mark.markers[unit.database] = Marker(
            epoch: state.mark.epoch, position: unit.end, horizon: state.horizon)
    }

    private func write(_ window: CommandBuffer, _ after: State) throws(RunError) {
        let before = self.state.withLock { $0 }
        guard !before.isBroken else { throw .io("\(self.path): an earlier write has failed") }
        let result = window.bytes.withUnsafeBytes { bytes -> Result<Void, FileError> in
            do throws(FileError) {
                return .success(try self.file.write(bytes, at: before.mark.sizeBytes))
            } catch { return .failure(error) }
        }
        if case .failure(let error) = result {
            self.state.withLock { $0.isBroken = true }
            // What stands there of it would end a server's load; the next run cuts it off anyway.
            try? self.file.truncate(to: before.mark.sizeBytes)
            throw .writing(self.path, error)
        }
        var next = after
        next.mark.sizeBytes = before.mark.sizeBytes + UInt64(window.bytes.count)
        self.state.withLock { state in
            next.mark.low = state.mark.low
            state = next
        }
    }

    func close() {
        self.lock.release()
    }
}

/// Writes all work into a command log, in order.
struct LogWorker: QueueWorker {
    let queue: WorkQueue
    let log: CommandLog
    let meter: RunMeter

    /// Works until the queue is closed, or the file can't be written.
    func run() async throws(RunError) {
        while true {
            let entries = await self.queue.take(
                maxUnits: WorkerLimits.maxBatchUnits, maxBytes: WorkerLimits.maxBatchBytes)
            if Task.isCancelled { throw .stopped }
            if entries.isEmpty { return }
            try self.log.append(entries.map(\.item))
            for entry in entries {
                self.meter.sent(commands: entry.item.commandCount, bytes: entry.item.cost)
            }
            if let time = entries.last?.sourceTimeMilliseconds { self.meter.applied(time) }
            self.queue.finish()
        }
    }
}

/// What the tool keeps beside a command log.
struct LogMemory: TargetMemory {
    let server: TargetServer
    let log: CommandLog
    var epoch: UInt64 = 0

    func lockEpoch() async throws(RunError) -> UInt64? {
        self.epoch > 0 ? self.log.mark.epoch : self.log.heldEpoch
    }
    func lock(epoch: UInt64) async throws(RunError) { try self.log.take(epoch: epoch) }
    func keepLow(_ position: SourcePosition, epoch: UInt64) async throws(RunError) {
        try self.log.persist(position)
    }
    func keepCopied() async throws(RunError) { try self.log.persist(nil) }
    func low() async throws(RunError) -> SourcePosition? { self.log.mark.low }
    func markers(workers: Int, databases: [Int]) async throws(RunError) -> [Int: [Int: Marker]] {
        self.log.mark.markers.filter { databases.contains($0.key) }.mapValues { [0: $0] }
    }
    func removeMarkers(workers: Int, databases: [Int]) async throws(RunError) {
        try self.log.restart()
    }
    /// Names can't be told; a copy begins the file anew, so nobody has to know them.
    func scan(
        database: Int, _ body: ([[UInt8]]) async throws(RunError) -> Bool
    ) async throws(RunError) {}
    func hasKeys(database: Int) async throws(RunError) -> Bool {
        database == 0 && self.log.isForeign
    }
    func hasCopyMark() async throws(RunError) -> Bool { false }
    /// What is foreign is cut off when the run takes the file over.
    func flush(database: Int) async throws(RunError) {}
    func empty(database: Int, workers: Int, end: SourcePosition) async throws(RunError) {
        try self.log.empty(database: database, end: end)
    }
}
