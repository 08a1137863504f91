extension WireRequest {
    init(_ request: ReplicationRequest) {
        self.init()
        switch request {
        case .metaSync(let request):
            type = .metaSync
            metaSync = MetaSync(request)
        case .trySync(let request):
            type = .trySync
            trySync = TrySync(request)
        case .dbSync(let request):
            type = .dbSync
            dbSync = DBSync(request)
        case .binlogSync(let ack):
            type = .binlogSync
            binlogSync = BinlogSync(ack)
        case .removeReplica(let request):
            type = .removeReplica
            var wire = RemoveReplica()
            wire.replica = WireAddress(request.replica)
            wire.database = WireDatabase(request.database)
            removeReplica = [wire]
        }
    }

    func plain() throws(WireError) -> ReplicationRequest {
        switch type {
        case .metaSync:
            guard hasMetaSync else { throw .missingField("meta_sync") }
            return .metaSync(try metaSync.plain())
        case .trySync:
            guard hasTrySync else { throw .missingField("try_sync") }
            return .trySync(try trySync.plain())
        case .dbSync:
            guard hasDbSync else { throw .missingField("db_sync") }
            return .dbSync(try dbSync.plain())
        case .binlogSync:
            guard hasBinlogSync else { throw .missingField("binlog_sync") }
            return .binlogSync(try binlogSync.plain())
        case .removeReplica:
            guard let first = removeReplica.first else { throw .missingField("remove_replica") }
            return .removeReplica(
                RemoveReplicaRequest(
                    replica: try first.replica.plain(), database: try first.database.plain()))
        case .heartBeat:
            throw .unknownValue(field: "type", value: UInt64(type.rawValue))
        }
    }
}

extension WireRequest.MetaSync {
    init(_ request: MetaSyncRequest) {
        self.init()
        replica = WireAddress(request.replica)
        if let auth = request.auth { self.auth = auth }
        if let peer = request.peer { WireExt_replicaPeer = WireExt_Peer(peer) }
    }

    func plain() throws(WireError) -> MetaSyncRequest {
        MetaSyncRequest(
            replica: try replica.plain(),
            auth: hasAuth
                ? try checked(auth, "auth", limitBytes: WireLimits.maxAuthBytes) : nil,
            peer: hasWireExt_replicaPeer ? try WireExt_replicaPeer.plain() : nil)
    }
}

extension WireRequest.TrySync {
    init(_ request: TrySyncRequest) {
        self.init()
        replica = WireAddress(request.replica)
        database = WireDatabase(request.database)
        end = WireOffset(request.end)
        if let claim = request.claim { WireExt_claim = WireExt_HistoryClaim(claim) }
    }

    func plain() throws(WireError) -> TrySyncRequest {
        TrySyncRequest(
            replica: try replica.plain(), database: try database.plain(), end: end.plain(),
            claim: hasWireExt_claim ? try WireExt_claim.plain() : nil)
    }
}

extension WireRequest.DBSync {
    init(_ request: DBSyncRequest) {
        self.init()
        replica = WireAddress(request.replica)
        database = WireDatabase(request.database)
        end = WireOffset(request.end)
        if let wanted = request.wantedSnapshot { WireExt_wantedSnapshot = wanted.description }
    }

    func plain() throws(WireError) -> DBSyncRequest {
        DBSyncRequest(
            replica: try replica.plain(), database: try database.plain(), end: end.plain(),
            wantedSnapshot: hasWireExt_wantedSnapshot
                ? try plainSnapshotID(WireExt_wantedSnapshot) : nil)
    }
}

extension WireRequest.BinlogSync {
    init(_ ack: BinlogAck) {
        self.init()
        replica = WireAddress(ack.replica)
        databaseName = ack.database
        partition = 0
        ackStart = WireOffset(ack.start)
        ackEnd = WireOffset(ack.end)
        sessionID = ack.session.rawValue
        isFirst = ack.isFirst
        if let progress = ack.progress { WireExt_progress = WireExt_Progress(progress) }
    }

    func plain() throws(WireError) -> BinlogAck {
        BinlogAck(
            replica: try replica.plain(), database: try checkedDatabase(databaseName),
            start: ackStart.plain(), end: ackEnd.plain(),
            session: SessionID(rawValue: sessionID), isFirst: isFirst,
            progress: hasWireExt_progress ? WireExt_progress.plain : nil)
    }
}
