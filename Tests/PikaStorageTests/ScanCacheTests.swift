import Foundation
import Synchronization
import TestKit
import Testing

@testable import PikaStorage

/// What a client would see of a few keys.
private struct View {
    static let keys = ["a", "b"]
    let set: TransactionSet
    let now: Int64

    init(_ set: TransactionSet, now: Int64) {
        self.set = set
        self.now = now
    }

    func all() throws -> [String] {
        var lines: [String] = []
        for name in Self.keys {
            try with(name) { key in
                lines.append("hash \(try hash(key))")
                lines.append("list \(try list(key, 0, -1))")
                lines.append("part of list \(try list(key, 1, 3))")
                lines.append("members \(try members(key))")
                lines.append("ranks \(try ranks(key, 0, -1, reverse: false))")
                lines.append("two ranks \(try ranks(key, 1, 2, reverse: false))")
                lines.append("last ranks \(try ranks(key, 0, 1, reverse: true))")
                lines.append("scores \(try scores(key))")
            }
        }
        return lines
    }

    func hash(_ key: Bytes) throws -> [String] {
        var found: [String] = []
        try Hashes(set.hashes).forEach(key, now: now) { field, value in
            found.append(text(field) + "=" + text(value))
            return true
        }
        return found
    }

    func list(_ key: Bytes, _ start: Int64, _ stop: Int64) throws -> [String] {
        var found: [String] = []
        try Lists(set.lists).forEach(key, start: start, stop: stop, now: now) { element in
            found.append(text(element))
            return true
        }
        return found
    }

    func members(_ key: Bytes) throws -> [String] {
        var found: [String] = []
        try Sets(set.sets).forEach(key, now: now) { member in
            found.append(text(member))
            return true
        }
        return found
    }

    func ranks(_ key: Bytes, _ start: Int64, _ stop: Int64, reverse: Bool) throws -> [String] {
        var found: [String] = []
        try SortedSets(set.zsets).forEachByRank(
            key, start: start, stop: stop, reverse: reverse, now: now
        ) { member, score in
            found.append("\(text(member))=\(score)")
            return true
        }
        return found
    }

    func scores(_ key: Bytes) throws -> [String] {
        var found: [String] = []
        let range = ScoreRange(minimum: ScoreBound(1), maximum: ScoreBound(3))
        try SortedSets(set.zsets).forEachByScore(key, range, reverse: false, now: now) {
            member, score in
            found.append("\(text(member))=\(score)")
            return true
        }
        return found
    }
}

@Suite("Kept scans")
struct ScanCacheTests {
    private static let now: Int64 = 1_700_000_000

    private static func transactions(_ database: TestDatabase) -> TransactionSet {
        let stores = database.stores
        return TransactionSet(
            strings: stores[0], hashes: stores[1], lists: stores[2], sets: stores[3],
            zsets: stores[4])
    }

    /// One write of any type.
    private static func write(_ random: inout SeededRandom, _ driver: Driver) throws {
        let key = View.keys[Int(random.next() % 2)]
        let element = "e\(random.next() % 6)"
        let score = "\(random.next() % 5)"
        switch random.next() % 14 {
        case 0...1: _ = try driver.hset(key, element, score)
        case 2: _ = try driver.hdel(key, element)
        case 3...4: _ = try driver.push(key, random.next() % 2 == 0 ? .left : .right, [element])
        case 5: _ = try driver.pop(key, .left)
        case 6: try driver.ltrim(key, 1, 3)
        case 7: _ = try driver.insert(key, before: true, element, score)
        case 8: _ = try driver.sadd(key, element)
        case 9: _ = try driver.srem(key, element)
        case 10...11: _ = try driver.zadd(key, [score, element])
        case 12: _ = try driver.zrem(key, element)
        default: if random.next() % 8 == 0 { _ = try driver.delete(key) }
        }
    }

