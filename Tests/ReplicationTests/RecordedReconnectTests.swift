import Keyspace
import NIOCore
import ReplicationCore
import SyncProtocol
import Testing

@testable import Replication

/// Our replica against masters of 3.5.0 and 3.5.5 that were recorded before and behind a cut.
@Suite("Replica at a recorded master that was cut off", .serialized)
struct RecordedReconnectTests {
    struct Scene: CustomTestStringConvertible, Sendable {
        let testDescription: String
        /// The connections whose items come before the cut.
        let before: [String]
        /// The connection behind it.
        let behind: String
        /// The recorded full sync whose files stand in for the data before `before`.
        let dump: String
    }

    static let scenes = [
        Scene(
            testDescription: "trace 03: the link is cut", before: ["01/c02", "02/c02", "03/c02"],
            behind: "03/c08", dump: "01"),
        Scene(
            testDescription: "trace 05: the replica's process restarts",
            before: ["04/c12", "05/c12"], behind: "05/c18", dump: "01"),
        Scene(
            testDescription: "trace 07: the master restarts as the same run",
            before: ["06/c22", "07/c22"], behind: "07/c28", dump: "01"),
        Scene(
            testDescription: "trace 32: the link to a 3.5.5 is cut",
            before: ["30/c02", "31/c02", "32/c02"], behind: "32/c08", dump: "30"),
    ]

    /// The script of the recordings, with dumps of the position at which their items begin.
    private func script(_ connections: [String], dump: String) throws -> FakeMaster.State {
        var state = FakeMaster.State()
        for connection in connections {
            let part = try RecordedMaster.state([connection])
            if state.metaSync.isEmpty { state.metaSync = part.metaSync }
            for (name, chips) in part.chips { state.chips[name, default: []] += chips }
            for (name, answers) in part.trySync where state.trySync[name] == nil {
                state.trySync[name] = answers
            }
        }
        state.dbSync = try RecordedMaster.state(["\(dump)/c02"]).dbSync
        for connection in ["\(dump)/c05", "\(dump)/c06"] {
            let name = try RecordedMaster.database(connection)
            var files = try RecordedMaster.dump(connection)
            let first = try self.firstRequest(of: name, in: connections)
            let position = first ?? SnapshotInfo.position(in: files.files["info"] ?? []) ?? .zero
            files.files["info"] = Array(
                "0s\n127.0.0.1\n9221\n\(position.fileNumber)\n\(position.offset)\n".utf8)
            state.dumps[name] = files
        }
        return state
    }

    /// The position of the last TrySync of the first connection that has one: where its items begin.
    private func firstRequest(
        of database: String, in connections: [String]
    ) throws -> BinlogPosition? {
        for connection in connections where connection != "05/c12" {
            var found: BinlogPosition?
            for case .trySync(let request) in try Traces.requests(connection)
            where request.database == database {
                found = request.end.position
            }
            if let found { return found }
        }
        return nil
    }

    private func end(_ state: FakeMaster.State, _ name: String) -> BinlogPosition {
        state.chips[name]?.last?.end.position
            ?? SnapshotInfo.position(in: state.dumps[name]?.files["info"] ?? []) ?? .zero
    }

    @Test("The replica goes on where it was, without a copy", arguments: scenes)
    func goesOn(scene: Scene) throws {
        let before = try self.script(scene.before, dump: scene.dump)
        let master = try FakeMaster(before)
        defer { master.stop() }
        let replica = try ReplicaHarness(databases: 2)
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        for (index, name) in ["db0", "db1"].enumerated() {
            #expect(replica.waitForPhase(.following, index), "\(name)")
            #expect(replica.waitUntilApplied(self.end(before, name), index), "\(name)")
        }
        let copies = master.with { $0.fileRequests.count }
        let behind = try RecordedMaster.state([scene.behind])
        #expect(behind.chips.values.contains { !$0.isEmpty }, "the recording goes on")
        master.with { state in
            if !behind.metaSync.isEmpty { state.metaSync = behind.metaSync }
            state.trySync = behind.trySync
            state.requests = []
            for (name, chips) in behind.chips { state.chips[name, default: []] += chips }
        }
        master.cut()
        for (index, name) in ["db0", "db1"].enumerated() {
            guard let last = behind.chips[name]?.last else { continue }
            #expect(replica.waitUntilApplied(last.end.position, index, seconds: 40), "\(name)")
            #expect(replica.databases[index].received == last.end.position)
        }
        let asked = master.with { state in state.requests }
        for index in 0..<2 {
            let recorded = try self.firstRequest(of: "db\(index)", in: [scene.behind])
            let mine = asked.compactMap { request -> BinlogPosition? in
                guard case .trySync(let asked) = request, asked.database == "db\(index)" else {
                    return nil
                }
                return asked.end.position
            }
            #expect(mine.first == recorded, "asks for what the real replica asked for")
        }
        #expect(master.with { $0.fileRequests.count } == copies)
        #expect(!asked.contains { if case .dbSync = $0 { true } else { false } })
    }

    @Test("Trace 16: a master whose log is behind is not followed, and both ends are named")
    func masterBehind() throws {
        let first = try self.script(["01/c02", "02/c02"], dump: "01")
        let master = try FakeMaster(first)
        defer { master.stop() }
        let replica = try ReplicaHarness(databases: 2)
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        let end = self.end(first, "db0")
        #expect(replica.waitUntilApplied(end))
        let behind = try RecordedMaster.state(["16/c12"])
        #expect(behind.trySync["db0"]?.last?.verdict?.code == .syncPointLarger)
        let answers = behind.trySync
        master.with { $0.trySync["db0"] = answers["db0"] }
        master.cut()
        #expect(replica.waitForPhase(.broken, seconds: 40))
        #expect(replica.status()?.reason?.contains("\(end.offset)") == true)
        #expect(replica.databases[0].published == end)
    }
}
