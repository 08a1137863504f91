internal import FileIO
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import PikaStorage
internal import RateLimit
internal import ReplicationCore
internal import ResumeStore
internal import SyncProtocol

/// Runs the full copy of one database: the shell around ``SnapshotReceiver``.
///
/// Everything but the work on the pool happens on the loop.
///
// SAFETY: all variables are touched on `loop` only; work on the pool gets values.
final class CopyDriver: FileClientOwner, @unchecked Sendable {
    /// How a copy ended.
    enum Ending: Sendable {
        /// It took the place of the old data.
        case finished
        case failed(String, madeProgress: Bool)
        /// Stopped from outside; what was verified stays.
        case stopped
    }

    /// Bytes of a read of the connection to the file service, without a limit.
    static let readBytes = 512 << 10

    private let environment: ReplicaEnvironment
    private let configuration: ReplicaConfiguration
    private let databaseIndex: Int
    private let master: KnownMaster
    private let records: ResumeRecords
    private let files: StagedFiles
    private let loop: any EventLoop
    /// Work that must not overlap: resume points, preparing, discarding, the switch.
    private let work: WorkQueue
    private let onEnd: (Ending) -> Void

    private var receiver: SnapshotReceiver
    private var manifest: SnapshotManifest?
    private var handler: FileClientHandler?
    private var connectionNumber = 0
    private var turns = EventTurns<SnapshotReceiver.Event, ByteBuffer>()
    private var pumpTimer: Scheduled<Void>?
    private var hasEnded = false
    /// Pieces of work on the pool that still touch the staged files.
    private var busyCount = 0
    private var stopPromise: EventLoopPromise<Void>?
    private(set) var isSwitching = false
    private var meter = RateMeter()

    init(
        environment: ReplicaEnvironment, configuration: ReplicaConfiguration, databaseIndex: Int,
        order: ReplicaSession.CopyOrder, staging: String, records: ResumeRecords,
        remainder: SnapshotReceiver.Remainder?, files: StagedFiles,
        onEnd: @escaping (Ending) -> Void
    ) {
        self.environment = environment
        self.configuration = configuration
        self.databaseIndex = databaseIndex
        self.master = order.master
        self.records = records
        self.files = files
        self.loop = environment.eventLoop
        self.work = WorkQueue(pool: environment.pool)
        self.onEnd = onEnd
        var limits = SnapshotReceiver.Configuration(
            database: environment.keyspace.databases[databaseIndex].name,
            isPeer: order.master.isPeer, fileToken: order.fileToken)
        limits.readers = Int32(clamping: configuration.pikaReaders)
        limits.leastTimeout = .milliseconds(configuration.leastRequestTimeoutMilliseconds)
        self.receiver = SnapshotReceiver(
            limits, remainder: remainder, now: environment.eventLoop.instant)
        self.receiver.limitBytesPerSecond = environment.limiter.bytesPerSecond
    }

    private var database: Database { self.environment.keyspace.databases[self.databaseIndex] }

    // MARK: From outside

    func begin() { self.handle(.begin) }

    func tick() {
        self.followLimit()
        self.handle(.tick)
        self.meter.note(total: self.receiver.bytesReceived, now: self.loop.instant)
    }

    /// A request of the old size would be a long debt at a lower rate.
    private func followLimit() {
        let (old, new) = (
            self.receiver.limitBytesPerSecond, self.environment.limiter.bytesPerSecond
        )
        guard old != new else { return }
        self.receiver.limitBytesPerSecond = new
        if new > 0, old == 0 || new < old { self.handler?.gate.voidPrepaid() }
    }

    /// Stops; the future succeeds when nothing touches the staged files any more.
    func stop() -> EventLoopFuture<Void> {
        if let promise = self.stopPromise { return promise.futureResult }
        let promise = self.loop.makePromise(of: Void.self)
        self.stopPromise = promise
        self.end(.stopped)
        self.succeedIfIdle()
        return promise.futureResult
    }

    var status: ReplicaStatus.Copy {
        var status = ReplicaStatus.Copy()
        status.snapshotID = self.receiver.snapshotID
        status.preparingPercent = self.receiver.preparingPercent
        status.bytesDone = self.receiver.bytesDone
        status.bytesTotal = self.receiver.bytesTotal
        status.bytesSentTwice = self.receiver.bytesSentTwice
        status.bytesResumed = self.receiver.bytesResumed
        status.filesDone = self.receiver.filesDone
        status.filesTotal = self.receiver.filesTotal
        status.bytesPerSecond = self.meter.bytesPerSecond
        if let total = status.bytesTotal, status.bytesPerSecond > 0 {
            status.etaSeconds = (total - min(total, status.bytesDone)) / status.bytesPerSecond
        }
        return status
    }

