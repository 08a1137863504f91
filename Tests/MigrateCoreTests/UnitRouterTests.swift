import MigrateCore
import Testing

/// A source, ordered workers and a target, stepped one at a time in random order; no I/O.
///
/// A unit adds its number to lists: a key of the target that misses one, has one twice or out of
/// order differs from the source's.
private struct RouterWorld {
    static let workers = 8
    static let batch = 3
    typealias Key = DatabaseKey

    struct Unit {
        var keys: [Key]
        var mustRefresh: Bool
    }

    enum Item {
        /// Adds the unit's number to keys, or sets what was read; then the marker.
        case work([Key: [Int]?], number: Int, horizon: Int?)
        case meet(Int)
    }

    /// What the engine still has to do for its unit.
    enum Step {
        case rest(Set<Int>)
        case read([Key], executor: Int, ownOnly: Bool, number: Int)
    }

    let keys = (0..<12).map { Key(0, Array("k\($0)".utf8)) }
    let isTransactional: Bool
    var dice: SeededRandom
    // What survives a kill.
    var log: [Unit] = []
    var target: [Key: [Int]] = [:]
    var markers: [Int: Marker] = [:]
    var checkpoint = 0
    // What does not.
    var router: UnitRouter
    var routed = 0
    var steps: [Step] = []
    var queues: [[Item]]
    var meetings: [Int: (executor: Int, arrived: Set<Int>, workers: Set<Int>)] = [:]
    var horizons: [Int: Int] = [:]
    var kills = 0

    init(seed: UInt64, isTransactional: Bool) {
        self.dice = SeededRandom(seed: seed)
        self.isTransactional = isTransactional
        self.router = UnitRouter(filter: KeyFilter(), workers: Self.workers)
        self.queues = Array(repeating: [], count: Self.workers)
    }

    func position(_ number: Int) -> SourcePosition {
        .redis(RedisPosition(replicationID: "r", offset: UInt64(number), database: 0))
    }

    func number(_ position: SourcePosition?) -> Int? {
        if case .redis(let position) = position { Int(position.offset) } else { nil }
    }

    func value(_ key: Key, at number: Int) -> [Int] {
        self.log.indices.prefix(number).filter { self.log[$0].keys.contains(key) }.map { $0 + 1 }
    }

    // MARK: - The source and the engine

    mutating func write() {
        let count = [1, 1, 1, 2, 2, 3][self.dice.below(6)]
        let keys = (0..<count).map { _ in self.keys[self.dice.below(self.keys.count)] }
        self.log.append(Unit(keys: keys, mustRefresh: self.dice.below(12) == 0))
    }

    mutating func engine() {
        guard self.steps.isEmpty else { return self.takeStep() }
        guard self.routed < self.log.count else { return }
        let unit = self.log[self.routed]
        self.routed += 1
        let number = self.routed
        switch self.router.route(
            unit.keys, end: self.position(number), database: 0, mustRefresh: unit.mustRefresh)
        {
        case .done: break
        case .execute(let executor, let workers):
            if workers.count > 1 {
                self.meetings[number] = (executor, [], workers)
                for worker in workers { self.queues[worker].append(.meet(number)) }
            }
            let changes = Dictionary(unit.keys.map { ($0, [Int]?.none) }) { first, _ in first }
            self.queues[executor].append(.work(changes, number: number, horizon: nil))
        case .refresh(let keys, let executor, let workers):
            let rest = workers.count > 1 ? [Step.rest(workers)] : []
            self.steps = rest
            self.steps.append(.read(keys, executor: executor, ownOnly: false, number: number))
            self.steps += rest
            self.steps.append(.read(keys, executor: executor, ownOnly: true, number: number))
        }
    }

    private mutating func takeStep() {
        switch self.steps[0] {
        case .rest(let workers):
            guard workers.allSatisfy({ self.queues[$0].isEmpty }) else { return }
        case .read(let keys, let executor, let ownOnly, let number):
            var own: [Key: [Int]?] = [:]
            var horizon: Int?
            for key in Set(keys) where (self.router.worker(key) == executor) == ownOnly {
                // The source goes on while it is read.
                if self.dice.below(3) == 0 { self.write() }
                let worker = self.router.worker(key)
                let read = self.log.count
                let seen = self.number(
                    self.router.read(key, worker: worker, at: self.position(read)))
                if ownOnly {
                    own[key] = .some(self.value(key, at: read))
                    horizon = seen
                } else {
                    self.queues[worker].append(
                        .work([key: self.value(key, at: read)], number: number, horizon: seen))
                }
            }
            if ownOnly {
                self.queues[executor].append(.work(own, number: number, horizon: horizon))
            }
        }
        self.steps.removeFirst()
    }

    // MARK: - Workers

