public import MigrateCore
internal import NIOCore
public import NIOPosix
internal import RedisSync
internal import Synchronization

/// How a Redis server is followed.
public struct RedisLinkConfiguration: Sendable {
    /// Where it listens.
    public var address: RedisAddress
    /// The user; nil = the password alone.
    public var user: String?
    /// Asked for at each connection: a file may have changed.
    public var password: @Sendable () -> [UInt8]?
    /// Encrypts and verifies; nil = plain.
    public var tls: RedisTLS?
    /// What INFO and Sentinel are told; 0 = nothing listens.
    public var listeningPort = 0
    /// A server without `PSYNC` is asked for a copy that can't be resumed.
    public var allowsSync = false
    /// A server that would have to make a snapshot is left instead.
    public var refusesSnapshots = false
    /// How often the spool is synced; 1 and less = after each read.
    public var syncEveryMilliseconds: Int64 = 1_000
    /// A source that is silent for longer is given up.
    public var quietLimitMilliseconds: Int64 = 60_000
    /// How long a connection may take to come about.
    public var connectLimitMilliseconds: Int64 = 10_000
    /// Unix time.
    public var wallClockMilliseconds: @Sendable () -> Int64

    /// A configuration with the defaults of the shipped file.
    public init(
        address: RedisAddress, user: String? = nil,
        password: @escaping @Sendable () -> [UInt8]? = { nil }, tls: RedisTLS? = nil,
        wallClockMilliseconds: @escaping @Sendable () -> Int64 = systemMilliseconds
    ) {
        self.address = address
        self.user = user
        self.password = password
        self.tls = tls
        self.wallClockMilliseconds = wallClockMilliseconds
    }
}

/// Where a link to a source is.
public enum RedisLinkPhase: String, Sendable, Equatable {
    /// No connection.
    case down
    /// Connecting, and shaking hands.
    case connecting
    /// The source makes its snapshot.
    case waitingForSnapshot = "waiting-snapshot"
    /// The snapshot is received.
    case spooling
    /// The stream is received.
    case streaming
    /// Gave up: an operator is needed.
    case failed
}

/// What a link tells about itself.
public struct RedisLinkStatus: Sendable, Equatable {
    /// Where it is.
    public var phase = RedisLinkPhase.down
    /// The last failure, for operators.
    public var lastFailure: String?
    /// Why reading of the source pauses; nil = it does not.
    public var held: String?
    /// Bytes received since the process began.
    public var receivedBytes: UInt64 = 0
    /// The size of the snapshot, if the source told it.
    public var snapshotBytes: UInt64?
    /// Connections that came about.
    public var connections: UInt64 = 0
    /// Full copies that were begun.
    public var fullSyncs: UInt64 = 0
}

/// A failure after which trying again makes no sense.
public enum RedisLinkFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Name, password or rights.
    case authentication(reply: String)
    /// The server has no replication for us.
    case unsupported(reply: String)
    /// One end's certificate is none that the other trusts.
    case untrusted(String)
    /// It is no Redis.
    case malformed(String)
    /// The spool.
    case spool(SpoolError)

    /// Text for an operator.
    public var description: String {
        switch self {
        case .authentication(let reply): "the source refuses us: \(reply)"
        case .untrusted(let text): "TLS with the source: \(text)"
        case .unsupported(let reply):
            "the source offers no replication (\(reply)); scan:// needs less of it"
        case .malformed(let text): "the source does not speak Redis's replication: \(text)"
        case .spool(let error): "\(error)"
        }
    }
}

/// Where a spool that is empty begins.
public struct RedisStart: Sendable, Equatable {
    /// The history.
    public var id: String
    /// The last byte that is not wanted.
    public var offset: UInt64
    /// The database at that offset.
    public var database: UInt64

    /// A place in a history.
    public init(id: String, offset: UInt64, database: UInt64) {
        self.id = id
        self.offset = offset
        self.database = database
    }
}

/// State of a link that its connections share; the mutex is for readers of the status.
final class RedisLinkCore: Sendable {
    let configuration: RedisLinkConfiguration
    let spool: Spool
    let pool: NIOThreadPool
    private let state: Mutex<State>

    private struct State {
        var status = RedisLinkStatus()
        /// Where to go on if the spool has nothing.
        var start: RedisStart?
        var acknowledgesUpTo: UInt64?
    }

    init(
        configuration: RedisLinkConfiguration, spool: Spool, pool: NIOThreadPool,
        start: RedisStart?
    ) {
        self.configuration = configuration
        self.spool = spool
        self.pool = pool
        self.state = Mutex(State(start: start))
    }

