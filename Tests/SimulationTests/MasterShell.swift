import NIOCore
import RateLimit
import ReplicationCore
import SyncProtocol

/// What a node does for its replicas: the shell around MasterSession and SnapshotSender.
final class MasterShell {
    private struct Key: Hashable {
        var address: ReplicaAddress
        var database: String
    }

    private final class Peer {
        let link: Link
        var frames = FrameBuffer(.replicationRequest)
        var address: ReplicaAddress?

        init(_ link: Link) { self.link = link }
    }

    private final class Conversation {
        var machine: MasterSession
        unowned let peer: Peer
        var encoder: BinlogSyncEncoder

        init(_ machine: MasterSession, _ peer: Peer, _ database: String) {
            self.machine = machine
            self.peer = peer
            encoder = BinlogSyncEncoder(database: database, session: machine.id)
        }
    }

    private unowned let node: Node
    private let world: World
    private var peers: [Peer] = []
    private var conversations: [Key: Conversation] = [:]
    private var nextSession: [String: Int32] = [:]
    private var leases = PurgeLeases()
    private(set) var fileShells: [FileShell] = []
    let token: [UInt8]

    init(_ node: Node) {
        self.node = node
        world = node.world
        token = (0..<16).map { _ in UInt8.random(in: 0...255, using: &node.world.random) }
    }

    // MARK: Connections

    func accept(_ link: Link) {
        let peer = Peer(link)
        peers.append(peer)
        link.listen(
            .server,
            Link.Handlers(
                bytes: { [unowned self, unowned peer] in receive($0, from: peer) },
                closed: { [unowned self, unowned peer] _ in lost(peer) }))
    }

    func acceptFiles(_ link: Link) {
        fileShells.append(FileShell(self, node, link))
    }

    func remove(_ shell: FileShell) { fileShells.removeAll { $0 === shell } }

    func dropAll(_ reason: String) {
        for peer in peers { peer.link.close(from: .server, reason) }
        let old = peers
        peers = []
        for peer in old { lost(peer) }
        for shell in fileShells { shell.close(reason) }
        fileShells = []
    }

    private func lost(_ peer: Peer) {
        peers.removeAll { $0 === peer }
        for (key, conversation) in sorted() where conversation.peer === peer {
            perform(conversation.machine.handle(.connectionLost, now: world.now), key, conversation)
        }
    }

    private func sorted() -> [(Key, Conversation)] {
        conversations.sorted {
            ($0.key.address.host, $0.key.database) < ($1.key.address.host, $1.key.database)
        }.map { ($0.key, $0.value) }
    }

    private func receive(_ bytes: ByteBuffer, from peer: Peer) {
        peer.frames.append(bytes)
        do throws(WireError) {
            while let body = try peer.frames.next() {
                take(try ReplicationCodec.decodeRequest(body), from: peer)
            }
        } catch {
            world.fault("\(node.name) got \(error)")
            peer.link.close(from: .server, "\(error)")
            lost(peer)
        }
    }

    private func send(_ response: ReplicationResponse, to peer: Peer) {
        var buffer = ByteBuffer()
        ReplicationCodec.encode(response, into: &buffer)
        peer.link.send(buffer, from: .server)
    }

    // MARK: Requests

    private func take(_ request: ReplicationRequest, from peer: Peer) {
        switch request {
        case .metaSync(let request): take(request, from: peer)
        case .trySync(let request): take(request, from: peer)
        case .dbSync(let request): take(request, from: peer)
        case .binlogSync(let ack): take(ack)
        case .removeReplica(let request):
            let key = Key(address: request.replica, database: request.database)
            if let conversation = conversations[key] {
                perform(conversation.machine.handle(.removed, now: world.now), key, conversation)
            }
            leases.release(.replica(request.replica), database: request.database)
            send(
                .removeReplica(
                    RemoveReplicaResponse(
                        status: .ok, master: node.address, database: request.database)), to: peer)
        }
    }

    private func take(_ request: MetaSyncRequest, from peer: Peer) {
        for older in peers where older !== peer && older.address == request.replica {
            older.link.close(from: .server, "replaced")
            lost(older)
        }
        peer.address = request.replica
        let histories = World.databases.map {
            DatabaseHistory(database: $0, entries: node.disk($0).log.claimedHistory)
        }
        send(
            .metaSync(
                MetaSyncResponse(
                    status: .ok,
                    master: MasterInfo(
                        databases: World.databases.map { DatabaseInfo(name: $0) },
                        runID: node.runID, replicationID: node.replicationID,
                        peer: PeerInfo(histories: histories), fileToken: token))), to: peer)
    }

