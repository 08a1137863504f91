public import ReplicationCore

/// Why the replica's side refuses what an operator asks for.
public enum ReplicaLinkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// SLAVEOF of this very process.
    case ownAddress(host: String, port: Int)
    /// A port whose +10001 does not fit.
    case portOutOfRange(Int)
    /// SLAVEOF NO ONE while a database has only a part of its master's data (F17).
    case unfinishedCopy(database: String, bytesDone: UInt64, bytesTotal: UInt64?)
    /// DBSLAVEOF without a master.
    case notReplica
    /// No such database.
    case unknownDatabase(String)
    /// Writing what must be remembered failed.
    case persistence(String)

    /// The text for the client, without "ERR".
    public var description: String {
        switch self {
        case .ownAddress(let host, let port):
            "\(host):\(port) is this server's own address"
        case .portOutOfRange(let port):
            "port \(port) is not in 1...55534"
        case .unfinishedCopy(let database, let done, let total):
            "the full copy of \(database) is unfinished (\(done) of "
                + (total.map { "\($0)" } ?? "an unknown number of")
                + " bytes): this server would serve old or no data; SLAVEOF NO ONE FORCE does it"
                + " all the same"
        case .notReplica:
            "Not currently a slave"
        case .unknownDatabase(let name):
            "no database \(name)"
        case .persistence(let text):
            text
        }
    }
}

/// The replica's side of replication: one master, all databases.
///
/// All calls may come from any thread; they return when what they ask for is remembered, not when
/// it is done. Progress is in ``status()``.
public final class ReplicaLink: Sendable {
    /// Creates a link without a master.
    public init(_ configuration: ReplicaConfiguration, _ environment: ReplicaEnvironment) {
        fatalError("skeleton")
    }

    /// Follows a master; the same one again is no change unless `force` asks for a new copy.
    ///
    /// `host` and `port` are those of the base port.
    public func slaveOf(
        host: String, port: Int, force: Bool = false
    ) throws(ReplicaLinkError) {
        fatalError("skeleton")
    }

    /// Stops following and becomes a master.
    ///
    /// Blocks until what was received is applied and the new history is on the disk; not on a loop.
    ///
    /// - Parameter force: Also while a full copy is unfinished: what was copied stays staged.
    public func slaveOfNoOne(force: Bool = false) throws(ReplicaLinkError) {
        fatalError("skeleton")
    }

    /// DBSLAVEOF: takes one database out, puts it back, or copies it anew.
    public func dbSlaveOf(
        _ action: ReplicaSession.DatabaseAction, database: String
    ) throws(ReplicaLinkError) {
        fatalError("skeleton")
    }

    /// The state of things, for INFO.
    public func status() -> ReplicaStatus {
        fatalError("skeleton")
    }

    /// Closes connections and stops working; resume points stay.
    ///
    /// Blocks until nothing of the link touches the keyspace any more; not on a loop.
    public func shutdown() {
        fatalError("skeleton")
    }
}
