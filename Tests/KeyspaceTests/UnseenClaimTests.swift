import Binlog
import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

/// Collections that replace another one, whose elements go into the store before the commit.
@Suite("Elements written before their commit over a key that is there")
struct UnseenClaimTests {
    typealias Form = UnseenRowsTests.Form

    static let forms = UnseenRowsTests.forms
    static let slice = UnseenRowsTests.slice
    static let total = UnseenRowsTests.total

    /// A store with a `big` of two elements, which `Replacing` is about to replace.
    private struct Replacing {
        let rig: Rig
        let keyspace: Keyspace
        let database: Database
        let group: WriteGroup
        let form: Form

        init(_ form: Form) throws {
            self.form = form
            (rig, keyspace, database) = try UnseenRowsTests.opened()
            try database.write(
                ["\(form.effect.word)", "big"] + form.words(1) + form.words(total + 1))
            group = UnseenRowsTests.begin(database)
            try group.run("del", "big")
        }

        func fill(_ elements: Range<Int>) throws {
            try UnseenRowsTests.fill(group, form, elements)
        }

        func counts(_ database: Database? = nil) throws -> [Int] {
            try UnseenRowsTests.counts(database ?? self.database, form.kind)
        }
    }

    /// Rows that stand for versions which nobody sees.
    private static func claims(_ database: Database, _ kind: StoreKind) throws -> Int {
        var count = 0
        try withBytes(["\0pika-swift:unseen:"]) { names in
            try database.makeReader()[kind].scan(.meta, prefix: names[0], from: names[0]) { _, _ in
                count += 1
                return true
            }
        }
        return count
    }

    @Test(
        "The old elements are seen until the commit; behind it all rows are those of a replica",
        arguments: forms)
    func commit(form: Form) throws {
        let it = try Replacing(form)
        try it.fill(0..<Self.total)
        // The meta row, and the claim's end, are all that is left for the commit.
        #expect(it.group.transactions[form.kind].pendingRowCount == 2)
        #expect(try it.counts() == [2, 2])
        #expect(try Self.claims(it.database, form.kind) == 1)
        if form.kind != .lists { try it.fill(0..<Self.slice) }
        try it.group.mustCommit()
        #expect(try it.counts() == [Self.total, Self.total])
        #expect(try Self.claims(it.database, form.kind) == 0)

        let replicaRig = try Rig(clock: it.rig.clock)
        let replica = try replicaRig.open()
        try replica.databases[0].becomeReplica()
        try deliver(try it.database.logItems()[...], to: replica.databases[0])
        #expect(try replica.databases[0].rawRows() == it.database.rawRows())
        replica.close()
        #expect(it.keyspace.close())
    }

    @Test("A group that is dropped takes its rows with it", arguments: forms)
    func dropped(form: Form) throws {
        let it = try Replacing(form)
        let before = try it.database.rawRows()
        try it.fill(0..<Self.total)
        #expect(try it.database.rawRows() != before)
        it.group.discard()
        #expect(try it.database.rawRows() == before)
        #expect(try Self.claims(it.database, form.kind) == 0)
        // In the same second, and so with the same version: what was written is not known any more.
        try it.database.write(["del", "big"], ["\(form.effect.word)", "big"] + form.words(1))
        try it.database.write(["\(form.effect.word)", "big"] + form.words(2))
        #expect(try it.counts() == [2, 2])
        #expect(it.keyspace.close())
    }

    @Test(
        "Killed before the commit, with slices in files: the old elements, and nothing of the new ones",
        arguments: forms)
    func killedBefore(form: Form) throws {
        let it = try Replacing(form)
        let before = try it.database.rawRows()
        try it.fill(0..<Self.total)
        try it.database.flush()
        let again = try it.rig.killed().open()
        let recovered = again.databases[0]
        #expect(try recovered.rawRows() == before)
        #expect(try Self.claims(recovered, form.kind) == 0)
        try recovered.write(["del", "big"], ["\(form.effect.word)", "big"] + form.words(1))
        try recovered.write(["\(form.effect.word)", "big"] + form.words(2))
        #expect(try it.counts(recovered) == [2, 2])
        #expect(again.close())
        it.group.discard()
        #expect(it.keyspace.close())
    }

    @Test(
        "Killed behind the commit, with slices in files and the meta row in memory: it is whole",
        arguments: forms)
    func killedBehind(form: Form) throws {
        let it = try Replacing(form)
        try it.fill(0..<2 * Self.slice)
        try it.database.flush()
        try it.fill(2 * Self.slice..<Self.total)
        try it.group.mustCommit()
        let rows = try it.database.rawRows()
        let again = try it.rig.killed().open()
        #expect(try it.counts(again.databases[0]) == [Self.total, Self.total])
        #expect(try again.databases[0].rawRows() == rows)
        #expect(again.close())
        // With everything in files, too.
        try it.database.flush()
        let whole = try it.rig.killed().open()
        #expect(try whole.databases[0].rawRows() == rows)
        #expect(whole.close())
        #expect(it.keyspace.close())
    }

    @Test("A compaction drops neither slices nor claims, however late it is", arguments: forms)
    func compacted(form: Form) throws {
        let it = try Replacing(form)
        func passTime() throws {
            it.rig.clock.advance(by: .seconds(100))
            let element = Int(truncatingIfNeeded: it.rig.clock.unixSeconds)
            try it.database.write(["\(form.effect.word)", "other"] + form.words(element))
            try it.database.flush()
            try it.database.compact(.all)
        }
        try it.fill(0..<2 * Self.slice)
        try passTime()
        #expect(try it.counts() == [2, 2])
        #expect(try Self.claims(it.database, form.kind) == 1)
        try it.fill(2 * Self.slice..<Self.total)
        try it.group.mustCommit()
        try passTime()
        #expect(try it.counts() == [Self.total, Self.total])
        #expect(it.keyspace.close())
    }

    @Test("Over a key with a deadline all elements wait for the commit", arguments: forms)
    func withDeadline(form: Form) throws {
        let it = try Replacing(form)
        it.group.discard()
        let deadline = it.rig.clock.unixSeconds + 1000
        try it.database.write(["expireat", "big", "\(deadline)"])
        let group = UnseenRowsTests.begin(it.database)
        try group.run("del", "big")
        try UnseenRowsTests.fill(group, form, 0..<Self.total)
        #expect(group.transactions[form.kind].pendingRowCount > Self.total)
        try group.mustCommit()
        #expect(try it.counts() == [Self.total, Self.total])
        #expect(it.keyspace.close())
    }
}
