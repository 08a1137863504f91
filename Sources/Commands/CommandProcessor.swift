public import Keyspace
import PikaStorage
public import RESP
public import SyncProtocol
import Synchronization

/// Replies that must not be sent before this position of a database's log is durable
/// (`binlog-sync always`).
public struct DurableWait: Sendable, Equatable {
    /// Index of the database.
    public var database: Int
    /// Position that must be durable.
    public var position: BinlogPosition
}

/// What to do with a connection after `process` or `finish`.
public enum ProcessNext: Sendable {
    /// All complete requests are executed: read on.
    case readMore
    /// There is much output, or the connection has had its turn: write the output, and call
    /// `process` again with the rest of the input when the socket is writable and others had theirs.
    case yield
    /// The connection is busy: run the work on the slow pool, then call `finish` on the loop, then
    /// `process` with the rest of the input.
    case busy(SlowWork)
    /// The transaction gate is closed: call `process` again with the rest of the input when
    /// `CommandEnvironment.whenGateOpen` calls back.
    case gateClosed
    /// The first request of the rest waits for elements: call `process` again with the rest of the
    /// input when the waiter is woken (`KeyWaiter.whenWoken`), and interrupt it when its time is
    /// over.
    case blocked(BlockedRequest)
    /// The first request of the rest waits for its time: call `process` again with the rest of the
    /// input when `CommandEnvironment.whenDue` calls back.
    case postponed
    /// A long reply: write it piece by piece as the socket takes it, then go on with `then`.
    indirect case output(ReplyBuffer, then: ProcessNext)
    /// Close the connection once the output is written.
    case close

    var isClose: Bool { if case .close = self { true } else { false } }
}

/// A request that waits for elements.
public struct BlockedRequest: Sendable {
    /// Who waits.
    public let waiter: KeyWaiter
    /// Bytes that the connection has to put in front of its unread input: the request itself, and
    /// what followed it, when they were on the slow pool.
    public var unread: [UInt8] = []
}

/// Result of `process`.
public struct ProcessResult: Sendable {
    /// Bytes of the input that are used up; the rest must come first in the next input.
    public var consumed: Int
    /// What happens next with the connection.
    public var next: ProcessNext
    /// The output written so far must be held back until these positions are durable.
    ///
    /// Usually empty.
    public var waits: [DurableWait]
}

/// The command path of one event loop, without I/O.
///
/// Not thread-safe: one processor per loop. For a connection's readable bytes:
/// ```
/// let result = processor.process(client, bytes)   // executes, commits, appends to `output`
/// buffer.writeBytes(processor.output); processor.clearOutput()
/// // drop result.consumed bytes, keep the rest; then look at result.waits and result.next
/// ```
/// `process` commits the writes of its input before it returns, so replies in `output` are true
/// (but for `waits`). Call it once per read, flush the socket once per read cycle, and do not call
/// it while fewer than `ClientState.neededBytes` are there.
public final class CommandProcessor {
    let environment: CommandEnvironment
    let place: ExecutionPlace
    let execution: UnsafeMutablePointer<Execution>
    var parser: RequestParser
    let entrance: Entrance
    let statistics: ProcessorStatistics
    let largeNames: LargeNames
    /// The group of each database; nil until it is used, and while the pool has it.
    var groups: [WriteGroup?]
    /// Groups that came back from the pool.
    private var spares: [WriteGroup] = []
    var waits: [DurableWait] = []
    var batch = Batch()
    var timer = CommandTimer()
    /// For the next MULTI.
    var spareTransaction: Transaction?
    private var pipelineReads: PipelineReads?

    /// `process` yields when the output has come to this many bytes.
    public static let yieldBytes = 1024 * 1024

    /// The requests from the first uncommitted write on.
    struct Batch {
        /// Where the first of them starts in the input.
        var input = 0
        /// Where the reply of the first of them starts in the output.
        var output = 0
        /// How many replies there are.
        var replies = 0
        /// The reply of the first of them was not wanted (CLIENT REPLY SKIP).
        var skipsFirst = false
    }

