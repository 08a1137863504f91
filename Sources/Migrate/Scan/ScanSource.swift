internal import FileIO
internal import MigrateCore
internal import NIOPosix
internal import RedisSync

/// A Redis that must not fork, as a source: keys by cursor, and the stream beside them.
///
/// It is joined where its stream is now, without a snapshot; that needs a backlog, which a server has
/// that has or lately had a replica. A server of version 7 without one is asked for an empty
/// snapshot once.
actor ScanSource: Source {
    private enum Phase {
        case copying(ScanProgress, joint: RedisPosition, hasBegun: Bool)
        case following(horizon: UInt64)
    }

    /// What came of the stream and was not taken yet.
    private struct Stream {
        var waiting: [SourceEvent] = []
        var failure: SourceError?
    }

    private let configuration: RedisSourceConfiguration
    private let horizonPath: String
    private let inner: RedisSource
    private let reader: KeyReader
    private let arrived = Bell()
    private let room = Bell()
    private var stream = Stream()
    private var pump: Task<Void, Never>?
    private var phase: Phase
    private var runID = ""
    private var databases: Set<Int> = []
    private var reason = SnapshotReason.firstCopy
    private var isResumed = false
    private var isStopped = false
    /// The end of what was taken of the stream while copying.
    private var streamEnd: RedisPosition?
    private var trouble = ""

    /// Before a read that failed is tried again.
    private static let pause = Duration.milliseconds(200)
    private static let horizonFile = SealedFile(
        kind: "PKMIGHOR", version: 1, limitBytes: 1_024)

    /// - Parameter directory: The job's.
    init(_ configuration: RedisSourceConfiguration, directory: String) {
        var configuration = configuration
        configuration.link.refusesSnapshots = true
        self.configuration = configuration
        self.horizonPath = Path.join(directory, "scan-horizon")
        self.inner = RedisSource(configuration)
        let link = configuration.link
        self.reader = KeyReader { () async throws(RedisConnectionError) in
            try await RedisConnection.connect(
                to: link.address, user: link.user, password: link.password(), tls: link.tls,
                group: MultiThreadedEventLoopGroup.singleton)
        }
        self.phase = .following(horizon: 0)
    }

    // MARK: - Start and stop

    func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        let server = try await self.info("server")
        self.runID = server["run_id"] ?? ""
        try await self.lookForDatabases()
        let opening: SourceOpening
        switch from {
        case .stream(let position):
            self.phase = .following(horizon: try self.readHorizon())
            opening = try await self.inner.start(.stream(position))
        case .snapshot(let point):
            guard case .redis(let joint) = point.position else {
                throw .stranger("the checkpoint is not one of a Redis")
            }
            // A cursor means nothing to a server that was started anew.
            let place = Self.place(point.token, runID: self.runID)
            self.isResumed = true
            self.begin(joint, at: place)
            opening = try await self.inner.start(.stream(point.position))
        case .fresh:
            let joint = try await self.join(server)
            self.begin(joint, at: nil)
            opening = try await self.inner.start(.stream(.redis(joint)))
        }
        let inner = self.inner
        let room = self.room
        self.pump = Task { [weak self] in
            while !Task.isCancelled {
                do throws(SourceError) {
                    let events = try await inner.next()
                    guard let self else { return }
                    await self.take(events)
                } catch {
                    await self?.fail(error)
                    return
                }
                await room.wait()
            }
        }
        return opening
    }

    private func begin(_ joint: RedisPosition, at place: ScanProgress.Place?) {
        self.phase = .copying(
            ScanProgress(databases: self.databases, from: joint.offset, at: place), joint: joint,
            hasBegun: false)
    }

    func stop() async {
        self.isStopped = true
        self.pump?.cancel()
        self.room.ring()
        self.arrived.ring()
        await self.inner.stop()
        await self.reader.close()
    }

    private func take(_ events: [SourceEvent]) {
        self.stream.waiting += events
        self.arrived.ring()
    }

    private func fail(_ error: SourceError) {
        self.stream.failure = error
        self.arrived.ring()
    }

    // MARK: - The server

    private func info(_ section: String) async throws(SourceError) -> RedisInfo {
        let replies = try await self.reader.exchange([RedisRefresh.words("INFO", section)])
        return RedisInfo(replies.first?.text ?? "")
    }

    private func lookForDatabases() async throws(SourceError) {
        let info = try await self.info("keyspace")
        let found = info.names(with: "db").compactMap { Int($0.dropFirst(2)) }
        self.databases.formUnion(found)
    }

    /// Where the stream is now; from there on it is followed.
    private func join(_ server: RedisInfo) async throws(SourceError) -> RedisPosition {
        var info = try await self.info("replication")
        if info["repl_backlog_active"] != "1" {
            try await self.makeBacklog(server)
            info = try await self.info("replication")
        }
        guard info["repl_backlog_active"] == "1",
            let id = info["master_replid"] ?? server["run_id"],
            let offset = info["master_repl_offset"].flatMap({ UInt64($0) })
        else {
            throw .unsupported(
                "the source keeps no backlog, so its stream can't be joined without a snapshot:"
                    + " attach a replica to it once")
        }
        return RedisPosition(
            replicationID: id, offset: offset, database: ScanProgress.unknownDatabase)
    }

    /// Asks a server of version 7 for a snapshot without keys; a backlog stays.
    private func makeBacklog(_ server: RedisInfo) async throws(SourceError) {
        let version = server["valkey_version"] ?? server["redis_version"] ?? ""
        guard let major = version.split(separator: ".").first.flatMap({ Int($0) }), major >= 7
        else { return }
        let link = self.configuration.link
        do throws(RedisConnectionError) {
            let connection = try await RedisConnection.connect(
                to: link.address, user: link.user, password: link.password(), tls: link.tls,
                group: MultiThreadedEventLoopGroup.singleton)
            defer { connection.close() }
            for words in [
                ["REPLCONF", "capa", "eof", "capa", "psync2"],
                ["REPLCONF", "rdb-filter-only", ""], ["PSYNC", "?", "-1"],
            ] {
                let reply = try await connection.send(words.map { Array($0.utf8) })
                if let failure = reply.failure { throw .lost(failure) }
            }
        } catch { throw .unsupported("the source gives no backlog: \(error)") }
    }

    // MARK: - Files and tokens

    private func readHorizon() throws(SourceError) -> UInt64 {
        let bytes: [UInt8]?
        do throws(FileError) {
            bytes = try self.configuration.fileSystem.readFile(
                self.horizonPath, limitBytes: 1_024 + SealedFile.overheadBytes)
        } catch { throw .io("\(error)") }
        guard let bytes else { return 0 }
        guard let payload = try? Self.horizonFile.decode(bytes), payload.payload.count == 8 else {
            throw .corrupt("\(self.horizonPath) is damaged")
        }
        return SpoolBytes.load(payload.payload, at: 0)
    }

    private func write(horizon: UInt64) throws(SourceError) {
        var bytes: [UInt8] = []
        SpoolBytes.append(horizon, to: &bytes)
        do {
            try self.configuration.fileSystem.writeAtomically(
                self.horizonPath, Self.horizonFile.encode(bytes))
        } catch { throw .io("\(error)") }
    }

    /// The server's run, the database and the cursor.
    private func token(_ place: ScanProgress.Place) -> [UInt8] {
        Array("\(self.runID) \(place.database) \(place.cursor)".utf8)
    }

    private static func place(_ token: [UInt8], runID: String) -> ScanProgress.Place? {
        let words = String(decoding: token, as: UTF8.self).split(separator: " ")
        guard words.count == 3, words[0] == runID, let database = Int(words[1]),
            let cursor = UInt64(words[2])
        else { return nil }
        return ScanProgress.Place(database: database, cursor: cursor)
    }

    // MARK: - Reading

    func next() async throws(SourceError) -> [SourceEvent] {
        while true {
            if self.isStopped || Task.isCancelled { throw .stopped }
            let events: [SourceEvent]
            switch self.phase {
            case .copying(let progress, let joint, let hasBegun):
                events = try await self.copy(progress, joint, hasBegun)
            case .following(let horizon): events = try await self.follow(horizon)
            }
            if !events.isEmpty { return events }
            if case .following = self.phase { await self.arrived.wait() }
        }
    }

    private func taken() throws(SourceError) -> [SourceEvent] {
        let events = self.stream.waiting
        if events.isEmpty, let failure = self.stream.failure { throw failure }
        self.stream.waiting = []
        self.room.ring()
        return events
    }

    private func follow(_ horizon: UInt64) async throws(SourceError) -> [SourceEvent] {
        let events = try self.taken()
        let isUnknown = events.contains { event in
            guard case .unit(let unit) = event else { return false }
            return unit.commands.contains { $0.database == ScanProgress.unknownDatabase }
        }
        if isUnknown { try await self.lookForDatabases() }
        let databases = self.databases
        return events.map { event in
            guard case .unit(let unit) = event else { return event }
            return .unit(
                ScanProgress.following(unit, horizon: horizon, databases: databases))
        }
    }

    private func copy(
        _ progress: ScanProgress, _ joint: RedisPosition, _ hasBegun: Bool
    ) async throws(SourceError) -> [SourceEvent] {
        var progress = progress
        guard hasBegun else {
            self.phase = .copying(progress, joint: joint, hasBegun: true)
            var start = SnapshotStart(
                reason: self.reason, position: .redis(joint), totalBytes: 0,
                isResumed: self.isResumed)
            start.mayRepeat = true
            return [.phase(.scanning), .snapshotStart(start)]
        }
        // What was taken of the stream stays taken, whatever becomes of the reading.
        if progress.takesUnits, try !self.collect(&progress) {
            // A database was emptied or exchanged: what was copied means nothing any more.
            self.reason = .historyGap
            self.isResumed = false
            let place = RedisPosition(
                replicationID: joint.replicationID, offset: progress.taken,
                database: joint.database)
            try await self.lookForDatabases()
            self.begin(place, at: nil)
            return [.notice(SourceNotice(kind: "scan-restarted", text: "a database was emptied"))]
        }
        let before = progress
        let step = progress.step()
        if case .finish = step { return try self.finish(progress, joint) }
        let events: [SourceEvent]
        do throws(SourceError) {
            events = try await self.perform(step, joint, &progress)
        } catch {
            guard case .io(let text) = error else { throw error }
            self.trouble = text
            // What was begun is begun again; a cursor means nothing to a server that was restarted.
            progress = before
            try? await Task.sleep(for: Self.pause)
            if let found = try? await self.info("server")["run_id"], found != self.runID {
                self.runID = found
                progress.rescan()
            }
            self.phase = .copying(progress, joint: joint, hasBegun: true)
            return []
        }
        self.phase = .copying(progress, joint: joint, hasBegun: true)
        return events
    }

    private func perform(
        _ step: ScanProgress.Step, _ joint: RedisPosition, _ progress: inout ScanProgress
    ) async throws(SourceError) -> [SourceEvent] {
        var events: [SourceEvent] = []
        switch step {
        case .scan(let database, let cursor):
            events = try await self.scan(database, cursor, &progress)
            if let place = progress.place {
                let point = SnapshotPoint(position: .redis(joint), token: self.token(place))
                events.append(.snapshotPoint(point, readBytes: 0))
            }
        case .reread(let keys):
            for (database, group) in Dictionary(grouping: keys, by: \.database) {
                let page = try await self.reader.read(database, group.map(\.key))
                events += Self.events(database, page, withAbsent: true)
                progress.read(at: page.offset)
            }
        case .catchUp: try? await Task.sleep(for: .milliseconds(5))
        case .finish: break
        }
        return events
    }

    /// Takes what has come of the stream; false if the copy has to be made anew.
    private func collect(_ progress: inout ScanProgress) throws(SourceError) -> Bool {
        var isSound = true
        for event in try self.taken() {
            switch event {
            case .unit(let unit):
                if case .redis(let end) = unit.end { self.streamEnd = end }
                if !progress.take(unit) { isSound = false }
                if case .redis(let end) = unit.end { progress.advance(to: end.offset) }
            case .idle(.redis(let position), _):
                self.streamEnd = position
                progress.advance(to: position.offset)
            case .identityChange(let change):
                if case .redis(let position) = change.new { self.streamEnd = position }
            default: break
            }
        }
        return isSound
    }

    private func scan(
        _ database: Int, _ cursor: UInt64, _ progress: inout ScanProgress
    ) async throws(SourceError) -> [SourceEvent] {
        let replies = try await self.reader.exchange([
            RedisRefresh.words("SELECT", String(database)),
            RedisRefresh.words(
                "SCAN", String(cursor), "COUNT", String(ScanProgress.pageKeys)),
        ])
        guard let parts = replies.last?.elements, parts.count == 2,
            let next = parts[0].text.flatMap({ UInt64($0) }), let names = parts[1].elements
        else { throw .corrupt("the source's answer to SCAN makes no sense") }
        progress.scanned(next: next)
        let keys = names.compactMap(\.bytes)
        guard !keys.isEmpty else { return [] }
        let page = try await self.reader.read(database, keys)
        progress.read(at: page.offset)
        return Self.events(database, page, withAbsent: false)
    }

    /// A key that is gone comes with a deadline that is past: what the target has must go.
    private static func events(
        _ database: Int, _ page: KeyReader.Page, withAbsent: Bool
    ) -> [SourceEvent] {
        page.values.flatMap { key, values -> [SourceEvent] in
            if values.isEmpty {
                let head = KeyHead(
                    database: database, name: key, kind: .string, deadlineMilliseconds: 1)
                return withAbsent ? [.keyStart(head), .keyEnd] : []
            }
            return values.flatMap { value in
                [.keyStart(value.head)] + value.chunks.map { .elements($0) } + [.keyEnd]
            }
        }
    }

    private func finish(
        _ progress: ScanProgress, _ joint: RedisPosition
    ) throws(SourceError) -> [SourceEvent] {
        // Durable before anything of the stream is applied.
        try self.write(horizon: progress.horizon)
        self.phase = .following(horizon: progress.horizon)
        var end = self.streamEnd ?? joint
        end.offset = progress.fence
        return [.snapshotEnd(.redis(end))]
    }

    // MARK: - The other calls

    func acknowledge(_ position: SourcePosition) async { await self.inner.acknowledge(position) }

    func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        try await self.inner.refresh(database: database, key: key)
    }

    func status() async -> SourceStatus {
        var status = await self.inner.status()
        if case .copying = self.phase { status.phase = .scanning }
        if status.lastTrouble.isEmpty { status.lastTrouble = self.trouble }
        return status
    }
}
