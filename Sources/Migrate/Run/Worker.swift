internal import MigrateCore
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Figures that workers count together.
struct WorkerReport: Sendable {
    var batches: UInt64 = 0
    var commands: UInt64 = 0
    var bytes: UInt64 = 0
}

/// Keys of the source whose commands the target rejected: they are to be read anew.
final class SuspectKeys: Sendable {
    /// Most keys at once; more are only in the dead letters.
    static let maxKeys = 10_000

    private let keys = Mutex<Set<DatabaseKey>>([])

    func add(_ keys: [DatabaseKey]) {
        self.keys.withLock { held in
            for key in keys where held.count < Self.maxKeys { held.insert(key) }
        }
    }

    /// All of them, and forgets them.
    func take() -> Set<DatabaseKey> {
        self.keys.withLock { held in
            defer { held = [] }
            return held
        }
    }
}

/// Sends one partition's work to the target, in order, batch by batch.
///
/// Where the target has transactions, a batch and its marker are one: both are there or neither.
struct Worker: QueueWorker {
    let index: Int
    let queue: WorkQueue
    let server: TargetServer
    let epoch: UInt64
    let meter: RunMeter
    let letters: DeadLetters
    let suspects: SuspectKeys
    let throttle: Throttle
    /// Keys of a copy carry a mark, too: a two-way sync must know them.
    let marksCopies: Bool

    private struct Link {
        var connection: TargetConnection
        var database = 0
        /// Up to where keys were read from the source; told by all markers until one is behind it.
        var horizon: SourcePosition?
        /// The others wait until its unit, which is next, is in the target.
        var meeting: Meeting?
        /// The last window ended within a command: what comes next goes on with it.
        var isWithinCommand = false
        /// Commands of the open transaction that earlier windows completed.
        var earlierCommands = 0
    }

    /// Works until the queue is closed, or the target can't go on.
    func run() async throws(RunError) {
        var link = Link(
            connection: try await TargetConnection.connect(
                to: self.server.endpoint, group: MultiThreadedEventLoopGroup.singleton))
        defer { link.connection.close() }
        try await self.watchLock(&link)
        while true {
            let entries = await self.queue.take(
                maxUnits: WorkerLimits.maxBatchUnits, maxBytes: WorkerLimits.maxBatchBytes)
            if Task.isCancelled { throw .stopped }
            if entries.isEmpty { return }
            try await self.perform(entries.map(\.item), &link)
            if let time = entries.last?.sourceTimeMilliseconds { self.meter.applied(time) }
            self.queue.finish()
        }
    }

    private func perform(_ items: [WorkItem], _ link: inout Link) async throws(RunError) {
        var batch = Batch()
        for item in items {
            switch item {
            case .meet(let next):
                try await self.send(&batch, &link)
                if next.executor == self.index {
                    await next.gather()
                    link.meeting = next
                } else {
                    await next.attend(self.index)
                }
            case .watch:
                try await self.send(&batch, &link)
                link.horizon = nil
                try await self.watchLock(&link)
            case .slot: preconditionFailure("a slot's units for a target without slots")
            case .bulk(let commands, let database, _):
                if batch.database != database || batch.marks { try await self.send(&batch, &link) }
                batch.database = database
                batch.commands.append(commands)
            case .unit(let unit):
                if batch.database != unit.database || !batch.marks {
                    try await self.send(&batch, &link)
                }
                batch.add(unit)
                if let horizon = unit.horizon { link.horizon = horizon }
                if let held = link.meeting {
                    try await self.send(&batch, &link)
                    held.release()
                    link.meeting = nil
                }
            }
            if Task.isCancelled { throw .stopped }
        }
        try await self.send(&batch, &link)
    }

    private struct Batch {
        var commands = CommandBuffer()
        var database = 0
        var marks = false
        var end: SourcePosition?
        /// The units, each with the number of commands up to its end.
        var units: [(unit: WorkUnit, commandCount: Int)] = []

        mutating func add(_ unit: WorkUnit) {
            self.database = unit.database
            self.marks = true
            self.commands.append(unit.commands)
            self.end = unit.end
            self.units.append((unit, self.commands.commandCount))
        }
    }