    /// Makes the processor of one event loop.
    public convenience init(environment: CommandEnvironment) {
        self.init(environment: environment, place: .loop)
    }

    init(environment: CommandEnvironment, place: ExecutionPlace) {
        self.environment = environment
        self.place = place
        self.parser = RequestParser(limits: environment.limits)
        self.entrance = environment.keyspace.gate.makeEntrance(onPool: place == .pool)
        self.statistics = environment.makeStatistics()
        self.largeNames = environment.keyspace.largeNames
        let group = environment.keyspace.databases[0].makeGroup(onPool: place == .pool)
        self.groups = Array(repeating: nil, count: environment.keyspace.databases.count)
        self.groups[0] = group
        let record = ClientRecord(
            id: 0, address: "", localAddress: "", descriptor: -1, createdSeconds: 0)
        self.pipelineReads = place == .loop ? PipelineReads(environment) : nil
        self.execution = .allocate(capacity: 1)
        self.execution.initialize(
            to: Execution(
                client: ClientState(record: record), environment: environment, group: group,
                place: place))
        if place == .loop {
            self.execution.pointee.reply.replyLimitBytes = ExecutionPlace.replyLimitBytes
        }
    }

    deinit {
        self.pipelineReads?.ahead.stop()
        self.environment.keyspace.gate.remove(self.entrance)
        self.execution.deinitialize(count: 1)
        self.execution.deallocate()
    }

    /// Replies not yet taken; valid until the next call of the processor.
    public var output: UnsafeRawBufferPointer { self.execution.pointee.reply.bytes }

    /// Forgets the replies that were taken.
    public func clearOutput() { self.execution.pointee.reply.clear() }

    /// Executes the requests at the start of `input` and commits what they wrote.
    ///
    /// Incomplete requests stay unconsumed: call again with the same bytes and more behind them.
    public func process(_ client: ClientState, _ input: UnsafeRawBufferPointer) -> ProcessResult {
        if self.place == .pool {
            self.entrance.enterBlocking()
        } else if !self.entrance.enter() {
            return ProcessResult(consumed: 0, next: .gateClosed, waits: [])
        }
        defer { self.entrance.leave() }
        self.begin(client)
        if self.place == .pool {
            let limit = self.environment.maxReplyBytes.load(ordering: .relaxed)
            self.execution.pointee.reply.replyLimitBytes = limit
        }
        var position = 0
        self.pipelineReads?.begin(
            inputBytes: input.count, readNanoseconds: self.execution.pointee.group.readNanoseconds)
        var next = self.run(client, input, &position)
        self.pipelineReads?.end()
        if let stop = self.finishBatch(client, input, position, closes: next?.isClose ?? false) {
            next = stop
        }
        self.endTiming(client)
        client.record.lastCommand.store(self.execution.pointee.rowIndex, ordering: .relaxed)
        let waits = self.waits
        if !waits.isEmpty { self.waits = [] }
        return ProcessResult(consumed: position, next: next ?? .readMore, waits: waits)
    }

    /// Takes over the replies of a slow work that ran; call on the connection's loop.
    ///
    /// `consumed` of the result is 0; `next` is `readMore`, `blocked` or `close`, behind `output`
    /// when the replies are too long to be copied at once.
    public func finish(_ work: SlowWork, _ client: ClientState) -> ProcessResult {
        if let group = work.group { self.spares.append(group) }
        var next: ProcessNext =
            if let blocked = work.blocked { .blocked(blocked) } else {
                work.closes ? .close : .readMore
            }
        if let output = work.output {
            if output.count > Self.yieldBytes {
                next = .output(output, then: next)
            } else {
                self.execution.pointee.reply.raw(output.bytes)
            }
        }
        return ProcessResult(consumed: 0, next: next, waits: work.waits)
    }

    /// Gives away all replies, so that they need not be copied.
    func takeOutput() -> ReplyBuffer { self.execution.pointee.reply.takeBuffer() }
}

// MARK: - A burst

