import SyncProtocol

/// Messages with every field and extension set.
enum Samples {
    static let replica = ReplicaAddress(host: "10.0.0.2", port: 9221)
    static let replicationID = text50.flatMap(ReplicationID.init)
    private static let text50: String? = String(repeating: "0a1b2", count: 10)

    static func history(_ count: Int = 2) -> [HistoryEntry] {
        guard let id = replicationID else { return [] }
        return (0..<count).map { index in
            HistoryEntry(
                id: id,
                previousEnd: BinlogPosition(fileNumber: UInt32(index), offset: 1_000_000),
                previousDigest: 0xDEAD_BEEF_0000_0000 + UInt64(index),
                start: BinlogPosition(fileNumber: UInt32(index + 1), offset: 0))
        }
    }

    static let peer = PeerInfo(
        histories: [
            DatabaseHistory(database: "db0", entries: history()),
            DatabaseHistory(database: "db7", entries: []),
        ])
    static let chainedPeer = PeerInfo(
        nodeID: NodeID(rawValue: .max),
        upstreams: [
            UpstreamNode(id: NodeID(rawValue: 0), address: replica),
            UpstreamNode(
                id: NodeID(rawValue: 1), address: ReplicaAddress(host: "m", port: 65_535)),
        ])
    static let position = BinlogPosition(fileNumber: 3, offset: 104_857_600)
    static let offset = BinlogOffset(position, logicID: LogicID(term: 2, index: 1 << 40))

    static let requests: [ReplicationRequest] = [
        .metaSync(MetaSyncRequest(replica: replica)),
        .metaSync(MetaSyncRequest(replica: replica, auth: "secret", peer: peer)),
        .trySync(TrySyncRequest(replica: replica, database: "db1", end: BinlogOffset(position))),
        .trySync(
            TrySyncRequest(
                replica: replica, database: "db1", end: BinlogOffset(position),
                claim: HistoryClaim(entries: history(), digest: .max, endsInsideGroup: true))),
        .dbSync(DBSyncRequest(replica: replica, database: "db1", end: BinlogOffset(.zero))),
        .dbSync(
            DBSyncRequest(
                replica: replica, database: "db1", end: BinlogOffset(.zero),
                wantedSnapshot: SnapshotID("5ca1ab1e"))),
        .binlogSync(
            BinlogAck(
                replica: replica, database: "db2", start: .ping, end: offset,
                session: SessionID(rawValue: -1), isFirst: true)),
        .binlogSync(
            BinlogAck(
                replica: replica, database: "db2", start: .ping, end: .ping,
                session: SessionID(rawValue: 7), isFirst: false,
                progress: ReplicaProgress(
                    received: position, durable: position, applied: .zero))),
        .removeReplica(RemoveReplicaRequest(replica: replica, database: "db0")),
    ]

    static let controlResponses: [ReplicationResponse] = [
        .metaSync(MetaSyncResponse(status: .other, reply: "Slave AlreadyExist")),
        .metaSync(
            MetaSyncResponse(
                status: .ok,
                master: MasterInfo(
                    databases: [DatabaseInfo(name: "db0"), DatabaseInfo(name: "db1")],
                    runID: RunID(String(repeating: "f", count: 40)),
                    replicationID: replicationID, peer: peer,
                    fileToken: Array(repeating: 0xA5, count: 32)))),
        .metaSync(
            MetaSyncResponse(
                status: .ok,
                master: MasterInfo(databases: [], runID: nil, peer: chainedPeer))),
        .trySync(
            TrySyncResponse(
                status: .ok,
                verdict: TrySyncVerdict(
                    code: .ok, database: "db0", masterEnd: BinlogOffset(position),
                    session: SessionID(rawValue: 12),
                    typedFlush: [
                        TypedFlushRule(from: .zero, emptiesAll: true),
                        TypedFlushRule(from: position, emptiesAll: false),
                    ]))),
        .trySync(
            TrySyncResponse(
                status: .error, reply: "Slot not found",
                verdict: TrySyncVerdict(
                    code: .error, database: "db9", reason: "another history",
                    history: history(3)))),
        .dbSync(
            DBSyncResponse(
                status: .ok,
                grant: DBSyncGrant(
                    database: "db0", session: SessionID(rawValue: 3),
                    snapshot: SnapshotStatus(
                        id: SnapshotID("abc"), isReady: false, percent: 40,
                        retryAfterMilliseconds: 500)))),
        .removeReplica(RemoveReplicaResponse(status: .ok, master: replica, database: "db0")),
    ]

    static let batch = BinlogSyncResponse(
        status: .ok, reply: "text",
        chips: [
            BinlogChip(
                database: "db0", end: offset, item: Array(0...200),
                session: SessionID(rawValue: 1)),
            BinlogChip(
                database: "db1", end: BinlogOffset(position), item: [1],
                session: SessionID(rawValue: -2)),
            BinlogChip(database: "db0", end: .ping, item: [], session: SessionID(rawValue: 0)),
        ], durableEnd: position)

    static let token: [UInt8] = [1, 2, 3]
    static let fileRequests: [FileServiceRequest] = [
        .list(FileListRequest(database: "db0")),
        .list(
            FileListRequest(
                database: "db0", fileToken: token, requestID: 9,
                wantedSnapshot: SnapshotID("abc"))),
        .read(
            FileReadRequest(
                database: "db0", readerIndex: 3, filename: "strings/000012.sst", offset: 1 << 40,
                count: 4_194_304)),
        .read(
            FileReadRequest(
                database: "db0", readerIndex: 0, filename: "info", offset: 0, count: 1,
                fileToken: token, requestID: .max, snapshot: SnapshotID("abc"))),
    ]

    static let manifest = SnapshotID("abc").map { id in
        SnapshotManifest(
            id: id,
            files: [
                SnapshotFile(name: "strings/CURRENT", sizeBytes: 16, digest: 77),
                SnapshotFile(name: "info", sizeBytes: 0),
            ], position: position, digest: 99, history: history(),
            highestEffectiveNowSeconds: 1_700_000_000)
    }

    static let listResponses: [FileListResponse] = [
        FileListResponse(status: .error, database: "db0", snapshotID: ""),
        FileListResponse(
            status: .error, database: "db0", snapshotID: "", requestID: 4,
            refusal: FileRefusal(reason: .preparing, retryAfterMilliseconds: 300, percent: 10)),
        FileListResponse(status: .ok, database: "db0", snapshotID: "abc", filenames: []),
        FileListResponse(
            status: .ok, database: "db0", snapshotID: "abc",
            filenames: ["strings/CURRENT", "info"], manifest: manifest, requestID: 5),
    ]
}
