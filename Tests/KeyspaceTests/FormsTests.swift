import Binlog
import Foundation
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Keyspace

@Suite("Every form of an item")
struct FormsTests {
    static let soon = "1795399810"
    /// What is there before each form.
    static let before: [[String]] = [
        ["set", "s", "10"], ["pksetexat", "t", soon, "20"], ["set", "text", "abc"],
        ["hmset", "h", "f", "1", "g", "x"], ["rpush", "l", "a", "b", "c", "b", "d"],
        ["sadd", "m", "a", "b", "c", "d"],
        ["zadd", "z", "1", "a", "2.5", "b", "2.5", "c", "9", "d"],
        ["sadd", "s", "same name, other type"],
    ]
    static let forms: [[String]] = [
        ["set", "s", "v"], ["SET", "t", "v"], ["set", "n", "v", "NX"],
        ["set", "s", "v", "nx", "EX", "5"], ["set", "s", "v", "xx", "px", "5500"],
        ["set", "n", "v", "XX"], ["set", "s", "v", "VX", "10"], ["set", "s", "v", "vx", "11"],
        ["set", "s", "v", "nx", "xx", "ex", "0"], ["setnx", "s", "v"], ["setnx", "n", "v"],
        ["pksetexat", "s", "0", "v"], ["pksetexat", "s", soon, "v"],
        ["pksetexat", "n", "1", "already stale"],
        ["del", "s"], ["unlink", "h"], ["del", "n"], ["del", "h", "l", "z"],
        ["expireat", "s", soon], ["expireat", "h", soon], ["expireat", "l", "0"],
        ["expireat", "z", "5"], ["expireat", "n", soon],
        ["persist", "t"], ["persist", "s"],
        ["append", "s", "tail"], ["append", "t", "tail"], ["append", "n", "tail"],
        ["setrange", "s", "5", "tail"], ["setrange", "t", "0", "x"],
        ["setbit", "s", "3", "1"], ["setbit", "n", "100", "1"], ["setbit", "t", "2", "0"],
        ["hset", "h", "f", "2"], ["hset", "h", "new", "2"], ["hset", "n", "f", "1"],
        ["hset", "h", "a", "1", "b", "2"], ["hsetnx", "h", "f", "9"], ["hsetnx", "h", "new", "9"],
        ["hmset", "h", "f", "1", "z", "2", "z", "3"], ["hdel", "h", "f", "none"],
        ["hdel", "h", "f", "g"], ["hdel", "n", "f"],
        ["lpush", "l", "1", "2"], ["rpush", "n", "1", "2"], ["lpushx", "l", "1"],
        ["lpushx", "n", "1"], ["rpushx", "l", "1"], ["lpop", "l"], ["lpop", "l", "2"],
        ["rpop", "l", "9"], ["rpop", "n"], ["lset", "l", "1", "x"], ["lset", "l", "-1", "x"],
        ["lrem", "l", "0", "b"], ["lrem", "l", "-1", "b"], ["lrem", "l", "1", "none"],
        ["ltrim", "l", "1", "-2"], ["ltrim", "l", "9", "10"],
        ["linsert", "l", "BEFORE", "b", "x"], ["linsert", "l", "after", "d", "x"],
        ["linsert", "l", "after", "none", "x"],
        ["sadd", "m", "a", "e", "e"], ["srem", "m", "a", "none"],
        ["srem", "m", "a", "b", "c", "d"],
        ["sadd", "n", "x"],
        ["zadd", "z", "3", "a"], ["zadd", "z", "3", "new", "-1.5", "new2"],
        ["zadd", "z", "inf", "a", "-inf", "b"], ["zrem", "z", "a", "none"],
        ["zremrangebyrank", "z", "0", "1"], ["zremrangebyscore", "z", "(1", "2.5"],
        ["zremrangebyscore", "z", "-inf", "+inf"], ["zremrangebylex", "z", "[b", "(d"],
        ["zremrangebylex", "z", "-", "+"], ["zpopmin", "z"], ["zpopmax", "z", "3"],
        ["pfadd", "p", "a", "b", "c"], ["pfadd", "p"],
        ["geoadd", "g", "13.361389", "38.115556", "P"],
        ["geoadd", "z", "15.087269", "37.502669", "C", "2.349014", "48.864716", "D"],
        ["INCR", "s"], ["INCRBY", "t", "-5"], ["DECR", "n"], ["DECRBY", "s", "4"],
        ["INCRBYFLOAT", "s", "1.5"], ["INCR", "text"], ["GETSET", "t", "new"],
        ["DELVX", "s", "10"], ["DELVX", "s", "11"],
        ["HINCRBY", "h", "f", "4"], ["HINCRBYFLOAT", "h", "new", "0.25"],
        ["HINCRBY", "h", "g", "1"],
        ["ZINCRBY", "z", "1.25", "a"], ["ZINCRBY", "n", "2", "a"],
        ["SPOP", "m"], ["SPOP", "m", "3"], ["SPOP", "n"],
        ["PKPATTERNMATCHDEL", "*", "string"], ["PKPATTERNMATCHDEL", "h*", "hash"],
    ]

