import Keyspace
import TestKit
import Testing

@testable import Commands

@Suite("Rule of reading ahead")
struct AheadRuleTests {
    @Test("Fast reads are left to the loop, slow ones go to a thread, those of a disk to all")
    func threads() {
        var rule = AheadRule(leastNanoseconds: 5_000)
        #expect(rule.threads(readNanoseconds: 4_999, readCount: 0) == 0)
        #expect(rule.threads(readNanoseconds: 5_000, readCount: 0) == 1)
        #expect(rule.threads(readNanoseconds: 39_999, readCount: 1) == 1)
        #expect(rule.threads(readNanoseconds: 40_000, readCount: 2) == ReadAhead.threadLimit)
    }

    @Test("Threads that get no core have a rest, and then another try")
    func rest() {
        var rule = AheadRule(leastNanoseconds: 5_000)
        for list in 0..<AheadRule.uselessLimit {
            #expect(rule.threads(readNanoseconds: 10_000, readCount: 0) == 1, "list \(list)")
        }
        #expect(rule.threads(readNanoseconds: 10_000, readCount: 0) == 0)
        let answers = (0...AheadRule.restLists).map { _ in rule.mayPost() }
        #expect(answers.dropLast().allSatisfy { !$0 })
        #expect(answers.last == true)
        #expect(rule.threads(readNanoseconds: 10_000, readCount: 0) == 1)
    }

    @Test("One list of many that was read keeps the threads at work")
    func work() {
        var rule = AheadRule(leastNanoseconds: 5_000)
        for list in 0..<10 * AheadRule.uselessLimit {
            let threads = rule.threads(
                readNanoseconds: 10_000, readCount: list / (AheadRule.uselessLimit / 2))
            #expect(threads == 1, "list \(list)")
        }
    }
}

@Suite("Pipelines with threads that read ahead")
struct PipelineReadTests {
    /// A pipeline of reads and writes of few keys, so that they meet.
    private static func pipeline(_ random: inout SeededRandom) -> [UInt8] {
        var requests = ""
        for _ in 0..<20 {
            let key = "k\(random.next() % 24)"
            let other = "k\(random.next() % 24)"
            let words: [String] =
                switch random.next() % 12 {
                case 0: ["SET", key, "v\(random.next() % 1000)"]
                case 1: ["APPEND", key, "-\(random.next() % 10)"]
                case 2: ["DEL", key]
                case 3: ["MGET", key, other, "none", key]
                case 4: ["SELECT", "\(random.next() % 2)"]
                case 5: ["EXPIRE", key, "1"]
                case 6: ["MULTI"]
                case 7: ["EXEC"]
                case 8: ["SET", key, String(repeating: "x", count: Int(random.next() % 6000))]
                default: ["get", key]
                }
            requests += "*\(words.count)\r\n"
            for word in words { requests += "$\(word.utf8.count)\r\n\(word)\r\n" }
        }
        return Array(requests.utf8)
    }

    @Test("Replies are the same as without them", arguments: [UInt64(1), 2, 3])
    func replies(seed: UInt64) throws {
        let plain = try Harness()
        defer { plain.close() }
        let ahead = try Harness(readAheadNanoseconds: 0)
        defer { ahead.close() }
        var random = SeededRandom(seed: seed)
        for round in 0..<300 {
            let input = Self.pipeline(&random)
            let expected = plain.send(input)
            let found = ahead.send(input)
            try #require(found == expected, "round \(round) of seed \(seed)")
            if round % 50 == 49 { for harness in [plain, ahead] { harness.clock.advance(2) } }
        }
    }

    @Test(
        "Requests longer than what is looked at in one go are passed by, and what follows is read")
    func longRequests() throws {
        let harness = try Harness(readAheadNanoseconds: 0)
        defer { harness.close() }
        let long = String(repeating: "x", count: 3 * PipelineReads.windowBytes)
        var request = ""
        var expected = ""
        for number in 0..<200 {
            let key = "key\(number)"
            if number % 50 == 7 {
                request += "*3\r\n$3\r\nSET\r\n$\(key.utf8.count)\r\n\(key)\r\n"
                request += "$\(long.utf8.count)\r\n\(long)\r\n"
                expected += "+OK\r\n"
            }
            request += "*2\r\n$3\r\nGET\r\n$\(key.utf8.count)\r\n\(key)\r\n"
            let value = number % 50 == 7 ? long : nil
            expected += value.map { "$\($0.utf8.count)\r\n\($0)\r\n" } ?? "$-1\r\n"
        }
        #expect(String(decoding: harness.send(Array(request.utf8)), as: UTF8.self) == expected)
    }

    @Test("A pipeline that comes in pieces, at every place, is read like a whole one")
    func pieces() throws {
        let harness = try Harness(readAheadNanoseconds: 0)
        defer { harness.close() }
        var request = ""
        var expected = ""
        for number in 0..<12 {
            _ = harness.run("SET key\(number) value\(number)")
            request += "*2\r\n$3\r\nGET\r\n$\("key\(number)".utf8.count)\r\nkey\(number)\r\n"
            expected += "$\("value\(number)".utf8.count)\r\nvalue\(number)\r\n"
        }
        let bytes = Array(request.utf8)
        for cut in 0...bytes.count {
            var rest = Array(bytes[..<cut])
            var output = harness.sendPart(&rest)
            rest += bytes[cut...]
            output += harness.sendPart(&rest)
            try #require(String(decoding: output, as: UTF8.self) == expected, "cut at \(cut)")
            #expect(rest.isEmpty)
        }
    }
}

extension Harness {
    /// Sends bytes as one read burst; what is incomplete stays in `bytes`.
    fileprivate func sendPart(_ bytes: inout [UInt8]) -> [UInt8] {
        let result = bytes.withUnsafeBytes { processor.process(client, $0) }
        bytes.removeFirst(result.consumed)
        defer { processor.clearOutput() }
        return Array(processor.output)
    }
}
