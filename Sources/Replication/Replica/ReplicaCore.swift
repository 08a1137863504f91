internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ReplicationCore
internal import ResumeStore
internal import SyncProtocol
internal import Synchronization

/// The replica's side on its loop: the shell around ``ReplicaSession``.
///
// SAFETY: all variables are touched on `loop` only; the status is copied out under a lock.
final class ReplicaCore: MasterLinkOwner, @unchecked Sendable {
    /// How often time passes for the machines, and the status is renewed.
    static let tickInterval: TimeAmount = .milliseconds(50)
    /// Bytes of a read of the connection to the master, without a limit.
    static let readBytes = 256 << 10

    let configuration: ReplicaConfiguration
    let environment: ReplicaEnvironment
    let records: ResumeRecords
    let loop: any EventLoop
    let logger: Logger
    private let published = Mutex(ReplicaStatus())

    private(set) var session: ReplicaSession?
    private var handler: MasterLinkHandler?
    private var connectionNumber = 0
    private(set) var databases: [String: ReplicaDatabase] = [:]
    private let names: [String]
    private var ticker: RepeatedTask?
    private var turns = EventTurns<ReplicaSession.Event, ApplyQueue.Run>()
    private var isReadingHeld = false
    private var isShutDown = false

    private var bytesRead: UInt64 = 0
    private var meter = RateMeter()
    private var lastRead: MonotonicInstant?
    private var hasNewBytes = false
    private var linkLost: MonotonicInstant?

    init(_ configuration: ReplicaConfiguration, _ environment: ReplicaEnvironment) {
        self.configuration = configuration
        self.environment = environment
        self.loop = environment.eventLoop
        self.logger = environment.logger
        self.records = ResumeRecords(
            resumePath: configuration.resumePath, fileSystem: environment.fileSystem)
        self.names = environment.keyspace.databases.map(\.name)
        for database in environment.keyspace.databases {
            self.databases[database.name] = ReplicaDatabase(database, core: self)
        }
    }

    var status: ReplicaStatus { self.published.withLock { $0 } }

    // MARK: Orders (on the loop)

    /// Follows a master; replicas' roles are persisted by then.
    func follow(_ master: ReplicaAddress, force: Bool) {
        guard !self.isShutDown else { return }
        if let session = self.session, session.configuration.master == master {
            self.handle(.start(force: force))
            return
        }
        self.stopSession()
        var limits = ReplicaSession.Configuration(
            master: master, ownPort: self.configuration.ownPort,
            announcedHost: self.configuration.announcedHost, auth: nil, databases: self.names)
        let password = self.configuration.masterAuth()
        limits.auth = password.isEmpty ? nil : password
        limits.nodeID = self.configuration.nodeID
        limits.firstSignTimeout = self.configuration.firstSignTimeout
        limits.silenceTimeout = self.configuration.masterSilenceTimeout
        self.session = ReplicaSession(limits, now: self.loop.instant)
        self.linkLost = self.loop.instant
        self.logger.info("following \(master)\(force ? " with new copies" : "")")
        self.handle(.start(force: force))
        self.startTicking()
    }

    /// Stops following; the future succeeds when nothing of it touches the keyspace any more.
    func unfollow() -> EventLoopFuture<Void> {
        self.stopSession()
        self.ticker?.cancel()
        self.ticker = nil
        let stopped = self.databases.values.map { $0.stop() }
        return EventLoopFuture.andAllSucceed(stopped, on: self.loop).assumeIsolated().map {
            self.publishStatus()
        }.nonisolated()
    }

    func shutDown() -> EventLoopFuture<Void> {
        self.isShutDown = true
        return self.unfollow()
    }

    private func stopSession() {
        guard self.session != nil else { return }
        self.handle(.stop)
        self.session = nil
        self.closeConnection()
    }

    func act(_ action: ReplicaSession.DatabaseAction, database: String) {
        self.handle(.databaseAction(database: database, action))
    }

    private func startTicking() {
        guard self.ticker == nil else { return }
        self.ticker = self.loop.scheduleRepeatedTask(
            initialDelay: Self.tickInterval, delay: Self.tickInterval
        ) { [weak self] _ in
            self?.tick()
        }
    }

    private func tick() {
        for database in self.databases.values { database.copy?.tick() }
        if self.hasNewBytes {
            self.hasNewBytes = false
            self.handle(.bytesArrived)
        }
        self.handle(.tick)
        self.meter.note(total: self.bytesRead, now: self.loop.instant)
        self.publishStatus()
    }

    // MARK: The loop

    /// Takes an event; on the loop.
    func handle(_ event: ReplicaSession.Event) { self.handle(event, run: nil) }

    private func handle(_ event: ReplicaSession.Event, run: ApplyQueue.Run?) {
        self.turns.append(event, run)
        guard self.turns.begin() else { return }
        while let next = self.turns.next() {
            guard let directives = self.session?.handle(next, now: self.loop.instant) else {
                continue
            }
            for directive in directives { self.perform(directive) }
        }
    }

    private func perform(_ directive: ReplicaSession.Directive) {
        switch directive {
        case .connect: self.connect()
        case .disconnect(let reason):
            self.logger.debug("closing the connection to the master: \(reason)")
            self.closeConnection()
        case .send(let request): self.handler?.send(request)
        case .adopt(let master):
            self.linkLost = nil
            self.logger.info(
                "the master accepted us",
                metadata: [
                    "runID": "\(master.runID?.description ?? "none")",
                    "isPeer": "\(master.isPeer)",
                ])
        case .announce(let chain): self.environment.onUpstreams(chain)
        case .readLocal(let name): self.databases[name]?.readLocal()
        case .discardCopy(let name): self.databases[name]?.discardCopy()
        case .startCopy(let name, let order): self.databases[name]?.startCopy(order)
        case .stopCopy(let name): self.databases[name]?.stopCopy()
        case .beginFollowing(let name, _, let history, let typedFlush):
            guard let master = self.session?.master else { return }
            self.databases[name]?.beginFollowing(
                master, history: history, typedFlush: typedFlush)
        case .apply(let name):
            guard let run = self.turns.bytes else {
                preconditionFailure("items of \(name) without their bytes")
            }
            self.databases[name]?.queue.enqueue(run)
            self.holdReadingIfFull()
        case .report(let name, let text):
            self.logger.warning("\(text)", metadata: name.map { ["database": "\($0)"] })
        }
    }

