import NIOCore
import ReplicationCore
import SyncProtocol

/// A full copy of one database: the shell around SnapshotReceiver.
final class CopyShell {
    private unowned let owner: ReplicaShell
    private unowned let node: Node
    private let world: World
    private let database: String
    private let order: ReplicaSession.CopyOrder
    private var machine: SnapshotReceiver
    private var link: Link?
    private var frames = FrameBuffer(.fileResponse)
    /// The bytes of the reply that the machine is being told of.
    private var incoming = ByteBuffer()
    private var isStopped = false

    private var disk: DatabaseDisk { node.disk(database) }

    init(
        _ owner: ReplicaShell, _ node: Node, _ database: String, _ order: ReplicaSession.CopyOrder
    ) {
        self.owner = owner
        self.node = node
        self.database = database
        self.order = order
        world = node.world
        var configuration = SnapshotReceiver.Configuration(
            database: database, isPeer: order.master.isPeer, fileToken: order.fileToken)
        configuration.chunkBytes = 8_192
        configuration.requestsInFlight = Int.random(in: 1...16, using: &world.random)
        let resume = node.disk(database).resume
        var remainder: SnapshotReceiver.Remainder?
        if order.resuming != nil, resume.phase == .copying, let manifest = resume.manifest {
            remainder = SnapshotReceiver.Remainder(
                snapshotID: manifest.id, position: manifest.position,
                files: manifest.files.map {
                    SnapshotReceiver.Remainder.File(
                        name: $0.name, sizeBytes: $0.sizeBytes,
                        prefixBytes: resume.prefixes[$0.name] ?? 0)
                }, bytesSentTwice: resume.bytesSentTwice)
        }
        machine = SnapshotReceiver(configuration, remainder: remainder, now: world.now)
    }

    func begin() { handle(.begin) }

    func stop() {
        isStopped = true
        link?.close(from: .client, "stopped")
        link = nil
    }

    func tick() { handle(.tick) }

    private func handle(_ event: SnapshotReceiver.Event) {
        guard !isStopped else { return }
        for directive in machine.handle(event, now: world.now) { perform(directive) }
    }

    private func later(_ delay: Duration, _ action: @escaping () -> Void) {
        owner.later(delay) { [self] in if !isStopped { action() } }
    }

    // MARK: Connection

    private func connect() {
        world.connect(from: node, to: owner.master, service: .files) { [self] link in
            guard !isStopped, node.isUp else {
                link?.close(from: .client, "too late")
                return
            }
            guard let link else {
                handle(.disconnected("connection refused", partialBytes: 0))
                return
            }
            self.link = link
            frames = FrameBuffer(.fileResponse)
            link.listen(
                .client,
                Link.Handlers(
                    bytes: { [unowned self] in receive($0) },
                    closed: { [unowned self, unowned link] reason in
                        guard self.link === link else { return }
                        self.link = nil
                        handle(.disconnected(reason, partialBytes: 0))
                    }))
            handle(.connected)
        }
    }

    private func receive(_ bytes: ByteBuffer) {
        handle(.heard)
        frames.append(bytes)
        do throws(WireError) {
            while link != nil, let body = try frames.next() {
                take(try FileServiceCodec.decodeResponse(body))
            }
        } catch {
            world.fault("\(node.name) got \(error)")
            link?.close(from: .client, "\(error)")
            link = nil
            handle(.disconnected("\(error)", partialBytes: 0))
        }
    }

    private func take(_ decoded: DecodedFileResponse) {
        switch decoded.response {
        case .list(let response): handle(.listed(response))
        case .read(let response):
            guard let chunk = response.chunk, response.status == .ok else {
                handle(
                    .refused(
                        id: response.requestID, reader: response.readerIndex,
                        snapshotID: response.snapshotID, response.refusal))
                return
            }
            incoming = decoded.data
            handle(
                .arrived(
                    SnapshotReceiver.Arrival(
                        id: response.requestID, reader: response.readerIndex,
                        snapshotID: response.snapshotID, chunk: chunk)))
        }
    }

    private func send(_ request: FileServiceRequest) {
        var buffer = ByteBuffer()
        FileServiceCodec.encode(request, into: &buffer)
        link?.send(buffer, from: .client)
    }

    // MARK: Directives

