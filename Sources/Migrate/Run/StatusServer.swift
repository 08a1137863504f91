internal import FileIO
internal import MigrateCore
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// Answers on loopback: `GET /status`, `GET /metrics`, and the admin commands.
///
/// | request | does |
/// |---|---|
/// | `POST /limit/NAME/NUMBER` | changes a limit at once, 0 = none, whatever the schedule says |
/// | `POST /limit/NAME/auto` | gives a limit back to settings and schedule |
/// | `POST /pause`, `POST /resume` | holds everything back, goes on |
/// | `POST /stop` | drains and ends with exit code 0 |
///
/// Every run has a name of its own, which is in the job's directory and in every answer: a port may
/// be somebody else's by the time that it is asked. What is asked for another run is refused.
struct StatusServer: Sendable {
    /// The file in the job's directory that tells the address, and in its second line the run's name.
    static let addressFile = "status-address"
    /// The header that names the run.
    static let runHeader = "x-pika-migrate-run"
    private static let loopback: Set<String> = ["127.0.0.1", "localhost", "::1"]
    private static let backlog: Int32 = 16

    private let channel: any Channel
    /// Where it listens.
    let address: RedisAddress
    private let path: String

    /// Listens; nil if the settings say so.
    static func start(_ job: Job) async throws(RunError) -> StatusServer? {
        let text = job.settings.text("status.listen")
        guard !text.isEmpty else { return nil }
        let parts = text.split(separator: ":")
        guard parts.count == 2, let port = Int(parts[1]), (0...65_535).contains(port),
            Self.loopback.contains(String(parts[0]))
        else { throw .usage("status.listen: \(text) is no address of loopback") }
        let run = (0..<2).map { _ in String(UInt64.random(in: 0...UInt64.max), radix: 16) }.joined()
        do {
            let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.backlog, value: Self.backlog)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                        try channel.pipeline.syncOperations.addHandler(StatusHandler(job, run))
                    }
                }
                .bind(host: String(parts[0]), port: port).get()
            let address = RedisAddress(
                host: String(parts[0]), port: channel.localAddress?.port ?? port)
            let path = Path.join(job.directory, Self.addressFile)
            try job.files.fileSystem.writeAtomically(
                path, Array("\(address.description)\n\(run)\n".utf8))
            return StatusServer(channel: channel, address: address, path: path)
        } catch { throw .io("the status can't be served at \(text): \(error)") }
    }

    /// Ends, and takes the address back.
    func stop() async {
        try? RealFileSystem().unlink(self.path)
        try? await self.channel.close().get()
    }
}

/// One connection to the status.
private final class StatusHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let limitHelp =
        "expected a limit and a number or auto; limits are "
        + LimitName.allCases.map(\.rawValue).joined(separator: ", ") + "\n"

    private let job: Job
    private let run: String
    private var head: HTTPRequestHead?

    init(_ job: Job, _ run: String) {
        self.job = job
        self.run = run
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head = self.head else { return }
            let (status, type, text) = self.answer(head)
            var headers = HTTPHeaders()
            headers.add(name: "content-type", value: type)
            headers.add(name: "content-length", value: "\(text.utf8.count)")
            headers.add(name: "connection", value: "close")
            headers.add(name: StatusServer.runHeader, value: self.run)
            context.write(
                self.wrapOutboundOut(
                    .head(HTTPResponseHead(version: head.version, status: status, headers: headers))
                ), promise: nil)
            let body = context.channel.allocator.buffer(string: text)
            context.write(self.wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            let channel = context.channel
            context.writeAndFlush(self.wrapOutboundOut(.end(nil))).whenComplete { _ in
                channel.close(promise: nil)
            }
        }
    }

    private func answer(_ head: HTTPRequestHead) -> (HTTPResponseStatus, String, String) {
        guard head.headers[StatusServer.runHeader].allSatisfy({ $0 == self.run }) else {
            return (.misdirectedRequest, "text/plain", "another job's run is asked for\n")
        }
        let path = head.uri.split(separator: "/").map(String.init)
        switch (head.method, path.first) {
        case (.GET, "status"): return (.ok, "application/json", self.text.json())
        case (.GET, "metrics"): return (.ok, "text/plain; version=0.0.4", self.text.metrics())
        case (.POST, "pause"): self.job.throttle.pause(true)
        case (.POST, "resume"): self.job.throttle.pause(false)
        case (.POST, "stop"):
            let job = self.job
            Task { await job.stop() }
        case (.POST, "limit"):
            guard path.count == 3, let name = LimitName(rawValue: path[1]),
                path[2] == "auto" || UInt64(path[2]) != nil
            else { return (.badRequest, "text/plain", Self.limitHelp) }
            self.job.throttle.set(name, UInt64(path[2]))
        default: return (.notFound, "text/plain", "no such page\n")
        }
        return (.ok, "application/json", self.text.json())
    }

    private var text: StatusText { self.job.statusText }
}

