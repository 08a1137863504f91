import Binlog
import Foundation
import Keyspace
import NIOCore
import SyncProtocol
import Testing

@testable import Replication

/// Our master in the place of the recorded one: its log holds the recorded items at their very
/// positions, a replica sends what the real one sent, and each answer is compared field by field
/// with what real Pika answered.
@Suite("Our master's verdicts beside the recorded ones", .serialized)
struct RecordedVerdictTests {
    /// One TCP connection, which may run through several traces.
    struct Conversation: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let connections: [String]
        var password = ""
        /// Where the log ends when it begins; nil: where the recording begins.
        var start: BinlogPosition?
        /// The log's files before this one are gone.
        var purgedBefore: UInt32?
        /// What the real master should have sent.
        var lost: LostItem?
        /// What is different on purpose, by name.
        var deviations: Set<String> = ["replication id"]
    }

    struct LostItem: Sendable {
        var session: SessionID
        var end: BinlogPosition
    }

    /// What differs from real Pika on purpose, and why.
    static let deviations = [
        "replication id": "a 3.5.0 has none; we always send one, or no 3.5.5 could follow us",
        "hello again": "a second MetaSync of the same replica is welcomed: a real master says"
            + " \"Slave AlreadyExist\" until the old connection is gone, up to 180 s",
        "own address": "RemoveSlaveNode is answered with the address of the machine it runs on",
        "lost item": "a 3.5.0 drops what it has queued for one database when another one of the"
            + " same replica begins to follow, and sends it when that replica asks again",
    ]

    static let conversations = [
        Conversation(
            testDescription: "traces 01, 02, 03: full sync, every write command, a cut",
            connections: ["01/c02", "02/c02", "03/c02"]),
        Conversation(
            testDescription: "traces 03, 04: a partial sync behind the cut, SLAVEOF NO ONE",
            connections: ["03/c08", "04/c08"]),
        Conversation(
            testDescription: "trace 04: SLAVEOF again, with a copy that is behind the log",
            connections: ["04/c12"]),
        Conversation(
            testDescription: "traces 05, 06: the replica's process is back",
            connections: ["05/c18", "06/c18"]),
        Conversation(
            testDescription: "traces 06, 07: full sync from another run of the master",
            connections: ["06/c22", "07/c22"]),
        Conversation(
            testDescription: "traces 07, 08: the same run again; SLAVEOF FORCE says hello twice",
            connections: ["07/c28", "08/c28"], deviations: ["replication id", "hello again"]),
        Conversation(testDescription: "trace 08: the copy of FORCE", connections: ["08/c33"]),
        Conversation(
            testDescription: "traces 09, 10: FORCE after a while, then DBSLAVEOF",
            connections: ["09/c39", "10/c39"], deviations: ["replication id", "own address"]),
        Conversation(
            testDescription: "trace 11: no masterauth", connections: ["11/c45"],
            password: "secret", deviations: []),
        Conversation(
            testDescription: "trace 11: a wrong masterauth", connections: ["11/c47"],
            password: "secret", deviations: []),
        Conversation(
            testDescription: "traces 11, 12, 13: the right one; a replica that stalls",
            connections: ["11/c49", "12/c49", "13/c49"], password: "secret",
            lost: LostItem(
                session: SessionID(rawValue: 5),
                end: BinlogPosition(fileNumber: 0, offset: 170_014)),
            deviations: ["replication id", "lost item"]),
        Conversation(
            testDescription: "trace 12: a replica with another number of databases",
            connections: ["12/c53"]),
        Conversation(testDescription: "trace 14: the log rolls", connections: ["14/c02"]),
        Conversation(
            testDescription: "traces 15, 16: the position was purged",
            connections: ["15/c06", "16/c06"],
            start: BinlogPosition(fileNumber: 56, offset: 14_000), purgedBefore: 47),
        Conversation(
            testDescription: "trace 16: the replica is ahead", connections: ["16/c12"],
            start: .zero),
        Conversation(
            testDescription: "traces 30, 31, 32: 3.5.5, full sync, every write command, a cut",
            connections: ["30/c02", "31/c02", "32/c02"], deviations: []),
        Conversation(
            testDescription: "trace 32: 3.5.5, a partial sync behind the cut",
            connections: ["32/c08"], deviations: []),
        Conversation(
            testDescription: "trace 33: 3.5.5, SLAVEOF NO ONE and SLAVEOF again",
            connections: ["33/c12"], deviations: []),
    ]

    @Test("Every answer is the real master's, but for what is listed", arguments: conversations)
    func answers(to conversation: Conversation) throws {
        let stand = try RecordedMasterStand(conversation)
        defer { stand.stop() }
        try stand.play()
        #expect(stand.seenDeviations == conversation.deviations)
        #expect(conversation.deviations.isSubset(of: Self.deviations.keys))
    }

    @Test("Every recorded connection with a request is in the table")
    func coverage() {
        let listed = Set(Self.conversations.flatMap(\.connections))
        #expect(Set(Traces.replicationConnections).subtracting(listed).isEmpty)
    }

    @Test("A keep-alive is the real master's, byte for byte", arguments: ["01/c02", "30/c02"])
    func keepAlive(connection: String) throws {
        let recorded = try Traces.responses(connection).compactMap { response -> BinlogChip? in
            guard case .batch(let batch) = response else { return nil }
            return batch.owned.chips.first { $0.isKeepAlive && $0.database == "db0" }
        }
        let harness = try MasterHarness()
        defer { harness.stop() }
        let replica = try FakeReplica(harness)
        let session = try #require(try replica.trySync(.zero).session)
        replica.acknowledge(.zero, .zero, session: session, first: true)
        while true {
            guard case .batch(let batch) = try replica.socket.replication() else { continue }
            var expected = BinlogSyncResponse(chips: [try #require(recorded.first)])
            expected.chips[0].session = session
            #expect(batch.owned == expected)
            break
        }
    }
}
