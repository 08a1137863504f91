import RDB
import Testing

@Suite("RDB decoder")
struct RDBDecoderTests {
    @Test("Every recorded file decodes to its content, whole, byte by byte and in random cuts")
    func recordedFiles() throws {
        let files = try Fixtures.files()
        #expect(files.count == 27)
        for file in files {
            #expect(
                try Transcript.of(file.bytes) { Int.max / 2 }.lines == file.lines, "\(file.name)")
            #expect(try Transcript.of(file.bytes) { 1 }.lines == file.lines, "\(file.name)")
            for seed in 1...20 {
                var dice = Dice(UInt64(seed))
                let transcript = try Transcript.of(file.bytes) { 1 + dice.roll(40) }
                #expect(transcript.lines == file.lines, "\(file.name), seed \(seed)")
            }
            let small = RDBLimits(maxChunkElements: 1, maxChunkBytes: 1)
            #expect(
                try Transcript.of(file.bytes, limits: small) { 3 }.lines == file.lines,
                "\(file.name) in the smallest chunks")
        }
    }

    @Test("Strings taken many at once are those that events tell of, in all cuts")
    func strings() throws {
        var count = 0
        for file in try Fixtures.files() {
            let expected = try Self.strings(of: file.bytes, many: false) { Int.max / 2 }
            for seed in 1...20 {
                var dice = Dice(UInt64(seed))
                let found = try Self.strings(of: file.bytes, many: true) { 1 + dice.roll(90) }
                #expect(found == expected, "\(file.name), seed \(seed)")
            }
            count += expected.count
        }
        #expect(count > 50)
    }

    /// Database, name, value and deadline of all strings, and where each key is behind.
    private static func strings(
        of bytes: [UInt8], many: Bool, cuts: () -> Int
    ) throws -> [String] {
        var decoder = RDBDecoder()
        var found: [String] = []
        var current: RDBKey?
        var text: [UInt8] = []
        func add(_ database: UInt64, _ name: some Sequence<UInt8>, _ deadline: Int64?) {
            guard text.count <= RDBStrings.maxValueBytes else { return }
            let deadline = deadline.map { max(1, $0) } ?? 0
            found.append("\(database) \(Array(name)) \(text) \(deadline)")
        }
        var at = 0
        while at < bytes.count {
            let end = min(bytes.count, at + max(1, cuts()))
            decoder.feed(bytes[at..<end])
            at = end
            while true {
                let strings = many ? decoder.nextStrings() : RDBStrings()
                for index in 0..<strings.count {
                    let start = index == 0 ? 0 : strings.ends[2 * index - 1]
                    text = Array(
                        strings.bytes[strings.ends[2 * index]..<strings.ends[2 * index + 1]])
                    add(
                        strings.database, strings.bytes[start..<strings.ends[2 * index]],
                        strings.deadlines[index] == 0 ? nil : strings.deadlines[index])
                }
                guard let event = try decoder.next() else { break }
                switch event {
                case .keyStart(let key):
                    current = key
                    text = []
                case .elements where current?.kind == .string: text += decoder.chunk.text(0)
                case .keyEnd:
                    if let key = current, key.kind == .string {
                        add(key.database, key.name, key.deadlineMilliseconds)
                    }
                default: break
                }
            }
        }
        try decoder.finish()
        return found
    }

    @Test("Every strict prefix of a file is truncated, and gives no key that is not in the file")
    func prefixes() throws {
        for file in try Fixtures.files() {
            for count in 0..<file.bytes.count {
                var decoder = RDBDecoder()
                var transcript = Transcript()
                decoder.feed(file.bytes[..<count])
                while let event = try decoder.next() { transcript.add(event, decoder.chunk) }
                #expect(throws: RDBError.truncated(offset: UInt64(count))) { try decoder.finish() }
                #expect(file.lines.starts(with: transcript.lines), "\(file.name) to \(count)")
            }
        }
    }

    @Test("A flipped bit is an error or another content, and never a trap")
    func flippedBits() throws {
        var undetected: [String] = []
        for file in try Fixtures.files() {
            for index in file.bytes.indices {
                for bit in 0..<8 {
                    var bytes = file.bytes
                    bytes[index] ^= 1 << UInt8(bit)
                    guard let transcript = try? Transcript.of(bytes, cuts: { 64 }) else { continue }
                    if transcript.lines.last == "end verified" {
                        undetected.append("\(file.name):\(index).\(bit)")
                    }
                }
            }
        }
        #expect(undetected.isEmpty)
    }

    @Test("A decoder goes on at every key's end, and still verifies the checksum")
    func resume() throws {
        for file in try Fixtures.files() {
            var decoder = RDBDecoder()
            var transcript = Transcript()
            decoder.feed(file.bytes)
            while let event = try decoder.next() {
                transcript.add(event, decoder.chunk)
                guard case .keyEnd = event else { continue }
                let found = decoder.resumePoint()
                let point = try #require(found)
                var second = RDBDecoder(resumingAt: point)
                var rest = transcript
                second.feed(file.bytes[Int(point.offset)...])
                while let event = try second.next() { rest.add(event, second.chunk) }
                try second.finish()
                #expect(rest.lines == file.lines, "\(file.name) from \(point.offset)")
            }
        }
    }

    @Test("There is no point to go on at within a key, nor between its deadline and its name")
    func noResumePointWithinKey() throws {
        var decoder = RDBDecoder()
        #expect(Self.resumeOffset(of: decoder) == nil)
        decoder.feed("REDIS0009".utf8)
        _ = try decoder.next()
        #expect(Self.resumeOffset(of: decoder) == 9)
        decoder.feed([252, 1, 0, 0, 0, 0, 0, 0, 0])
        #expect(try decoder.next() == nil)
        #expect(Self.resumeOffset(of: decoder) == nil)
        decoder.feed([0, 1, 0x61, 1])
        #expect(try decoder.next() != nil)
        #expect(try decoder.next() == nil)
        #expect(Self.resumeOffset(of: decoder) == nil)
        decoder.feed([0x62])
        #expect(try decoder.next() == .elements)
        #expect(try decoder.next() == .keyEnd)
        #expect(Self.resumeOffset(of: decoder) == 23)
    }

    private static func resumeOffset(of decoder: RDBDecoder) -> UInt64? {
        var decoder = decoder
        return decoder.resumePoint()?.offset
    }

    @Test("What is not supported is refused by name")
    func refusals() {
        self.expect([UInt8]("REDIS0099".utf8), .unsupportedVersion(dialect: .redis, version: 99))
        self.expect([UInt8]("VALKEY081".utf8), .unsupportedVersion(dialect: .valkey, version: 81))
        self.expect([UInt8]("VCS".utf8) + [1, 1, 0, 1], .compressedEnvelope)
        self.expect([UInt8]("*3\r\n$3\r\n".utf8), .badMagic)
        let head = [UInt8]("REDIS0012".utf8)
        self.expect(
            head + [6, 1, 0x61],
            .unsupportedType(
                number: 6, name: "module value of the first format", key: [0x61], offset: 9))
        self.expect(
            head + [28, 1, 0x61],
            .unsupportedType(number: 28, name: "array of Redis 8.8", key: [0x61], offset: 9))
        self.expect(
            head + [243, 0],
            .unsupportedRecord(number: 243, name: "key metadata of Redis 8.6", offset: 9))
        self.expect(
            head + [210],
            .unsupportedRecord(
                number: 210, name: "private record of Dragonfly", offset: 9))
    }

    @Test("Bytes without a meaning are refused with their place")
    func damage() {
        let head = [UInt8]("REDIS0009".utf8)
        self.expect(head + [254, 0x90], .corrupt(.lengthByte, offset: 10))
        self.expect(head + [254, 0xc0], .corrupt(.encodedLength, offset: 10))
        self.expect(head + [0, 0xc4], .corrupt(.stringForm, offset: 10))
        // Three packed bytes that claim 4 GiB.
        self.expect(
            head + [0, 0xc3, 3, 0x80, 0xff, 0xff, 0xff, 0xff],
            .corrupt(.compressedString, offset: 17))
        self.expect(
            head + [0, 0x81, 0, 0, 0, 1, 0, 0, 0, 0],
            .elementTooLarge(sizeBytes: 1 << 32, limitBytes: 64 << 20, offset: 19))
        let odd: [UInt8] = [10, 0, 0, 0, 1, 0, 0x81, 0x66, 2, 0xff]
        self.expect(head + [16, 1, 0x61, 10] + odd, .corrupt(.oddEntries, offset: 12))
        let miscounted: [UInt8] = [10, 0, 0, 0, 2, 0, 0x81, 0x66, 2, 0xff]
        self.expect(head + [20, 1, 0x61, 10] + miscounted, .corrupt(.listpack, offset: 12))
    }

    private func expect(_ bytes: [UInt8], _ error: RDBError) {
        #expect(throws: error) { try Transcript.of(bytes) { 5 } }
    }

    @Test("An error is thrown again by every later call")
    func errorStays() {
        var decoder = RDBDecoder()
        decoder.feed("nothing".utf8)
        #expect(throws: RDBError.badMagic) { try decoder.next() }
        decoder.feed("REDIS0009".utf8)
        #expect(throws: RDBError.badMagic) { try decoder.next() }
        #expect(throws: RDBError.badMagic) { try decoder.finish() }
    }

    @Test("Bytes behind the end stay with the caller")
    func bytesBehindTheEnd() throws {
        var writer = RDBWriter()
        writer.end()
        var decoder = RDBDecoder()
        decoder.feed(Array(writer.takeBytes()) + Array("*1\r\n".utf8))
        #expect(try decoder.next() == .header(dialect: .redis, version: 9))
        #expect(try decoder.next() == .end(.verified))
        #expect(try decoder.next() == nil)
        try decoder.finish()
        #expect(Array(decoder.unreadBytes) == Array("*1\r\n".utf8))
    }

    @Test("A huge count with a short body waits for more and holds nothing")
    func hugeCount() throws {
        var decoder = RDBDecoder()
        decoder.feed("REDIS0009".utf8)
        decoder.feed([2, 1, 0x61, 0x81] + [UInt8](repeating: 0xff, count: 8) + [1, 0x62])
        _ = try decoder.next()
        guard case .keyStart = try decoder.next() else { throw RDBError.badMagic }
        #expect(try decoder.next() == nil)
        #expect(throws: RDBError.self) { try decoder.finish() }
    }

    @Test("A long string comes in pieces of bounded size, plain and compressed")
    func longStrings() throws {
        var dice = Dice(7)
        let value = (0..<300_000).map { _ in UInt8(dice.roll(256)) }
        var plain: [UInt8] = [0, 1, 0x61, 0x80]
        plain += withUnsafeBytes(of: UInt32(300_000).bigEndian, Array.init) + value
        // 1,000 times: one literal byte, then 264 repetitions of it.
        var compressed: [UInt8] = [0, 1, 0x62, 0xc3, 0x80]
        compressed += withUnsafeBytes(of: UInt32(5000).bigEndian, Array.init) + [0x80]
        compressed += withUnsafeBytes(of: UInt32(265_000).bigEndian, Array.init)
        var expected: [UInt8] = []
        for index in 0..<1000 {
            compressed += [0, UInt8(index % 251), 0xe0, 0xff, 0]
            expected += [UInt8](repeating: UInt8(index % 251), count: 265)
        }
        var decoder = RDBDecoder(limits: RDBLimits(maxElementBytes: 1000, maxChunkBytes: 10_000))
        var values: [[UInt8]] = []
        for byte in [[UInt8]("REDIS0009".utf8), plain, compressed].joined().chunks(of: 777) {
            decoder.feed(byte)
            while let event = try decoder.next() {
                if case .keyStart = event { values.append([]) }
                guard case .elements = event else { continue }
                #expect(decoder.chunk.bytes.count < 10_000 + 265)
                values[values.count - 1] += decoder.chunk.text(0)
            }
        }
        #expect(values.count == 2)
        #expect(values.first == value)
        #expect(values.last == expected)
    }

    @Test("Elements of one key come in chunks of at most 256")
    func chunks() throws {
        var writer = RDBWriter(version: 11)
        writer.beginKey([0x6b], kind: .hash, elementCount: 1000, deadlineMilliseconds: nil)
        for index in 0..<1000 {
            writer.append(field: Array("f\(index)".utf8), value: Array("v\(index)".utf8))
        }
        writer.end()
        var decoder = RDBDecoder()
        decoder.feed(writer.takeBytes())
        var counts: [Int] = []
        while let event = try decoder.next() {
            if case .elements = event { counts.append(decoder.chunk.elementCount) }
        }
        #expect(counts == [256, 256, 256, 232])
    }
}

extension Sequence<UInt8> {
    /// Pieces of `count` bytes.
    func chunks(of count: Int) -> [[UInt8]] {
        let all = Array(self)
        return stride(from: 0, to: all.count, by: count).map {
            Array(all[$0..<Swift.min(all.count, $0 + count)])
        }
    }
}
