import Glibc
import Keyspace
import PikaStorage
import RESP
import SyncProtocol

/// One command being executed: arguments, reply, client and the write group that it works in.
///
/// One value per processor, changed from command to command; handlers get it `inout`.
public struct Execution: ~Copyable {
    /// The command word and its arguments; valid until the handler returns.
    var arguments: UnsafeBufferPointer<Bytes>
    /// Where the reply goes.
    var reply: ReplyWriter
    /// The connection.
    var client: ClientState
    /// What all processors share.
    let environment: CommandEnvironment
    /// Uncommitted writes of the selected database, and its reader.
    var group: WriteGroup
    /// Unix seconds by which keys expire: the group's effective now.
    var now: Int64
    /// Where the command runs.
    let place: ExecutionPlace
    /// Index of the command in the table.
    var rowIndex = -1
    /// Copies of members and values.
    var collector = Collector()
    /// What the burst has touched so far.
    let turn = Turn()
    /// Elements in the reply of a scan, or of another reply whose size shows at its end.
    var scanned = 0
    /// True between the commands of EXEC: nothing waits there.
    var isInTransaction = false
    /// What the command has to tell about its keys.
    var notices = Notices()
    /// Messages that wait for the commit.
    var messages: [DeferredMessage] = []
    /// Where the log ends behind what the command committed itself.
    var committedEnd: BinlogPosition?
    /// The command locks its keys behind its writes.
    var locksLate = false
    /// Keys of other types that the command replaces (`wrong-type-check yes`); nearly always empty.
    var displaced: [Bytes] = []

    init(
        client: ClientState, environment: CommandEnvironment, group: WriteGroup,
        place: ExecutionPlace
    ) {
        self.arguments = UnsafeBufferPointer(start: nil, count: 0)
        self.reply = ReplyWriter()
        self.client = client
        self.environment = environment
        self.group = group
        self.now = 0
        self.place = place
    }
}

/// What the commands of one burst have touched together, on an event loop: others wait meanwhile.
final class Turn {
    /// Elements, and what costs as much.
    private(set) var elements = 0

    /// The loop has done enough for one connection.
    @inline(__always)
    var isOver: Bool { self.elements > ExecutionPlace.turnLimit }

    @inline(__always)
    func add(elements: Int) { self.elements &+= elements }

    /// Copying so many bytes costs what an element does.
    @inline(__always)
    func add(bytes: Int) { self.elements &+= bytes / ExecutionPlace.bytesPerElement }

    @inline(__always)
    func begin() { self.elements = 0 }
}

/// Where a command runs, which decides what it may do there.
enum ExecutionPlace: Sendable {
    /// On an event loop: never waits, touches at most `elementLimit` elements.
    case loop
    /// On a thread of the slow pool: may wait.
    case pool

    /// Elements that a command may touch on an event loop.
    static let elementLimit = 1000

    /// Elements that the commands of one connection may touch before others have their turn; a
    /// transaction that touches more runs on the pool.
    static let turnLimit = 20_000

    /// Bytes of a value whose copying counts as one element of a turn.
    static let bytesPerElement = 256

    /// Arguments of a command that an event loop executes at most: MSET of 1,000 pairs, and some.
    static let argumentLimit = 2048

    /// Keys that a command in slices deletes between two commits.
    static let sliceLimit = 1000

    /// Commands of a transaction that an event loop executes at most.
    static let transactionLimit = 1000

    /// Bytes of one reply that an event loop writes at most, about.
    static let replyLimitBytes = 4 << 20

    /// Bytes of one request that an event loop copies at most.
    static let requestLimitBytes = 1 << 20
}

// MARK: - Reading

extension Execution {
    @inline(__always) var strings: Strings { Strings(self.group.transactions.strings) }
    @inline(__always) var hashes: Hashes { Hashes(self.group.transactions.hashes) }
    @inline(__always) var lists: Lists { Lists(self.group.transactions.lists) }
    @inline(__always) var sets: Sets { Sets(self.group.transactions.sets) }
    @inline(__always) var zsets: SortedSets { SortedSets(self.group.transactions.zsets) }
    @inline(__always) var keys: KeyOperations { KeyOperations(self.group.transactions) }

