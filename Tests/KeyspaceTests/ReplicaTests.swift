import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

@Suite("Database as a replica")
struct ReplicaTests {
    /// A master's commands: every form, groups, a flush, rolls.
    static func load(_ database: Database, _ clock: ManualClock) throws {
        var random = SeededGenerator(seed: 11)
        for round in 0..<60 {
            try database.write(
                ["set", "a\(round % 9)", String(repeating: "v", count: round * 3)],
                ["rpush", "l", "\(round)"], ["hset", "h\(round % 3)", "f\(round)", "v"])
            let group = database.makeGroup()
            group.beginAtomic()
            for member in 0..<Int.random(in: 1...6, using: &random) {
                try group.run("zadd", "z", "\(member)", "m\(round)-\(member)")
                try group.run("del", "a\(member)")
            }
            group.endAtomic()
            try group.mustCommit()
            if round % 7 == 0 { clock.advance(by: .seconds(1)) }
            if round == 30 { try database.removeAll() }
            if round % 5 == 0 {
                try database.write(["expireat", "h1", "\(clock.unixSeconds + 3)"])
            }
        }
    }

    @Test("Same rows, same positions, same digest, however the items arrive", arguments: 0..<6)
    func follows(seed: UInt64) throws {
        let clock = ManualClock()
        let masterRig = try Rig(clock: clock) { $0.fileSizeLimitBytes = 4096 }
        let master = try masterRig.open()
        try Self.load(master.databases[0], clock)
        let source = master.databases[0]
        let items = try source.logItems()

        // Its own file size is another one: the chips' file numbers decide.
        var rig = try Rig(clock: clock)
        var keyspace = try rig.open()
        try keyspace.databases[0].becomeReplica()
        try keyspace.databases[0].setHistory(source.history)
        var random = SeededGenerator(seed: seed)
        var next = 0
        while next < items.count {
            let count = Int.random(in: 1...20, using: &random)
            let batch = items[next..<min(next + count, items.count)]
            try deliver(batch, to: keyspace.databases[0])
            next += batch.count
            #expect(keyspace.databases[0].received == items[next - 1].end)
            if Int.random(in: 0..<12, using: &random) == 0 {
                // Killed in the middle, often inside a group.
                let copy = try rig.killed()
                #expect(keyspace.close())
                rig = copy
                keyspace = try rig.open()
                #expect(keyspace.databases[0].received == items[next - 1].end)
            }
        }
        let database = keyspace.databases[0]
        #expect(try database.rawRows() == source.rawRows())
        #expect(database.log.end == source.log.end)
        #expect(database.published == source.published)
        #expect(!database.hasIncompleteGroup)
        #expect(keyspace.close())
        #expect(master.close())
    }

    @Test(
        "Items of an incomplete group stay, unapplied, until the rest arrives; over a restart too")
    func incompleteGroup() throws {
        let (items, master, masterRig) = try Self.groupOfFive()
        defer { withExtendedLifetime(masterRig) {} }
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        try deliver(items[..<3], to: database)
        #expect(database.hasIncompleteGroup)
        #expect(database.received == items[2].end)
        #expect(database.published == items[0].end)
        #expect(try database.string("g1") == nil)
        // A clean stop is possible.
        #expect(keyspace.close())
        let again = try rig.open()
        #expect(again.databases[0].received == items[2].end)
        #expect(again.databases[0].published == items[0].end)
        try deliver(items[3...4], to: again.databases[0])
        #expect(try again.databases[0].string("g1") == nil)
        try deliver(items[5...], to: again.databases[0])
        #expect(try again.databases[0].string("g1") == "1")
        #expect(try again.databases[0].rawRows() == master.databases[0].rawRows())
        #expect(again.close())
        #expect(master.close())
    }

