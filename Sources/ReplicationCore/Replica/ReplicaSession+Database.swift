internal import SyncProtocol

extension ReplicaSession {
    mutating func handleDatabaseEvent(_ event: Event, now: MonotonicInstant) -> [Directive] {
        switch event {
        case .keepAlive(let name, let session):
            return self.keepAlive(name, session: session, now: now)
        case .items(let items):
            return self.take(items, now: now)
        case .local(let name, let local):
            return self.decide(name, local, now: now)
        case .received(let name, let position):
            self.databases[name]?.progress.received = position
            return []
        case .durable(let name, let position):
            return self.acknowledge(name, through: position, now: now)
        case .applied(let name, let position):
            self.databases[name]?.progress.applied = position
            return []
        case .sessionFailed(let name, let reason):
            guard self.databases[name]?.state == .following else { return [] }
            return self.retry(name, reason, now: now)
        case .applyFailed(let name, let reason):
            return self.breakDatabase(name, .applyFailed(reason), now: now)
        case .copyFinished(let name):
            guard self.databases[name]?.state == .copying else { return [] }
            self.databases[name]?.force = false
            self.databases[name]?.backoff.reset()
            self.databases[name]?.lastFailure = nil
            return self.readLocal(name, now: now)
        case .copyFailed(let name, let reason, let madeProgress):
            guard self.databases[name]?.state == .copying else { return [] }
            if madeProgress { self.databases[name]?.backoff.reset() }
            return self.retry(name, reason, now: now)
        case .databaseAction(let name, let action):
            return self.act(name, action, now: now)
        case .start, .stop, .connected, .disconnected, .malformedFrame, .response,
            .bytesArrived, .readingPaused, .tick:
            preconditionFailure("not an event of one database: \(event)")
        }
    }

    // MARK: Beginning

    mutating func attach(_ name: String, now: MonotonicInstant) -> [Directive] {
        let stops: [Directive] =
            self.databases[name]?.state == .copying ? [.stopCopy(database: name)] : []
        self.databases[name]?.backoff.reset()
        self.databases[name]?.lastFailure = nil
        self.databases[name]?.failedAt = nil
        return stops + self.readLocal(name, now: now)
    }

    /// Every way into a database's conversation begins with a look at what is here.
    mutating func readLocal(_ name: String, now: MonotonicInstant) -> [Directive] {
        guard self.link == .established else {
            self.enter(.needsMeta, name, now: now)
            return []
        }
        self.databases[name]?.acknowledgements = AcknowledgementQueue()
        self.enter(.readingLocal, name, now: now)
        return [.readLocal(database: name)]
    }

    private mutating func enter(_ state: DatabaseState, _ name: String, now: MonotonicInstant) {
        self.databases[name]?.state = state
        self.databases[name]?.since = now
        self.databases[name]?.lastHeard = now
    }

    private mutating func decide(
        _ name: String, _ local: LocalDatabase, now: MonotonicInstant
    ) -> [Directive] {
        guard let record = self.databases[name], record.state == .readingLocal,
            let master = self.master
        else { return [] }
        self.databases[name]?.local = local
        self.databases[name]?.attempts = 0
        self.databases[name]?.progress = ReplicaProgress(
            received: local.end, durable: local.end, applied: local.end)
        switch ContinuationPlan.make(for: local, master: master, force: record.force) {
        case .follow:
            self.enter(.waitingForTrySync, name, now: now)
            return [self.trySync(name, now: now)]
        case .copy(let resuming):
            return self.askForCopy(name, resuming: resuming, now: now)
        case .refuse(let reason):
            // A position behind every end is answered with the master's end, and changes nothing.
            self.enter(.probing(reason), name, now: now)
            let nowhere = BinlogPosition(fileNumber: .max, offset: 0)
            return [
                self.send(
                    .trySync(
                        TrySyncRequest(
                            replica: self.ownAddress, database: name, end: BinlogOffset(nowhere))),
                    for: name, now: now)
            ]
        }
    }

    private mutating func trySync(_ name: String, now: MonotonicInstant) -> Directive {
        let local = self.databases[name]?.local
        var claim: HistoryClaim?
        if self.master?.isPeer == true, let local {
            // What the master began behind our end says nothing about our items.
            claim = HistoryClaim(
                entries: local.history.filter { $0.start <= local.end }, digest: local.digest,
                endsInsideGroup: local.endsInsideGroup)
        }
        return self.send(
            .trySync(
                TrySyncRequest(
                    replica: self.ownAddress, database: name,
                    end: BinlogOffset(local?.end ?? .zero), claim: claim)),
            for: name, now: now)
    }