extension CommandProcessor {
    private func begin(_ client: ClientState) {
        let x = self.execution
        x.pointee.client = client
        x.pointee.reply.version = client.version
        x.pointee.turn.begin()
        self.selectGroup(client.database)
        let now = x.pointee.group.now
        client.record.lastRequestSeconds.store(now, ordering: .relaxed)
        self.batch = Batch(input: 0, output: x.pointee.reply.count)
        self.timer.begin(
            threshold: self.environment.slowLog.thresholdMicroseconds.load(ordering: .relaxed))
    }

    /// Makes the group of a database the one that commands work in.
    func selectGroup(_ database: Int) {
        let group: WriteGroup
        if let existing = self.groups[database] {
            group = existing
        } else if let spare = self.spares.firstIndex(where: { $0.database.index == database }) {
            group = self.spares.remove(at: spare)
            self.groups[database] = group
        } else {
            group = self.environment.keyspace.databases[database].makeGroup(
                onPool: self.place == .pool)
            self.groups[database] = group
        }
        self.execution.pointee.group = group
    }

    /// Executes requests until the input ends or something stops the burst.
    private func run(
        _ client: ClientState, _ input: UnsafeRawBufferPointer, _ position: inout Int
    ) -> ProcessNext? {
        client.neededBytes = 0
        var requests = 0
        defer { self.statistics.countRequests(requests) }
        while position < input.count {
            let authenticated =
                client.access != nil || !self.environment.needsPassword.load(ordering: .relaxed)
            if let next = self.pipelineReads?.next, position >= next, authenticated {
                self.pipelineReads?.look(
                    input, from: position, self.environment.table, self.execution.pointee.group)
            }
            switch self.parser.parse(input, from: position, authenticated: authenticated) {
            case .request(let end):
                let replyStart = self.execution.pointee.reply.count
                switch self.execute(client, authenticated, bytes: end - position) {
                case .next:
                    if end < input.count { self.passTime(client) }
                    if client.waiter != nil { client.endWait() }
                    requests += 1
                    position = end
                    if client.replyMode != .on {
                        self.extendBatchMuted(client, end, replyStart)
                    } else {
                        self.extendBatch(end)
                    }
                case .commitFirst:
                    // What is uncommitted ends in front of this request, which is parsed again.
                    if let stop = self.finishBatch(client, input, position, closes: false) {
                        return stop
                    }
                case .pool:
                    let work = SlowWork(self.environment, client, input, position..<end)
                    position = end
                    return .busy(work)
                case .close:
                    position = end
                    self.extendBatch(end)
                    return .close
                case .block:
                    guard let waiter = client.waiter else {
                        preconditionFailure("a command waits for nothing")
                    }
                    return .blocked(BlockedRequest(waiter: waiter))
                case .postpone:
                    if let stop = self.finishBatch(client, input, position, closes: false) {
                        return stop
                    }
                    return .postponed
                case .batchToPool:
                    position = end
                    self.batch.replies += 1
                    return self.moveBatchToPool(client, input, end)
                }
            case .nothing(let end):
                position = end
            case .incomplete(let needed):
                client.neededBytes = needed - position
                return nil
            case .failure(let error):
                self.execution.pointee.reply.error("ERR " + error.text)
                self.batch.replies += 1
                position = input.count
                return .close
            }
            if self.place == .loop, self.hasHadItsTurn { return .yield }
        }
        return nil
    }

    @inline(__always)
    private var hasHadItsTurn: Bool {
        self.execution.pointee.reply.count >= Self.yieldBytes
            || self.execution.pointee.turn.isOver
    }

    /// A request was executed; while nothing is uncommitted the batch starts behind it.
    @inline(__always)
    private func extendBatch(_ end: Int) {
        if self.execution.pointee.group.hasWrites {
            self.batch.replies += 1
        } else {
            self.batch = Batch(input: end, output: self.execution.pointee.reply.count)
        }
    }

