import PikaStorage
import SyncProtocol
import Testing

/// Random operations on one database, each compared with the model.
struct ModelRun {
    let database: TestDatabase
    var driver: Driver
    var model: Model
    /// The model as of the last commit: what a discarded group goes back to.
    var committed: Model
    var random: SeededGenerator
    var offset: UInt64 = 0

    static let keys = ["a", "b", "key", "key2", "", "k\u{0}x"]
    static let elements = ["", "1", "2", "m", "n", "\u{0}", "\u{0}b", "long-element-0123456789"]
    static let scores = [-Double.infinity, -1.5, -0.0, 0, 1, 2.5, 1e300, .infinity]

    init(seed: UInt64) throws {
        database = try TestDatabase(
            TemporaryDirectory(), options: smallOptions(memtableBytes: 65536))
        if seed % 2 == 1 { database.set.keepScans() }
        driver = Driver(database: database, now: 1_700_000_000)
        model = Model(now: driver.now)
        committed = model
        random = SeededGenerator(seed: seed)
    }

    mutating func step() throws {
        model.expire()
        switch random.below(100) {
        case 0..<12: try stringStep()
        case 12..<27: try hashStep()
        case 27..<47: try listStep()
        case 47..<60: try setStep()
        case 60..<80: try sortedSetStep()
        case 80..<88: try keyStep()
        case 88..<94: try commit()
        case 94..<96: discard()
        case 96..<97: try maintain()
        default: tick()
        }
    }

    private mutating func key() -> String { random.pick(Self.keys) }
    private mutating func element() -> String { random.pick(Self.elements) }

    private mutating func tick() {
        driver.now += Int64(random.below(3))
        model.now = driver.now
        committed.now = driver.now
    }

    private mutating func commit() throws {
        offset += 1
        try database.commit(position(offset, now: driver.now))
        committed = model
    }

    private mutating func discard() {
        database.set.reset()
        let now = model.now
        model = committed
        model.now = now
    }

    private mutating func maintain() throws {
        try commit()
        for store in database.stores {
            if random.chance(50) { try store.compact() } else { try store.flush() }
            #expect(try store.appliedPosition()?.position.offset == offset)
        }
    }

    private mutating func keyStep() throws {
        let key = key()
        switch random.below(4) {
        case 0:
            #expect(try driver.delete(key) == model.kinds(key))
            model.delete(key)
        case 1:
            let expiry = driver.now + Int64(random.below(5)) - 1
            #expect(try driver.expire(key, expiry) == model.kinds(key))
            model.setExpiry(key, expiry)
        case 2:
            #expect(try driver.persist(key) == model.withDeadline(key))
            model.setExpiry(key, 0)
        default:
            let kinds = try with(key) { try driver.keys.kinds($0, now: driver.now) }
            #expect(kinds == model.kinds(key))
        }
    }

    private mutating func stringStep() throws {
        let key = key()
        let value = element()
        let old = model.strings[key]
        switch random.below(5) {
        case 0:
            let expiry = random.chance(30) ? driver.now + Int64(random.below(4)) : 0
            try driver.setValue(key, value, expiry: expiry)
            model.strings[key] = .init(value: value, expiry: expiry)
        case 1:
            let length = try driver.append(key, value)
            let text = (old?.value ?? "") + value
            #expect(length == text.utf8.count)
            model.strings[key] = .init(value: text, expiry: old?.expiry ?? 0)
        case 2:
            guard let number = Int64(old?.value ?? "0"), number < 1_000_000 else { return }
            #expect(try driver.increment(key, 7) == number + 7)
            model.strings[key] = .init(value: String(number + 7), expiry: old?.expiry ?? 0)
        case 3:
            let wrote = try with(key) { key in
                try with(value) { try driver.strings.setIfAbsent(key, $0, now: driver.now) }
            }
            #expect(wrote == (old == nil))
            if old == nil { model.strings[key] = .init(value: value) }
        default: #expect(try driver.get(key) == old?.value)
        }
    }

