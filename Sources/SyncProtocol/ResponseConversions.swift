import FoundationEssentials

extension WireResponse {
    init(_ response: ReplicationResponse) {
        self.init()
        switch response {
        case .metaSync(let response):
            fill(.metaSync, response.status, response.reply)
            if let master = response.master { metaSync = MetaSync(master) }
        case .trySync(let response):
            fill(.trySync, response.status, response.reply)
            if let verdict = response.verdict { trySync = TrySync(verdict) }
        case .dbSync(let response):
            fill(.dbSync, response.status, response.reply)
            if let grant = response.grant { dbSync = DBSync(grant) }
        case .binlogSync(let response):
            fill(.binlogSync, response.status, response.reply)
            binlogSync = response.chips.map { BinlogSync($0) }
            if let end = response.durableEnd { WireExt_durableEnd = WireExt_Position(end) }
        case .removeReplica(let response):
            fill(.removeReplica, response.status, response.reply)
            if let master = response.master, let database = response.database {
                var wire = RemoveReplica()
                wire.master = WireAddress(master)
                wire.database = WireDatabase(database)
                removeReplica = [wire]
            }
        }
    }

    private mutating func fill(_ type: WireMessageType, _ status: StatusCode, _ reply: String?) {
        self.type = type
        switch status {
        case .ok: self.status = .ok
        case .error: self.status = .error
        case .other: self.status = .other
        }
        if let reply { self.reply = reply }
    }

    /// The plain form of everything but BinlogSync, which ``BinlogSyncBatch`` decodes.
    func plain() throws(WireError) -> ReplicationResponse {
        let status = plainStatus
        let reply = hasReply ? try checkedReply(reply) : nil
        switch type {
        case .metaSync:
            guard hasMetaSync || status != .ok else { throw .missingField("meta_sync") }
            return .metaSync(
                MetaSyncResponse(
                    status: status, reply: reply, master: hasMetaSync ? try metaSync.plain() : nil))
        case .trySync:
            guard hasTrySync || status != .ok else { throw .missingField("try_sync") }
            return .trySync(
                TrySyncResponse(
                    status: status, reply: reply, verdict: hasTrySync ? try trySync.plain() : nil))
        case .dbSync:
            guard hasDbSync || status != .ok else { throw .missingField("db_sync") }
            return .dbSync(
                DBSyncResponse(
                    status: status, reply: reply, grant: hasDbSync ? try dbSync.plain() : nil))
        case .removeReplica:
            let first = removeReplica.first
            return .removeReplica(
                RemoveReplicaResponse(
                    status: status, reply: reply, master: try first?.master.plain(),
                    database: try first?.database.plain()))
        case .binlogSync, .heartBeat:
            throw .unknownValue(field: "type", value: UInt64(type.rawValue))
        }
    }

    private var plainStatus: StatusCode {
        switch status {
        case .ok: .ok
        case .error: .error
        case .other: .other
        }
    }
}

extension WireResponse.MetaSync {
    init(_ master: MasterInfo) {
        self.init()
        isClassicMode = master.isClassicMode
        databases = master.databases.map { database in
            var wire = DatabaseInfo()
            wire.name = database.name
            wire.partitionCount = database.slotCount
            return wire
        }
        runID = master.runID?.description ?? ""
        if let id = master.replicationID { replicationID = id.description }
        if let peer = master.peer { WireExt_masterPeer = WireExt_Peer(peer) }
        if let token = master.fileToken { WireExt_grantedToken = .init(token) }
    }

    func plain() throws(WireError) -> MasterInfo {
        try checkedCount(databases.count, "databases", limit: WireLimits.maxDatabases)
        var plain: [SyncProtocol.DatabaseInfo] = []
        for database in databases {
            plain.append(
                SyncProtocol.DatabaseInfo(
                    name: try checkedDatabase(database.name), slotCount: database.partitionCount))
        }
        let token: [UInt8]? = hasWireExt_grantedToken ? Array(WireExt_grantedToken) : nil
        try checkedToken(token)
        return MasterInfo(
            isClassicMode: isClassicMode, databases: plain, runID: RunID(runID),
            replicationID: hasReplicationID ? ReplicationID(replicationID) : nil,
            peer: hasWireExt_masterPeer ? try WireExt_masterPeer.plain() : nil, fileToken: token)
    }
}

func checkedToken(_ token: [UInt8]?) throws(WireError) {
    guard let token, token.count > WireLimits.maxFileTokenBytes else { return }
    throw .tooLong(
        field: "file_token", bytes: token.count, limitBytes: WireLimits.maxFileTokenBytes)
}

extension WireResponse.TrySync {
    init(_ verdict: TrySyncVerdict) {
        self.init()
        switch verdict.code {
        case .ok: self.verdict = .ok
        case .syncPointPurged: self.verdict = .syncPointPurged
        case .syncPointLarger: self.verdict = .syncPointLarger
        case .error: self.verdict = .error
        }
        database = WireDatabase(verdict.database)
        if let end = verdict.masterEnd { masterEnd = WireOffset(end) }
        if let session = verdict.session { sessionID = session.rawValue }
        if let reason = verdict.reason { WireExt_reason = reason }
        if !verdict.history.isEmpty {
            WireExt_history = verdict.history.map { WireExt_HistoryEntry($0) }
        }
        if !verdict.typedFlush.isEmpty {
            WireExt_typedFlush = verdict.typedFlush.map { WireExt_TypedFlush($0) }
        }
    }

    func plain() throws(WireError) -> TrySyncVerdict {
        let code: TrySyncCode
        switch verdict {
        case .ok: code = .ok
        case .syncPointPurged: code = .syncPointPurged
        case .syncPointLarger: code = .syncPointLarger
        case .error: code = .error
        }
        guard code != .ok || hasSessionID else { throw .missingField("try_sync.session_id") }
        try checkedCount(
            WireExt_typedFlush.count, "typed_flush", limit: WireLimits.maxTypedFlushRules)
        return TrySyncVerdict(
            code: code, database: try database.plain(),
            masterEnd: hasMasterEnd ? masterEnd.plain() : nil,
            session: hasSessionID ? SessionID(rawValue: sessionID) : nil,
            reason: hasWireExt_reason ? try checkedReply(WireExt_reason) : nil,
            history: try plainHistory(WireExt_history),
            typedFlush: WireExt_typedFlush.map(\.plain))
    }
}

extension WireResponse.DBSync {
    init(_ grant: DBSyncGrant) {
        self.init()
        database = WireDatabase(grant.database)
        sessionID = grant.session.rawValue
        if let snapshot = grant.snapshot { WireExt_snapshot = WireExt_SnapshotStatus(snapshot) }
    }

    func plain() throws(WireError) -> DBSyncGrant {
        DBSyncGrant(
            database: try database.plain(), session: SessionID(rawValue: sessionID),
            snapshot: hasWireExt_snapshot ? try WireExt_snapshot.plain() : nil)
    }
}

extension WireResponse.BinlogSync {
    init(_ chip: BinlogChip) {
        self.init()
        database = WireDatabase(chip.database)
        end = WireOffset(chip.end)
        item = .init(chip.item)
        sessionID = chip.session.rawValue
    }
}