    /// As above for a client that wants no reply.
    private func extendBatchMuted(_ client: ClientState, _ end: Int, _ replyStart: Int) {
        let skips = client.replyMode == .skipsNext
        let row = self.environment.table.rows[max(0, self.execution.pointee.rowIndex)]
        // What confirms a subscription is a message and no reply.
        if row.group == .pubsub, row.flags.contains(.subscribed) { return self.extendBatch(end) }
        client.mute(&self.execution.pointee.reply, from: replyStart)
        let replies = self.batch.replies
        self.extendBatch(end)
        guard self.execution.pointee.group.hasWrites else { return }
        // The command behind CLIENT REPLY SKIP is the first of its batch.
        self.batch.replies = replies
        if skips { self.batch.skipsFirst = true }
    }

    /// What becomes of a request.
    enum Step {
        /// It was executed.
        case next
        /// It was not: the writes before it must be committed first.
        case commitFirst
        /// It was not: it must run on the slow pool.
        case pool
        /// It was executed and ends the connection.
        case close
        /// Its time has not come; it was not executed.
        case postpone
        /// It waits for elements; it was not executed.
        case block
        /// Everything that is uncommitted, this request included, must run on the slow pool.
        case batchToPool
    }

    /// Executes the request that was just parsed, unless it is too long for a loop.
    @inline(__always)
    private func execute(_ client: ClientState, _ authenticated: Bool, bytes: Int) -> Step {
        if bytes > ExecutionPlace.requestLimitBytes, self.place == .loop {
            return self.handToPool()
        }
        return self.execute(client, authenticated)
    }

    /// Executes the request that was just parsed.
    @inline(__always)
    func execute(_ client: ClientState, _ authenticated: Bool) -> Step {
        let x = self.execution
        x.pointee.arguments = self.parser.arguments
        guard let index = self.environment.table.find(x.pointee.arguments[0]) else {
            x.pointee.replyUnknownCommand()
            client.transaction?.hasFailed = true
            return .next
        }
        let row = self.environment.table.hotRow(index)
        if let refusal = self.refusal(row, index, client, authenticated) {
            x.pointee.replyError(refusal)
            client.transaction?.hasFailed = true
            return .next
        }
        if self.environment.pause.isOn, self.isPaused(row, index, client) { return .postpone }
        if let transaction = client.transaction {
            if let step = self.transact(row, index, client, transaction) { return step }
        } else if index == self.environment.table.transactionRows.multi {
            return self.beginTransaction(client)
        }
        let flags = row.pointee.flags
        if self.place == .loop,
            flags.contains(.slow) || x.pointee.count > ExecutionPlace.argumentLimit
        {
            return self.handToPool()
        }
        if self.place == .loop, !self.largeNames.isEmpty, self.namesLargeValue(row) {
            return self.handToPool()
        }
        // What follows a timeless command may depend on the second.
        if !flags.isDisjoint(with: [.commitsFirst, .suspend]) || x.pointee.group.isTimeless,
            x.pointee.group.hasWrites
        {
            return .commitFirst
        }
        if !flags.isDisjoint(with: [.write, .locksKeys]) {
            switch self.lockKeys(row) {
            case .acquired: break
            case .commitFirst: return .commitFirst
            case .busy: return self.handToPool()
            }
        }
        self.statistics.count(index)
        x.pointee.rowIndex = index
        return self.call(row, client)
    }

    /// On a loop, when a command has to wait or to work for long.
    private func handToPool() -> Step {
        precondition(self.place == .loop, "work of the pool is handed to the pool")
        return self.execution.pointee.group.hasWrites ? .commitFirst : .pool
    }

    /// The reply is too long for a loop: the command is executed anew on the pool, with whatever is
    /// uncommitted before it.
    ///
    /// One that is too long for anybody is an error.
    private func endOverflow(_ replyStart: Int) -> Step {
        self.execution.pointee.reply.dropOverflow()
        self.execution.pointee.reply.truncate(to: replyStart)
        guard self.place == .pool else { return .batchToPool }
        self.failBatch(CommandError.replyTooLargeText, replies: self.batch.replies + 1)
        return .next
    }

