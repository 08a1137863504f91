import Foundation
import Keyspace
import NIOCore
import PikaStorage
import ReplicationCore
import SyncProtocol
import Testing

@testable import Replication

/// Our replica against what real masters were recorded to send (3.5.0: 01…, 3.5.5: 30…).
@Suite("Replica at a recorded master", .serialized)
struct RecordedMasterTests {
    private func files(_ connections: [String]) throws -> [String: String] {
        var files: [String: String] = [:]
        for connection in connections {
            files[try RecordedMaster.database(connection)] = connection
        }
        return files
    }

    private func lastEnd(_ state: FakeMaster.State, _ database: String) -> BinlogPosition {
        state.chips[database]?.last?.end.position ?? .zero
    }

    @Test(
        "Traces 01, 02 and 30, 31: full sync of two databases, then every write command",
        arguments: [("01", "02"), ("30", "31")])
    func fullSync(traces: (String, String)) throws {
        var script = try RecordedMaster.state(
            ["\(traces.0)/c02"],
            files: try self.files(["\(traces.0)/c05", "\(traces.0)/c06"]))
        let more = try RecordedMaster.state(["\(traces.1)/c02"])
        for (name, chips) in more.chips { script.chips[name, default: []] += chips }
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try ReplicaHarness(port: 9_321, databases: 2)
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        for (index, name) in ["db0", "db1"].enumerated() {
            let reached = replica.waitForPhase(.following, index)
            #expect(reached, "\(String(describing: replica.status(index)))")
            let end = self.lastEnd(script, name)
            #expect(replica.waitUntilApplied(end, index), "\(name) \(end)")
        }
        // The recorded session ends with FLUSHALL.
        for kind in StoreKind.allCases {
            #expect(try replica.keyCount(kind) == 0)
        }
        #expect(replica.databases[0].received == self.lastEnd(script, "db0"))
        let acknowledged = replica.wait {
            master.with { $0.acknowledged["db0"] } == self.lastEnd(script, "db0")
        }
        #expect(acknowledged)
        #expect(replica.status(0)?.copy?.bytesSentTwice == 0)
        let files = script.dumps.values.reduce(0) { $0 + $1.totalBytes }
        let items = script.chips.values.joined().reduce(0) { $0 + $1.item.count }
        #expect(replica.limiter.receivedBytes > UInt64(files + items), "INFO counts both")
        #expect(replica.link.status().isEligibleForMaster)
    }

    @Test("Our requests are a real replica's, but for the extensions", arguments: ["01", "30"])
    func sameRequests(trace: String) throws {
        let script = try RecordedMaster.state(
            ["\(trace)/c02"], files: try self.files(["\(trace)/c05", "\(trace)/c06"]))
        let master = try FakeMaster(script)
        defer { master.stop() }
        let recorded = try Traces.requests("\(trace)/c02")
        guard case .metaSync(let hello) = recorded.first else {
            Issue.record("the recording does not begin with MetaSync")
            return
        }
        let replica = try ReplicaHarness(port: hello.replica.port, databases: 2)
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        #expect(replica.waitForPhase(.following, 0))
        #expect(replica.waitForPhase(.following, 1))
        #expect(try replica.keyCount(.strings) > 0)
        let ours = master.with { $0.requests }
        for expected in recorded {
            switch expected {
            case .metaSync(let request):
                #expect(
                    ours.contains {
                        guard case .metaSync(var mine) = $0 else { return false }
                        mine.peer = nil
                        return mine == request
                    })
            case .dbSync, .trySync:
                #expect(ours.contains(expected), "\(expected)")
            case .binlogSync(let ack) where ack.isFirst:
                #expect(ours.contains(.binlogSync(ack)), "\(ack)")
            case .binlogSync, .removeReplica:
                break
            }
        }
    }

    @Test("Trace 11: a wrong masterauth stops with its reason, the right one goes on")
    func authentication() throws {
        var script = try RecordedMaster.state(["11/c45", "11/c47"])
        let accepted = try RecordedMaster.state(["01/c02"])
        script.trySync = accepted.trySync
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try ReplicaHarness(databases: 2) { $0.masterAuth = { "wrong" } }
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        #expect(replica.wait { replica.link.status().link == .broken })
        #expect(replica.link.status().lastFailure?.contains("masterauth") == true)
        let seen = master.with { $0.requests }
        guard case .metaSync(let request) = seen.first else {
            Issue.record("no MetaSync")
            return
        }
        #expect(request.auth == "wrong")
    }

    @Test("Trace 12: another number of databases stops with its reason")
    func databaseCount() throws {
        let master = try FakeMaster(try RecordedMaster.state(["12/c53"]))
        defer { master.stop() }
        let replica = try ReplicaHarness(databases: 1)
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        #expect(replica.wait { replica.link.status().link == .broken })
        #expect(replica.link.status().lastFailure?.contains("db1") == true)
    }

    @Test("Trace 14: the log rolls where the master's rolled")
    func rotation() throws {
        let script = try RecordedMaster.state(
            ["14/c02"], files: try self.files(["14/c04"]))
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try ReplicaHarness(databases: 1)
        defer { replica.stop() }
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        let end = self.lastEnd(script, "db0")
        #expect(end.fileNumber > 0)
        #expect(replica.waitUntilApplied(end))
        #expect(replica.databases[0].received == end)
    }
}