    private mutating func askForCopy(
        _ name: String, resuming: LocalDatabase.UnfinishedCopy?, now: MonotonicInstant
    ) -> [Directive] {
        var directives: [Directive] = []
        if resuming == nil, self.databases[name]?.local?.unfinishedCopy != nil {
            directives.append(.discardCopy(database: name))
            self.databases[name]?.local?.unfinishedCopy = nil
        }
        self.databases[name]?.resuming = resuming
        self.enter(.waitingForDBSync, name, now: now)
        return directives + [self.dbSync(name, now: now)]
    }

    private mutating func dbSync(_ name: String, now: MonotonicInstant) -> Directive {
        let record = self.databases[name]
        // A real master makes a new dump unless this file number is near its dump's (spec 8.2 c).
        let end = record?.resuming?.position ?? record?.local?.end ?? .zero
        return self.send(
            .dbSync(
                DBSyncRequest(
                    replica: self.ownAddress, database: name, end: BinlogOffset(end),
                    wantedSnapshot: self.master?.isPeer == true
                        ? record?.resuming?.snapshotID : nil)),
            for: name, now: now)
    }

    private mutating func send(
        _ request: ReplicationRequest, for name: String, now: MonotonicInstant
    ) -> Directive {
        self.databases[name]?.lastSent = now
        return .send(request)
    }

    // MARK: Answers

    mutating func take(_ answer: TrySyncResponse, now: MonotonicInstant) -> [Directive] {
        guard let verdict = answer.verdict else {
            // A real master says "Slot not found" without the database's name in some versions.
            return []
        }
        let name = verdict.database
        guard let record = self.databases[name] else { return [] }
        self.databases[name]?.lastHeard = now
        let theirs = verdict.masterEnd?.position
        if case .probing(let reason) = record.state {
            return self.breakDatabase(name, reason.naming(theirs: theirs), now: now)
        }
        guard record.state == .waitingForTrySync, let local = record.local else { return [] }
        guard answer.status == .ok else {
            return self.refuse(name, verdict.reason ?? answer.reply ?? "no reason", theirs, now)
        }
        switch verdict.code {
        case .ok:
            guard let session = verdict.session else {
                return self.retry(name, "TrySync was accepted without a session", now: now)
            }
            return self.follow(name, session: session, verdict, now: now)
        case .syncPointPurged:
            return self.askForCopy(name, resuming: nil, now: now)
        case .syncPointLarger:
            return self.breakDatabase(
                name, .ahead(ours: local.end, theirs: theirs), now: now)
        case .error where local.end == .zero && local.origin != .own:
            // Nothing was ever written here, only the id of a history differs: nothing is lost.
            return self.askForCopy(name, resuming: nil, now: now)
        case .error:
            return self.refuse(name, verdict.reason ?? answer.reply ?? "no reason", theirs, now)
        }
    }

    /// A refusal may come from a log that was just being cut or rolled: it counts when the same
    /// position is refused twice.
    private mutating func refuse(
        _ name: String, _ text: String, _ theirs: BinlogPosition?, _ now: MonotonicInstant
    ) -> [Directive] {
        let end = self.databases[name]?.local?.end ?? .zero
        guard self.databases[name]?.failedAt == end else {
            self.databases[name]?.failedAt = end
            return self.retry(name, text, now: now)
        }
        return self.breakDatabase(name, .refused(text, ours: end, theirs: theirs), now: now)
    }

    private mutating func follow(
        _ name: String, session: SessionID, _ verdict: TrySyncVerdict, now: MonotonicInstant
    ) -> [Directive] {
        let end = BinlogOffset(
            self.databases[name]?.local?.end ?? .zero, logicID: LogicID(term: 0, index: 0))
        self.enter(.following, name, now: now)
        self.databases[name]?.session = session
        self.databases[name]?.awaitsFirstSign = true
        self.databases[name]?.failedAt = nil
        self.databases[name]?.lastFailure = nil
        let first = BinlogAck(
            replica: self.ownAddress, database: name, start: end, end: end, session: session,
            isFirst: true, progress: self.reportedProgress(name))
        return [
            .beginFollowing(
                database: name, session: session, history: verdict.history,
                typedFlush: verdict.typedFlush),
            self.send(.binlogSync(first), for: name, now: now),
        ]
    }

