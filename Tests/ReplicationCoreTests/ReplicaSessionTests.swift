import ReplicationCore
import SyncProtocol
import Testing

/// A session with one or two databases and the events of a usual life.
struct SessionBench {
    var session: ReplicaSession
    static let master = ReplicaAddress(host: "10.0.0.1", port: 9221)
    static let own = ReplicaAddress(host: "10.0.0.2", port: 9231)
    static let known = KnownMaster(address: master, runID: runID("a"))

    init(databases: [String] = ["db0"]) {
        self.session = ReplicaSession(
            ReplicaSession.Configuration(
                master: Self.master, ownPort: 9231, auth: "secret", databases: databases),
            now: seconds(0))
    }

    @discardableResult
    mutating func feed(
        _ event: ReplicaSession.Event, at time: Double = 0
    ) -> [ReplicaSession.Directive] {
        self.session.handle(event, now: seconds(time))
    }

    func info(
        databases: [String] = ["db0"], runID id: RunID? = runID("a"),
        replicationID: ReplicationID? = nil, peer: PeerInfo? = nil
    ) -> ReplicaSession.Event {
        .response(
            .metaSync(
                MetaSyncResponse(
                    status: .ok,
                    master: MasterInfo(
                        databases: databases.map { DatabaseInfo(name: $0) }, runID: id,
                        replicationID: replicationID, peer: peer))))
    }

    func trySync(
        _ code: TrySyncCode, database: String = "db0", session: Int32? = 7,
        end: BinlogPosition = at(3, 500)
    ) -> ReplicaSession.Event {
        .response(
            .trySync(
                TrySyncResponse(
                    status: .ok,
                    verdict: TrySyncVerdict(
                        code: code, database: database, masterEnd: BinlogOffset(end),
                        session: session.map { SessionID(rawValue: $0) }))))
    }

    func local(_ origin: LocalDatabase.Origin = .received(from: known)) -> LocalDatabase {
        LocalDatabase(end: at(3, 100), digest: 9, origin: origin)
    }

    mutating func establish(peer: PeerInfo? = nil, databases: [String] = ["db0"]) {
        self.feed(.start(force: false))
        self.feed(.connected(localHost: "10.0.0.2"))
        self.feed(self.info(databases: databases, peer: peer))
    }

    mutating func follow(peer: PeerInfo? = nil) {
        self.establish(peer: peer)
        self.feed(.local(database: "db0", self.local()))
        self.feed(self.trySync(.ok))
    }
}

func offset(_ file: UInt32, _ place: UInt64, index: UInt64 = 0) -> BinlogOffset {
    BinlogOffset(at(file, place), logicID: LogicID(term: 0, index: index))
}