    private func send(_ batch: inout Batch, _ link: inout Link) async throws(RunError) {
        defer { batch = Batch() }
        guard !batch.commands.isEmpty || batch.end != nil else { return }
        var window = CommandBuffer()
        if link.database != batch.database {
            precondition(!link.isWithinCommand, "a command is open")
            window.append(["SELECT", "\(batch.database)"])
            link.database = batch.database
        }
        let isTransaction =
            (batch.marks || self.marksCopies) && self.server.capabilities.hasTransactions
        if isTransaction, !link.isWithinCommand { window.append(["MULTI"]) }
        let first = window.commandCount
        window.append(batch.commands)
        link.isWithinCommand = batch.commands.isOpen
        if link.isWithinCommand {
            let replies = try await link.connection.exchange(window)
            try self.check(replies, batch, first: first, link)
            link.earlierCommands += batch.commands.commandCount
            self.meter.sent(
                commands: batch.commands.commandCount, bytes: batch.commands.bytes.count)
            return
        }
        if let end = batch.end {
            if let horizon = link.horizon, end.coversAll(horizon) { link.horizon = nil }
            let marker = Marker(epoch: self.epoch, position: end, horizon: link.horizon)
            window.append([
                Array("SET".utf8), Marker.key(job: self.server.job, worker: self.index),
                marker.encode(),
            ])
        } else if self.marksCopies {
            window.append([
                Array("SET".utf8), Marker.copyKey(job: self.server.job),
                Array("\(self.epoch)".utf8),
            ])
        }
        if isTransaction {
            window.append(["EXEC"])
            self.appendWatch(&window, &link)
        }
        let began = Throttle.now()
        let replies = try await link.connection.exchange(window)
        let took = Throttle.now() - began
        try self.check(replies, batch, first: first, link)
        if isTransaction { try self.checkTransaction(replies) }
        link.earlierCommands = 0
        self.meter.sent(commands: batch.commands.commandCount, bytes: batch.commands.bytes.count)
        await self.throttle.rest(after: took)
    }

    // MARK: - The lock

    /// Any change of the lock from here on makes the next `EXEC` void.
    private func appendWatch(_ window: inout CommandBuffer, _ link: inout Link) {
        if link.database != 0 {
            window.append(["SELECT", "0"])
            link.database = 0
        }
        let lock = Marker.lockKey(job: self.server.job)
        window.append([Array("WATCH".utf8), lock])
        window.append([Array("GET".utf8), lock])
    }

    private func watchLock(_ link: inout Link) async throws(RunError) {
        var window = CommandBuffer()
        if self.server.capabilities.hasTransactions { window.append(["UNWATCH"]) }
        let lock = Marker.lockKey(job: self.server.job)
        if self.server.capabilities.hasTransactions {
            self.appendWatch(&window, &link)
        } else {
            if link.database != 0 { window.append(["SELECT", "0"]) }
            link.database = 0
            window.append([Array("GET".utf8), lock])
        }
        let replies = try await link.connection.exchange(window)
        try self.check(replies, Batch(), first: 0, link)
        try self.checkLock(replies)
    }

    private func checkLock(_ replies: ReplyWindow) throws(RunError) {
        let text = String(decoding: replies.lastValue, as: UTF8.self)
        guard text == "\(self.epoch)" else {
            throw .fenced("run \(text) has taken over the target; this is run \(self.epoch)")
        }
    }

    // MARK: - Replies

    private func check(
        _ replies: ReplyWindow, _ batch: Batch, first: Int, _ link: Link
    ) throws(RunError) {
        for fault in replies.faults {
            switch FaultClass.of(fault.text) {
            case .transient, .topology, .capacity:
                throw .targetLost("target: \(fault.text)")
            case .permission: throw .refused("the target refuses us: \(fault.text)")
            case .data:
                // A queued error comes twice: the `EXEC` that follows tells what became of it.
                if fault.text.hasPrefix("EXECABORT") { continue }
                let at = fault.element.map { $0 - link.earlierCommands } ?? (fault.index - first)
                try self.letters.add(fault.text, batch.commands, at: at, worker: self.index)
                // What of it was carried out is not known: its keys are read, once.
                let failed = batch.units.first { at < $0.commandCount }?.unit
                if let failed, !failed.isRefresh { self.suspects.add(failed.sources) }
            }
        }
    }

    private func checkTransaction(_ replies: ReplyWindow) throws(RunError) {
        if replies.faults.contains(where: { $0.text.hasPrefix("EXECABORT") }) {
            throw .rejected("the target rejects a transaction; see \(self.letters.path)")
        }
        guard replies.nullReplies == 0 else {
            throw .fenced("another run has taken over the target; this is run \(self.epoch)")
        }
        try self.checkLock(replies)
    }
}
