import Glibc
import Testing

/// kill -9 of a real process while it makes large collections, whose elements go into the stores in
/// slices before their commit.
@Suite("Kill -9 while large collections are made", .serialized)
struct StoreKillTests {
    private static let members = 3000

    /// A command that makes the key of a round's n-th turn, and how to count and add to it.
    private struct Maker {
        var name: String
        var command: [String]
        var count: String
        var add: [String]
    }

    private static func maker(_ number: Int) -> Maker {
        let name = "made:\(number)"
        switch number % 4 {
        case 0:
            return Maker(
                name: name, command: ["SUNIONSTORE", name, "set"], count: "SCARD",
                add: ["SADD", name, "new"])
        case 1:
            return Maker(
                name: name, command: ["ZUNIONSTORE", name, "1", "zset"], count: "ZCARD",
                add: ["ZADD", name, "1", "new"])
        case 2:
            return Maker(
                name: name, command: ["COPY", "hash", name], count: "HLEN",
                add: ["HSET", name, "new", "v"])
        default:
            return Maker(
                name: name, command: ["SORT", "set", "ALPHA", "STORE", name], count: "LLEN",
                add: ["RPUSH", name, "new"])
        }
    }

    private static func fill(_ client: BlockingClient) {
        for start in stride(from: 0, to: members, by: 1000) {
            let names = (start..<start + 1000).map { "member:\($0)" }
            _ = client.send(["SADD", "set"] + names)
            _ = client.receive()
            _ = client.send(["ZADD", "zset"] + names.flatMap { ["1", $0] })
            _ = client.receive()
            _ = client.send(["HSET", "hash"] + names.flatMap { [$0, "v"] })
            _ = client.receive()
        }
    }

    @Test("Each one is whole or not there, and what was acknowledged is whole")
    func killed() throws {
        var random = CrashRandom(seed: 0x5EED)
        // Small memtables: slices are in files before their commit.
        let pika = try PikaProcess(["write-buffer-size : 1048576", "thread-num : 1"])
        try pika.start()
        Self.fill(try #require(BlockingClient(port: pika.port)))
        var number = 0
        var wholeCount = 0
        for _ in 0..<4 {
            let client = try #require(BlockingClient(port: pika.port))
            let first = number
            // All but the last one are acknowledged; the kill comes somewhere in that one.
            for _ in 0..<Int.random(in: 1...2, using: &random) {
                #expect(client.send(Self.maker(number).command))
                #expect(client.receive() == .integer(Self.members) || number % 4 == 2)
                number += 1
            }
            #expect(client.send(Self.maker(number).command))
            number += 1
            usleep(UInt32.random(in: 0...150_000, using: &random))
            pika.kill()
            try pika.start()
            let again = try #require(BlockingClient(port: pika.port))
            for index in first..<number {
                let maker = Self.maker(index)
                let count = again.call(maker.count, maker.name)
                let isLast = index == number - 1
                #expect(
                    count == .integer(Self.members) || isLast && count == .integer(0),
                    "\(maker.command): \(String(describing: count))")
                if count == .integer(Self.members) { wholeCount += 1 }
                let before = count == .integer(0) ? 0 : Self.members
                #expect(again.send(maker.add))
                _ = again.receive()
                #expect(again.call(maker.count, maker.name) == .integer(before + 1))
                if isLast { #expect(Self.elementCount(again, maker) == before + 1) }
            }
        }
        print("\(number) collections, \(wholeCount) whole")
    }

    /// How many elements a reader finds.
    private static func elementCount(_ client: BlockingClient, _ maker: Maker) -> Int? {
        let reply =
            switch maker.count {
            case "SCARD": client.call("SMEMBERS", maker.name)
            case "ZCARD": client.call("ZRANGE", maker.name, "0", "-1")
            case "HLEN": client.call("HKEYS", maker.name)
            default: client.call("LRANGE", maker.name, "0", "-1")
            }
        guard case .array(let elements?) = reply else { return nil }
        return elements.count
    }
}
