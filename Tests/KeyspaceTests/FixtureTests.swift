import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

/// Directories that a real Pika 3.5.0 wrote.
@Suite("Directories of a real Pika")
struct FixtureTests {
    private static func rig(_ name: String) throws -> Rig {
        let path = try #require(Bundle.module.resourcePath) + "/Fixtures/" + name
        return try Rig(copying: path) { $0.databaseCount = 2 }
    }

    @Test(
        "It opens, keeps the end of the log, reads right, and is ours afterwards",
        arguments: ["A", "C"])
    func opens(name: String) throws {
        let rig = try Self.rig(name)
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        #expect(database.published == BinlogPosition(fileNumber: 0, offset: 26521))
        #expect(keyspace.databases[1].published == BinlogPosition(fileNumber: 0, offset: 415))
        #expect(try database.string("str:plain") == "hello")
        #expect(try database.string("str:int") == "42")
        #expect(try database.string("str:append") == "abcd")
        let rows = try database.rawRows()
        try database.write(["set", "ours", "1"])
        #expect(try database.logItems().last?.text == "set ours 1")
        #expect(database.history.count == 1)
        // Killed, and once more.
        let again = try rig.killed().open()
        #expect(try again.databases[0].string("ours") == "1")
        #expect(again.databases[0].history == database.history)
        #expect(try again.databases[0].rawRows().count == rows.count + 1)
        #expect(again.close())
        #expect(keyspace.close())
        let clean = try rig.open()
        #expect(try clean.databases[0].rawRows().count == rows.count + 1)
        #expect(clean.databases[0].history == again.databases[0].history)
        #expect(clean.close())
    }

    @Test("The real log, applied to empty stores, gives the real stores' rows")
    func appliesRealLog() throws {
        let real = try Self.rig("A").openKept()
        for index in 0..<2 {
            let source = real.keyspace.databases[index]
            let rig = try Rig()
            let keyspace = try rig.open()
            let database = keyspace.databases[0]
            try database.becomeReplica()
            try deliver(try source.logItems()[...], to: database)
            #expect(database.applyFailure == nil)
            #expect(database.log.end == source.log.end)
            let expected = try source.rawRows()
            let rows = try database.rawRows()
            let different = Set(expected.keys).union(rows.keys).filter { expected[$0] != rows[$0] }
            #expect(different.sorted() == [], "db\(index)")
            keyspace.close()
        }
        real.keyspace.close()
    }

    @Test("After a clean stop of ours and writes of a real Pika, its end of the log counts")
    func foreignHands() throws {
        let rig = try Self.rig("A")
        let keyspace = try rig.open()
        let history = keyspace.databases[0].history
        try keyspace.databases[0].write(["set", "ours", "1"])
        #expect(keyspace.close())
        // What a real Pika leaves: a text log in each store.
        for kind in StoreKind.allCases {
            try Data("log".utf8).write(
                to: URL(
                    fileURLWithPath: rig.directory.path + "/db/db0/\(kind.directoryName)/LOG"))
        }
        let again = try rig.open()
        #expect(again.databases[0].history != history)
        #expect(try again.databases[0].string("ours") == "1")
        #expect(
            !FileManager.default.fileExists(
                atPath: rig.directory.path + "/db/db0/strings/LOG"))
        let rows = try again.databases[0].rows()
        #expect(Set(rows.values) == [again.databases[0].published])
        #expect(again.close())
    }

    @Test("A store that is not the one that a clean stop left means foreign hands")
    func exchangedStore() throws {
        let rig = try Self.rig("A")
        #expect(try rig.open().close())
        let other = try Rig()
        #expect(try other.open().close())
        let path = rig.directory.path + "/db/db0/sets"
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.copyItem(
            atPath: other.directory.path + "/db/db0/sets", toPath: path)
        let keyspace = try rig.open()
        #expect(rig.notes.all.contains { $0.contains("real Pika") })
        #expect(keyspace.close())
    }

    @Test("A lost row after a clean stop is written again")
    func lostRow() throws {
        let rig = try Self.rig("C")
        #expect(try rig.open().close())
        let keyspace = try rig.open()
        #expect(Set(try keyspace.databases[0].rows().values).count == 1)
        #expect(keyspace.close())
    }

    @Test(
        "Without the binlog RocksDB's own log is on, and the way back takes the stores as they are")
    func withoutBinlog() throws {
        let rig = try Self.rig("A")
        var keyspace = try rig.open()
        try keyspace.databases[0].write(["set", "with", "1"])
        #expect(keyspace.close())
        rig.change { $0.writesBinlog = false }
        keyspace = try rig.open()
        let end = keyspace.databases[0].published
        try keyspace.databases[0].write(["set", "without", "1"])
        #expect(keyspace.databases[0].log.end.position == end)
        let killed = try rig.killed()
        let again = try killed.open()
        #expect(try again.databases[0].string("without") == "1")
        try again.databases[0].removeAll()
        #expect(try again.databases[0].string("without") == nil)
        again.close()
        #expect(keyspace.close())
        rig.change { $0.writesBinlog = true }
        keyspace = try rig.open()
        #expect(try keyspace.databases[0].string("with") == "1")
        #expect(try keyspace.databases[0].string("without") == "1")
        #expect(keyspace.databases[0].published == end)
        try keyspace.databases[0].write(["set", "back", "1"])
        let last = try rig.killed().open()
        #expect(try last.databases[0].string("back") == "1")
        last.close()
        #expect(keyspace.close())
    }
}

extension Rig {
    fileprivate func openKept() throws -> (rig: Rig, keyspace: Keyspace) { (self, try open()) }
}
