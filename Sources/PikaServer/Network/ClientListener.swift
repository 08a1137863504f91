import Commands
import NIOCore
import NIOPosix
import Synchronization

/// Accepts clients and gives each to a command loop.
final class ClientListener: Sendable {
    /// Connections that the kernel keeps until they are accepted.
    private static let backlog: Int32 = 511
    /// Smallest and largest piece that is read at once, in bytes.
    private static let readBytes = (minimum: 512, initial: 2048, maximum: 65_536)

    private let group: MultiThreadedEventLoopGroup
    private let loops: CommandLoops
    private let services: ClientServices
    private let environment: CommandEnvironment

    init(
        group: MultiThreadedEventLoopGroup, loops: CommandLoops, services: ClientServices,
        environment: CommandEnvironment
    ) {
        self.group = group
        self.loops = loops
        self.services = services
        self.environment = environment
    }

    /// Listens on a port of several addresses; port 0 takes a free one (tests).
    ///
    /// - Throws: the address that can't be had, and why.
    func bind(hosts: [String], port: Int, outputLimitBytes: Int) throws(ServerError)
        -> [any Channel]
    {
        var channels: [any Channel] = []
        for host in hosts {
            do {
                let bootstrap = makeBootstrap(outputLimitBytes: outputLimitBytes)
                channels.append(try bootstrap.bind(host: host, port: port).wait())
            } catch {
                for channel in channels { channel.close(promise: nil) }
                throw ServerError(
                    .network, "port \(port) of \(host) can't be listened on: \(error)")
            }
        }
        return channels
    }

    private func makeBootstrap(outputLimitBytes: Int) -> ServerBootstrap {
        let watermark = ChannelOptions.Types.WriteBufferWaterMark(
            low: outputLimitBytes / 2, high: outputLimitBytes)
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.writeBufferWaterMark, value: watermark)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: Self.readBytes.minimum, initial: Self.readBytes.initial,
                    maximum: Self.readBytes.maximum)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.accept(channel) }
            }
    }

    private func accept(_ channel: any Channel) throws {
        guard let loop = loops.loop(of: channel.eventLoop) else {
            throw ServerError(.network, "a connection came on a foreign loop")
        }
        let host = channel.remoteAddress?.ipAddress ?? ""
        let descriptor = channel.pipeline.syncOperations.descriptor
        let record = services.registry.register(channel, host: host) { id in
            ClientRecord(
                id: id, address: Self.text(channel.remoteAddress),
                localAddress: Self.text(channel.localAddress), descriptor: descriptor,
                createdSeconds: ServerClock.unixSeconds())
        }
        guard let record else {
            loop.counters.rejectedConnections.wrappingAdd(1, ordering: .relaxed)
            try channel.pipeline.syncOperations.addHandler(RefusedClientHandler())
            return
        }
        let needsPassword = environment.needsPassword.load(ordering: .relaxed)
        let client = ClientState(record: record, access: needsPassword ? nil : .administrator)
        try channel.pipeline.syncOperations.addHandler(
            ClientHandler(loop: loop, client: client, services: services))
    }

    private static func text(_ address: SocketAddress?) -> String {
        guard let address, let host = address.ipAddress else { return "" }
        return host.contains(":")
            ? "[\(host)]:\(address.port ?? 0)" : "\(host):\(address.port ?? 0)"
    }
}

/// A connection beyond `maxclients`: it is told so, and closed.
private final class RefusedClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private static let text = "-ERR max number of clients reached\r\n"

    func channelActive(context: ChannelHandlerContext) {
        let bytes = wrapOutboundOut(context.channel.allocator.buffer(string: Self.text))
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(bytes).whenComplete { _ in bound.value.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Nothing that it sends matters.
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

extension ChannelPipeline.SynchronousOperations {
    /// The socket's number, for CLIENT LIST; -1 where there is none.
    fileprivate var descriptor: Int32 {
        var found: Int32 = -1
        try? withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { found = $0 }
        return found
    }
}

/// The command loops by their event loops.
struct CommandLoops: Sendable {
    private let byEventLoop: [ObjectIdentifier: NIOLoopBound<CommandLoop>]

    /// Makes one command loop on each event loop of the group.
    init(
        group: MultiThreadedEventLoopGroup, counters: [LoopCounters],
        environment: CommandEnvironment
    ) throws {
        var found: [ObjectIdentifier: NIOLoopBound<CommandLoop>] = [:]
        for (eventLoop, counters) in zip(group.makeIterator(), counters) {
            found[ObjectIdentifier(eventLoop)] = try eventLoop.submit {
                let processor = CommandProcessor(environment: environment)
                let loop = CommandLoop(
                    eventLoop: eventLoop, processor: processor, counters: counters)
                return NIOLoopBound(loop, eventLoop: eventLoop)
            }.wait()
        }
        byEventLoop = found
    }

    /// The loop's own part; call on that event loop.
    func loop(of eventLoop: any EventLoop) -> CommandLoop? {
        byEventLoop[ObjectIdentifier(eventLoop)]?.value
    }

    /// Runs a closure on every loop.
    func forEach(_ body: @escaping @Sendable (CommandLoop) -> Void) -> [EventLoopFuture<Void>] {
        byEventLoop.values.map { bound in
            bound.eventLoop.submit { body(bound.value) }
        }
    }
}
