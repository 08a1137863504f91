public import Keyspace
import PikaStorage
public import RESP
public import Synchronization

/// What all command processors of a server share.
public final class CommandEnvironment: Sendable {
    /// The data.
    public let keyspace: Keyspace
    /// The commands.
    public let table: CommandTable
    /// The server around the command path.
    public let services: any ServerServices
    /// Bounds on requests.
    public let limits: RequestLimits
    /// True on a replica: write commands are refused; kept up to date by the server.
    public let isReadOnlyReplica = Atomic<Bool>(false)
    /// True while the server has more memory than `maxmemory`; kept up to date by the server.
    public let refusesGrowth = Atomic<Bool>(false)
    /// True while a password is set; kept up to date by the server.
    public let needsPassword = Atomic<Bool>(false)
    /// True when keys of another type are errors, as in Redis (`wrong-type-check`).
    public let checksTypes = Atomic<Bool>(false)
    /// Which keyspace events are published, as the bits of `EventClasses`; 0 = none.
    let eventClasses = Atomic<UInt32>(0)
    /// How long a read of a string has to take for threads of its own to read ahead of a pipeline;
    /// nil: there are none.
    let readAheadNanoseconds: Int?
    /// Longest reply of KEYS and SCAN, in bytes (`max-client-response-size`).
    public let maxReplyBytes = Atomic<Int>(1 << 30)

    /// The last commands that took long.
    public let slowLog = SlowLog()
    let broker = Broker()
    let monitors = Monitors()
    /// CLIENT PAUSE.
    public let pause = Pause()
    let cursors = ScanCursors()
    /// What CONFIG RESETSTAT has set to zero.
    private let baseline = Mutex<[CommandCounts]>([])
    let pool: PoolProcessors
    /// Commands that clients with the access level `user` may not run, by row index.
    private let forbidden = Mutex<Set<Int>>([])
    private let processors = Mutex<[ProcessorStatistics]>([])

    /// Makes the shared part.
    public init(
        keyspace: Keyspace, services: any ServerServices, table: CommandTable = CommandTable(),
        limits: RequestLimits = RequestLimits(),
        readAheadNanoseconds: Int? = nil
    ) {
        self.keyspace = keyspace
        self.readAheadNanoseconds = readAheadNanoseconds
        self.services = services
        self.table = table
        self.limits = limits
        self.pool = PoolProcessors()
    }

    /// Forbids commands to clients with the access level `user` (`userblacklist`).
    ///
    /// Names that are no commands are ignored.
    public func setForbiddenForUsers(_ names: [String]) {
        let indexes = names.compactMap { name in
            Array(name.utf8).withUnsafeBytes { self.table.find($0) }
        }
        self.forbidden.withLock { $0 = Set(indexes) }
    }

    func isForbiddenForUsers(_ index: Int) -> Bool {
        self.forbidden.withLock { $0.contains(index) }
    }

    /// Calls `body` once, on any thread, when connections that were told `gateClosed` may go on.
    public func whenGateOpen(_ body: @escaping @Sendable () -> Void) {
        self.keyspace.gate.whenOpen(body)
    }

    /// Calls `body` once, on any thread, when a connection that was told `postponed` may go on.
    public func whenDue(_ client: ClientState, _ body: @escaping @Sendable () -> Void) {
        if client.replicaWait != nil {
            self.services.after(milliseconds: ReplicaWait.intervalMilliseconds, body)
        } else {
            self.pause.whenOver(body)
        }
    }

    /// Lets go of the slow pool's processors; no work may run any more.
    ///
    /// MUST be called at the end, since they hold the environment.
    public func shutDown() { self.pool.removeAll() }

    // MARK: Statistics

    func makeStatistics() -> ProcessorStatistics {
        let statistics = ProcessorStatistics(commandCount: self.table.rows.count)
        self.processors.withLock { $0.append(statistics) }
        return statistics
    }

    /// Requests executed since the start or CONFIG RESETSTAT.
    public var requestCount: Int {
        let first = self.baseline.withLock { $0.last?.calls ?? 0 }
        return self.processors.withLock { $0.reduce(0) { $0 + $1.requests } } - first
    }

    /// How often each command was executed since then, in the order of `table.rows`.
    public var callCounts: [Int] { self.commandCounts.map(\.calls) }

    /// Calls and times of each command since then, in the order of `table.rows`.
    public var commandCounts: [CommandCounts] {
        let baseline = self.baseline.withLock { $0 }
        return self.countsSinceStart.enumerated().map { index, counts in
            guard index < baseline.count else { return counts }
            return CommandCounts(
                calls: counts.calls - baseline[index].calls,
                nanoseconds: counts.nanoseconds - baseline[index].nanoseconds)
        }
    }

    private var countsSinceStart: [CommandCounts] {
        self.processors.withLock { all in
            self.table.rows.indices.map { index in
                CommandCounts(
                    calls: all.reduce(0) { $0 + $1.calls(index) },
                    nanoseconds: all.reduce(0) { $0 + $1.nanoseconds(index) })
            }
        }
    }

    /// CONFIG RESETSTAT: counts from here on.
    public func resetCounts() {
        // The counters belong to their loops: what they show now is subtracted.
        var counts = self.countsSinceStart
        let requests = self.processors.withLock { $0.reduce(0) { $0 + $1.requests } }
        counts.append(CommandCounts(calls: requests, nanoseconds: 0))
        self.baseline.withLock { $0 = counts }
    }
}

/// How often a command ran, and for how long.
public struct CommandCounts: Sendable, Equatable {
    /// Executions.
    public var calls: Int
    /// Time of all of them together; commands of one pipeline share its time evenly.
    public var nanoseconds: Int
}

/// Counters of one processor: written by its thread, read by any.
final class ProcessorStatistics: @unchecked Sendable {
    // SAFETY: the counters are atomics; the pointers are set in `init` only.
    private let counters: UnsafeMutablePointer<Atomic<Int>>
    private let commandCount: Int

    init(commandCount: Int) {
        self.commandCount = commandCount
        // Calls, the number of all requests, times.
        self.counters = .allocate(capacity: 2 * commandCount + 1)
        for index in 0...2 * commandCount { (self.counters + index).initialize(to: Atomic(0)) }
    }

    deinit {
        self.counters.deinitialize(count: 2 * self.commandCount + 1)
        self.counters.deallocate()
    }

    var requests: Int { self.calls(self.commandCount) }

    func calls(_ index: Int) -> Int { self.counters[index].load(ordering: .relaxed) }

    func nanoseconds(_ index: Int) -> Int { self.calls(self.commandCount + 1 + index) }

    @inline(__always)
    func addTime(_ nanoseconds: Int, _ index: Int) {
        let place = self.commandCount + 1 + index
        let value = self.counters[place].load(ordering: .relaxed)
        self.counters[place].store(value &+ nanoseconds, ordering: .relaxed)
    }

    /// One writer: no read-modify-write instruction is needed.
    @inline(__always)
    func count(_ index: Int) {
        let value = self.counters[index].load(ordering: .relaxed)
        self.counters[index].store(value &+ 1, ordering: .relaxed)
    }

    /// Takes back what `count` added.
    func uncount(_ index: Int) {
        let value = self.counters[index].load(ordering: .relaxed)
        self.counters[index].store(value &- 1, ordering: .relaxed)
    }

    @inline(__always)
    func countRequests(_ number: Int) {
        let value = self.requests
        self.counters[self.commandCount].store(value &+ number, ordering: .relaxed)
    }
}