    @Test("They show what a scan of the store shows, whatever was written between")
    func agrees() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let kept = View(Self.transactions(database), now: Self.now)
        kept.set.keepScans()
        let plain = View(Self.transactions(database), now: Self.now)
        let driver = Driver(database: database, now: Self.now)
        var random = SeededRandom(seed: testSeed)
        for round in 0..<600 {
            for _ in 0..<random.next() % 3 { try Self.write(&random, driver) }
            if random.next() % 10 == 0 { database.set.reset() }
            let comment: Comment = "round \(round), PIKA_TEST_SEED=\(testSeed)"
            // Written, but not committed: nobody sees it.
            if random.next() % 4 == 0 { try #require(try kept.all() == plain.all(), comment) }
            try database.commit()
            for _ in 0..<3 { try #require(try kept.all() == plain.all(), comment) }
        }
        #expect(kept.set.hashes.core.pointee.scans.usedBytes > 0)
        #expect(plain.set.hashes.core.pointee.scans.usedBytes == 0)
    }

    @Test("A transaction sees its own writes in what it has kept, and forgets those it gave up")
    func ownWrites() throws {
        let database = try TestDatabase(TemporaryDirectory())
        database.set.keepScans()
        let driver = Driver(database: database, now: Self.now)
        _ = try driver.hset("a", "f", "1")
        try database.commit()
        for _ in 0..<3 { #expect(try driver.hgetall("a") == ["f", "1"]) }
        _ = try driver.hset("a", "f", "2")
        #expect(try driver.hgetall("a") == ["f", "2"])
        database.set.reset()
        for _ in 0..<3 { #expect(try driver.hgetall("a") == ["f", "1"]) }
        _ = try driver.hset("a", "g", "1")
        try database.commit()
        _ = try driver.hdel("a", "f")
        for _ in 0..<3 { #expect(try driver.hgetall("a") == ["g", "1"]) }
        database.set.reset()
        for _ in 0..<3 { #expect(try driver.hgetall("a") == ["f", "1", "g", "1"]) }
    }

    @Test("A trimmed list that grows again over deleted ranges shows its new elements")
    func trimmed() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: Self.now)
        let reader = View(Self.transactions(database), now: Self.now)
        reader.set.keepScans()
        let count = 2 * StoreTransaction.rangeRows
        for round in 0..<3 {
            _ = try driver.push("a", .right, (0..<count).map { "\(round).\($0)" })
            try database.commit()
            for _ in 0..<3 {
                let last = try with("a") { try reader.list($0, -3, -1) }
                #expect(last == (count - 3..<count).map { "\(round).\($0)" })
            }
            try driver.ltrim("a", 0, 4)
            try database.commit()
            for _ in 0..<3 { #expect(try with("a") { try reader.list($0, 0, -1) }.count == 5) }
        }
    }

    @Test("What a body ended early, and what is too long, is not kept")
    func partial() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: Self.now)
        let long = String(repeating: "x", count: ScanCache.entryLimitBytes / 2)
        for number in 0..<3 { _ = try driver.hset("long", "\(number)", long) }
        for number in 0..<3 { _ = try driver.hset("short", "\(number)", "v") }
        try database.commit()
        let set = Self.transactions(database)
        set.keepScans()
        let view = View(set, now: Self.now)
        for _ in 0..<4 {
            #expect(try with("long") { try view.hash($0) }.count == 3)
            var seen = 0
            try with("short") { key in
                try Hashes(set.hashes).forEach(key, now: Self.now) { _, _ in
                    seen += 1
                    return seen < 2
                }
            }
            #expect(seen == 2)
        }
        #expect(set.hashes.core.pointee.scans.usedBytes == 0)
        for _ in 0..<4 { #expect(try with("short") { try view.hash($0) }.count == 3) }
        #expect(set.hashes.core.pointee.scans.usedBytes > 0)
    }

    @Test("All of them together stay below the limit, and read right while others take their place")
    func limit() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: Self.now)
        let value = String(repeating: "x", count: ScanCache.entryLimitBytes - 1000)
        let keys = 2 * ScanCache.limitBytes / ScanCache.entryLimitBytes
        for key in 0..<keys { _ = try driver.hset("k\(key)", "f", "\(key)" + value) }
        try database.commit()
        let set = Self.transactions(database)
        set.keepScans()
        let view = View(set, now: Self.now)
        for round in 0..<3 {
            for key in 0..<keys {
                for _ in 0...round {
                    #expect(try with("k\(key)") { try view.hash($0) } == ["f=\(key)" + value])
                }
                #expect(set.hashes.core.pointee.scans.usedBytes <= ScanCache.limitBytes)
            }
        }
        #expect(set.hashes.core.pointee.scans.usedBytes > ScanCache.limitBytes / 2)
    }

    @Test("A scan inside of the visit of a kept one changes nothing of it")
    func nested() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: Self.now)
        for number in 0..<200 { _ = try driver.hset("k\(number)", "a", "1", "b", "2", "c", "3") }
        try database.commit()
        let set = Self.transactions(database)
        set.keepScans()
        let view = View(set, now: Self.now)
        for _ in 0..<3 { _ = try with("k0") { try view.hash($0) } }
        var outer: [String] = []
        try with("k0") { key in
            try Hashes(set.hashes).forEach(key, now: Self.now) { field, value in
                outer.append(text(field) + "=" + text(value))
                for number in 0..<200 {
                    for _ in 0..<3 {
                        let inner = try? with("k\(number)") { try view.hash($0) }
                        #expect(inner == ["a=1", "b=2", "c=3"])
                    }
                }
                return true
            }
        }
        #expect(outer == ["a=1", "b=2", "c=3"])
    }

    @Test("Beside a writer each scan shows one batch, whole, and never an older one than before")
    func besideWriter() async throws {
        let database = try TestDatabase(TemporaryDirectory())
        let writer = Self.transactions(database).hashes
        let reader = Self.transactions(database)
        reader.keepScans()
        let rounds = 4_000
        let view = View(reader, now: Self.now)
        func write(_ number: Int) throws {
            for field in 0..<8 {
                try with("a") { key in
                    try with("\(field)") { field in
                        try with("\(number)") { value in
                            _ = try Hashes(writer).set(key, field, value, now: Self.now)
                        }
                    }
                }
            }
            _ = try writer.commit(applied: nil, mode: .waiting)
        }
        try write(0)
        let isDone = Flag()
        let boxes = (Unchecked(write), Unchecked(view))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { isDone.set() }
                for number in 1...rounds {
                    try boxes.0.value(number)
                    // So that a scan is asked for again between two batches.
                    if number % 4 == 0 { usleep(50) }
                }
            }
            group.addTask {
                var last = 0
                var isLast = false
                while !isLast {
                    isLast = isDone.isSet
                    let found = try with("a") { try boxes.1.value.hash($0) }
                    let numbers = Set(found.compactMap { Int($0.split(separator: "=")[1]) })
                    try #require(found.count == 8 && numbers.count == 1, "\(found)")
                    let number = try #require(numbers.first)
                    try #require(number >= last)
                    last = number
                }
                #expect(last == rounds)
            }
            try await group.waitForAll()
        }
    }
}

private final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
}

/// For a transaction that one task uses.
private struct Unchecked<Value>: @unchecked Sendable {
    // SAFETY: each value goes to one task.
    let value: Value
    init(_ value: Value) { self.value = value }
}