    /// Runs the handler and looks at what it changed about the connection.
    @inline(__always)
    private func call(_ row: UnsafePointer<HotRow>, _ client: ClientState) -> Step {
        let x = self.execution
        let replyStart = x.pointee.reply.count
        x.pointee.reply.beginReply()
        // Sampled by the group at its first use after a commit, so not before this point.
        x.pointee.now = x.pointee.group.now
        do {
            try self.beginNotices(row)
            try self.checkTypes(row)
            if row.pointee.flags.contains(.suspend) {
                try self.outsideOfGate { try row.pointee.handler(&x.pointee) }
            } else {
                try row.pointee.handler(&x.pointee)
            }
        } catch let error as CommandError {
            if x.pointee.reply.hasOverflowed { return self.endOverflow(replyStart) }
            x.pointee.reply.truncate(to: replyStart)
            self.dropNotices()
            switch error {
            case .deferToPool:
                // It counts where it is executed.
                self.statistics.uncount(x.pointee.rowIndex)
                return self.handToPool()
            case .blocked: return .block
            case .again: return .postpone
            default: x.pointee.replyError(error)
            }
        } catch {
            x.pointee.reply.truncate(to: replyStart)
            self.failBatch(errorText(of: error), replies: self.batch.replies + 1)
        }
        if x.pointee.reply.hasOverflowed { return self.endOverflow(replyStart) }
        self.endNotices()
        self.noteExecuted(client)
        if client.closesAfterReply { return .close }
        if client.database != x.pointee.group.database.index { self.selectGroup(client.database) }
        x.pointee.reply.version = client.version
        return .next
    }

    /// Runs a handler that closes the gate itself: no group is open.
    func outsideOfGate(_ body: () throws -> Void) rethrows {
        self.execution.pointee.group.discard()
        self.entrance.leave()
        defer { self.entrance.enterBlocking() }
        try body()
    }

    @inline(__always)
    func refusal(
        _ row: UnsafePointer<HotRow>, _ index: Int, _ client: ClientState, _ authenticated: Bool
    ) -> CommandError? {
        let count = self.execution.pointee.arguments.count
        let arity = row.pointee.arity
        guard arity >= 0 ? count == arity : count >= -arity else {
            return .arity("\(self.environment.table.rows[index].name)")
        }
        let flags = row.pointee.flags
        if !authenticated, !flags.contains(.noauth) { return .noAuth }
        if client.access == .user, self.environment.isForbiddenForUsers(index) {
            let name = self.environment.table.rows[index].name
            return .text("NOPERM this user has no permissions to run the '\(name)' command")
        }
        if row.pointee.keys.first > 0 || row.pointee.keys.isMovable,
            self.namesReservedKey(row.pointee.keys)
        {
            return .reservedKey
        }
        if client.subscriptions != nil, client.version == .resp2, !flags.contains(.subscribed) {
            return .subscribed("\(self.environment.table.rows[index].name)")
        }
        if flags.contains(.write), self.environment.isReadOnlyReplica.load(ordering: .relaxed),
            !flags.contains(.readsUnlessStored)
                || row.pointee.keys.destinationIndex(in: self.execution.pointee.arguments) != nil
        {
            return .readOnly
        }
        if flags.contains(.growsData), self.environment.refusesGrowth.load(ordering: .relaxed) {
            return .outOfMemory
        }
        return nil
    }

    /// Whether a key of the request may have a value that is too long for a loop to read.
    @inline(never)
    func namesLargeValue(_ row: UnsafePointer<HotRow>) -> Bool {
        row.pointee.keys.list(in: self.execution.pointee.arguments).contains {
            self.largeNames.contains($0)
        }
    }

    @inline(__always)
    private func namesReservedKey(_ keys: KeyPositions) -> Bool {
        let arguments = self.execution.pointee.arguments
        if keys.isMovable {
            return keys.list(in: arguments).contains { AppliedRow.isReserved($0) }
        }
        let last = min(keys.last < 0 ? arguments.count + keys.last : keys.last, arguments.count - 1)
        var index = keys.first
        while index <= last {
            let key = arguments[index]
            if key.count > 0, key[0] == 0, AppliedRow.isReserved(key) { return true }
            index += keys.step
        }
        return false
    }
}
