import RESP
import Testing

@Suite("Reply writer")
struct ReplyWriterTests {
    private func written(
        _ version: ProtocolVersion = .resp2, _ body: (inout ReplyWriter) -> Void
    ) -> String {
        var writer = ReplyWriter(version: version)
        body(&writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    @Test(
        "Simple types are the same in both protocols", arguments: [ProtocolVersion.resp2, .resp3])
    func simple(version: ProtocolVersion) {
        let text = self.written(version) { writer in
            writer.ok()
            writer.simple("PONG")
            writer.error("ERR no")
            writer.error("ERR two\r\nlines")
            writer.integer(-7)
            writer.bulk("abc")
            writer.bulk(integer: 1234)
            writer.array(2)
        }
        #expect(
            text == "+OK\r\n+PONG\r\n-ERR no\r\n-ERR two  lines\r\n:-7\r\n$3\r\nabc\r\n"
                + "$4\r\n1234\r\n*2\r\n")
    }

    @Test("RESP3 types fall back to RESP2's")
    func versions() {
        func body(_ writer: inout ReplyWriter) {
            writer.null()
            writer.nullArray()
            writer.map(1)
            writer.set(2)
            writer.boolean(true)
            let number: StaticString = "1.5"
            let text = UnsafeRawBufferPointer(start: number.utf8Start, count: 3)
            writer.double(text: text)
            writer.verbatim(text)
            writer.bigNumber(text: text)
        }
        #expect(
            self.written(.resp2, body)
                == "$-1\r\n*-1\r\n*2\r\n*2\r\n:1\r\n$3\r\n1.5\r\n$3\r\n1.5\r\n$3\r\n1.5\r\n")
        #expect(
            self.written(.resp3, body)
                == "_\r\n_\r\n%1\r\n~2\r\n#t\r\n,1.5\r\n=7\r\ntxt:1.5\r\n(1.5\r\n")
    }

    @Test("Integers of all widths are written like String writes them")
    func integers() {
        var values: [Int64] = [0, -1, .min, .max]
        var power: Int64 = 1
        for _ in 0..<18 {
            power *= 10
            values += [power - 1, power, power + 1, -power, 1 - power]
        }
        for value in values {
            #expect(self.written { $0.integer(value) } == ":\(value)\r\n")
            let text = String(value)
            #expect(self.written { $0.bulk(integer: value) } == "$\(text.count)\r\n\(text)\r\n")
        }
    }

    @Test("A header can be inserted when the count is known at the end")
    func insertedHeader() {
        let text = self.written(.resp3) { writer in
            writer.ok()
            let start = writer.count
            for value in 0..<12 { writer.integer(value) }
            writer.insertHeader(.array, count: 12, at: start)
            let empty = writer.count
            writer.insertHeader(.map, count: 0, at: empty)
        }
        let body = (0..<12).map { ":\($0)\r\n" }.joined()
        #expect(text == "+OK\r\n*12\r\n" + body + "%0\r\n")
    }

    @Test("Output grows, can be cut back and is given back when it was large")
    func growth() {
        var writer = ReplyWriter()
        let value = [UInt8](repeating: 0x61, count: 3_000_000)
        writer.ok()
        let mark = writer.count
        value.withUnsafeBytes { writer.bulk($0) }
        #expect(writer.count == mark + 10 + 3_000_000 + 2)
        writer.truncate(to: mark)
        #expect(Array(writer.bytes) == Array("+OK\r\n".utf8))
        writer.clear()
        #expect(writer.count == 0)
        writer.ok()
        #expect(Array(writer.bytes) == Array("+OK\r\n".utf8))
    }
}

@Suite("Decimal text")
struct DecimalTests {
    private func parse(_ text: String) -> Int64? {
        Array(text.utf8).withUnsafeBytes { Decimal.parseInteger($0) }
    }

    @Test("Integers are read by Redis's strict rules")
    func parsing() {
        #expect(self.parse("0") == 0)
        #expect(self.parse("-1") == -1)
        #expect(self.parse("9223372036854775807") == .max)
        #expect(self.parse("-9223372036854775808") == .min)
        for bad in [
            "", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1a", "9223372036854775808",
            "-9223372036854775809", "99999999999999999999", "100000000000000000000", "1.0",
        ] {
            #expect(self.parse(bad) == nil, "\(bad)")
        }
    }
}
