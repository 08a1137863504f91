import NIOCore
import ReplicationCore
import SyncProtocol

/// What a node does as a replica: the shell around ReplicaSession.
final class ReplicaShell {
    private unowned let node: Node
    private let world: World
    let master: Node
    private(set) var machine: ReplicaSession
    private var link: Link?
    private var frames = FrameBuffer(.replicationResponse)
    private var known: KnownMaster?
    private var copies: [String: CopyShell] = [:]
    /// The run of items that the machine is being told of.
    private var incoming: [BinlogChip] = []
    private let generation: Int
    private(set) var isStopped = false
    private(set) var reports: [String] = []

    var masterName: String { master.name }

    init(_ node: Node, master: Node) {
        self.node = node
        self.master = master
        world = node.world
        generation = node.generation
        machine = ReplicaSession(
            ReplicaSession.Configuration(
                master: master.address, ownPort: node.address.port,
                announcedHost: node.address.host, databases: World.databases), now: world.now)
    }

    private var isCurrent: Bool { !isStopped && node.isUp && node.generation == generation }

    func later(_ delay: Duration, _ action: @escaping () -> Void) {
        world.after(delay) { [self] in if isCurrent { action() } }
    }

    func start(force: Bool) { handle(.start(force: force)) }

    func stop() {
        handle(.stop)
        isStopped = true
        for copy in copies.values { copy.stop() }
        copies = [:]
    }

    func tick() {
        handle(.tick)
        for database in World.databases { copies[database]?.tick() }
    }

    func act(_ database: String, _ action: ReplicaSession.DatabaseAction) {
        handle(.databaseAction(database: database, action))
    }

    func handle(_ event: ReplicaSession.Event) {
        guard isCurrent else { return }
        for directive in machine.handle(event, now: world.now) { perform(directive) }
    }

    // MARK: Connection

    private func receive(_ bytes: ByteBuffer) {
        frames.append(bytes)
        do throws(WireError) {
            while link != nil, let body = try frames.next() {
                switch try ReplicationCodec.decodeResponse(body) {
                case .control(let response): handle(.response(response))
                case .batch(let batch): take(batch.owned)
                }
            }
        } catch {
            world.fault("\(node.name) got \(error)")
            handle(.malformedFrame("\(error)"))
        }
    }

    private func take(_ batch: BinlogSyncResponse) {
        var rest = batch.chips[...]
        while let first = rest.first {
            if first.isKeepAlive {
                rest = rest.dropFirst()
                handle(.keepAlive(database: first.database, session: first.session))
                continue
            }
            let run = rest.prefix {
                !$0.isKeepAlive && $0.database == first.database && $0.session == first.session
            }
            rest = rest.dropFirst(run.count)
            incoming = Array(run)
            guard let last = run.last else { return }
            handle(
                .items(
                    ReplicaSession.Items(
                        database: first.database, session: first.session, first: first.end,
                        last: last.end)))
            incoming = []
        }
    }

    private func connect() {
        world.connect(from: node, to: master, service: .replication) { [self] link in
            guard isCurrent else {
                link?.close(from: .client, "too late")
                return
            }
            guard let link else {
                handle(.disconnected("connection refused"))
                return
            }
            self.link = link
            frames = FrameBuffer(.replicationResponse)
            link.listen(
                .client,
                Link.Handlers(
                    bytes: { [unowned self] in receive($0) },
                    closed: { [unowned self, unowned link] reason in
                        guard self.link === link else { return }
                        self.link = nil
                        handle(.disconnected(reason))
                    }))
            handle(.connected(localHost: node.address.host))
        }
    }

    // MARK: Directives

    private func perform(_ directive: ReplicaSession.Directive) {
        switch directive {
        case .connect: connect()
        case .disconnect(let reason):
            link?.close(from: .client, reason)
            link = nil
        case .send(let request):
            var buffer = ByteBuffer()
            ReplicationCodec.encode(request, into: &buffer)
            link?.send(buffer, from: .client)
        case .adopt(let known): self.known = known
        case .announce: break
        case .readLocal(let database): readLocal(database)
        case .discardCopy(let database):
            stopCopy(database)
            let disk = node.disk(database)
            disk.staged = [:]
            disk.resume = SimulatedResume(phase: .none, master: disk.resume.master)
        case .startCopy(let database, let order):
            stopCopy(database)
            let copy = CopyShell(self, node, database, order)
            copies[database] = copy
            copy.begin()
        case .stopCopy(let database): stopCopy(database)
        case .beginFollowing(let database, _, let history, _):
            let disk = node.disk(database)
            disk.resume = SimulatedResume(phase: .following, master: known)
            disk.staged = [:]
            disk.hasOwnItems = false
            adopt(history, disk)
        case .apply(let database): apply(database)
        case .report(let database, let text):
            if reports.count < 1_000 {
                reports.append("\(world.seconds) \(database ?? "-") \(text)")
            }
        }
    }

    /// Takes over the master's history.
    ///
    /// Replicas of this node learn of a change only by TrySync, so their sessions end.
    private func adopt(_ history: [HistoryEntry], _ disk: DatabaseDisk) {
        guard !history.isEmpty, history != disk.log.history.entries else { return }
        disk.log.history = History(entries: history)
        node.master?.dropAll("another history")
    }

    private func stopCopy(_ database: String) {
        copies.removeValue(forKey: database)?.stop()
    }

    private func readLocal(_ database: String) {
        stopCopy(database)
        later(world.random.milliseconds(0...20)) { [self] in
            let disk = node.disk(database)
            let log = disk.log
            var copy: LocalDatabase.UnfinishedCopy?
            if disk.resume.phase == .copying, let master = disk.resume.master {
                copy = LocalDatabase.UnfinishedCopy(
                    master: master, snapshotID: disk.resume.manifest?.id,
                    position: disk.resume.position)
            }
            let origin: LocalDatabase.Origin
            if disk.hasOwnItems {
                origin = .own
            } else if log.end.position == .zero, disk.resume.phase != .following {
                // (A copy of an empty master is not pristine: it would be copied for ever.)
                origin = .pristine
            } else {
                origin = .received(from: disk.resume.master)
            }
            handle(
                .local(
                    database: database,
                    LocalDatabase(
                        end: log.end.position, digest: log.end.digest,
                        history: log.claimedHistory, endsInsideGroup: log.endsInsideGroup,
                        origin: origin, unfinishedCopy: copy)))
        }
    }

    private func apply(_ database: String) {
        let disk = node.disk(database)
        for chip in incoming {
            guard disk.log.append(chip.item, endingAt: chip.end.position) else {
                handle(
                    .sessionFailed(
                        database: database, "an item ends at \(chip.end.position) instead"))
                return
            }
        }
        let applied = disk.log.applied
        if disk.log.appliedCount > 0, world.reference[applied.digest] != disk.log.state.hash {
            world.fault(
                "\(node.name) \(database): other data than a master's at \(applied.position)")
        }
        handle(.received(database: database, disk.log.end.position))
        handle(.applied(database: database, applied.position))
        node.sync(database) { [self] in
            handle(.durable(database: database, node.disk(database).log.durable))
            node.master?.logMoved(database)
        }
    }

    // MARK: Copies

    func copyFinished(_ database: String) {
        copies[database] = nil
        node.master?.dropAll("full copy")
        handle(.copyFinished(database: database))
    }

    func copyFailed(_ database: String, _ reason: String, madeProgress: Bool) {
        copies[database] = nil
        handle(.copyFailed(database: database, reason, madeProgress: madeProgress))
    }
}
