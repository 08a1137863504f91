import NIOCore
import SyncProtocol
import Testing

/// Bytes of real Pika (3.5.0 and 3.5.5): what we decode from them we write again byte for byte.
@Suite("Golden frames and recorded peers")
struct VectorTests {
    @Test("The worked frames decode to what they say and encode back")
    func golden() throws {
        let frames = try Vectors.goldenFrames()
        let replica = ReplicaAddress(host: "10.0.0.2", port: 9221)
        let item = BinlogOffset(
            BinlogPosition(fileNumber: 0, offset: 73), logicID: LogicID(term: 0, index: 1))
        let session = SessionID(rawValue: 0)
        func ack(_ offset: BinlogOffset, isFirst: Bool) -> ReplicationRequest {
            .binlogSync(
                BinlogAck(
                    replica: replica, database: "db0", start: offset, end: offset,
                    session: session, isFirst: isFirst))
        }
        let requests: [String: ReplicationRequest] = [
            "metasync-request": .metaSync(MetaSyncRequest(replica: replica, auth: "secret")),
            "trysync-request": .trySync(
                TrySyncRequest(replica: replica, database: "db0", end: BinlogOffset(.zero))),
            "binlogsync-first": ack(.ping, isFirst: true),
            "binlogsync-ack": ack(item, isFirst: false),
        ]
        let itemBytes = Array((frames["binlogsync-chip"] ?? []).dropLast(2).suffix(65))
        let responses: [String: ReplicationResponse] = [
            "trysync-response": .trySync(
                TrySyncResponse(
                    status: .ok,
                    verdict: TrySyncVerdict(
                        code: .ok, database: "db0",
                        masterEnd: BinlogOffset(BinlogPosition(fileNumber: 0, offset: 165)),
                        session: session))),
            "binlogsync-chip": .binlogSync(
                BinlogSyncResponse(chips: [
                    BinlogChip(database: "db0", end: item, item: itemBytes, session: session)
                ])),
            "binlogsync-keepalive": .binlogSync(.keepAlive(database: "db0", session: session)),
        ]
        let fileRequests: [String: FileServiceRequest] = [
            "rsync-meta-request": .list(FileListRequest(database: "db0")),
            "rsync-file-request": .read(
                FileReadRequest(
                    database: "db0", readerIndex: 0, filename: "info", offset: 0,
                    count: 4_194_304)),
        ]
        #expect(frames.count == requests.count + responses.count + fileRequests.count)
        for (name, request) in requests {
            let frame = ByteBuffer(bytes: try #require(frames[name]))
            #expect(encoded(request) == frame, "\(name)")
            #expect(try ReplicationCodec.decodeRequest(try onlyBody(frame)) == request, "\(name)")
        }
        for (name, response) in responses {
            let frame = ByteBuffer(bytes: try #require(frames[name]))
            #expect(encoded(response) == frame, "\(name)")
            #expect(try plainResponse(try onlyBody(frame)) == response, "\(name)")
        }
        for (name, request) in fileRequests {
            let frame = ByteBuffer(bytes: try #require(frames[name]))
            #expect(encoded(request) == frame, "\(name)")
            #expect(try FileServiceCodec.decodeRequest(try onlyBody(frame)) == request, "\(name)")
        }
    }

    @Test(
        "Real replicas on port+2000",
        arguments: Vectors.traces(service: "repl", direction: "r2m"))
    func replicas(_ trace: String) throws {
        let frames = try Vectors.frames(ofTrace: trace, limits: .replicationRequest)
        #expect(!frames.isEmpty)
        for body in frames {
            let request = try ReplicationCodec.decodeRequest(body)
            #expect(encoded(request) == framed(body))
        }
    }

    @Test(
        "Real masters on port+2000",
        arguments: Vectors.traces(service: "repl", direction: "m2r"))
    func masters(_ trace: String) throws {
        let frames = try Vectors.frames(ofTrace: trace, limits: .replicationResponse)
        #expect(!frames.isEmpty)
        for body in frames {
            let response = try plainResponse(body)
            #expect(encoded(response) == framed(body))
            guard case .binlogSync(let batch) = response else { continue }
            #expect(batch == protobufBatch(body))
            if let byHand = handEncoded(batch) { #expect(byHand == framed(body)) }
        }
    }

    @Test(
        "Real replicas on port+10001",
        arguments: Vectors.traces(service: "rsync", direction: "r2m"))
    func fileClients(_ trace: String) throws {
        let frames = try Vectors.frames(ofTrace: trace, limits: .fileRequest)
        #expect(!frames.isEmpty)
        for body in frames {
            let request = try FileServiceCodec.decodeRequest(body)
            #expect(encoded(request) == framed(body))
        }
    }

    @Test(
        "Real masters on port+10001",
        arguments: Vectors.traces(service: "rsync", direction: "m2r"))
    func fileServers(_ trace: String) throws {
        let frames = try Vectors.frames(ofTrace: trace, limits: .fileResponse)
        #expect(!frames.isEmpty)
        for body in frames {
            let decoded = try FileServiceCodec.decodeResponse(body)
            switch decoded.response {
            case .list(let response):
                #expect(encoded(response) == framed(body))
            case .read(let response):
                #expect(
                    encoded(response, data: decoded.data, addsDigest: false) == framed(body))
            }
        }
    }

    @Test("The traces are all there")
    func traceCount() {
        #expect(Vectors.traces(service: "repl", direction: "r2m").count >= 20)
        #expect(Vectors.traces(service: "rsync", direction: "m2r").count >= 5)
    }

    @Test("Short recorded frames survive every prefix and every flipped bit")
    func tortureRecorded() throws {
        for trace in Vectors.traces(service: "repl", direction: "m2r").prefix(4) {
            let frames = try Vectors.frames(ofTrace: trace, limits: .replicationResponse)
            for body in frames.filter({ $0.readableBytes < 200 }).prefix(6) {
                _ = torture(body) { (body) throws(WireError) in
                    let response = try plainResponse(body)
                    guard case .binlogSync(let batch) = response else { return }
                    #expect(batch == protobufBatch(body))
                }
            }
        }
    }
}