    /// Sends the command to the slow pool when it would touch more elements than a loop may.
    @inline(__always)
    func limit(_ elements: Int) throws(CommandError) {
        self.turn.add(elements: elements)
        if elements > ExecutionPlace.elementLimit, self.place == .loop { throw .deferToPool }
    }
}

// MARK: - Writing

extension Execution {
    /// Logs the request as the client sent it, and applies it.
    @inline(__always) @discardableResult
    mutating func performAsSent(_ effect: Effect) throws -> Int64 {
        try self.group.perform(effect, raw: self.arguments)
    }

    /// Logs the effect's word and the arguments, and applies them.
    @inline(__always) @discardableResult
    mutating func perform(
        _ effect: Effect, list arguments: UnsafeBufferPointer<Bytes>
    ) throws -> Int64 {
        try self.group.perform(effect, arguments)
    }

    /// Logs the effect's word and one argument, and applies them.
    @inline(__always) @discardableResult
    mutating func perform(_ effect: Effect, _ first: Bytes) throws -> Int64 {
        try self.group.perform(effect, first)
    }

    /// Logs the effect's word and two arguments, and applies them.
    @inline(__always) @discardableResult
    mutating func perform(_ effect: Effect, _ first: Bytes, _ second: Bytes) throws -> Int64 {
        try self.group.perform(effect, first, second)
    }

    /// Logs the effect's word and three arguments, and applies them.
    @inline(__always) @discardableResult
    mutating func perform(
        _ effect: Effect, _ first: Bytes, _ second: Bytes, _ third: Bytes
    ) throws -> Int64 {
        try self.group.perform(effect, first, second, third)
    }

    /// Logs words with a command word of their own, and applies them.
    @discardableResult
    mutating func perform(
        _ effect: Effect, word: Bytes, _ first: Bytes, _ second: Bytes? = nil
    ) throws -> Int64 {
        var words = (word, first, second ?? .none)
        let count = second == nil ? 2 : 3
        return try withUnsafeBytes(of: &words) { raw in
            try raw.withMemoryRebound(to: Bytes.self) { words in
                try self.group.perform(
                    effect, raw: UnsafeBufferPointer(rebasing: words[..<count]))
            }
        }
    }

    /// Writes a string: `set`, or `pksetexat` when there is a deadline.
    mutating func writeString(_ key: Bytes, _ value: Bytes, expiry: Int64) throws {
        try self.removeDisplaced()
        guard expiry != 0 else {
            try self.perform(.set, key, value)
            return
        }
        try withDecimal(expiry) { text in
            _ = try self.perform(.pksetexat, key, text, value)
        }
    }

    /// Makes the items of `body` one atomic group of the log.
    mutating func atomically(_ body: (inout Execution) throws -> Void) throws {
        self.group.beginAtomic()
        defer { self.group.endAtomic() }
        try body(&self)
    }

    /// As `atomically`, for items that replace whole keys by something that does not depend on the
    /// second in which they are applied.
    ///
    /// On the pool they are committed as they are even if seconds have passed since they were made.
    mutating func replacing(_ body: (inout Execution) throws -> Void) throws {
        let isAlone = self.mayRunInSlices
        try self.atomically { x in
            if isAlone { x.group.makeTimeless() }
            try body(&x)
        }
    }
}

extension Execution {
    /// For a command that only takes elements away from its key: what stays is the same at any later
    /// second, unless the key has a deadline.
    ///
    /// So what took long is not done once more under the commit lock because a second has passed.
    func takesAway(_ kind: StoreKind) throws {
        guard self.mayRunInSlices else { return }
        let expiry = try self.group.transactions[kind].keyExpiry(self.key, now: self.now)
        if expiry == 0 { self.group.makeTimeless() }
    }
}

// MARK: - Slices

extension Execution {
    /// True where a command may commit what it has done, and go on: on the pool, with nothing
    /// before it that is uncommitted.
    var mayRunInSlices: Bool {
        self.place == .pool && !self.isInTransaction && !self.group.hasWrites
    }

