import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

@Suite("Stalls and locks between loops and pool")
struct StallTests {
    /// A rig whose log can't be synced for a while: flushes wait, memtables fill up.
    private func blockedRig() throws -> (Rig, Keyspace, Flag) {
        let fileSystem = FaultyFileSystem()
        // With two memtables writes are stopped, never only slowed.
        let rig = try Rig(fileSystem: fileSystem) { settings in
            settings.memtableBytes = 64 << 10
            settings.memtableCount = 2
        }
        let keyspace = try rig.open()
        let isReleased = Flag()
        fileSystem.setFault { operation, path in
            guard operation == .sync, path.contains("write2file") else { return nil }
            while !isReleased.isSet { pause(microseconds: 1000) }
            return nil
        }
        return (rig, keyspace, isReleased)
    }

    /// Fills the strings' memtables; returns the group that RocksDB would not take at once.
    private func stalledGroup(
        _ database: Database, _ prepare: (WriteGroup) -> Void = { _ in }
    ) throws -> WriteGroup {
        let value = String(repeating: "v", count: 8000)
        let group = database.makeGroup()
        for index in 0..<2000 {
            group.beginAtomic()
            try group.run("set", "fill", "\(index)" + value)
            try group.run("sadd", "s", "\(index)")
            group.endAtomic()
            prepare(group)
            if case .stalled = group.commit() { return group }
        }
        throw Unexpected(text: "2000 groups and no stall")
    }

    @Test("A group whose store would stall waits behind the loop, and with it who needs its stores")
    func stalls() throws {
        let (rig, keyspace, isReleased) = try blockedRig()
        defer { isReleased.set() }
        let database = keyspace.databases[0]
        let group = try stalledGroup(database)
        let end = database.published
        #expect(database.log.end.position > end)
        // Another connection of the loop: its group is not appended.
        let other = database.makeGroup()
        try other.run("sadd", "s2", "1")
        guard case .busy = other.commit() else {
            throw Unexpected(text: "a group overtook a stalled one")
        }
        other.discard()
        // The stalled group's keys make others busy, not wait.
        try withBytes(["fill"]) { keys in
            guard case .busy = other.lock(keys[0]) else {
                throw Unexpected(text: "the key of a stalled group is free")
            }
        }
        other.discard()
        #expect(try database.string("fill") != nil)

        let done = Flag()
        let pool = WorkerThread {
            let poolGroup = database.makeGroup(onPool: true)
            do {
                try poolGroup.run("sadd", "s2", "2")
                try poolGroup.mustCommit()
                done.set()
            } catch {
                poolGroup.discard()
            }
        }
        pause(microseconds: 20_000)
        #expect(!done.isSet)
        isReleased.set()
        guard case .committed(let position) = group.finishStalled() else {
            throw Unexpected(text: "the stalled group was lost")
        }
        pool.join()
        #expect(done.isSet)
        #expect(database.published > position)
        #expect(database.stalledGroupCount >= 1)
        #expect(try database.logItems().last?.text == "sadd s2 2")
        #expect(database.keyLocks.isEmpty)
        // The group is reusable.
        try group.run("set", "c", "1")
        try group.mustCommit()
        let again = try rig.killed().open()
        #expect(try again.databases[0].rawRows() == database.rawRows())
        again.close()
        #expect(keyspace.close())
    }

    @Test("A group of other stores overtakes a stalled one; the stores are published behind both")
    func overtaken() throws {
        let (rig, keyspace, isReleased) = try blockedRig()
        defer { isReleased.set() }
        let database = keyspace.databases[0]
        let group = try stalledGroup(database)
        let before = database.published
        let other = database.makeGroup()
        var position = BinlogPosition.zero
        for number in 1...3 {
            try other.run("hset", "h", "f", "\(number)")
            position = try other.mustCommit()
        }
        #expect(position == database.log.end.position)
        #expect(try database.logItems().last?.text == "hset h f 3")
        // The stalled group is not in its stores.
        #expect(database.published == before)
        let copy = try rig.killed()
        isReleased.set()
        guard case .committed(let end) = group.finishStalled() else {
            throw Unexpected(text: "the stalled group was lost")
        }
        #expect(end < position)
        #expect(database.published == position)
        // A kill in between loses neither.
        let again = try copy.open()
        #expect(again.databases[0].published == position)
        #expect(try again.databases[0].rawRows() == database.rawRows())
        again.close()
        #expect(keyspace.close())
    }

