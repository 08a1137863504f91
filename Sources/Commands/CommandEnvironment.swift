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
    /// Longest reply of KEYS and SCAN, in bytes (`max-client-response-size`).
    public let maxReplyBytes = Atomic<Int>(1 << 30)

    let cursors = ScanCursors()
    let pool: PoolProcessors
    /// Commands that clients with the access level `user` may not run, by row index.
    private let forbidden = Mutex<Set<Int>>([])
    private let processors = Mutex<[ProcessorStatistics]>([])

    /// Makes the shared part.
    public init(
        keyspace: Keyspace, services: any ServerServices, table: CommandTable = CommandTable(),
        limits: RequestLimits = RequestLimits()
    ) {
        self.keyspace = keyspace
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

    /// Requests executed since the start.
    public var requestCount: Int {
        self.processors.withLock { $0.reduce(0) { $0 + $1.requests } }
    }

    /// How often each command was executed since the start, in the order of `table.rows`.
    public var callCounts: [Int] {
        self.processors.withLock { all in
            self.table.rows.indices.map { index in all.reduce(0) { $0 + $1.calls(index) } }
        }
    }
}

/// Counters of one processor: written by its thread, read by any.
final class ProcessorStatistics: @unchecked Sendable {
    // SAFETY: the counters are atomics; the pointers are set in `init` only.
    private let counters: UnsafeMutablePointer<Atomic<Int>>
    private let commandCount: Int

    init(commandCount: Int) {
        self.commandCount = commandCount
        // The last counter counts all requests.
        self.counters = .allocate(capacity: commandCount + 1)
        for index in 0...commandCount { (self.counters + index).initialize(to: Atomic(0)) }
    }

    deinit {
        self.counters.deinitialize(count: self.commandCount + 1)
        self.counters.deallocate()
    }

    var requests: Int { self.calls(self.commandCount) }

    func calls(_ index: Int) -> Int { self.counters[index].load(ordering: .relaxed) }

    /// One writer: no read-modify-write instruction is needed.
    @inline(__always)
    func count(_ index: Int) {
        let value = self.counters[index].load(ordering: .relaxed)
        self.counters[index].store(value &+ 1, ordering: .relaxed)
    }

    @inline(__always)
    func countRequests(_ number: Int) {
        let value = self.requests
        self.counters[self.commandCount].store(value &+ number, ordering: .relaxed)
    }
}