    /// Performs `body` on each key, slice after slice, and returns the sum.
    ///
    /// Each slice is locked and committed by itself, so that nobody waits for the whole; what was
    /// committed before an error stays.
    mutating func inSlices(
        _ keys: UnsafeBufferPointer<Bytes>, _ body: (inout Execution, Bytes) throws -> Int64
    ) throws -> Int64 {
        self.group.discard()
        var sum: Int64 = 0
        var start = 0
        while start < keys.count {
            let end = min(keys.count, start + ExecutionPlace.sliceLimit)
            sum += try self.slice(UnsafeBufferPointer(rebasing: keys[start..<end]), body)
            start = end
        }
        return sum
    }

    private mutating func slice(
        _ keys: UnsafeBufferPointer<Bytes>, _ body: (inout Execution, Bytes) throws -> Int64
    ) throws -> Int64 {
        guard case .acquired = self.group.lock(keys) else {
            preconditionFailure("a group of the pool that holds nothing waits for its keys")
        }
        var sum: Int64 = 0
        try self.commitSlice { x in
            sum = 0
            for key in keys { sum += try body(&x, key) }
        }
        return sum
    }

    /// Performs `body` on elements of a key that the command has locked, slice after slice; the key
    /// stays locked.
    ///
    /// Others read what was committed so far; what was committed before an error stays.
    mutating func inSlicesOfKey(
        _ elements: UnsafeBufferPointer<Bytes>,
        _ body: (inout Execution, UnsafeBufferPointer<Bytes>) throws -> Void
    ) throws {
        self.group.keepsKeys = true
        defer { self.group.keepsKeys = false }
        var start = 0
        while start < elements.count {
            let end = min(elements.count, start + ExecutionPlace.sliceLimit)
            let slice = UnsafeBufferPointer(rebasing: elements[start..<end])
            // Without effect: the key's time is over.
            guard try self.commitSlice({ try body(&$0, slice) }) else { return }
            start = end
        }
    }

    /// Performs and commits a slice, twice if time moves on; false if there was nothing to commit.
    @discardableResult
    private mutating func commitSlice(_ body: (inout Execution) throws -> Void) throws -> Bool {
        for _ in 0..<2 {
            self.now = self.group.now
            self.messages = []
            do {
                try body(&self)
            } catch {
                self.messages = []
                self.group.discard()
                throw error
            }
            switch self.commitGroup() {
            case .nothing: return false
            case .committed(let position):
                self.committedEnd = position
                return true
            case .prepareAgain: break
            case .failed(let error): throw error
            case .busy, .stalled: preconditionFailure("a group of the pool waits for its commit")
            }
        }
        preconditionFailure("a group was to be prepared three times")
    }
}

/// Decimal text of an integer on the stack.
@inline(__always)
func withDecimal<R>(_ value: Int64, _ body: (Bytes) throws -> R) rethrows -> R {
    try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Decimal.maxBytes) { buffer in
        guard let start = buffer.baseAddress else { return try body(.none) }
        let length = Decimal.write(value, to: start)
        return try body(Bytes(start: start, count: length))
    }
}

/// Room for the text of any score.
private let scoreTextBytes = 64

/// Text of a score, as in the log and in replies: 17 significant digits, integers without a point.
@inline(__always)
func withScoreText<R>(_ value: Double, _ body: (Bytes) throws -> R) rethrows -> R {
    // Below 10^15 the text of an integer has no exponent and no more than 17 digits.
    if value.magnitude < 1e15, value == value.rounded(), value != 0 || value.sign == .plus {
        return try withDecimal(Int64(value), body)
    }
    return try withUnsafeTemporaryAllocation(byteCount: scoreTextBytes, alignment: 1) { buffer in
        let length = Numbers.write17(value, into: buffer)
        return try body(Bytes(rebasing: UnsafeRawBufferPointer(buffer)[..<length]))
    }
}

// MARK: - Deadlines

extension Execution {
    /// The last second that a deadline can name (the row has 32 bits).
    static let lastDeadline = Int64(Int32.max)
    /// Seconds beyond which Redis's milliseconds overflow.
    static let secondLimit = UInt64(Int64.max / 1000)

