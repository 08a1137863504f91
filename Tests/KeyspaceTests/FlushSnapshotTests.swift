import Binlog
import FileIO
import Foundation
import Glibc
import PikaStorage
import SyncProtocol
import Synchronization
import TestKit
import Testing

@testable import Keyspace

@Suite("FLUSHDB, snapshots, switches")
struct FlushSnapshotTests {
    @Test("B3: two flushes in a row leave an empty database, one item each, no directories")
    func flushTwice() throws {
        let rig = try Rig { $0.databaseCount = 2 }
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "a", "1"], ["sadd", "s", "m"])
        try database.removeAll()
        try database.removeAll()
        #expect(try database.rawRows().isEmpty)
        try database.write(["set", "b", "1"])
        try keyspace.removeAll()
        #expect(
            try database.logItems().map(\.text)
                == ["set a 1", "sadd s m", "flushdb", "flushdb", "set b 1", "flushdb"])
        #expect(try keyspace.databases[1].logItems().map(\.text) == ["flushdb"])
        keyspace.removeLeftovers()
        let names = try FileManager.default.contentsOfDirectory(
            atPath: rig.directory.path + "/db/db0")
        #expect(Set(names) == ["strings", "hashes", "lists", "sets", "zsets"])
        let again = try rig.killed().open()
        #expect(try again.databases[0].rawRows().isEmpty)
        again.close()
        #expect(keyspace.close())
    }

    @Test("A kill at any step of FLUSHDB: done or undone, never half", arguments: 0..<6)
    func flushKilled(exchangesDone: Int) throws {
        let fileSystem = FaultyFileSystem()
        let rig = try Rig(fileSystem: fileSystem)
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(
            ["set", "a", "1"], ["sadd", "s", "m"], ["hset", "h", "f", "v"], ["rpush", "l", "x"],
            ["zadd", "z", "1", "m"])
        let exchanges = Counter()
        fileSystem.setFault { operation, path in
            guard operation == .exchange else { return nil }
            if exchanges.value == exchangesDone { return EIO }
            exchanges.add()
            return nil
        }
        if exchangesDone < 5 {
            #expect(throws: KeyspaceError.self) { try database.removeAll() }
        } else {
            try database.removeAll()
        }
        let copy = try rig.killed()
        let again = try copy.open()
        #expect(try again.databases[0].rawRows().isEmpty)
        #expect(try again.databases[0].logItems().last?.text == "flushdb")
        try again.databases[0].write(["set", "b", "2"])
        let third = try copy.killed().open()
        #expect(try third.databases[0].string("b") == "2")
        third.close()
        again.close()
    }

    @Test("A FLUSHDB that can't build its stores is taken back")
    func flushFails() throws {
        let fileSystem = FaultyFileSystem()
        let rig = try Rig(fileSystem: fileSystem)
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "a", "1"])
        let end = database.log.end
        let calls = Counter()
        fileSystem.setFault { operation, path in
            guard operation == .removeTree, path.hasSuffix(".new") else { return nil }
            calls.add()
            // The first five clean up before the item is logged.
            return calls.value > 5 ? EIO : nil
        }
        #expect(throws: KeyspaceError.self) { try database.removeAll() }
        fileSystem.setFault(nil)
        #expect(database.log.end == end)
        #expect(try database.string("a") == "1")
        try database.write(["set", "a", "2"])
        #expect(try database.logItems().map(\.text) == ["set a 1", "set a 2"])
        #expect(keyspace.close())
    }

    @Test("B1: a snapshot holds exactly the log up to its position, under load")
    func exactCut() throws {
        let rig = try Rig { $0.memtableBytes = 64 << 10 }
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let stop = Flag()
        let writer = WorkerThread {
            let entrance = keyspace.gate.makeEntrance()
            var round = 0
            let group = database.makeGroup()
            while !stop.isSet {
                guard entrance.enter() else {
                    yieldThread()
                    continue
                }
                defer { entrance.leave() }
                round += 1
                do {
                    try group.run("rpush", "l", "\(round)")
                    try group.run("incr", "n")
                    try group.run("hset", "h", "f\(round % 50)", "\(round)")
                    try group.run("zadd", "z", "\(round)", "m\(round % 50)")
                    switch group.commit() {
                    case .busy: group.discard()
                    case .stalled: _ = group.finishStalled()
                    default: break
                    }
                } catch {
                    group.discard()
                }
            }
        }
        var snapshots: [Snapshot] = []
        for round in 0..<4 {
            pause(microseconds: 100_000)
            snapshots.append(
                try keyspace.cutSnapshot(
                    databases: [0], into: rig.directory.path + "/dump\(round)", host: "127.0.0.1",
                    port: 9221))
        }
        stop.set()
        writer.join()
        for snapshot in snapshots { try checkSnapshot(snapshot, of: database) }
        let read = try Keyspace.readSnapshot(
            snapshots[0].directory, configuration: rig.configuration)
        #expect(read.databases[0].files == snapshots[0].databases[0].files)
        #expect(read.databases[0].position == snapshots[0].databases[0].position)
        #expect(keyspace.close())
    }

    /// The snapshot's rows against a replay of the log up to its position.
    private func checkSnapshot(_ snapshot: Snapshot, of database: Database) throws {
        let cut = snapshot.databases[0]
        #expect(try database.digest(at: cut.position) == cut.runningDigest)
        let info = try String(contentsOfFile: cut.directory + "/info", encoding: .utf8)
        #expect(
            info
                == "0s\n127.0.0.1\n9221\n\(cut.position.fileNumber)\n\(cut.position.offset)\n")
        let replayRig = try Rig()
        let replay = try replayRig.open()
        try replay.databases[0].becomeReplica()
        let items = try database.logItems().filter { $0.end <= cut.position }
        try deliver(items[...], to: replay.databases[0])
        let copyRig = try Rig()
        #expect(try copyRig.open().close())
        let staged = StagedDatabase(
            directory: copyRig.directory.path + "/db/staged", position: cut.position,
            runningDigest: cut.runningDigest, highestEffectiveNow: cut.highestEffectiveNow,
            history: cut.history)
        try FileManager.default.copyItem(atPath: cut.directory, toPath: staged.directory)
        let prepared = try Keyspace.prepareStaged(staged, configuration: copyRig.configuration)
        #expect(prepared == staged)
        try Keyspace.finishSwitch(
            prepared, databaseIndex: 0, configuration: copyRig.configuration)
        let copy = try copyRig.open()
        #expect(copy.databases[0].published == cut.position)
        #expect(try copy.databases[0].rawRows() == replay.databases[0].rawRows())
        copy.close()
        replay.close()
    }

    @Test("A replica that switched goes on where the snapshot was cut", arguments: [0, 1, 2])
    func switches(fault: Int) throws {
        let masterRig = try Rig { $0.fileSizeLimitBytes = 4096 }
        let master = try masterRig.open()
        let source = master.databases[0]
        try ReplicaTests.load(source, masterRig.clock)
        let cut = try master.cutSnapshot(
            databases: [0], into: masterRig.directory.path + "/dump", host: "h", port: 1
        ).databases[0]
        try source.write(["set", "after", "1"])

        let rig = try Rig()
        var keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "old", "1"])
        try keyspace.databases[0].becomeReplica()
        let directory = rig.directory.path + "/db/dbsync-db0"
        try FileManager.default.copyItem(atPath: cut.directory, toPath: directory)
        let staged = try Keyspace.prepareStaged(
            StagedDatabase(
                directory: directory, position: cut.position, runningDigest: cut.runningDigest,
                highestEffectiveNow: cut.highestEffectiveNow, history: cut.history),
            configuration: rig.configuration)
        if fault == 0 {
            try keyspace.switchDatabase(
                0, to: staged, beforeFirstRename: {}, afterReset: {})
        } else {
            // Killed behind the resume point `switching`, or behind the reset.
            #expect(throws: KeyspaceError.closed) {
                try keyspace.switchDatabase(
                    0, to: staged,
                    beforeFirstRename: { () throws(KeyspaceError) in
                        if fault == 1 { throw .closed }
                    },
                    afterReset: { () throws(KeyspaceError) in
                        if fault == 2 { throw .closed }
                    })
            }
            if fault == 1 {
                #expect(try keyspace.databases[0].string("old") == "1")
                keyspace.close()
            }
            let copy = try rig.killed()
            let moved = StagedDatabase(
                directory: copy.directory.path + "/db/dbsync-db0", position: staged.position,
                runningDigest: staged.runningDigest,
                highestEffectiveNow: staged.highestEffectiveNow, history: staged.history)
            for _ in 0..<2 {
                try Keyspace.finishSwitch(
                    moved, databaseIndex: 0, configuration: copy.configuration)
            }
            keyspace = try copy.open()
        }
        let database = keyspace.databases[0]
        #expect(database.published == cut.position)
        #expect(database.history == source.history)
        let rest = try source.logItems(from: cut.position)
        try deliver(rest[...], to: database)
        #expect(try database.rawRows() == source.rawRows())
        #expect(database.log.end == source.log.end)
        keyspace.removeLeftovers()
        keyspace.close()
        master.close()
    }

    @Test("P5: a log that begins with the padding of a full sync opens again, killed or stopped")
    func paddedLog() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "a", "1"])
        try keyspace.databases[0].becomeReplica()
        let cut = try keyspace.cutSnapshot(
            databases: [0], into: rig.directory.path + "/db/copy", host: "h", port: 1
        ).databases[0]
        // From a real Pika: a position of its own, no digest, no history, no rows of ours.
        let staged = try Keyspace.prepareStaged(
            StagedDatabase(
                directory: cut.directory,
                position: BinlogPosition(fileNumber: 5, offset: 100_000), runningDigest: 0,
                highestEffectiveNow: 0, history: []),
            configuration: rig.configuration)
        #expect(staged.history.count == 1)
        try keyspace.switchDatabase(0, to: staged, beforeFirstRename: {}, afterReset: {})
        let database = keyspace.databases[0]
        #expect(database.published == staged.position)
        #expect(try database.string("a") == "1")
        var again = try rig.killed().open()
        #expect(again.databases[0].published == staged.position)
        try again.databases[0].promote()
        try again.databases[0].write(["set", "b", "1"])
        #expect(again.close())
        #expect(keyspace.close())
        again = try rig.open()
        #expect(again.databases[0].published == staged.position)
        #expect(again.databases[0].history == staged.history)
        #expect(again.close())
    }

    @Test("A copy that lacks a store is refused before anything is renamed")
    func incompleteCopy() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "a", "1"])
        let cut = try keyspace.cutSnapshot(
            databases: [0], into: rig.directory.path + "/dump", host: "h", port: 1
        ).databases[0]
        try FileManager.default.removeItem(atPath: cut.directory + "/sets")
        let staged = StagedDatabase(
            directory: cut.directory, position: cut.position, runningDigest: cut.runningDigest,
            highestEffectiveNow: cut.highestEffectiveNow, history: cut.history)
        #expect(throws: KeyspaceError.self) {
            try Keyspace.prepareStaged(staged, configuration: rig.configuration)
        }
        #expect(throws: KeyspaceError.self) {
            try Keyspace.readSnapshot(
                rig.directory.path + "/dump", configuration: rig.configuration)
        }
        keyspace.close()
    }
}
