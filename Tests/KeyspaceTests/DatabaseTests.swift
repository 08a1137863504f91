import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import Synchronization
import TestKit
import Testing

@testable import Keyspace

@Suite("Database as a master")
struct DatabaseTests {
    @Test("A group is in the log and in the stores after its commit")
    func commit() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        #expect(database.isPristine)
        let position = try database.write(
            ["set", "a", "1"], ["rpush", "l", "x", "y"], ["HSET", "h", "f", "v"])
        #expect(database.published == position)
        #expect(!database.isPristine)
        #expect(try database.string("a") == "1")
        #expect(
            try database.logItems().map(\.text) == ["set a 1", "rpush l x y", "HSET h f v"])
        #expect(database.keyLocks.isEmpty)
        #expect(keyspace.close())
    }

    @Test("A group sees its own writes and drops them with discard")
    func overlay() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let group = database.makeGroup()
        for index in 0..<16 { try group.run("rpush", "l", "\(index)") }
        let count = try withBytes(["l"]) { keys in
            try Lists(group.transactions.lists).count(keys[0], now: group.now)
        }
        #expect(count == 16)
        #expect(group.hasWrites(to: .lists) && !group.hasWrites(to: .sets))
        group.discard()
        #expect(database.keyLocks.isEmpty)
        guard case .nothing = group.commit() else {
            Issue.record("a discarded group was committed")
            return
        }
        #expect(try database.logItems().isEmpty)
        #expect(keyspace.close())
    }

    @Test("After a clean stop everything is there, and the mark is gone while open")
    func cleanStop() throws {
        let rig = try Rig()
        var keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "a", "1"], ["sadd", "s", "m"])
        let rows = try keyspace.databases[0].rawRows()
        let end = keyspace.databases[0].published
        let runID = keyspace.runID
        #expect(keyspace.close())
        let mark = rig.directory.path + "/db/db0/" + StateFile.fileName
        #expect(FileManager.default.fileExists(atPath: mark))
        rig.change { $0.bootID = "boot-2" }
        keyspace = try rig.open()
        #expect(!FileManager.default.fileExists(atPath: mark))
        #expect(try keyspace.databases[0].rawRows() == rows)
        #expect(keyspace.databases[0].published == end)
        #expect(keyspace.databases[0].history.count == 1)
        #expect(keyspace.runID == runID)
        #expect(keyspace.close())
    }

    @Test("B12: kill -9 at any moment loses nothing that was appended")
    func killed() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        for index in 0..<50 {
            try database.write(
                ["set", "a\(index)", "\(index)"], ["rpush", "l", "\(index)"],
                ["zadd", "z", "\(index)", "m\(index % 7)"], ["del", "a\(index - 10)"])
            if index == 20 { try database.live.stores[.lists].flush() }
            if index == 30 { try database.flush() }
        }
        let rows = try database.rawRows()
        let copy = try rig.killed()
        let again = try copy.open()
        #expect(try again.databases[0].rawRows() == rows)
        #expect(again.databases[0].published == database.published)
        #expect(again.databases[0].log.end == database.log.end)
        #expect(again.close())
        #expect(keyspace.close())
    }

    @Test("A kill during recovery is another kill")
    func killedTwice() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        for index in 0..<30 { try database.write(["rpush", "l", "\(index)"], ["incr", "n"]) }
        let rows = try database.rawRows()
        let first = try rig.killed()
        let second = try first.open()
        // The second process recovered and is killed before it flushed anything.
        let third = try first.killed().open()
        #expect(try third.databases[0].rawRows() == rows)
        for keyspace in [keyspace, second, third] { #expect(keyspace.close()) }
    }

    @Test("A second process gets a clear error")
    func locked() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        #expect(throws: KeyspaceError.directoryInUse(rig.directory.path + "/db")) {
            try rig.open()
        }
        #expect(keyspace.close())
        #expect(try rig.open().close())
    }

    @Test("Time that moved on while a group was prepared makes it prepare again, once")
    func prepareAgain() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let slow = database.makeGroup()
        try slow.run("set", "slow", "1")
        let prepared = slow.now
        rig.clock.advance(by: .seconds(10))
        try database.write(["set", "fast", "1"])
        guard case .prepareAgain = slow.commit() else {
            Issue.record("committed with an old time")
            return
        }
        #expect(slow.now == prepared + 10)
        #expect(!slow.hasWrites)
        try slow.run("set", "slow", "2")
        try slow.mustCommit()
        #expect(try database.string("slow") == "2")
        let items = try database.logItems()
        #expect(items.map(\.text) == ["set fast 1", "set slow 2"])
        #expect(keyspace.close())
    }

    @Test("A group that replaces whole keys is committed as it is when time moved on")
    func timelessGroup() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["sadd", "s", "old"], ["sadd", "mortal", "m"])
        let soon = rig.clock.unixSeconds + 5
        try database.write(["expireat", "mortal", "\(soon)"])
        let slow = database.makeGroup(onPool: true)
        slow.beginAtomic()
        slow.makeTimeless()
        for key in ["s", "mortal", "new"] {
            try slow.run("del", key)
            try slow.run("sadd", key, "a", "b")
        }
        slow.endAtomic()
        // Meanwhile `mortal` is over, and the log's clock knows it.
        rig.clock.advance(by: .seconds(10))
        try database.write(["set", "fast", "1"])
        guard case .committed = slow.commit() else {
            Issue.record("was to be prepared again")
            return
        }
        #expect(!slow.isTimeless)
        func members(_ database: Database) throws -> [String: Int] {
            let reader = database.makeReader()
            var counts: [String: Int] = [:]
            for key in ["s", "mortal", "new"] {
                counts[key] = try Array(key.utf8).withUnsafeBytes {
                    try Sets(reader.sets).count($0, now: database.now)
                }
            }
            return counts
        }
        let expected = ["s": 2, "mortal": 2, "new": 2]
        #expect(try members(database) == expected)
        // Recovery applies the same items with the later time.
        let second = try rig.killed().open()
        #expect(try members(second.databases[0]) == expected)
        for keyspace in [keyspace, second] { #expect(keyspace.close()) }
    }

    @Test("A clock that was set back gives items the log's time")
    func clockBack() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "a", "1"])
        let now = rig.clock.unixSeconds
        rig.clock.advance(by: .seconds(-100))
        let group = database.makeGroup()
        #expect(group.now == now - 2)
        try group.run("hset", "h", "f", "v")
        try group.mustCommit()
        let rows = try database.rawRows()
        let meta = try #require(rows["hashes/meta/68"])
        #expect(meta[4..<8].elementsEqual(withUnsafeBytes(of: Int32(now - 2)) { Array($0) }))
        let again = try rig.killed().open()
        #expect(try again.databases[0].rawRows() == rows)
        #expect(again.close())
        #expect(keyspace.close())
    }

    @Test("B7: an atomic group counts down and is cut whole if its end is missing")
    func atomicGroup() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "before", "1"])
        let start = database.published
        let group = database.makeGroup()
        group.beginAtomic()
        try group.run("del", "d")
        try group.run("sadd", "d", "m1")
        try group.run("set", "e", "1")
        group.endAtomic()
        try group.mustCommit()
        let items = try database.logItems()
        #expect(items.map(\.header.itemsLeftInGroup) == [0, 2, 1, 0])
        let copy = try rig.killed()
        let path = copy.directory.path + "/log/log_db0/write2file0"
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.truncate(atOffset: items[2].end.offset)
        try handle.close()
        let again = try copy.open()
        #expect(again.databases[0].published == start)
        #expect(try again.databases[0].string("before") == "1")
        #expect(try again.databases[0].string("e") == nil)
        #expect(again.close())
        #expect(keyspace.close())
    }

    @Test("The log of several databases is kept apart")
    func severalDatabases() throws {
        let rig = try Rig { $0.databaseCount = 3 }
        let keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "a", "0"])
        try keyspace.databases[2].write(["set", "a", "2"])
        let again = try rig.killed().open()
        #expect(try again.databases.map { try $0.string("a") } == ["0", nil, "2"])
        #expect(again.close())
        #expect(keyspace.close())
    }

    @Test("Recovery at every item boundary of a log gives the state after that item")
    func everyPrefix() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let empty = try rig.killed()
        let database = keyspace.databases[0]
        var states = [(database.published, try database.rawRows())]
        for command in Self.mixed {
            try database.write(command)
            states.append((database.published, try database.rawRows()))
        }
        let log = rig.directory.path + "/log/log_db0/write2file0"
        let bytes = try Data(contentsOf: URL(fileURLWithPath: log))
        for (index, (end, rows)) in states.enumerated() {
            // The next item is torn, but for the last round.
            let next = index + 1 < states.count ? states[index + 1].0.offset : end.offset
            for offset in Set([end.offset, (end.offset + next) / 2, max(end.offset, next) - 1])
            where offset >= end.offset {
                let copy = try empty.killed()
                let path = copy.directory.path + "/log/log_db0/write2file0"
                try bytes[..<Int(offset)].write(to: URL(fileURLWithPath: path))
                let again = try copy.open()
                #expect(again.databases[0].published == end)
                #expect(try again.databases[0].rawRows() == rows)
                #expect(again.close())
            }
        }
        #expect(keyspace.close())
    }

    static let mixed: [[String]] = [
        ["set", "s", "v"], ["hset", "h", "f", "v"], ["rpush", "l", "a", "b", "c"],
        ["lpop", "l"], ["sadd", "t", "m", "n"], ["zadd", "z", "1.5", "m"],
        ["expireat", "h", "1795399900"], ["del", "t"], ["sadd", "t", "again"],
        ["append", "s", "more"], ["persist", "h"], ["hdel", "h", "f"],
    ]

    @Test("What a group has to tell is told once, in the stores and before its keys are free")
    func whenCommitted() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let told = Atomic<Int>(0)
        let wasLocked = Atomic<Bool>(false)
        let other = database.makeGroup()
        let group = database.makeGroup()
        func attach() {
            group.whenCommitted = {
                told.add(1, ordering: .relaxed)
                // Another loop's group would have to wait for the key.
                let outcome = withBytes(["k"]) { other.lock($0) }
                if case .acquired = outcome {} else { wasLocked.store(true, ordering: .relaxed) }
            }
        }
        _ = try group.run("set", "k", "1")
        attach()
        group.discard()
        var count = told.load(ordering: .relaxed)
        #expect(count == 0)
        _ = try group.run("set", "k", "2")
        attach()
        try group.mustCommit()
        count = told.load(ordering: .relaxed)
        let isLocked = wasLocked.load(ordering: .relaxed)
        #expect(count == 1)
        #expect(isLocked)
        #expect(try database.string("k") == "2")
        try database.write(["set", "k", "3"])
        count = told.load(ordering: .relaxed)
        #expect(count == 1)
        other.discard()
        #expect(keyspace.close())
    }
}
