import Commands
import Keyspace
import PikaStorage
import RESP
import SyncProtocol
import Testing

/// A loop does not read what is large, and a group has an end.
@Suite("Large values and large groups")
struct LargeGroupTests {
    private static let large = [UInt8](repeating: 7, count: LargeNames.rowBytes)

    @Test(
        "Whatever reads a large string does so on the pool",
        arguments: [
            "GET k", "STRLEN k", "GETRANGE k 0 3", "TTL k", "EXISTS k", "TYPE k", "MGET a k",
            "APPEND k x", "SETRANGE k 0 x", "GETSET k x", "EXPIRE k 100", "RENAME k l", "DEL k",
        ])
    func largeString(_ command: String) throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run([bytes("SET"), bytes("k"), Self.large])
        let before = harness.poolCount
        _ = harness.run(command)
        #expect(harness.poolCount == before + 1)
    }

    @Test("A string that became short is a loop's again")
    func shortAgain() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run([bytes("SET"), bytes("k"), Self.large])
        #expect(!harness.keyspace.largeNames.isEmpty)
        _ = harness.run("SET k short")
        #expect(harness.keyspace.largeNames.isEmpty)
        let before = harness.poolCount
        #expect(harness.run("GET k") == .bulk(bytes("short")))
        #expect(harness.poolCount == before)
    }

    @Test("A large element makes its key's commands the pool's")
    func largeElements() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run([bytes("HSET"), bytes("h"), bytes("f"), Self.large])
        _ = harness.run([bytes("RPUSH"), bytes("l"), Self.large])
        for command in ["HGET h f", "LINDEX l 0", "LPOP l"] {
            let before = harness.poolCount
            #expect(harness.run(command) == .bulk(Self.large))
            #expect(harness.poolCount == before + 1)
        }
        let before = harness.poolCount
        _ = harness.run("HGET other f")
        #expect(harness.poolCount == before)
    }

    @Test("A transaction that names a large value runs on the pool")
    func transaction() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run([bytes("SET"), bytes("k"), Self.large])
        let before = harness.poolCount
        let replies = harness.replies("MULTI\r\nSTRLEN k\r\nEXEC")
        #expect(replies.last == .array([.integer(Int64(LargeNames.rowBytes))]))
        #expect(harness.poolCount == before + 1)
    }

    @Test("A pipeline whose commands touch much lets others have their turn, and goes on")
    func turns() throws {
        let harness = try Harness()
        defer { harness.close() }
        let members = (0..<1000).map { "m\($0)" }.joined(separator: " ")
        _ = harness.run("SADD s \(members)")
        _ = harness.run("DEL t")
        #expect(harness.yieldCount == 0)
        // Of 20,000 elements the 21st SINTERCARD is one too many.
        let ask = "SINTERCARD 1 s\r\n"
        #expect(harness.replies(String(repeating: ask, count: 20)).count == 20)
        #expect(harness.yieldCount == 0)
        let replies = harness.replies("INCR n\r\n" + String(repeating: ask, count: 45) + "INCR n")
        #expect(replies.first == .integer(1) && replies.last == .integer(2))
        #expect(replies.dropFirst().dropLast().allSatisfy { $0 == .integer(1000) })
        #expect(harness.yieldCount == 2)
        #expect(harness.poolCount == 0)
    }

    @Test("A transaction that touches more than a turn runs on the pool, as one group")
    func longTurn() throws {
        let harness = try Harness()
        defer { harness.close() }
        let members = (0..<900).map { "m\($0)" }.joined(separator: " ")
        _ = harness.run("SADD s \(members)")
        let before = harness.poolCount
        let lines = (0..<30).map { "SUNIONSTORE d:\($0) s\r\n" }.joined()
        let replies = harness.replies("MULTI\r\n\(lines)EXEC")
        #expect(replies.last == .array([Reply](repeating: .integer(900), count: 30)))
        #expect(harness.poolCount == before + 1)
    }

    private static let tooMuch = Reply.error(
        "ERR too much to be written at once: more than atomic-group-limit, 1048576 bytes")

    @Test("A command of more bytes than a group may hold writes nothing and gets an error")
    func groupLimit() throws {
        let harness = try Harness()
        defer { harness.close() }
        harness.keyspace.setGroupLimit(bytes: 1 << 20)
        // `*3 $3 SET $1 k $1048544 ... `: 32 bytes besides the value.
        let most = [UInt8](repeating: 1, count: (1 << 20) - 32)
        #expect(harness.run([bytes("SET"), bytes("k"), most]) == .simple("OK"))
        #expect(harness.run([bytes("SET"), bytes("k"), most + [1]]) == Self.tooMuch)
        #expect(harness.run("STRLEN k") == .integer(Int64(most.count)))
        let pairs = (0..<1100).flatMap { [bytes("m:\($0)"), [UInt8](repeating: 2, count: 1000)] }
        let end = harness.keyspace.databases[0].written
        #expect(harness.run([bytes("MSET")] + pairs) == Self.tooMuch)
        #expect(harness.keyspace.databases[0].written == end)
        #expect(harness.run("EXISTS m:0 m:1 m:1099") == .integer(0))
        #expect(harness.run("SET after 1") == .simple("OK"))
    }

    @Test("A transaction of more bytes than a group may hold does nothing")
    func transactionLimit() throws {
        let harness = try Harness()
        defer { harness.close() }
        harness.keyspace.setGroupLimit(bytes: 1 << 20)
        let half = [UInt8](repeating: 1, count: 600_000)
        let input =
            bytes("SET a 1\r\n") + bytes("MULTI\r\n") + encode([bytes("SET"), bytes("a"), half])
            + encode([bytes("SET"), bytes("b"), half]) + bytes("EXEC\r\nGET a\r\n")
        _ = harness.run("SET a 0")
        let replies = Reply.parseAll(harness.send(input))
        #expect(replies.contains(Self.tooMuch))
        #expect(harness.run("EXISTS b") == .integer(0))
        #expect(harness.run("STRLEN a") == .integer(1))
    }

    @Test("What a command stores elsewhere counts, too")
    func storedResult() throws {
        let harness = try Harness()
        defer { harness.close() }
        for number in 0..<8 {
            let long = String(repeating: "m", count: 900)
            let members = (0..<200).map { bytes("\(long)\(number):\($0)") }
            _ = harness.run([bytes("SADD"), bytes("s:\(number)")] + members)
        }
        harness.keyspace.setGroupLimit(bytes: 1 << 20)
        let names = (0..<8).map { "s:\($0)" }.joined(separator: " ")
        #expect(harness.run("SUNIONSTORE d \(names)") == Self.tooMuch)
        #expect(harness.run("EXISTS d") == .integer(0))
        #expect(harness.run("SUNIONSTORE d s:1 s:2") == .integer(400))
    }
}
