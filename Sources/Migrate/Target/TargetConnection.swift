internal import MigrateCore
internal import NIOCore
internal import NIOPosix

/// What a target answered to a window of commands.
struct ReplyWindow: Sendable {
    /// The errors among the replies.
    var faults: [ReplyFault]
    /// Replies that were nil: an `EXEC` that was not carried out.
    var nullReplies: Int
    /// The last value.
    var lastValue: ContiguousArray<UInt8>
}

/// A connection that writes windows of commands and reads all their replies.
final class TargetConnection: Sendable {
    private let channel: any Channel
    private let handler: NIOLoopBound<WindowHandler>

    private init(channel: any Channel, handler: NIOLoopBound<WindowHandler>) {
        self.channel = channel
        self.handler = handler
    }

    /// Connects and authenticates.
    static func connect(
        to endpoint: Endpoint, group: any EventLoopGroup
    ) async throws(RunError) -> TargetConnection {
        let connection: TargetConnection
        do {
            let bootstrap = ClientBootstrap(group: group)
                .connectTimeout(.milliseconds(Endpoint.connectLimitMilliseconds))
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.socketOption(.so_keepalive), value: 1)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try endpoint.tls?.addHandler(to: channel, host: endpoint.address.host)
                        try channel.pipeline.syncOperations.addHandler(WindowHandler())
                    }
                }
            let channel = try await bootstrap.connect(
                host: endpoint.address.host, port: endpoint.address.port
            ).get()
            let handler = try await channel.eventLoop.submit {
                NIOLoopBound(
                    try channel.pipeline.syncOperations.handler(type: WindowHandler.self),
                    eventLoop: channel.eventLoop)
            }.get()
            connection = TargetConnection(channel: channel, handler: handler)
        } catch {
            throw .targetLost("can't connect to \(endpoint.address): \(error)")
        }
        if let password = try endpoint.password() {
            var login = CommandBuffer()
            let user = endpoint.user.map { [Array($0.utf8)] } ?? []
            login.append([Array("AUTH".utf8)] + user + [password])
            let window = try await connection.exchange(login)
            if let fault = window.faults.first, !fault.text.contains("no password is set") {
                connection.close()
                throw .refused("the target refuses us: \(fault.text)")
            }
        }
        return connection
    }

    /// Sends commands and waits for all replies.
    func exchange(_ commands: CommandBuffer) async throws(RunError) -> ReplyWindow {
        try await Self.replies(self.begin(commands))
    }

    /// Sends commands; the window before MUST have been answered.
    ///
    /// One without replies, a part of a command, is answered once it is written.
    func begin(_ commands: CommandBuffer) -> EventLoopFuture<ReplyWindow> {
        let promise = self.channel.eventLoop.makePromise(of: ReplyWindow.self)
        let handler = self.handler
        let channel = self.channel
        let count = commands.commandCount
        let bytes = commands.bytes
        channel.eventLoop.execute {
            handler.value.expect(count, promise)
            let written = channel.writeAndFlush(channel.allocator.buffer(bytes: bytes))
            if count == 0 { written.whenSuccess { handler.value.isWritten() } }
        }
        return promise.futureResult
    }

    /// Waits for a window's replies.
    static func replies(
        _ future: EventLoopFuture<ReplyWindow>
    ) async throws(RunError) -> ReplyWindow {
        do { return try await future.get() } catch {
            if let text = RedisTLS.distrust(error) {
                throw .refused("TLS with the target: \(text)")
            }
            throw .targetLost("\(error)")
        }
    }

    /// Ends it; a waiting window fails.
    func close() { self.channel.close(promise: nil) }
}

/// Why a window has no replies.
enum WindowError: Error {
    case closed
    case malformed
    case quiet
}

/// Reads the replies of one window at a time; on its loop.
final class WindowHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// A target that answers nothing for so long is given up.
    static let quietLimit = TimeAmount.seconds(60)

    private var scanner = ReplyScanner()
    private var missing = 0
    private var promise: EventLoopPromise<ReplyWindow>?
    private var failure: (any Error)?
    private var watch: Scheduled<Void>?
    private var channel: (any Channel)?

    func handlerAdded(context: ChannelHandlerContext) { self.channel = context.channel }
    func handlerRemoved(context: ChannelHandlerContext) { self.channel = nil }

    func expect(_ count: Int, _ promise: EventLoopPromise<ReplyWindow>) {
        if let failure { return promise.fail(failure) }
        self.scanner.beginWindow()
        self.missing = count
        self.promise = promise
        self.startWatch()
    }

    /// A window without replies is on its way.
    func isWritten() {
        if self.promise != nil, self.missing == 0 { self.finish() }
    }

    private func startWatch() {
        guard let loop = self.channel?.eventLoop else { return }
        self.watch?.cancel()
        self.watch = loop.assumeIsolated().scheduleTask(in: Self.quietLimit) {
            guard self.promise != nil else { return }
            self.fail(WindowError.quiet)
            self.channel?.close(promise: nil)
        }
    }

    private func finish() {
        self.watch?.cancel()
        let promise = self.promise
        self.promise = nil
        promise?.succeed(
            ReplyWindow(
                faults: self.scanner.faults, nullReplies: self.scanner.nullReplies,
                lastValue: self.scanner.lastValue))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        let result = bytes.withUnsafeReadableBytes { buffer -> Result<Void, ReplyScanError> in
            do throws(ReplyScanError) { return .success(try self.scanner.feed(buffer)) } catch {
                return .failure(error)
            }
        }
        if case .failure = result {
            self.fail(WindowError.malformed)
            context.close(promise: nil)
        } else if self.promise != nil, self.scanner.replyCount >= self.missing {
            self.finish()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.fail(WindowError.closed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.fail(error)
        context.close(promise: nil)
    }

    private func fail(_ error: any Error) {
        if self.failure == nil { self.failure = error }
        self.watch?.cancel()
        let promise = self.promise
        self.promise = nil
        promise?.fail(error)
    }
}
