internal import Binlog
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import RateLimit
internal import ReplicationCore
internal import SyncProtocol

extension ReplicaConnection {
    func handle(_ request: ReplicationRequest) {
        if case .metaSync(let request) = request {
            self.handle(request)
            return
        }
        guard self.hasPassedMetaSync || self.core.context.settings.current.requirePassword.isEmpty
        else {
            self.closeHostile("request before MetaSync with requirepass set")
            return
        }
        switch request {
        case .metaSync:
            break
        case .trySync(let request):
            self.address = self.address ?? request.replica
            self.handle(request)
        case .dbSync(let request):
            self.address = self.address ?? request.replica
            self.handle(request)
        case .binlogSync(let acknowledgement):
            self.handle(acknowledgement)
        case .removeReplica(let request):
            self.handle(request)
        }
    }

    private func handle(_ request: MetaSyncRequest) {
        let password = self.core.context.settings.current.requirePassword
        guard password.isEmpty || request.auth == password else {
            self.logger.warning(
                "replica refused: masterauth is wrong",
                metadata: [
                    "replica": "\(request.replica)"
                ])
            self.send(
                .metaSync(
                    MetaSyncResponse(
                        status: .error, reply: "Auth with master error, Invalid masterauth")))
            self.close()
            return
        }
        self.core.replaceOlder(than: self, address: request.replica)
        self.address = request.replica
        self.peer = request.peer
        self.hasPassedMetaSync = true
        if self.isOurs, self.fileToken == nil {
            self.fileToken = self.core.makeFileToken(for: self)
        }
        self.logger.info(
            "replica connected",
            metadata: [
                "replica": "\(request.replica)", "ours": "\(self.isOurs)",
            ])
        self.withReplicationID { connection, id in connection.acceptMetaSync(id) }
    }

    /// Gives the data set its 3.5.5 id when the first replica asks (spec replication-protocol 5.4).
    private func withReplicationID(
        _ body: @escaping @Sendable (ReplicaConnection, ReplicationID?) -> Void
    ) {
        let keyspace = self.core.context.keyspace
        if let id = keyspace.replicationID {
            body(self, id)
            return
        }
        let logger = self.logger
        self.onPool { () -> ReplicationID? in
            if let id = keyspace.replicationID { return id }
            let id = ReplicationID.random()
            do {
                try keyspace.setReplicationID(id)
                return id
            } catch {
                logger.error("replication id not saved", metadata: ["error": "\(error)"])
                return nil
            }
        } then: { connection, id in
            body(connection, id)
        }
    }

    /// Answers MetaSync again: an older peer of ours takes no notice of it.
    func announceUpstreams() {
        guard self.isOurs, self.hasPassedMetaSync else { return }
        self.withReplicationID { connection, id in connection.acceptMetaSync(id) }
    }

    private func acceptMetaSync(_ replicationID: ReplicationID?) {
        let databases = self.core.context.keyspace.databases
        var master = MasterInfo(
            databases: databases.map { DatabaseInfo(name: $0.name) },
            runID: self.core.context.keyspace.runID, replicationID: replicationID)
        if self.isOurs {
            master.peer = PeerInfo(
                histories: databases.map {
                    DatabaseHistory(database: $0.name, entries: $0.history)
                },
                nodeID: self.core.context.nodeID, upstreams: self.core.upstreams.nodes)
            master.fileToken = self.fileToken
        }
        self.send(.metaSync(MetaSyncResponse(status: .ok, master: master)))
        self.core.publish()
    }

    private func handle(_ request: TrySyncRequest) {
        guard let database = self.core.context.database(named: request.database) else {
            // Kinder than Pika's outer error, after which its replica waits for ever (spec 6.2).
            self.send(
                .trySync(
                    TrySyncResponse(
                        status: .ok,
                        verdict: TrySyncVerdict(
                            code: .error, database: request.database,
                            reason: "no database \(request.database)"))))
            return
        }
        let position = request.end.position
        let claim = request.claim
        let logger = self.logger
        self.onPool {
            TrySyncFacts.judge(database, position: position, claim: claim, logger: logger)
        } then: { connection, facts in
            connection.answer(facts, database: database, position: position)
        }
    }