    private func take(_ request: TrySyncRequest, from peer: Peer) {
        guard let disk = node.databases[request.database] else { return }
        let log = disk.log
        let position = request.end.position
        let verdict: ContinuationVerdict
        if let claim = request.claim {
            verdict = log.history.judge(
                claim, end: position, ourEnd: log.end.position,
                evidence: log.evidence(at: position))
        } else {
            // Only probes come without a claim here.
            verdict = History.judge(
                position: position, ourEnd: log.end.position, earlyEnd: nil,
                evidence: log.evidence(at: position))
        }
        var answer = TrySyncVerdict(
            code: .error, database: request.database, masterEnd: BinlogOffset(log.end.position))
        switch verdict {
        case .continues:
            answer.code = .ok
            answer.history = log.history.entries
            answer.session = begin(
                .trySyncAccepted(at: position), request.replica, request.database, peer)
        case .purged: answer.code = .syncPointPurged
        case .ahead: answer.code = .syncPointLarger
        case .diverged, .digestDiffers, .unrelated, .notABoundary: answer.code = .error
        }
        if answer.code != .ok { answer.reason = verdict.explanation }
        send(.trySync(TrySyncResponse(status: .ok, verdict: answer)), to: peer)
    }

    private func take(_ request: DBSyncRequest, from peer: Peer) {
        guard let disk = node.databases[request.database] else { return }
        let session = begin(
            .copyStarted(pinned: disk.log.start.position), request.replica, request.database, peer)
        let wanted = request.wantedSnapshot.flatMap { id in
            disk.snapshots.first { $0.manifest.id == id }
        }
        // A snapshot whose log is gone is of no use.
        let usable = (wanted ?? disk.snapshots.last).flatMap {
            $0.manifest.position >= disk.log.start.position ? $0 : nil
        }
        if let usable { chosen(usable, for: request.replica, request.database) }
        let status = SnapshotStatus(
            id: usable?.manifest.id, isReady: usable != nil, percent: 0,
            retryAfterMilliseconds: 100)
        send(
            .dbSync(
                DBSyncResponse(
                    status: .ok,
                    grant: DBSyncGrant(
                        database: request.database, session: session, snapshot: status))),
            to: peer)
        if usable == nil { makeSnapshot(request.database) }
    }

    /// A snapshot was found or made: the log is needed from there on only.
    func chosen(_ snapshot: SimulatedSnapshot, for address: ReplicaAddress?, _ database: String) {
        for (key, conversation) in sorted()
        where key.database == database && (address == nil || key.address == address) {
            let event = MasterSession.Event.snapshotChosen(at: snapshot.manifest.position)
            perform(conversation.machine.handle(event, now: world.now), key, conversation)
        }
    }

    private func begin(
        _ event: MasterSession.Event, _ address: ReplicaAddress, _ database: String, _ peer: Peer
    ) -> SessionID {
        let key = Key(address: address, database: database)
        if let old = conversations[key], old.peer === peer {
            perform(old.machine.handle(event, now: world.now), key, old)
            return old.machine.id
        }
        let number = nextSession[database, default: 0]
        nextSession[database] = number + 1
        var configuration = MasterSession.Configuration()
        configuration.windowItems = Int.random(in: 20...2_000, using: &world.random)
        let machine = MasterSession(
            id: SessionID(rawValue: number), event: event,
            sendable: node.disk(database).log.durable, configuration: configuration,
            now: world.now)
        let conversation = Conversation(machine, peer, database)
        conversations[key] = conversation
        leases.hold(.replica(address), database: database, from: machine.protectedPosition)
        return machine.id
    }

    private func take(_ ack: BinlogAck) {
        let key = Key(address: ack.replica, database: ack.database)
        guard let conversation = conversations[key] else { return }
        let event: MasterSession.Event =
            ack.isFirst
            ? .firstSend(
                start: ack.start.position, end: ack.end.position, session: ack.session)
            : .acknowledgement(
                start: ack.start.position, end: ack.end.position, session: ack.session,
                progress: ack.progress)
        perform(conversation.machine.handle(event, now: world.now), key, conversation)
    }

    // MARK: Sending

    func logMoved(_ database: String) {
        let durable = node.disk(database).log.durable
        for (key, conversation) in sorted() where key.database == database {
            perform(
                conversation.machine.handle(.sendable(durable), now: world.now), key, conversation)
        }
    }

