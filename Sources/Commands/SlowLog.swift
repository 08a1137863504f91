import Glibc
import Keyspace
import PikaStorage
import RESP
public import Synchronization

/// The last commands that took long.
public final class SlowLog: Sendable {
    /// Commands that take at least this long are kept; negative: none (`slowlog-log-slower-than`).
    public let thresholdMicroseconds = Atomic<Int>(10_000)
    /// Entries that are kept (`slowlog-max-len`).
    public let limit = Atomic<Int>(128)

    /// Arguments that an entry shows; of longer requests the last tells how many more there are.
    static let argumentLimit = 32
    /// Bytes of an argument that an entry shows.
    static let argumentLimitBytes = 128

    struct Entry {
        var id: Int64
        var unixSeconds: Int64
        var microseconds: Int64
        var arguments: [[UInt8]]
        var address: String
        var name: String
    }

    private struct State {
        var entries: [Entry] = []
        var nextID: Int64 = 0
    }

    private let state = Mutex(State())

    init() {}

    /// Entries that are there.
    public var count: Int { self.newest(.max).count }

    func clear() { self.state.withLock { $0.entries = [] } }

    /// The newest entries, newest first.
    func newest(_ count: Int) -> [Entry] {
        let limit = self.limit.load(ordering: .relaxed)
        return self.state.withLock { $0.entries.suffix(min(count, limit)).reversed() }
    }

    func add(
        _ arguments: UnsafeBufferPointer<Bytes>, microseconds: Int64, client: ClientRecord,
        unixSeconds: Int64
    ) {
        let limit = self.limit.load(ordering: .relaxed)
        let shown = Self.shown(arguments)
        self.state.withLock { state in
            state.entries.append(
                Entry(
                    id: state.nextID, unixSeconds: unixSeconds, microseconds: microseconds,
                    arguments: shown, address: client.address, name: client.name))
            state.nextID += 1
            // Twice the limit at most, so that dropping costs little per entry.
            if state.entries.count >= max(2, 2 * limit) {
                state.entries.removeFirst(state.entries.count - limit)
            }
        }
    }

    private static func shown(_ arguments: UnsafeBufferPointer<Bytes>) -> [[UInt8]] {
        let isCut = arguments.count > argumentLimit
        let count = isCut ? argumentLimit - 1 : arguments.count
        var shown: [[UInt8]] = []
        for index in 0..<count {
            let argument = arguments[index]
            if isSecret(index, arguments) {
                shown.append(Array("(redacted)".utf8))
            } else if argument.count > argumentLimitBytes {
                let rest = argument.count - argumentLimitBytes
                shown.append(
                    argument.prefix(argumentLimitBytes) + Array("... (\(rest) more bytes)".utf8))
            } else {
                shown.append(Array(argument))
            }
        }
        if isCut {
            shown.append(Array("... (\(arguments.count - count) more arguments)".utf8))
        }
        return shown
    }

    /// A password in CONFIG SET.
    private static func isSecret(_ index: Int, _ arguments: UnsafeBufferPointer<Bytes>) -> Bool {
        guard index >= 3, index % 2 == 1, arguments[0].isWord("config"), arguments[1].isWord("set")
        else { return false }
        let name = arguments[index - 1]
        return name.isWord("requirepass") || name.isWord("masterauth") || name.isWord("userpass")
    }
}

/// Times the commands of one processor.
///
/// A clock reading costs as much as a fast command's tenth, so a burst is timed as a whole, and its
/// time is divided evenly among its commands; a coarse clock (a few milliseconds) finds the
/// slow ones among pipelined commands. With a threshold below ``preciseBelow`` every command is
/// timed for itself.
struct CommandTimer: ~Copyable {
    /// Thresholds of the slow log below this many microseconds need a clock reading per command.
    static let preciseBelow = 10_000
    /// Commands of a burst after which the clock is read.
    private static let chunk = 64

    private let rows: UnsafeMutablePointer<Int32>
    private var count = 0
    private var start: Int64 = 0
    private var coarse: Int64 = 0
    private(set) var isPrecise = false

    init() { self.rows = .allocate(capacity: Self.chunk) }

    deinit { self.rows.deallocate() }

    private static func nanoseconds(_ clock: clockid_t) -> Int64 {
        var now = timespec()
        clock_gettime(clock, &now)
        return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
    }

    /// A burst begins.
    mutating func begin(threshold: Int) {
        self.isPrecise = threshold >= 0 && threshold < Self.preciseBelow
        self.count = 0
        self.coarse = 0
        self.start = Self.nanoseconds(CLOCK_MONOTONIC)
    }

    /// A command was executed; returns its nanoseconds when every command is timed.
    @inline(__always)
    mutating func note(_ row: Int, _ statistics: ProcessorStatistics) -> Int64? {
        self.rows[self.count] = Int32(truncatingIfNeeded: row)
        self.count += 1
        if self.isPrecise { return self.share(statistics) }
        if self.count == Self.chunk { _ = self.share(statistics) }
        return nil
    }

    /// Another command follows in the burst: nanoseconds of the last one, roughly.
    @inline(__always)
    mutating func pass() -> Int64 {
        let now = Self.nanoseconds(CLOCK_MONOTONIC_COARSE)
        let elapsed = self.coarse == 0 ? now - self.start : now - self.coarse
        self.coarse = now
        return elapsed
    }

