public import SyncProtocol

extension ReplicaSession {
    /// Where a database is.
    public func state(of database: String) -> DatabaseState? {
        self.databases[database]?.state
    }

    /// The session that the master gave for a database.
    public func session(of database: String) -> SessionID? {
        self.databases[database]?.session
    }

    /// How far a database is with what it received.
    public func progress(of database: String) -> ReplicaProgress? {
        self.databases[database]?.progress
    }

    /// The last failure of a database since it last worked.
    public func lastFailure(of database: String) -> String? {
        self.databases[database]?.lastFailure
    }

    /// Takes what happened and says what is to be done.
    public mutating func handle(_ event: Event, now: MonotonicInstant) -> [Directive] {
        switch event {
        case .start(let force):
            return self.start(force: force, now: now)
        case .stop:
            return self.stop(now: now)
        case .connected(let localHost):
            return self.connected(localHost: localHost, now: now)
        case .disconnected(let reason):
            return self.disconnected(reason, now: now)
        case .malformedFrame(let reason):
            guard self.link == .handshake || self.link == .established else { return [] }
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        case .response(let response):
            return self.take(response, now: now)
        case .readingPaused(let isPaused):
            self.isReadingPaused = isPaused
            for name in self.databases.keys { self.databases[name]?.lastHeard = now }
            return []
        case .bytesArrived:
            self.lastBytes = now
            return []
        case .tick:
            return self.tick(now: now)
        case .keepAlive, .items, .local, .received, .durable, .applied, .sessionFailed,
            .applyFailed, .copyFinished, .copyFailed, .databaseAction:
            return self.handleDatabaseEvent(event, now: now)
        }
    }

    private mutating func start(force: Bool, now: MonotonicInstant) -> [Directive] {
        if force {
            for name in self.databases.keys { self.databases[name]?.force = true }
        }
        switch self.link {
        case .stopped, .broken, .pausing:
            self.linkBrokenReason = nil
            return self.connect(now: now)
        case .connecting, .handshake:
            return []
        case .established:
            // Again the same master: whatever works goes on (F23).
            return self.configuration.databases.flatMap { name -> [Directive] in
                guard let state = self.databases[name]?.state else { return [] }
                switch state {
                case .broken, .detached, .retrying:
                    return self.attach(name, now: now)
                case .needsMeta, .readingLocal, .waitingForTrySync, .probing,
                    .waitingForDBSync, .copying, .following:
                    return force ? self.attach(name, now: now) : []
                }
            }
        }
    }

    private mutating func connect(now: MonotonicInstant) -> [Directive] {
        self.link = .connecting
        self.since = now
        self.retryAt = .distantFuture
        return [.connect]
    }

    private mutating func stop(now: MonotonicInstant) -> [Directive] {
        var directives = self.stopCopies()
        if self.link == .connecting || self.link == .handshake || self.link == .established {
            directives.append(.disconnect("stopped"))
        }
        self.link = .stopped
        self.since = now
        self.forgetSessions(now: now)
        return directives + self.follow(.none)
    }

    private mutating func connected(localHost: String, now: MonotonicInstant) -> [Directive] {
        guard self.link == .connecting else { return [] }
        self.link = .handshake
        self.since = now
        self.localHost = localHost
        return [self.metaSync]
    }

    /// What the master calls us.
    var ownAddress: ReplicaAddress {
        ReplicaAddress(
            host: self.configuration.announcedHost ?? self.localHost,
            port: self.configuration.ownPort)
    }

    private var metaSync: Directive {
        let histories = self.configuration.databases.compactMap { name -> DatabaseHistory? in
            guard let local = self.databases[name]?.local, !local.history.isEmpty else {
                return nil
            }
            return DatabaseHistory(database: name, entries: local.history)
        }
        return .send(
            .metaSync(
                MetaSyncRequest(
                    replica: self.ownAddress, auth: self.configuration.auth,
                    peer: PeerInfo(histories: histories))))
    }