    private mutating func hashStep() throws {
        let key = key()
        let field = element()
        let value = element()
        var entry = model.hashes[key] ?? .init(value: [:])
        switch random.below(4) {
        case 0:
            let isNew = try driver.hset(key, field, value, field + "x", value)
            let before = entry.value.count
            entry.value[field] = value
            entry.value[field + "x"] = value
            #expect(isNew == entry.value.count - before)
        case 1:
            let deleted = try driver.hdel(key, field, field, value)
            #expect(deleted == Set([field, value]).filter { entry.value[$0] != nil }.count)
            entry.value[field] = nil
            entry.value[value] = nil
        case 2: #expect(try driver.hget(key, field) == entry.value[field])
        default:
            let expected = byBytes(entry.value.keys).flatMap { [$0, entry.value[$0] ?? ""] }
            #expect(try driver.hgetall(key) == expected)
            let count = try with(key) { try driver.hashes.count($0, now: driver.now) }
            #expect(count == entry.value.count)
        }
        model.hashes[key] = entry.value.isEmpty ? nil : entry
    }

    private mutating func setStep() throws {
        let key = key()
        let (first, second) = (element(), element())
        var entry = model.sets[key] ?? .init(value: [])
        switch random.below(4) {
        case 0:
            let before = entry.value.count
            let added = try driver.sadd(key, first, second)
            entry.value.formUnion([first, second])
            #expect(added == entry.value.count - before)
        case 1:
            let removed = try driver.srem(key, first, second, first)
            #expect(removed == Set([first, second]).intersection(entry.value).count)
            entry.value.subtract([first, second])
        case 2:
            let count = random.below(4)
            let popped = try with(key) {
                try driver.sets.popByHash($0, count: count, seed: random.next(), now: driver.now)
            }
            #expect(popped == min(count, entry.value.count))
            let left = Set(try driver.smembers(key))
            #expect(left.isSubset(of: entry.value) && left.count == entry.value.count - popped)
            entry.value = left
        default: #expect(try driver.smembers(key) == byBytes(entry.value))
        }
        model.sets[key] = entry.value.isEmpty ? nil : entry
    }

    /// Compares everything.
    mutating func check() throws {
        model.expire()
        for key in Self.keys {
            #expect(try driver.get(key) == model.strings[key]?.value)
            #expect(try driver.lrange(key) == model.lists[key]?.value ?? [])
            #expect(try driver.smembers(key) == byBytes(model.sets[key]?.value ?? []))
            #expect(try driver.zrange(key) == flat(model.sorted(key)))
            let hash = model.hashes[key]?.value ?? [:]
            #expect(try driver.hgetall(key) == byBytes(hash.keys).flatMap { [$0, hash[$0] ?? ""] })
        }
        for kind in StoreKind.allCases {
            var found: [String] = []
            try database.set[kind].forEachKey(from: .none, now: driver.now) { key, _ in
                found.append(text(key))
                return true
            }
            #expect(found == byBytes(Self.keys.filter { model.kinds($0).has(kind) }))
        }
    }
}

extension ModelRun {
    mutating func listStep() throws {
        let key = key()
        let element = element()
        var entry = model.lists[key] ?? .init(value: [])
        let end: ListEnd = random.chance(50) ? .left : .right
        switch random.below(8) {
        case 0, 1:
            let elements = (0..<1 + random.below(6)).map { _ in self.element() }
            let length = try driver.push(key, end, elements)
            if end == .left {
                entry.value = elements.reversed() + entry.value
            } else {
                entry.value += elements
            }
            #expect(length == entry.value.count)
        case 2:
            let count = 1 + random.below(4)
            let popped = try driver.pop(key, end, count)
            if end == .left {
                #expect(popped == Array(entry.value.prefix(count)))
                entry.value.removeFirst(popped.count)
            } else {
                #expect(popped == Array(entry.value.suffix(count).reversed()))
                entry.value.removeLast(popped.count)
            }
        case 3:
            let isBefore = random.chance(50)
            let pivot = self.element()
            let length = try driver.insert(key, before: isBefore, pivot, element)
            if let index = entry.value.firstIndex(of: pivot) {
                entry.value.insert(element, at: isBefore ? index : index + 1)
                #expect(length == entry.value.count)
            } else {
                #expect(length == (entry.value.isEmpty ? 0 : -1))
            }
        case 4: try removeStep(key, element, &entry.value)
        case 5:
            let start = random.below(5) - 2
            let stop = random.below(12) - 6
            if random.chance(40) {
                try driver.ltrim(key, Int64(start), Int64(stop))
                entry.value = slice(entry.value, start, stop)
            } else {
                let range = try driver.lrange(key, Int64(start), Int64(stop))
                #expect(range == slice(entry.value, start, stop))
            }
        default: try indexStep(key, element, &entry.value)
        }
        model.lists[key] = entry.value.isEmpty ? nil : entry
    }

