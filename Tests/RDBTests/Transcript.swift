import Foundation
import RDB
import Testing

/// What a file holds, as the lines of `Fixtures/rdb-events.txt`.
struct Transcript {
    private(set) var lines: [String] = []
    private var key: RDBKey?
    private var content: [String] = []
    private var text: [UInt8] = []

    /// Decodes `bytes`, fed in pieces that `cuts` gives the lengths of, one after the other.
    static func of(
        _ bytes: [UInt8], limits: RDBLimits = RDBLimits(), cuts: () -> Int
    ) throws(RDBError) -> Transcript {
        var decoder = RDBDecoder(limits: limits)
        var transcript = Transcript()
        var at = 0
        while at < bytes.count {
            let end = min(bytes.count, at + max(1, cuts()))
            decoder.feed(bytes[at..<end])
            at = end
            while let event = try decoder.next() { transcript.add(event, decoder.chunk) }
        }
        try decoder.finish()
        return transcript
    }

    mutating func add(_ event: RDBEvent, _ chunk: RDBChunk) {
        switch event {
        case .header(let dialect, let version): self.lines.append("header \(dialect) \(version)")
        case .auxiliary(let name, let value):
            self.lines.append("aux \(Self.hex(name)) \(Self.hex(value))")
        case .selectDatabase(let database): self.lines.append("select \(database)")
        case .resizeDatabase(let keys, let expiring):
            self.lines.append("resize \(keys) \(expiring)")
        case .slotInfo(let slot, let keys, let expiring):
            self.lines.append("slot \(slot) \(keys) \(expiring)")
        case .keyStart(let key):
            self.key = key
            self.content = []
            self.text = []
        case .elements: self.addElements(chunk)
        case .keyEnd: self.endKey()
        case .function(let source): self.lines.append("function \(Self.hex(source))")
        case .moduleAuxiliary(let name): self.lines.append("moduleaux \(name)")
        case .slotImport: self.lines.append("slot import")
        case .end(let checksum): self.lines.append("end \(checksum)")
        }
    }

    private mutating func addElements(_ chunk: RDBChunk) {
        guard let key else { return }
        switch key.kind {
        case .string: self.text += chunk.text(0)
        case .list, .set: self.content += chunk.slices.indices.map { Self.hex(chunk.text($0)) }
        case .sortedSet:
            self.content += chunk.slices.indices.map {
                Self.scored(chunk.text($0), chunk.scores[$0])
            }
        case .hash:
            self.content += (0..<chunk.elementCount).map { index in
                let deadline = chunk.deadlines.isEmpty ? 0 : chunk.deadlines[index]
                return Self.field(chunk.text(2 * index), chunk.text(2 * index + 1), deadline)
            }
        case .stream, .module: break
        }
    }

    private mutating func endKey() {
        guard let key else { return }
        let deadline = key.deadlineMilliseconds.map(String.init) ?? "-"
        let idle = key.idleSeconds.map(String.init) ?? "-"
        let frequency = key.frequency.map(String.init) ?? "-"
        var value = "\(key.kind)"
        switch key.kind {
        case .string: value += " " + Self.hex(self.text)
        case .module: value += " " + (key.moduleName ?? "")
        case .stream: break
        default: value += " " + self.content.joined(separator: ",")
        }
        self.lines.append(
            "key \(key.database) \(Self.hex(key.name)) type \(key.encoding) "
                + "deadline \(deadline) idle \(idle) frequency \(frequency): \(value)")
        self.key = nil
    }

    static func hex(_ bytes: [UInt8]) -> String {
        if bytes.isEmpty { return "-" }
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] },
            as: UTF8.self)
    }

    static func bytes(_ hex: some StringProtocol) -> [UInt8] {
        let digits = Array(hex.utf8).map { $0 < 0x3a ? $0 - 0x30 : $0 - 0x57 }
        return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    static func scored(_ member: [UInt8], _ score: Double) -> String {
        let bits = String(score.bitPattern, radix: 16)
        return Self.hex(member) + "=" + String(repeating: "0", count: 16 - bits.count) + bits
    }

    static func field(_ field: [UInt8], _ value: [UInt8], _ deadline: Int64) -> String {
        Self.hex(field) + "=" + Self.hex(value) + (deadline > 0 ? "@\(deadline)" : "")
    }

    static func of(_ value: DumpValue) -> String {
        switch value {
        case .string(let text): "string " + Self.hex(text)
        case .list(let texts): "list " + texts.map(Self.hex).joined(separator: ",")
        case .set(let texts): "set " + texts.map(Self.hex).joined(separator: ",")
        case .sortedSet(let scores):
            "sortedSet "
                + scores.map { Self.scored($0.member, $0.score) }.joined(separator: ",")
        case .hash(let fields):
            "hash "
                + fields.map { Self.field($0.field, $0.value, $0.deadlineMilliseconds ?? 0) }
                .joined(separator: ",")
        }
    }
}

/// The recorded files.
enum Fixtures {
    static func text(_ name: String) throws -> String {
        String(decoding: try Self.bytes(name), as: UTF8.self)
    }

    static func bytes(_ name: String) throws -> [UInt8] {
        let url = try #require(Bundle.module.resourceURL).appendingPathComponent("Fixtures/\(name)")
        return [UInt8](try Data(contentsOf: url))
    }

    /// Files and what they hold, line by line.
    static func files() throws -> [(name: String, bytes: [UInt8], lines: [String])] {
        var files: [(name: String, bytes: [UInt8], lines: [String])] = []
        for line in try Self.text("rdb-events.txt").split(separator: "\n") {
            if line.hasPrefix("file ") {
                let name = String(line.dropFirst(5))
                files.append((name, try Self.bytes(name), []))
            } else {
                files[files.count - 1].lines.append(String(line))
            }
        }
        return files
    }

    /// Cases, payloads and what they hold.
    static func payloads() throws -> [(name: String, bytes: [UInt8], content: String)] {
        try Self.text("dump-payloads.tsv").split(separator: "\n").map { line in
            let columns = line.split(separator: "\t", omittingEmptySubsequences: false)
            return (
                "\(columns[0]) \(columns[1])", Transcript.bytes(columns[2]), String(columns[3])
            )
        }
    }
}

/// Small numbers that are the same in every run.
struct Dice {
    private var state: UInt64

    init(_ seed: UInt64) { self.state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func roll(_ sides: Int) -> Int {
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return Int(self.state % UInt64(sides))
    }
}