/// Source: pika v3.5.0 src/pika_rm.cc RunSyncSlaveSlotStateMachine; spec replication-protocol 10.
@Suite("Replica session")
struct ReplicaSessionTests {
    @Test("SLAVEOF connects, says MetaSync, looks at what is here, asks to follow")
    func handshake() {
        var bench = SessionBench()
        #expect(bench.feed(.start(force: false)) == [.connect])
        let hello = bench.feed(.connected(localHost: "10.0.0.2"))
        #expect(
            hello == [
                .send(
                    .metaSync(
                        MetaSyncRequest(
                            replica: SessionBench.own, auth: "secret", peer: PeerInfo())))
            ])
        #expect(
            bench.feed(bench.info())
                == [.adopt(SessionBench.known), .readLocal(database: "db0")])
        #expect(
            bench.feed(.local(database: "db0", bench.local())) == [
                .send(
                    .trySync(
                        TrySyncRequest(
                            replica: SessionBench.own, database: "db0",
                            end: BinlogOffset(at(3, 100)))))
            ])
        let begin = bench.feed(bench.trySync(.ok))
        let start = offset(3, 100)
        #expect(
            begin == [
                .beginFollowing(
                    database: "db0", session: SessionID(rawValue: 7), history: [],
                    typedFlush: []),
                .send(
                    .binlogSync(
                        BinlogAck(
                            replica: SessionBench.own, database: "db0", start: start, end: start,
                            session: SessionID(rawValue: 7), isFirst: true))),
            ])
        #expect(bench.session.state(of: "db0") == .following)
    }

    @Test("One of ours gets history, digest and the group's state with TrySync")
    func claim() {
        var bench = SessionBench()
        bench.establish(peer: PeerInfo())
        let directives = bench.feed(.local(database: "db0", bench.local()))
        guard case .send(.trySync(let request)) = directives.first else {
            Issue.record("no TrySync: \(directives)")
            return
        }
        #expect(request.claim?.digest == 9)
    }

    @Test("The master hears of items only after they are on the disk, each once")
    func acknowledgements() {
        var bench = SessionBench()
        bench.follow()
        let id = SessionID(rawValue: 7)
        func items(_ first: BinlogOffset, _ last: BinlogOffset) -> ReplicaSession.Event {
            .items(.init(database: "db0", session: id, first: first, last: last))
        }
        #expect(
            bench.feed(items(offset(3, 150, index: 1), offset(3, 200, index: 2)))
                == [.apply(database: "db0")])
        bench.feed(items(offset(3, 250, index: 3), offset(3, 300, index: 4)))
        #expect(bench.feed(.durable(database: "db0", at(3, 180))).isEmpty)
        let ack = bench.feed(.durable(database: "db0", at(3, 320)))
        #expect(
            ack == [
                .send(
                    .binlogSync(
                        BinlogAck(
                            replica: SessionBench.own, database: "db0",
                            start: offset(3, 150, index: 1), end: offset(3, 300, index: 4),
                            session: id, isFirst: false)))
            ])
        #expect(bench.feed(.durable(database: "db0", at(3, 320))).isEmpty)
    }

    @Test("A keep-alive is answered, with the three positions to one of ours")
    func keepAlive() {
        var bench = SessionBench()
        bench.follow(peer: PeerInfo())
        bench.feed(.received(database: "db0", at(3, 900)))
        bench.feed(.applied(database: "db0", at(3, 800)))
        bench.feed(.durable(database: "db0", at(3, 700)))
        let ping = bench.feed(.keepAlive(database: "db0", session: SessionID(rawValue: 7)))
        guard case .send(.binlogSync(let ack)) = ping.first else {
            Issue.record("no answer: \(ping)")
            return
        }
        #expect(ack.isPing)
        #expect(
            ack.progress
                == ReplicaProgress(received: at(3, 900), durable: at(3, 700), applied: at(3, 800)))
    }

    @Test("Keep-alives of another session are not answered")
    func foreignKeepAlive() {
        var bench = SessionBench()
        bench.follow()
        let event = ReplicaSession.Event.keepAlive(
            database: "db0", session: SessionID(rawValue: 8))
        #expect(bench.feed(event).isEmpty)
    }

    @Test("The log is purged: a full copy, then following from its position")
    func purged() {
        var bench = SessionBench()
        bench.establish()
        bench.feed(.local(database: "db0", bench.local()))
        let ask = bench.feed(bench.trySync(.syncPointPurged, session: nil))
        #expect(
            ask == [
                .send(
                    .dbSync(
                        DBSyncRequest(
                            replica: SessionBench.own, database: "db0",
                            end: BinlogOffset(at(3, 100)))))
            ])
        let grant = DBSyncGrant(database: "db0", session: SessionID(rawValue: 3))
        let start = bench.feed(.response(.dbSync(DBSyncResponse(status: .ok, grant: grant))))
        guard case .startCopy(let name, let order) = start.first else {
            Issue.record("no copy: \(start)")
            return
        }
        #expect(name == "db0")
        #expect(order.session == SessionID(rawValue: 3))
        #expect(bench.session.state(of: "db0") == .copying)
        // Keep-alives are answered during the copy.
        let ping = bench.feed(.keepAlive(database: "db0", session: SessionID(rawValue: 3)))
        #expect(ping.count == 1)
        #expect(bench.feed(.copyFinished(database: "db0")) == [.readLocal(database: "db0")])
    }

    @Test("A copy from a real Pika is asked for with the file number of the dump it was of")
    func dumpFileNumber() {
        var bench = SessionBench()
        bench.establish()
        var local = bench.local(.pristine)
        local.unfinishedCopy = LocalDatabase.UnfinishedCopy(
            master: SessionBench.known, snapshotID: snapshotID("u"), position: at(12, 44))
        let directives = bench.feed(.local(database: "db0", local))
        #expect(
            directives == [
                .send(
                    .dbSync(
                        DBSyncRequest(
                            replica: SessionBench.own, database: "db0",
                            end: BinlogOffset(at(12, 44)))))
            ])
    }

    @Test("F23: SLAVEOF of the same master again changes nothing")
    func sameMasterAgain() {
        var bench = SessionBench()
        bench.follow()
        #expect(bench.feed(.start(force: false)).isEmpty)
        #expect(bench.session.state(of: "db0") == .following)
        #expect(bench.feed(.start(force: true)) == [.readLocal(database: "db0")])
    }

    @Test("A replica that is ahead is refused with both positions named")
    func ahead() {
        var bench = SessionBench()
        bench.establish()
        bench.feed(.local(database: "db0", bench.local()))
        bench.feed(bench.trySync(.syncPointLarger, session: nil, end: at(2, 50)))
        #expect(
            bench.session.state(of: "db0")
                == .broken(.ahead(ours: at(3, 100), theirs: at(2, 50))))
        let text = bench.session.lastFailure(of: "db0") ?? ""
        #expect(text.contains("3:100"))
        #expect(text.contains("2:50"))
    }

    @Test("Own writes: the master's end is asked for, then both are named")
    func ownWrites() {
        var bench = SessionBench()
        bench.establish()
        let probe = bench.feed(.local(database: "db0", bench.local(.own)))
        guard case .send(.trySync(let request)) = probe.first else {
            Issue.record("no probe: \(probe)")
            return
        }
        #expect(request.end.position.fileNumber == .max)
        bench.feed(bench.trySync(.syncPointLarger, session: nil, end: at(8, 1)))
        #expect(
            bench.session.state(of: "db0")
                == .broken(.ownData(ours: at(3, 100), theirs: at(8, 1))))
    }

    @Test("A probe without an answer ends in the refusal all the same")
    func silentProbe() {
        var bench = SessionBench()
        bench.establish()
        bench.feed(.local(database: "db0", bench.local(.own)))
        bench.feed(.tick, at: 11)
        #expect(
            bench.session.state(of: "db0")
                == .broken(.ownData(ours: at(3, 100), theirs: nil)))
    }

    @Test("A wrong password stops the link until an operator acts")
    func wrongPassword() {
        var bench = SessionBench()
        bench.feed(.start(force: false))
        bench.feed(.connected(localHost: "10.0.0.2"))
        bench.feed(
            .response(
                .metaSync(
                    MetaSyncResponse(
                        status: .error, reply: "Auth with master error, Invalid masterauth"))))
        #expect(bench.session.link == .broken)
        #expect(bench.feed(.tick, at: 100).isEmpty)
        #expect(bench.feed(.start(force: false), at: 101) == [.connect])
    }

    @Test("\"Slave AlreadyExist\" is asked again after a pause, on a new connection")
    func alreadyExists() {
        var bench = SessionBench()
        bench.feed(.start(force: false))
        bench.feed(.connected(localHost: "10.0.0.2"))
        bench.feed(
            .response(.metaSync(MetaSyncResponse(status: .other, reply: "Slave AlreadyExist"))))
        #expect(bench.session.link == .pausing)
        #expect(bench.feed(.tick, at: 0.1).isEmpty)
        #expect(bench.feed(.tick, at: 0.3) == [.connect])
    }

    @Test("Sets of databases that differ stop the link")
    func databasesDiffer() {
        var bench = SessionBench()
        bench.feed(.start(force: false))
        bench.feed(.connected(localHost: "10.0.0.2"))
        bench.feed(bench.info(databases: ["db0", "db1"]))
        #expect(
            bench.session.linkBrokenReason
                == .databasesDiffer(master: ["db0", "db1"], ours: ["db0"]))
    }

    @Test("Every wait for the master has a time-out")
    func timeouts() {
        var connecting = SessionBench()
        connecting.feed(.start(force: false))
        connecting.feed(.tick, at: 6)
        #expect(connecting.session.link == .pausing)

        var handshake = SessionBench()
        handshake.feed(.start(force: false))
        handshake.feed(.connected(localHost: "h"))
        handshake.feed(.tick, at: 11)
        #expect(handshake.session.link == .pausing)

        var trySync = SessionBench()
        trySync.establish()
        trySync.feed(.local(database: "db0", trySync.local()))
        for round in 1...2 {
            #expect(trySync.feed(.tick, at: Double(round) * 11).count == 1)
        }
        trySync.feed(.tick, at: 33)
        #expect(trySync.session.state(of: "db0") == .retrying)

        var dbSync = SessionBench()
        dbSync.establish()
        dbSync.feed(.local(database: "db0", dbSync.local(.pristine)))
        for round in 1...3 { dbSync.feed(.tick, at: Double(round) * 11) }
        #expect(dbSync.session.state(of: "db0") == .retrying)
    }

    @Test("20 s of silence: a new TrySync from the end of the own log")
    func silence() {
        var bench = SessionBench()
        bench.follow()
        bench.feed(.keepAlive(database: "db0", session: SessionID(rawValue: 7)))
        bench.feed(.tick, at: 19)
        #expect(bench.session.state(of: "db0") == .following)
        bench.feed(.tick, at: 21)
        #expect(bench.session.state(of: "db0") == .retrying)
        #expect(bench.feed(.tick, at: 22) == [.readLocal(database: "db0")])
    }

    @Test("A real Pika that says nothing at all behind the first BinlogSync is asked again soon")
    func firstSign() {
        func state(peer: PeerInfo? = nil, _ time: Double, _ signs: [ReplicaSession.Event]) -> Bool {
            var bench = SessionBench()
            bench.follow(peer: peer)
            for sign in signs { bench.feed(sign, at: 2) }
            bench.feed(.tick, at: time)
            return bench.session.state(of: "db0") == .following
        }
        let session = SessionID(rawValue: 7)
        let items = ReplicaSession.Items(
            database: "db0", session: session, first: offset(3, 200), last: offset(3, 200))
        #expect(state(3.9, []) && !state(4, []))
        // Half a message, a sign of life, items.
        #expect(state(5.9, [.bytesArrived]) && !state(6, [.bytesArrived]))
        #expect(state(21, [.keepAlive(database: "db0", session: session)]))
        #expect(state(21, [.items(items)]))
        // One of ours may hold its first items back, as its limit of bandwidth has it.
        #expect(state(peer: PeerInfo(), 19, []) && !state(peer: PeerInfo(), 20, []))
    }

    @Test("Reading that we paused ourselves is no silence of the master")
    func pausedReading() {
        var bench = SessionBench()
        bench.follow()
        bench.feed(.readingPaused(true), at: 1)
        let signs = bench.feed(.tick, at: 60)
        #expect(bench.session.state(of: "db0") == .following)
        guard case .send(.binlogSync(let ack)) = signs.first else {
            Issue.record("no sign of life: \(signs)")
            return
        }
        #expect(ack.isPing)
    }

    @Test("Failures without progress are bounded, with growing pauses")
    func boundedRetries() {
        var bench = SessionBench()
        bench.establish()
        var time = 0.0
        var rounds = 0
        while rounds < 100 {
            bench.feed(.local(database: "db0", bench.local(.pristine)), at: time)
            bench.feed(
                .response(
                    .dbSync(
                        DBSyncResponse(
                            status: .error, reply: "no",
                            grant: DBSyncGrant(
                                database: "db0", session: SessionID(rawValue: -1))))), at: time)
            if case .broken = bench.session.state(of: "db0") { break }
            #expect(bench.session.state(of: "db0") == .retrying)
            #expect(bench.feed(.tick, at: time + 0.01).isEmpty)
            time += 61
            bench.feed(.tick, at: time)
            rounds += 1
        }
        #expect(rounds == bench.session.configuration.maxFailures)
    }

    @Test("F10: what fails with one database leaves the others alone")
    func isolation() {
        var bench = SessionBench(databases: ["db0", "db1"])
        bench.establish(databases: ["db0", "db1"])
        for name in ["db0", "db1"] {
            bench.feed(.local(database: name, bench.local()))
            bench.feed(bench.trySync(.ok, database: name))
        }
        bench.feed(.applyFailed(database: "db0", "unknown item xadd at 3:200"))
        #expect(
            bench.session.state(of: "db0")
                == .broken(.applyFailed("unknown item xadd at 3:200")))
        #expect(bench.session.state(of: "db1") == .following)
        #expect(bench.session.link == .established)
    }

    @Test("A lost connection stops copies, keeps broken ones broken, and comes back by itself")
    func lostConnection() {
        var bench = SessionBench(databases: ["db0", "db1"])
        bench.establish(databases: ["db0", "db1"])
        bench.feed(.local(database: "db0", bench.local(.pristine)))
        bench.feed(
            .response(
                .dbSync(
                    DBSyncResponse(
                        status: .ok,
                        grant: DBSyncGrant(database: "db0", session: SessionID(rawValue: 1))))))
        bench.feed(.applyFailed(database: "db1", "x"))
        let directives = bench.feed(.disconnected("reset"), at: 1)
        #expect(directives.contains(.stopCopy(database: "db0")))
        #expect(bench.session.state(of: "db0") == .needsMeta)
        #expect(bench.session.state(of: "db1") == .broken(.applyFailed("x")))
        #expect(bench.feed(.tick, at: 1.3) == [.connect])
    }

    @Test("Items outside a session are dropped, of a wrong one end it")
    func strayItems() {
        var bench = SessionBench()
        bench.establish()
        let stray = ReplicaSession.Event.items(
            .init(
                database: "db0", session: SessionID(rawValue: 9), first: offset(1, 1),
                last: offset(1, 1)))
        #expect(bench.feed(stray).isEmpty)
        bench.follow()
        bench.feed(.local(database: "db0", bench.local()))
        bench.feed(bench.trySync(.ok))
        #expect(!bench.feed(stray).contains(.apply(database: "db0")))
        #expect(bench.session.state(of: "db0") == .retrying)
    }

    @Test("A refusal counts when the same position is refused twice")
    func refusedTwice() {
        var bench = SessionBench()
        bench.establish()
        bench.feed(.local(database: "db0", bench.local()))
        bench.feed(bench.trySync(.error, session: nil))
        #expect(bench.session.state(of: "db0") == .retrying)
        bench.feed(.tick, at: 1)
        bench.feed(.local(database: "db0", bench.local()), at: 1)
        bench.feed(bench.trySync(.error, session: nil), at: 1)
        guard case .broken(.refused(_, let ours, let theirs)) = bench.session.state(of: "db0")
        else {
            Issue.record("\(String(describing: bench.session.state(of: "db0")))")
            return
        }
        #expect(ours == at(3, 100))
        #expect(theirs == at(3, 500))
    }

    @Test("DBSLAVEOF NO ONE says goodbye; DBSLAVEOF comes back; FORCE copies")
    func databaseActions() {
        var bench = SessionBench()
        bench.follow()
        let goodbye = bench.feed(.databaseAction(database: "db0", .detach))
        #expect(
            goodbye == [
                .send(
                    .removeReplica(
                        RemoveReplicaRequest(replica: SessionBench.own, database: "db0")))
            ])
        #expect(bench.session.state(of: "db0") == .detached)
        #expect(
            bench.feed(.databaseAction(database: "db0", .attach))
                == [.readLocal(database: "db0")])
        bench.feed(.databaseAction(database: "db0", .copyAnew))
        let ask = bench.feed(.local(database: "db0", bench.local()))
        guard case .send(.dbSync) = ask.last else {
            Issue.record("no DBSync: \(ask)")
            return
        }
    }

    @Test("F24: SLAVEOF NO ONE works from every state")
    func stopEverywhere() {
        var benches = [SessionBench()]
        var bench = SessionBench()
        bench.feed(.start(force: false))
        benches.append(bench)
        bench.feed(.connected(localHost: "h"))
        benches.append(bench)
        bench.feed(bench.info())
        benches.append(bench)
        bench.feed(.local(database: "db0", bench.local()))
        benches.append(bench)
        bench.feed(bench.trySync(.ok))
        benches.append(bench)
        bench.feed(.disconnected("x"))
        benches.append(bench)
        for index in benches.indices {
            benches[index].feed(.stop)
            #expect(benches[index].session.link == .stopped)
            #expect(benches[index].feed(.tick, at: 100).isEmpty)
        }
    }

    @Test("A hostile frame closes the connection, and only it")
    func hostileFrame() {
        var bench = SessionBench()
        bench.follow()
        let directives = bench.feed(.malformedFrame("empty frame"))
        #expect(directives.contains(.disconnect("empty frame")))
        #expect(bench.session.link == .pausing)
    }
}