    private mutating func removeStep(
        _ key: String, _ element: String, _ value: inout [String]
    ) throws {
        let count = random.below(7) - 3
        let removed = try driver.lrem(key, Int64(count), element)
        var indexes = value.indices.filter { value[$0] == element }
        if count > 0 { indexes = Array(indexes.prefix(count)) }
        if count < 0 { indexes = Array(indexes.suffix(-count)) }
        #expect(removed == indexes.count)
        for index in indexes.reversed() { value.remove(at: index) }
    }

    private mutating func indexStep(
        _ key: String, _ element: String, _ value: inout [String]
    ) throws {
        let index = random.below(12) - 6
        let position = index < 0 ? value.count + index : index
        let expected = value.indices.contains(position) ? value[position] : nil
        #expect(try driver.lindex(key, Int64(index)) == expected)
        guard random.chance(50) else { return }
        if expected != nil {
            try driver.lset(key, Int64(index), element)
            value[position] = element
        } else {
            let error: StorageError = value.isEmpty ? .noSuchKey : .indexOutOfRange
            #expect(throws: error) { try driver.lset(key, Int64(index), element) }
        }
    }

    private func slice<T>(_ value: [T], _ start: Int, _ stop: Int) -> [T] {
        let first = max(start < 0 ? value.count + start : start, 0)
        let last = min(stop < 0 ? value.count + stop : stop, value.count - 1)
        return first <= last ? Array(value[first...last]) : []
    }

