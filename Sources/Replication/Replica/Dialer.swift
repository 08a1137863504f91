internal import NIOCore
internal import NIOPosix
internal import SyncProtocol

/// Opens connections to a master; tests put connections in memory in the place of sockets.
struct Dialer: Sendable {
    /// How long a master may take to accept.
    static let connectTimeout: TimeAmount = .seconds(5)

    /// What a connection is made of.
    struct Call: Sendable {
        var master: ReplicaAddress
        /// Distance of the service's port from the master's base port.
        var portOffset: Int
        var limiter: ReceiveLimiter
        /// Bytes of a read without a limit; a power of two.
        var readBytes: Int
        /// Adds the handlers behind the gate; on the loop.
        var configure: @Sendable (any Channel, ReceiveGate) throws -> Void

        /// The handlers of the connection, the gate nearest to the socket.
        func addHandlers(_ channel: any Channel) throws {
            let gate = ReceiveGate(limiter: self.limiter)
            try channel.pipeline.syncOperations.addHandler(gate)
            try self.configure(channel, gate)
        }

        var readBuffers: LimitedReadBuffers {
            LimitedReadBuffers(limiter: self.limiter, mostBytes: self.readBytes)
        }
    }

    let open: @Sendable (Call, any EventLoop) -> EventLoopFuture<any Channel>

    /// Real sockets.
    static let tcp = Dialer { call, loop in
        ClientBootstrap(group: loop)
            .connectTimeout(Self.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.recvAllocator, value: call.readBuffers)
            // One read per turn: what it brought is paid for before the next one.
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try call.addHandlers(channel) }
            }
            .connect(host: call.master.host, port: call.master.port + call.portOffset)
            .hop(to: loop)
    }
}