    var status: RedisLinkStatus { self.state.withLock { $0.status } }
    var isHeld: Bool { self.state.withLock { $0.status.held != nil } }

    /// What is durable here, or (if so configured) what the target has.
    var acknowledgedOffset: UInt64 {
        let durable = self.spool.durableOffset
        return self.state.withLock { min($0.acknowledgesUpTo ?? durable, durable) }
    }

    func acknowledge(upTo offset: UInt64?) {
        self.state.withLock { $0.acknowledgesUpTo = offset }
    }

    func restart(at start: RedisStart) { self.state.withLock { $0.start = start } }

    /// What the next connection asks for.
    func request() -> ReplicaRequest {
        var request = ReplicaRequest(
            user: self.configuration.user, password: self.configuration.password(),
            listeningPort: self.configuration.listeningPort,
            allowsSync: self.configuration.allowsSync)
        if let start = self.state.withLock({ $0.start }) {
            request.replicationID = start.id
            request.lastOffset = start.offset
        } else if !self.spool.needsSnapshot, !self.spool.sourceID.isEmpty {
            request.replicationID = self.spool.sourceID
            request.lastOffset = self.spool.endOffset
        }
        return request
    }

    func begin(id: String?, offset: UInt64) throws(SpoolError) {
        // Before the generation can be seen: whoever reads it may want another start.
        self.state.withLock { $0.start = nil }
        try self.spool.beginGeneration(
            SpoolOrigin(
                sourceID: id ?? "", startOffset: offset, database: 0, hasSnapshot: true,
                receivedAtMilliseconds: self.configuration.wallClockMilliseconds()))
        self.state.withLock {
            $0.status.fullSyncs += 1
            $0.status.phase = .waitingForSnapshot
        }
    }

    func continued(_ newID: String?) throws(SpoolError) {
        let now = self.configuration.wallClockMilliseconds()
        if let start = self.state.withLock({ $0.start }) {
            try self.spool.beginGeneration(
                SpoolOrigin(
                    sourceID: newID ?? start.id, startOffset: start.offset,
                    database: start.database, hasSnapshot: false, receivedAtMilliseconds: now))
            self.state.withLock { $0.start = nil }
        } else if let newID {
            try self.spool.changeSourceID(newID, receivedAtMilliseconds: now)
        }
    }

    // Whoever waits for the spool shows the phase, too.

    func note(phase: RedisLinkPhase) {
        self.state.withLock { $0.status.phase = phase }
        self.spool.announceChange()
    }

    func note(snapshotBytes: UInt64?) {
        self.state.withLock {
            $0.status.snapshotBytes = snapshotBytes
            $0.status.phase = .spooling
        }
        self.spool.announceChange()
    }

    func note(held error: SpoolError?) {
        self.state.withLock { $0.status.held = error.map { "\($0)" } }
    }

    func note(failure: String, phase: RedisLinkPhase) {
        self.state.withLock {
            $0.status.lastFailure = failure
            $0.status.phase = phase
        }
        self.spool.announceChange()
    }

    func count(received bytes: Int) {
        self.state.withLock { $0.status.receivedBytes += UInt64(bytes) }
    }

    func countConnection() {
        self.state.withLock { $0.status.connections += 1 }
        self.spool.announceChange()
    }
}

/// Follows one Redis server as a replica, into a spool, until it is cancelled.
///
/// Never waits for a target: only the spool's ceiling and the disk make it pause.
public final class RedisLink: Sendable {
    private let core: RedisLinkCore
    private let group: MultiThreadedEventLoopGroup
    private let resolve: (@Sendable () async throws(SourceError) -> RedisAddress)?
    /// The connection under way.
    private let channel = Mutex<(any Channel)?>(nil)

    /// A link that has not begun.
    ///
    /// - Parameters:
    ///   - start: where to go on without what the spool has, or instead of it.
    ///   - pool: started; for what blocks.
    ///   - resolve: asked before each connection: where the master is now.
    public init(
        _ configuration: RedisLinkConfiguration, spool: Spool, start: RedisStart? = nil,
        pool: NIOThreadPool,
        resolve: (@Sendable () async throws(SourceError) -> RedisAddress)? = nil
    ) {
        self.resolve = resolve
        self.core = RedisLinkCore(
            configuration: configuration, spool: spool, pool: pool, start: start)
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    }