    @Test("Promotion cuts an incomplete group, opens a new file and a history entry")
    func promotion() throws {
        let (items, master, masterRig) = try Self.groupOfFive()
        defer { withExtendedLifetime(masterRig) {} }
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        try database.becomeReplica()
        try deliver(items[..<3], to: database)
        let digest = try #require(try database.digest(at: items[0].end))
        try database.promote()
        #expect(database.role == .master)
        #expect(database.published == BinlogPosition(fileNumber: 1, offset: 0))
        let entry = try #require(database.history.last)
        #expect(entry.previousEnd == items[0].end)
        #expect(entry.previousDigest == digest)
        #expect(entry.start == database.published)
        #expect(try database.string("g1") == nil)
        try database.write(["set", "own", "1"])
        let again = try rig.killed().open()
        #expect(again.databases[0].role == .master)
        #expect(try again.databases[0].string("own") == "1")
        #expect(again.databases[0].history == database.history)
        for keyspace in [again, keyspace, master] { #expect(keyspace.close()) }
    }

    @Test("A promotion without a write of its own is undone when the master comes back")
    func promotionUndone() throws {
        let (items, master, masterRig) = try Self.groupOfFive()
        defer { withExtendedLifetime(masterRig) {} }
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        try deliver(items[..<1], to: database)
        let history = database.history
        for _ in 0..<2 {
            try database.promote()
            #expect(database.history.count == history.count + 1)
            try database.becomeReplica()
            #expect(database.history == history)
            #expect(database.received == items[0].end)
            #expect(database.published == items[0].end)
        }
        let again = try rig.killed().open()
        #expect(again.databases[0].history == history)
        #expect(again.databases[0].received == items[0].end)
        try deliver(items[1...], to: again.databases[0])
        #expect(try again.databases[0].rawRows() == master.databases[0].rawRows())
        // With a write the history is real, and stays.
        try database.promote()
        try database.write(["set", "own", "1"])
        try database.becomeReplica()
        #expect(database.history.count == history.count + 1)
        for keyspace in [again, keyspace, master] { #expect(keyspace.close()) }
    }

    @Test("Items that do not continue the log are refused and change nothing")
    func notContiguous() throws {
        let (items, master, masterRig) = try Self.groupOfFive()
        defer { withExtendedLifetime(masterRig) {} }
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        #expect(throws: KeyspaceError.wrongRole(expected: .replica, actual: .master)) {
            try deliver(items[..<1], to: database)
        }
        try database.becomeReplica()
        try deliver(items[..<1], to: database)
        let end = database.log.end
        #expect(throws: KeyspaceError.self) { try deliver(items[2...2], to: database) }
        #expect(throws: KeyspaceError.self) { try deliver(items[..<1], to: database) }
        #expect(database.log.end == end)
        guard case .failed(.wrongRole) = try Self.clientWrite(database) else {
            Issue.record("a replica took a client's write")
            return
        }
        try deliver(items[1...], to: database)
        #expect(try database.rawRows() == master.databases[0].rawRows())
        #expect(keyspace.close())
        #expect(master.close())
    }

    @Test("An unknown item is stored and stops the database with an error that names it")
    func unknownItem() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        let items = try Self.foreignItems([
            ["SET", "a", "1"], ["PADDING", "x"], ["XADD", "s", "1-1", "f", "v"],
            ["FROBNICATE", "k"], ["SET", "a", "2"],
        ])
        let expected = KeyspaceError.stoppedAtUnknownItem(
            position: items[3].end, word: "FROBNICATE")
        #expect(throws: expected) { try deliver(items[...], to: database) }
        #expect(database.ignoredItemCount == 2)
        #expect(database.applyFailure == expected)
        #expect(database.received == items[4].end)
        #expect(database.published == items[2].end)
        #expect(try database.string("a") == "1")
        let again = try rig.killed().open()
        #expect(again.databases[0].applyFailure == expected)
        #expect(again.databases[0].published == items[2].end)
        #expect(try again.databases[0].string("a") == "1")
        #expect(throws: expected) { try again.databases[0].promote() }
        again.close()
        keyspace.close()
    }

    @Test("B6: a raw SPOP takes the same members on every holder of the log")
    func spop() throws {
        let members = (0..<20).map { "m\($0)" }
        let items = try Self.foreignItems([
            ["SADD", "s"] + members, ["SPOP", "s", "7"], ["SPOP", "s"],
        ])
        var all: [[String: [UInt8]]] = []
        for batch in [1, 3] {
            let rig = try Rig()
            let keyspace = try rig.open()
            let database = keyspace.databases[0]
            try database.becomeReplica()
            for start in stride(from: 0, to: items.count, by: batch) {
                try deliver(items[start..<min(start + batch, items.count)], to: database)
            }
            all.append(try database.rawRows())
            let again = try rig.killed().open()
            all.append(try again.databases[0].rawRows())
            again.close()
            keyspace.close()
        }
        #expect(all.allSatisfy { $0 == all[0] })
        #expect(all[0].keys.filter { $0.hasPrefix("sets/data") }.count == 12)
    }

