import NIOCore
import ReplicationCore
import SyncProtocol

/// One connection of the file service: the shell around SnapshotSender.
final class FileShell {
    private unowned let owner: MasterShell
    private unowned let node: Node
    private let world: World
    private let link: Link
    private var frames = FrameBuffer(.fileRequest)
    private var machine = SnapshotSender(peer: .ours)

    init(_ owner: MasterShell, _ node: Node, _ link: Link) {
        self.owner = owner
        self.node = node
        self.link = link
        world = node.world
        link.listen(
            .server,
            Link.Handlers(
                bytes: { [unowned self] in receive($0) },
                closed: { [unowned self] _ in self.owner.remove(self) }))
    }

    func close(_ reason: String) { link.close(from: .server, reason) }

    private func receive(_ bytes: ByteBuffer) {
        frames.append(bytes)
        do throws(WireError) {
            while let body = try frames.next() { take(try FileServiceCodec.decodeRequest(body)) }
        } catch {
            world.fault("\(node.name) got \(error)")
            close("\(error)")
            owner.remove(self)
        }
    }

    private func take(_ request: FileServiceRequest) {
        let database: String
        let token: [UInt8]?
        let plain: SnapshotSender.Request
        let tag: SnapshotSender.Tag
        switch request {
        case .list(let request):
            (database, token) = (request.database, request.fileToken)
            plain = .list(wanted: request.wantedSnapshot)
            tag = .init(readerIndex: request.readerIndex, requestID: request.requestID)
        case .read(let request):
            (database, token) = (request.database, request.fileToken)
            plain = .read(
                snapshot: request.snapshot, name: request.filename, offset: request.offset,
                count: request.count)
            tag = .init(readerIndex: request.readerIndex, requestID: request.requestID)
        }
        guard token == owner.token else {
            perform([
                .refuse(plain, database: database, tag: tag, FileRefusal(reason: .notAllowed))
            ])
            return
        }
        perform(machine.handle(.request(plain, database: database, tag: tag), now: world.now))
    }

    private func perform(_ directives: [SnapshotSender.Directive]) {
        for directive in directives {
            switch directive {
            case .findSnapshot(let database, let wanted): find(database, wanted)
            case .sendList(let database, let manifest, let tag):
                var buffer = ByteBuffer()
                FileServiceCodec.encode(
                    FileListResponse(
                        status: .ok, database: database, readerIndex: tag.readerIndex,
                        snapshotID: manifest.id.description,
                        filenames: manifest.files.map(\.name), manifest: manifest,
                        requestID: tag.requestID), into: &buffer)
                link.send(buffer, from: .server)
            case .sendChunk(let order): read(order)
            case .refuse(let request, let database, let tag, let refusal):
                refuse(request, database, tag, refusal)
            case .renewLease: break
            }
        }
    }

    private func find(_ database: String, _ wanted: SnapshotID?) {
        guard let disk = node.databases[database] else { return }
        let snapshots = disk.snapshots.filter {
            $0.manifest.position >= disk.log.start.position
        }
        let named = snapshots.first { $0.manifest.id == wanted }
        if let found = named ?? snapshots.last {
            owner.chosen(found, for: nil, database)
            perform(
                machine.handle(.snapshotReady(database: database, found.manifest), now: world.now))
            return
        }
        owner.makeSnapshot(database)
        perform(
            machine.handle(
                .snapshotUnavailable(
                    database: database,
                    FileRefusal(reason: .preparing, retryAfterMilliseconds: 200, percent: 50)),
                now: world.now))
    }

    private func refuse(
        _ request: SnapshotSender.Request, _ database: String, _ tag: SnapshotSender.Tag,
        _ refusal: FileRefusal
    ) {
        var buffer = ByteBuffer()
        switch request {
        case .list:
            FileServiceCodec.encode(
                FileListResponse(
                    status: .error, database: database, readerIndex: tag.readerIndex,
                    snapshotID: "", requestID: tag.requestID, refusal: refusal), into: &buffer)
        case .read:
            FileServiceCodec.encodeRefusal(
                FileReadResponse(
                    status: .error, database: database, readerIndex: tag.readerIndex,
                    snapshotID: "", requestID: tag.requestID, refusal: refusal), into: &buffer)
        }
        link.send(buffer, from: .server)
    }

    /// Reads and sends after the time that a rate of some MB/s takes.
    private func read(_ order: SnapshotSender.ReadOrder) {
        let generation = node.generation
        world.after(.microseconds(order.count / 2) + world.random.milliseconds(0...3)) { [self] in
            guard node.isUp, node.generation == generation else { return }
            let found = node.disk(order.database).snapshots.first {
                $0.manifest.id == order.snapshotID
            }
            guard let bytes = found?.files[order.name] else {
                perform(machine.handle(.readFailed(order), now: world.now))
                return
            }
            send(order, bytes)
            perform(machine.handle(.chunkSent(snapshotID: order.snapshotID), now: world.now))
        }
    }

    private func send(_ order: SnapshotSender.ReadOrder, _ bytes: [UInt8]) {
        let first = Int(order.offset)
        var buffer = ByteBuffer()
        var dataAt = 0
        FileServiceCodec.encodeRead(
            FileReadResponse(
                status: .ok, database: order.database, readerIndex: order.tag.readerIndex,
                snapshotID: order.snapshotID.description,
                chunk: FileChunk(
                    filename: order.name, offset: order.offset, count: UInt64(order.count),
                    isEnd: order.isLast), requestID: order.tag.requestID),
            addsDigest: true, into: &buffer
        ) { room in
            room.copyBytes(from: bytes[first..<(first + order.count)])
        }
        // The network, or a disk on the way, changes a bit of the data.
        if world.corruptsOneIn > 0, order.count > 0, world.random.oneIn(world.corruptsOneIn) {
            dataAt = buffer.readableBytes - order.count / 2 - 60
            if dataAt > 100, let byte = buffer.getInteger(at: dataAt, as: UInt8.self) {
                buffer.setInteger(byte ^ 0x10, at: dataAt)
            }
        }
        link.send(buffer, from: .server)
    }

    func tick() { perform(machine.handle(.tick, now: world.now)) }

    func snapshotMade(_ database: String) { tick() }

    func snapshotGone(_ id: SnapshotID) {
        perform(machine.handle(.snapshotGone(id: id), now: world.now))
    }
}