    var phase: ReplicaStatus.Phase {
        if self.isSwitching { return .switching }
        switch self.receiver.phase {
        case .idle, .connecting, .waitingForList, .discarding: return .waitingForSnapshot
        case .preparing, .reading, .pausing, .failed: return .copying
        case .finishing, .finished: return .verifying
        }
    }

    var lastFailure: String? { self.receiver.lastFailure }

    // MARK: The loop

    private func handle(_ event: SnapshotReceiver.Event, data: ByteBuffer? = nil) {
        self.turns.append(event, data)
        guard self.turns.begin() else { return }
        while let next = self.turns.next() {
            for directive in self.receiver.handle(next, now: self.loop.instant) {
                self.perform(directive)
            }
            if self.hasEnded { self.turns.clear() }
        }
        self.handler?.gate.expect(
            atMost: self.receiver.bytesInFlight, now: self.loop.instant)
    }

    private func perform(_ directive: SnapshotReceiver.Directive) {
        guard !self.hasEnded else { return }
        switch directive {
        case .connect: self.connect()
        case .disconnect: self.disconnect()
        case .requestList(let request):
            self.handler?.send(.list(request))
            self.handler?.flush()
        case .discard:
            self.onPool(serial: true) { files in
                try files.discard()
                return .discarded
            }
        case .prepare(let manifest, let knowsSizes): self.prepare(manifest, knowsSizes)
        case .pump: self.pump()
        case .store(let order, _, let digest): self.store(order, digest)
        case .checkpoint(let checkpoint): self.save(checkpoint)
        case .verify(let index, let name, let sizeBytes):
            self.onPool(serial: false) { files in
                let result = try files.verify(name, sizeBytes: sizeBytes)
                return .verified(
                    fileIndex: index, digest: result.digest, badRanges: result.badRanges)
            }
        case .readInfo:
            self.onPool(serial: false) { files in .info(try files.readInfo()) }
        case .checkStores: self.checkStores()
        case .finish(let outcome): self.finish(outcome)
        case .fail(let reason, let discards, let madeProgress):
            self.fail(reason, discards: discards, madeProgress: madeProgress)
        }
    }

    /// Runs blocking work and feeds what it gives; an error becomes `storageFailed`.
    private func onPool(
        serial: Bool, _ body: @escaping @Sendable (StagedFiles) throws -> SnapshotReceiver.Event?
    ) {
        self.busyCount += 1
        let files = self.files
        let run: @Sendable () -> Void = {
            let event: SnapshotReceiver.Event?
            do {
                event = try body(files)
            } catch {
                event = .storageFailed("\(error)")
            }
            self.loop.execute {
                self.busyCount -= 1
                if let event { self.handle(event) }
                self.succeedIfIdle()
            }
        }
        if serial {
            self.work.enqueue(run)
        } else {
            self.environment.pool.submit { _ in run() }
        }
    }

    private func succeedIfIdle() {
        guard self.busyCount == 0, let promise = self.stopPromise else { return }
        promise.succeed(())
    }

    private func end(_ ending: Ending) {
        guard !self.hasEnded else { return }
        self.hasEnded = true
        self.pumpTimer?.cancel()
        self.disconnect()
        self.onEnd(ending)
    }

    // MARK: Connection

    private func connect() {
        self.disconnect()
        self.connectionNumber += 1
        let number = self.connectionNumber
        let call = Dialer.Call(
            master: self.master.address, portOffset: PortOffset.fileService,
            limiter: self.environment.limiter, readBytes: Self.readBytes
        ) { channel, gate in
            try channel.pipeline.syncOperations.addHandler(
                FileClientHandler(owner: self, gate: gate))
        }
        self.environment.dialer.open(call, self.loop)
            .assumeIsolated()
            .whenComplete { result in
                guard number == self.connectionNumber, !self.hasEnded else {
                    if case .success(let channel) = result { channel.close(promise: nil) }
                    return
                }
                switch result {
                case .success(let channel):
                    self.handler = try? channel.pipeline.syncOperations.handler(
                        type: FileClientHandler.self)
                    self.handle(.connected)
                case .failure(let error):
                    self.handle(
                        .disconnected(
                            "no connection to the file service: \(error)", partialBytes: 0))
                }
            }
    }

