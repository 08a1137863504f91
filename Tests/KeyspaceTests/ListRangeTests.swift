import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

/// LTRIM and LPOP of so many elements that their rows are deleted as one range.
@Suite("Many elements taken from a list")
struct ListRangeTests {
    /// More than what is deleted row by row.
    static let total = 10_000

    private struct Filled {
        let rig: Rig
        let keyspace: Keyspace
        let database: Database

        init() throws {
            rig = try Rig()
            keyspace = try rig.open()
            database = keyspace.databases[0]
            try database.write(["rpush", "l"] + (0..<total).map { "\($0)" })
            try database.flush()
        }

        func elements(_ database: Database? = nil) throws -> [String] {
            let database = database ?? self.database
            var found: [String] = []
            try withBytes(["l"]) { keys in
                try Lists(database.makeReader().lists).forEach(keys[0], now: database.now) {
                    found.append(String(decoding: $0, as: UTF8.self))
                    return true
                }
            }
            return found
        }

        /// All rows of the lists.
        func rowCount(_ database: Database? = nil) throws -> Int {
            let rows = try (database ?? self.database).rawRows()
            return rows.keys.filter { $0.hasPrefix("lists/data") }.count
        }
    }

    @Test(
        "What is left is what there is, in the rows, too; in files, after a kill and on a replica",
        arguments: [
            (["ltrim", "l", "6000", "-1"], 6000..<total),
            (["ltrim", "l", "0", "3999"], 0..<4000),
            (["ltrim", "l", "5000", "5002"], 5000..<5003),
            (["lpop", "l", "6000"], 6000..<total), (["rpop", "l", "6000"], 0..<4000),
        ])
    func taken(_ command: [String], _ left: Range<Int>) throws {
        let it = try Filled()
        try it.database.write(command)
        let wanted = left.map { "\($0)" }
        #expect(try it.elements() == wanted)
        #expect(try it.rowCount() == wanted.count)
        let rows = try it.database.rawRows()
        let killed = try it.rig.killed().open()
        #expect(try killed.databases[0].rawRows() == rows)
        #expect(killed.close())
        try it.database.flush()
        try it.database.compact(.all)
        #expect(try it.database.rawRows() == rows)

        let replica = try Rig(clock: it.rig.clock).open()
        try replica.databases[0].becomeReplica()
        try deliver(try it.database.logItems()[...], to: replica.databases[0])
        #expect(try replica.databases[0].rawRows() == rows)
        replica.close()
        #expect(it.keyspace.close())
    }

    @Test("What is pushed where elements were taken stays, in the same group and later")
    func pushedAgain() throws {
        let it = try Filled()
        let group = it.database.makeGroup()
        try group.run("lpop", "l", "6000")
        try group.run("lpush", "l", "a", "b")
        try group.mustCommit()
        #expect(try Array(it.elements().prefix(3)) == ["b", "a", "6000"])
        try it.database.write(["lpush", "l", "c"])
        #expect(try Array(it.elements().prefix(3)) == ["c", "b", "a"])
        #expect(try it.rowCount() == 4003)
        try it.database.flush()
        try it.database.compact(.all)
        #expect(try it.rowCount() == 4003)
        #expect(it.keyspace.close())
    }

    @Test("What the same group pushed is taken row by row")
    func pushedBefore() throws {
        let it = try Filled()
        let group = it.database.makeGroup()
        try group.run("rpush", "l", "a", "b")
        try group.run("ltrim", "l", "0", "2999")
        try group.run("rpush", "l", "c")
        try group.mustCommit()
        #expect(try it.elements() == (0..<3000).map { "\($0)" } + ["c"])
        #expect(try it.rowCount() == 3001)
        #expect(it.keyspace.close())
    }
}