    private mutating func disconnected(_ reason: String, now: MonotonicInstant) -> [Directive] {
        switch self.link {
        case .connecting, .handshake, .established:
            break
        case .stopped, .pausing, .broken:
            return []
        }
        let directives = self.stopCopies()
        self.forgetSessions(now: now)
        self.lastFailure = reason
        self.link = .pausing
        self.since = now
        self.retryAt = now + self.reconnect.next()
        return directives + self.follow(.none) + [.report(database: nil, reason)]
    }

    private mutating func breakLink(
        _ reason: BrokenReason, now: MonotonicInstant
    ) -> [Directive] {
        let directives = self.stopCopies()
        self.forgetSessions(now: now)
        self.link = .broken
        self.linkBrokenReason = reason
        self.lastFailure = reason.description
        self.since = now
        return directives + self.follow(.none) + [
            .disconnect(reason.description), .report(database: nil, reason.description),
        ]
    }

    private func stopCopies() -> [Directive] {
        self.configuration.databases.compactMap { name in
            self.databases[name]?.state == .copying ? .stopCopy(database: name) : nil
        }
    }

    /// Without a connection there is no session; what is broken or detached stays so.
    private mutating func forgetSessions(now: MonotonicInstant) {
        for name in self.databases.keys {
            self.databases[name]?.session = nil
            self.databases[name]?.acknowledgements = AcknowledgementQueue()
            switch self.databases[name]?.state {
            case .broken, .detached, nil:
                break
            case .needsMeta, .readingLocal, .waitingForTrySync, .probing, .waitingForDBSync,
                .copying, .following, .retrying:
                self.databases[name]?.state = .needsMeta
                self.databases[name]?.since = now
            }
        }
        self.isReadingPaused = false
    }

    private mutating func take(
        _ response: ReplicationResponse, now: MonotonicInstant
    ) -> [Directive] {
        switch response {
        case .metaSync(let answer):
            return self.take(answer, now: now)
        case .trySync(let answer):
            guard self.link == .established else { return [] }
            return self.take(answer, now: now)
        case .dbSync(let answer):
            guard self.link == .established else { return [] }
            return self.take(answer, now: now)
        case .removeReplica:
            return []
        case .binlogSync(let batch):
            // The shell reads items in place; tests and the simulation may hand them in whole.
            return batch.chips.flatMap { chip -> [Directive] in
                let event: Event =
                    chip.isKeepAlive
                    ? .keepAlive(database: chip.database, session: chip.session)
                    : .items(
                        Items(
                            database: chip.database, session: chip.session, first: chip.end,
                            last: chip.end))
                return self.handleDatabaseEvent(event, now: now)
            }
        }
    }

    private mutating func take(
        _ answer: MetaSyncResponse, now: MonotonicInstant
    ) -> [Directive] {
        if self.link == .established { return self.takeChain(answer, now: now) }
        guard self.link == .handshake else { return [] }
        switch answer.status {
        case .other:
            // The master still has our former connection: it goes by itself, so ask again.
            let reason = answer.reply ?? "the master is not ready for us"
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        case .error:
            let text = answer.reply ?? "no reason given"
            return self.breakLink(
                text.lowercased().contains("auth") ? .authRefused(text) : .metaSyncRefused(text),
                now: now)
        case .ok:
            guard let info = answer.master else {
                let reason = "MetaSync was accepted without a description of the master"
                return [.disconnect(reason)] + self.disconnected(reason, now: now)
            }
            return self.establish(info, now: now)
        }
    }

    private mutating func establish(_ info: MasterInfo, now: MonotonicInstant) -> [Directive] {
        let theirs = info.databases.map(\.name)
        guard Set(theirs) == Set(self.configuration.databases),
            theirs.count == self.configuration.databases.count
        else {
            return self.breakLink(
                .databasesDiffer(master: theirs, ours: self.configuration.databases), now: now)
        }
        let chain = UpstreamChain(master: self.configuration.master, peer: info.peer)
        if let own = self.configuration.nodeID, let ring = chain.ring(through: own) {
            return self.breakLink(.ring(ring.map(\.address)), now: now)
        }
        let master = KnownMaster(
            address: self.configuration.master, runID: info.runID,
            replicationID: info.replicationID, isPeer: info.peer != nil)
        self.master = master
        self.capabilities = info.peer?.capabilities ?? []
        self.fileToken = info.fileToken
        self.link = .established
        self.since = now
        self.reconnect.reset()
        self.lastFailure = nil
        return [.adopt(master)] + self.follow(chain)
            + self.configuration.databases.flatMap { name -> [Directive] in
                switch self.databases[name]?.state {
                case .broken, .detached, nil:
                    return []
                case .needsMeta, .readingLocal, .waitingForTrySync, .probing,
                    .waitingForDBSync, .copying, .following, .retrying:
                    return self.readLocal(name, now: now)
                }
            }
    }