    private func pump(_ conversation: Conversation, _ database: String) {
        while let allowance = conversation.machine.allowance {
            let log = node.disk(database).log
            let items = log.items(after: allowance.from, upTo: allowance.limit)
                .prefix(allowance.itemCount)
            guard let last = items.last else { return }
            var buffer = ByteBuffer()
            conversation.encoder.begin(in: &buffer, durableEnd: log.durable)
            for item in items {
                item.bytes.withUnsafeBytes {
                    conversation.encoder.append(
                        item: $0, end: item.end.position,
                        logicID: LogicID(term: item.itemsLeft, index: item.logicIndex), in: &buffer)
                }
            }
            conversation.encoder.finish(in: &buffer)
            conversation.peer.link.send(buffer, from: .server)
            let frame = MasterSession.Frame(
                end: last.end.position, itemCount: items.count,
                byteCount: items.reduce(0) { $0 + $1.bytes.count })
            _ = conversation.machine.handle(.framed(frame), now: world.now)
        }
    }

    private func perform(
        _ directives: [MasterSession.Directive], _ key: Key, _ conversation: Conversation
    ) {
        for directive in directives {
            switch directive {
            case .openCursor(let position):
                if case .boundary = node.disk(key.database).log.evidence(at: position) { continue }
                perform(conversation.machine.handle(.readFailed, now: world.now), key, conversation)
            case .closeCursor: break
            case .pump: pump(conversation, key.database)
            case .sendKeepAlive:
                var buffer = ByteBuffer()
                conversation.encoder.encodeKeepAlive(into: &buffer)
                conversation.peer.link.send(buffer, from: .server)
            case .protect(let position):
                leases.hold(.replica(key.address), database: key.database, from: position)
            case .ended(let reason):
                conversations[key] = nil
                if reason == .removed {
                    leases.release(.replica(key.address), database: key.database)
                } else {
                    leases.lose(.replica(key.address), database: key.database, now: world.now)
                }
            case .closeConnection(let violation):
                world.fault("\(node.name): \(key.address) broke the protocol: \(violation)")
                conversation.peer.link.close(from: .server, "\(violation)")
                lost(conversation.peer)
            }
        }
    }

    func tick() {
        for (key, conversation) in sorted() {
            perform(conversation.machine.handle(.tick, now: world.now), key, conversation)
        }
        leases.expire(now: world.now)
        for shell in fileShells { shell.tick() }
    }

    // MARK: Snapshots and purging

    private var isMaking: Set<String> = []

    func makeSnapshot(_ database: String) {
        guard isMaking.insert(database).inserted else { return }
        let generation = node.generation
        world.after(world.random.milliseconds(10...3_000)) { [self] in
            guard node.isUp, node.generation == generation else { return }
            isMaking.remove(database)
            let disk = node.disk(database)
            // The cut flushes the log: a snapshot never holds what the log could forget.
            disk.log.sync(count: disk.log.appliedCount)
            let mark = disk.log.applied
            let end = disk.log.endsInsideGroup ? mark.position : disk.log.end.position
            let id =
                "\(node.name)-\(database)-\(end.fileNumber)-\(end.offset)-\(world.random.next())"
            guard let snapshotID = SnapshotID(id) else { preconditionFailure("id \(id)") }
            let files = SnapshotFiles.make(disk.log.state, random: &world.random)
            let manifest = SnapshotManifest(
                id: snapshotID,
                files: files.keys.sorted().map { name in
                    SnapshotFile(
                        name: name, sizeBytes: UInt64(files[name]?.count ?? 0),
                        digest: FileServiceCodec.digest(of: ByteBuffer(bytes: files[name] ?? [])))
                },
                position: end, digest: mark.digest,
                history: disk.log.history.entries.filter { $0.start <= end })
            let snapshot = SimulatedSnapshot(manifest: manifest, files: files)
            disk.snapshots.append(snapshot)
            chosen(snapshot, for: nil, database)
            logMoved(database)
            for shell in fileShells { shell.snapshotMade(database) }
        }
    }

    /// Deletes all snapshots, as when their leases expire.
    func dropSnapshots() {
        for database in World.databases {
            let disk = node.disk(database)
            for snapshot in disk.snapshots {
                for shell in fileShells { shell.snapshotGone(snapshot.manifest.id) }
            }
            disk.snapshots = []
        }
    }

    /// Purges what nobody needs; returns how many items went.
    func purge() -> Int {
        var count = 0
        for database in World.databases {
            let disk = node.disk(database)
            var floor = disk.log.end.position.fileNumber
            if let leased = leases.floor(database: database) {
                floor = min(floor, leased.fileNumber)
            }
            for snapshot in disk.snapshots {
                floor = min(floor, snapshot.manifest.position.fileNumber)
            }
            let before = disk.log.items.count
            disk.log.purge(before: floor)
            count += before - disk.log.items.count
        }
        return count
    }
}

extension Node {
    func accept(_ link: Link, _ service: Service) {
        switch service {
        case .replication: master?.accept(link)
        case .files: master?.acceptFiles(link)
        }
    }
}
