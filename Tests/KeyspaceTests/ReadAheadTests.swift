import PikaStorage
import Testing

@testable import Keyspace

@Suite("Reading ahead")
struct ReadAheadTests {
    /// Strings in two databases, nothing of them in a row cache.
    private static func open(_ rig: Rig, _ count: Int) throws -> Keyspace {
        let keyspace = try rig.open()
        for database in keyspace.databases {
            let group = database.makeGroup(onPool: true)
            for number in 0..<count {
                let words = ["set", "key\(number)", "\(database.index).\(number)"]
                try withBytes(words) { _ = try group.perform(.set, $0[1], $0[2]) }
            }
            guard case .committed = group.commit() else { throw Failure.notCommitted }
        }
        keyspace.close()
        return try rig.open()
    }

    private static func makeRig() throws -> Rig { try Rig { $0.databaseCount = 2 } }

    private enum Failure: Error { case notCommitted }

    /// Posts keys, as soon as the threads are done with those before.
    private static func post(
        _ ahead: ReadAhead, _ keys: [String], database: Int = 0, threads: Int = 1
    ) {
        waitUntilIdle(ahead)
        for key in keys { withBytes([key]) { #expect(ahead.add($0[0])) } }
        ahead.post(database: database, threads: threads)
    }

    private static func waitUntilIdle(_ ahead: ReadAhead) { while !ahead.begin() { yieldThread() } }

    /// Whether the row cache has what a read would give.
    private static func isCached(_ key: String, _ keyspace: Keyspace, _ database: Int = 0) -> Bool {
        let transactions = keyspace.databases[database].makeReader()
        return withBytes([key]) { !transactions.strings.readAhead($0[0]) }
    }

    @Test("Keys that were posted are in the row cache of their database", arguments: [1, 4])
    func reads(threads: Int) throws {
        let keyspace = try Self.open(Self.makeRig(), 200)
        defer { keyspace.close() }
        let ahead = ReadAhead(keyspace)
        for start in stride(from: 0, to: 96, by: 32) {
            let keys = (start..<start + 32).map { "key\($0)" }
            Self.post(ahead, keys, database: 1, threads: threads)
        }
        Self.waitUntilIdle(ahead)
        ahead.stop()
        #expect(ahead.readCount == 96)
        for number in 0..<96 {
            #expect(Self.isCached("key\(number)", keyspace, 1), "key\(number)")
        }
        #expect(!Self.isCached("key96", keyspace, 1))
        #expect(!Self.isCached("key0", keyspace, 0))
    }

    @Test("A row that is there already is not read again, nor one that the store does not have")
    func readsOnce() throws {
        let keyspace = try Self.open(Self.makeRig(), 8)
        defer { keyspace.close() }
        let ahead = ReadAhead(keyspace)
        for _ in 0..<3 { Self.post(ahead, ["key1", "key2", "none"]) }
        Self.waitUntilIdle(ahead)
        ahead.stop()
        #expect(ahead.readCount == 3)
    }

    @Test("A list takes so many keys, and leaves out those that are too long")
    func limits() throws {
        let keyspace = try Self.open(Self.makeRig(), 1)
        defer { keyspace.close() }
        let ahead = ReadAhead(keyspace)
        #expect(ahead.begin())
        let long = String(repeating: "x", count: ReadAhead.keyLimitBytes + 1)
        withBytes([long, String(long.dropLast())]) { keys in
            #expect(ahead.add(keys[0]))
            #expect(ahead.keyCount == 0)
            for _ in 0..<ReadAhead.keyLimit { #expect(ahead.add(keys[1])) }
            #expect(!ahead.add(keys[1]))
        }
        #expect(ahead.keyCount == ReadAhead.keyLimit)
    }

    @Test("Nothing is read while the gate is closed, and the closer does not wait for the keys")
    func gate() throws {
        let keyspace = try Self.open(Self.makeRig(), 32)
        defer { keyspace.close() }
        let ahead = ReadAhead(keyspace)
        keyspace.gate.withClosed {
            Self.post(ahead, (0..<32).map { "key\($0)" })
            Self.waitUntilIdle(ahead)
        }
        #expect(ahead.readCount == 0)
        Self.post(ahead, ["key1"])
        Self.waitUntilIdle(ahead)
        ahead.stop()
        #expect(ahead.readCount == 1)
    }
}