    // MARK: Connection

    private func connect() {
        self.closeConnection()
        guard let address = self.session?.configuration.master else { return }
        self.connectionNumber += 1
        let number = self.connectionNumber
        let call = Dialer.Call(
            master: address, portOffset: PortOffset.replication,
            limiter: self.environment.limiter, readBytes: Self.readBytes
        ) { channel, gate in
            try channel.pipeline.syncOperations.addHandler(
                MasterLinkHandler(owner: self, gate: gate))
        }
        self.environment.dialer.open(call, self.loop)
            .assumeIsolated()
            .whenComplete { result in
                guard number == self.connectionNumber, self.session != nil else {
                    if case .success(let channel) = result { channel.close(promise: nil) }
                    return
                }
                switch result {
                case .success(let channel):
                    self.handler = try? channel.pipeline.syncOperations.handler(
                        type: MasterLinkHandler.self)
                    self.lastRead = self.loop.instant
                    self.handle(
                        .connected(localHost: channel.localAddress?.ipAddress ?? "127.0.0.1"))
                case .failure(let error):
                    self.handle(.disconnected("no connection to the master: \(error)"))
                }
            }
    }

    private func closeConnection() {
        self.connectionNumber += 1
        self.handler?.close()
        self.handler = nil
        self.isReadingHeld = false
        if self.linkLost == nil { self.linkLost = self.loop.instant }
    }

    func masterLink(_ handler: MasterLinkHandler, failed error: WireError) {
        guard handler === self.handler else { return }
        self.handle(.malformedFrame("the master sent what is no message: \(error)"))
    }

    func masterLinkClosed(_ handler: MasterLinkHandler, _ reason: String) {
        guard handler === self.handler else { return }
        self.handler = nil
        self.closeConnection()
        self.handle(.disconnected(reason))
    }

    func masterLink(_ handler: MasterLinkHandler, read count: Int) {
        self.bytesRead &+= UInt64(count)
        self.hasNewBytes = true
        self.lastRead = self.loop.instant
    }

    func masterLink(
        _ handler: MasterLinkHandler, received response: DecodedReplicationResponse
    ) {
        guard handler === self.handler else { return }
        switch response {
        case .control(let control): self.handle(.response(control))
        case .batch(let batch): self.take(batch)
        }
    }

    /// Splits a frame into runs of items of one database and session.
    private func take(_ batch: BinlogSyncBatch) {
        var index = 0
        let chips = batch.chips
        while index < chips.count {
            let first = chips[index]
            let name = batch.databases[first.databaseIndex]
            if first.isKeepAlive {
                self.handle(.keepAlive(database: name, session: first.session))
                index += 1
                continue
            }
            var end = index
            var byteCount = 0
            while end < chips.count, !chips[end].isKeepAlive,
                chips[end].databaseIndex == first.databaseIndex,
                chips[end].session == first.session
            {
                byteCount += chips[end].itemRange.count
                end += 1
            }
            self.handle(
                .items(
                    ReplicaSession.Items(
                        database: name, session: first.session, first: first.end,
                        last: chips[end - 1].end)),
                run: ApplyQueue.Run(batch: batch, chips: index..<end, byteCount: byteCount))
            index = end
        }
    }

    private var queuedBytes: Int {
        self.databases.values.reduce(0) { $0 + $1.queue.queuedBytes }
    }

    private func holdReadingIfFull() {
        guard !self.isReadingHeld, self.queuedBytes > ApplyQueue.highWaterBytes else { return }
        self.isReadingHeld = true
        self.handler?.setHeld(true)
        self.turns.append(.readingPaused(true))
    }

    /// A run was applied; on the loop.
    func runTaken() {
        guard self.isReadingHeld, self.queuedBytes < ApplyQueue.lowWaterBytes else { return }
        self.isReadingHeld = false
        self.handle(.readingPaused(false))
        self.handler?.setHeld(false)
    }

    // MARK: Status

    func publishStatus() {
        var status = ReplicaStatus()
        if let session = self.session {
            let address = session.configuration.master
            status.master = ReplicaStatus.Master(
                host: address.host, port: address.port, isPeer: session.master?.isPeer,
                runID: session.master?.runID)
            status.link = session.link
            status.upstreams = session.upstreams.nodes.map(\.address)
            status.lastFailure = session.linkBrokenReason?.description ?? session.lastFailure
        }
        status.throttleBytesPerSecond = self.environment.limiter.bytesPerSecond
        status.databases = self.names.compactMap { self.databases[$0]?.status(self.session) }
        status.receivedBytesPerSecond = status.databases.reduce(self.meter.bytesPerSecond) {
            $0 + ($1.phase == .copying ? $1.copy?.bytesPerSecond ?? 0 : 0)
        }
        let now = self.loop.instant
        func secondsSince(_ instant: MonotonicInstant?) -> UInt64? {
            instant.map { UInt64(clamping: now.since($0).components.seconds) }
        }
        status.secondsSinceLastReceive = secondsSince(self.lastRead)
        status.linkDownSeconds = self.session == nil ? nil : secondsSince(self.linkLost)
        self.published.withLock { $0 = status }
    }
}
