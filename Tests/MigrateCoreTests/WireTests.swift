import MigrateCore
import Testing

@Suite("Replies, commands and keys")
struct WireTests {
    private func scan(_ text: String, step: Int) throws -> ReplyScanner {
        var scanner = ReplyScanner()
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: step) {
            let part = Array(bytes[start..<min(start + step, bytes.count)])
            try part.withUnsafeBytes { buffer in try scanner.feed(buffer) }
        }
        return scanner
    }

    @Test("M1: every reply is read, and errors are found inside of EXEC's array as well")
    func faults() throws {
        let text =
            "+OK\r\n+QUEUED\r\n-ERR bad\r\n*3\r\n:1\r\n-WRONGTYPE no\r\n$2\r\nhi\r\n*-1\r\n$-1\r\n"
            + "$3\r\n-XX\r\n*2\r\n*2\r\n:1\r\n-ERR deep\r\n:2\r\n"
        for step in 1...text.utf8.count {
            let scanner = try self.scan(text, step: step)
            #expect(scanner.replyCount == 8)
            #expect(scanner.nullReplies == 2)
            #expect(
                scanner.faults == [
                    ReplyFault(index: 2, element: nil, text: "ERR bad"),
                    ReplyFault(index: 3, element: 1, text: "WRONGTYPE no"),
                    ReplyFault(index: 7, element: 0, text: "ERR deep"),
                ])
            #expect(Array(scanner.lastValue) == Array("-XX".utf8))
        }
    }

    @Test("Bytes that are no replies are an error")
    func malformed() {
        #expect(throws: ReplyScanError.malformed) { try self.scan("hello\r\n", step: 3) }
        #expect(throws: ReplyScanError.malformed) { try self.scan("*x\r\n", step: 3) }
    }

    @Test("M3: scores are the shortest text that reads back as the same number")
    func scores() throws {
        #expect(ScoreText.text(0.1) == "0.1")
        #expect(ScoreText.text(3) == "3")
        #expect(ScoreText.text(.infinity) == "inf")
        #expect(ScoreText.text(-.infinity) == "-inf")
        #expect(ScoreText.text(-0.0) == "-0")
        var random = SystemRandomNumberGenerator()
        for score in [
            Double.leastNonzeroMagnitude, .greatestFiniteMagnitude, 9_007_199_254_740_992,
            1e15 + 0.5,
        ] {
            #expect(Double(ScoreText.text(score))?.bitPattern == score.bitPattern)
        }
        for _ in 0..<10_000 {
            let score = Double(bitPattern: UInt64.random(in: 0...UInt64.max, using: &random))
            guard !score.isNaN else { continue }
            #expect(Double(ScoreText.text(score))?.bitPattern == score.bitPattern)
        }
    }

    @Test("Errors of targets have a class")
    func classes() {
        #expect(FaultClass.of("LOADING Redis is loading") == .transient)
        #expect(FaultClass.of("OOM command not allowed") == .capacity)
        #expect(FaultClass.of("MOVED 1 1.1.1.1:1") == .topology)
        #expect(FaultClass.of("NOPERM x") == .permission)
        #expect(FaultClass.of("ERR operation not permitted") == .permission)
        #expect(FaultClass.of("WRONGTYPE Operation") == .data)
        #expect(FaultClass.of("ERR unknown command") == .data)
    }

    @Test("Slots are those of a cluster")
    func slots() {
        #expect(KeyHash.slot(Array("123456789".utf8)) == 12_739)
        #expect(KeyHash.slot(Array("{user}.a".utf8)) == KeyHash.slot(Array("user".utf8)))
        #expect(KeyHash.slot(Array("{}a".utf8)) != KeyHash.slot(Array("".utf8)))
    }

    @Test("Commands are encoded with any bytes")
    func commands() {
        var buffer = CommandBuffer()
        buffer.append([Array("SET".utf8), [0, 13, 10], []])
        #expect(Array(buffer.bytes) == Array("*3\r\n$3\r\nSET\r\n$3\r\n\0\r\n\r\n$0\r\n\r\n".utf8))
        #expect(buffer.commandCount == 1)
    }
}
