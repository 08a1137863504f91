import ReplicationCore
import SyncProtocol
import Testing

/// Our master's machine against what real replicas of 3.5.0 and 3.5.5 sent: every acknowledgement
/// of every recorded connection must fit, in the order in which a master hears it.
@Suite("Recorded replicas")
struct RecordedReplicaTests {
    @Test("Every acknowledgement fits what was sent", arguments: Traces.replicationConnections)
    func acknowledgements(connection: String) throws {
        var replay = Replay(responses: try Traces.responses(connection))
        for request in try Traces.requests(connection) { replay.take(request) }
        for (database, session) in replay.sessions {
            #expect(session.acknowledged <= session.sent, "\(database)")
            #expect(session.acknowledged == replay.lastAcknowledged[database, default: .zero])
        }
        #expect(replay.closed.isEmpty, "\(replay.closed)")
    }

    @Test("The traces hold what the tests think they hold")
    func coverage() throws {
        var acknowledgements = 0
        for connection in Traces.replicationConnections {
            for case .binlogSync(let ack) in try Traces.requests(connection) where !ack.isPing {
                acknowledgements += 1
            }
        }
        #expect(Traces.replicationConnections.count >= 20)
        #expect(acknowledgements >= 200)
    }
}

/// Feeds a machine per database with the recorded flow of one connection.
private struct Replay {
    var responses: ArraySlice<DecodedReplicationResponse>
    var sessions: [String: MasterSession] = [:]
    var lastAcknowledged: [String: BinlogPosition] = [:]
    var closed: [MasterSession.Directive] = []
    /// The position of the last TrySync or DBSync.
    private var asked: [String: BinlogPosition] = [:]
    let now = MonotonicInstant(nanoseconds: 1)

    init(responses: [DecodedReplicationResponse]) { self.responses = responses[...] }

    mutating func feed(_ event: MasterSession.Event, _ database: String) {
        guard var session = self.sessions[database] else { return }
        for directive in session.handle(event, now: self.now) {
            if case .closeConnection = directive { self.closed.append(directive) }
        }
        self.sessions[database] = session
    }

    mutating func take(_ request: ReplicationRequest) {
        switch request {
        case .metaSync, .removeReplica:
            break
        case .trySync(let request):
            self.asked[request.database] = request.end.position
        case .dbSync(let request):
            self.asked[request.database] = request.end.position
        case .binlogSync(let ack):
            self.take(ack)
        }
    }

    private mutating func start(
        _ database: String, _ id: SessionID, _ event: MasterSession.Event
    ) {
        if self.sessions[database]?.id == id {
            self.feed(event, database)
        } else {
            self.sessions[database] = MasterSession(
                id: id, event: event,
                sendable: BinlogPosition(fileNumber: .max, offset: .max), now: self.now)
        }
        if case .trySyncAccepted(let position) = event {
            self.lastAcknowledged[database] = position
        }
    }

    private mutating func take(_ ack: BinlogAck) {
        if ack.isFirst {
            while !self.isAwaitingFirstSend(ack), let response = self.responses.popFirst() {
                self.note(response)
            }
            self.feed(
                .firstSend(
                    start: ack.start.position, end: ack.end.position, session: ack.session),
                ack.database)
            return
        }
        if self.sessions[ack.database] == nil, self.asked[ack.database] == nil {
            // The capture begins in the middle of a connection.
            self.start(ack.database, ack.session, .trySyncAccepted(at: .zero))
            self.feed(.firstSend(start: .zero, end: .zero, session: ack.session), ack.database)
        }
        while let session = self.sessions[ack.database], session.sent < ack.end.position,
            let response = self.responses.popFirst()
        {
            self.note(response)
        }
        self.feed(
            .acknowledgement(
                start: ack.start.position, end: ack.end.position, session: ack.session,
                progress: nil),
            ack.database)
        if !ack.isPing { self.lastAcknowledged[ack.database] = ack.end.position }
    }

    private func isAwaitingFirstSend(_ ack: BinlogAck) -> Bool {
        guard let session = self.sessions[ack.database], session.id == ack.session,
            case .waitingForFirstSend = session.state
        else { return false }
        return true
    }

    /// What the real master sent: as if ours had.
    private mutating func note(_ response: DecodedReplicationResponse) {
        let batch: BinlogSyncBatch
        switch response {
        case .control(.trySync(let answer)):
            guard let verdict = answer.verdict, let id = verdict.session,
                let position = self.asked[verdict.database]
            else { return }
            self.start(verdict.database, id, .trySyncAccepted(at: position))
            return
        case .control(.dbSync(let answer)):
            guard let grant = answer.grant, let position = self.asked[grant.database] else {
                return
            }
            self.start(grant.database, grant.session, .copyStarted(pinned: position))
            return
        case .control:
            return
        case .batch(let items):
            batch = items
        }
        for (index, database) in batch.databases.enumerated() {
            let chips = batch.chips.filter { $0.databaseIndex == index && !$0.isKeepAlive }
            guard let last = chips.last, let session = self.sessions[database],
                session.state == .streaming, last.session == session.id,
                last.end.position > session.sent
            else { continue }
            self.feed(
                .framed(
                    MasterSession.Frame(
                        end: last.end.position, itemCount: chips.count,
                        byteCount: chips.reduce(0) { $0 + $1.itemRange.count })),
                database)
        }
    }
}
