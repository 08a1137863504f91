public import Keyspace
public import RESP
public import Synchronization

/// What other threads may know of a connection: CLIENT LIST and CLIENT KILL read it.
public final class ClientRecord: Sendable {
    /// Number of the connection, never used twice by one process.
    public let id: UInt64
    /// Peer address as `host:port`.
    public let address: String
    /// Own address as `host:port`.
    public let localAddress: String
    /// Descriptor number, for CLIENT LIST.
    public let descriptor: Int32
    /// Unix second at which the connection was accepted.
    public let createdSeconds: Int64
    /// Unix second of the last request.
    public let lastRequestSeconds: Atomic<Int64>
    /// Database that the connection works on.
    public let database: Atomic<Int>
    /// Index in the command table of the last command, -1 before the first.
    public let lastCommand: Atomic<Int>
    /// 2 or 3.
    public let protocolVersion: Atomic<UInt8>
    /// Commands queued since MULTI, -1 outside a transaction.
    public let queuedCommands = Atomic<Int>(-1)
    /// Bytes of their arguments.
    let queuedBytes = Atomic<Int>(0)
    /// Bytes of input that were not used up before the requests that run now; kept up to date by the
    /// connection's shell.
    public let inputBytes = Atomic<Int>(0)
    /// Size of the buffer in which they are, in bytes; kept up to date by the shell.
    public let inputCapacity = Atomic<Int>(0)
    /// Bytes of replies that wait for the disk (`binlog-sync always`); kept up to date by the shell.
    public let heldReplyBytes = Atomic<Int>(0)
    /// Bytes of replies and messages that the socket has not taken; looked at by the shell about once
    /// a second.
    public let outputBytes = Atomic<Int>(0)
    private let nameStorage: Mutex<String>
    private let waiterStorage = Mutex<KeyWaiter?>(nil)
    /// Channels, patterns and shard channels that it listens to.
    private let subscriptionCounts = Mutex<[Int]>([0, 0, 0])
    private let outletStorage = Mutex<(any ClientOutlet)?>(nil)
    /// Gets every command by MONITOR.
    public let isMonitor = Atomic<Bool>(false)

    /// Describes a connection that was just accepted.
    public init(
        id: UInt64, address: String, localAddress: String, descriptor: Int32, createdSeconds: Int64
    ) {
        self.id = id
        self.address = address
        self.localAddress = localAddress
        self.descriptor = descriptor
        self.createdSeconds = createdSeconds
        self.lastRequestSeconds = Atomic(createdSeconds)
        self.database = Atomic(0)
        self.lastCommand = Atomic(-1)
        self.protocolVersion = Atomic(2)
        self.nameStorage = Mutex("")
    }

    /// Where messages and lines of MONITOR go; set once, before the first request.
    public var outlet: (any ClientOutlet)? {
        get { self.outletStorage.withLock { $0 } }
        set { self.outletStorage.withLock { $0 = newValue } }
    }

    func setSubscriptionCounts(_ counts: [Int]) {
        self.subscriptionCounts.withLock { $0 = counts }
    }

    /// Channels, patterns and shard channels that it listens to.
    var subscriptions: (channels: Int, patterns: Int, shards: Int) {
        self.subscriptionCounts.withLock { ($0[0], $0[1], $0[2]) }
    }

    /// True while it listens to anything.
    public var isSubscribed: Bool {
        self.subscriptionCounts.withLock { $0.contains { $0 > 0 } }
    }

    func setWaiter(_ waiter: KeyWaiter?) { self.waiterStorage.withLock { $0 = waiter } }

    /// The wait for elements (BLPOP and its kin) that the connection is in.
    public var waiter: KeyWaiter? { self.waiterStorage.withLock { $0 } }

    /// Name given by CLIENT SETNAME; empty at first.
    public var name: String {
        get { self.nameStorage.withLock { $0 } }
        set { self.nameStorage.withLock { $0 = newValue } }
    }
}

/// What a connection may do.
public enum AccessLevel: Sendable, Equatable {
    /// Everything.
    case administrator
    /// Everything but the commands that `userblacklist` forbids.
    case user
}

/// State of one connection.
///
/// Used by the connection's event loop; while a `SlowWork` of the connection runs, by that alone.
public final class ClientState {
    /// The part that other threads may read.
    public let record: ClientRecord
    /// Index of the selected database.
    public internal(set) var database: Int = 0
    /// What the connection may do; nil until it has given a password.
    ///
    /// Does not matter while the server asks for none.
    public internal(set) var access: AccessLevel?
    /// Protocol of the replies.
    public internal(set) var version: ProtocolVersion = .resp2
    /// Parsing the unread bytes is useless before there are this many of them.
    public internal(set) var neededBytes: Int = 0
    /// Set when the connection is to be closed after the replies so far.
    var closesAfterReply = false
    /// Commands since MULTI; nil outside a transaction.
    var transaction: Transaction? {
        didSet {
            self.record.queuedCommands.store(
                self.transaction?.requests.count ?? -1, ordering: .relaxed)
            self.record.queuedBytes.store(
                self.transaction?.bytes.count ?? 0, ordering: .relaxed)
        }
    }
    /// Keys of WATCH.
    var watches: [WatchedKey] = []
    /// The transaction whose EXEC starts what is executed but not committed, with its watches.
    var batchTransaction: Transaction?
    var batchWatches: [WatchedKey] = []
    /// Set while the connection waits for elements.
    var waiter: KeyWaiter? {
        didSet { self.record.setWaiter(self.waiter) }
    }

    /// What it listens to; nil while that is nothing.
    var subscriptions: Subscriptions?
    /// Set by MONITOR.
    var monitors: Monitors?
    /// WAIT that is not over.
    var replicaWait: ReplicaWait.Pending?
    /// Which replies are sent (CLIENT REPLY).
    var replyMode = ReplyMode.on

    /// CLIENT REPLY.
    enum ReplyMode {
        case on
        /// No reply until CLIENT REPLY ON.
        case off
        /// The command that is being executed is CLIENT REPLY SKIP.
        case skipping
        /// The next reply is not sent.
        case skipsNext
    }

    /// Makes the state of a new connection.
    ///
    /// - Parameters:
    ///   - record: what other threads may see of it.
    ///   - access: what it may do before it has given a password.
    public init(record: ClientRecord, access: AccessLevel? = nil) {
        self.record = record
        self.access = access
    }

    /// The connection is gone: nobody waits or watches any more.
    ///
    /// MUST NOT be called while a `SlowWork` of the connection runs.
    public func disconnect() {
        self.endTransaction()
        _ = self.forgetBatchTransaction()
        self.endWait()
        self.endListening()
    }

    /// True while it gets messages or lines of MONITOR: such a connection is never idle.
    public var isListening: Bool { self.subscriptions != nil || self.monitors != nil }

    /// Ends all subscriptions and MONITOR.
    func endListening() {
        self.subscriptions?.removeAll()
        self.subscriptions = nil
        self.monitors?.remove(self.record)
        self.monitors = nil
        self.record.isMonitor.store(false, ordering: .relaxed)
    }

    /// The reply of a command begins at `start`: takes it back if none is wanted.
    func mute(_ reply: inout ReplyWriter, from start: Int) {
        switch self.replyMode {
        case .on: return
        case .off: break
        case .skipping: self.replyMode = .skipsNext
        case .skipsNext: self.replyMode = .on
        }
        reply.truncate(to: min(start, reply.count))
    }

    /// Ends the wait for elements, if there is one.
    func endWait() {
        self.waiter?.end()
        self.waiter = nil
    }
}
