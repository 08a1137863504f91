import MigrateCore
import Testing

@Suite("A long string on its way to a target")
struct LongStringTests {
    private static let key = Array("big".utf8)
    private static let chunkBytes = 256 * 1_024
    /// A command's frame: name, key, lengths, a deadline.
    private static let frameBytes = 1_024
    private static let chunks = 40

    private static func chunk(_ number: Int, of count: Int) -> ElementChunk {
        var chunk = ElementChunk()
        chunk.append([UInt8](repeating: UInt8(number % 251), count: Self.chunkBytes))
        chunk.wholeBytes = UInt64(count * Self.chunkBytes)
        return chunk
    }

    /// What each call of the writer gives, taken at once as the engine does.
    private static func write(
        to target: TargetCapabilities, deadline: Int64? = nil, replaces: Bool = false,
        chunks: Int = Self.chunks
    ) throws -> [CommandBuffer] {
        var writer = ValueWriter(target, PlanPolicy())
        var head = KeyHead(database: 0, name: Self.key, kind: .string)
        head.deadlineMilliseconds = deadline
        var buffers = [CommandBuffer()]
        try writer.begin(
            head, key: Self.key, replaces: replaces, now: 0, into: &buffers[0])
        for number in 0..<chunks {
            var buffer = CommandBuffer()
            try writer.append(Self.chunk(number, of: chunks), into: &buffer)
            buffers.append(buffer)
        }
        var last = CommandBuffer()
        try writer.end(into: &last)
        return buffers + [last]
    }

    private static func capabilities(_ product: TargetCapabilities.Product) -> TargetCapabilities {
        var target = TargetCapabilities(product: product, version: "1")
        target.hasModernSet = product == .redis
        target.hasSecondDeadlines = product != .redis
        target.keepsTypesApart = product != .redis
        return target
    }

    /// The commands that the target reads out of all buffers.
    private static func commands(_ buffers: [CommandBuffer]) -> [[[UInt8]]] {
        var all = CommandBuffer()
        for buffer in buffers { all.append(buffer) }
        #expect(!all.isOpen)
        var walk = CommandWalk(all)
        var commands: [[[UInt8]]] = []
        while let command = walk.next() {
            var words: [[UInt8]] = []
            var at = command.body.lowerBound
            while at < command.body.upperBound {
                let end = all.bytes[at...].firstIndex(of: 13) ?? at
                let text = String(decoding: all.bytes[(at + 1)..<end], as: UTF8.self)
                let size = Int(text) ?? 0
                words.append(Array(all.bytes[(end + 2)..<(end + 2 + size)]))
                at = end + 2 + size + 2
            }
            commands.append(words)
        }
        #expect(commands.count == all.commandCount)
        return commands
    }

    private static let value = (0..<Self.chunks).flatMap {
        [UInt8](repeating: UInt8($0 % 251), count: Self.chunkBytes)
    }

    @Test(
        "No buffer holds more of a string than a chunk, and the target reads one command",
        arguments: [TargetCapabilities.Product.ours, .pika, .codis])
    func pieces(_ product: TargetCapabilities.Product) throws {
        let buffers = try Self.write(to: Self.capabilities(product), replaces: true)
        for buffer in buffers {
            #expect(buffer.bytes.count <= Self.chunkBytes + Self.frameBytes)
        }
        // One reply for `DEL`, one for `SET`, where it ends.
        #expect(buffers.dropLast().map(\.commandCount).reduce(0, +) == 1)
        #expect(buffers.last?.commandCount == 1)
        #expect(buffers.last?.continuation?.key == Self.key)
        #expect(buffers.last?.continuation?.byteCount == 2)
        let set = [Array("SET".utf8), Self.key, Self.value]
        #expect(Self.commands(buffers) == [[Array("DEL".utf8), Self.key], set])
    }

    @Test("A deadline goes with the value, and is not said twice")
    func deadline() throws {
        let buffers = try Self.write(
            to: Self.capabilities(.ours), deadline: 1_900_000_000_000)
        let expected = [
            Array("PKSETEXAT".utf8), Self.key, Array("1900000000".utf8), Self.value,
        ]
        #expect(Self.commands(buffers) == [expected])
    }

    @Test("A Redis gets SET and APPEND, none of which is longer than a piece and a chunk")
    func redis() throws {
        let buffers = try Self.write(to: Self.capabilities(.redis))
        let commands = Self.commands(buffers)
        #expect(commands.first?.first == Array("SET".utf8))
        #expect(commands.dropFirst().allSatisfy { $0.first == Array("APPEND".utf8) })
        #expect(commands.allSatisfy { $0[2].count <= (1 << 20) + Self.chunkBytes })
        #expect(commands.flatMap { $0[2] } == Self.value)
    }

    @Test("A string that does not fit the target is refused before any of it is sent")
    func tooLong() {
        var target = Self.capabilities(.pika)
        target.maxRequestBytes = 4 << 20
        #expect(throws: PlanRefusal.self) {
            var writer = ValueWriter(target, PlanPolicy())
            var buffer = CommandBuffer()
            let head = KeyHead(database: 0, name: Self.key, kind: .string)
            try writer.begin(head, key: Self.key, replaces: false, now: 0, into: &buffer)
            try writer.append(Self.chunk(0, of: 17), into: &buffer)
        }
    }

    @Test("Buffers of an open command join, and tell what belongs to it")
    func joined() throws {
        let buffers = try Self.write(to: Self.capabilities(.ours), chunks: 6)
        var tail = CommandBuffer()
        for buffer in buffers[2...] { tail.append(buffer) }
        #expect(tail.commandCount == 1)
        #expect(tail.continuation?.byteCount == 5 * Self.chunkBytes + 2)
        tail.append(["PING"])
        #expect(tail.continuation?.byteCount == 5 * Self.chunkBytes + 2)
        #expect(tail.commandCount == 2)
    }
}