    /// MetaSync answered again: the servers above our master changed.
    private mutating func takeChain(
        _ answer: MetaSyncResponse, now: MonotonicInstant
    ) -> [Directive] {
        guard answer.status == .ok, let info = answer.master else { return [] }
        let chain = UpstreamChain(master: self.configuration.master, peer: info.peer)
        guard let own = self.configuration.nodeID, let ring = chain.ring(through: own) else {
            return self.follow(chain)
        }
        if UpstreamChain.leaves(own, ring: ring) {
            return self.breakLink(.ring(ring.map(\.address)), now: now)
        }
        // Another one leaves: it has to learn of all of us.
        return self.follow(chain.cut(at: own))
    }

    private mutating func follow(_ chain: UpstreamChain) -> [Directive] {
        guard chain != self.upstreams else { return [] }
        self.upstreams = chain
        return [.announce(chain)]
    }

    private mutating func tick(now: MonotonicInstant) -> [Directive] {
        switch self.link {
        case .stopped, .broken:
            return []
        case .pausing:
            return now >= self.retryAt ? self.connect(now: now) : []
        case .connecting:
            guard now.since(self.since) >= self.configuration.connectTimeout else { return [] }
            let reason = "no connection to \(self.configuration.master) within the time-out"
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        case .handshake:
            guard now.since(self.since) >= self.configuration.answerTimeout else { return [] }
            let reason = "no answer to MetaSync within the time-out"
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        case .established:
            return self.configuration.databases.flatMap { self.tick($0, now: now) }
        }
    }
}

extension ReplicaSession.BrokenReason: CustomStringConvertible {
    /// A sentence for operators, without a final stop.
    public var description: String {
        func named(_ ours: BinlogPosition, _ theirs: BinlogPosition?) -> String {
            "our binlog ends at \(ours), the master's "
                + (theirs.map { "at \($0)" } ?? "at an unknown position")
        }
        switch self {
        case .authRefused(let text):
            return "the master refused masterauth: \(text)"
        case .metaSyncRefused(let text):
            return "the master refused MetaSync: \(text)"
        case .ring(let nodes):
            return "the master follows this server: "
                + nodes.map { "\($0)" }.joined(separator: " <- ")
                + " is a ring, in which nobody writes; SLAVEOF NO ONE at one of them opens it"
        case .databasesDiffer(let master, let ours):
            return "the master has the databases \(master.joined(separator: " ")), we have "
                + ours.joined(separator: " ")
        case .ownData(let ours, let theirs):
            return "this server holds writes of its own that the master may lack ("
                + named(ours, theirs) + "); SLAVEOF with FORCE replaces them by a copy"
        case .otherHistory(let ours, let theirs):
            return "the data here belong to another data set than the master's ("
                + named(ours, theirs) + "); SLAVEOF with FORCE replaces them by a copy"
        case .ahead(let ours, let theirs):
            return "this server is ahead of the master (" + named(ours, theirs)
                + "); SLAVEOF with FORCE drops what the master lacks"
        case .refused(let text, let ours, let theirs):
            return "the master refused to go on from our position: \(text) ("
                + named(ours, theirs) + ")"
        case .applyFailed(let text):
            return "an item of the binlog can't be applied: \(text)"
        case .copyFailed(let text):
            return "the full copy failed: \(text)"
        case .tooManyFailures(let text):
            return "gave up after too many failures: \(text)"
        }
    }
}
