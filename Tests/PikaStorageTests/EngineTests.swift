import Foundation
import PikaStorage
import SyncProtocol
import Synchronization
import Testing

@Suite("The engine's rules")
struct EngineTests {
    private let now: Int64 = 1_700_000_000

    /// Puts numbered strings and commits them at `offset`.
    private func write(
        _ transaction: StoreTransaction, _ range: Range<Int>, offset: UInt64,
        mode: CommitMode = .waiting
    ) throws -> CommitResult {
        for number in range {
            try with("key\(number)") { key in
                try with("value \(number)") { try Strings(transaction).set(key, $0) }
            }
        }
        return try transaction.commit(applied: position(offset, now: now), mode: mode)
    }

    private func count(_ store: Store) throws -> Int {
        Int(try store.makeTransaction().keyStatistics(now: now).keys)
    }

    @Test("A checkpoint holds what was committed, memtables included")
    func checkpoint() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .strings)
        defer { store.close() }
        let transaction = store.makeTransaction()
        _ = try write(transaction, 0..<500, offset: 7)
        #expect(store.memtablesLeft > 0)
        try store.checkpoint(to: directory("copy"))
        _ = try write(transaction, 500..<600, offset: 8)
        let copy = try Store.openReadOnly(
            path: directory("copy"), kind: .strings, environment: testEnvironment)
        defer { copy.close() }
        #expect(try copy.appliedPosition()?.position.offset == 7)
        #expect(try count(copy) == 500)
        #expect(try count(store) == 600)
        #expect(throws: StorageError.self) { try store.checkpoint(to: directory("copy")) }
    }

    @Test("A flush leaves nothing in memtables and calls the hook before; so does closing")
    func flush() throws {
        let directory = try TemporaryDirectory()
        let calls = Mutex(0)
        let hooks = StoreHooks(onFlushBegin: { calls.withLock { $0 += 1 } })
        let store = try openStore(directory("s"), .zsets, hooks: hooks)
        let transaction = store.makeTransaction()
        _ = try with("z") { try SortedSets(transaction).add($0, $0, score: 1, now: now) }
        _ = try transaction.commit(applied: position(1, now: now))
        #expect(calls.withLock { $0 } == 0)
        try store.flush()
        #expect(calls.withLock { $0 } > 0)
        #expect(store.memtablesLeft == 0)
        #expect(try store.appliedPosition(persistedOnly: true)?.position.offset == 1)
        let before = calls.withLock { $0 }
        _ = try with("y") { try SortedSets(transaction).add($0, $0, score: 1, now: now) }
        _ = try transaction.commit(applied: position(2, now: now))
        #expect(store.close() == nil)
        #expect(calls.withLock { $0 } > before)
        let again = try openStore(directory("s"), .zsets)
        defer { again.close() }
        #expect(try again.appliedPosition()?.position.offset == 2)
    }

    @Test("A stop without a flush keeps what was flushed, and only that, in all families")
    func dropMemtables() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .zsets)
        let transaction = store.makeTransaction()
        for (offset, key) in [(UInt64(1), "a"), (2, "b")] {
            _ = try with(key) { try SortedSets(transaction).add($0, $0, score: 1, now: now) }
            _ = try transaction.commit(applied: position(offset, now: now))
            if offset == 1 { try store.flush() }
        }
        #expect(store.close(flush: false) == nil)
        let again = try openStore(directory("s"), .zsets)
        defer { again.close() }
        #expect(try again.appliedPosition()?.position.offset == 1)
        let reader = again.makeTransaction()
        for family in [Family.meta, .data, .score] {
            // The reserved row comes on top in the meta family.
            #expect(try rows(reader, family).count == (family == .meta ? 2 : 1))
        }
    }

    @Test("Flushes, compactions and checkpoints while a writer works")
    func maintenanceUnderLoad() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(
            directory("s"), .zsets, options: smallOptions(memtableBytes: 65536))
        let stop = Atomic(false)
        let written = Atomic<UInt64>(0)
        let failure = Mutex<(any Error)?>(nil)
        let writer = Thread {
            let transaction = store.makeTransaction()
            var offset: UInt64 = 0
            while !stop.load(ordering: .relaxed) {
                offset += 1
                do {
                    try with("z\(offset % 50)") { key in
                        try with("m\(offset % 997)") { member in
                            _ = try SortedSets(transaction).add(
                                key, member, score: Double(offset), now: self.now)
                        }
                    }
                    _ = try transaction.commit(
                        applied: position(offset, now: self.now), mode: .waiting)
                } catch {
                    failure.withLock { $0 = error }
                    return
                }
                written.store(offset, ordering: .releasing)
            }
            stop.store(false, ordering: .releasing)
        }
        writer.start()
        for round in 0..<12 {
            // Each round has something to flush.
            let target = written.load(ordering: .acquiring) + 100
            while written.load(ordering: .acquiring) < target, failure.withLock({ $0 == nil }) {
                usleep(500)
            }
            let before = written.load(ordering: .acquiring)
            try store.flush(allowStall: round % 2 == 0)
            let persisted = try store.appliedPosition(persistedOnly: true)?.position.offset ?? 0
            #expect(persisted >= before)
            if round % 4 == 3 { try store.compact() }
        }
        stop.store(true, ordering: .relaxed)
        while stop.load(ordering: .acquiring), failure.withLock({ $0 == nil }) { usleep(1000) }
        #expect(failure.withLock { $0 == nil })
        let reader = store.makeTransaction()
        let metas = try rows(reader, .meta)
        let data = try rows(reader, .data).count
        #expect(try rows(reader, .score).count == data)
        #expect(metas.count == 51)
        #expect(store.close() == nil)
    }

    @Test("A commit that would stall says so and keeps its rows; waiting writes them")
    func stall() throws {
        let directory = try TemporaryDirectory()
        let gate = DispatchSemaphore(value: 0)
        let isOpen = Atomic(false)
        let worst = Mutex(StallState.normal)
        let hooks = StoreHooks(
            onFlushBegin: { if !isOpen.load(ordering: .acquiring) { gate.wait() } },
            onStallStateChanged: { state in worst.withLock { $0 = max($0, state) } })
        var options = smallOptions(memtableBytes: 65536)
        options.memtableCount = 2
        let store = try openStore(directory("s"), .strings, options: options, hooks: hooks)
        let transaction = store.makeTransaction()
        var offset: UInt64 = 0
        var result = CommitResult.done
        while result == .done, offset < 1000 {
            offset += 1
            result = try write(
                transaction, Int(offset) * 100..<Int(offset) * 100 + 100, offset: offset,
                mode: .withoutStall)
        }
        #expect(result == .wouldStall)
        #expect(transaction.pendingRowCount == 101)
        #expect(try store.appliedPosition()?.position.offset == offset - 1)
        // Reads go on.
        let first = try with("key100") { try Strings(transaction).exists($0, now: now) }
        #expect(first)
        isOpen.store(true, ordering: .releasing)
        for _ in 0..<8 { gate.signal() }
        #expect(
            try transaction.commit(applied: position(offset, now: now), mode: .waiting) == .done)
        #expect(transaction.isEmpty)
        #expect(try store.appliedPosition()?.position.offset == offset)
        #expect(try count(store) == Int(offset) * 100)
        #expect(worst.withLock { $0 } == .stopped)
        #expect(store.close() == nil)
    }

    @Test("Sequence number and identity survive; a new store has others")
    func identity() throws {
        let directory = try TemporaryDirectory()
        var store = try openStore(directory("s"), .strings)
        _ = try write(store.makeTransaction(), 0..<10, offset: 1)
        let identity = try store.identity()
        let sequence = store.sequenceNumber
        #expect(sequence == 11)
        #expect(store.close() == nil)
        store = try openStore(directory("s"), .strings)
        #expect(try store.identity() == identity)
        #expect(store.sequenceNumber == sequence)
        #expect(!FileManager.default.fileExists(atPath: directory("s/LOG")))
        #expect(store.close() == nil)
        let other = try openStore(directory("t"), .strings)
        #expect(try other.identity() != identity)
        #expect(other.close() == nil)
    }

    @Test("Options are changed live; unknown ones are refused; properties are read")
    func options() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .hashes)
        defer { store.close() }
        try store.setOptions([("write_buffer_size", "131072")])
        try store.setStoreOptions([("max_background_jobs", "3")])
        #expect(throws: StorageError.self) { try store.setOptions([("no_such_option", "1")]) }
        #expect(store.integerProperty("rocksdb.estimate-num-keys") == 0)
        #expect(store.integerProperty("rocksdb.no-such") == nil)
        #expect(store.property("rocksdb.stats")?.isEmpty == false)
    }

    @Test("A closed store answers every call with an error, and closing again is harmless")
    func closed() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .lists)
        let transaction = store.makeTransaction()
        with("k") { transaction.put(.meta, $0, $0) }
        #expect(store.close() == nil)
        #expect(store.close() == nil)
        #expect(throws: StorageError.closed) { try transaction.commit(applied: nil) }
        transaction.reset()
        #expect(throws: StorageError.closed) {
            try with("k") { try Lists(transaction).count($0, now: now) }
        }
        #expect(throws: StorageError.closed) {
            try transaction.scan(.data, prefix: .none, from: nil) { _, _ in true }
        }
        #expect(throws: StorageError.closed) { try transaction.withSnapshot {} }
        #expect(throws: StorageError.closed) { try store.flush() }
        #expect(throws: StorageError.closed) { try store.compact() }
        #expect(throws: StorageError.closed) { try store.checkpoint(to: directory("c")) }
        #expect(throws: StorageError.closed) { try store.appliedPosition() }
        #expect(throws: StorageError.closed) { try store.identity() }
        #expect(store.sequenceNumber == 0 && store.memtablesLeft == 0)
        #expect(store.property("rocksdb.stats") == nil)
    }

    @Test("With the write-ahead log on, a stop without a flush loses nothing")
    func writeAheadLog() throws {
        let directory = try TemporaryDirectory()
        var options = smallOptions()
        options.writeAheadLog = true
        options.filterClock = .wall
        let store = try openStore(directory("s"), .strings, options: options)
        let transaction = store.makeTransaction()
        try with("k") { try Strings(transaction).set($0, $0) }
        _ = try transaction.commit(applied: nil)
        #expect(store.close(flush: false) == nil)
        let again = try openStore(directory("s"), .strings)
        defer { again.close() }
        #expect(try count(again) == 1)
    }
}

