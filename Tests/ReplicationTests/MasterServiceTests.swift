import Foundation
import Keyspace
import NIOCore
import SyncProtocol
import Testing

@testable import Replication

/// Port+2000 over real sockets: spec replication-protocol 5 to 7.
@Suite("Master service", .serialized)
struct MasterServiceTests {
    @Test("MetaSync tells run id, replication id and databases; both ids stay over a restart")
    func metaSync() throws {
        let directory = MasterHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let harness = try MasterHarness(directory: directory, databases: 2)
        let master = try #require(try FakeReplica(harness).master)
        #expect(master.databases.map(\.name) == ["db0", "db1"])
        #expect(master.databases.allSatisfy { $0.slotCount == 1 })
        #expect(master.peer == nil)
        #expect(master.fileToken == nil)
        let runID = try #require(master.runID)
        let replicationID = try #require(master.replicationID)
        harness.stop()

        let again = try MasterHarness(directory: directory, databases: 2)
        defer { again.stop() }
        let master2 = try #require(try FakeReplica(again, ours: true).master)
        #expect(master2.runID == runID)
        #expect(master2.replicationID == replicationID)
        #expect(master2.peer?.histories.map(\.database) == ["db0", "db1"])
        #expect(master2.fileToken?.count == 32)
    }

    @Test("A wrong masterauth is refused in Pika's words and closed")
    func wrongPassword() throws {
        let harness = try MasterHarness { $0.requirePassword = "secret" }
        defer { harness.stop() }
        let socket = try RawSocket(port: harness.port + 2_000)
        let address = ReplicaAddress(host: "127.0.0.1", port: 9_300)
        socket.send(.metaSync(MetaSyncRequest(replica: address, auth: "wrong")))
        guard case .metaSync(let response) = try socket.control() else {
            Issue.record("no answer to MetaSync")
            return
        }
        #expect(response.status == .error)
        #expect(response.reply == "Auth with master error, Invalid masterauth")
        #expect(response.master == nil)
        #expect(socket.isClosed())
        #expect(try FakeReplica(harness, auth: "secret").master != nil)
    }

    @Test("C5: with requirepass nothing is answered to a peer that did not pass MetaSync")
    func unauthenticated() throws {
        let harness = try MasterHarness { $0.requirePassword = "secret" }
        defer { harness.stop() }
        try harness.set(10)
        let address = ReplicaAddress(host: "127.0.0.1", port: 9_300)
        let requests: [ReplicationRequest] = [
            .trySync(
                TrySyncRequest(replica: address, database: "db0", end: BinlogOffset(.zero))),
            .dbSync(
                DBSyncRequest(replica: address, database: "db0", end: BinlogOffset(.zero))),
            .binlogSync(
                BinlogAck(
                    replica: address, database: "db0", start: .ping, end: .ping,
                    session: SessionID(rawValue: 0), isFirst: true)),
            .removeReplica(RemoveReplicaRequest(replica: address, database: "db0")),
        ]
        for request in requests {
            let socket = try RawSocket(port: harness.port + 2_000)
            socket.send(request)
            #expect(throws: RawSocket.Failure.closed) { try socket.frame() }
        }
        let files = try RawSocket(port: harness.port + 10_001)
        files.send(.list(FileListRequest(database: "db0")))
        let answer = try files.file().response
        guard case .list(let list) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(list.status == .error)
        #expect(list.filenames == nil)
        #expect(files.isClosed())
        let guess = try RawSocket(port: harness.port + 10_001)
        guess.send(
            .read(
                FileReadRequest(
                    database: "db0", readerIndex: 0, filename: "info", offset: 0, count: 100,
                    fileToken: Array(repeating: 0, count: 32), requestID: 1)))
        guard case .read(let read) = try guess.file().response else {
            Issue.record("no answer to a read")
            return
        }
        #expect(read.refusal?.reason == .notAllowed)
        #expect(guess.isClosed())
    }

