internal import FileIO
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import RateLimit
internal import ReplicationCore
internal import SyncProtocol

/// One connection to port+10001: files of snapshots.
///
/// The shell around ``SnapshotSender``; used on the replication loop only.
final class FileConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Silence after which a connection is closed.
    static let idleLimit: Duration = .seconds(60)
    /// Bytes read from files, or being read, and not yet taken by the kernel.
    static let bytesInFlight = 8 << 20
    /// Smallest reply under a limit.
    static let leastReplyBytes = 1 << 10
    /// Buffers kept for the next chunks.
    static let spareBuffers = 8

    let core: MasterCore
    let id: UInt64
    private var sender = SnapshotSender(peer: .pika)
    private var remoteHost = ""
    private var channel: ChannelHandlerContext?
    private var reader = FrameReader(limits: .fileRequest)
    private var lastUse: MonotonicInstant
    private var queue: [SnapshotSender.ReadOrder] = []
    private var queueHead = 0
    private var flying = 0
    private var debt = SendingDebt()
    private var timer: Scheduled<Void>?
    private var spares: [ByteBuffer] = []
    /// The replication connection that the peer's token, or else its address, belongs to.
    private var owner: UInt64?

    init(core: MasterCore) {
        self.core = core
        self.id = core.makeConnectionID()
        self.lastUse = core.now
    }

    private var logger: Logger { self.core.context.logger }

    // MARK: Channel

    func channelActive(context: ChannelHandlerContext) {
        self.channel = context
        self.remoteHost = context.remoteAddress?.ipAddress ?? ""
        guard self.core.add(self) else {
            self.logger.warning("too many file connections")
            context.close(promise: nil)
            return
        }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.channel = nil
        self.timer?.cancel()
        self.queue = []
        self.queueHead = 0
        self.core.remove(self)
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        self.lastUse = self.core.now
        self.reader.append(&bytes)
        do {
            while let body = try self.reader.next(), self.channel != nil {
                self.handle(try FileServiceCodec.decodeRequest(body))
            }
        } catch {
            self.closeHostile("\(error)")
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.pump() }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func close() {
        self.channel?.close(promise: nil)
    }

    private func closeHostile(_ reason: String) {
        self.core.hostileConnections += 1
        self.logger.warning(
            "file connection closed",
            metadata: [
                "peer": "\(self.remoteHost)", "reason": "\(reason)",
            ])
        self.channel?.close(promise: nil)
    }

    // MARK: Requests

    private func handle(_ request: FileServiceRequest) {
        let tag: SnapshotSender.Tag
        let database: String
        let token: [UInt8]?
        let what: SnapshotSender.Request
        switch request {
        case .list(let list):
            tag = SnapshotSender.Tag(readerIndex: list.readerIndex, requestID: list.requestID)
            (database, token) = (list.database, list.fileToken)
            what = .list(wanted: list.wantedSnapshot)
        case .read(let read):
            tag = SnapshotSender.Tag(readerIndex: read.readerIndex, requestID: read.requestID)
            (database, token) = (read.database, read.fileToken)
            what = .read(
                snapshot: read.snapshot, name: read.filename, offset: read.offset,
                count: read.count)
        }
        self.sender.peer = token != nil || tag.requestID != nil ? .ours : .pika
        guard self.isAllowed(token: token, database: database) else {
            self.refuse(what, database: database, tag: tag, FileRefusal(reason: .notAllowed))
            // The refusal goes out first; a peer without a token has no way to do better.
            self.closeAfterWrites()
            return
        }
        self.feed(.request(what, database: database, tag: tag))
    }

    /// C5: with `requirepass`, nothing goes to a peer that did not pass MetaSync.
    ///
    /// One of ours shows its token; a real Pika has none, so it is known by the address of a live
    /// connection that passed.
    private func isAllowed(token: [UInt8]?, database: String) -> Bool {
        if let token {
            guard let owner = self.core.connection(token: token) else { return false }
            self.owner = owner.id
            return true
        }
        let index = self.core.context.database(named: database)?.index
        let candidates = self.core.connections.values.filter {
            $0.remoteHost == self.remoteHost && $0.hasPassedMetaSync && !$0.isOurs
        }
        let copying = candidates.filter { index.map($0.isCopying) ?? false }
        self.owner = (copying.isEmpty ? candidates : copying).map(\.id).max()
        if self.owner != nil { return true }
        return self.core.context.settings.current.requirePassword.isEmpty
    }

    /// The loop of the shell: an event in, directives out.
    private func feed(_ event: SnapshotSender.Event) {
        for directive in self.sender.handle(event, now: self.core.now) {
            self.perform(directive)
        }
    }

    private func perform(_ directive: SnapshotSender.Directive) {
        switch directive {
        case .findSnapshot(let database, let wanted):
            self.feed(self.find(database, wanted: wanted))
        case .sendList(let database, let manifest, let tag):
            self.sendList(database, manifest, tag)
        case .sendChunk(let order):
            self.queue.append(order)
            self.pump()
        case .refuse(let request, let database, let tag, let refusal):
            self.refuse(request, database: database, tag: tag, refusal)
        case .renewLease(let id, _):
            self.core.catalog.renew(id, now: self.core.now)
        }
    }

    private func find(_ name: String, wanted: SnapshotID?) -> SnapshotSender.Event {
        func unavailable(_ refusal: FileRefusal) -> SnapshotSender.Event {
            .snapshotUnavailable(database: name, refusal)
        }
        guard let database = self.core.context.database(named: name)?.index else {
            return unavailable(FileRefusal(reason: .unknownDatabase))
        }
        let catalog = self.core.catalog
        if let wanted, let manifest = catalog.manifest(wanted, database: database) {
            return .snapshotReady(database: name, manifest)
        }
        guard let owner = self.owner.flatMap({ self.core.connections[$0] }) else {
            // Nobody said what it should read: what there is.
            guard let manifest = catalog.newest(database) else {
                return unavailable(FileRefusal(reason: .snapshotGone))
            }
            return .snapshotReady(database: name, manifest)
        }
        if let chosen = owner.chosenSnapshot(database),
            let manifest = catalog.manifest(chosen, database: database)
        {
            return .snapshotReady(database: name, manifest)
        }
        guard owner.isCopying(database) else {
            return unavailable(FileRefusal(reason: .snapshotGone))
        }
        let status = catalog.request(
            database: database, wanted: nil, now: self.core.now,
            for: SnapshotCatalog.Requester(connection: owner.id, database: database))
        if let id = status.id, let manifest = catalog.manifest(id, database: database) {
            return .snapshotReady(database: name, manifest)
        }
        return unavailable(
            FileRefusal(
                reason: .preparing, retryAfterMilliseconds: status.retryAfterMilliseconds,
                percent: status.percent))
    }

    /// A snapshot was made: whoever waits for one is served.
    func snapshotsChanged() {
        self.feed(.tick)
    }

    func snapshotGone(_ id: SnapshotID) {
        self.feed(.snapshotGone(id: id))
    }

    func isReading(_ id: SnapshotID) -> Bool { self.sender.snapshotIDs.contains(id) }

    func tick(now: MonotonicInstant) {
        self.feed(.tick)
        let isBusy = self.flying > 0 || self.queueHead < self.queue.count
        if !isBusy, now.since(self.lastUse) > Self.idleLimit { self.close() }
    }

    // MARK: Answers

    private func sendList(
        _ database: String, _ manifest: SnapshotManifest, _ tag: SnapshotSender.Tag
    ) {
        var response = FileListResponse(
            status: .ok, database: database, readerIndex: tag.readerIndex,
            snapshotID: manifest.id.description, filenames: manifest.files.map(\.name))
        if self.sender.peer == .ours {
            response.manifest = manifest
            response.requestID = tag.requestID
        }
        self.send { FileServiceCodec.encode(response, into: &$0) }
    }

    private func refuse(
        _ request: SnapshotSender.Request, database: String, tag: SnapshotSender.Tag,
        _ refusal: FileRefusal
    ) {
        let ours = self.sender.peer == .ours
        switch request {
        case .list:
            let response = FileListResponse(
                status: .error, database: database, readerIndex: tag.readerIndex, snapshotID: "",
                requestID: ours ? tag.requestID : nil, refusal: ours ? refusal : nil)
            self.send { FileServiceCodec.encode(response, into: &$0) }
        case .read:
            let id = self.sender.snapshot(of: database)?.id.description ?? ""
            let response = FileReadResponse(
                status: .error, database: database, readerIndex: tag.readerIndex, snapshotID: id,
                requestID: ours ? tag.requestID : nil, refusal: ours ? refusal : nil)
            self.send { FileServiceCodec.encodeRefusal(response, into: &$0) }
        }
    }

    private func send(_ encode: (inout ByteBuffer) -> Void) {
        guard let channel = self.channel else { return }
        var buffer = channel.channel.allocator.buffer(capacity: 1_024)
        encode(&buffer)
        self.debt.add(buffer.readableBytes)
        channel.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    private func closeAfterWrites() {
        guard let channel = self.channel else { return }
        let empty = channel.channel.allocator.buffer(capacity: 0)
        channel.writeAndFlush(self.wrapOutboundOut(empty)).assumeIsolated().whenComplete { _ in
            channel.close(promise: nil)
        }
    }

    // MARK: Chunks

    /// Starts reads while the channel takes bytes, little is in flight and the limiter agrees.
    func pump() {
        guard self.timer == nil, let channel = self.channel else { return }
        while self.queueHead < self.queue.count, channel.channel.isWritable,
            self.flying == 0 || self.flying < Self.bytesInFlight
        {
            let order = self.shortened(self.queue[self.queueHead])
            if let deadline = self.acquire(order.count) {
                self.timer = channel.eventLoop.assumeIsolated().scheduleTask(
                    deadline: deadline
                ) {
                    self.timer = nil
                    self.pump()
                }
                return
            }
            self.queueHead += 1
            if self.queueHead == self.queue.count {
                self.queue.removeAll(keepingCapacity: true)
                self.queueHead = 0
            }
            self.start(order)
        }
    }

    /// Asks the limiter for the next reply; nil = granted, else when to ask again.
    private func acquire(_ count: Int) -> NIODeadline? {
        let limiter = self.core.context.sending
        let key = self.limiterKey
        if let deadline = self.debt.pay(limiter, for: key, stream: .snapshot) { return deadline }
        return count == 0 ? nil : limiter.acquire(count, for: key, stream: .snapshot)
    }

    /// The limit may have changed: what was waited for is void.
    func settingsChanged() {
        self.timer?.cancel()
        self.timer = nil
        self.pump()
    }

    /// Whose share of the limit it is: the replica's own, binlog and files together.
    private var limiterKey: ReplicaAddress {
        self.owner.flatMap { self.core.connections[$0]?.address }
            ?? ReplicaAddress(host: self.remoteHost, port: 0)
    }

    /// Under a limit, a request is answered by less than it asks for: short replies are normal.
    private func shortened(_ order: SnapshotSender.ReadOrder) -> SnapshotSender.ReadOrder {
        let most = max(
            Self.leastReplyBytes, self.core.context.sending.grantBytes(for: self.limiterKey))
        guard order.count > most else { return order }
        var short = order
        short.count = most
        short.isLast = false
        return short
    }

    private func start(_ order: SnapshotSender.ReadOrder) {
        guard let files = self.core.catalog.files(order.snapshotID) else {
            self.feed(.readFailed(order))
            return
        }
        self.flying += order.count
        let ours = self.sender.peer == .ours
        let response = FileReadResponse(
            status: .ok, database: order.database, readerIndex: order.tag.readerIndex,
            snapshotID: order.snapshotID.description,
            chunk: FileChunk(
                filename: order.name, offset: order.offset, count: UInt64(order.count),
                isEnd: order.isLast),
            requestID: ours ? order.tag.requestID : nil)
        let buffer = self.spares.popLast() ?? ByteBuffer()
        let core = self.core
        let id = self.id
        core.context.pool.submit { _ in
            var buffer = buffer
            buffer.clear()
            let isRead: Bool
            do throws(FileError) {
                try FileServiceCodec.encodeRead(response, addsDigest: ours, into: &buffer) {
                    (bytes) throws(FileError) in
                    try files.read(fileIndex: order.fileIndex, at: order.offset, into: bytes)
                }
                isRead = true
            } catch {
                core.context.logger.error(
                    "snapshot can't be read",
                    metadata: [
                        "file": "\(order.name)", "error": "\(error)",
                    ])
                isRead = false
            }
            core.context.loop.execute { [buffer] in
                core.fileConnections[id]?.finish(order, isRead ? buffer : nil)
            }
        }
    }

    private func finish(_ order: SnapshotSender.ReadOrder, _ buffer: ByteBuffer?) {
        guard let channel = self.channel else { return }
        guard let buffer else {
            self.flying -= order.count
            self.core.context.sending.refund(
                order.count, for: self.limiterKey, stream: .snapshot)
            self.feed(.readFailed(order))
            self.pump()
            return
        }
        self.core.snapshotBytesSent += UInt64(order.count)
        self.debt.add(buffer.readableBytes - order.count)
        channel.writeAndFlush(self.wrapOutboundOut(buffer)).assumeIsolated().whenComplete { _ in
            self.flying -= order.count
            self.lastUse = self.core.now
            if self.spares.count < Self.spareBuffers { self.spares.append(buffer) }
            self.feed(.chunkSent(snapshotID: order.snapshotID))
            self.pump()
        }
    }
}