/// Asks a running job of the same machine.
public struct StatusClient: Sendable {
    private static let maxAddressBytes = 1_024
    private static let patience = TimeAmount.seconds(5)
    private let directory: String

    /// A client for the job of a directory.
    public init(_ settings: MigrateSettings) { self.directory = settings.text("job.dir") }

    /// Sends a request and returns the answer's text.
    public func ask(_ method: String, _ path: String) async throws(RunError) -> String {
        let bytes: [UInt8]?
        do throws(FileError) {
            bytes = try RealFileSystem().readFile(
                Path.join(self.directory, StatusServer.addressFile),
                limitBytes: Self.maxAddressBytes)
        } catch { throw .io("\(error)") }
        let lines = String(decoding: bytes ?? [], as: UTF8.self).split(separator: "\n")
        guard lines.count == 2, let address = RedisAddress(String(lines[0])) else {
            throw .usage("no job runs in \(self.directory)")
        }
        let name = "\(StatusServer.runHeader): \(lines[1])\r\n"
        let promise = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: String.self)
        // Where nobody listens no handler comes to complete it; later than that it has no effect.
        defer { promise.fail(ChannelError.eof) }
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.seconds(2))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(AnswerHandler(promise))
                    }
                }
                .connect(host: address.host, port: address.port).get()
            let request =
                "\(method) \(path) HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\(name)\r\n"
            try await channel.writeAndFlush(channel.allocator.buffer(string: request))
            // A port that was a job's may be somebody else's by now.
            channel.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
            let answer = try await promise.futureResult.get()
            guard let end = answer.range(of: "\r\n\r\n"),
                String(answer[..<end]).range(of: name) != nil
            else {
                throw RunError.usage(
                    "no job runs in \(self.directory): at \(address), where it was, somebody else"
                        + " answers")
            }
            let body = String(answer[end...])
            guard answer.prefix(while: { $0 != "\r\n" }).contains(" 200") else {
                throw RunError.usage(String(body.prefix { $0 != "\n" }))
            }
            return body
        } catch let error as RunError {
            throw error
        } catch {
            throw .usage("no job runs in \(self.directory): \(error)")
        }
    }
}

extension String {
    /// The place behind the first occurrence of a text.
    fileprivate func range(of text: String) -> String.Index? {
        var at = self.utf8.startIndex
        while at < self.utf8.endIndex {
            if self.utf8[at...].starts(with: text.utf8) {
                return self.utf8.index(at, offsetBy: text.utf8.count)
            }
            at = self.utf8.index(after: at)
        }
        return nil
    }
}

/// Collects an answer until the other side closes.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let promise: EventLoopPromise<String>
    private var bytes: [UInt8] = []

    init(_ promise: EventLoopPromise<String>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.bytes += Array(self.unwrapInboundIn(data).readableBytesView)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.promise.succeed(String(decoding: self.bytes, as: UTF8.self))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