    mutating func take(_ answer: DBSyncResponse, now: MonotonicInstant) -> [Directive] {
        guard let grant = answer.grant else { return [] }
        let name = grant.database
        guard let record = self.databases[name], record.state == .waitingForDBSync,
            let master = self.master
        else { return [] }
        guard answer.status == .ok, grant.session.rawValue >= 0 else {
            return self.retry(
                name, "DBSync was refused: " + (answer.reply ?? "no reason given"), now: now)
        }
        self.enter(.copying, name, now: now)
        self.databases[name]?.session = grant.session
        return [
            .startCopy(
                database: name,
                CopyOrder(
                    session: grant.session, master: master, fileToken: self.fileToken,
                    snapshot: grant.snapshot, resuming: record.resuming))
        ]
    }

    // MARK: Items

    private mutating func keepAlive(
        _ name: String, session: SessionID, now: MonotonicInstant
    ) -> [Directive] {
        guard let record = self.databases[name], record.session == session else { return [] }
        self.databases[name]?.lastHeard = now
        self.databases[name]?.awaitsFirstSign = false
        // While a position is being negotiated or an operator awaited, silence lets the master drop
        // the session, as a real replica does.
        switch record.state {
        case .copying, .following, .readingLocal:
            return [self.ping(name, session: session, now: now)]
        case .detached, .needsMeta, .waitingForTrySync, .probing, .waitingForDBSync, .retrying,
            .broken:
            return []
        }
    }

    private mutating func ping(
        _ name: String, session: SessionID, now: MonotonicInstant
    ) -> Directive {
        self.send(
            .binlogSync(
                BinlogAck(
                    replica: self.ownAddress, database: name, start: .ping, end: .ping,
                    session: session, isFirst: false, progress: self.reportedProgress(name))),
            for: name, now: now)
    }

    private func reportedProgress(_ name: String) -> ReplicaProgress? {
        self.capabilities.contains(.replicaProgress) ? self.databases[name]?.progress : nil
    }

    private mutating func take(_ items: Items, now: MonotonicInstant) -> [Directive] {
        guard let record = self.databases[items.database], record.state == .following else {
            return []
        }
        guard record.session == items.session else {
            return self.retry(
                items.database,
                "items of session \(items.session) instead of "
                    + (record.session.map { "\($0)" } ?? "none"), now: now)
        }
        self.databases[items.database]?.lastHeard = now
        self.databases[items.database]?.awaitsFirstSign = false
        self.databases[items.database]?.acknowledgements.append(
            first: items.first, last: items.last)
        return [.apply(database: items.database)]
    }

    private mutating func acknowledge(
        _ name: String, through position: BinlogPosition, now: MonotonicInstant
    ) -> [Directive] {
        guard let record = self.databases[name], record.state == .following,
            let session = record.session
        else { return [] }
        if position > record.progress.durable {
            self.databases[name]?.progress.durable = position
            self.databases[name]?.backoff.reset()
        }
        guard let range = self.databases[name]?.acknowledgements.take(through: position) else {
            return []
        }
        let ack = BinlogAck(
            replica: self.ownAddress, database: name, start: range.first, end: range.last,
            session: session, isFirst: false, progress: self.reportedProgress(name))
        return [self.send(.binlogSync(ack), for: name, now: now)]
    }

    // MARK: Failures and time

    private mutating func retry(
        _ name: String, _ reason: String, now: MonotonicInstant
    ) -> [Directive] {
        guard let record = self.databases[name] else { return [] }
        self.databases[name]?.lastFailure = reason
        self.databases[name]?.session = nil
        self.databases[name]?.acknowledgements = AcknowledgementQueue()
        guard record.backoff.failures < self.configuration.maxFailures else {
            return self.breakDatabase(name, .tooManyFailures(reason), now: now)
        }
        let pause = self.databases[name]?.backoff.next() ?? .zero
        self.enter(.retrying, name, now: now)
        self.databases[name]?.retryAt = now + pause
        return [.report(database: name, reason)]
    }

    private mutating func breakDatabase(
        _ name: String, _ reason: BrokenReason, now: MonotonicInstant
    ) -> [Directive] {
        guard let record = self.databases[name] else { return [] }
        let stops: [Directive] = record.state == .copying ? [.stopCopy(database: name)] : []
        self.databases[name]?.lastFailure = reason.description
        self.databases[name]?.session = nil
        self.databases[name]?.acknowledgements = AcknowledgementQueue()
        self.enter(.broken(reason), name, now: now)
        return stops + [.report(database: name, reason.description)]
    }