    @Test("B2: a flush is applied behind what came before it and ahead of what follows")
    func flushOrder() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        let items = try Self.foreignItems([
            ["SET", "a", "1"], ["SADD", "s", "m"], ["FLUSHDB"], ["SET", "b", "1"],
            ["flushdb", "hash"], ["HSET", "h", "f", "v"], ["SET", "c", "1"],
        ])
        try deliver(items[...], to: database)
        #expect(try database.string("a") == nil)
        #expect(try database.string("b") == "1")
        #expect(try database.string("c") == "1")
        #expect(try database.rawRows().keys.filter { $0.hasPrefix("hashes/data") }.count == 1)
        let again = try rig.killed().open()
        #expect(try again.databases[0].rawRows() == database.rawRows())
        again.close()
        keyspace.close()
    }

    @Test("FLUSHDB of a type empties everything from a 3.5.5, the type from a 3.5.0; replays too")
    func typedFlush() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        let items = try Self.foreignItems([
            ["SET", "a", "1"], ["flushdb", "hash"], ["SET", "b", "1"], ["HSET", "h", "f", "v"],
            ["flushdb", "hash"], ["SET", "c", "1"],
        ])
        try deliver(items[..<3], to: database)
        #expect(try database.string("a") == "1", "a 3.5.0 wrote this")
        try database.setTypedFlush(emptiesAll: true)
        try deliver(items[3...], to: database)
        #expect(try database.string("a") == nil, "a 3.5.5 wrote this")
        #expect(try database.string("c") == "1")
        // What the stores had in memory only is done once more.
        let again = try rig.killed().open()
        #expect(try again.databases[0].rawRows() == database.rawRows())
        again.close()
        keyspace.close()
    }

    @Test("A SETBIT of a real master that finds its bit has no effect: no key, no room, no change")
    func equalBit() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        let items = try Self.foreignItems([
            ["setbit", "none", "100", "0"], ["SET", "a", "a"], ["setbit", "a", "100", "0"],
            ["setbit", "a", "1", "1"], ["setbit", "a", "0", "1"],
        ])
        try deliver(items[..<4], to: database)
        #expect(try database.string("none") == nil)
        #expect(try database.string("a") == "a")
        try deliver(items[4...], to: database)
        #expect(try database.string("a") != "a", "another bit counts")
        keyspace.close()
    }

    @Test("Items that fail everywhere in the same way have no effect")
    func withoutEffect() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.becomeReplica()
        let items = try Self.foreignItems([
            ["SET", "a", "text"], ["INCR", "a"], ["LSET", "none", "0", "v"], ["SET", "b", "1"],
        ])
        try deliver(items[...], to: database)
        #expect(try database.string("a") == "text")
        #expect(try database.string("b") == "1")
        #expect(database.applyFailure == nil)
        keyspace.close()
    }

    static func clientWrite(_ database: Database) throws -> CommitOutcome {
        let group = database.makeGroup()
        try group.run("set", "x", "1")
        return group.commit()
    }

    /// One single item and a group of five.
    static func groupOfFive() throws -> ([LoggedItem], Keyspace, Rig) {
        let rig = try Rig()
        let master = try rig.open()
        let database = master.databases[0]
        try database.write(["set", "first", "1"])
        let group = database.makeGroup()
        group.beginAtomic()
        for index in 0..<5 { try group.run("set", "g\(index)", "\(index)") }
        group.endAtomic()
        try group.mustCommit()
        return (try database.logItems(), master, rig)
    }

    /// Items as a real master writes them: no group marks.
    static func foreignItems(_ commands: [[String]]) throws -> [LoggedItem] {
        let directory = try TemporaryDirectory()
        let log = try BinlogLog.open(
            directory: directory.path, fileSystem: RealFileSystem(),
            configuration: BinlogConfiguration(), origin: .own, recovery: .foreignWriter)
        var contents = BinlogItems()
        for command in commands {
            withBytes(command) { words in
                contents.beginItem(argumentCount: words.count)
                for word in words { contents.appendArgument(word) }
                contents.endItem()
            }
        }
        try log.append(contents, execTimeSeconds: 1_795_399_804, atomicGroup: false)
        var items: [LoggedItem] = []
        let cursor = try log.makeCursor(at: log.start)
        try cursor.next(upTo: log.end.position) { item, header, end in
            items.append(LoggedItem(bytes: Array(item), header: header, end: end))
            return .next
        }
        try log.close()
        return items
    }
}
