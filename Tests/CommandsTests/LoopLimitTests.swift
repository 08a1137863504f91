import Commands
import RESP
import Synchronization
import Testing

/// What is too much for an event loop goes to the pool, and comes to the same.
@Suite("Work that a loop does not do")
struct LoopLimitTests {
    @Test("A reply that is too long is written on the pool, once for all")
    func longReply() throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 7, count: 900_000)
        for name in ["a", "b", "c", "d", "e", "f"] {
            #expect(harness.run([bytes("SET"), bytes(name), value]) == .simple("OK"))
        }
        #expect(harness.poolCount == 0)
        #expect(harness.run("GET a") == .bulk(value))
        #expect(harness.poolCount == 0)
        let all = [Reply](repeating: .bulk(value), count: 6)
        #expect(harness.run("MGET a b c d e f") == .array(all))
        #expect(harness.poolCount == 1)
    }

    @Test("A command that takes much goes to the pool before it has taken anything")
    func longReplyOfWrite() throws {
        let harness = try Harness()
        defer { harness.close() }
        let element = [UInt8](repeating: 9, count: 900_000)
        for _ in 0..<6 { _ = harness.run([bytes("RPUSH"), bytes("l"), element]) }
        let replies = harness.replies("SET before 1\r\nLPOP l 6\r\nLLEN l\r\nGET before")
        #expect(replies.first == .simple("OK"))
        #expect(replies[1] == .array([Reply](repeating: .bulk(element), count: 6)))
        #expect(replies.suffix(2) == [.integer(0), .bulk(bytes("1"))])
        #expect(harness.poolCount >= 1)
        // One item each: what was begun on the loop left nothing in the log.
        let words = try harness.itemTexts().suffix(2).map { String($0.prefix(4)) }
        #expect(words == ["SET ", "LPOP"])
    }

    @Test("The replies of a transaction count together")
    func longTransaction() throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 7, count: 900_000)
        _ = harness.run([bytes("SET"), bytes("k"), value])
        let gets = String(repeating: "GET k\r\n", count: 6)
        let replies = harness.replies("MULTI\r\n\(gets)EXEC")
        #expect(replies.last == .array([Reply](repeating: .bulk(value), count: 6)))
        #expect(harness.poolCount == 1)
    }

    @Test("A long transaction runs on the pool, a short one on the loop")
    func manyCommands() throws {
        let harness = try Harness()
        defer { harness.close() }
        for (count, pooled) in [(1000, 0), (1001, 1)] {
            let lines = String(repeating: "INCR n\r\n", count: count)
            let replies = harness.replies("SET n 0\r\nMULTI\r\n\(lines)EXEC")
            #expect(replies.last?.elements.last == .integer(Int64(count)))
            #expect(harness.poolCount == pooled)
        }
    }

    @Test("A large request is lent to the pool, and what follows it runs behind it")
    func largeRequest() throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 1, count: 3 << 20)
        let input =
            encode([bytes("SET"), bytes("first"), bytes("x")])
            + encode([bytes("SET"), bytes("big"), value]) + bytes("STRLEN big\r\nGET first\r\n")
        let replies = Reply.parseAll(harness.send(input))
        #expect(
            replies == [
                .simple("OK"), .simple("OK"), .integer(Int64(value.count)), .bulk(bytes("x")),
            ])
        // STRLEN of what is large now goes there, too.
        #expect(harness.poolCount == 2)
    }

    @Test("A command with many arguments runs on the pool", arguments: [2048, 2049])
    func manyArguments(_ count: Int) throws {
        let harness = try Harness()
        defer { harness.close() }
        let names = [[UInt8]](repeating: bytes("nothing"), count: count - 2)
        let reply = harness.run([bytes("COMMAND"), bytes("INFO")] + names)
        #expect(reply.elements.count == count - 2)
        #expect(harness.poolCount == (count > 2048 ? 1 : 0))
    }

    @Test("DEL of more keys than a group may hold works, in slices that each are in the log")
    func manyKeys() throws {
        let harness = try Harness()
        defer { harness.close() }
        for number in 0..<2500 { _ = harness.run("SET key:\(number) v") }
        let names = (0..<66_000).map { bytes("key:\($0)") }
        #expect(harness.run([bytes("DEL")] + names) == .integer(2500))
        #expect(harness.run("EXISTS key:0 key:999 key:1000 key:2499") == .integer(0))
        let items = try harness.rawItems()
        #expect(items.filter { $0.words[0] == bytes("DEL") }.allSatisfy { $0.itemsLeft == 0 })
    }

    @Test("DEL of many keys in a transaction stays one group")
    func manyKeysAtOnce() throws {
        let harness = try Harness()
        defer { harness.close() }
        for number in 0..<1500 { _ = harness.run("SET key:\(number) v") }
        let names = (0..<1500).map { bytes("key:\($0)") }
        let input =
            bytes("MULTI\r\nSET other 1\r\n") + encode([bytes("UNLINK")] + names)
            + bytes("EXEC\r\n")
        let replies = Reply.parseAll(harness.send(input))
        #expect(replies.last == .array([.simple("OK"), .integer(1500)]))
        #expect(try harness.rawItems().suffix(1501).first?.itemsLeft == 1500)
    }

    @Test("MSET of more pairs than 65,536 is one group")
    func manyPairs() throws {
        let harness = try Harness()
        defer { harness.close() }
        let words = (0..<66_000).flatMap { [bytes("key:\($0)"), bytes("v")] }
        #expect(harness.run([bytes("MSET")] + words) == .simple("OK"))
        #expect(harness.run("GET key:65999") == .bulk(bytes("v")))
        #expect(try harness.rawItems().first?.itemsLeft == 65_999)
    }

    @Test("PKPATTERNMATCHDEL deletes slice after slice, and only its type")
    func deleteMatching() throws {
        let harness = try Harness()
        defer { harness.close() }
        for number in 0..<2100 { _ = harness.run("SET key:\(number) v") }
        _ = harness.run("SET other v")
        _ = harness.run("SADD key:5 member")
        #expect(harness.run("PKPATTERNMATCHDEL key:* string") == .integer(2100))
        #expect(harness.run("EXISTS other key:1 key:2099") == .integer(1))
        #expect(harness.run("SCARD key:5") == .integer(1))
    }

    @Test("No reply is longer than max-client-response-size")
    func longestReply() throws {
        let harness = try Harness()
        defer { harness.close() }
        harness.environment.maxReplyBytes.store(5 << 20, ordering: .relaxed)
        let value = [UInt8](repeating: 7, count: 900_000)
        for name in ["a", "b"] { _ = harness.run([bytes("SET"), bytes(name), value]) }
        #expect(harness.run("MGET a b a b a").elements.count == 5)
        let error = Reply.error("ERR Response exceeds the max-client-response-size limit")
        #expect(harness.run("MGET a b a b a b a b") == error)
        let gets = String(repeating: "GET a\r\n", count: 8)
        #expect(harness.replies("MULTI\r\n\(gets)EXEC").last == error)
        #expect(harness.run("STRLEN a") == .integer(900_000))
    }
}