    private func disconnect() {
        self.connectionNumber += 1
        self.expectNothing()
        self.handler?.close()
        self.handler = nil
    }

    /// What was asked for does not come over this connection any more.
    private func expectNothing() {
        self.handler?.gate.expect(atMost: 0, now: self.loop.instant)
    }

    func fileClient(_ handler: FileClientHandler, received response: DecodedFileResponse) {
        guard handler === self.handler else { return }
        switch response.response {
        case .list(let list):
            self.handle(.listed(list))
        case .read(let read):
            guard read.status == .ok, let chunk = read.chunk else {
                self.handle(
                    .refused(
                        id: read.requestID, reader: read.readerIndex,
                        snapshotID: read.snapshotID, read.refusal))
                return
            }
            self.handle(
                .arrived(
                    SnapshotReceiver.Arrival(
                        id: read.requestID, reader: read.readerIndex,
                        snapshotID: read.snapshotID, chunk: chunk)),
                data: response.data)
        }
    }

    func fileClientHeard(_ handler: FileClientHandler) {
        if handler === self.handler { self.handle(.heard) }
    }

    func fileClientWritable(_ handler: FileClientHandler) {
        if handler === self.handler { self.pump() }
    }

    func fileClientClosed(_ handler: FileClientHandler, _ reason: String, partialBytes: Int) {
        guard handler === self.handler else { return }
        self.expectNothing()
        self.handler = nil
        self.handle(.disconnected(reason, partialBytes: UInt64(partialBytes)))
    }

    // MARK: Asking and storing

    /// Asks for ranges as long as there are some, the limiter grants them and the socket takes them.
    private func pump() {
        guard !self.hasEnded, let handler = self.handler else { return }
        self.pumpTimer?.cancel()
        self.pumpTimer = nil
        self.followLimit()
        while handler.isWritable, let bytes = self.receiver.nextReadBytes(now: self.loop.instant) {
            let now = self.loop.instant
            if case .waitUntil(let nanoseconds) = self.environment.limiter.acquire(
                bytes, now: now.nanoseconds)
            {
                // A changed rate makes the deadline void: the tick pumps too.
                self.pumpTimer = self.loop.scheduleTask(
                    deadline: .uptimeNanoseconds(nanoseconds)
                ) { self.pump() }
                break
            }
            guard let order = self.receiver.takeRead(now: now) else {
                self.environment.limiter.refund(bytes, now: now.nanoseconds)
                break
            }
            if order.count < bytes {
                self.environment.limiter.refund(bytes - order.count, now: now.nanoseconds)
            }
            handler.gate.prepay(order.count)
            handler.send(.read(self.request(order)))
        }
        handler.flush()
    }

    private func request(_ order: SnapshotReceiver.ReadOrder) -> FileReadRequest {
        let isPeer = self.master.isPeer
        return FileReadRequest(
            database: self.database.name, readerIndex: order.reader, filename: order.name,
            offset: order.offset, count: order.count,
            fileToken: isPeer ? self.receiver.configuration.fileToken : nil,
            requestID: isPeer ? order.id : nil, snapshot: isPeer ? self.receiver.snapshotID : nil)
    }

    private func store(_ order: SnapshotReceiver.ReadOrder, _ digest: UInt64?) {
        guard let data = self.turns.bytes, UInt64(data.readableBytes) == order.count else {
            preconditionFailure("a chunk without its bytes: \(order)")
        }
        self.onPool(serial: false) { files in
            let isIntact = try files.write(
                order.name, at: order.offset, data, digest: digest)
            return .stored(id: order.id, isIntact: isIntact)
        }
    }

    // MARK: The resume point

    private func prepare(_ manifest: SnapshotManifest, _ knowsSizes: Bool) {
        self.manifest = manifest
        let present = self.receiver.bytesDone
        let point = self.resumePoint(self.receiver.checkpoint)
        let (records, name) = (self.records, self.database.name)
        self.onPool(serial: true) { files in
            try files.prepare(manifest, knowsSizes: knowsSizes, presentBytes: present)
            // Before the first byte: a node with half a copy must know it (F17).
            try records.save(point, for: name)
            return .prepared
        }
    }

    private func save(_ checkpoint: SnapshotReceiver.Checkpoint) {
        let point = self.resumePoint(checkpoint)
        let (records, name) = (self.records, self.database.name)
        self.onPool(serial: true) { files in
            try files.synchronize()
            try records.save(point, for: name)
            return .checkpointed
        }
    }