@Suite("Compaction filters")
struct FilterTests {
    private let now: Int64 = 1_700_000_000

    private func rowCounts(_ database: TestDatabase) throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for kind in StoreKind.allCases {
            for family in [Family.meta, .data, .score].prefix(kind.familyCount) {
                counts["\(kind) \(family)"] = try rows(database.set[kind], family).count
            }
        }
        return counts
    }

    private func compact(_ database: TestDatabase) throws {
        for store in database.stores { try store.compact() }
    }

    @Test("Nothing is dropped by time before the persisted row says that the time has come")
    func horizon() throws {
        let database = try TestDatabase(TemporaryDirectory())
        var driver = Driver(database: database, now: now)
        try driver.setValue("s", "v")
        _ = try driver.hset("h", "f", "v")
        _ = try driver.push("l", .left, ["v"])
        _ = try driver.sadd("c", "m")
        _ = try driver.zadd("z", ["1", "m"])
        for key in ["s", "h", "l", "c", "z"] { _ = try driver.expire(key, now + 10) }
        try database.commit()
        try compact(database)
        let all = try rowCounts(database)
        // No row at all: there is no horizon.
        #expect(all["strings meta"] == 1 && all["zsets score"] == 1)
        driver.now = now + 12
        try database.commit(position(1, now: driver.now))
        try compact(database)
        // 12 s later, less 2 s of slack: not yet behind the deadline.
        #expect(try rowCounts(database)["hashes data"] == 1)
        driver.now = now + 13
        try database.commit(position(2, now: driver.now))
        try compact(database)
        // Metas and data may go in the order of their families: once more for the rest.
        try compact(database)
        let left = try rowCounts(database)
        for kind in StoreKind.allCases {
            #expect(left["\(kind) meta"] == 1, "only the reserved row stays in \(kind)")
        }
        #expect(left["hashes data"] == 0 && left["lists data"] == 0 && left["sets data"] == 0)
        #expect(left["zsets data"] == 0 && left["zsets score"] == 0)
    }

    @Test("Elements of old versions go, those of the present one stay")
    func versions() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: now)
        for _ in 0..<3 {
            _ = try driver.hset("h", "f", "v", "g", "v")
            _ = try driver.push("l", .left, ["v", "w"])
            _ = try driver.zadd("z", ["1", "m", "-0", "n"])
            try database.commit(position(1, now: now))
            for key in ["h", "l", "z"] { _ = try driver.delete(key) }
        }
        _ = try driver.hset("h", "f", "v")
        _ = try driver.push("l", .left, ["v"])
        _ = try driver.zadd("z", ["1", "m"])
        try database.commit(position(2, now: now))
        #expect(try rowCounts(database)["hashes data"] == 7)
        try compact(database)
        let left = try rowCounts(database)
        #expect(left["hashes data"] == 1 && left["lists data"] == 1)
        #expect(left["zsets data"] == 1 && left["zsets score"] == 1)
        #expect(try driver.hgetall("h") == ["f", "v"])
        #expect(try driver.lrange("l") == ["v"])
        #expect(try driver.zrange("z") == ["m", "1"])
    }

    @Test("An empty meta goes only when its version is behind the horizon")
    func emptyMeta() throws {
        let database = try TestDatabase(TemporaryDirectory())
        var driver = Driver(database: database, now: now)
        _ = try driver.sadd("c", "m")
        _ = try driver.delete("c")
        driver.now = now + 3
        try database.commit(position(1, now: driver.now))
        try compact(database)
        // Version now + 1 is not below now + 1.
        #expect(try rowCounts(database)["sets meta"] == 2)
        driver.now = now + 4
        try database.commit(position(2, now: driver.now))
        try compact(database)
        #expect(try rowCounts(database)["sets meta"] == 1)
    }
}
