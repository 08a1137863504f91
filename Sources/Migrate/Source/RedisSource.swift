public import FileIO
public import MigrateCore
internal import NIOCore
internal import NIOPosix
internal import RedisSync
internal import Synchronization

/// How a Redis or Valkey is read.
public struct RedisSourceConfiguration: Sendable {
    /// The link; its address is used unless `resolve` says another.
    public var link: RedisLinkConfiguration
    /// Asked before each connection: where the master is now (Sentinel).
    public var resolve: (@Sendable () async throws(SourceError) -> RedisAddress)?
    /// The spool's directory.
    public var spoolDirectory: String
    /// The spool's bounds.
    public var spoolLimits: SpoolLimits
    /// Acknowledges to the source what the target has, not what the spool has.
    public var acknowledgesApplied = false
    /// A source that lost writes is followed: what it has is copied anew.
    public var followsLostWrites = false
    /// A node of a cluster is followed for itself.
    public var allowsClusterNode = false
    /// What the other direction of a two-way sync brought can be lost: it brings it again.
    public var origin = OriginFilter()
    /// The spool's files.
    public var fileSystem: any FileSystem

    /// A configuration with the defaults of the shipped file.
    public init(
        link: RedisLinkConfiguration, spoolDirectory: String,
        spoolLimits: SpoolLimits = SpoolLimits(), fileSystem: any FileSystem = RealFileSystem()
    ) {
        self.link = link
        self.spoolDirectory = spoolDirectory
        self.spoolLimits = spoolLimits
        self.fileSystem = fileSystem
    }
}

