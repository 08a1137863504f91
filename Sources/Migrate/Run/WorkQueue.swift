internal import MigrateCore
internal import NIOCore
internal import Synchronization

/// What a worker has to do.
enum WorkItem: Sendable {
    /// So many keys of a snapshot: no marker.
    case bulk(CommandBuffer, database: Int, keys: Int)
    /// A unit, or its part for one database.
    case unit(WorkUnit)
    /// A unit, or its part for one slot of a sharded target.
    case slot(SlotUnits)
    /// A unit that others take part in.
    case meet(Meeting)
    /// The lock was written anew.
    case watch

    var cost: Int {
        switch self {
        case .bulk(let buffer, _, _): buffer.bytes.count
        case .unit(let unit): unit.commands.bytes.count
        case .slot(let units): units.commands.bytes.count
        case .meet, .watch: 0
        }
    }

    /// Commands for the target.
    var commandCount: Int {
        switch self {
        case .bulk(let buffer, _, _): buffer.commandCount
        case .unit(let unit): unit.commands.commandCount
        case .slot(let units): units.commands.commandCount
        case .meet, .watch: 0
        }
    }

    /// Units, or commands of a snapshot.
    var units: Int {
        switch self {
        case .bulk(let buffer, _, _): buffer.commandCount
        case .unit, .slot, .meet, .watch: 1
        }
    }
}

/// A unit's work for its executor.
struct WorkUnit: Sendable {
    var commands: CommandBuffer
    /// The target's database.
    var database: Int
    var end: SourcePosition
    /// Keys of the worker were read from the source up to here.
    var horizon: SourcePosition?
    /// The source's keys that it touches.
    var sources: [DatabaseKey]
    /// The values are the source's, read for this.
    var isRefresh = false
}

/// A worker's input: in order, bounded, one producer, one consumer.
final class WorkQueue: Sendable {
    /// The producer waits while more is queued, in bytes.
    static let maxBytes = 2 << 20
    /// The producer waits while more items are queued.
    static let maxItems = 4_096

    struct Entry: Sendable {
        var item: WorkItem
        var sourceTimeMilliseconds: Int64
    }

    private struct State {
        var entries = CircularBuffer<Entry>()
        var bytes = 0
        /// Items handed to the worker and not finished.
        var taken = 0
        var takenTime: Int64?
        var pushed: UInt64 = 0
        var finished: UInt64 = 0
        var isClosed = false
    }

    private let state = Mutex(State())
    private let filled = Bell()
    private let drained = Bell()

    /// Number of items pushed so far.
    var pushed: UInt64 { self.state.withLock { $0.pushed } }
    /// Number of items finished so far.
    var finished: UInt64 { self.state.withLock { $0.finished } }
    /// Source time of the oldest item that is not finished.
    var oldestTime: Int64? {
        self.state.withLock { $0.takenTime ?? $0.entries.first?.sourceTimeMilliseconds }
    }
    /// Bytes waiting.
    var waitingBytes: Int { self.state.withLock { $0.bytes } }

    /// Adds an item; waits while there is no room.
    func push(_ item: WorkItem, time: Int64) async {
        while true {
            let isFull = self.state.withLock { state -> Bool in
                if state.isClosed { return false }
                if state.bytes > Self.maxBytes || state.entries.count > Self.maxItems {
                    return true
                }
                state.entries.append(Entry(item: item, sourceTimeMilliseconds: time))
                state.bytes += item.cost
                state.pushed += 1
                return false
            }
            guard isFull else { break }
            if Task.isCancelled { return }
            await self.drained.wait()
        }
        self.filled.ring()
    }

    /// The next items, at least one; empty when the queue is closed and empty.
    func take(maxUnits: Int, maxBytes: Int) async -> [Entry] {
        while true {
            let taken = self.state.withLock { state -> [Entry]? in
                var entries: [Entry] = []
                var units = 0
                var bytes = 0
                while let first = state.entries.first {
                    let item = first.item
                    if !entries.isEmpty,
                        units + item.units > maxUnits || bytes + item.cost > maxBytes
                    {
                        break
                    }
                    units += item.units
                    bytes += item.cost
                    entries.append(state.entries.removeFirst())
                }
                state.bytes -= bytes
                state.taken = entries.count
                state.takenTime = entries.first?.sourceTimeMilliseconds
                return entries.isEmpty && !state.isClosed ? nil : entries
            }
            if let taken { return taken }
            if Task.isCancelled { return [] }
            await self.filled.wait()
        }
    }

    /// What was taken last is in the target.
    func finish() {
        self.state.withLock { state in
            state.finished += UInt64(state.taken)
            state.taken = 0
            state.takenTime = nil
        }
        self.drained.ring()
    }

    /// Waits until all that was pushed is finished.
    func waitUntilFinished() async {
        while !Task.isCancelled, self.state.withLock({ $0.finished < $0.pushed }) {
            await self.drained.wait()
        }
    }

    /// Nothing more comes.
    func close() {
        self.state.withLock { $0.isClosed = true }
        self.filled.ring()
        self.drained.ring()
    }
}

/// Carries out what comes through a queue, in order.
protocol QueueWorker: Sendable {
    /// Works until the queue is closed, or the target can't go on.
    func run() async throws(RunError)
}
