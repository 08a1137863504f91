import Foundation
import Keyspace
import NIOCore
import SyncProtocol
import Testing

/// Our services against the very bytes that real replicas sent.
///
/// Positions and file names of the recordings are those of another master's data; what is compared
/// is the meaning of each answer.
@Suite("Recorded replicas at our services", .serialized)
struct RecordedPeerServiceTests {
    static let fileConnections: [String] = {
        let names =
            FileManager.default.enumerator(atPath: Traces.directory.path)?.allObjects
            .compactMap { $0 as? String } ?? []
        return names.filter { $0.hasSuffix("-rsync-r2m.bin") }.sorted()
    }()

    @Test("Every recorded connection to port+2000 gets one answer per request")
    func replication() throws {
        let harness = try MasterHarness(databases: 2)
        defer { harness.stop() }
        for index in 0..<2 { try harness.set(20, database: index) }
        for connection in Traces.replicationConnections {
            let bytes = try Traces.bytes("\(connection)-repl-r2m.bin")
            let requests = try Traces.requests(connection)
            let socket = try RawSocket(port: harness.port + 2_000)
            socket.send(bytes.readableBytesView)
            try self.check(requests, at: socket, connection)
        }
        #expect(try FakeReplica(harness, number: 99).master != nil)
    }

    /// Reads answers until every request that has one got it, or the connection was closed since a
    /// first BinlogSync came for a TrySync that our data could not accept.
    private func check(
        _ requests: [ReplicationRequest], at socket: RawSocket, _ connection: String
    ) throws {
        var expected: [String: Int] = [:]
        for request in requests {
            switch request {
            case .metaSync: expected["meta", default: 0] += 1
            case .trySync(let request): expected["try \(request.database)", default: 0] += 1
            case .dbSync(let request): expected["db \(request.database)", default: 0] += 1
            case .removeReplica(let request):
                expected["remove \(request.database)", default: 0] += 1
            case .binlogSync: break
            }
        }
        while expected.values.contains(where: { $0 > 0 }) {
            let response: ReplicationResponse
            do {
                response = try socket.control()
            } catch RawSocket.Failure.closed {
                // The recorded flow presupposed a verdict that our data do not give.
                return
            }
            switch response {
            case .metaSync(let answer):
                expected["meta", default: 0] -= 1
                #expect(answer.status == .ok, "\(connection)")
                #expect(answer.master?.runID != nil)
                #expect(answer.master?.replicationID != nil)
            case .trySync(let answer):
                let database = answer.verdict?.database ?? ""
                expected["try \(database)", default: 0] -= 1
                #expect(answer.status == .ok)
            case .dbSync(let answer):
                expected["db \(answer.grant?.database ?? "")", default: 0] -= 1
                #expect(answer.status == .ok)
                #expect(answer.grant?.session.rawValue ?? -1 >= 0)
            case .removeReplica(let answer):
                expected["remove \(answer.database ?? "")", default: 0] -= 1
            case .binlogSync:
                break
            }
        }
        #expect(expected.values.allSatisfy { $0 == 0 }, "\(connection): \(expected)")
    }

    @Test("Every recorded connection to port+10001 is served by its own rules")
    func files() throws {
        let harness = try MasterHarness(databases: 2)
        defer { harness.stop() }
        for index in 0..<2 { try harness.set(20, database: index) }
        // The replica that the recordings belong to; its copies are asked for first.
        let replica = try FakeReplica(harness, number: 21)
        for index in 0..<2 { _ = try replica.dbSync(database: "db\(index)") }
        for index in 0..<2 {
            let socket = try RawSocket(port: harness.port + 10_001)
            _ = try replica.list(socket, database: "db\(index)")
        }
        for name in Self.fileConnections {
            let requests = try Traces.frames(name, limits: .fileRequest)
                .map { try FileServiceCodec.decodeRequest($0) }
            let socket = try RawSocket(port: harness.port + 10_001)
            try self.check(requests, at: socket, name)
        }
    }

    private func check(
        _ requests: [FileServiceRequest], at socket: RawSocket, _ name: String
    ) throws {
        // One after the other, as each reader of a real Pika does.
        var listed: Set<String> = []
        for request in requests {
            socket.send(request)
            switch (request, try socket.file().response) {
            case (.list(let asked), .list(let answer)):
                #expect(answer.status == .ok, "\(name)")
                #expect(answer.database == asked.database)
                #expect(answer.readerIndex == asked.readerIndex)
                #expect(answer.snapshotID.utf8.count == 32)
                #expect(answer.filenames?.last == "info")
                #expect(answer.manifest == nil)
                listed = Set(answer.filenames ?? [])
            case (.read(let asked), .read(let answer)):
                #expect(answer.readerIndex == asked.readerIndex)
                #expect(answer.requestID == nil)
                #expect(answer.refusal == nil)
                guard listed.contains(asked.filename) || listed.isEmpty else {
                    #expect(answer.status == .error)
                    #expect(answer.chunk == nil)
                    continue
                }
                guard let chunk = answer.chunk else { continue }
                #expect(chunk.filename == asked.filename)
                #expect(chunk.offset == asked.offset)
                #expect(chunk.count <= asked.count)
                #expect(chunk.checksum == "")
                #expect(chunk.digest == nil)
            default:
                Issue.record("\(name): an answer of another kind")
            }
        }
    }
}
