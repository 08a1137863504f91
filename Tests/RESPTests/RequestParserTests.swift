import RESP
import Testing

@Suite("Request parser")
struct RequestParserTests {
    @Test("Pipelined requests are found one after the other")
    func pipeline() {
        let parsed = parseAll("*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n*1\r\n$4\r\nPING\r\n")
        #expect(parsed.requests == [words("GET", "foo"), words("PING")])
        #expect(parsed.consumed == 36)
    }

    @Test("Arguments may hold any byte and may be empty")
    func binary() {
        let all = [UInt8](0...255)
        let request = [Array("SET".utf8), all, [], Array("\r\n$5\r\n".utf8)]
        #expect(parseAll(encode(request)).requests == [request])
    }

    @Test("Every strict prefix is incomplete and asks for no more than is missing")
    func prefixes() {
        let input = encode(words("SET", "some key", "", "and a longer value of 32 bytes.."))
        for count in 0..<input.count {
            let parsed = parseAll(Array(input[..<count]))
            #expect(parsed.requests.isEmpty)
            #expect(parsed.failure == nil)
            #expect(parsed.consumed == 0)
            #expect(parsed.needed <= input.count)
            #expect(parsed.needed > count || parsed.needed == max(count, 1))
        }
    }

    @Test("A request that arrives byte by byte is found exactly once, at its last byte")
    func byteByByte() {
        let input = encode(words("MSET", "a", "1", "b", "2")) + Array("PING\r\n".utf8)
        var found: [[[UInt8]]] = []
        var buffer: [UInt8] = []
        for byte in input {
            buffer.append(byte)
            let parsed = parseAll(buffer)
            found += parsed.requests
            buffer.removeFirst(parsed.consumed)
        }
        #expect(buffer.isEmpty)
        #expect(found == [words("MSET", "a", "1", "b", "2"), words("PING")])
    }

    @Test("A single flipped byte never crashes and never reads outside")
    func flips() {
        let input = encode(words("HSET", "key", "field", "value"))
        for index in input.indices {
            for bit in 0..<8 {
                var flipped = input
                flipped[index] ^= 1 << bit
                let parsed = parseAll(flipped)
                #expect(parsed.consumed <= flipped.count)
            }
        }
    }

    @Test("Random bytes and random cuts end in a request, a wait or an error", arguments: 0..<64)
    func fuzz(seed: Int) {
        var generator = Generator(state: UInt64(seed))
        let alphabet = Array("*$0123456789-\r\n\"'\\x abGET".utf8) + [0, 0xff]
        for _ in 0..<200 {
            let length = Int.random(in: 0..<64, using: &generator)
            let input = (0..<length).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            let parsed = parseAll(input)
            #expect(parsed.consumed <= input.count)
        }
    }

    @Test("Empty and negative arrays and empty lines are skipped")
    func nothing() {
        let parsed = parseAll("*0\r\n*-1\r\n\r\n\n   \r\n*1\r\n$4\r\nPING\r\n")
        #expect(parsed.requests == [words("PING")])
    }

    @Test(
        "Bad requests get Redis's error texts",
        arguments: [
            ("*x\r\n", "Protocol error: invalid multibulk length"),
            ("*99999999999\r\n", "Protocol error: invalid multibulk length"),
            ("*1048577\r\n", "Protocol error: invalid multibulk length"),
            ("*01\r\n", "Protocol error: invalid multibulk length"),
            ("*\r\n", "Protocol error: invalid multibulk length"),
            ("*1\r\n+PING\r\n", "Protocol error: expected '$', got '+'"),
            ("*1\r\n\u{7f}", "Protocol error: expected '$', got ' '"),
            ("*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
            ("*1\r\n$abc\r\n", "Protocol error: invalid bulk length"),
            ("*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
            ("SET \"foo\r\n", "Protocol error: unbalanced quotes in request"),
            ("SET 'foo'bar\r\n", "Protocol error: unbalanced quotes in request"),
        ])
    func errors(input: String, text: String) {
        #expect(parseAll(input).failure?.text == text)
    }

    @Test("A count line that does not end within 64 KiB is refused")
    func longLines() {
        let digits = String(repeating: "1", count: 65_536)
        #expect(parseAll("*" + digits).failure == .multibulkCountTooLong)
        #expect(parseAll("*1\r\n$" + digits).failure == .bulkCountTooLong)
        #expect(parseAll(String(repeating: "a", count: 65_537)).failure == .inlineTooLong)
        #expect(parseAll(String(repeating: "a", count: 65_536)).failure == nil)
        let line = String(repeating: "a", count: 65_537) + "\r\n"
        #expect(parseAll(line).failure == .inlineTooLong)
    }

    @Test("Limits hold at the limit and refuse one more")
    func limits() {
        var limits = RequestLimits()
        limits.maxArguments = 3
        limits.maxBulkBytes = 4
        #expect(parseAll("*3\r\n", limits: limits).failure == nil)
        #expect(parseAll("*4\r\n", limits: limits).failure == .invalidMultibulkLength)
        #expect(parseAll("*1\r\n$4\r\n", limits: limits).failure == nil)
        #expect(parseAll("*1\r\n$5\r\n", limits: limits).failure == .invalidBulkLength)
    }

    @Test("Clients without a password have tighter limits")
    func unauthenticated() {
        #expect(parseAll("*10\r\n", authenticated: false).failure == nil)
        let count = parseAll("*11\r\n", authenticated: false)
        #expect(count.failure == .unauthenticatedMultibulkLength)
        #expect(parseAll("*1\r\n$16384\r\n", authenticated: false).failure == nil)
        let bulk = parseAll("*1\r\n$16385\r\n", authenticated: false)
        #expect(bulk.failure == .unauthenticatedBulkLength)
    }

    @Test("A large request announces how many bytes it needs")
    func needed() {
        let partial = parseAll("*2\r\n$3\r\nSET\r\n$1000\r\nabc")
        #expect(partial.needed == 4 + 9 + 7 + 1000 + 2)
        let many = parseAll("*100001\r\n$3\r\nDEL\r\n")
        #expect(many.needed == 9 + 9 + 100_000 * 6)
    }

    @Test("A request of 100 000 arguments is parsed whole")
    func manyArguments() {
        let request = (0..<100_000).map { Array("\($0)".utf8) }
        let parsed = parseAll(encode(request) + Array("PING\r\n".utf8))
        #expect(parsed.requests == [request, words("PING")])
    }

    @Test("Inline requests follow Redis's quoting rules")
    func inline() {
        #expect(parseAll("  set  a   b\r\n").requests == [words("set", "a", "b")])
        #expect(parseAll("set a b\n").requests == [words("set", "a", "b")])
        let quoted = parseAll("set \"a b\" 'c\\'d' \"\\x41\\n\\\"\\q\" '' \"\"\r\n")
        #expect(quoted.requests == [words("set", "a b", "c'd", "A\n\"q", "", "")])
        #expect(parseAll("set a\"b c\"\r\n").requests == [words("set", "ab c")])
    }
}
