import NIOCore
import NIOPosix
import ReplicationCore
import SyncProtocol
import Synchronization
import TestKit

@testable import Replication

/// The files of one database's dump, and how a file service misbehaves with them.
struct FakeDump: Sendable {
    var snapshotID: String
    var names: [String]
    var files: [String: [UInt8]]
    /// List requests that get no answer first.
    var silentLists = 0
    /// List requests that are answered with kErr first.
    var refusedLists = 0
    /// Bytes of one reply at most.
    var replyLimit = 1 << 20
    /// The connection is closed once, after so many served bytes.
    var cutAfterBytes: Int?
    /// From so many served bytes on, replies carry another snapshot's id.
    var replacedAfterBytes: Int?
    /// A byte of this file is wrong in the first reply that has it.
    var damaged: String?
    /// Extension: serve as one of ours.
    var manifest: SnapshotManifest?
    /// Whether chunks carry digests.
    var addsDigests: Bool { self.manifest != nil }

    var totalBytes: Int { self.names.reduce(0) { $0 + (self.files[$1]?.count ?? 0) } }
}

/// A master on loopback that answers from a script: the two services of a Pika.
final class FakeMaster: Sendable {
    struct State: Sendable {
        /// Answers per kind of request, in order; the last one stays.
        var metaSync: [MetaSyncResponse] = []
        var trySync: [String: [TrySyncResponse]] = [:]
        var dbSync: [String: [DBSyncResponse]] = [:]
        /// Items per database, sent when the replica starts the flow.
        var chips: [String: [BinlogChip]] = [:]
        var chipsPerFrame = 100
        var dumps: [String: FakeDump] = [:]
        /// Raw bytes sent in place of the answer to MetaSync.
        var rawAnswer: [UInt8]?
        var sendsKeepAlives = true

        // What was seen.
        var requests: [ReplicationRequest] = []
        var fileRequests: [FileServiceRequest] = []
        var servedBytes: [String: Int] = [:]
        var connections = 0
        var acknowledged: [String: BinlogPosition] = [:]
    }

    let port: Int
    private let box: Box
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let listeners: [any Channel]

    /// What the handlers share.
    final class Box: Sendable {
        let state: Mutex<State>
        /// Connections to port+2000.
        let open = Mutex<[any Channel]>([])

        init(_ state: State) { self.state = Mutex(state) }
    }

    init(_ state: State) throws {
        let box = Box(state)
        self.box = box
        for _ in 0..<200 {
            let port = try LoopbackPorts.next()
            let replication = try? Self.listen(self.group, port + 2_000) {
                FakeReplicationHandler(box)
            }
            guard let replication else { continue }
            let files = try? Self.listen(self.group, port + 10_001) { FakeFileHandler(box) }
            if let files {
                self.port = port
                self.listeners = [replication, files]
                return
            }
            try? replication.close().wait()
        }
        throw Failure.noPort
    }

    enum Failure: Error { case noPort }

    private static func listen<Handler: ChannelInboundHandler>(
        _ group: MultiThreadedEventLoopGroup, _ port: Int,
        _ make: @escaping @Sendable () -> Handler
    ) throws -> any Channel {
        try ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(make())
                }
            }
            .bind(host: "127.0.0.1", port: port).wait()
    }

    func with<Result: Sendable>(_ body: (inout sending State) -> sending Result) -> Result {
        self.box.state.withLock { body(&$0) }
    }

    /// Closes every connection to port+2000, as a cut link or a restart does.
    func cut() {
        let channels = self.box.open.withLock { open in
            defer { open = [] }
            return open
        }
        for channel in channels { try? channel.close().wait() }
    }

    func stop() {
        for channel in self.listeners { try? channel.close().wait() }
        try? self.group.syncShutdownGracefully()
    }
}

