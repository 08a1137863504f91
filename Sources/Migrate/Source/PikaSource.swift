internal import Binlog
internal import FileIO
internal import Keyspace
public import MigrateCore
internal import NIOPosix
internal import Replication
internal import SyncProtocol
internal import Synchronization

/// A Pika, or our server, as a source: followed as a replica, over port+2000 and port+10001.
public actor PikaSource: Source {
    /// How often the copy is looked at.
    static let pollMilliseconds = 20

    private let configuration: PikaSourceConfiguration
    private let refresher: PikaRefresh
    private var replica: PikaReplica?
    private var units: [BinlogUnits] = []
    private var reading = Reading.waiting(.firstCopy)
    private var stopped = false
    private var closing: Task<Void, Never>?
    private var idleAt: [PikaLogPosition] = []
    private var replicationID = ""
    private var runID = ""
    private var lastPhase: SourcePhase?
    /// Which database is read first: all get their turn.
    private var turn = 0

    private enum Reading {
        /// For a whole copy, which is then cut.
        case waiting(SnapshotReason)
        case snapshot(StoreWalk, PikaPosition, start: SnapshotStart?)
        case stream
    }

    /// A source that has not begun.
    public init(_ configuration: PikaSourceConfiguration) {
        self.configuration = configuration
        self.refresher = PikaRefresh(configuration)
    }

    // MARK: - Start and stop

    /// Opens the copy that is there, and follows the master.
    public func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        let server = try await self.refresher.describe()
        self.replicationID = server.replicationID
        self.runID = server.runID
        let count = self.configuration.databaseCount ?? server.databaseCount
        guard (1...Keyspace.databaseLimitCount).contains(count) else {
            throw .unsupported("the source has \(count) databases")
        }
        let replica = try PikaReplica(self.configuration, databaseCount: count)
        self.replica = replica
        switch from {
        case .fresh:
            break
        case .snapshot(let point):
            if !self.resume(point, in: replica) {
                replica.removeCut()
                // A part of another cut is in the target: what the next one lacks must go.
                self.reading = .waiting(.historyGap)
            }
        case .stream(let position):
            guard case .pika(let position) = position else {
                throw .stranger("the checkpoint is not one of a Pika")
            }
            if !self.beginStream(position, in: replica) { self.reading = .waiting(.historyGap) }
        }
        try replica.follow(self.configuration.address, anew: false)
        var opening = SourceOpening(
            description: server.description,
            identity: server.replicationID.isEmpty ? server.runID : server.replicationID,
            canRefresh: true)
        opening.keepsTypesApart = true
        return opening
    }

    private func resume(_ point: SnapshotPoint, in replica: PikaReplica) -> Bool {
        guard case .pika(let position) = point.position, let walk = StoreWalkPoint(point.token),
            replica.hasCut, self.beginStream(position, in: replica)
        else { return false }
        self.reading = .snapshot(
            self.walk(replica, position, resumingAt: walk), position,
            start: SnapshotStart(
                reason: .firstCopy, position: point.position, totalBytes: 0, isResumed: true))
        return true
    }

    private func walk(
        _ replica: PikaReplica, _ position: PikaPosition, resumingAt point: StoreWalkPoint? = nil
    ) -> StoreWalk {
        StoreWalk(
            directory: replica.cutPath, databases: position.databases.keys.sorted(),
            now: self.configuration.wallClockMilliseconds() / 1_000,
            environment: replica.environment, resumingAt: point)
    }

    /// False if the logs are others, or do not go back so far.
    private func beginStream(_ position: PikaPosition, in replica: PikaReplica) -> Bool {
        var units: [BinlogUnits] = []
        for database in replica.keyspace.databases {
            guard let place = position.databases[database.index] else { return false }
            let binlog = BinlogPosition(fileNumber: place.fileNumber, offset: place.offset)
            guard BinlogUnits.digest(of: database.history, at: binlog) == place.digest,
                let reader = try? BinlogUnits(
                    database: database.index, log: database.log, at: place)
            else { return false }
            units.append(reader)
        }
        self.units = units
        self.reading = .stream
        return true
    }

    /// Ends reading; copy and logs stay.
    ///
    /// Every call returns only when nothing of the copy is open any more.
    public func stop() async {
        self.stopped = true
        if let closing = self.closing { return await closing.value }
        guard let replica = self.replica else { return }
        self.replica = nil
        self.units = []
        self.reading = .waiting(.firstCopy)
        let refresher = self.refresher
        let closing = Task {
            await refresher.close()
            try? await NIOThreadPool.singleton.runIfActive { replica.close() }
        }
        self.closing = closing
        await closing.value
    }

    // MARK: - Reading

    /// The next events.
    public func next() async throws(SourceError) -> [SourceEvent] {
        while true {
            guard !self.stopped, !Task.isCancelled, let replica = self.replica else {
                throw .stopped
            }
            let events = try self.read(replica)
            if !events.isEmpty { return events }
            let phase = self.phase(replica)
            if phase != self.lastPhase {
                self.lastPhase = phase
                return [.phase(phase)]
            }
            try? await Task.sleep(for: .milliseconds(Self.pollMilliseconds))
        }
    }

    private func read(_ replica: PikaReplica) throws(SourceError) -> [SourceEvent] {
        switch self.reading {
        case .waiting(let reason):
            try self.checkBroken(replica)
            guard replica.isComplete else { return [] }
            return try self.cut(replica, reason)
        case .snapshot(var walk, let position, let start):
            if let start {
                self.reading = .snapshot(walk, position, start: nil)
                return [.snapshotStart(start)]
            }
            self.reading = .stream
            let events = try walk.next(position: .pika(position))
            guard events.isEmpty else {
                self.reading = .snapshot(walk, position, start: nil)
                return events
            }
            return [.snapshotEnd(.pika(position))]
        case .stream:
            return try self.readStream(replica)
        }
    }

    /// Freezes the copy: what is read is exactly what the logs say up to its positions.
    private func cut(
        _ replica: PikaReplica, _ reason: SnapshotReason
    ) throws(SourceError) -> [SourceEvent] {
        let snapshot = try replica.cut()
        var position = PikaPosition(
            replicationID: self.replicationID, runID: self.runID, databases: [:])
        var bytes: UInt64 = 0
        for (index, cut) in snapshot.databases.enumerated() {
            position.databases[index] = PikaLogPosition(
                fileNumber: cut.position.fileNumber, offset: cut.position.offset,
                digest: BinlogUnits.digest(of: cut.history, at: cut.position))
            bytes += cut.files.reduce(0) { $0 + $1.sizeBytes }
        }
        guard self.beginStream(position, in: replica) else { return [] }
        self.reading = .snapshot(self.walk(replica, position), position, start: nil)
        return [
            .snapshotStart(
                SnapshotStart(
                    reason: reason, position: .pika(position), totalBytes: bytes,
                    isResumed: false))
        ]
    }

    private func readStream(_ replica: PikaReplica) throws(SourceError) -> [SourceEvent] {
        let databases = replica.keyspace.databases
        var events: [SourceEvent] = []
        for step in self.units.indices {
            let index = (self.turn + step) % self.units.count
            let database = databases[index]
            if database.log !== self.units[index].log, try !self.followNewLog(replica) {
                return events
            }
            var reader = self.units[index]
            for unit in try reader.next(upTo: database.published) {
                events.append(.unit(self.sourceUnit(unit, index)))
            }
            self.units[index] = reader
        }
        self.turn = (self.turn + 1) % max(1, self.units.count)
        guard events.isEmpty else { return events }
        try self.checkBroken(replica)
        let ends = self.units.map(\.end)
        guard ends != self.idleAt else { return [] }
        self.idleAt = ends
        return [
            .idle(
                .pika(self.position),
                sourceTimeMilliseconds: self.configuration.wallClockMilliseconds())
        ]
    }

    /// A new copy took a log's place: the same history goes on, any other is a gap.
    private func followNewLog(_ replica: PikaReplica) throws(SourceError) -> Bool {
        if self.beginStream(self.position, in: replica) { return true }
        self.reading = .waiting(.historyGap)
        return false
    }

    private var position: PikaPosition {
        var databases: [Int: PikaLogPosition] = [:]
        for reader in self.units { databases[reader.database] = reader.end }
        return PikaPosition(
            replicationID: self.replicationID, runID: self.runID, databases: databases)
    }

    private func sourceUnit(_ unit: BinlogUnits.Unit, _ index: Int) -> SourceUnit {
        var start = self.position
        start.databases[index] = unit.start
        var end = start
        end.databases[index] = unit.end
        return SourceUnit(
            commands: unit.commands, isTransaction: unit.isGroup, start: .pika(start),
            end: .pika(end), sourceTimeMilliseconds: Int64(unit.timeSeconds) * 1_000)
    }

    /// What does not pass by itself.
    private func checkBroken(_ replica: PikaReplica) throws(SourceError) {
        for database in replica.status.databases where database.phase == .broken {
            let reason = database.reason ?? "no reason is known"
            guard reason.contains("ahead of the master") else {
                throw .io("\(database.name) can't be followed: \(reason)")
            }
            guard self.configuration.followsLostWrites else {
                throw .lostWrites(applied: .pika(self.position), source: reason)
            }
            self.reading = .waiting(.lostWrites)
            try replica.follow(self.configuration.address, anew: true)
            return
        }
    }

    // MARK: - The other calls

    /// Removes logs, and the cut, that are not needed any more.
    public func acknowledge(_ position: SourcePosition) async {
        guard case .pika(let position) = position, let replica = self.replica else { return }
        if case .stream = self.reading { replica.removeCut() }
        for (database, place) in position.databases {
            replica.release(
                database: database,
                before: BinlogPosition(fileNumber: place.fileNumber, offset: place.offset))
        }
    }

    /// Reads a key between two looks at the log's end, until nothing was logged for it meanwhile.
    public func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        guard let replica = self.replica, replica.keyspace.databases.indices.contains(database)
        else { throw .stopped }
        return try await self.refresher.read(
            database: database, key: key, in: replica.keyspace.databases[database],
            replicationID: self.replicationID, runID: self.runID)
    }

    /// Numbers of the copy.
    public func status() async -> SourceStatus {
        var status = SourceStatus()
        guard let replica = self.replica else { return status }
        let link = replica.status
        status.phase = self.phase(replica)
        status.lastTrouble = link.lastFailure ?? ""
        for database in link.databases {
            status.snapshotReceivedBytes += database.copy?.bytesDone ?? 0
            status.snapshotBytes += database.copy?.bytesTotal ?? 0
        }
        for (reader, database) in zip(self.units, replica.keyspace.databases) {
            let end = BinlogPosition(
                fileNumber: reader.end.fileNumber, offset: reader.end.offset)
            status.backlogBytes += database.log.distanceBytes(from: end, to: database.received)
            for file in database.log.files() {
                status.spoolBytes +=
                    (file.endOffset ?? 0) - min(file.startOffset, file.endOffset ?? 0)
            }
        }
        status.receivedBytes = status.snapshotReceivedBytes + status.spoolBytes
        return status
    }

    private func phase(_ replica: PikaReplica) -> SourcePhase {
        let status = replica.status
        if status.databases.contains(where: { $0.phase == .waitingForSnapshot }) {
            return .waitingSnapshot
        }
        if status.databases.contains(where: {
            [.copying, .verifying, .switching].contains($0.phase)
        }) {
            return .spooling
        }
        if status.isLinkUp { return .streaming }
        if case .waiting = self.reading { return .connecting }
        return .reconnecting
    }
}
