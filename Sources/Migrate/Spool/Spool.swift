public import FileIO
internal import Synchronization

/// Bounds of a spool.
public struct SpoolLimits: Sendable, Equatable {
    /// A segment that has reached this length is followed by another, in bytes.
    public var segmentBytes: UInt64
    /// Most bytes of snapshots and segments together.
    public var ceilingBytes: UInt64

    /// Segments of 64 MiB, 200 GiB in all.
    public init(segmentBytes: UInt64 = 64 << 20, ceilingBytes: UInt64 = 200 << 30) {
        self.segmentBytes = max(segmentBytes, 1)
        self.ceilingBytes = ceilingBytes
    }
}

/// Why the spool can't do what is asked for.
public enum SpoolError: Error, Sendable, Equatable, CustomStringConvertible {
    /// It holds as much as it may; nothing of what was to be added is in it.
    case ceilingReached(bytes: UInt64, limit: UInt64)
    /// The device is full, or another call failed.
    case file(FileError)
    /// Another process works on the directory.
    case inUse(directory: String)
    /// Bytes on the disk are not those that were written.
    case damaged(path: String, reason: String)
    /// The position is not in the spool (any more).
    case notHeld(generation: UInt32, offset: UInt64)

    /// Whether it may pass by itself once room is made.
    public var isOutOfSpace: Bool {
        switch self {
        case .ceilingReached: true
        case .file(let error): error.isOutOfSpace
        case .inUse, .damaged, .notHeld: false
        }
    }

    /// Text for an operator.
    public var description: String {
        switch self {
        case .ceilingReached(let bytes, let limit):
            "the spool holds \(bytes) bytes, its limit is \(limit): reading of the source pauses "
                + "until the target has caught up (spool.max raises the limit)"
        case .file(let error):
            error.isOutOfSpace
                ? "no room for the spool: \(error)" : "the spool can't be written: \(error)"
        case .inUse(let directory): "\(directory) is in use by another process"
        case .damaged(let path, let reason): "\(path): \(reason)"
        case .notHeld(let generation, let offset):
            "offset \(offset) of generation \(generation) is not in the spool"
        }
    }
}

/// What a source sent, on the disk, until the target has it.
///
/// A *generation* is a snapshot (or none) and the stream behind it; a new one begins where the
/// source's history has a gap. Directory:
///
/// ```text
/// pika-swift.lock
/// g00000001/origin                     how it began
/// g00000001/snapshot.rdb               complete; `snapshot.part` while it is received
/// g00000001/00000000000000001234.seg   the stream behind offset 1234
/// ```
/// One writer (`beginGeneration`, `append…`, `flush`), any number of readers; `synchronize` and
/// `release` from any thread.
public final class Spool: Sendable {
    /// Where it lies.
    public let directory: String
    let fileSystem: any FileSystem
    let limits: SpoolLimits
    private let lock: DirectoryLock
    let state: Mutex<State>

    struct Segment: Sendable {
        var startOffset: UInt64
        /// Behind the last byte that readers may see.
        var endOffset: UInt64
        var fileBytes: UInt64
        var path: String
    }

    struct Generation: Sendable {
        var number: UInt32
        var origin: SpoolOrigin
        var path: String
        /// nil = none, or removed after use.
        var snapshotBytes: UInt64?
        var isSnapshotComplete: Bool
        var segments: [Segment] = []
        /// Under which ids it was received.
        var sourceIDs: Set<String> = []
        var endOffset: UInt64 { self.segments.last?.endOffset ?? self.origin.startOffset }
    }

    struct State: Sendable {
        var generations: [Generation] = []
        /// The highest number that a generation has had.
        var lastNumber: UInt32 = 0
        var totalBytes: UInt64 = 0
        var durableOffset: UInt64 = 0
        /// The id under which the source goes on.
        var sourceID = ""
        var writer: Writer?
        /// Directories that got names since the last sync.
        var unsyncedDirectories: Set<String> = []
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
        var changes: UInt64 = 0
        var isClosed = false
    }

    /// The open file at the end.
    struct Writer: Sendable {
        var file: any File
        var fileBytes: UInt64
        var offset: UInt64
    }

    /// Opens or makes a spool; cuts what a crash left incomplete.
    ///
    /// Blocks for the disk.
    public init(
        directory: String, limits: SpoolLimits = SpoolLimits(), fileSystem: any FileSystem
    ) throws(SpoolError) {
        self.directory = directory
        self.limits = limits
        self.fileSystem = fileSystem
        do throws(DirectoryLockError) {
            self.lock = try DirectoryLock(directory, fileSystem: fileSystem)
        } catch {
            switch error {
            case .heldByAnotherProcess(let directory): throw .inUse(directory: directory)
            case .file(let error): throw .file(error)
            }
        }
        try onSpoolFiles { () throws(FileError) in
            try fileSystem.syncDirectory(Path.directory(of: directory))
        }
        let recovered = try SpoolRecovery(directory: directory, fileSystem: fileSystem).run()
        self.state = Mutex(recovered)
    }

    /// How the newest generation began; nil for a new spool.
    public var origin: SpoolOrigin? { self.state.withLock { $0.generations.last?.origin } }

    /// The id under which the source goes on; empty for a new spool.
    public var sourceID: String { self.state.withLock { $0.sourceID } }

    /// The newest generation's number; 0 for a new spool.
    public var generation: UInt32 { self.state.withLock { $0.generations.last?.number ?? 0 } }

    /// Behind the last byte of the stream.
    public var endOffset: UInt64 { self.state.withLock { $0.generations.last?.endOffset ?? 0 } }

    /// Behind the last byte of the stream that a power loss leaves.
    public var durableOffset: UInt64 { self.state.withLock { $0.durableOffset } }

    /// Bytes of all files.
    public var totalBytes: UInt64 { self.state.withLock { $0.totalBytes } }

    /// Whether the newest generation waits for (the rest of) its snapshot.
    public var needsSnapshot: Bool {
        self.state.withLock { state in
            guard let last = state.generations.last else { return true }
            return last.origin.hasSnapshot && !last.isSnapshotComplete
        }
    }

    /// Whether reading can begin there.
    public func holds(generation: UInt32, offset: UInt64) -> Bool {
        self.state.withLock { state in
            guard let found = state.generations.first(where: { $0.number == generation }) else {
                return false
            }
            let start = found.segments.first?.startOffset ?? found.origin.startOffset
            return offset >= start && offset <= found.endOffset
        }
    }

    /// Syncs, and lets other processes in.
    public func close() {
        try? self.synchronize()
        let waiters = self.state.withLock { state in
            state.isClosed = true
            state.writer = nil
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume() }
        self.lock.release()
    }

    // MARK: - Waiting

    /// Changes with everything that a reader may be waiting for.
    var changes: UInt64 { self.state.withLock { $0.changes } }

    var isClosed: Bool { self.state.withLock { $0.isClosed } }

    /// Returns when something was added after `changes` was read, at the close, and when the task
    /// is cancelled.
    func waitForChange(after changes: UInt64) async {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDue = self.state.withLock { state in
                    guard state.changes == changes, !state.isClosed, !Task.isCancelled else {
                        return true
                    }
                    state.waiters[ticket] = continuation
                    return false
                }
                if isDue { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume()
        }
    }

    func announceChange() {
        let waiters = self.state.withLock { state in
            state.changes += 1
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume() }
    }
}

/// Turns the errors of files into the spool's.
func onSpoolFiles<R>(_ body: () throws(FileError) -> R) throws(SpoolError) -> R {
    do throws(FileError) { return try body() } catch { throw .file(error) }
}