/// Port+2000.
final class FakeReplicationHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let box: FakeMaster.Box
    private var reader = FrameReader(limits: .replicationRequest)
    private var sessions: [String: SessionID] = [:]
    private var timer: Scheduled<Void>?

    init(_ box: FakeMaster.Box) { self.box = box }

    func channelActive(context: ChannelHandlerContext) {
        self.box.state.withLock { $0.connections += 1 }
        let channel = context.channel
        self.box.open.withLock { $0.append(channel) }
        self.schedule(context.channel)
    }

    private func schedule(_ channel: any Channel) {
        self.timer = channel.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(300)) {
            self.sendKeepAlives(channel)
            self.schedule(channel)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { self.timer?.cancel() }

    private func sendKeepAlives(_ channel: any Channel) {
        guard self.box.state.withLock({ $0.sendsKeepAlives }) else { return }
        for (database, session) in self.sessions {
            var buffer = ByteBuffer()
            ReplicationCodec.encode(
                .binlogSync(.keepAlive(database: database, session: session)), into: &buffer)
            channel.writeAndFlush(buffer, promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        self.reader.append(&bytes)
        do {
            while let body = try self.reader.next() {
                self.answer(try ReplicationCodec.decodeRequest(body), context)
            }
        } catch {
            context.close(promise: nil)
        }
    }

    private func answer(_ request: ReplicationRequest, _ context: ChannelHandlerContext) {
        self.box.state.withLock { $0.requests.append(request) }
        switch request {
        case .metaSync:
            if let raw = self.box.state.withLock({ $0.rawAnswer }) {
                context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: raw)), promise: nil)
                return
            }
            let answer = self.box.state.withLock { FakeMaster.next(&$0.metaSync) }
            if let answer { self.send(.metaSync(answer), context) }
        case .trySync(let request):
            let answer = self.box.state.withLock { state in
                FakeMaster.next(&state.trySync[request.database, default: []])
            }
            guard let answer else { return }
            if let session = answer.verdict?.session { self.sessions[request.database] = session }
            self.send(.trySync(answer), context)
        case .dbSync(let request):
            let answer = self.box.state.withLock { state in
                FakeMaster.next(&state.dbSync[request.database, default: []])
            }
            guard let answer else { return }
            if let session = answer.grant?.session { self.sessions[request.database] = session }
            self.send(.dbSync(answer), context)
        case .binlogSync(let ack):
            self.take(ack, context)
        case .removeReplica(let request):
            self.sessions[request.database] = nil
            self.send(.removeReplica(RemoveReplicaResponse(status: .ok)), context)
        }
    }

    private func take(_ ack: BinlogAck, _ context: ChannelHandlerContext) {
        guard ack.isFirst else {
            if !ack.isPing {
                self.box.state.withLock { $0.acknowledged[ack.database] = ack.end.position }
            }
            return
        }
        // A script may hold an item twice, under the sessions of two connections.
        let (chips, limit) = self.box.state.withLock { state in
            var sent = ack.start.position
            var chips: [BinlogChip] = []
            for var chip in state.chips[ack.database] ?? [] where chip.end.position > sent {
                sent = chip.end.position
                chip.session = ack.session
                chips.append(chip)
            }
            return (chips, state.chipsPerFrame)
        }
        for start in stride(from: 0, to: chips.count, by: limit) {
            let part = Array(chips[start..<min(start + limit, chips.count)])
            self.send(.binlogSync(BinlogSyncResponse(chips: part)), context)
        }
    }

    private func send(_ response: ReplicationResponse, _ context: ChannelHandlerContext) {
        var buffer = ByteBuffer()
        ReplicationCodec.encode(response, into: &buffer)
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }
}

extension FakeMaster {
    /// The next answer of a script; the last one stays.
    static func next<Answer>(_ answers: inout [Answer]) -> Answer? {
        answers.count > 1 ? answers.removeFirst() : answers.first
    }
}