    /// One batch of a worker, or a step of its meeting; a kill may leave the part of a batch.
    mutating func work(_ worker: Int, isKilled: Bool = false) {
        guard let first = self.queues[worker].first else { return }
        if case .meet(let number) = first {
            guard !isKilled, let meeting = self.meetings[number] else { return }
            self.meetings[number]?.arrived.insert(worker)
            guard worker == meeting.executor, meeting.arrived.union([worker]) == meeting.workers
            else { return }
            for other in meeting.workers where other != worker { self.queues[other].removeFirst() }
            self.meetings[number] = nil
            self.queues[worker].removeFirst()
            self.apply(1, worker)
            return
        }
        let ready = self.queues[worker].prefix(1 + self.dice.below(Self.batch)).prefix {
            if case .work = $0 { true } else { false }
        }
        guard isKilled else { return self.apply(ready.count, worker) }
        if self.isTransactional { return }
        // Without transactions any number of the commands may be there, and no marker.
        for item in ready.prefix(self.dice.below(ready.count + 1)) { self.change(item) }
    }

    private mutating func apply(_ count: Int, _ worker: Int) {
        for item in self.queues[worker].prefix(count) {
            self.change(item)
            guard case .work(_, let number, let horizon) = item else { continue }
            if let horizon { self.horizons[worker] = horizon }
            if let held = self.horizons[worker], number >= held { self.horizons[worker] = nil }
            self.markers[worker] = Marker(
                epoch: 1, position: self.position(number),
                horizon: self.horizons[worker].map { self.position($0) })
        }
        self.queues[worker].removeFirst(count)
    }

    private mutating func change(_ item: Item) {
        guard case .work(let changes, let number, _) = item else { return }
        for (key, value) in changes {
            if let value {
                self.target[key] = value
            } else {
                self.target[key, default: []].append(number)
            }
        }
    }

    // MARK: - Kills and checkpoints

    mutating func kill() {
        self.kills += 1
        for worker in 0..<Self.workers { self.work(worker, isKilled: true) }
        self.queues = Array(repeating: [], count: Self.workers)
        self.meetings = [:]
        self.steps = []
        self.horizons = [:]
        self.routed = self.checkpoint
        self.router = UnitRouter(
            filter: KeyFilter(), workers: Self.workers, markers: [0: self.markers],
            doubtfulUnits: self.isTransactional ? 0 : Self.batch)
    }

    mutating func keep() {
        guard self.steps.isEmpty, self.queues.allSatisfy(\.isEmpty) else { return }
        self.checkpoint = self.routed
    }

    mutating func run(steps: Int) {
        for _ in 0..<steps {
            switch self.dice.below(400) {
            case 0: self.kill()
            case 1..<20: self.keep()
            case 20..<90: self.write()
            case 90..<200: self.engine()
            default: self.work(self.dice.below(Self.workers))
            }
        }
        // Everything stalls for ever in the wrong order: a bound on what is left.
        for _ in 0..<200_000 {
            if self.routed == self.log.count, self.steps.isEmpty,
                self.queues.allSatisfy(\.isEmpty)
            {
                return
            }
            self.engine()
            self.work(self.dice.below(Self.workers))
        }
    }
}

/// The same numbers for the same seed.
private struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(self.next() % UInt64(limit)) }
}

@Suite("Units on eight workers")
struct UnitRouterTests {
    @Test(
        "Every key has every unit once and in order, through stalls and kills",
        arguments: [true, false])
    func model(isTransactional: Bool) {
        var kills = 0
        for seed in UInt64(1)...60 {
            var world = RouterWorld(seed: seed, isTransactional: isTransactional)
            world.run(steps: 3_000)
            kills += world.kills
            for key in world.keys {
                let wanted = world.value(key, at: world.log.count)
                let name = String(decoding: key.key, as: UTF8.self)
                #expect(world.target[key] ?? [] == wanted, "SEED=\(seed) \(name)")
            }
        }
        #expect(kills > 100)
    }