    @Test("Two stores stall at the same time: both groups come to their end, in their order")
    func twoStalled() throws {
        let (_, keyspace, isReleased) = try blockedRig()
        defer { isReleased.set() }
        let database = keyspace.databases[0]
        let first = try stalledGroup(database)
        let value = String(repeating: "v", count: 8000)
        let second = database.makeGroup()
        var hasStalled = false
        for index in 0..<2000 where !hasStalled {
            try second.run("hset", "h", "\(index)", value)
            if case .stalled = second.commit() { hasStalled = true }
        }
        #expect(hasStalled)
        // A third store goes on.
        try database.write(["rpush", "l", "1"])
        isReleased.set()
        guard case .committed(let end) = second.finishStalled(),
            case .committed(let start) = first.finishStalled()
        else { throw Unexpected(text: "a stalled group was lost") }
        #expect(start < end)
        #expect(database.published == database.log.end.position)
        #expect(database.keyLocks.isEmpty)
        #expect(keyspace.close())
    }

    @Test("What a stalled group has to tell is told once, when it is in all its stores, or never")
    func whenCommitted() throws {
        for fails in [false, true] {
            let (_, keyspace, isReleased) = try blockedRig()
            defer { isReleased.set() }
            let database = keyspace.databases[0]
            let told = Counter()
            let group = try stalledGroup(database) { group in
                group.whenCommitted = { told.add() }
            }
            let before = told.value
            if fails { database.live.stores[.sets].close(flush: false) }
            isReleased.set()
            switch group.finishStalled() {
            case .committed: #expect(!fails)
            case .failed(.storage): #expect(fails)
            default: throw Unexpected(text: "the stalled group was lost")
            }
            #expect(told.value == before + (fails ? 0 : 1))
            if fails { try database.recoverDisk() }
            // Nothing of it is left for the group's next use.
            try group.run("set", "k", "1")
            try group.mustCommit()
            #expect(told.value == before + (fails ? 0 : 1))
            #expect(database.keyLocks.isEmpty)
            #expect(keyspace.close())
        }
    }

    @Test("A kill while a group is stalled: the group is in the log and complete afterwards")
    func killedWhileStalled() throws {
        let (rig, keyspace, isReleased) = try blockedRig()
        defer { isReleased.set() }
        let database = keyspace.databases[0]
        let group = try stalledGroup(database)
        let copy = try rig.killed()
        isReleased.set()
        _ = group.finishStalled()
        let again = try copy.open()
        #expect(again.databases[0].published == database.log.end.position)
        #expect(try again.databases[0].rawRows() == database.rawRows())
        again.close()
        #expect(keyspace.close())
    }

    @Test("B4, B5: groups over several keys from many threads neither deadlock nor lose updates")
    func manyThreads() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let failures = Counter()
        let threads = (0..<4).map { index in
            WorkerThread {
                let entrance = keyspace.gate.makeEntrance()
                let group = database.makeGroup(onPool: index % 2 == 1)
                for round in 0..<150 {
                    entrance.enterBlocking()
                    defer { entrance.leave() }
                    // The same keys in another order in each thread.
                    var keys = ["k1", "k2", "k3"]
                    if index % 2 == 0 { keys.reverse() }
                    if !Self.increment(keys, group, round) { failures.add() }
                }
            }
        }
        for _ in 0..<5 {
            pause(microseconds: 10_000)
            keyspace.gate.withClosed { () throws(Never) in
                let before = database.published
                pause(microseconds: 1000)
                #expect(database.published == before)
            }
        }
        for thread in threads { thread.join() }
        #expect(failures.value == 0)
        for key in ["k1", "k2", "k3"] { #expect(try database.string(key) == "600") }
        #expect(database.keyLocks.isEmpty)
        #expect(keyspace.close())
    }

