import Foundation
import Keyspace
import NIOCore
import SyncProtocol
import Testing

/// Our file service against the very bytes that real replicas sent (port+2000:
/// `RecordedVerdictTests`).
///
/// File names of the recordings are those of another master's data; what is compared is the meaning
/// of each answer.
@Suite("Recorded replicas at our file service", .serialized)
struct RecordedPeerServiceTests {
    static let fileConnections: [String] = {
        let names =
            FileManager.default.enumerator(atPath: Traces.directory.path)?.allObjects
            .compactMap { $0 as? String } ?? []
        return names.filter { $0.hasSuffix("-rsync-r2m.bin") }.sorted()
    }()

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
