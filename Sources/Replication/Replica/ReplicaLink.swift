internal import Keyspace
internal import Logging
internal import NIOCore
public import ReplicationCore
internal import ResumeStore
internal import SyncProtocol

/// Why the replica's side refuses what an operator asks for.
public enum ReplicaLinkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// SLAVEOF of this very process.
    case ownAddress(host: String, port: Int)
    /// SLAVEOF of a server that follows this one (F23).
    case ring(host: String, port: Int)
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
        case .ring(let host, let port):
            "\(host):\(port) follows this server: that would be a ring, in which nobody writes"
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
    private let core: ReplicaCore
    /// Changes of the role, one after the other.
    private let roles: WorkQueue

    /// Creates a link without a master.
    public init(_ configuration: ReplicaConfiguration, _ environment: ReplicaEnvironment) {
        self.core = ReplicaCore(configuration, environment)
        self.roles = WorkQueue(pool: environment.pool)
    }

    /// Follows a master; the same one again is no change unless `force` asks for a new copy.
    ///
    /// `host` and `port` are those of the base port. Returns at once.
    public func slaveOf(
        host: String, port: Int, force: Bool = false
    ) throws(ReplicaLinkError) {
        guard (1...PortOffset.highestBasePort).contains(port) else {
            throw .portOutOfRange(port)
        }
        guard !self.isOwnAddress(host: host, port: port) else {
            throw .ownAddress(host: host, port: port)
        }
        let core = self.core
        let address = ReplicaAddress(host: host, port: port)
        self.roles.enqueue {
            for database in core.environment.keyspace.databases {
                do {
                    try database.becomeReplica()
                } catch {
                    core.logger.error("\(database.name) can't become a replica: \(error)")
                    return
                }
            }
            core.loop.execute { core.follow(address, force: force) }
        }
    }

    private func isOwnAddress(host: String, port: Int) -> Bool {
        port == self.core.configuration.ownPort && self.isThisMachine(host)
    }

    /// Whether a host is one of this machine's names for itself.
    func isThisMachine(_ host: String) -> Bool {
        if host == self.core.configuration.announcedHost { return true }
        if ["localhost", "127.0.0.1", "::1", "0.0.0.0"].contains(host) { return true }
        let devices = (try? System.enumerateDevices()) ?? []
        return devices.contains { $0.address?.ipAddress == host }
    }

    /// Stops following and becomes a master.
    ///
    /// Blocks until what was received is applied and the new history is on the disk; not on a loop.
    ///
    /// - Parameter force: Also while a full copy is unfinished: what was copied stays staged.
    public func slaveOfNoOne(force: Bool = false) throws(ReplicaLinkError) {
        if !force {
            for database in self.status().databases where database.hasUnfinishedCopy {
                throw .unfinishedCopy(
                    database: database.name, bytesDone: database.copy?.bytesDone ?? 0,
                    bytesTotal: database.copy?.bytesTotal)
            }
        }
        let core = self.core
        let done = core.loop.makePromise(of: Void.self)
        self.roles.enqueue {
            core.loop.flatSubmit { core.unfollow() }.cascade(to: done)
        }
        do {
            try done.futureResult.wait()
            for database in core.environment.keyspace.databases {
                try core.records.remove(database.name)
                try database.promote()
            }
        } catch {
            throw .persistence("the promotion failed: \(error)")
        }
    }

    /// DBSLAVEOF: takes one database out, puts it back, or copies it anew.
    public func dbSlaveOf(
        _ action: ReplicaSession.DatabaseAction, database: String
    ) throws(ReplicaLinkError) {
        guard self.core.environment.keyspace.databases.contains(where: { $0.name == database })
        else { throw .unknownDatabase(database) }
        guard self.status().master != nil else { throw .notReplica }
        let core = self.core
        core.loop.execute { core.act(action, database: database) }
    }

    /// The master that is remembered from before this process, for a start without `slaveof`.
    ///
    /// Blocks for the disk. nil after SLAVEOF NO ONE, and where no master was ever followed.
    public func rememberedMaster() throws(ReplicaLinkError) -> (host: String, port: Int)? {
        for database in self.core.environment.keyspace.databases {
            do throws(ResumeError) {
                let point = try self.core.records.load(database.name)
                if point.phase != .none, let address = point.master?.address {
                    return (address.host, address.port)
                }
            } catch {
                throw .persistence("the resume point of \(database.name): \(error)")
            }
        }
        return nil
    }

    /// The state of things, for INFO.
    public func status() -> ReplicaStatus {
        self.core.status
    }

    /// Closes connections and stops working; resume points stay.
    ///
    /// Blocks until nothing of the link touches the keyspace any more; not on a loop.
    public func shutdown() {
        let core = self.core
        try? core.loop.flatSubmit { core.shutDown() }.wait()
    }
}