    private func answer(_ facts: TrySyncFacts, database: Database, position: BinlogPosition) {
        // Changed behind the look at it: as if it had been followed already.
        guard facts.history == database.history, facts.typedFlush == database.typedFlush else {
            self.logReplaced(database.index)
            return
        }
        var verdict = TrySyncVerdict(
            code: facts.code, database: database.name, masterEnd: BinlogOffset(facts.end))
        if self.isOurs {
            verdict.history = facts.history
            verdict.typedFlush = facts.typedFlush
            if facts.code != .ok { verdict.reason = facts.verdict.explanation }
        }
        if facts.code == .ok {
            let stream = self.stream(database, .trySyncAccepted(at: position))
            verdict.session = stream.session.id
        }
        self.logger.info(
            "TrySync",
            metadata: [
                "replica": "\(self.name)", "db": "\(database.name)", "position": "\(position)",
                "verdict": "\(facts.verdict.explanation)",
            ])
        let response = ReplicationResponse.trySync(
            TrySyncResponse(status: .ok, verdict: verdict))
        self.sendWhenLeasesAreKept(response)
    }

    /// A session is granted when its lease on the log is on the disk.
    private func sendWhenLeasesAreKept(_ response: ReplicationResponse) {
        let core = self.core
        let id = self.id
        core.leaseKeeper.keep(core.leases.remembered(now: core.now)) {
            core.connections[id]?.send(response)
        }
    }

    private func handle(_ request: DBSyncRequest) {
        guard let database = self.core.context.database(named: request.database) else {
            self.send(
                .dbSync(
                    DBSyncResponse(
                        status: .error, reply: "DB not found",
                        grant: DBSyncGrant(
                            database: request.database, session: SessionID(rawValue: -1)))))
            return
        }
        // F8: the log is pinned before the snapshot is cut.
        let stream = self.stream(database, .copyStarted(pinned: database.published))
        let status = self.core.catalog.request(
            database: database.index, wanted: request.wantedSnapshot, now: self.core.now,
            for: SnapshotCatalog.Requester(connection: self.id, database: database.index))
        var grant = DBSyncGrant(database: database.name, session: stream.session.id)
        if self.isOurs { grant.snapshot = status }
        self.sendWhenLeasesAreKept(.dbSync(DBSyncResponse(status: .ok, grant: grant)))
    }

    /// The catalog found or made the snapshot that this replica shall read.
    func snapshotChosen(_ snapshot: StoredSnapshot, database: Int) {
        guard let stream = self.streams[database], case .copying = stream.session.state else {
            return
        }
        stream.snapshot = snapshot.manifest.id
        self.feed(.snapshotChosen(at: snapshot.manifest.position), to: stream)
    }

    private func handle(_ acknowledgement: BinlogAck) {
        guard let database = self.core.context.database(named: acknowledgement.database),
            let stream = self.streams[database.index]
        else { return }
        if acknowledgement.isFirst {
            self.feed(
                .firstSend(
                    start: acknowledgement.start.position, end: acknowledgement.end.position,
                    session: acknowledgement.session),
                to: stream)
        } else {
            self.feed(
                .acknowledgement(
                    start: acknowledgement.start.position, end: acknowledgement.end.position,
                    session: acknowledgement.session, progress: acknowledgement.progress),
                to: stream)
        }
    }

    private func handle(_ request: RemoveReplicaRequest) {
        if let database = self.core.context.database(named: request.database),
            let stream = self.streams[database.index]
        {
            self.feed(.removed, to: stream)
        }
        self.send(
            .removeReplica(
                RemoveReplicaResponse(
                    status: .ok,
                    master: ReplicaAddress(
                        host: self.core.context.configuration.announceHost
                            ?? self.channel?.localAddress?.ipAddress ?? "",
                        port: self.core.context.configuration.port),
                    database: request.database)))
    }
}
