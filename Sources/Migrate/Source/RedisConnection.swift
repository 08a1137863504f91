public import NIOCore
internal import NIOPosix
public import RedisSync
internal import Synchronization

/// Why a request has no reply.
public enum RedisConnectionError: Error, Sendable, Equatable {
    /// No connection, or it broke.
    case lost(String)
    /// Bytes that are no reply.
    case malformed
    /// One end's certificate is none that the other trusts.
    case untrusted(String)
}

/// A client's connection: requests in order, replies in order.
///
/// Any task may send; replies come in the order of the calls.
public final class RedisConnection: Sendable {
    private let channel: any Channel
    private let handler: NIOLoopBound<RedisReplyHandler>

    private init(channel: any Channel, handler: NIOLoopBound<RedisReplyHandler>) {
        self.channel = channel
        self.handler = handler
    }

    /// Connects, and authenticates if there is a password.
    public static func connect(
        to address: RedisAddress, user: String? = nil, password: [UInt8]? = nil,
        tls: RedisTLS? = nil, timeoutMilliseconds: Int64 = 10_000,
        group: any EventLoopGroup
    ) async throws(RedisConnectionError) -> RedisConnection {
        let connection: RedisConnection
        do {
            let bootstrap = ClientBootstrap(group: group)
                .connectTimeout(.milliseconds(timeoutMilliseconds))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try tls?.addHandler(to: channel, host: address.host)
                        try channel.pipeline.syncOperations.addHandler(RedisReplyHandler())
                    }
                }
            let channel = try await bootstrap.connect(host: address.host, port: address.port)
                .get()
            let handler = try await channel.eventLoop.submit {
                NIOLoopBound(
                    try channel.pipeline.syncOperations.handler(type: RedisReplyHandler.self),
                    eventLoop: channel.eventLoop)
            }.get()
            connection = RedisConnection(channel: channel, handler: handler)
        } catch {
            throw .lost("can't connect to \(address): \(error)")
        }
        if let password {
            let words = [Array("AUTH".utf8)] + (user.map { [Array($0.utf8)] } ?? []) + [password]
            let reply = try await connection.send(words)
            if let failure = reply.failure, !failure.contains("no password is set"),
                !failure.contains("without any password")
            {
                connection.close()
                throw .lost(failure)
            }
        }
        return connection
    }

    /// Sends a request and waits for its reply; an error reply is a reply.
    public func send(_ words: [[UInt8]]) async throws(RedisConnectionError) -> RedisReply {
        guard let reply = try await self.send(requests: [words]).first else { throw .malformed }
        return reply
    }

    /// Sends a request of plain words.
    public func send(_ words: String...) async throws(RedisConnectionError) -> RedisReply {
        try await self.send(words.map { Array($0.utf8) })
    }

    /// Sends several requests at once and waits for all replies.
    public func send(
        requests: [[[UInt8]]]
    ) async throws(RedisConnectionError) -> [RedisReply] {
        var bytes: [UInt8] = []
        for words in requests { bytes += RedisRequest.encode(words) }
        let promise = self.channel.eventLoop.makePromise(of: [RedisReply].self)
        let handler = self.handler
        let channel = self.channel
        let count = requests.count
        let buffer = channel.allocator.buffer(bytes: bytes)
        channel.eventLoop.execute {
            handler.value.expect(count, promise)
            channel.writeAndFlush(buffer, promise: nil)
        }
        do { return try await promise.futureResult.get() } catch let error as RedisConnectionError {
            throw error
        } catch { throw .lost("\(error)") }
    }

    /// Ends it; waiting requests fail.
    public func close() { self.channel.close(promise: nil) }
}

/// Gives replies to those who wait for them; on its loop.
final class RedisReplyHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var parser = RedisReplyParser()
    private var waiting: CircularBuffer<(missing: Int, EventLoopPromise<[RedisReply]>)> = []
    private var replies: [RedisReply] = []
    private var failure: RedisConnectionError?

    func expect(_ count: Int, _ promise: EventLoopPromise<[RedisReply]>) {
        if let failure { return promise.fail(failure) }
        guard count > 0 else { return promise.succeed([]) }
        self.waiting.append((count, promise))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        self.parser.feed(bytes.readableBytesView)
        do throws(RedisReplyError) {
            while let reply = try self.parser.next() { self.take(reply) }
        } catch {
            self.fail(.malformed)
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.fail(.lost("the server closed the connection"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.fail(RedisTLS.distrust(error).map { .untrusted($0) } ?? .lost("\(error)"))
        context.close(promise: nil)
    }

    private func take(_ reply: RedisReply) {
        guard let first = self.waiting.first else { return }
        self.replies.append(reply)
        guard self.replies.count == first.missing else { return }
        self.waiting.removeFirst()
        let replies = self.replies
        self.replies = []
        first.1.succeed(replies)
    }

    private func fail(_ error: RedisConnectionError) {
        if self.failure == nil { self.failure = error }
        let waiting = self.waiting
        self.waiting = []
        for (_, promise) in waiting { promise.fail(self.failure ?? error) }
    }
}

/// The lines of an INFO reply by name.
struct RedisInfo: Sendable {
    private var values: [String: String] = [:]

    init(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            self.values[String(line[..<colon])] = String(line[line.index(after: colon)...])
        }
    }

    subscript(_ name: String) -> String? { self.values[name] }

    /// The names that begin with `prefix`.
    func names(with prefix: String) -> [String] {
        self.values.keys.filter { $0.hasPrefix(prefix) }.sorted()
    }
}
