// Parts that several messages share, from the generated types to ours and back. Whatever is read
// from a peer is checked for its limits here.

func checked(_ text: String, _ field: String, limitBytes: Int) throws(WireError) -> String {
    let count = text.utf8.count
    guard count <= limitBytes else {
        throw .tooLong(field: field, bytes: count, limitBytes: limitBytes)
    }
    return text
}

func checkedDatabase(_ name: String) throws(WireError) -> String {
    try checked(name, "database", limitBytes: WireLimits.maxDatabaseNameBytes)
}

func checkedReply(_ text: String) throws(WireError) -> String {
    try checked(text, "reply", limitBytes: WireLimits.maxReplyTextBytes)
}

func checkedCount(_ count: Int, _ field: String, limit: Int) throws(WireError) {
    guard count <= limit else { throw .tooMany(field: field, count: count, limit: limit) }
}

extension WireOffset {
    init(_ offset: BinlogOffset) {
        self.init()
        fileNumber = offset.position.fileNumber
        self.offset = offset.position.offset
        if let logicID = offset.logicID {
            term = logicID.term
            index = logicID.index
        }
    }

    func plain() -> BinlogOffset {
        let position = BinlogPosition(fileNumber: fileNumber, offset: offset)
        guard hasTerm || hasIndex else { return BinlogOffset(position) }
        return BinlogOffset(position, logicID: LogicID(term: term, index: index))
    }
}

extension WireAddress {
    init(_ address: ReplicaAddress) {
        self.init()
        host = address.host
        port = Int32(clamping: address.port)
    }

    func plain() throws(WireError) -> ReplicaAddress {
        guard port >= 0, port <= 65_535 else {
            throw .outOfRange(field: "port", value: Int64(port), allowed: 0...65_535)
        }
        return ReplicaAddress(
            host: try checked(host, "host", limitBytes: WireLimits.maxHostBytes), port: Int(port))
    }
}

extension WireDatabase {
    init(_ name: String) {
        self.init()
        self.name = name
        partition = 0
    }

    func plain() throws(WireError) -> String { try checkedDatabase(name) }
}

extension WireExt_Position {
    init(_ position: BinlogPosition) {
        self.init()
        fileNumber = position.fileNumber
        offset = position.offset
    }

    var plain: BinlogPosition { BinlogPosition(fileNumber: fileNumber, offset: offset) }
}

extension WireExt_HistoryEntry {
    init(_ entry: HistoryEntry) {
        self.init()
        replicationID = entry.id.description
        previousEnd = WireExt_Position(entry.previousEnd)
        previousDigest = entry.previousDigest
        start = WireExt_Position(entry.start)
    }

    func plain() throws(WireError) -> HistoryEntry {
        guard let id = ReplicationID(replicationID) else {
            throw .invalidText(field: "history.replication_id")
        }
        return HistoryEntry(
            id: id, previousEnd: previousEnd.plain, previousDigest: previousDigest,
            start: start.plain)
    }
}

func plainHistory(_ entries: [WireExt_HistoryEntry]) throws(WireError) -> [HistoryEntry] {
    try checkedCount(entries.count, "history", limit: WireLimits.maxHistoryEntries)
    var plain: [HistoryEntry] = []
    plain.reserveCapacity(entries.count)
    for entry in entries { plain.append(try entry.plain()) }
    return plain
}

extension WireExt_Peer {
    init(_ peer: PeerInfo) {
        self.init()
        protocolVersion = peer.protocolVersion
        capabilities = peer.capabilities.rawValue
        histories = peer.histories.map { history in
            var wire = WireExt_DatabaseHistory()
            wire.databaseName = history.database
            wire.entries = history.entries.map { WireExt_HistoryEntry($0) }
            return wire
        }
        if let id = peer.nodeID { nodeID = id.rawValue }
        upstreams = peer.upstreams.map { WireExt_Upstream($0) }
    }

    func plain() throws(WireError) -> PeerInfo {
        try checkedCount(histories.count, "peer.histories", limit: WireLimits.maxDatabases)
        try checkedCount(upstreams.count, "peer.upstreams", limit: WireLimits.maxUpstreams)
        var plain: [DatabaseHistory] = []
        for history in histories {
            plain.append(
                DatabaseHistory(
                    database: try checkedDatabase(history.databaseName),
                    entries: try plainHistory(history.entries)))
        }
        return PeerInfo(
            protocolVersion: protocolVersion,
            capabilities: PeerCapabilities(rawValue: capabilities), histories: plain,
            nodeID: hasNodeID ? NodeID(rawValue: nodeID) : nil,
            upstreams: try plainUpstreams(upstreams))
    }
}

extension WireExt_Upstream {
    init(_ node: UpstreamNode) {
        self.init()
        nodeID = node.id.rawValue
        host = node.address.host
        port = UInt32(clamping: node.address.port)
    }
}

private func plainUpstreams(_ nodes: [WireExt_Upstream]) throws(WireError) -> [UpstreamNode] {
    var plain: [UpstreamNode] = []
    for node in nodes {
        guard node.port <= 65_535 else {
            throw .outOfRange(field: "upstream.port", value: Int64(node.port), allowed: 0...65_535)
        }
        plain.append(
            UpstreamNode(
                id: NodeID(rawValue: node.nodeID),
                address: ReplicaAddress(
                    host: try checked(
                        node.host, "upstream.host", limitBytes: WireLimits.maxHostBytes),
                    port: Int(node.port))))
    }
    return plain
}

extension WireExt_TypedFlush {
    init(_ rule: TypedFlushRule) {
        self.init()
        from = WireExt_Position(rule.from)
        emptiesAll = rule.emptiesAll
    }

    var plain: TypedFlushRule { TypedFlushRule(from: from.plain, emptiesAll: emptiesAll) }
}

extension WireExt_HistoryClaim {
    init(_ claim: HistoryClaim) {
        self.init()
        entries = claim.entries.map { WireExt_HistoryEntry($0) }
        digest = claim.digest
        endsInsideGroup = claim.endsInsideGroup
    }

    func plain() throws(WireError) -> HistoryClaim {
        HistoryClaim(
            entries: try plainHistory(entries), digest: digest, endsInsideGroup: endsInsideGroup)
    }
}

extension WireExt_Progress {
    init(_ progress: ReplicaProgress) {
        self.init()
        received = WireExt_Position(progress.received)
        durable = WireExt_Position(progress.durable)
        applied = WireExt_Position(progress.applied)
    }

    var plain: ReplicaProgress {
        ReplicaProgress(
            received: received.plain, durable: durable.plain, applied: applied.plain)
    }
}

extension WireExt_SnapshotStatus {
    init(_ status: SnapshotStatus) {
        self.init()
        if let id = status.id { snapshotID = id.description }
        isReady = status.isReady
        percent = status.percent
        retryAfterMilliseconds = status.retryAfterMilliseconds
    }

    func plain() throws(WireError) -> SnapshotStatus {
        guard percent <= 100 else {
            throw .outOfRange(field: "percent", value: Int64(percent), allowed: 0...100)
        }
        return SnapshotStatus(
            id: hasSnapshotID ? try plainSnapshotID(snapshotID) : nil, isReady: isReady,
            percent: percent, retryAfterMilliseconds: retryAfterMilliseconds)
    }
}

func plainSnapshotID(_ text: String) throws(WireError) -> SnapshotID {
    guard let id = SnapshotID(text) else { throw .invalidText(field: "snapshot_id") }
    return id
}