    /// A deadline `seconds` from now.
    func deadline(
        inSeconds seconds: Int64, _ command: StaticString
    ) throws(CommandError) -> Int64 {
        guard seconds.magnitude <= Self.secondLimit else { throw .badExpiry(command) }
        let (deadline, overflow) = self.now.addingReportingOverflow(seconds)
        guard !overflow else { throw .badExpiry(command) }
        return try self.deadline(atSeconds: deadline, command)
    }

    /// A deadline at a Unix second, which is over at its beginning.
    func deadline(
        atSeconds seconds: Int64, _ command: StaticString
    ) throws(CommandError) -> Int64 {
        try self.checked(seconds <= self.now ? min(seconds, self.now - 1) : seconds, command)
    }

    /// A deadline `milliseconds` from now.
    func deadline(
        inMilliseconds milliseconds: Int64, _ command: StaticString
    ) throws(CommandError) -> Int64 {
        let (at, overflow) = self.nowMilliseconds.addingReportingOverflow(milliseconds)
        guard !overflow else { throw .badExpiry(command) }
        return try self.deadline(atMilliseconds: at, command)
    }

    /// A deadline at a Unix millisecond; a key lives through the second of its deadline, so cutting
    /// is never early.
    func deadline(
        atMilliseconds milliseconds: Int64, _ command: StaticString
    ) throws(CommandError) -> Int64 {
        let isOver = milliseconds <= self.nowMilliseconds
        let seconds = milliseconds / 1000
        return try self.checked(isOver ? min(seconds, self.now - 1) : seconds, command)
    }

    /// True for a deadline whose key is gone at once.
    ///
    /// One in the present second is to come: those that are over were set back.
    func isOver(_ deadline: Int64) -> Bool { deadline < self.now }

    /// Unix milliseconds: the machine's within the second of `now` and the one behind it, in which a
    /// burst may end; else, where the log's clock is another, the last one of `now`.
    private var nowMilliseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let second = Int64(time.tv_sec)
        guard second == self.now || second == self.now + 1 else { return self.now * 1000 + 999 }
        return second * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Refuses what does not fit into the row.
    func checked(_ deadline: Int64, _ command: StaticString) throws(CommandError) -> Int64 {
        guard deadline <= Self.lastDeadline, deadline.magnitude <= Self.secondLimit else {
            throw .badExpiry(command)
        }
        return deadline
    }
}

// MARK: - Replies

extension Execution {
    /// A value or null.
    @inline(__always)
    mutating func bulkOrNull(_ value: Bytes?) {
        if let value { self.reply.bulk(value) } else { self.reply.null() }
    }

    /// A score: a double in RESP3, its text in RESP2.
    mutating func score(_ value: Double) {
        withScoreText(value) { self.reply.double(text: $0) }
    }

    /// A score as a bulk string in both protocols.
    mutating func scoreText(_ value: Double) {
        withScoreText(value) { self.reply.bulk($0) }
    }

    /// An error reply.
    mutating func replyError(_ error: CommandError) {
        switch error {
        case .reply(let text): self.reply.error(text)
        case .text(let text): self.reply.error(text)
        case .deferToPool, .blocked, .again:
            preconditionFailure("a deferred command has no error reply")
        }
    }

    /// Redis 7's words for a command that there is not.
    mutating func replyUnknownCommand() {
        let limit = 128
        func cut(_ bytes: Bytes, _ limit: Int) -> String {
            String(decoding: bytes.prefix(max(0, limit)), as: UTF8.self)
        }
        var shown = ""
        for argument in self.arguments.dropFirst() where shown.utf8.count < limit {
            shown += "'\(cut(argument, limit - shown.utf8.count))' "
        }
        self.reply.error(
            "ERR unknown command '\(cut(self.arguments[0], limit))', with args beginning with: "
                + shown)
    }

    /// The answer of a service.
    mutating func administrative(_ answer: AdminReply) {
        switch answer {
        case .ok: self.reply.ok()
        case .simple(let text): self.reply.simple(text)
        case .error(let text): self.reply.error(text)
        case .bulk(let text): self.reply.bulk(text)
        case .integer(let value): self.reply.integer(value)
        case .text(var text):
            text.withUTF8 { self.reply.verbatim(Bytes($0)) }
        }
    }
}
