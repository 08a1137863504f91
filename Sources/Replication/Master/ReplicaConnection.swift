internal import Binlog
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import RateLimit
internal import ReplicationCore
internal import SyncProtocol

/// One connection to port+2000: a replica with all its databases.
///
/// The shell around ``MasterSession``; used on the replication loop only.
final class ReplicaConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Silence after which a connection is closed, whatever it is; as real Pika.
    static let idleLimit: Duration = .seconds(180)
    /// Unfinished bytes of a request that a connection may hold before it passed MetaSync.
    static let requestLimits = FrameLimits.replicationRequest

    let core: MasterCore
    let id: UInt64
    var address: ReplicaAddress?
    var fileToken: [UInt8]?
    var remoteHost = ""
    var hasPassedMetaSync = false
    var peer: PeerInfo?
    var channel: ChannelHandlerContext?
    var reader = FrameReader(limits: requestLimits)
    var streams: [Int: BinlogStream] = [:]
    var lastRead: MonotonicInstant
    var pump = PumpState()

    init(core: MasterCore) {
        self.core = core
        self.id = core.makeConnectionID()
        self.lastRead = core.now
    }

    /// Whether it is a replica of ours.
    var isOurs: Bool { self.peer != nil }

    var logger: Logger { self.core.context.logger }

    // MARK: Channel

    func channelActive(context: ChannelHandlerContext) {
        self.channel = context
        self.remoteHost = context.remoteAddress?.ipAddress ?? ""
        guard self.core.add(self) else {
            self.logger.warning("too many replication connections")
            context.close(promise: nil)
            return
        }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.channel = nil
        self.pump.timer?.cancel()
        for stream in self.sortedStreams { self.feed(.connectionLost, to: stream) }
        self.core.remove(self)
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        self.lastRead = self.core.now
        self.reader.append(&bytes)
        do {
            while let body = try self.reader.next(), self.channel != nil {
                self.handle(try ReplicationCodec.decodeRequest(body))
            }
        } catch {
            self.closeHostile("\(error)")
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.runPump() }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.logger.info(
            "replication connection failed",
            metadata: [
                "replica": "\(self.name)", "error": "\(error)",
            ])
        context.close(promise: nil)
    }

    /// Closes after what was written has gone out.
    func close() {
        guard let channel = self.channel else { return }
        let empty = channel.channel.allocator.buffer(capacity: 0)
        channel.writeAndFlush(self.wrapOutboundOut(empty)).assumeIsolated().whenComplete { _ in
            channel.close(promise: nil)
        }
    }

    func closeHostile(_ reason: String) {
        guard let channel = self.channel else { return }
        self.core.hostileConnections += 1
        self.logger.warning(
            "replication connection closed",
            metadata: [
                "replica": "\(self.name)", "reason": "\(reason)",
            ])
        channel.close(promise: nil)
    }

    var name: String { self.address.map { "\($0)" } ?? self.remoteHost }

    // MARK: Sessions

    var sortedStreams: [BinlogStream] {
        self.streams.values.sorted { $0.database.index < $1.database.index }
    }

    func isFollowing(_ database: Int) -> Bool { self.streams[database] != nil }

    /// The snapshot that this replica was told to copy of a database.
    func chosenSnapshot(_ database: Int) -> SnapshotID? { self.streams[database]?.snapshot }

    /// The snapshots that are being copied by this replica.
    var copiedSnapshots: [SnapshotID] {
        self.streams.values.compactMap { stream in
            if case .copying = stream.session.state { stream.snapshot } else { nil }
        }
    }

    /// Whether it waits for, or copies, a snapshot of a database.
    func isCopying(_ database: Int) -> Bool {
        if case .copying? = self.streams[database]?.session.state { true } else { false }
    }

    func stream(_ database: Database, _ event: MasterSession.Event) -> BinlogStream {
        if let stream = self.streams[database.index] {
            self.feed(event, to: stream)
            return stream
        }
        let session = MasterSession(
            id: self.core.makeSessionID(database: database.index), event: event,
            sendable: database.sendable,
            configuration: BinlogStream.configuration(
                peer: self.peer, settings: self.core.context.settings.current),
            now: self.core.now)
        let stream = BinlogStream(database: database, session: session, isOurs: self.isOurs)
        self.streams[database.index] = stream
        self.hold(stream, from: session.protectedPosition)
        self.core.countAttached(database: database.index)
        return stream
    }

    func hold(_ stream: BinlogStream, from position: BinlogPosition) {
        guard let address = self.address else { return }
        self.core.leases.hold(
            .replica(address), database: stream.database.name, from: position)
    }

    /// The loop of the shell: an event in, directives out.
    func feed(_ event: MasterSession.Event, to stream: BinlogStream) {
        for directive in stream.session.handle(event, now: self.core.now) {
            self.perform(directive, stream)
        }
    }

    func perform(_ directive: MasterSession.Directive, _ stream: BinlogStream) {
        switch directive {
        case .openCursor(let position):
            do {
                try stream.openCursor(at: position)
            } catch {
                self.logger.error(
                    "binlog can't be read",
                    metadata: [
                        "db": "\(stream.database.name)", "error": "\(error)",
                    ])
                self.feed(.readFailed, to: stream)
            }
        case .closeCursor:
            stream.closeCursor()
        case .pump:
            self.runPump()
        case .sendKeepAlive:
            self.sendKeepAlive(stream)
        case .protect(let position):
            self.hold(stream, from: position)
        case .ended(let reason):
            self.end(stream, reason)
        case .closeConnection(let violation):
            self.closeHostile("\(violation)")
        }
    }

    func end(_ stream: BinlogStream, _ reason: MasterSession.EndReason) {
        self.streams[stream.database.index] = nil
        if let address = self.address {
            let database = stream.database.name
            switch reason {
            case .removed:
                self.core.leases.release(.replica(address), database: database)
            case .connectionLost, .timedOut, .replaced, .logExchanged, .readFailed,
                .protocolViolation:
                self.core.leases.lose(.replica(address), database: database, now: self.core.now)
            }
        }
        self.core.countAttached(database: stream.database.index)
        self.logger.info(
            "replica's session ended",
            metadata: [
                "replica": "\(self.name)", "db": "\(stream.database.name)", "reason": "\(reason)",
            ])
        // Its position in the log is of no use any more: the replica has to ask anew.
        if reason == .readFailed { self.close() }
    }

    func replaced() {
        for stream in self.sortedStreams { self.feed(.replaced, to: stream) }
        self.channel?.close(promise: nil)
    }

    /// The log was exchanged or got a new history: the replica has to say hello again.
    func logReplaced(_ database: Int) {
        self.logger.info(
            "log exchanged: replica has to ask anew",
            metadata: [
                "replica": "\(self.name)", "db": "db\(database)",
            ])
        // Nothing more is sent while what was written goes out.
        for stream in self.sortedStreams { self.feed(.logExchanged, to: stream) }
        self.close()
    }

    func settingsChanged(_ settings: ReplicationSettings) {
        for stream in self.streams.values {
            stream.session.configuration = BinlogStream.configuration(
                peer: self.peer, settings: settings)
        }
        self.pump.timer?.cancel()
        self.pump.timer = nil
        self.runPump()
    }

    func logAdvanced(_ database: Int, to position: BinlogPosition) {
        guard let stream = self.streams[database] else { return }
        self.feed(.sendable(position), to: stream)
    }

    func tick(now: MonotonicInstant) {
        for stream in self.sortedStreams { self.feed(.tick, to: stream) }
        if now.since(self.lastRead) > Self.idleLimit { self.channel?.close(promise: nil) }
    }

    // MARK: Status

    func status() -> ConnectedReplica? {
        guard let address = self.address, self.hasPassedMetaSync || !self.streams.isEmpty else {
            return nil
        }
        return ConnectedReplica(
            address: address, connectionID: self.id, isOurs: self.isOurs,
            databases: self.sortedStreams.compactMap { $0.status })
    }

    // MARK: Pool

    /// Runs `work` on the pool, then `then` on the loop, if the connection is still there.
    func onPool<Value: Sendable>(
        _ work: @escaping @Sendable () -> Value,
        then: @escaping @Sendable (ReplicaConnection, Value) -> Void
    ) {
        let core = self.core
        let id = self.id
        core.context.pool.submit { _ in
            let value = work()
            core.context.loop.execute {
                guard let connection = core.connections[id], connection.channel != nil else {
                    return
                }
                then(connection, value)
            }
        }
    }
}