    /// Reads three counters and writes them plus one; retries while busy.
    private static func increment(_ keys: [String], _ group: WriteGroup, _ round: Int) -> Bool {
        for _ in 0..<100_000 {
            let outcome = withBytes(keys) { group.lock($0) }
            switch outcome {
            case .commitFirst:
                group.discard()
                continue
            case .busy:
                yieldThread()
                continue
            case .acquired: break
            }
            do {
                for key in keys {
                    let number = try withBytes([key]) { bytes in
                        try Strings(group.transactions.strings).withValue(
                            bytes[0], now: group.now
                        ) { value, _ in
                            value.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
                        }
                    }
                    try group.run("set", key, "\(number + 1)")
                }
            } catch {
                return false
            }
            switch group.commit() {
            case .committed: return true
            case .stalled:
                if case .committed = group.finishStalled() { return true }
                return false
            case .busy, .prepareAgain: group.discard()
            case .nothing, .failed: return false
            }
        }
        return false
    }

    @Test("Keys that are locked behind their writes: who watches one since then is told")
    func lockedLate() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let group = database.makeGroup(onPool: true)
        _ = try withBytes(["set", "k", "late"]) { try group.perform(.set, raw: $0) }
        // The key is still anybody's.
        try database.write(["set", "k", "early"])
        let other = database.makeGroup()
        try withBytes(["k"]) { keys in
            let watch = database.watch(keys[0], existed: true)
            defer { watch.end() }
            #expect(!watch.isTouched)
            group.lockLate(keys)
            #expect(watch.isTouched)
            guard case .busy = other.lock(keys[0]) else {
                throw Unexpected(text: "the key is not locked")
            }
        }
        other.discard()
        try group.mustCommit()
        #expect(try database.string("k") == "late")
        #expect(database.keyLocks.isEmpty)
        #expect(keyspace.close())
    }

    @Test("A store that nobody writes gives its memory back when memtables are crowded")
    func idleMemtables() throws {
        let rig = try Rig()
        var configuration = rig.configuration
        configuration.environment = StoreEnvironment(
            blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20)
        let keyspace = try Keyspace.open(configuration)
        keyspace.housekeeper.stop()
        let database = keyspace.databases[0]
        let value = String(repeating: "v", count: 700_000)
        try database.write(["hset", "h", "f", value])
        // The first look only sees that it was written.
        database.keepHouse()
        try database.write(["set", "k", "1"])
        let stores = database.live.stores
        #expect(stores[.hashes].memtablesLeft > 0)
        database.keepHouse()
        #expect(stores[.hashes].memtablesLeft == 0)
        #expect(stores[.strings].memtablesLeft > 0)
        #expect(keyspace.close())
    }

    @Test("Idle stores get rows, laggards are flushed, old files of the log can go")
    func housekeeping() throws {
        let rig = try Rig { settings in
            settings.fileSizeLimitBytes = 2048
            settings.idleRowDistanceBytes = 1000
            settings.replayLimitBytes = 3000
        }
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        keyspace.housekeeper.stop()
        for index in 0..<400 { try database.write(["set", "k", "\(index)"]) }
        let policy = PurgePolicy(keepFileCount: 10, keepDays: 1)
        let before = try database.leastPersistedPosition()
        #expect(before.fileNumber == 0)
        #expect(
            try database.purgeLog(policy: policy, manualUpTo: 100, protectedFrom: nil).isEmpty)
        database.keepHouse()
        let rows = try database.rows()
        #expect(Set(rows.values) == [database.published])
        let after = try database.leastPersistedPosition()
        #expect(after == database.published)
        let leased = BinlogPosition(fileNumber: 3, offset: 0)
        #expect(
            try database.purgeLog(policy: policy, manualUpTo: 100, protectedFrom: leased)
                == [0, 1, 2])
        let removed = try database.purgeLog(policy: policy, manualUpTo: nil, protectedFrom: nil)
        #expect(removed.first == 3)
        let again = try rig.killed().open()
        #expect(try again.databases[0].string("k") == "399")
        again.close()
        #expect(keyspace.close())
    }
}
