internal import Binlog
internal import Keyspace
internal import Logging
internal import NIOCore
internal import ReplicationCore
internal import SyncProtocol

/// One replica × database: the machine, and the cursor that reads for it.
///
/// A stalled replica costs this and nothing more. Used on the replication loop only.
final class BinlogStream {
    let database: Database
    let isOurs: Bool
    var session: MasterSession
    var encoder: BinlogSyncEncoder
    /// The snapshot that the replica was told to copy.
    var snapshot: SnapshotID?
    private(set) var lastFrameBytes = 0
    private var cursor: BinlogCursor?
    /// There is no item up to this position: it is the start of a file without items.
    private var emptyUpTo: BinlogPosition?

    /// Items of one frame to a replica of ours that takes large batches.
    static let largeBatchItems = 8_192
    /// Bytes of one frame.
    static let frameBytes = 256 << 10
    /// Unacknowledged bytes: a replica of ours; it bounds by bytes, not by items.
    static let windowBytes = 64 << 20

    init(database: Database, session: MasterSession, isOurs: Bool) {
        self.database = database
        self.session = session
        self.isOurs = isOurs
        self.encoder = BinlogSyncEncoder(database: database.name, session: session.id)
    }

    static func configuration(
        peer: PeerInfo?, settings: ReplicationSettings
    ) -> MasterSession.Configuration {
        var configuration = MasterSession.Configuration()
        configuration.frameItems = WireLimits.maxPikaChipsPerResponse
        configuration.frameBytes = Self.frameBytes
        configuration.windowItems = settings.syncWindowItems
        configuration.windowBytes = Self.windowBytes
        if let peer, peer.capabilities.contains(.largeBatches) {
            configuration.frameItems = Self.largeBatchItems
            configuration.windowItems = 1 << 20
        }
        return configuration
    }

    func openCursor(at position: BinlogPosition) throws(BinlogError) {
        self.cursor = try self.database.log.makeCursor(at: position)
        self.emptyUpTo = nil
    }

    func closeCursor() {
        self.cursor = nil
    }

    /// What may be sent now, unless it is known to hold no item.
    var openAllowance: MasterSession.Allowance? {
        guard self.cursor != nil, let allowance = self.session.allowance else { return nil }
        if let emptyUpTo, allowance.limit <= emptyUpTo { return nil }
        return allowance
    }

    /// About how many bytes the next frame will have.
    func expectedBytes(_ allowance: MasterSession.Allowance) -> Int {
        let distance = self.database.log.distanceBytes(from: allowance.from, to: allowance.limit)
        return max(1, min(allowance.byteCount, Int(clamping: distance)))
    }

    /// Reads items straight into a frame; nil if there is none up to the limit.
    func readFrame(
        _ allowance: MasterSession.Allowance, granted: Int, into buffer: inout ByteBuffer
    ) throws(BinlogError) -> MasterSession.Frame? {
        guard let cursor = self.cursor else { return nil }
        let start = buffer.writerIndex
        var frame = MasterSession.Frame(end: allowance.from, itemCount: 0, byteCount: 0)
        var encoder = self.encoder
        encoder.begin(in: &buffer, durableEnd: self.isOurs ? self.database.durable : nil)
        try cursor.next(upTo: allowance.limit, maxBytes: allowance.byteCount) { item, header, end in
            if frame.itemCount > 0,
                frame.itemCount >= allowance.itemCount
                    || frame.byteCount + item.count > allowance.byteCount
            {
                return .stopBefore
            }
            encoder.append(
                item: item, end: end,
                logicID: LogicID(term: header.itemsLeftInGroup, index: header.logicIndex),
                in: &buffer)
            frame.itemCount += 1
            frame.byteCount += item.count
            frame.end = end
            return .next
        }
        guard frame.itemCount > 0 else {
            buffer.moveWriterIndex(to: start)
            self.emptyUpTo = allowance.limit
            return nil
        }
        encoder.finish(in: &buffer)
        self.encoder = encoder
        self.lastFrameBytes = buffer.writerIndex - start
        return frame
    }

    var status: ConnectedReplicaDatabase? {
        let state: ConnectedReplicaDatabase.State
        switch self.session.state {
        case .waitingForFirstSend: state = .starting
        case .copying: state = .copying
        case .streaming: state = .streaming
        case .ended: return nil
        }
        let sent = self.session.sent
        let end = self.database.published
        return ConnectedReplicaDatabase(
            database: self.database.name, state: state, session: self.session.id, sent: sent,
            acknowledged: self.session.acknowledged, progress: self.session.progress,
            lagBytes: sent < end ? self.database.log.distanceBytes(from: sent, to: end) : 0)
    }
}

/// What the log and the histories say to a TrySync.
struct TrySyncFacts: Sendable {
    var verdict: ContinuationVerdict
    var end: BinlogPosition
    var history: [HistoryEntry]
    var typedFlush: [TypedFlushRule]

    /// Looks at the log (reads from files: on the pool) and judges.
    static func judge(
        _ database: Database, position: BinlogPosition, claim: HistoryClaim?, logger: Logger
    ) -> TrySyncFacts {
        let history = database.history
        let end = database.written
        var facts = TrySyncFacts(
            verdict: .purged, end: end, history: history, typedFlush: database.typedFlush)
        do {
            let log = database.log
            let evidence: PositionEvidence
            switch try log.verdict(at: position) {
            case .ok:
                let digest = claim == nil ? nil : try database.digest(at: position)
                evidence = .boundary(digest: digest)
            case .purged: evidence = .fileMissing
            case .notABoundary, .larger: evidence = .notABoundary
            }
            if let claim {
                facts.verdict = History(entries: history).judge(
                    claim, end: position, ourEnd: end, evidence: evidence)
                // A log without items belongs to no history: there is nothing to lose.
                if case .unrelated = facts.verdict, position == .zero { facts.verdict = .purged }
            } else {
                facts.verdict = History.judge(
                    position: position, ourEnd: end, earlyEnd: log.lastEarlyEnd(),
                    evidence: evidence)
            }
        } catch {
            logger.error(
                "binlog can't be looked at",
                metadata: [
                    "db": "\(database.name)", "position": "\(position)", "error": "\(error)",
                ])
            facts.verdict = .purged
        }
        return facts
    }

    /// The answer on the wire.
    var code: TrySyncCode {
        switch self.verdict {
        case .continues: .ok
        case .purged: .syncPointPurged
        case .ahead: .syncPointLarger
        case .diverged, .digestDiffers, .unrelated, .notABoundary: .error
        }
    }
}

extension ReplicationID {
    /// A new id: 50 hexadecimal digits.
    static func random() -> ReplicationID {
        var random = SystemRandomNumberGenerator()
        let digits = Array("0123456789abcdef".utf8)
        let text = (0..<Self.byteCount).map { _ in digits[Int(random.next() % UInt64(16))] }
        guard let id = ReplicationID(String(decoding: text, as: UTF8.self)) else {
            preconditionFailure("hexadecimal digits are no id")
        }
        return id
    }
}