/// Port+10001.
final class FakeFileHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let box: FakeMaster.Box
    private var reader = FrameReader(limits: .fileRequest)

    init(_ box: FakeMaster.Box) { self.box = box }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        self.reader.append(&bytes)
        do {
            while let body = try self.reader.next() {
                let request = try FileServiceCodec.decodeRequest(body)
                self.box.state.withLock { $0.fileRequests.append(request) }
                switch request {
                case .list(let list): self.answer(list, context)
                case .read(let read): self.answer(read, context)
                }
            }
        } catch {
            context.close(promise: nil)
        }
    }

    private func answer(_ request: FileListRequest, _ context: ChannelHandlerContext) {
        enum Answer { case silence, refusal, list(FakeDump) }
        let answer = self.box.state.withLock { state -> Answer in
            guard var dump = state.dumps[request.database] else { return .silence }
            defer { state.dumps[request.database] = dump }
            if dump.silentLists > 0 {
                dump.silentLists -= 1
                return .silence
            }
            if dump.refusedLists > 0 {
                dump.refusedLists -= 1
                return .refusal
            }
            return .list(dump)
        }
        var buffer = ByteBuffer()
        switch answer {
        case .silence:
            return
        case .refusal:
            FileServiceCodec.encode(
                FileListResponse(status: .error, database: request.database, snapshotID: ""),
                into: &buffer)
        case .list(let dump):
            FileServiceCodec.encode(
                FileListResponse(
                    status: .ok, database: request.database, readerIndex: request.readerIndex,
                    snapshotID: dump.snapshotID, filenames: dump.names, manifest: dump.manifest,
                    requestID: request.requestID),
                into: &buffer)
        }
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    private func answer(_ request: FileReadRequest, _ context: ChannelHandlerContext) {
        let found = self.box.state.withLock { state -> (FakeDump, Int)? in
            state.dumps[request.database].map {
                ($0, state.servedBytes[request.database] ?? 0)
            }
        }
        guard let (dump, served) = found else { return }
        if let limit = dump.cutAfterBytes, served >= limit {
            self.box.state.withLock { $0.dumps[request.database]?.cutAfterBytes = nil }
            context.close(promise: nil)
            return
        }
        var snapshotID = dump.snapshotID
        if let limit = dump.replacedAfterBytes, served >= limit { snapshotID = "replaced" }
        guard let file = dump.files[request.filename], Int(request.offset) <= file.count else {
            var buffer = ByteBuffer()
            FileServiceCodec.encodeRefusal(
                FileReadResponse(
                    status: .error, database: request.database, readerIndex: request.readerIndex,
                    snapshotID: snapshotID, requestID: request.requestID), into: &buffer)
            context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
            return
        }
        let offset = Int(request.offset)
        let count = min(Int(request.count), file.count - offset, dump.replyLimit)
        let piece = Array(file[offset..<offset + count])
        let response = FileReadResponse(
            status: .ok, database: request.database, readerIndex: request.readerIndex,
            snapshotID: snapshotID,
            chunk: FileChunk(
                filename: request.filename, offset: request.offset, count: UInt64(count),
                isEnd: offset + count == file.count),
            requestID: request.requestID)
        var buffer = ByteBuffer()
        FileServiceCodec.encodeRead(response, addsDigest: dump.addsDigests, into: &buffer) {
            $0.copyBytes(from: piece)
        }
        if dump.damaged == request.filename, count > 0 {
            self.box.state.withLock { $0.dumps[request.database]?.damaged = nil }
            Self.damage(&buffer, piece)
        }
        self.box.state.withLock { $0.servedBytes[request.database, default: 0] += count }
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    /// Changes one byte of the data inside the frame.
    private static func damage(_ buffer: inout ByteBuffer, _ piece: [UInt8]) {
        let bytes = Array(buffer.readableBytesView)
        guard bytes.count >= piece.count else { return }
        for start in 0...(bytes.count - piece.count)
        where Array(bytes[start..<start + piece.count]) == piece {
            buffer.setInteger(piece[0] ^ 0x40, at: buffer.readerIndex + start)
            return
        }
    }
}
