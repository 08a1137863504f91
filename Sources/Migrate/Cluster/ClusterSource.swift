internal import FileIO
internal import MigrateCore
internal import RedisSync

/// How a Redis Cluster is read.
struct ClusterSourceConfiguration: Sendable {
    /// Some nodes, and how to log in to all.
    var endpoint: Endpoint
    /// The job's directory: which nodes make up which shard.
    var directory: String
    /// A shard's source, by its number and a way to ask where its master is.
    var makeShard:
        @Sendable (Int, @escaping @Sendable () async throws(SourceError) -> RedisAddress) ->
            RedisSource
    /// The list's file.
    var fileSystem: any FileSystem = RealFileSystem()
}

/// A Redis Cluster as a source: each shard followed for itself, through a spool of its own, and
/// made one stream.
///
/// A copy is the shards' snapshots one behind the other; all of them are received at once. Only
/// database 0 is there.
actor ClusterSource: Source {
    /// How often the cluster is asked who serves what.
    static let askEvery = Duration.seconds(1)
    /// A read that is refused is tried again after so long.
    static let readPause = Duration.milliseconds(50)

    /// One shard, and what it has given that was not taken yet.
    private struct Shard {
        let source: RedisSource
        let room = Bell()
        var pump: Task<Void, Never>?
        var waiting: [SourceEvent] = []
        var failure: SourceError?
        var isIdle = false
    }

    private enum Phase {
        /// Every shard's first word is waited for.
        case beginning(resumed: Bool)
        /// The shards that are still to be copied, the first of them now.
        case copying([Int])
        case streaming
        /// A shard is copied while the others wait.
        case joining(Int)
    }

    private let configuration: ClusterSourceConfiguration
    private let client: ClusterClient
    private let arrived = Bell()
    private var list = ShardList()
    private var shards: [Int: Shard] = [:]
    private var merge = ShardMerge(positions: [:])
    private var phase = Phase.beginning(resumed: false)
    private var toCopy: [Int] = []
    private var turn = 0
    private var lastAsked: ContinuousClock.Instant?
    private var ticker: Task<Void, Never>?
    private var isStopped = false
    private var trouble = ""

    init(_ configuration: ClusterSourceConfiguration) {
        self.configuration = configuration
        self.client = ClusterClient(configuration.endpoint)
    }

    private var listPath: String { Path.join(self.configuration.directory, "shards") }

    // MARK: - Start and stop

    func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        self.list = try ShardList.read(self.listPath, self.configuration.fileSystem)
        try await self.look()
        var starts: [Int: SourceStart] = [:]
        switch from {
        case .fresh: self.toCopy = self.serving
        case .snapshot(let point):
            guard case .cluster(let place) = point.position, let first = point.token.first else {
                throw .stranger("the checkpoint is not one of a cluster")
            }
            let number = Int(first) | Int(point.token.dropFirst().first ?? 0) << 8
            self.toCopy = self.serving.filter { $0 >= number || place.shards[$0] == nil }
            for (shard, position) in place.shards where shard < number {
                starts[shard] = .stream(.redis(position))
            }
            if let position = place.shards[number] {
                starts[number] = .snapshot(
                    SnapshotPoint(
                        position: .redis(position), token: Array(point.token.dropFirst(2))))
            }
            self.merge = ShardMerge(positions: place.shards)
        case .stream(let position):
            guard case .cluster(let place) = position else {
                throw .stranger("the checkpoint is not one of a cluster")
            }
            self.merge = ShardMerge(positions: place.shards)
            for (shard, position) in place.shards { starts[shard] = .stream(.redis(position)) }
            self.phase = .streaming
        }
        if case .snapshot = from { self.phase = .beginning(resumed: true) }
        var description = ""
        for number in self.list.numbers
        where starts[number] != nil || self.serving.contains(number) {
            description = try await self.open(number, starts[number] ?? .fresh).description
        }
        try await self.ask()
        self.ticker = Task { [arrived = self.arrived] in
            while !Task.isCancelled {
                try? await Task.sleep(for: Self.askEvery)
                arrived.ring()
            }
        }
        return SourceOpening(
            description: "cluster of \(self.list.numbers.count) shards, \(description)",
            identity: self.client.topology.masters.map(\.id).joined(separator: ","),
            canRefresh: true)
    }

    /// Begins to follow a shard.
    private func open(
        _ number: Int, _ start: SourceStart
    ) async throws(SourceError) -> SourceOpening {
        let source = self.configuration.makeShard(number) {
            [weak self] () async throws(SourceError) in
            guard let self else { throw .stopped }
            return try await self.master(of: number)
        }
        let opening = try await source.start(start)
        var shard = Shard(source: source)
        let room = shard.room
        shard.pump = Task { [weak self] in
            while !Task.isCancelled {
                do throws(SourceError) {
                    let events = try await source.next()
                    guard let self else { return }
                    await self.take(events, number)
                } catch {
                    await self?.fail(error, number)
                    return
                }
                await room.wait()
            }
        }
        self.shards[number] = shard
        return opening
    }

    private func take(_ events: [SourceEvent], _ number: Int) {
        self.shards[number]?.waiting = events
        self.arrived.ring()
    }

    private func fail(_ error: SourceError, _ number: Int) {
        self.shards[number]?.failure = error
        self.arrived.ring()
    }

    func stop() async {
        self.isStopped = true
        self.arrived.ring()
        self.ticker?.cancel()
        for shard in self.shards.values {
            shard.pump?.cancel()
            shard.room.ring()
            await shard.source.stop()
        }
        self.client.close()
    }

    // MARK: - The cluster

    /// The shards that have slots.
    private var serving: [Int] {
        let masters = self.client.topology.masters
        return self.list.numbers.filter { number in
            masters.contains { self.list.number(of: $0.id) == number }
        }
    }

    /// Looks who is there, and writes down whose replicas they are.
    private func look() async throws(SourceError) {
        do throws(RunError) { try await self.client.refresh() } catch {
            throw Self.sourceError(error)
        }
        var list = self.list
        try list.update(self.client.topology)
        guard list != self.list else { return }
        try list.write(self.listPath, self.configuration.fileSystem)
        self.list = list
    }

    private static func sourceError(_ error: RunError) -> SourceError {
        switch error {
        case .refused(let text): .refused(text)
        case .usage(let text), .preflight(let text): .unsupported(text)
        case .stopped: .stopped
        default: .io(error.description)
        }
    }

    /// Where a shard's master is now.
    private func master(of number: Int) async throws(SourceError) -> RedisAddress {
        try await self.look()
        guard let node = self.list.master(number, self.client.topology) else {
            throw .io("shard \(number) of the cluster has no master")
        }
        return self.client.address(node)
    }

    /// Asks all masters what they serve and what is on the move.
    private func ask() async throws(SourceError) {
        self.lastAsked = ContinuousClock.now
        var moving: Set<Int> = []
        do {
            try await self.look()
            for node in self.client.topology.masters {
                let reply = try await self.client.send(
                    node, [["CLUSTER", "NODES"].map { Array($0.utf8) }]
                ).first
                let own = try ClusterTopology(nodes: reply?.text ?? "")
                for node in own.nodes { moving.formUnion(node.moving) }
            }
        } catch let error as SourceError where error == .stopped {
            throw .stopped
        } catch {
            // A master is away: what was known holds until all have answered.
            return
        }
        let topology = self.client.topology
        let list = self.list
        self.merge.learn(
            owner: { topology.owner($0).flatMap { list.number(of: $0.id) } ?? -1 }, moving: moving)
        guard case .streaming = self.phase else { return }
        for number in self.serving where self.shards[number] == nil {
            _ = try await self.open(number, .fresh)
        }
    }

    // MARK: - Reading

    func next() async throws(SourceError) -> [SourceEvent] {
        while true {
            if self.isStopped || Task.isCancelled { throw .stopped }
            let isDue = self.lastAsked.map { .now - $0 >= Self.askEvery } ?? true
            if isDue { try await self.ask() }
            let events = self.read()
            if !events.isEmpty { return try await self.withAllSlots(events) }
            for number in self.list.numbers {
                guard let shard = self.shards[number], shard.waiting.isEmpty,
                    let failure = shard.failure
                else { continue }
                throw failure
            }
            await self.arrived.wait()
        }
    }

    /// What a shard emptied may have come to it since the cluster was asked last.
    ///
    /// Its slots are read anew, so that one too many does no harm.
    private func withAllSlots(_ events: [SourceEvent]) async throws(SourceError) -> [SourceEvent] {
        var events = events
        for index in events.indices {
            guard case .unit(var unit) = events[index], let slots = unit.emptiedSlots,
                case .cluster(let place) = unit.end
            else { continue }
            try await self.ask()
            unit.emptiedSlots = slots.union(self.merge.slots(of: place.shard))
            events[index] = .unit(unit)
        }
        return events
    }

    /// What a shard has given; it may give more.
    private func taken(_ number: Int) -> [SourceEvent] {
        guard let events = self.shards[number]?.waiting, !events.isEmpty else { return [] }
        self.shards[number]?.waiting = []
        self.shards[number]?.room.ring()
        return events
    }

    private func read() -> [SourceEvent] {
        switch self.phase {
        case .beginning(let isResumed): return self.begin(isResumed)
        case .copying(let numbers):
            guard let number = numbers.first else {
                self.phase = .streaming
                return []
            }
            return self.taken(number).flatMap { self.copied($0, number) }
        case .joining(let number):
            return self.taken(number).flatMap { self.streamed($0, number) }
        case .streaming:
            // Each in turn, so that none waits for the others.
            let numbers = self.list.numbers
            for step in numbers.indices {
                let number = numbers[(self.turn + step) % numbers.count]
                let events = self.taken(number)
                guard !events.isEmpty else { continue }
                self.turn = (self.turn + step + 1) % numbers.count
                return events.flatMap { self.streamed($0, number) }
            }
            return []
        }
    }

    /// All shards that are to be copied have their snapshots: one start for all.
    private func begin(_ isResumed: Bool) -> [SourceEvent] {
        var starts: [SnapshotStart] = []
        for number in self.toCopy {
            // What comes before it is about the link.
            guard let shard = self.shards[number] else { continue }
            let start = shard.waiting.firstIndex {
                if case .snapshotStart = $0 { true } else { false }
            }
            guard let start, case .snapshotStart(let found) = shard.waiting[start] else {
                if !shard.waiting.isEmpty {
                    self.shards[number]?.waiting = []
                    shard.room.ring()
                }
                return []
            }
            starts.append(found)
            self.merge.advance(number, to: found.position)
        }
        for number in self.toCopy {
            self.shards[number]?.waiting.removeAll {
                if case .snapshotStart = $0 { true } else { false }
            }
            if self.shards[number]?.waiting.isEmpty == true { self.shards[number]?.room.ring() }
        }
        let goesOn = isResumed && (starts.first?.isResumed ?? true)
        var start = SnapshotStart(
            reason: isResumed && !goesOn ? .historyGap : .firstCopy,
            position: self.merge.position(self.toCopy.first ?? 0),
            totalBytes: starts.reduce(0) { $0 + $1.totalBytes }, isResumed: goesOn)
        start.mayRepeat = true
        self.phase = .copying(self.toCopy)
        return [.snapshotStart(start)]
    }

    private func copied(_ event: SourceEvent, _ number: Int) -> [SourceEvent] {
        switch event {
        case .snapshotPoint(let point, let readBytes):
            let token = [UInt8(number & 0xff), UInt8(number >> 8)] + point.token
            return [
                .snapshotPoint(
                    SnapshotPoint(position: self.merge.position(number), token: token),
                    readBytes: readBytes)
            ]
        case .snapshotEnd(let position):
            self.merge.advance(number, to: position)
            guard case .copying(let numbers) = self.phase else { return [] }
            guard numbers.count > 1 else {
                self.phase = .streaming
                return [.snapshotEnd(self.merge.position(number))]
            }
            self.phase = .copying(Array(numbers.dropFirst()))
            return []
        case .snapshotStart(var start):
            // The one before broke off: what the target has of it may be gone at the source.
            start.reason = .historyGap
            self.merge.advance(number, to: start.position)
            start.position = self.merge.position(number)
            start.mayRepeat = true
            return [.snapshotStart(start)]
        // Its units wait for the other shards' keys: `taken` is not called before.
        case .keyStart, .elements, .keyEnd, .strings, .notice: return [event]
        default: return self.streamed(event, number)
        }
    }

    private func streamed(_ event: SourceEvent, _ number: Int) -> [SourceEvent] {
        switch event {
        case .unit(let unit):
            self.shards[number]?.isIdle = false
            return [.unit(self.merge.unit(unit, of: number))]
        case .idle(let position, let time):
            self.merge.advance(number, to: position)
            self.shards[number]?.isIdle = true
            guard self.shards.values.allSatisfy(\.isIdle) else { return [] }
            return [.idle(self.merge.position(number), sourceTimeMilliseconds: time)]
        case .identityChange(let change):
            let old = self.merge.position(number)
            self.merge.advance(number, to: change.new)
            return [
                .identityChange(
                    IdentityChange(
                        what: "\(change.what) of shard \(number)", old: old,
                        new: self.merge.position(number)))
            ]
        case .snapshotStart(var start):
            if self.merge.positions[number] == nil { start.reason = .newShard }
            start.isPart = true
            self.merge.advance(number, to: start.position)
            start.position = self.merge.position(number)
            start.mayRepeat = true
            self.phase = .joining(number)
            return [.snapshotStart(start)]
        case .snapshotEnd(let position):
            self.merge.advance(number, to: position)
            self.phase = .streaming
            return [.snapshotEnd(self.merge.position(number))]
        // A part of a copy is no place to go on from.
        case .snapshotPoint, .end: return []
        case .keyStart, .elements, .keyEnd, .strings, .notice, .phase: return [event]
        }
    }

    // MARK: - The other calls

    func acknowledge(_ position: SourcePosition) async {
        guard case .cluster(let place) = position else { return }
        for (number, position) in place.shards {
            await self.shards[number]?.source.acknowledge(.redis(position))
        }
    }

    /// Reads a key where it is; waits while its slot is on the move.
    func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        let slot = KeyHash.slot(key)
        while true {
            if self.isStopped || Task.isCancelled { throw .stopped }
            if let number = self.client.topology.owner(slot)
                .flatMap({ self.list.number(of: $0.id) })
            {
                // One that has just joined: whoever reads waits for us, so nobody else opens it.
                if self.shards[number] == nil { _ = try await self.open(number, .fresh) }
                guard let shard = self.shards[number] else { throw .stopped }
                do throws(SourceError) {
                    var read = try await shard.source.refresh(database: database, key: key)
                    if case .redis(let position) = read.position {
                        read.position = .cluster(
                            ClusterPosition(shard: number, shards: [number: position]))
                    }
                    return read
                } catch {
                    guard case .io(let text) = error else { throw error }
                    self.trouble = text
                }
            }
            try? await Task.sleep(for: Self.readPause)
            do throws(SourceError) { try await self.look() } catch {
                guard case .io = error else { throw error }
            }
        }
    }

    func status() async -> SourceStatus {
        var sum = SourceStatus()
        sum.phase = .streaming
        for number in self.list.numbers {
            guard let status = await self.shards[number]?.source.status() else { continue }
            // The one that is furthest behind speaks for all.
            if status.phase != .streaming { sum.phase = status.phase }
            sum.receivedBytes += status.receivedBytes
            sum.backlogBytes += status.backlogBytes
            sum.spoolBytes += status.spoolBytes
            sum.snapshotBytes += status.snapshotBytes
            sum.snapshotReceivedBytes += status.snapshotReceivedBytes
            sum.reconnects += status.reconnects
            if !status.lastTrouble.isEmpty {
                sum.lastTrouble = "shard \(number): \(status.lastTrouble)"
            }
        }
        if sum.lastTrouble.isEmpty { sum.lastTrouble = self.trouble }
        return sum
    }
}
