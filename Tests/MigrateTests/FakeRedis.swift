import Migrate
import MigrateCore
import NIOCore
import NIOPosix
import RDB
import RedisSync
import Synchronization

extension SourceEvent {
    /// Names of the keys that begin with it.
    var keyNames: [String] {
        switch self {
        case .keyStart(let head): [String(decoding: head.name, as: UTF8.self)]
        case .strings(let batch):
            (0..<batch.count).map { String(decoding: batch.key($0).head.name, as: UTF8.self) }
        default: []
        }
    }
}

/// A master that says what a test tells it to.
final class FakeRedis: Sendable {
    struct State {
        /// Replies to `PSYNC`, in order; the last one stays.
        var replies: [[UInt8]] = []
        var requests: [[String]] = []
        var channels: [any Channel] = []
        var password: String?
        var info = "master_replid:\(String(repeating: "0", count: 40))\r\n"
        var pingReplies: [String] = []
    }

    let state = Mutex(State())
    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel
    let port: Int

    init() async throws {
        let holder = Holder()
        self.holder = holder
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.group = group
        self.channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let fake = holder.fake.withLock({ $0 }) else { return }
                    fake.state.withLock { $0.channels.append(channel) }
                    try channel.pipeline.syncOperations.addHandler(Handler(fake))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.port = self.channel.localAddress?.port ?? 0
        holder.fake.withLock { $0 = self }
    }

    private final class Holder: Sendable { let fake = Mutex<FakeRedis?>(nil) }
    private let holder: Holder

    func stop() async {
        self.holder.fake.withLock { $0 = nil }
        self.drop()
        try? await self.channel.close()
        try? await self.group.shutdownGracefully()
    }

    /// What the next `PSYNC` is answered with.
    func answer(_ bytes: [UInt8]) { self.state.withLock { $0.replies.append(bytes) } }

    /// Sends to those who are in the stream.
    func send(_ bytes: [UInt8]) {
        for channel in self.state.withLock({ $0.channels }) {
            channel.writeAndFlush(channel.allocator.buffer(bytes: bytes), promise: nil)
        }
    }

    /// Cuts all connections.
    func drop() {
        let channels = self.state.withLock { state in
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { channel.close(promise: nil) }
    }

    /// The requests with that first word.
    func requests(_ name: String) -> [[String]] {
        self.state.withLock { $0.requests.filter { $0[0] == name } }
    }

    static func command(_ words: String...) -> [UInt8] {
        RedisRequest.encode(words.map { Array($0.utf8) })
    }

    /// A file of strings in database 0.
    static func snapshot(_ values: [(String, String)]) -> [UInt8] {
        var writer = RDBWriter()
        writer.selectDatabase(0)
        for (key, value) in values {
            writer.beginKey(
                Array(key.utf8), kind: .string, elementCount: 1, deadlineMilliseconds: nil)
            writer.append(Array(value.utf8))
        }
        writer.end()
        return Array(writer.takeBytes())
    }

    static func fullSync(_ id: String, _ offset: Int, _ snapshot: [UInt8]) -> [UInt8] {
        Array("+FULLRESYNC \(id) \(offset)\r\n\n$\(snapshot.count)\r\n".utf8) + snapshot
    }

    static func markedSync(_ id: String, _ offset: Int, _ snapshot: [UInt8]) -> [UInt8] {
        let mark = Array(String(repeating: "m", count: 40).utf8)
        return Array("+FULLRESYNC \(id) \(offset)\r\n$EOF:".utf8) + mark + [13, 10] + snapshot
            + mark
    }

    fileprivate func reply(to words: [String]) -> [UInt8] {
        self.state.withLock { state in
            state.requests.append(words)
            switch words[0] {
            case "PING":
                let reply = state.pingReplies.isEmpty ? "+PONG" : state.pingReplies.removeFirst()
                return Array("\(reply)\r\n".utf8)
            case "AUTH":
                let isRight = words.last == state.password
                return Array((isRight ? "+OK\r\n" : "-WRONGPASS invalid\r\n").utf8)
            case "INFO": return Array("$\(state.info.utf8.count)\r\n\(state.info)\r\n".utf8)
            case "REPLCONF": return words[1] == "ACK" ? [] : Array("+OK\r\n".utf8)
            case "PSYNC":
                guard let first = state.replies.first else { return Array("-LOADING\r\n".utf8) }
                if state.replies.count > 1 { state.replies.removeFirst() }
                return first
            default: return Array("-ERR unknown command\r\n".utf8)
            }
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let fake: FakeRedis
        private var cutter = CommandStreamCutter(offset: 0)

        init(_ fake: FakeRedis) { self.fake = fake }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.cutter.feed(self.unwrapInboundIn(data).readableBytesView)
            while let command = try? self.cutter.next() {
                let words = command.arguments.indices.map {
                    String(decoding: self.cutter.argument(command, $0), as: UTF8.self)
                }
                let reply = self.fake.reply(to: words)
                guard !reply.isEmpty else { continue }
                context.writeAndFlush(
                    self.wrapOutboundOut(context.channel.allocator.buffer(bytes: reply)),
                    promise: nil)
            }
        }
    }
}
