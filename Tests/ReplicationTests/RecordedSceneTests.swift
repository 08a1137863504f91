import Keyspace
import ReplicationCore
import SyncProtocol
import Testing

@testable import Replication

/// Our replica in the scenes that real ones were recorded in: what it asks a master for must equal
/// what they asked for, but where the test says that it differs, and why.
@Suite("Replica in the scenes of the recordings", .serialized)
struct RecordedSceneTests {
    private static let firstDump = ["01/c05", "01/c06"]
    private static let firstDump355 = ["30/c05", "30/c06"]

    /// The whole run of requests of a scene, database by database.
    private func expectSameRequests(_ scene: RecordedScene, as connection: String) throws {
        for name in scene.databases {
            let recorded = try RecordedScene.recorded(connection, name)
            #expect(!recorded.isEmpty || name == "db1")
            #expect(scene.replica.wait { scene.asked(name).count >= recorded.count })
            #expect(scene.asked(name) == recorded, "\(name) of \(connection)")
        }
    }

    @Test("Trace 06: a 3.5.0 master that comes back as another run is copied from anew")
    func masterIsAnotherRun() throws {
        let scene = try RecordedScene(
            before: "06/c22", masterOf: "04/c12", dump: Self.firstDump)
        defer { scene.stop() }
        try scene.play(["06/c22"], dump: ["06/c25", "06/c26"])
        scene.master.cut()
        try scene.waitUntilThere(
            ["06/c22"], atLeast: ["db0": BinlogPosition(fileNumber: 0, offset: 169_851)])
        try self.expectSameRequests(scene, as: "06/c22")
        #expect(try scene.replica.string("while:replicadown") == "v", "of the recorded dump")
    }

    @Test("Trace 08: SLAVEOF FORCE of the master that is followed copies from it anew")
    func forceWhileFollowing() throws {
        let scene = try RecordedScene(
            before: "08/c33", masterOf: "08/c33", dump: Self.firstDump)
        defer { scene.stop() }
        try scene.play(["08/c33"], dump: ["06/c25", "08/c37"])
        let connections = scene.master.with { $0.connections }
        try scene.slaveOf(force: true)
        #expect(scene.replica.wait { scene.master.with { !$0.fileRequests.isEmpty } })
        try scene.waitUntilThere(["08/c33"])
        try self.expectSameRequests(scene, as: "08/c33")
        // The real replica says hello again, is told "Slave AlreadyExist" and comes back after 10 s.
        #expect(scene.master.with { $0.connections } == connections)
    }

    @Test("Trace 08: a master that still has our former connection is asked again later")
    func alreadyThere() throws {
        let scene = try RecordedScene(
            before: "08/c33", masterOf: "08/c33", dump: Self.firstDump)
        defer { scene.stop() }
        try scene.play(["08/c28", "08/c33"], dump: ["06/c25", "08/c37"])
        let answers = scene.master.with { $0.metaSync.map(\.status) }
        #expect(answers == [.other, .ok], "what was recorded")
        scene.master.cut()
        #expect(scene.replica.wait { scene.asked("db0").last?.hasPrefix("follow") == true })
        let hellos = scene.master.with { state in
            state.requests.count { if case .metaSync = $0 { true } else { false } }
        }
        #expect(hellos == 2)
        #expect(scene.master.with { $0.fileRequests.isEmpty }, "nothing is copied for it")
    }

    @Test("Trace 09: SLAVEOF NO ONE and, after a while, SLAVEOF FORCE copies from the master anew")
    func forceAfterNoOne() throws {
        let scene = try RecordedScene(
            before: "09/c39", masterOf: "08/c33", dump: Self.firstDump)
        defer { scene.stop() }
        try scene.replica.link.slaveOfNoOne()
        try scene.play(["09/c39"], dump: ["06/c25", "08/c37"])
        try scene.slaveOf(force: true)
        try scene.waitUntilThere(["09/c39"], atLeast: scene.start)
        try self.expectSameRequests(scene, as: "09/c39")
    }

    @Test("Trace 10: DBSLAVEOF takes a database out, puts it back, and copies it with FORCE")
    func oneDatabase() throws {
        let scene = try RecordedScene(
            before: "10/c39", masterOf: "09/c39", dump: Self.firstDump)
        defer { scene.stop() }
        try scene.play(["10/c39"], dump: ["08/c37"])
        let end = BinlogPosition(fileNumber: 0, offset: 170_014)
        for action in [ReplicaSession.DatabaseAction.attach, .copyAnew] {
            try scene.replica.link.dbSlaveOf(.detach, database: "db0")
            #expect(scene.replica.waitForPhase(.detached))
            try scene.replica.link.dbSlaveOf(action, database: "db0")
            let wanted = action == .attach ? 3 : 7
            #expect(scene.replica.wait { scene.asked("db0").count == wanted })
            #expect(scene.replica.waitUntilApplied(end))
            #expect(try scene.replica.string("while:dbno") == "v")
        }
        try self.expectSameRequests(scene, as: "10/c39")
        #expect(scene.replica.status(1)?.phase == .following, "db1 is left alone")
    }

