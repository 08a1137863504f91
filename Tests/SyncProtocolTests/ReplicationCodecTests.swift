import NIOCore
import SwiftProtobuf
import SyncProtocol
import Testing

func encoded(_ request: ReplicationRequest) -> ByteBuffer {
    var buffer = ByteBuffer()
    ReplicationCodec.encode(request, into: &buffer)
    return buffer
}

func encoded(_ response: ReplicationResponse) -> ByteBuffer {
    var buffer = ByteBuffer()
    ReplicationCodec.encode(response, into: &buffer)
    return buffer
}

func plainResponse(_ body: ByteBuffer) throws(WireError) -> ReplicationResponse {
    switch try ReplicationCodec.decodeResponse(body) {
    case .control(let response): response
    case .batch(let batch): .binlogSync(batch.owned)
    }
}

@Suite("Replication messages")
struct ReplicationCodecTests {
    @Test("Every request survives the trip", arguments: Samples.requests)
    func requests(_ request: ReplicationRequest) throws {
        let body = try onlyBody(encoded(request), limits: .replicationRequest)
        #expect(try ReplicationCodec.decodeRequest(body) == request)
    }

    @Test(
        "Every response survives the trip",
        arguments: Samples.controlResponses + [.binlogSync(Samples.batch)])
    func responses(_ response: ReplicationResponse) throws {
        #expect(try plainResponse(try onlyBody(encoded(response))) == response)
    }

    @Test("A real Pika, which knows no extension, reads the same request")
    func extensionsAreUnknownFields() throws {
        for request in Samples.requests {
            let bytes = Array(try onlyBody(encoded(request)).readableBytesView)
            var stranger = try WireRequest(serializedBytes: bytes)
            let ours = try WireRequest(
                serializedBytes: bytes, extensions: WireExt_Extensions_Extensions)
            #expect(stranger.type == ours.type)
            #expect(stranger.isInitialized)
            #expect(stranger.metaSync.auth == ours.metaSync.auth)
            #expect(stranger.trySync.end == ours.trySync.end)
            // Nothing of ours is in a field that it knows.
            stranger.metaSync.unknownFields = UnknownStorage()
            stranger.trySync.unknownFields = UnknownStorage()
            #expect(stranger.unknownFields.data.isEmpty)
        }
    }

    @Test("Every prefix and every flipped bit of a request is refused or read, never a trap")
    func tortureRequests() throws {
        for request in Samples.requests {
            let body = try onlyBody(encoded(request))
            _ = torture(body) { (body) throws(WireError) in
                let decoded = try ReplicationCodec.decodeRequest(body)
                #expect(encoded(decoded).readableBytes > 4)
            }
        }
    }

    @Test("Every prefix and every flipped bit of a response is refused or read, never a trap")
    func tortureResponses() throws {
        for response in Samples.controlResponses {
            let body = try onlyBody(encoded(response))
            _ = torture(body) { (body) throws(WireError) in
                let decoded = try plainResponse(body)
                #expect(encoded(decoded).readableBytes > 4)
            }
        }
    }