    mutating func sortedSetStep() throws {
        let key = key()
        let member = element()
        let score = random.pick(Self.scores)
        var entry = model.zsets[key] ?? .init(value: [:])
        switch random.below(8) {
        case 0, 1, 2:
            let other = element()
            let pairs = [shortest(score), member, "3.25", other, "77", member]
            let added = try driver.zadd(key, pairs)
            let before = entry.value.count
            if entry.value[member] != score { entry.value[member] = score }
            if other != member { entry.value[other] = 3.25 }
            #expect(added == entry.value.count - before)
        case 3:
            let removed = try driver.zrem(key, member, member)
            #expect(removed == (entry.value[member] == nil ? 0 : 1))
            entry.value[member] = nil
        case 4:
            let old = entry.value[member] ?? 0
            if (old + score).isNaN {
                #expect(throws: StorageError.resultIsNaN) {
                    try driver.zincrby(key, score, member)
                }
            } else {
                #expect(try driver.zincrby(key, score, member) == old + score)
                if entry.value[member] != old + score { entry.value[member] = old + score }
            }
        case 5:
            let highest = random.chance(50)
            let count = 1 + random.below(3)
            let popped = try driver.zpop(key, highest: highest, count)
            let sorted = model.sorted(key)
            let taken = highest ? sorted.suffix(count).reversed() : Array(sorted.prefix(count))
            #expect(foldingZeros(popped) == foldingZeros(flat(taken)))
            for (member, _) in taken { entry.value[member] = nil }
        case 6: try removeRangeStep(key, &entry.value)
        default: try rangeStep(key, member)
        }
        model.zsets[key] = entry.value.isEmpty ? nil : entry
    }

    private mutating func scoreRange() -> ScoreRange {
        ScoreRange(
            minimum: ScoreBound(random.pick(Self.scores), isExclusive: random.chance(50)),
            maximum: ScoreBound(random.pick(Self.scores), isExclusive: random.chance(50)))
    }

    private mutating func removeRangeStep(_ key: String, _ value: inout [String: Double]) throws {
        let sorted = model.sorted(key)
        var gone: [String] = []
        var removed = 0
        if random.chance(50) {
            let range = scoreRange()
            removed = try with(key) {
                try driver.zsets.removeByScore($0, range, now: driver.now)
            }
            gone = sorted.filter { range.contains($0.1) }.map(\.0)
        } else {
            let (start, stop) = (random.below(5) - 2, random.below(5) - 2)
            removed = try with(key) {
                try driver.zsets.removeByRank(
                    $0, start: Int64(start), stop: Int64(stop), now: driver.now)
            }
            gone = slice(sorted, start, stop).map(\.0)
        }
        #expect(removed == gone.count)
        for member in gone { value[member] = nil }
    }

    private mutating func rangeStep(_ key: String, _ member: String) throws {
        let sorted = model.sorted(key)
        let range = scoreRange()
        let inside = sorted.filter { range.contains($0.1) }
        #expect(try driver.zrangeByScore(key, range) == flat(inside))
        let reversed = try driver.zrangeByScore(key, range, reverse: true)
        #expect(foldingZeros(reversed) == foldingZeros(flat(inside.reversed())))
        let (start, stop) = (random.below(5) - 2, random.below(8) - 3)
        #expect(
            try driver.zrange(key, Int64(start), Int64(stop)) == flat(slice(sorted, start, stop)))
        let ranked = try driver.zrange(key, Int64(start), Int64(stop), reverse: true)
        let wanted = flat(slice(sorted.reversed(), start, stop))
        #expect(foldingZeros(ranked) == foldingZeros(wanted))
        for reverse in [false, true] {
            let rank = try with(key) { key in
                try with(member) {
                    try driver.zsets.rank(key, $0, reverse: reverse, now: driver.now)
                }
            }
            let order = reverse ? sorted.reversed() : sorted
            #expect(rank == order.firstIndex { $0.0 == member })
        }
        try lexStep(key, sorted)
    }

    private mutating func lexStep(_ key: String, _ sorted: [(String, Double)]) throws {
        let (low, high) = (element(), element())
        let isExclusive = random.chance(50)
        let members = byBytes(sorted.map(\.0)).filter { member in
            let bytes = Array(member.utf8)
            let isAbove =
                isExclusive
                ? Array(low.utf8).lexicographicallyPrecedes(bytes)
                : !bytes.lexicographicallyPrecedes(low.utf8)
            return isAbove && !Array(high.utf8).lexicographicallyPrecedes(bytes)
        }
        var forward: [String] = []
        var backward: [String] = []
        try with(key) { key in
            try with(low) { low in
                try with(high) { high in
                    let range = LexRange(
                        minimum: isExclusive ? .exclusive(low) : .inclusive(low),
                        maximum: .inclusive(high))
                    try driver.zsets.forEachByLex(key, range, reverse: false, now: driver.now) {
                        member, _ in
                        forward.append(text(member))
                        return true
                    }
                    try driver.zsets.forEachByLex(key, range, reverse: true, now: driver.now) {
                        member, _ in
                        backward.append(text(member))
                        return true
                    }
                }
            }
        }
        #expect(forward == members)
        #expect(backward == members.reversed())
    }
}

@Suite("Random operations against a model")
struct ModelTests {
    @Test("Every result and the content equal the model's", arguments: 1...4 as ClosedRange<UInt64>)
    func random(run number: UInt64) throws {
        let seed = testSeed &+ number
        print("SEED=\(testSeed) run \(number)")
        var run = try ModelRun(seed: seed)
        for step in 0..<2500 {
            try run.step()
            if step % 50 == 0 { try run.check() }
        }
        try run.check()
        try run.database.close()
    }
}
