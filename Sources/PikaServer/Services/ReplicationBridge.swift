import Commands
import Replication
import ReplicationCore
import SyncProtocol

/// Joins the server to replication: commands in, INFO out.
final class ReplicationBridge: ReplicationControl {
    private let service: ReplicationService
    private let databaseNames: [String]
    private let log: ServerLog

    init(service: ReplicationService, databaseNames: [String], log: ServerLog) {
        self.service = service
        self.databaseNames = databaseNames
        self.log = log
    }

    // MARK: Commands

    var role: ServerRole {
        let status = service.status()
        if status.replica == nil { return .master }
        return status.master.replicas.isEmpty ? .replica : .both
    }

    func slaveOf(host: String, port: Int, force: Bool) -> AdminReply {
        do throws(ReplicaLinkError) {
            try service.slaveOf(host: host, port: port, force: force)
            log.info("following \(host):\(port)\(force ? ", with a new copy" : "")")
            return .ok
        } catch {
            return .error("ERR \(error)")
        }
    }

    func slaveOfNoOne(force: Bool) -> AdminReply {
        do throws(ReplicaLinkError) {
            try service.slaveOfNoOne(force: force)
            log.info("following nobody")
            return .ok
        } catch {
            return .error("ERR \(error)")
        }
    }

    /// DBSLAVEOF db [FORCE | NO ONE]; arguments behind the word.
    func dbSlaveOf(_ arguments: [String]) -> AdminReply {
        guard let name = arguments.first, databaseNames.contains(name) else {
            return .error("ERR Invaild db name")
        }
        let words = arguments.dropFirst().map { $0.lowercased() }
        let action: ReplicaSession.DatabaseAction
        switch words {
        case []: action = .attach
        case ["force"]: action = .copyAnew
        case ["no", "one"]: action = .detach
        default: return .error("ERR syntax error")
        }
        do throws(ReplicaLinkError) {
            try service.databaseSlaveOf(action, database: name)
            return .ok
        } catch {
            return .error("ERR \(error)")
        }
    }

    func backgroundSave(databases: [Int]) -> AdminReply {
        do throws(ReplicationError) {
            try service.backgroundSave(databases: databases)
            return .simple("Background saving started")
        } catch {
            // As Pika: the same reply while one runs.
            if error.code == .busy { return .simple("Background saving started") }
            return .error("ERR \(error)")
        }
    }

    func save(databases: [Int]) -> AdminReply {
        do throws(ReplicationError) {
            try service.save(databases: databases)
            return .ok
        } catch {
            return .error("ERR \(error)")
        }
    }

    func purgeLogs(to fileNumber: UInt32, database: Int) -> AdminReply {
        do throws(ReplicationError) {
            try service.purgeLogs(database: database, upTo: fileNumber)
            return .ok
        } catch {
            return .error("ERR \(error)")
        }
    }

    // MARK: Figures and settings

    var isSaving: Bool {
        service.status().master.backgroundSave.isRunning
    }

    func replicaCount(database: Int, having position: BinlogPosition) -> Int {
        guard databaseNames.indices.contains(database) else { return 0 }
        return service.status().master.replicas.count { replica in
            replica.databases.contains {
                $0.database == databaseNames[database] && $0.state == .streaming
                    && $0.acknowledged >= position
            }
        }
    }

    var traffic: (receivedBytes: UInt64, sentBytes: UInt64) {
        let status = service.status()
        return (
            status.receivedBytes, status.master.binlogBytesSent + status.master.snapshotBytesSent
        )
    }

    func writeInfo(_ text: inout InfoText) {
        text.replication(service.status(), priority: service.settings.replicaPriority)
    }

    func apply(_ settings: Settings) {
        service.apply(ReplicationSettings(settings))
    }

    func shutdown() {
        service.shutdown()
    }
}

extension ReplicationSettings {
    /// The live settings of replication, out of the server's.
    init(_ settings: Settings) {
        self.init()
        requirePassword = settings.requirePass
        masterPassword = settings.masterAuth
        throttleBytesPerSecond = UInt64(settings.throttleBytesPerSecond)
        syncWindowItems = settings.syncWindowItems
        keepLogFiles = settings.expireLogsCount
        keepLogDays = settings.expireLogsDays
        dumpExpireDays = settings.dumpExpireDays
        parallelFileRequests = settings.rsyncParallel
        fileRequestTimeoutMilliseconds = settings.rsyncTimeoutMilliseconds
        maximumResponseBytes = settings.queryBufferBytes
        replicaPriority = settings.slavePriority
        snapshotJoinSeconds = settings.snapshotJoinSeconds
        snapshotLeaseSeconds = settings.snapshotKeepSeconds
        snapshotSizeLimitBytes = UInt64(settings.snapshotSizeLimit)
    }
}
