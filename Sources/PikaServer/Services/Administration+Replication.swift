import Commands
import SyncProtocol

/// What the server needs of replication; the real one is ``ReplicationBridge``.
protocol ReplicationControl: AnyObject, Sendable {
    var role: ServerRole { get }
    func slaveOf(host: String, port: Int, force: Bool) -> AdminReply
    func slaveOfNoOne(force: Bool) -> AdminReply
    func dbSlaveOf(_ arguments: [String]) -> AdminReply
    func backgroundSave(databases: [Int]) -> AdminReply
    func save(databases: [Int]) -> AdminReply
    func purgeLogs(to fileNumber: UInt32, database: Int) -> AdminReply
    /// The section `# Replication`.
    func writeInfo(_ text: inout InfoText)
    /// Bytes of replication received and sent since the start.
    var traffic: (receivedBytes: UInt64, sentBytes: UInt64) { get }
    var isSaving: Bool { get }
    /// Replicas that have acknowledged a position of a database's log.
    func replicaCount(database: Int, having position: BinlogPosition) -> Int
    /// Takes changed settings over.
    func apply(_ settings: Settings)
    func shutdown()
}

extension Administration {
    private static let noReplication = AdminReply.error(
        "ERR replication is off: write-binlog is no")

    func slaveOf(host: String, port: Int, force: Bool) -> AdminReply {
        guard let replication else { return Self.noReplication }
        let reply = replication.slaveOf(host: host, port: port, force: force)
        if reply == .ok { conf.note("slaveof", "\(host):\(port)") }
        return reply
    }

    func slaveOfNoOne(force: Bool) -> AdminReply {
        guard let replication else { return .ok }
        let reply = replication.slaveOfNoOne(force: force)
        if reply == .ok { conf.note("slaveof", "") }
        return reply
    }

    func dbSlaveOf(_ arguments: [String]) -> AdminReply {
        replication?.dbSlaveOf(arguments) ?? Self.noReplication
    }

    func backgroundSave(databases: [Int]) -> AdminReply {
        replication?.backgroundSave(databases: databases) ?? Self.noReplication
    }

    func save(databases: [Int]) -> AdminReply {
        replication?.save(databases: databases) ?? Self.noReplication
    }

    func purgeLogs(to fileNumber: UInt32, database: Int) -> AdminReply {
        replication?.purgeLogs(to: fileNumber, database: database) ?? Self.noReplication
    }
}