    @Test("Unknown types name themselves", arguments: [0, 5, 7, 1_000_000] as [UInt64])
    func unknownTypes(_ type: UInt64) {
        var body = ByteBuffer(bytes: [0x08])
        var rest = type
        while rest >= 0x80 {
            body.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        body.writeInteger(UInt8(rest))
        let error = WireError.unknownValue(field: "type", value: type)
        #expect(throws: error) { try ReplicationCodec.decodeRequest(body) }
        #expect(throws: error) { _ = try ReplicationCodec.decodeResponse(body) }
    }

    @Test("Unknown codes, and a type without its message, are refused")
    func unknownCodes() throws {
        // type meta_sync, status 9.
        #expect(throws: WireError.self) {
            _ = try ReplicationCodec.decodeResponse(ByteBuffer(bytes: [0x08, 1, 0x10, 9]))
        }
        for type in [1, 2, 3, 4, 6] as [UInt8] {
            #expect(throws: WireError.self) {
                try ReplicationCodec.decodeRequest(ByteBuffer(bytes: [0x08, type]))
            }
        }
        for type in [1, 2, 3] as [UInt8] {
            #expect(throws: WireError.self) {
                _ = try ReplicationCodec.decodeResponse(ByteBuffer(bytes: [0x08, type, 0x10, 1]))
            }
        }
        #expect(throws: WireError.missingField("type")) {
            try ReplicationCodec.decodeRequest(ByteBuffer(bytes: [0x10, 1]))
        }
    }

    @Test("Consensus messages are refused on both ends")
    func consensus() throws {
        var request = WireRequest()
        request.type = .metaSync
        request.metaSync.replica.host = "h"
        request.metaSync.replica.port = 1
        request.consensusMeta.term = 1
        let requestBytes: [UInt8] = try request.serializedBytes()
        #expect(throws: WireError.unknownValue(field: "consensus_meta", value: 7)) {
            try ReplicationCodec.decodeRequest(ByteBuffer(bytes: requestBytes))
        }
        for type in [WireMessageType.binlogSync, .trySync] {
            var response = WireResponse()
            response.type = type
            response.status = .error
            response.consensusMeta.term = 1
            let bytes: [UInt8] = try response.serializedBytes()
            #expect(throws: WireError.unknownValue(field: "consensus_meta", value: 9)) {
                _ = try ReplicationCodec.decodeResponse(ByteBuffer(bytes: bytes))
            }
        }
    }

    @Test("A text or list is taken at its limit and refused one past it")
    func limits() throws {
        func request(host: Int, database: Int, auth: Int) -> [ReplicationRequest] {
            let replica = ReplicaAddress(host: String(repeating: "h", count: host), port: 65_535)
            return [
                .metaSync(
                    MetaSyncRequest(replica: replica, auth: String(repeating: "a", count: auth))),
                .removeReplica(
                    RemoveReplicaRequest(
                        replica: replica, database: String(repeating: "d", count: database))),
            ]
        }
        func decode(_ request: ReplicationRequest) throws -> ReplicationRequest {
            try ReplicationCodec.decodeRequest(try onlyBody(encoded(request)))
        }
        let fits = request(host: 255, database: 64, auth: 4_096)
        for request in fits { #expect(try decode(request) == request) }
        for over in [
            request(host: 256, database: 1, auth: 1)[0], request(host: 1, database: 65, auth: 1)[1],
            request(host: 1, database: 1, auth: 4_097)[0],
        ] {
            #expect(throws: WireError.self) { try decode(over) }
        }
        for (entries, isTaken) in [(1_024, true), (1_025, false)] {
            let claim = HistoryClaim(
                entries: Samples.history(entries), digest: 0, endsInsideGroup: false)
            let long = ReplicationRequest.trySync(
                TrySyncRequest(
                    replica: Samples.replica, database: "db0", end: .ping, claim: claim))
            #expect((try? decode(long)) == (isTaken ? long : nil))
        }
    }

    @Test("Chains and rules of FLUSHDB are taken at their limit and refused one past it")
    func extensionLimits() throws {
        func metaSync(_ count: Int) -> ReplicationResponse {
            let node = UpstreamNode(id: NodeID(rawValue: 1), address: Samples.replica)
            let peer = PeerInfo(upstreams: Array(repeating: node, count: count))
            return .metaSync(
                MetaSyncResponse(
                    status: .ok, master: MasterInfo(databases: [], runID: nil, peer: peer)))
        }
        func trySync(_ count: Int) -> ReplicationResponse {
            let rule = TypedFlushRule(from: .zero, emptiesAll: true)
            return .trySync(
                TrySyncResponse(
                    status: .ok,
                    verdict: TrySyncVerdict(
                        code: .error, database: "db0",
                        typedFlush: Array(repeating: rule, count: count))))
        }
        for (fits, over) in [(metaSync(64), metaSync(65)), (trySync(64), trySync(65))] {
            #expect(try plainResponse(try onlyBody(encoded(fits))) == fits)
            #expect(throws: WireError.self) { try plainResponse(try onlyBody(encoded(over))) }
        }
    }

    @Test("Ports outside 0...65535 are refused", arguments: [-1, 65_536])
    func ports(_ port: Int) throws {
        let request = ReplicationRequest.metaSync(
            MetaSyncRequest(replica: ReplicaAddress(host: "h", port: port)))
        #expect(
            throws: WireError.outOfRange(field: "port", value: Int64(port), allowed: 0...65_535)
        ) {
            try ReplicationCodec.decodeRequest(try onlyBody(encoded(request)))
        }
    }

    @Test("A run id that is none, as an empty one, reads as absent")
    func oddRunID() throws {
        let response = ReplicationResponse.metaSync(
            MetaSyncResponse(status: .ok, master: MasterInfo(databases: [], runID: nil)))
        #expect(try plainResponse(try onlyBody(encoded(response))) == response)
        #expect(RunID("short") == nil)
        #expect(RunID(String(repeating: " ", count: 40)) == nil)
        #expect(ReplicationID(String(repeating: "f", count: 49)) == nil)
    }
}