    @Test("A marker of the executor alone says that a unit is done")
    func executor() throws {
        let keys = ["a", "b", "c", "d", "e"].map { DatabaseKey(0, Array($0.utf8)) }
        let end = SourcePosition.redis(RedisPosition(replicationID: "r", offset: 5, database: 0))
        let plain = UnitRouter(filter: KeyFilter(), workers: 8)
        let pair = try #require(
            keys.first { plain.worker($0) != plain.worker(keys[0]) }.map { [keys[0], $0] })
        let workers = pair.map { plain.worker($0) }.sorted()
        func route(_ worker: Int, _ offset: UInt64) -> UnitRoute {
            let position = SourcePosition.redis(
                RedisPosition(replicationID: "r", offset: offset, database: 0))
            let marker = Marker(epoch: 1, position: position, horizon: nil)
            var router = UnitRouter(
                filter: KeyFilter(), workers: 8, markers: [0: [worker: marker]])
            return router.route(pair, end: end, database: 0, mustRefresh: false)
        }
        #expect(route(workers[0], 5) == .done)
        #expect(
            route(workers[0], 4) == .execute(executor: workers[0], workers: Set(workers)))
        #expect(
            route(workers[1], 5)
                == .refresh(pair, executor: workers[0], workers: Set(workers)))
    }

    @Test("The copy of one shard leaves alone what is known of the others, and forgets its own")
    func restartOfShard() {
        func end(_ shard: Int, _ offset: UInt64, _ other: UInt64) -> SourcePosition {
            func place(_ offset: UInt64, of shard: Int) -> RedisPosition {
                RedisPosition(replicationID: "r\(shard)", offset: offset, database: 0)
            }
            return .cluster(
                ClusterPosition(
                    shard: shard,
                    shards: [
                        shard: place(offset, of: shard), 1 - shard: place(other, of: 1 - shard),
                    ]))
        }
        let keys = ["a", "b"].map { DatabaseKey(0, Array($0.utf8)) }
        let filter = KeyFilter()
        var router = UnitRouter(filter: filter, workers: 1)
        _ = router.read(keys[0], worker: 0, at: end(0, 200, 0))
        _ = router.read(keys[1], worker: 0, at: end(1, 200, 0))
        func route(_ key: Int, _ offset: UInt64) -> UnitRoute {
            router.route(
                [keys[key]], end: end(key, offset, 0), database: 0, mustRefresh: false)
        }
        #expect(route(0, 150) == .done && route(1, 150) == .done)
        router.restart(end(1, 100, 0))
        #expect(route(0, 150) == .done)
        #expect(route(1, 150) == .execute(executor: 0, workers: [0]))

        let marker = Marker(epoch: 1, position: end(0, 300, 300), horizon: nil)
        router = UnitRouter(filter: filter, workers: 1, markers: [0: [0: marker]])
        router.restart(end(1, 100, 0))
        #expect(route(0, 250) == .done)
        #expect(route(1, 150) == .execute(executor: 0, workers: [0]))
    }

    private static func at(_ id: String, _ offset: UInt64) -> SourcePosition {
        .redis(RedisPosition(replicationID: id, offset: offset, database: 0))
    }

    @Test("A key read from a source that has begun anew is read once, not for each old unit")
    func newHistory() {
        let keys = ["a", "b"].map { DatabaseKey(0, Array($0.utf8)) }
        var router = UnitRouter(filter: KeyFilter(), workers: 1)
        func route(_ key: Int, _ end: SourcePosition, mustRefresh: Bool) -> UnitRoute {
            router.route([keys[key]], end: end, database: 0, mustRefresh: mustRefresh)
        }
        #expect(
            route(0, Self.at("old", 500_000), mustRefresh: true)
                == .refresh([keys[0]], executor: 0, workers: [0]))
        _ = router.read(keys[0], worker: 0, at: Self.at("new", 100))
        // All that is left of the old history came before what was read.
        #expect(route(0, Self.at("old", 500_001), mustRefresh: true) == .done)
        #expect(route(0, Self.at("old", 900_000), mustRefresh: false) == .done)
        #expect(
            route(1, Self.at("old", 900_001), mustRefresh: false)
                == .execute(executor: 0, workers: [0]))
        // The copy brings the new history: its units count by their own offsets.
        router.restart(Self.at("new", 50))
        #expect(
            route(0, Self.at("new", 80), mustRefresh: false)
                == .execute(executor: 0, workers: [0]))
        // A server that still tells of the old one is not followed any more.
        _ = router.read(keys[0], worker: 0, at: Self.at("old", 1_000_000))
        #expect(
            route(0, Self.at("new", 90), mustRefresh: false)
                == .execute(executor: 0, workers: [0]))
    }

    @Test("A renamed history counts on; what was read where it was left is read anew")
    func renamedHistory() {
        let keys = ["a", "b", "c"].map { DatabaseKey(0, Array($0.utf8)) }
        var router = UnitRouter(filter: KeyFilter(), workers: 1)
        func route(_ key: Int, _ end: SourcePosition) -> UnitRoute {
            router.route([keys[key]], end: end, database: 0, mustRefresh: false)
        }
        #expect(route(0, Self.at("old", 10)) == .execute(executor: 0, workers: [0]))
        _ = router.read(keys[0], worker: 0, at: Self.at("old", 15))
        _ = router.read(keys[1], worker: 0, at: Self.at("old", 30))
        _ = router.read(keys[2], worker: 0, at: Self.at("new", 30))
        #expect(route(0, Self.at("old", 15)) == .done && route(2, Self.at("old", 20)) == .done)
        let change = IdentityChange(
            what: "replication id", old: Self.at("old", 20), new: Self.at("new", 20))
        #expect(router.renamed(change) == [keys[1]])
        #expect(route(0, Self.at("new", 21)) == .execute(executor: 0, workers: [0]))
        #expect(route(1, Self.at("new", 22)) == .execute(executor: 0, workers: [0]))
        #expect(route(2, Self.at("new", 30)) == .done)
        #expect(route(2, Self.at("new", 31)) == .execute(executor: 0, workers: [0]))
    }

    /// The end of a shard's unit; the other shard stands where it stands.
    private static func at(_ shard: Int, _ id: String, _ offset: UInt64) -> SourcePosition {
        .cluster(
            ClusterPosition(
                shard: shard,
                shards: [
                    shard: RedisPosition(replicationID: id, offset: offset, database: 0),
                    1 - shard: RedisPosition(replicationID: "other", offset: 500, database: 0),
                ]))
    }

    /// What was read of a shard stands alone.
    private static func read(_ shard: Int, _ id: String, _ offset: UInt64) -> SourcePosition {
        let place = RedisPosition(replicationID: id, offset: offset, database: 0)
        return .cluster(ClusterPosition(shard: shard, shards: [shard: place]))
    }

    @Test("Offsets of a shard's two histories do not cover each other's units")
    func newHistoryOfShard() {
        let keys = ["a", "b"].map { DatabaseKey(0, Array($0.utf8)) }
        var router = UnitRouter(filter: KeyFilter(), workers: 1)
        func route(_ key: Int, _ end: SourcePosition) -> UnitRoute {
            router.route([keys[key]], end: end, database: 0, mustRefresh: false)
        }
        let done = UnitRoute.execute(executor: 0, workers: [0])
        #expect(route(0, Self.at(0, "old", 500_000)) == done)
        // Read at the new master: all that is left of the old history came before.
        _ = router.read(keys[0], worker: 0, at: Self.read(0, "new", 100))
        #expect(route(0, Self.at(0, "old", 900_000)) == .done)
        // The other shard's offsets are of another log altogether.
        #expect(route(1, Self.at(1, "other", 50)) == done)
        router.restart(Self.at(0, "new", 50))
        #expect(route(0, Self.at(0, "new", 80)) == done)
        // A node that still tells of the old history is not followed any more.
        _ = router.read(keys[0], worker: 0, at: Self.read(0, "old", 1_000_000))
        #expect(route(0, Self.at(0, "new", 90)) == done)
    }

    @Test("A shard's renamed history counts on; what was read where it was left is read anew")
    func renamedHistoryOfShard() {
        let keys = ["a", "b", "c"].map { DatabaseKey(0, Array($0.utf8)) }
        var router = UnitRouter(filter: KeyFilter(), workers: 1)
        _ = router.read(keys[0], worker: 0, at: Self.read(0, "old", 30))
        _ = router.read(keys[1], worker: 0, at: Self.read(0, "new", 30))
        _ = router.read(keys[2], worker: 0, at: Self.read(1, "other", 600))
        let change = IdentityChange(
            what: "replication id of shard 0", old: Self.at(0, "old", 20),
            new: Self.at(0, "new", 20))
        #expect(router.renamed(change) == [keys[0]])
        func route(_ key: Int, _ end: SourcePosition) -> UnitRoute {
            router.route([keys[key]], end: end, database: 0, mustRefresh: false)
        }
        #expect(route(0, Self.at(0, "new", 25)) == .execute(executor: 0, workers: [0]))
        #expect(route(1, Self.at(0, "new", 30)) == .done)
        #expect(route(2, Self.at(1, "other", 600)) == .done)
    }

    @Test("A marker of a shard's old history says nothing of its new one")
    func markerOfShardsOldHistory() {
        let key = DatabaseKey(0, Array("a".utf8))
        let marker = Marker(epoch: 1, position: Self.at(0, "old", 900), horizon: nil)
        var router = UnitRouter(filter: KeyFilter(), workers: 1, markers: [0: [0: marker]])
        func route(_ end: SourcePosition) -> UnitRoute {
            router.route([key], end: end, database: 0, mustRefresh: false)
        }
        #expect(route(Self.at(0, "old", 900)) == .done)
        #expect(route(Self.at(0, "new", 10)) == .execute(executor: 0, workers: [0]))
        #expect(route(Self.at(1, "other", 500)) == .done)
        #expect(route(Self.at(1, "another", 500)) == .execute(executor: 0, workers: [0]))
        // Nor does what is written next go on telling of it; of the other shard it does.
        #expect(
            router.mark(Self.at(0, "new", 10), place: 0, lane: 0) == Self.at(0, "new", 10))
        #expect(
            router.mark(Self.at(0, "old", 10), place: 0, lane: 0) == Self.at(0, "old", 900))
    }
}