/// A Redis or Valkey as a source: followed as a replica, through a spool on the disk.
public actor RedisSource: Source {
    private let configuration: RedisSourceConfiguration
    private let pool = NIOThreadPool(numberOfThreads: 2)
    private let refresher: RedisRefresh
    private var spool: Spool?
    private var link: RedisLink?
    private var running: Task<Void, Never>?
    private var closing: Task<Void, Never>?
    private let ending = Mutex<SourceError?>(nil)
    private var reading = Reading.between(after: 0)
    /// The last position that was given out.
    private var given: RedisPosition?
    private var idleAt: SourcePosition?
    private var lastPhase: SourcePhase?

    /// What the source can lose without harm.
    private var trail: WriteTrail
    /// The history of which an earlier place was asked for last.
    private var wentBackIn = ""
    /// A part of another snapshot is in the target: what the next one lacks must go.
    private var startsOver = false
    /// The next snapshot's start is not said yet.
    private var isResuming = false

    private enum Reading {
        case between(after: UInt32)
        case snapshot(SnapshotDecoding, Spool.GenerationView)
        case stream(SpoolStreamReader, StreamDecoding, generation: UInt32, lastTime: Int64)

        /// What is read, without how far.
        enum Place: Equatable { case between(UInt32), snapshot(UInt32), stream(UInt32) }

        var place: Place {
            switch self {
            case .between(let number): .between(number)
            case .snapshot(_, let view): .snapshot(view.number)
            case .stream(_, _, let generation, _): .stream(generation)
            }
        }
    }

    /// A source that has not begun.
    public init(_ configuration: RedisSourceConfiguration) {
        self.configuration = configuration
        self.trail = WriteTrail(origin: configuration.origin)
        let link = configuration.link
        let resolve = configuration.resolve
        self.refresher = RedisRefresh { () async throws(RedisConnectionError) in
            var address = link.address
            if let resolve, let found = try? await resolve() { address = found }
            return try await RedisConnection.connect(
                to: address, user: link.user, password: link.password(), tls: link.tls,
                group: MultiThreadedEventLoopGroup.singleton)
        }
    }

    // MARK: - Start and stop

    /// Opens the spool, and follows the server from there.
    public func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        let configuration = self.configuration
        let spool: Spool
        let start: RedisStart?
        do throws(SpoolError) {
            spool = try Spool(
                directory: configuration.spoolDirectory, limits: configuration.spoolLimits,
                fileSystem: configuration.fileSystem)
            start = try self.place(from, in: spool)
        } catch { throw Self.sourceError(error) }
        self.spool = spool
        self.pool.start()
        let link = RedisLink(
            configuration.link, spool: spool, start: start, pool: self.pool,
            resolve: configuration.resolve)
        self.link = link
        self.acknowledgeToSource(from)
        self.running = Task { [weak self] in
            do throws(RedisLinkFailure) { try await link.run() } catch {
                self?.fail(error)
            }
        }
        return try await self.opening()
    }

    /// The link receives into the spool all the time.
    public nonisolated var canRest: Bool { true }

    /// Reads anew from what is in the spool; the link goes on meanwhile.
    public func restart(_ from: SourceStart) async throws(SourceError) -> SourceOpening? {
        guard let spool = self.spool, self.closing == nil,
            self.ending.withLock({ $0 == nil })
        else { return nil }
        let isThere: Bool
        do throws(SpoolError) { isThere = try self.placeAgain(from, in: spool) } catch {
            throw Self.sourceError(error)
        }
        guard isThere else { return nil }
        self.idleAt = nil
        self.lastPhase = nil
        self.acknowledgeToSource(from)
        return try await self.opening()
    }

    /// As `place`, where a link is at work: nothing may be removed, and nothing can be asked for.
    private func placeAgain(_ from: SourceStart, in spool: Spool) throws(SpoolError) -> Bool {
        switch from {
        case .fresh:
            guard spool.needsSnapshot || spool.view(spool.generation)?.snapshotPath != nil else {
                return false
            }
            self.given = nil
            // Of an incomplete one the number may be given again: whatever is whole is taken.
            self.reading = .between(after: max(spool.generation, 1) - 1)
        case .snapshot(let point):
            guard let token = SnapshotToken(point.token),
                spool.view(token.generation)?.snapshotPath != nil
            else { return false }
            self.given = nil
            _ = try self.place(from, in: spool)
        case .stream(let position):
            guard case .redis(let redis) = position,
                spool.find(id: redis.replicationID, offset: redis.offset) != nil
            else { return false }
            _ = try self.place(from, in: spool)
        }
        return true
    }

    /// Sets where reading begins; returns where the link has to begin instead of the spool's end.
    private func place(
        _ from: SourceStart, in spool: Spool
    ) throws(SpoolError) -> RedisStart? {
        switch from {
        case .fresh:
            // What a run left that never got to a checkpoint is as good as new.
            if spool.needsSnapshot || spool.nextReadable(after: spool.generation - 1) == nil
                || spool.view(spool.generation)?.snapshotPath == nil
            {
                try spool.removeAll()
                return nil
            }
            self.reading = .between(after: spool.generation - 1)
        case .snapshot(let point):
            // Without it: as if there had been nothing.
            guard let token = SnapshotToken(point.token), let view = spool.view(token.generation),
                let path = view.snapshotPath
            else {
                try spool.removeAll()
                self.startsOver = true
                return nil
            }
            let file = try onSpoolFiles { () throws(FileError) in
                try self.configuration.fileSystem.open(path, .readOnly)
            }
            self.isResuming = true
            self.reading = .snapshot(
                SnapshotDecoding(file: file, path: path, resumingAt: token), view)
        case .stream(let position):
            guard case .redis(let position) = position else { return nil }
            self.given = position
            self.trail.restart(at: position.offset)
            if let found = spool.find(id: position.replicationID, offset: position.offset) {
                try self.beginStream(spool, found, position)
                return nil
            }
            self.reading = .between(after: spool.generation)
            return RedisStart(
                id: position.replicationID, offset: position.offset,
                database: UInt64(clamping: position.database))
        }
        return nil
    }

    private func acknowledgeToSource(_ from: SourceStart) {
        guard self.configuration.acknowledgesApplied, case .stream(.redis(let position)) = from
        else { return }
        self.link?.acknowledge(upTo: position.offset)
    }

    private func opening() async throws(SourceError) -> SourceOpening {
        var description = "redis"
        var identity = self.configuration.link.address.description
        if let info = try? await self.refresher.info("server") {
            if info["redis_mode"] == "cluster", !self.configuration.allowsClusterNode {
                throw .unsupported(
                    "the source is one node of a cluster: redis-cluster://host:port reads all of it,"
                        + " redis-shard://host:port this shard alone, while no slots move")
            }
            if let version = info["valkey_version"] {
                description = "valkey \(version)"
            } else if let version = info["redis_version"] {
                description = "redis \(version)"
            }
        }
        if let info = try? await self.refresher.info("replication"), let id = info["master_replid"]
        {
            identity = id
        }
        return SourceOpening(description: description, identity: identity, canRefresh: true)
    }

    private nonisolated func fail(_ failure: RedisLinkFailure) {
        let error: SourceError =
            switch failure {
            case .authentication, .untrusted: .refused("\(failure)")
            case .unsupported: .unsupported("\(failure)")
            case .malformed: .corrupt("\(failure)")
            case .spool(let error): Self.sourceError(error)
            }
        self.ending.withLock { $0 = $0 ?? error }
        Task { await self.wake() }
    }

    private func wake() { self.spool?.announceChange() }

    /// Ends reading; what was spooled stays.
    ///
    /// Every call returns only when nothing of the spool is open any more.
    public func stop() async {
        if let closing = self.closing { return await closing.value }
        let closing = Task { await self.close() }
        self.closing = closing
        await closing.value
    }

    private func close() async {
        self.ending.withLock { $0 = $0 ?? .stopped }
        self.running?.cancel()
        self.spool?.announceChange()
        await self.running?.value
        self.running = nil
        await self.refresher.close()
        self.spool?.close()
        try? await self.pool.shutdownGracefully()
        await self.link?.shutdown()
    }

    // MARK: - Reading

    /// The next events.
    public func next() async throws(SourceError) -> [SourceEvent] {
        guard let spool = self.spool else { throw .stopped }
        while true {
            if case .some(.stopped) = self.ending.withLock({ $0 }) { throw .stopped }
            if Task.isCancelled { throw .stopped }
            let seen = spool.changes
            let before = self.reading.place
            let events = try await self.read(spool)
            if !events.isEmpty { return events }
            // What comes next in the spool may have been there for long.
            if self.reading.place != before { continue }
            if let phase = self.phaseChange() { return [.phase(phase)] }
            // What is in the spool is given out before a failure is.
            if let error = self.ending.withLock({ $0 }) { throw error }
            await spool.waitForChange(after: seen)
        }
    }

    private func phaseChange() -> SourcePhase? {
        let phase = self.phase
        guard phase != self.lastPhase else { return nil }
        self.lastPhase = phase
        return phase
    }

    private func read(_ spool: Spool) async throws(SourceError) -> [SourceEvent] {
        switch self.reading {
        case .between(let number): return try await self.openNext(spool, after: number)
        case .snapshot(let decoding, let view):
            // Moved out and back in, so that nothing is copied.
            self.reading = .between(after: view.number)
            guard let now = spool.view(view.number) else {
                // The link broke in the middle of it: the source begins anew.
                return try await self.openNext(spool, after: view.number)
            }
            return try self.readSnapshot(spool, decoding, view, isWhole: now.isWhole)
        case .stream(var reader, var decoding, let generation, var lastTime):
            // Moved out and back in, so that nothing is copied.
            self.reading = .between(after: generation)
            defer { self.keep(reader, decoding, generation, lastTime, spool) }
            return try self.readStream(spool, &reader, &decoding, generation, &lastTime)
        }
    }

    /// What is there of a snapshot, which may still be on its way.
    private func readSnapshot(
        _ spool: Spool, _ decoding: consuming SnapshotDecoding, _ view: Spool.GenerationView,
        isWhole: Bool
    ) throws(SourceError) -> [SourceEvent] {
        if self.isResuming {
            self.isResuming = false
            self.reading = .snapshot(decoding, view)
            return [.snapshotStart(self.snapshotStart(view, .firstCopy, isResumed: true))]
        }
        var decoding = decoding
        let position = self.position(view.origin, database: decoding.streamDatabase)
        let events = try decoding.next(
            generation: view.number, position: .redis(position), isWhole: isWhole)
        guard decoding.isDone, isWhole else {
            self.reading = .snapshot(decoding, view)
            return events
        }
        let end = self.position(view.origin, database: decoding.streamDatabase)
        self.given = end
        self.trail.restart(at: end.offset)
        do throws(SpoolError) {
            try self.beginStream(spool, view.number, end)
        } catch { throw Self.sourceError(error) }
        return events + [.snapshotEnd(.redis(end))]
    }

    private func keep(
        _ reader: SpoolStreamReader, _ decoding: StreamDecoding, _ generation: UInt32,
        _ lastTime: Int64, _ spool: Spool
    ) {
        if case .closed = spool.place(generation, reader.offset) {
            self.reading = .between(after: generation)
        } else {
            self.reading = .stream(reader, decoding, generation: generation, lastTime: lastTime)
        }
    }

    private func readStream(
        _ spool: Spool, _ reader: inout SpoolStreamReader, _ decoding: inout StreamDecoding,
        _ generation: UInt32, _ lastTime: inout Int64
    ) throws(SourceError) -> [SourceEvent] {
        var events: [SourceEvent] = []
        var bytes = 0
        while bytes < ElementChunk.maxBytes {
            let block: (bytes: [UInt8], receivedAtMilliseconds: Int64)?
            do throws(SpoolError) { block = try reader.next() } catch {
                throw Self.sourceError(error)
            }
            if let block {
                if let change = decoding.rename(reader.sourceID) {
                    events.append(self.noted(change))
                }
                decoding.feed(block.bytes)
                bytes += block.bytes.count
                lastTime = block.receivedAtMilliseconds
                while let unit = try decoding.next(sourceTimeMilliseconds: lastTime) {
                    self.trail.gave(unit)
                    events.append(.unit(unit))
                }
                continue
            }
            if let id = spool.currentID(of: generation), let change = decoding.rename(id) {
                events.append(self.noted(change))
            }
            if decoding.end != self.idleAt {
                self.idleAt = decoding.end
                let now = self.configuration.link.wallClockMilliseconds()
                events.append(.idle(decoding.end, sourceTimeMilliseconds: now))
            }
            break
        }
        if case .redis(let position) = decoding.end { self.given = position }
        return events
    }

    private func beginStream(
        _ spool: Spool, _ generation: UInt32, _ position: RedisPosition
    ) throws(SpoolError) {
        let reader = try SpoolStreamReader(
            spool: spool, generation: generation, offset: position.offset)
        self.reading = .stream(
            reader,
            StreamDecoding(
                id: position.replicationID, offset: position.offset, database: position.database),
            generation: generation, lastTime: 0)
    }

    private func openNext(
        _ spool: Spool, after number: UInt32
    ) async throws(SourceError) -> [SourceEvent] {
        guard let view = spool.nextReadable(after: number) else { return [] }
        guard let path = view.snapshotPath else {
            let place = self.position(view.origin, database: Int(clamping: view.origin.database))
            var events: [SourceEvent] = []
            if let given = self.given, given.replicationID != place.replicationID {
                let change = IdentityChange(
                    what: "replication id", old: .redis(given), new: .redis(place))
                events = [self.noted(.identityChange(change))]
            }
            do throws(SpoolError) { try self.beginStream(spool, view.number, place) } catch {
                throw Self.sourceError(error)
            }
            return events
        }
        // Complete in the meantime, it has another name: the next call finds it.
        guard let file = try self.open(path, isWhole: view.isWhole) else { return [] }
        var reason: SnapshotReason = self.startsOver ? .historyGap : .firstCopy
        if let given = self.given {
            reason = .historyGap
            switch await self.loss(given, view.origin) {
            case nil: break
            case .echoes(let place) where self.goBack(to: place, in: view.origin.sourceID):
                self.reading = .between(after: view.number)
                return []
            case .own, .echoes:
                guard self.configuration.followsLostWrites else {
                    throw .lostWrites(
                        applied: .redis(given), source: "it left our history before what we have")
                }
                reason = .lostWrites
            }
        }
        self.reading = .snapshot(SnapshotDecoding(file: file, path: path), view)
        return [.snapshotStart(self.snapshotStart(view, reason, isResumed: false))]
    }

    private func open(_ path: String, isWhole: Bool) throws(SourceError) -> (any File)? {
        do throws(FileError) {
            return try self.configuration.fileSystem.open(path, .readOnly)
        } catch {
            guard !isWhole else { throw .io("\(error)") }
            return nil
        }
    }

    private func snapshotStart(
        _ view: Spool.GenerationView, _ reason: SnapshotReason, isResumed: Bool
    ) -> SnapshotStart {
        SnapshotStart(
            reason: reason, position: .redis(self.position(view.origin, database: 0)),
            totalBytes: view.isWhole
                ? view.snapshotBytes
                : max(view.snapshotBytes, self.link?.status.snapshotBytes ?? 0),
            isResumed: isResumed)
    }

    private func position(_ origin: SpoolOrigin, database: Int) -> RedisPosition {
        RedisPosition(
            replicationID: origin.sourceID, offset: origin.startOffset, database: database)
    }

    /// Proof that the source has less of our history than was given out; nil = there is none.
    ///
    /// A new id alone proves nothing: a restart of old servers begins one with all data in place.
    private func loss(_ given: RedisPosition, _ origin: SpoolOrigin) async -> WriteTrail.Loss? {
        if origin.sourceID == given.replicationID, origin.startOffset < given.offset { return .own }
        guard let info = try? await self.refresher.info("replication"),
            let id = info["master_replid2"],
            let end = info["second_repl_offset"].flatMap({ UInt64($0) }), end > 0
        else { return nil }
        return self.trail.loss(left: id, at: end - 1, given: given)
    }

    /// Asks for the stream from where the source left our history, in place of a copy; once in each of
    /// its histories, as its backlog may not reach so far.
    private func goBack(to place: RedisPosition, in history: String) -> Bool {
        guard self.wentBackIn != history else { return false }
        self.wentBackIn = history
        self.link?.restart(
            at: RedisStart(
                id: place.replicationID, offset: place.offset,
                database: UInt64(clamping: place.database)))
        return true
    }

    private func noted(_ event: SourceEvent) -> SourceEvent {
        if case .identityChange(let change) = event { self.trail.renamed(change) }
        return event
    }

    // MARK: - The other calls

    /// Removes spool that is not needed any more.
    public func acknowledge(_ position: SourcePosition) async {
        guard case .redis(let position) = position, let spool = self.spool,
            let generation = spool.find(id: position.replicationID, offset: position.offset)
        else { return }
        try? spool.release(before: generation, offset: position.offset, isBehindSnapshot: true)
        if self.configuration.acknowledgesApplied {
            self.link?.acknowledge(upTo: position.offset)
        }
    }

    /// How long it is waited before a key is read again.
    static let readPause = Duration.milliseconds(50)

    /// Reads a key in a transaction of the source; waits while the link is in another history than
    /// whoever reads.
    public func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        var agreement = ReadAgreement()
        while true {
            if let error = self.ending.withLock({ $0 }) { throw error }
            let read = try await self.refresher.read(database: database, key: key)
            guard case .redis(let place) = read.position, let link = self.link,
                let spool = self.spool
            else { return read }
            let status = link.status
            let step = agreement.judge(
                read: place.replicationID, received: spool.sourceID,
                isStreaming: status.phase == .streaming, isHeld: status.held != nil)
            if step == .take { return read }
            if step == .reconnect { link.reconnect() }
            // Over a connection of its own: to whatever is the server by now.
            await self.refresher.close()
            try? await Task.sleep(for: Self.readPause)
            if Task.isCancelled { throw .stopped }
        }
    }

    /// Numbers of link and spool.
    public func status() async -> SourceStatus {
        var status = SourceStatus()
        status.phase = self.phase
        guard let link = self.link?.status, let spool = self.spool else { return status }
        status.receivedBytes = link.receivedBytes
        status.spoolBytes = spool.totalBytes
        status.snapshotBytes = link.snapshotBytes ?? 0
        status.snapshotReceivedBytes = spool.view(spool.generation)?.snapshotBytes ?? 0
        status.reconnects = link.connections > 0 ? link.connections - 1 : 0
        status.lastTrouble = link.held ?? link.lastFailure ?? ""
        if let given = self.given, spool.endOffset > given.offset,
            case .stream = self.reading
        {
            status.backlogBytes = spool.endOffset - given.offset
        }
        return status
    }

    private var phase: SourcePhase {
        guard let link = self.link?.status else { return .connecting }
        return switch link.phase {
        case .connecting: .connecting
        case .waitingForSnapshot: .waitingSnapshot
        case .spooling: .spooling
        case .streaming: .streaming
        case .down, .failed: link.connections > 0 ? .reconnecting : .connecting
        }
    }

    static func sourceError(_ error: SpoolError) -> SourceError {
        if error.isOutOfSpace { return .outOfSpace("\(error)") }
        return if case .damaged = error { .corrupt("\(error)") } else { .io("\(error)") }
    }
}