    @Test("B9: written, logged, applied elsewhere, replayed: the same rows")
    func sameRowsEverywhere() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        let replicaRig = try Rig()
        let replica = try replicaRig.open()
        try replica.databases[0].becomeReplica()
        let recoveredRig = try rig.killed()
        var sent = 0
        for form in Self.forms {
            for command in Self.before + [form] where Self.isKnown(command) {
                // A real master's SPOP is the one form that takes the position as an input.
                guard command[0] != "SPOP" else { continue }
                let group = database.makeGroup()
                do {
                    try group.run(command)
                    try group.mustCommit()
                } catch is ApplyError {
                    group.discard()
                }
            }
            rig.clock.advance(by: .seconds(1))
            let items = try database.logItems()
            try deliver(items[sent...], to: replica.databases[0])
            sent = items.count
            let rows = try database.rawRows()
            #expect(try replica.databases[0].rawRows() == rows, "replica behind \(form)")
            // Clean up as FLUSHDB would, cheaper.
            for name in ["s", "t", "text", "h", "l", "m", "z", "n", "p", "g"] {
                try database.write(["del", name])
            }
        }
        let copy = try rig.killed()
        let again = try copy.open()
        #expect(try again.databases[0].rawRows() == database.rawRows(), "recovery")
        withExtendedLifetime(recoveredRig) {}
        again.close()
        replica.close()
        keyspace.close()
    }

    private static func isKnown(_ command: [String]) -> Bool {
        withBytes([command[0]]) { Effect(word: $0[0]) != nil }
    }

    @Test("B8: absolute deadlines stay what they are, on the master and on replicas")
    func deadlines() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        try database.write(["pksetexat", "k", Self.soon, "1"])
        rig.clock.advance(by: .seconds(6))
        // Alive through the second equal to the deadline.
        #expect(try database.string("k") == "1")
        try database.write(["append", "k", "2"])
        rig.clock.advance(by: .seconds(1))
        #expect(try database.string("k") == nil)
        try database.write(["append", "k", "3"])
        #expect(try database.string("k") == "3")

        let replicaRig = try Rig()
        // Its own clock is wrong by an hour: the log's counts.
        replicaRig.clock.advance(by: .seconds(3600))
        let replica = try replicaRig.open()
        try replica.databases[0].becomeReplica()
        try deliver(try database.logItems()[...], to: replica.databases[0])
        #expect(try replica.databases[0].rawRows() == database.rawRows())
        replica.close()
        keyspace.close()
    }

    @Test("Replay at any later time gives the rows of the first time")
    func replayLater() throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let database = keyspace.databases[0]
        for round in 0..<30 {
            let now = rig.clock.unixSeconds
            try database.write(
                ["hset", "h", "f\(round)", "v"], ["expireat", "h", "\(now + 1)"],
                ["setnx", "s", "\(round)"], ["expireat", "s", "\(now + 2)"],
                ["rpush", "l", "\(round)"], ["expireat", "l", "\(now)"])
            rig.clock.advance(by: .seconds(round % 3))
        }
        let rows = try database.rawRows()
        let copy = try rig.killed()
        copy.clock.advance(by: .seconds(100_000))
        let again = try copy.open()
        #expect(try again.databases[0].rawRows() == rows)
        again.close()
        keyspace.close()
    }
}