    /// How it goes.
    public var status: RedisLinkStatus { self.core.status }

    /// Limits what is acknowledged (`ack = "applied"`); nil = whatever is durable in the spool.
    public func acknowledge(upTo offset: UInt64?) { self.core.acknowledge(upTo: offset) }

    /// Gives the connection up, and asks for the stream from a place of which the spool has more.
    func restart(at start: RedisStart) {
        self.core.restart(at: start)
        self.reconnect()
    }

    /// Gives the connection up for a new one, to wherever the server is then.
    func reconnect() { self.channel.withLock { $0 }?.close(promise: nil) }

    /// Follows until the task is cancelled, or trying again makes no sense.
    public func run() async throws(RedisLinkFailure) {
        var backoff = LinkBackoff()
        while !Task.isCancelled {
            let before = self.core.status.receivedBytes
            let end = await self.runOnce()
            if Task.isCancelled { break }
            if let failure = Self.failure(end) {
                self.core.note(failure: "\(failure)", phase: .failed)
                throw failure
            }
            self.core.note(failure: Self.text(end), phase: .down)
            if self.core.status.receivedBytes > before + 1024 { backoff.reset() }
            let pause = backoff.wait(random: UInt64.random(in: 0...UInt64.max))
            try? await Task.sleep(for: .milliseconds(pause))
        }
        self.core.note(phase: .down)
    }

    /// Gives the loop back; after `run` has returned and the pool is empty.
    func shutdown() async { try? await self.group.shutdownGracefully() }

    private func runOnce() async -> RedisLinkEnd {
        let core = self.core
        var address = core.configuration.address
        if let resolve = self.resolve {
            do throws(SourceError) { address = try await resolve() } catch {
                return .lost("\(error)")
            }
        }
        let request = core.request()
        let loop = self.group.next()
        let ended = loop.makePromise(of: Void.self)
        let tls = core.configuration.tls
        let bootstrap = ClientBootstrap(group: loop)
            .channelOption(.autoRead, value: false)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 1024, initial: 65_536, maximum: 1 << 20)
            )
            .connectTimeout(.milliseconds(core.configuration.connectLimitMilliseconds))
            .channelInitializer { [host = address.host] channel in
                channel.eventLoop.makeCompletedFuture {
                    try tls?.addHandler(to: channel, host: host)
                    try channel.pipeline.syncOperations.addHandler(
                        RedisLinkHandler(core: core, request: request, ended: ended))
                }
            }
        let channel: any Channel
        do {
            channel = try await bootstrap.connect(host: address.host, port: address.port).get()
        } catch {
            ended.fail(RedisLinkEnd.lost("\(error)"))
            return .lost("can't connect to \(address): \(error)")
        }
        core.countConnection()
        self.channel.withLock { $0 = channel }
        defer { self.channel.withLock { $0 = nil } }
        channel.read()
        let watch = self.watch(channel, address)
        defer { watch?.cancel() }
        return await withTaskCancellationHandler {
            do {
                try await ended.futureResult.get()
                return .lost("the connection ended")
            } catch let end as RedisLinkEnd {
                return end
            } catch {
                return .lost("\(error)")
            }
        } onCancel: {
            channel.close(promise: nil)
        }
    }

    /// How often it is asked whether the master is still where it was.
    static let watchEvery = Duration.seconds(5)

    /// Ends the connection once another server is the master: the old one may be cut off and live.
    private func watch(_ channel: any Channel, _ address: RedisAddress) -> Task<Void, Never>? {
        guard let resolve = self.resolve else { return nil }
        return Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: Self.watchEvery)
                guard let found = try? await resolve(), found != address else { continue }
                return channel.close(promise: nil)
            }
        }
    }

    private static func failure(_ end: RedisLinkEnd) -> RedisLinkFailure? {
        switch end {
        case .lost, .refused(.transient): nil
        case .untrusted(let text): .untrusted(text)
        case .refused(.authentication(let reply)): .authentication(reply: reply)
        case .refused(.unsupported(let reply)): .unsupported(reply: reply)
        case .refused(.malformed(let line)): .malformed(line)
        case .refused(.lineTooLong): .malformed("a line without an end")
        case .spool(let error): .spool(error)
        }
    }

    private static func text(_ end: RedisLinkEnd) -> String {
        switch end {
        case .lost(let text), .untrusted(let text): text
        case .refused(.transient(let reply)): "the source is not ready: \(reply)"
        case .refused(let error): "\(error)"
        case .spool(let error): "\(error)"
        }
    }
}
