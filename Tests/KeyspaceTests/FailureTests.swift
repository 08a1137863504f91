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

@Suite("Failures")
struct FailureTests {
    @Test("A full disk under the log: the group fails, nothing is applied, the next one goes")
    func appendFails() throws {
        let fileSystem = FaultyFileSystem()
        let rig = try Rig(fileSystem: fileSystem)
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "a", "1"])
        let end = database.log.end
        fileSystem.setFault { operation, path in
            operation == .write && path.contains("write2file") ? ENOSPC : nil
        }
        let group = database.makeGroup()
        try group.run("set", "a", "2")
        guard case .failed(.binlog) = group.commit() else {
            Issue.record("an append on a full disk succeeded")
            return
        }
        #expect(database.hasLogError)
        #expect(database.log.end == end)
        #expect(database.keyLocks.isEmpty)
        #expect(try database.string("a") == "1")
        fileSystem.setFault(nil)
        try database.write(["set", "a", "3"])
        #expect(!database.hasLogError)
        #expect(try database.logItems().map(\.text) == ["set a 1", "set a 3"])
        let again = try rig.killed().open()
        #expect(try again.databases[0].string("a") == "3")
        #expect(again.close())
        #expect(keyspace.close())
    }

    @Test("A log that can't be synced refuses writes, answers waiters, and DISKRECOVERY helps")
    func syncFails() throws {
        let fileSystem = FaultyFileSystem()
        let rig = try Rig(fileSystem: fileSystem) { $0.syncPolicy = .always }
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        fileSystem.setFault { operation, path in
            operation == .sync && path.contains("write2file") ? EIO : nil
        }
        let position = try database.write(["set", "a", "1"])
        let answer = Answer()
        database.whenDurable(position) { answer.give($0) }
        #expect(answer.wait() == false)
        let group = database.makeGroup()
        var outcome = CommitOutcome.nothing
        for _ in 0..<100 {
            try group.run("set", "a", "2")
            outcome = group.commit()
            if case .failed = outcome { break }
            pause(microseconds: 1000)
        }
        guard case .failed = outcome else {
            Issue.record("writes went on without a log")
            return
        }
        #expect(try database.string("a") != nil)
        fileSystem.setFault(nil)
        try database.recoverDisk()
        #expect(database.writeRefusal == nil)
        try database.write(["set", "a", "4"])
        #expect(try database.string("a") == "4")
        #expect(keyspace.close())
    }

    @Test("A store that fails behind the append: writes refused, reads go on, recovery completes")
    func storeFails() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "a", "1"])
        let group = database.makeGroup()
        group.beginAtomic()
        try group.run("set", "a", "2")
        try group.run("sadd", "s", "m")
        group.endAtomic()
        database.live.stores[.sets].close(flush: false)
        guard case .failed(.storage) = group.commit() else {
            Issue.record("a closed store took rows")
            return
        }
        #expect(database.writeRefusal != nil)
        #expect(database.published < database.log.end.position)
        guard case .failed(.writesRefused) = try database.refusedWrite() else {
            Issue.record("writes were not refused")
            return
        }
        #expect(try database.string("a") == "2")
        let again = try rig.killed().open()
        #expect(try again.databases[0].string("a") == "2")
        #expect(again.databases[0].published == database.log.end.position)
        let set = again.databases[0].makeReader()
        let count = try withBytes(["s"]) { keys in
            try Sets(set.sets).count(keys[0], now: again.databases[0].now)
        }
        #expect(count == 1)
        #expect(again.close())
        try database.recoverDisk()
        #expect(database.writeRefusal == nil)
        #expect(try database.rawRows().count == 3)
        try database.write(["srem", "s", "m"])
        #expect(keyspace.close())
    }

    @Test("A store that fails first: the item is taken back from the log")
    func firstStoreFails() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["set", "a", "1"])
        let end = database.log.end
        let group = database.makeGroup()
        try group.run("sadd", "s", "m")
        database.live.stores[.sets].close(flush: false)
        guard case .failed(.storage) = group.commit() else {
            Issue.record("a closed store took rows")
            return
        }
        // Whether the closed store holds the row can't be read: the careful answer is to refuse.
        #expect(database.writeRefusal != nil || database.log.end == end)
    }

    @Test("Refused forms make the whole group fail")
    func poison() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let group = database.makeGroup()
        try group.run("set", "a", "1")
        #expect(throws: ApplyError.argumentCount(effect: .hset, actual: 3)) {
            try group.run("hset", "h", "f")
        }
        guard case .failed(.apply) = group.commit() else {
            Issue.record("a group with a bad item was committed")
            return
        }
        #expect(try database.string("a") == nil)
        #expect(try database.logItems().isEmpty)
        #expect(keyspace.close())
    }

    @Test("Damaged marks are errors that name the file")
    func damagedMarks() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "a", "1"])
        #expect(keyspace.close())
        for name in [
            "db/db0/" + StateFile.fileName, "db/" + NodeFile.fileName,
            "log/log_db0/" + HistoryFile.fileName,
        ] {
            let copy = try rig.killed()
            let path = copy.directory.path + "/" + name
            var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            bytes[bytes.count / 2] ^= 1
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            do throws(KeyspaceError) {
                _ = try Keyspace.open(copy.configuration)
                Issue.record("opened with a damaged \(name)")
            } catch {
                guard case .damaged(path, _) = error else {
                    Issue.record("\(error)")
                    continue
                }
            }
        }
    }

    @Test("A log shorter than what a store holds is an error, not a guess")
    func logTooShort() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        for index in 0..<10 { try database.write(["set", "a\(index)", "1"]) }
        try database.flush()
        let copy = try rig.killed()
        let path = copy.directory.path + "/log/log_db0/write2file0"
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.truncate(atOffset: try database.logItems()[4].end.offset)
        try handle.close()
        #expect(throws: KeyspaceError.self) { try copy.open() }
        #expect(keyspace.close())
    }

    @Test("A store without a row and without a mark is an error")
    func lostRow() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "a", "1"])
        let copy = try rig.killed()
        try FileManager.default.removeItem(atPath: copy.directory.path + "/db/db0/sets")
        #expect(
            throws: KeyspaceError.storePositionUnknown(database: "db0", store: .sets)
        ) { try copy.open() }
        #expect(keyspace.close())
    }
}

extension Database {
    fileprivate func refusedWrite() throws -> CommitOutcome {
        let group = makeGroup()
        try group.run("set", "x", "1")
        return group.commit()
    }
}

/// A yes or no from another thread.
final class Answer: Sendable {
    private let value = Mutex<Bool?>(nil)

    func give(_ answer: Bool) { value.withLock { $0 = answer } }

    /// Waits for the answer; nil after ten seconds.
    func wait() -> Bool? {
        for _ in 0..<10_000 {
            if let answer = value.withLock({ $0 }) { return answer }
            pause(microseconds: 1000)
        }
        return nil
    }
}