    private mutating func act(
        _ name: String, _ action: DatabaseAction, now: MonotonicInstant
    ) -> [Directive] {
        guard let record = self.databases[name] else { return [] }
        switch action {
        case .attach:
            switch record.state {
            case .detached, .broken, .retrying:
                return self.attach(name, now: now)
            case .needsMeta, .readingLocal, .waitingForTrySync, .probing, .waitingForDBSync,
                .copying, .following:
                return []
            }
        case .copyAnew:
            self.databases[name]?.force = true
            return self.attach(name, now: now)
        case .detach:
            let stops: [Directive] = record.state == .copying ? [.stopCopy(database: name)] : []
            self.databases[name]?.session = nil
            self.enter(.detached, name, now: now)
            guard self.link == .established else { return stops }
            let goodbye = RemoveReplicaRequest(replica: self.ownAddress, database: name)
            return stops + [self.send(.removeReplica(goodbye), for: name, now: now)]
        }
    }

    mutating func tick(_ name: String, now: MonotonicInstant) -> [Directive] {
        guard let record = self.databases[name] else { return [] }
        switch record.state {
        case .detached, .broken, .needsMeta:
            return []
        case .retrying:
            return now >= record.retryAt ? self.readLocal(name, now: now) : []
        case .readingLocal:
            return self.signOfLife(name, record, now: now)
        case .waitingForTrySync, .probing, .waitingForDBSync:
            return self.askAgain(name, record, now: now)
        case .copying, .following:
            if self.isSilent(record, now: now) {
                let stops: [Directive] =
                    record.state == .copying ? [.stopCopy(database: name)] : []
                return stops + self.retry(name, "silence of the master", now: now)
            }
            return self.signOfLife(name, record, now: now)
        }
    }

    /// Whether the master has said nothing about a database for too long.
    private func isSilent(_ record: Database, now: MonotonicInstant) -> Bool {
        guard !self.isReadingPaused else { return false }
        if now.since(record.lastHeard) >= self.configuration.silenceTimeout { return true }
        // One of ours may keep its first items back for the sake of its limit of bandwidth, and ours
        // may make a first message slow to arrive.
        return record.state == .following && record.awaitsFirstSign
            && self.master?.isPeer == false
            && now.since(max(record.lastHeard, self.lastBytes))
                >= self.configuration.firstSignTimeout
    }

    private mutating func signOfLife(
        _ name: String, _ record: Database, now: MonotonicInstant
    ) -> [Directive] {
        guard let session = record.session,
            now.since(record.lastSent) >= self.configuration.keepAliveInterval
        else { return [] }
        return [self.ping(name, session: session, now: now)]
    }

    /// An answer is overdue: the request is repeated a few times (a master answers it again with
    /// the same session), then the database pauses.
    private mutating func askAgain(
        _ name: String, _ record: Database, now: MonotonicInstant
    ) -> [Directive] {
        guard now.since(record.since) >= self.configuration.answerTimeout else { return [] }
        if case .probing(let reason) = record.state {
            return self.breakDatabase(name, reason, now: now)
        }
        self.databases[name]?.attempts += 1
        guard record.attempts + 1 < Self.requestAttempts else {
            return self.retry(name, "no answer to TrySync or DBSync", now: now)
        }
        self.databases[name]?.since = now
        return [
            record.state == .waitingForTrySync
                ? self.trySync(name, now: now) : self.dbSync(name, now: now)
        ]
    }

    /// How often TrySync or DBSync is sent before the database pauses.
    static let requestAttempts = 3
}

extension ReplicaSession.BrokenReason {
    /// The same with the master's end filled in.
    func naming(theirs: BinlogPosition?) -> Self {
        switch self {
        case .ownData(let ours, _): .ownData(ours: ours, theirs: theirs)
        case .otherHistory(let ours, _): .otherHistory(ours: ours, theirs: theirs)
        case .ahead(let ours, _): .ahead(ours: ours, theirs: theirs)
        case .refused(let text, let ours, _): .refused(text, ours: ours, theirs: theirs)
        case .authRefused, .metaSyncRefused, .ring, .databasesDiffer, .applyFailed, .copyFailed,
            .tooManyFailures:
            self
        }
    }
}
