import Binlog
import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

/// Collections whose elements go into the store in slices before their group is committed.
@Suite("Elements written before their commit")
struct UnseenRowsTests {
    /// A collection that is made anew, by items of one effect.
    struct Form: Sendable, CustomTestStringConvertible {
        var effect: Effect
        var kind: StoreKind
        /// Words of one element.
        var words: @Sendable (Int) -> [String]
        var testDescription: String { "\(kind)" }
    }

    static let forms = [
        Form(effect: .sadd, kind: .sets, words: { ["m\($0)"] }),
        Form(effect: .hmset, kind: .hashes, words: { ["f\($0)", "v\($0)"] }),
        Form(effect: .rpush, kind: .lists, words: { ["e\($0)"] }),
        Form(effect: .zadd, kind: .zsets, words: { ["\($0)", "m\($0)"] }),
    ]

    static let slice = StoreTransaction.unseenRowsLimit + 200
    static let total = 3 * slice

    /// Adds elements to the key `big`, and lets them go.
    static func fill(
        _ group: WriteGroup, _ form: Form, _ elements: Range<Int>
    ) throws {
        for start in stride(from: elements.lowerBound, to: elements.upperBound, by: slice) {
            let numbers = start..<min(start + slice, elements.upperBound)
            try group.run(["\(form.effect.word)", "big"] + numbers.flatMap(form.words))
            try withBytes(["big"]) { try group.writeUnseen($0[0], form.kind) }
        }
    }

    static func opened() throws -> (Rig, Keyspace, Database) {
        let rig = try Rig()
        let keyspace = try rig.open()
        return (rig, keyspace, keyspace.databases[0])
    }

    static func begin(_ database: Database) -> WriteGroup {
        let group = database.makeGroup(onPool: true)
        group.beginAtomic()
        group.makeTimeless()
        return group
    }

    /// How many elements `big` says that it has, and how many there are.
    static func counts(_ database: Database, _ kind: StoreKind) throws -> [Int] {
        let set = database.makeReader()
        let now = database.now
        return try withBytes(["big"]) { keys in
            let key = keys[0]
            var found = 0
            switch kind {
            case .strings: return []
            case .hashes:
                try Hashes(set.hashes).forEach(key, now: now) { _, _ in
                    found += 1
                    return true
                }
                return [try Hashes(set.hashes).count(key, now: now), found]
            case .lists:
                try Lists(set.lists).forEach(key, now: now) { _ in
                    found += 1
                    return true
                }
                return [try Lists(set.lists).count(key, now: now), found]
            case .sets:
                try Sets(set.sets).forEach(key, now: now) { _ in
                    found += 1
                    return true
                }
                return [try Sets(set.sets).count(key, now: now), found]
            case .zsets:
                try SortedSets(set.zsets).forEachMember(key, now: now) { _, _ in
                    found += 1
                    return true
                }
                return [try SortedSets(set.zsets).count(key, now: now), found]
            }
        }
    }

    @Test(
        "Nobody sees them before the commit; behind it all rows are those of a replica",
        arguments: forms)
    func commit(form: Form) throws {
        let (rig, keyspace, database) = try Self.opened()
        let group = Self.begin(database)
        try Self.fill(group, form, 0..<Self.total)
        // Its meta row is all that is left for the commit.
        #expect(group.transactions[form.kind].pendingRowCount == 1)
        #expect(try Self.counts(database, form.kind) == [0, 0])
        // What is in the store already is no second element of that name.
        if form.kind != .lists { try Self.fill(group, form, 0..<Self.slice) }
        try group.mustCommit()
        #expect(try Self.counts(database, form.kind) == [Self.total, Self.total])

        let replicaRig = try Rig(clock: rig.clock)
        let replica = try replicaRig.open()
        try replica.databases[0].becomeReplica()
        try deliver(try database.logItems()[...], to: replica.databases[0])
        #expect(try replica.databases[0].rawRows() == database.rawRows())
        replica.close()
        #expect(keyspace.close())
    }

    @Test("A group that is dropped leaves nothing behind that could be seen", arguments: forms)
    func dropped(form: Form) throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let group = Self.begin(database)
        try Self.fill(group, form, 0..<Self.total)
        group.discard()
        #expect(try Self.counts(database, form.kind) == [0, 0])
        // In the same second.
        try database.write(["\(form.effect.word)", "big"] + form.words(1))
        #expect(try Self.counts(database, form.kind) == [1, 1])
        #expect(keyspace.close())
    }

    @Test(
        "Killed before the commit, with slices in files: no such key, and none of its elements later",
        arguments: forms)
    func killedBefore(form: Form) throws {
        let (rig, keyspace, database) = try Self.opened()
        let group = Self.begin(database)
        try Self.fill(group, form, 0..<Self.total)
        try database.flush()
        let again = try rig.killed().open()
        let recovered = again.databases[0]
        #expect(try recovered.rawRows().count > Self.total, "the slices are not in files")
        #expect(try Self.counts(recovered, form.kind) == [0, 0])
        try recovered.write(["\(form.effect.word)", "big"] + form.words(1))
        #expect(try Self.counts(recovered, form.kind) == [1, 1])
        #expect(again.close())
        group.discard()
        #expect(keyspace.close())
    }

    @Test(
        "Killed behind the commit, with slices in files and the meta row in memory: it is whole",
        arguments: forms)
    func killedBehind(form: Form) throws {
        let (rig, keyspace, database) = try Self.opened()
        let group = Self.begin(database)
        try Self.fill(group, form, 0..<2 * Self.slice)
        try database.flush()
        try Self.fill(group, form, 2 * Self.slice..<Self.total)
        try group.mustCommit()
        let again = try rig.killed().open()
        #expect(try Self.counts(again.databases[0], form.kind) == [Self.total, Self.total])
        #expect(again.close())
        #expect(keyspace.close())
    }

    @Test(
        "A compaction drops neither slices nor the row that takes their version, however late it is",
        arguments: forms)
    func compacted(form: Form) throws {
        let (rig, keyspace, database) = try Self.opened()
        // Compactions go by the time of what was written behind it.
        func passTime() throws {
            rig.clock.advance(by: .seconds(100))
            // Another element each time: what changes nothing leaves the store where it is.
            let element = Int(truncatingIfNeeded: rig.clock.unixSeconds)
            try database.write(["\(form.effect.word)", "other"] + form.words(element))
            try database.flush()
            try database.compact(.all)
        }
        let group = Self.begin(database)
        try Self.fill(group, form, 0..<2 * Self.slice)
        try passTime()
        try Self.fill(group, form, 2 * Self.slice..<Self.total)
        try group.mustCommit()
        try passTime()
        #expect(try Self.counts(database, form.kind) == [Self.total, Self.total])
        // What is empty behind it goes: the row that took the version would have gone, too.
        try database.write(["del", "big"])
        try passTime()
        try passTime()
        // "big", as rows are named there.
        let isThere = try database.rawRows()["\(form.kind)/meta/626967"] != nil
        #expect(!isThere)
        #expect(keyspace.close())
    }
}