    @Test("TrySync's verdicts are those of spec 6.2, kinder where Pika's replica would hang")
    func trySyncVerdicts() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(10)
        let end = harness.keyspace.databases[0].published
        let replica = try FakeReplica(harness)
        let unknown = try replica.trySync(.zero, database: "db7")
        #expect(unknown.code == .error)
        #expect(unknown.session == nil)
        let inside = try replica.trySync(BinlogPosition(fileNumber: 0, offset: 5))
        #expect(inside.code == .error)
        #expect(inside.masterEnd?.position == end)
        let larger = try replica.trySync(BinlogPosition(fileNumber: 3, offset: 0))
        #expect(larger.code == .syncPointLarger)
        let first = try replica.trySync(.zero)
        #expect(first.code == .ok)
        let second = try replica.trySync(end)
        #expect(second.code == .ok)
        #expect(first.session == second.session)
        #expect(first.reason == nil)
    }

    @Test("Items arrive in order with their ends, then live ones; keep-alives go on")
    func follow() throws {
        let harness = try MasterHarness(binlogFileBytes: 256 << 10)
        defer { harness.stop() }
        try harness.set(3_000, valueBytes: 200)
        let database = harness.keyspace.databases[0]
        let end = database.published
        #expect(end.fileNumber > 0)
        let replica = try FakeReplica(harness)
        let verdict = try replica.trySync(.zero)
        let session = try #require(verdict.session)
        let chips = try replica.follow(from: .zero, session: session, until: end)
        #expect(chips.count == 3_000)
        #expect(zip(chips, chips.dropFirst()).allSatisfy { $0.end.position < $1.end.position })
        #expect(chips.allSatisfy { $0.session == session && $0.database == "db0" })
        #expect(chips.last?.end.position == end)

        try harness.set("live", "1")
        guard case .batch(let batch) = try replica.socket.replication() else {
            Issue.record("no live item")
            return
        }
        let live = batch.owned.chips
        #expect(live.count == 1)
        #expect(live.first?.end.position == database.published)
        replica.acknowledge(database.published, database.published, session: session)
        guard case .batch(let alive) = try replica.socket.replication() else {
            Issue.record("no keep-alive")
            return
        }
        #expect(alive.owned.chips.first?.isKeepAlive == true)
        let status = try #require(harness.service.status().replicas.first)
        #expect(status.address == replica.address)
        #expect(status.databases.first?.acknowledged == database.published)
        #expect(status.databases.first?.lagBytes == 0)
    }

    @Test("A real Pika gets at most 100 items a frame, one of ours more, with the durable end")
    func frames() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(500, valueBytes: 10)
        for ours in [false, true] {
            let replica = try FakeReplica(harness, number: ours ? 2 : 1, ours: ours)
            let claim = HistoryClaim(
                entries: harness.keyspace.databases[0].history, digest: 0, endsInsideGroup: false)
            let verdict = try replica.trySync(.zero, claim: ours ? claim : nil)
            let session = try #require(verdict.session)
            replica.acknowledge(.zero, .zero, session: session, first: true)
            guard case .batch(let batch) = try replica.socket.replication() else {
                Issue.record("no items")
                return
            }
            if ours {
                #expect(batch.chips.count == 500)
                #expect(batch.durableEnd != nil)
            } else {
                #expect(batch.chips.count == 100)
                #expect(batch.durableEnd == nil)
            }
        }
    }

    @Test("A stalled replica stops at its window; the others go on")
    func stalled() throws {
        let harness = try MasterHarness { $0.syncWindowItems = 250 }
        defer { harness.stop() }
        let stalled = try FakeReplica(harness, number: 1)
        let session = try #require(try stalled.trySync(.zero).session)
        stalled.acknowledge(.zero, .zero, session: session, first: true)
        let good = try FakeReplica(harness, number: 2)
        let goodSession = try #require(try good.trySync(.zero).session)
        try harness.set(1_000, valueBytes: 10)
        let end = harness.keyspace.databases[0].published
        let chips = try good.follow(from: .zero, session: goodSession, until: end)
        #expect(chips.count == 1_000)
        var received = 0
        while received < 250 {
            guard case .batch(let batch) = try stalled.socket.replication() else { break }
            received += batch.chips.count { !$0.isKeepAlive }
        }
        #expect(received == 250)
    }

    @Test("Several databases share one connection, each with its own session")
    func databases() throws {
        let harness = try MasterHarness(databases: 3)
        defer { harness.stop() }
        for index in 0..<3 { try harness.set(50, database: index) }
        let replica = try FakeReplica(harness)
        var received: [String: Int] = [:]
        let sessions = try (0..<3).map { index in
            try #require(try replica.trySync(.zero, database: "db\(index)").session)
        }
        for (index, session) in sessions.enumerated() {
            replica.acknowledge(
                .zero, .zero, session: session, first: true, database: "db\(index)")
        }
        while received.values.reduce(0, +) < 150 {
            guard case .batch(let batch) = try replica.socket.replication() else { break }
            for chip in batch.owned.chips where !chip.isKeepAlive {
                received[chip.database, default: 0] += 1
            }
        }
        #expect(received == ["db0": 50, "db1": 50, "db2": 50])
    }

    @Test("A replica that comes again takes over from its older connection")
    func replacesOlder() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        let older = try FakeReplica(harness)
        let newer = try FakeReplica(harness)
        #expect(newer.master != nil)
        #expect(older.socket.isClosed())
    }

    @Test("RemoveSlaveNode is answered with our address, whether there was something or not")
    func removeReplica() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        let replica = try FakeReplica(harness)
        _ = try replica.trySync(.zero)
        for database in ["db0", "db0", "nodb"] {
            replica.socket.send(
                .removeReplica(
                    RemoveReplicaRequest(replica: replica.address, database: database)))
            guard case .removeReplica(let response) = try replica.socket.control() else {
                Issue.record("no answer")
                return
            }
            #expect(response.status == .ok)
            #expect(response.master?.port == harness.port)
            #expect(response.database == database)
        }
    }

    @Test("Hostile bytes close their connection; the master serves on")
    func hostile() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        let frames: [[UInt8]] = [
            [0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF], [0x20, 0, 0, 0, 8, 1],
            [0, 0, 0, 2, 8, 99], [0, 0, 0, 3, 0xFF, 0xFF, 0xFF],
            Array("GET / HTTP/1.1\r\n\r\n".utf8),
            [0, 0, 0, 2, 8, 1], [0, 0, 0, 2, 8, 2], [0, 0, 0, 2, 8, 4],
        ]
        for port in [2_000, 10_001] {
            for frame in frames {
                let socket = try RawSocket(port: harness.port + port)
                socket.send(frame)
                #expect(socket.isClosed(), "port+\(port): \(frame)")
            }
        }
        #expect(try FakeReplica(harness).master != nil)
        for _ in 0..<100 where harness.service.status().hostileConnections < 18 {
            Thread.sleep(forTimeInterval: 0.05)
        }
        #expect(harness.service.status().hostileConnections == 18)
    }

    @Test("Many frames in one segment, and one frame in many, are all answered")
    func segments() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        let replica = try FakeReplica(harness)
        var bytes = ByteBuffer()
        for _ in 0..<20 {
            ReplicationCodec.encode(
                .removeReplica(
                    RemoveReplicaRequest(replica: replica.address, database: "db0")),
                into: &bytes)
        }
        replica.socket.send(bytes.readableBytesView)
        for _ in 0..<20 { _ = try replica.socket.control() }
        for byte in bytes.readableBytesView { replica.socket.send([byte]) }
        for _ in 0..<20 { _ = try replica.socket.control() }
    }
}