    /// A copy is needed still, and nothing of it is here.
    private var begunPoint: ResumePoint {
        ResumePoint(
            phase: .copying, master: MasterIdentity(self.master),
            bytesReceivedTwice: self.receiver.bytesSentTwice)
    }

    private func resumePoint(_ checkpoint: SnapshotReceiver.Checkpoint) -> ResumePoint {
        let files = checkpoint.files.indices.map { index in
            FileProgress(
                name: checkpoint.files[index].name,
                sizeBytes: checkpoint.hasSize[index] ? checkpoint.files[index].sizeBytes : nil,
                verifiedBytes: checkpoint.prefixBytes[index],
                digest: checkpoint.files[index].digest)
        }
        let snapshot = SnapshotProgress(
            snapshotID: self.receiver.snapshotID?.description ?? "",
            position: checkpoint.position ?? .zero,
            runningDigest: self.master.isPeer ? self.manifest?.digest : nil,
            history: self.master.isPeer ? self.manifest?.history ?? [] : [],
            totalBytes: self.receiver.bytesTotal, files: files)
        return ResumePoint(
            phase: .copying, master: MasterIdentity(self.master), snapshot: snapshot,
            bytesReceivedTwice: checkpoint.bytesSentTwice)
    }

    // MARK: The end

    private func checkStores() {
        let environment = self.environment.keyspaceConfiguration.environment
        self.onPool(serial: true) { files in
            for kind in StoreKind.allCases {
                let path = Path.join(files.directory, kind.directoryName)
                do {
                    let store = try Store.openReadOnly(
                        path: path, kind: kind, environment: environment)
                    defer { store.close(flush: false) }
                    try store.verifyChecksums()
                } catch {
                    return .storesChecked("the copy of \(kind) is damaged: \(error)")
                }
            }
            return .storesChecked(nil)
        }
    }

    private func finish(_ outcome: SnapshotReceiver.Outcome) {
        self.isSwitching = true
        let change = DatabaseSwitch(
            keyspace: self.environment.keyspace,
            configuration: self.environment.keyspaceConfiguration,
            databaseIndex: self.databaseIndex, records: self.records, files: self.files,
            master: self.master)
        let (records, name) = (self.records, self.database.name)
        let begun = self.begunPoint
        self.busyCount += 1
        self.work.enqueue {
            var failure: DatabaseSwitch.Failure?
            do throws(DatabaseSwitch.Failure) {
                try change.run(outcome)
            } catch {
                failure = error
                if error.discards {
                    try? change.files.discard()
                    try? records.save(begun, for: name)
                }
            }
            let result = failure
            self.loop.execute {
                self.busyCount -= 1
                self.isSwitching = false
                if let result {
                    self.end(.failed(result.description, madeProgress: false))
                } else {
                    self.end(.finished)
                }
                self.succeedIfIdle()
            }
        }
    }

    private func fail(_ reason: String, discards: Bool, madeProgress: Bool) {
        guard discards else {
            // What is stored stays; the resume point may trail, the journal does not.
            self.end(.failed(reason, madeProgress: madeProgress))
            return
        }
        let (records, name) = (self.records, self.database.name)
        self.disconnect()
        self.busyCount += 1
        let files = self.files
        let begun = self.begunPoint
        self.work.enqueue {
            try? files.discard()
            try? records.save(begun, for: name)
            self.loop.execute {
                self.busyCount -= 1
                self.end(.failed(reason, madeProgress: madeProgress))
                self.succeedIfIdle()
            }
        }
    }
}

/// Where the services of a Pika listen, relative to the base port.
enum PortOffset {
    static let replication = 2_000
    static let fileService = 10_001
    /// Above it +10001 does not fit.
    static let highestBasePort = 65_535 - fileService
}

/// A rate over about two seconds.
struct RateMeter {
    private var lastTotal: UInt64 = 0
    private var lastTime: MonotonicInstant?
    private var rate = 0.0

    /// Notes a growing total; called a few times a second.
    mutating func note(total: UInt64, now: MonotonicInstant) {
        guard let last = self.lastTime else {
            self.lastTotal = total
            self.lastTime = now
            return
        }
        let nanoseconds = now.nanoseconds &- last.nanoseconds
        guard nanoseconds >= 200_000_000 else { return }
        let seconds = Double(nanoseconds) / 1_000_000_000
        let current = Double(total &- self.lastTotal) / seconds
        let weight = min(1, seconds / 1)
        self.rate += (current - self.rate) * weight
        self.lastTotal = total
        self.lastTime = now
    }

    var bytesPerSecond: UInt64 { UInt64(max(0, self.rate)) }
}
