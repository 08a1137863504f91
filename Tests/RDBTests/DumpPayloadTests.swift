import RDB
import Testing

@Suite("DUMP payload")
struct DumpPayloadTests {
    @Test("Every recorded payload decodes to its content, or is refused by name")
    func recordedPayloads() throws {
        let payloads = try Fixtures.payloads()
        #expect(payloads.count == 324)
        for payload in payloads {
            if payload.content == "stream" {
                #expect(throws: DumpError.self, "\(payload.name)") {
                    try DumpPayload.decode(payload.bytes)
                }
                continue
            }
            let value = try DumpPayload.decode(payload.bytes)
            #expect(Transcript.of(value) == payload.content, "\(payload.name)")
        }
    }

    @Test("Every strict prefix of a payload is refused")
    func prefixes() throws {
        for payload in try Fixtures.payloads() {
            let step = max(1, payload.bytes.count / 100)
            for count in stride(from: 0, to: payload.bytes.count, by: step) {
                #expect(throws: DumpError.self) {
                    try DumpPayload.decode(Array(payload.bytes[..<count]))
                }
            }
        }
    }

    @Test("Every flipped byte is refused by the checksum")
    func flippedBytes() throws {
        for payload in try Fixtures.payloads() {
            let step = max(1, payload.bytes.count / 50)
            for index in stride(from: 0, to: payload.bytes.count, by: step) {
                var bytes = payload.bytes
                bytes[index] ^= 0x10
                #expect(throws: DumpError.self) { try DumpPayload.decode(bytes) }
            }
        }
    }

    @Test("Damage under a right checksum never traps")
    func damageUnderRightChecksum() throws {
        for payload in try Fixtures.payloads() {
            var dice = Dice(UInt64(payload.bytes.count))
            for _ in 0..<100 {
                var bytes = Array(payload.bytes.dropLast(8))
                for _ in 0...dice.roll(3) {
                    bytes[dice.roll(bytes.count - 2)] = UInt8(dice.roll(256))
                }
                let checksum = CRC64.checksum(bytes)
                bytes += withUnsafeBytes(of: checksum.littleEndian, Array.init)
                _ = try? DumpPayload.decode(bytes)
            }
        }
    }

    @Test("The checksum of the digits 1 to 9 is the published one")
    func publishedChecksum() {
        #expect(CRC64.checksum(Array("123456789".utf8)) == 0xe9c6_d914_c4b8_d9ca)
        var crc = CRC64()
        for byte in "123456789".utf8 { withUnsafeBytes(of: byte) { crc.update($0) } }
        #expect(crc.value == 0xe9c6_d914_c4b8_d9ca)
    }

    @Test("What is written is read again")
    func roundTrip() throws {
        let texts: [[UInt8]] = [
            [], [0x61], Array("12345".utf8), .init(repeating: 7, count: 70_000),
        ]
        #expect(try DumpPayload.decode(DumpPayload.string(texts[3])) == .string(texts[3]))
        for kind in [RDBKind.list, .set] {
            var writer = DumpPayloadWriter(kind: kind, elementCount: texts.count)
            for text in texts { writer.append(text) }
            let value = try DumpPayload.decode(writer.finish())
            #expect(value == (kind == .list ? .list(texts) : .set(texts)))
        }
        var hash = DumpPayloadWriter(kind: .hash, elementCount: 4)
        for text in texts { hash.append(field: text, value: [1]) }
        #expect(
            try DumpPayload.decode(hash.finish())
                == .hash(texts.map { DumpField(field: $0, value: [1]) }))
        let scores = [-Double.infinity, -0.0, 0.1, .infinity]
        var sorted = DumpPayloadWriter(kind: .sortedSet, elementCount: 4)
        for (text, score) in zip(texts, scores) { sorted.append(member: text, score: score) }
        #expect(
            try DumpPayload.decode(sorted.finish())
                == .sortedSet(zip(texts, scores).map { DumpScore(member: $0, score: $1) }))
    }

    @Test("Versions that are newer than known, a wrong checksum and one of zero are told apart")
    func footers() {
        #expect(throws: DumpError.unsupportedVersion(99)) {
            try DumpPayload.decode(DumpPayload.string([1], version: 99))
        }
        let right = DumpPayload.string([1])
        let zero = Array(right.dropLast(8)) + [UInt8](repeating: 0, count: 8)
        let actual = CRC64.checksum(right.dropLast(8))
        #expect(throws: DumpError.checksumMismatch(expected: 0, actual: actual)) {
            try DumpPayload.decode(zero)
        }
        #expect(throws: DumpError.tooShort(sizeBytes: 10)) {
            try DumpPayload.decode([UInt8](repeating: 0, count: 10))
        }
    }

    @Test("Bytes behind the value are refused")
    func trailingBytes() {
        var bytes: [UInt8] = [0, 1, 0x61, 0x62, 8, 0]
        bytes += withUnsafeBytes(of: CRC64.checksum(bytes).littleEndian, Array.init)
        #expect(throws: DumpError.invalid(.corrupt(.trailingBytes, offset: 2))) {
            try DumpPayload.decode(bytes)
        }
    }
}