    /// The burst is over; nanoseconds of its last command, nil if there is none that is new.
    mutating func end(_ statistics: ProcessorStatistics) -> Int64? {
        guard self.count > 0 else { return nil }
        let isOnly = self.count == 1 && self.coarse == 0
        let elapsed = self.share(statistics)
        guard !self.isPrecise else { return nil }
        return isOnly ? elapsed : self.pass()
    }

    /// Divides the time since the last reading among the commands since then; returns it.
    private mutating func share(_ statistics: ProcessorStatistics) -> Int64 {
        let now = Self.nanoseconds(CLOCK_MONOTONIC)
        let elapsed = now - self.start
        let part = Int(elapsed) / self.count
        for index in 0..<self.count { statistics.addTime(part, Int(self.rows[index])) }
        self.start = now
        self.count = 0
        return elapsed
    }
}

extension CommandProcessor {
    /// What follows the execution of each command: MONITOR, times, the slow log.
    @inline(__always)
    func noteExecuted(_ client: ClientState) {
        let x = self.execution
        let row = x.pointee.rowIndex
        if !self.environment.monitors.isEmpty { self.show(client) }
        if let nanoseconds = self.timer.note(row, self.statistics) {
            self.noteTime(nanoseconds, client)
        }
    }

    /// Another request of the burst follows the one that was executed.
    @inline(__always)
    func passTime(_ client: ClientState) {
        guard !self.timer.isPrecise else { return }
        self.noteTime(self.timer.pass(), client)
    }

    /// The burst is over.
    func endTiming(_ client: ClientState) {
        if let nanoseconds = self.timer.end(self.statistics) {
            self.noteTime(nanoseconds, client)
        }
    }

    @inline(__always)
    private func noteTime(_ nanoseconds: Int64, _ client: ClientState) {
        let threshold = self.environment.slowLog.thresholdMicroseconds.load(ordering: .relaxed)
        guard threshold >= 0, nanoseconds >= Int64(threshold) * 1000 else { return }
        self.keepSlow(nanoseconds, client)
    }

    private func keepSlow(_ nanoseconds: Int64, _ client: ClientState) {
        let x = self.execution
        // Not EXEC, but the commands inside.
        guard x.pointee.rowIndex >= 0, !x.pointee.arguments.isEmpty,
            x.pointee.rowIndex != self.environment.table.transactionRows.exec
        else { return }
        let row = self.environment.table.rows[x.pointee.rowIndex]
        guard row.flags.isDisjoint(with: .secret) else { return }
        let microseconds = nanoseconds / 1000
        self.environment.slowLog.add(
            x.pointee.arguments, microseconds: microseconds, client: client.record,
            // Not the group's time: the burst may be over, and asking for it begins the next one,
            // which would go on with this time, and with stores that are exchanged meanwhile.
            unixSeconds: client.record.lastRequestSeconds.load(ordering: .relaxed))
        self.environment.services.noteSlow(
            command: "\(row.name)", microseconds: microseconds, client: client.record)
    }

    private func show(_ client: ClientState) {
        let x = self.execution
        let flags = self.environment.table.rows[x.pointee.rowIndex].flags
        guard flags.isDisjoint(with: [.secret, .admin]) else { return }
        self.environment.monitors.show(
            x.pointee.arguments, of: client.record, database: client.database)
    }
}

/// SLOWLOG and MONITOR.
enum ObservationCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "slowlog", arity: -2, flags: [.admin, .container], keys: .none, group: .server,
            since: "2.2.12", summary: "Shows the commands that took long.", handler: slowlog),
        CommandRow(
            "monitor", arity: -1, flags: [.admin, .commitsFirst, .noMulti], keys: .none,
            group: .server, since: "1.0.0", summary: "Shows every command as it is executed.",
            handler: { x in
                guard x.client.record.outlet != nil else {
                    throw CommandError.reply("ERR this connection can't take lines")
                }
                x.client.monitors = x.environment.monitors
                x.environment.monitors.add(x.client.record)
                x.client.record.isMonitor.store(true, ordering: .relaxed)
                x.reply.ok()
            }),
    ]

    /// Entries that GET shows when nothing is said.
    static let usualCount = 10

    private static func slowlog(_ x: inout Execution) throws {
        let log = x.environment.slowLog
        if x[1].isWord("get") {
            try x.requireCount(2...3, "slowlog", "get")
            var count = Int64(usualCount)
            if x.count == 3 { count = try x.integer(2) }
            guard count >= -1 else {
                throw CommandError.reply("ERR count should be greater than or equal to -1")
            }
            let entries = log.newest(count < 0 ? .max : Int(count))
            x.reply.array(entries.count)
            for entry in entries { write(&x, entry) }
        } else if x[1].isWord("len") {
            try x.requireCount(2...2, "slowlog", "len")
            x.reply.integer(log.count)
        } else if x[1].isWord("reset") {
            try x.requireCount(2...2, "slowlog", "reset")
            log.clear()
            x.reply.ok()
        } else if x[1].isWord("help") {
            x.help([
                "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "GET [<count>]", "LEN", "RESET", "HELP",
            ])
        } else {
            throw x.unknownSubcommand("SLOWLOG")
        }
    }

    private static func write(_ x: inout Execution, _ entry: SlowLog.Entry) {
        x.reply.array(6)
        x.reply.integer(entry.id)
        x.reply.integer(entry.unixSeconds)
        x.reply.integer(entry.microseconds)
        x.reply.array(entry.arguments.count)
        for argument in entry.arguments { argument.withUnsafeBytes { x.reply.bulk($0) } }
        x.reply.bulk(entry.address)
        x.reply.bulk(entry.name)
    }
}
