import NIOCore
import ReplicationCore
import SyncProtocol
import Testing

@testable import Replication

/// Our replica, following a fake master from the positions at which a recorded scene begins.
///
/// What the replica holds until then is of no account to the scenes: a recorded full sync with its
/// position changed stands in for it.
final class RecordedScene {
    let master: FakeMaster
    let replica: ReplicaHarness
    let databases: [String]
    /// Where each database stands when the scene begins.
    let start: [String: BinlogPosition]

    /// - Parameters:
    ///   - behind: The connection that the scene plays; the first request about a database tells
    ///     where the real replica stood.
    ///   - identity: The connection whose MetaSync answer tells who the master is before it.
    ///   - dump: The recorded full sync (connections per database) that stands in for the data.
    init(
        before behind: String, masterOf identity: String, dump: [String],
        change: (inout ReplicaConfiguration) -> Void = { _ in }
    ) throws {
        var state = FakeMaster.State()
        state.metaSync = try RecordedMaster.state([identity]).metaSync
        var start: [String: BinlogPosition] = [:]
        for connection in dump {
            let name = try RecordedMaster.database(connection)
            let position = try Self.firstPosition(of: name, in: behind)
            start[name] = position
            var files = try RecordedMaster.dump(connection)
            files.files["info"] = Array(
                "0s\n127.0.0.1\n9221\n\(position.fileNumber)\n\(position.offset)\n".utf8)
            state.dumps[name] = files
            let session = SessionID(rawValue: 0)
            state.dbSync[name] = [
                DBSyncResponse(status: .ok, grant: DBSyncGrant(database: name, session: session))
            ]
            state.trySync[name] = [
                TrySyncResponse(
                    status: .ok,
                    verdict: TrySyncVerdict(
                        code: .ok, database: name, masterEnd: BinlogOffset(position),
                        session: session))
            ]
        }
        self.start = start
        self.databases = start.keys.sorted()
        self.master = try FakeMaster(state)
        self.replica = try ReplicaHarness(databases: start.count, change: change)
        try self.slaveOf()
        for index in self.databases.indices {
            #expect(self.replica.waitForPhase(.following, index), "before the scene")
        }
    }

    func stop() {
        self.replica.stop()
        self.master.stop()
    }

    func slaveOf(force: Bool = false) throws {
        try self.replica.link.slaveOf(host: "127.0.0.1", port: self.master.port, force: force)
    }

    /// The master answers as recorded from here on; what it was asked before is forgotten.
    func play(_ connections: [String], dump: [String] = []) throws {
        let script = try RecordedMaster.state(connections)
        var dumps: [String: FakeDump] = [:]
        for connection in dump {
            dumps[try RecordedMaster.database(connection)] = try RecordedMaster.dump(connection)
        }
        self.master.with { [dumps] state in
            if !script.metaSync.isEmpty { state.metaSync = script.metaSync }
            for (name, answers) in script.trySync { state.trySync[name] = answers }
            for (name, answers) in script.dbSync { state.dbSync[name] = answers }
            state.chips = script.chips
            state.dumps = dumps
            state.requests = []
            state.fileRequests = []
        }
    }

    /// Waits until every database follows and holds the last item that the recordings send.
    func waitUntilThere(
        _ connections: [String], atLeast: [String: BinlogPosition] = [:]
    ) throws {
        let script = try RecordedMaster.state(connections)
        for (index, name) in self.databases.enumerated() {
            let end = script.chips[name]?.map(\.end.position).max() ?? atLeast[name] ?? .zero
            #expect(self.replica.waitForPhase(.following, index, seconds: 40), "\(name)")
            #expect(self.replica.waitUntilApplied(end, index, seconds: 40), "\(name) to \(end)")
        }
    }

    /// What the replica asked for about a database, in a few words each.
    func asked(_ database: String) -> [String] {
        Self.words(self.master.with { $0.requests }, database)
    }

    /// What the real replica asked for, with some words changed on purpose.
    static func recorded(_ connection: String, _ database: String) throws -> [String] {
        try self.words(Traces.requests(connection), database)
    }

    private static func words(_ requests: [ReplicationRequest], _ database: String) -> [String] {
        requests.compactMap { request in
            switch request {
            case .trySync(let request) where request.database == database:
                "TrySync \(request.end.position)"
            case .dbSync(let request) where request.database == database:
                "DBSync \(request.end.position)"
            case .binlogSync(let ack) where ack.database == database && ack.isFirst:
                "follow \(ack.start.position)...\(ack.end.position)"
            case .removeReplica(let request) where request.database == database: "goodbye"
            case .trySync, .dbSync, .binlogSync, .removeReplica, .metaSync: nil
            }
        }
    }

    /// Where the first request of a connection says that a database's log ends.
    private static func firstPosition(
        of database: String, in connection: String
    ) throws -> BinlogPosition {
        for request in try Traces.requests(connection) {
            switch request {
            case .trySync(let request) where request.database == database:
                return request.end.position
            case .dbSync(let request) where request.database == database:
                return request.end.position
            case .binlogSync, .trySync, .dbSync, .removeReplica, .metaSync: continue
            }
        }
        // Trace 10 tells nothing about db1, which stays where trace 09 left it.
        return BinlogPosition(fileNumber: 0, offset: 754)
    }
}
