import Glibc
import Testing

/// What users of other tools suffer from, one test a row.
@Suite(
    "What pika-migrate is immune to", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateNeedsTests {
    @Test("M5: a string of 150 MB and a list of 200,000 elements pass through bounded memory")
    func bigKeys() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        let size = 150 << 20
        #expect(client.call("SETRANGE", "big", "\(size - 3)", "end") == .integer(size))
        #expect(client.call("PEXPIREAT", "big", "4102444800000") == .integer(1))
        let script =
            "for i=1,200000 do redis.call('RPUSH','list','element number '..i) end return 1"
        #expect(client.call("EVAL", script, "0") == .integer(1))
        try world.start()
        let target = try #require(BlockingClient(port: world.target.port))
        let isThere = Self.wait {
            target.call("STRLEN", "big") == .integer(size)
                && target.call("LLEN", "list") == .integer(200_000)
                && target.call("PEXPIRETIME", "big") == .integer(4_102_444_800_000)
        }
        #expect(isThere, "\(world.tool.logTail)")
        #expect(target.call("GETRANGE", "big", "\(size - 4)", "-1") == .bulk("\0end"))
        #expect(target.call("LINDEX", "list", "123456") == .bulk("element number 123457"))
        let peak = try #require(world.tool.peakMemory)
        #expect(peak < 256 << 20, "\(peak) bytes")
    }

    @Test("M8: bytes of any value survive in names, values, fields and members")
    func binary() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        func write(_ number: Int) {
            let text = "\0a\r\n$3\r\n\u{1}\(number)\0"
            #expect(client.call("SET", "string\0\(number)", text) == .text("OK"))
            #expect(client.call("RPUSH", "list\0", text, "") == .integer(2 * number))
            #expect(client.call("ZADD", "zset\0", "-0.1", text) == .integer(1))
        }
        write(1)
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        write(2)
        try world.waitUntilEqual(seconds: 30)
    }

    @Test("R5: a target that closes idle links, and links that are cut, cost nothing but time")
    func idle() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        let target = try #require(BlockingClient(port: world.target.port))
        try world.start()
        for round in 1...8 {
            for number in 0..<50 {
                let count = (round - 1) * 50 + number + 1
                #expect(client.call("RPUSH", "list", "\(count)") == .integer(count))
                #expect(client.call("INCR", "count") == .integer(count))
            }
            // The client's own connection stays.
            _ = target.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            if round % 2 == 0 { _ = client.call("CLIENT", "KILL", "TYPE", "replica") }
        }
        try world.waitUntilEqual(seconds: 30)
        #expect(target.call("GET", "count") == .bulk("400"))
    }

    private static func wait(_ condition: () -> Bool) -> Bool {
        for _ in 0..<600 {
            if condition() { return true }
            usleep(200_000)
        }
        return false
    }
}