    private func perform(_ directive: SnapshotReceiver.Directive) {
        switch directive {
        case .connect: connect()
        case .disconnect(let reason):
            link?.close(from: .client, reason)
            link = nil
        case .requestList(let request): send(.list(request))
        case .discard:
            later(world.random.milliseconds(1...50)) { [self] in
                disk.staged = [:]
                disk.resume.prefixes = [:]
                handle(.discarded)
            }
        case .prepare(let manifest, _): prepare(manifest)
        case .pump: pump()
        case .store(let order, let count, let digest): store(order, count, digest)
        case .checkpoint(let checkpoint): save(checkpoint)
        case .verify(let index, let name, let size): verify(index, name, size)
        case .readInfo, .checkStores:
            world.fault("\(node.name): a copy from one of ours asks for \(directive)")
        case .finish(let outcome): finish(outcome)
        case .fail(let reason, let discards, let madeProgress):
            if discards {
                disk.staged = [:]
                disk.resume = SimulatedResume(phase: .none, master: disk.resume.master)
            }
            stop()
            owner.copyFailed(database, reason, madeProgress: madeProgress)
        }
    }

    private func prepare(_ manifest: SnapshotManifest) {
        later(world.random.milliseconds(1...20)) { [self] in
            if disk.resume.phase != .copying || disk.resume.manifest?.id != manifest.id {
                disk.staged = [:]
                disk.resume = SimulatedResume(
                    phase: .copying, master: order.master, manifest: manifest,
                    position: manifest.position)
            }
            handle(.prepared)
        }
    }

    private func pump() {
        while machine.nextReadBytes(now: world.now) != nil,
            let read = machine.takeRead(now: world.now)
        {
            send(
                .read(
                    FileReadRequest(
                        database: database, readerIndex: read.reader, filename: read.name,
                        offset: read.offset, count: read.count, fileToken: order.fileToken,
                        requestID: read.id, snapshot: machine.snapshotID)))
        }
    }

    private func store(_ read: SnapshotReceiver.ReadOrder, _ count: UInt64, _ digest: UInt64?) {
        let data = incoming
        let isIntact = digest == nil || FileServiceCodec.digest(of: data) == digest
        if digest == nil { world.fault("\(node.name): a chunk without a digest") }
        later(world.random.milliseconds(0...5)) { [self] in
            if isIntact { write(read, data) }
            handle(.stored(id: read.id, isIntact: isIntact))
        }
    }

    private func write(_ read: SnapshotReceiver.ReadOrder, _ data: ByteBuffer) {
        var file = disk.staged.removeValue(forKey: read.name) ?? StagedFile()
        let range = Int(read.offset)..<Int(read.offset) + data.readableBytes
        if file.bytes.count < range.upperBound {
            file.bytes += [UInt8](repeating: 0, count: range.upperBound - file.bytes.count)
        }
        file.bytes.replaceSubrange(range, with: data.readableBytesView)
        // The disk keeps something else than it was given.
        if world.corruptsOneIn > 0, !range.isEmpty, world.random.oneIn(world.corruptsOneIn * 4) {
            file.bytes[range.lowerBound] ^= 1
        }
        file.ranges.append(
            (UInt64(range.lowerBound)..<UInt64(range.upperBound), FileServiceCodec.digest(of: data))
        )
        disk.staged[read.name] = file
    }

    private func save(_ checkpoint: SnapshotReceiver.Checkpoint) {
        later(world.random.milliseconds(1...50)) { [self] in
            for (file, prefix) in zip(checkpoint.files, checkpoint.prefixBytes) {
                disk.resume.prefixes[file.name] = prefix
            }
            disk.resume.bytesSentTwice = checkpoint.bytesSentTwice
            handle(.checkpointed)
        }
    }

    private func verify(_ index: Int, _ name: String, _ size: UInt64) {
        later(world.random.milliseconds(1...30)) { [self] in
            let file = disk.staged[name] ?? StagedFile()
            if UInt64(file.bytes.count) != size {
                world.fault("\(node.name): \(name) has \(file.bytes.count) bytes, not \(size)")
            }
            var latest: [Range<UInt64>: UInt64] = [:]
            for (range, digest) in file.ranges { latest[range] = digest }
            let bad = latest.filter { range, digest in
                let slice = file.bytes[Int(range.lowerBound)..<Int(range.upperBound)]
                return FileServiceCodec.digest(of: ByteBuffer(bytes: slice)) != digest
            }
            handle(
                .verified(
                    fileIndex: index,
                    digest: FileServiceCodec.digest(of: ByteBuffer(bytes: file.bytes)),
                    badRanges: bad.keys.sorted { $0.lowerBound < $1.lowerBound }))
        }
    }

    private func finish(_ outcome: SnapshotReceiver.Outcome) {
        disk.resume.bytesSentTwice = machine.bytesSentTwice
        later(world.random.milliseconds(1...50)) { [self] in
            disk.resume.phase = .switching
            later(world.random.milliseconds(1...50)) { [self] in
                node.finishSwitch(disk)
                stop()
                owner.copyFinished(database)
            }
        }
    }
}
