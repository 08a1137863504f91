import Keyspace
import PikaStorage
import RESP

/// Commands queued between MULTI and EXEC.
///
/// The requests are kept as one run of bytes with the end of each argument, so that EXEC parses
/// nothing.
final class Transaction {
    /// Requests in one transaction at most.
    static let maxRequests = 65_536
    /// Bytes of the arguments of one transaction at most.
    static let maxBytes = 512 << 20
    /// A transaction that is kept for the next MULTI has no more room than this.
    static let keptBytes = 64 * 1024

    /// One queued request.
    struct Request {
        /// Index of the row in the command table.
        var row: Int
        /// Index of its command word among all arguments.
        var firstArgument: Int
        /// Behind its last argument.
        var endArgument: Int
    }

    private(set) var bytes: [UInt8] = []
    private(set) var argumentEnds: [Int] = []
    private(set) var requests: [Request] = []
    /// Indexes of the arguments that are keys.
    private(set) var keys: [Int] = []
    /// A command was refused when it was queued: EXEC refuses all.
    var hasFailed = false
    /// It must run on the slow pool.
    var needsPool = false
    /// It changes the database, or empties one: several groups of the log.
    var isSegmented = false
    /// It holds a write command.
    var writes = false
    /// It holds a command that may make data grow.
    var growsData = false
    /// The database in which the next request that is queued will run.
    var database: Int

    init(database: Int) { self.database = database }

    /// Makes it empty, for another MULTI.
    func reset(database: Int) {
        self.bytes.removeAll(keepingCapacity: true)
        self.argumentEnds.removeAll(keepingCapacity: true)
        self.requests.removeAll(keepingCapacity: true)
        self.keys.removeAll(keepingCapacity: true)
        self.hasFailed = false
        self.needsPool = false
        self.isSegmented = false
        self.writes = false
        self.growsData = false
        self.database = database
    }

    /// True if it is small enough to be kept for another MULTI.
    var isSmall: Bool {
        self.bytes.capacity <= Self.keptBytes && self.requests.capacity <= 1024
            && self.argumentEnds.capacity <= 4096
    }

    /// True if it is more than a loop should execute.
    var isLong: Bool {
        self.requests.count > ExecutionPlace.transactionLimit
            || self.argumentEnds.count > 2 * ExecutionPlace.argumentLimit
            || self.bytes.count > ExecutionPlace.requestLimitBytes
    }

    /// Queues a request; false if there is no room for it.
    func append(
        _ row: Int, _ arguments: UnsafeBufferPointer<Bytes>, _ positions: KeyPositions
    ) -> Bool {
        let added = arguments.reduce(0) { $0 + $1.count }
        guard self.requests.count < Self.maxRequests, self.bytes.count + added <= Self.maxBytes
        else { return false }
        let first = self.argumentEnds.count
        for argument in arguments {
            self.bytes.append(contentsOf: argument)
            self.argumentEnds.append(self.bytes.count)
        }
        self.requests.append(
            Request(row: row, firstArgument: first, endArgument: self.argumentEnds.count))
        for index in positions.indexes(in: arguments) { self.keys.append(first + index) }
        return true
    }

    /// Calls `body` with views of all arguments, in their order.
    func withArguments<R>(_ body: (UnsafeBufferPointer<Bytes>) throws -> R) rethrows -> R {
        try self.bytes.withUnsafeBytes { all in
            try withUnsafeTemporaryAllocation(of: Bytes.self, capacity: self.argumentEnds.count) {
                views in
                var start = 0
                for (index, end) in self.argumentEnds.enumerated() {
                    views[index] = Bytes(rebasing: all[start..<end])
                    start = end
                }
                return try body(UnsafeBufferPointer(views))
            }
        }
    }
}

extension ClientState {
    /// Ends MULTI and the watches.
    func endTransaction() {
        self.transaction = nil
        self.endWatches()
    }

    func endWatches() {
        guard !self.watches.isEmpty else { return }
        for watch in self.watches { watch.end() }
        self.watches = []
    }

    /// EXEC begins an uncommitted batch: if that is executed again, so is the transaction.
    func keepTransactionForBatch() {
        self.batchTransaction = self.transaction
        self.batchWatches = self.watches
    }

    /// The state at the start of the uncommitted batch, which is executed again.
    func restoreTransaction() {
        self.transaction = self.batchTransaction
        if self.batchTransaction != nil { self.watches = self.batchWatches }
    }

    /// The batch is final; returns the transaction at its start, for another use.
    func forgetBatchTransaction() -> Transaction? {
        guard let transaction = self.batchTransaction else { return nil }
        for watch in self.batchWatches { watch.end() }
        self.batchTransaction = nil
        self.batchWatches = []
        return transaction
    }
}

/// MULTI and the commands around it; EXEC itself is the processor's.
enum TransactionCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "multi", arity: 1, flags: [.fast], keys: .none, group: .transactions,
            since: "1.2.0", summary: "Begins a transaction.",
            handler: { _ in throw CommandError.reply("ERR MULTI calls can not be nested") }),
        CommandRow(
            "exec", arity: 1, flags: [], keys: .none, group: .transactions, since: "1.2.0",
            summary: "Executes the commands of a transaction.",
            handler: { _ in throw CommandError.reply("ERR EXEC without MULTI") }),
        CommandRow(
            "discard", arity: 1, flags: [.fast], keys: .none, group: .transactions,
            since: "2.0.0", summary: "Forgets the commands of a transaction.",
            handler: { x in
                guard x.client.transaction != nil else {
                    throw CommandError.reply("ERR DISCARD without MULTI")
                }
                x.client.endTransaction()
                x.reply.ok()
            }),
        CommandRow(
            "watch", arity: -2, flags: [.fast, .commitsFirst, .locksKeys, .noMulti], keys: .all,
            group: .transactions, since: "2.2.0",
            summary: "Makes the next transaction depend on keys staying as they are.",
            handler: watch),
        CommandRow(
            "unwatch", arity: 1, flags: [.fast, .commitsFirst], keys: .none,
            group: .transactions, since: "2.2.0", summary: "Forgets the watched keys.",
            handler: { x in
                x.client.endWatches()
                x.reply.ok()
            }),
    ]

    /// Keys that one connection may watch at most.
    static let maxWatches = 65_536

    static func watch(_ x: inout Execution) throws {
        let database = x.group.database
        for key in x.rest(from: 1) {
            let isKnown = x.client.watches.contains {
                $0.database == database.index && $0.isKey(key)
            }
            guard !isKnown else { continue }
            guard x.client.watches.count < maxWatches else {
                throw CommandError.reply("ERR too many watched keys")
            }
            let exists = try x.keys.type(key, now: x.now) != nil
            x.client.watches.append(database.watch(key, existed: exists))
        }
        x.reply.ok()
    }
}