    @Test("Trace 13: after 20 s without a word from the master the replica asks from its own end")
    func masterDroppedUs() throws {
        let scene = try RecordedScene(
            before: "13/c49", masterOf: "11/c49", dump: Self.firstDump
        ) {
            #expect($0.masterSilenceTimeout == .seconds(20))
            $0.masterSilenceTimeout = .seconds(1)
        }
        defer { scene.stop() }
        try scene.play(["13/c49"])
        // A master that dropped the sessions of a stalled replica leaves the connection open.
        scene.master.with { $0.sendsKeepAlives = false }
        #expect(scene.replica.wait { scene.asked("db0").last?.hasPrefix("follow") == true })
        scene.master.with { $0.sendsKeepAlives = true }
        try scene.waitUntilThere(["13/c49"])
        #expect(try scene.replica.string("while:stalled") == "v")
        for name in scene.databases {
            let recorded = try RecordedScene.recorded("13/c49", name)
            #expect(Array(scene.asked(name).prefix(2)) == recorded)
        }
        #expect(scene.master.with { $0.connections } == 1, "over the same connection")
    }

    @Test("Trace 15: a position that the master purged ends in a copy, then in following")
    func purged() throws {
        let scene = try RecordedScene(
            before: "15/c06", masterOf: "14/c02", dump: ["14/c04"])
        defer { scene.stop() }
        try scene.play(["15/c06"], dump: [])
        // The recorded dump is too large to keep here: trace 14's has its place.
        var dump = try RecordedMaster.dump("14/c04")
        dump.files["info"] = Array("0s\n127.0.0.1\n9221\n56\n14000\n".utf8)
        scene.master.with { [dump] in $0.dumps["db0"] = dump }
        scene.master.cut()
        let end = BinlogPosition(fileNumber: 56, offset: 14_000)
        try scene.waitUntilThere(["15/c06"], atLeast: ["db0": end])
        try self.expectSameRequests(scene, as: "15/c06")
    }

    struct OwnHistory: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let behind: String
        /// The connections before it whose items lie between the dump and the scene.
        let between: [String]
        let dump: [String]
        let key: String
    }

    static let ownHistories = [
        OwnHistory(
            testDescription: "trace 04: 3.5.0, where the real replica copies anew unasked",
            behind: "04/c12", between: [], dump: firstDump, key: "while:detached"),
        OwnHistory(
            testDescription: "trace 33: 3.5.5, where the real replica goes on as if nothing was",
            behind: "33/c12", between: ["30/c02", "31/c02", "32/c02", "32/c08"],
            dump: firstDump355, key: "while:noone"),
    ]

    /// A server that was a master may hold writes of its own, which a real Pika drops or mixes in.
    @Test(
        "SLAVEOF NO ONE, then SLAVEOF again is refused with both ends named; FORCE copies",
        arguments: ownHistories)
    func againAfterNoOne(of history: OwnHistory) throws {
        let scene = try RecordedScene(
            before: history.behind, masterOf: history.behind, dump: history.dump)
        defer { scene.stop() }
        try scene.replica.link.slaveOfNoOne()
        #expect(scene.replica.databases[0].role == .master)
        try scene.play([history.behind], dump: history.dump)
        try scene.slaveOf()
        for (index, name) in scene.databases.enumerated() {
            #expect(scene.replica.waitForPhase(.broken, index))
            let reason = scene.replica.status(index)?.reason ?? ""
            let end = try #require(scene.start[name])
            #expect(reason.contains("ends at \(end), the master's at 0:"), "\(reason)")
        }
        #expect(scene.master.with { $0.fileRequests.isEmpty })
        try scene.play(history.between + [history.behind], dump: history.dump)
        try scene.slaveOf(force: true)
        try scene.waitUntilThere([history.behind])
        #expect(try scene.replica.string(history.key) == "v")
        let end = try #require(scene.start["db0"])
        #expect(scene.asked("db0").first == "DBSync \(end)")
        #expect(scene.asked("db0").last?.hasPrefix("follow") == true)
    }
}
