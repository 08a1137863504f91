import Replication
import ReplicationCore
import SyncProtocol

extension InfoText {
    /// The section `# Replication`.
    mutating func replication(_ status: ReplicationStatus, priority: Int) {
        let hasReplicas = !status.master.replicas.isEmpty
        switch (status.replica, hasReplicas) {
        case (nil, _): heading("Replication(MASTER)")
        case (_?, false): heading("Replication(SLAVE)")
        case (_?, true): heading("Replication(Master && SLAVE)")
        }
        let role = status.replica == nil ? "master" : hasReplicas ? "master&&slave" : "slave"
        line("role", role)
        if let replica = status.replica {
            upstream(replica)
            if !hasReplicas { line("slave_priority", priority) }
            line("slave_read_only", 1)
            states(replica)
            progress(replica)
        }
        if status.replica == nil || hasReplicas { replicas(status.master) }
        line(
            "is_eligible_for_master_election",
            status.replica?.isEligibleForMaster == false ? "false" : "true")
        logs(status.master)
        snapshots(status.master)
    }

    // MARK: As a replica

    private mutating func upstream(_ replica: ReplicaStatus) {
        line("master_host", replica.master?.host ?? "")
        line("master_port", replica.master?.port ?? 0)
        line("master_link_status", replica.isLinkUp ? "up" : "down")
        line("master_link_state", replica.link.rawValue)
        if let isPeer = replica.master?.isPeer { line("master_kind", isPeer ? "ours" : "pika") }
        if !replica.upstreams.isEmpty {
            line("master_chain", replica.upstreams.map { "\($0)" }.joined(separator: ","))
        }
        if let runID = replica.master?.runID { line("master_run_id", "\(runID)") }
        if let seconds = replica.secondsSinceLastReceive {
            line("master_last_io_seconds_ago", seconds)
        }
        if let seconds = replica.linkDownSeconds {
            line("master_link_down_since_seconds", seconds)
        }
        if let failure = replica.lastFailure { line("last_sync_failure", failure) }
    }

    /// Pika's word for a database's state.
    private static func pikaState(_ phase: ReplicaStatus.Phase) -> String {
        switch phase {
        case .detached: "DBNoConnect"
        case .connecting: "NoConnect"
        case .handshake, .retrying: "TryConnect"
        case .waitingForSnapshot, .copying, .verifying, .switching: "WaitDBSync"
        case .following: "Connected"
        case .broken: "Error"
        }
    }

    private mutating func states(_ replica: ReplicaStatus) {
        if !replica.isLinkUp {
            let states = replica.databases.filter { $0.phase != .following }
                .map { "(\($0.name):\(Self.pikaState($0.phase)))" }
            line("db_repl_state", states.joined())
        }
        for database in replica.databases {
            line(
                "\(database.name)_positions",
                "received=\(Self.text(database.received)),durable=\(Self.text(database.durable)),"
                    + "applied=\(Self.text(database.applied))")
            if let reason = database.reason { line("\(database.name)_reason", reason) }
        }
    }

    /// The progress of full copies: sums over the databases, then each.
    private mutating func progress(_ replica: ReplicaStatus) {
        let databases = replica.databases
        func sum(_ value: (ReplicaStatus.Copy) -> UInt64) -> UInt64 {
            databases.compactMap(\.copy).reduce(0) { $0 + value($1) }
        }
        // The phase that is furthest from following speaks for all.
        let phase = databases.map(\.phase).min { Self.rank($0) < Self.rank($1) }
        line("sync_phase", phase?.rawValue ?? ReplicaStatus.Phase.detached.rawValue)
        line("sync_bytes_done", sum(\.bytesDone))
        line("sync_bytes_total", sum { $0.bytesTotal ?? 0 })
        line("sync_bytes_sent_twice", sum(\.bytesSentTwice))
        line("sync_bytes_resumed", sum(\.bytesResumed))
        line("sync_bytes_per_second", replica.receivedBytesPerSecond)
        let eta = databases.compactMap { $0.copy?.etaSeconds }.max()
        line("sync_eta_seconds", eta.map { "\($0)" } ?? "")
        line("sync_throttle_bytes_per_second", replica.throttleBytesPerSecond)
        for database in databases {
            guard let copy = database.copy else { continue }
            line(
                "\(database.name)_sync",
                "phase=\(database.phase.rawValue),bytes_done=\(copy.bytesDone),"
                    + "bytes_total=\(copy.bytesTotal.map { "\($0)" } ?? ""),"
                    + "bytes_sent_twice=\(copy.bytesSentTwice),bytes_resumed=\(copy.bytesResumed),"
                    + "bytes_per_second=\(copy.bytesPerSecond),"
                    + "eta_seconds=\(copy.etaSeconds.map { "\($0)" } ?? ""),"
                    + "files_done=\(copy.filesDone),files_total=\(copy.filesTotal)")
        }
    }

    private static func rank(_ phase: ReplicaStatus.Phase) -> Int {
        switch phase {
        case .broken: 0
        case .retrying: 1
        case .connecting: 2
        case .handshake: 3
        case .waitingForSnapshot: 4
        case .copying: 5
        case .verifying: 6
        case .switching: 7
        case .following: 8
        case .detached: 9
        }
    }

    // MARK: As a master

    private mutating func replicas(_ master: MasterStatus) {
        line("connected_slaves", master.replicas.count)
        for (index, replica) in master.replicas.enumerated() {
            let lag = replica.databases.map { database in
                let text = database.state == .streaming ? "\(database.lagBytes)" : "not syncing"
                return "(\(database.database):\(text))"
            }
            line(
                "slave\(index)",
                "ip=\(replica.address.host),port=\(replica.address.port),"
                    + "conn_fd=\(replica.connectionID),lag=\(lag.joined())")
            for database in replica.databases {
                line(
                    "slave\(index)_\(database.database)",
                    "state=\(database.state.rawValue),sent=\(Self.text(database.sent)),"
                        + "received=\(Self.text(database.progress.received)),"
                        + "durable=\(Self.text(database.progress.durable)),"
                        + "applied=\(Self.text(database.progress.applied))")
            }
        }
    }

    private mutating func logs(_ master: MasterStatus) {
        for database in master.databases {
            let purge = database.safePurgeFile.map { "write2file\($0)" } ?? "none"
            raw(
                "\(database.database) binlog_offset=\(database.end.fileNumber) "
                    + "\(database.end.offset),safety_purge=\(purge)")
        }
    }

    private mutating func snapshots(_ master: MasterStatus) {
        for (index, snapshot) in master.snapshots.enumerated() {
            line(
                "snapshot\(index)",
                "db=\(snapshot.database),position=\(Self.text(snapshot.position)),"
                    + "bytes=\(snapshot.totalBytes),readers=\(snapshot.readerCount),"
                    + "lease_seconds_left=\(snapshot.leaseSecondsLeft),"
                    + "gate_held_us=\(snapshot.gateHeldMicroseconds)")
        }
        line("snapshot_bytes_sent", master.snapshotBytesSent)
        line("binlog_bytes_sent", master.binlogBytesSent)
        if master.leasesDropped > 0 { line("leases_dropped", master.leasesDropped) }
        if master.hostileConnections > 0 { line("hostile_connections", master.hostileConnections) }
    }

    static func text(_ position: BinlogPosition) -> String {
        "\(position.fileNumber):\(position.offset)"
    }
}
