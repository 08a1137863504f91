import Glibc
import TestKit
import Testing

private let codisPython = "/usr/bin/python3"

/// pika-migrate onto a stand-in for a Codis proxy, which refuses what such a proxy refuses.
@Suite(
    "pika-migrate onto a Codis proxy", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0),
    .enabled(if: access(codisPython, X_OK) == 0))
struct CodisProcessTests {
    /// The stand-in, in front of a world's target.
    private func proxy(_ world: MigrateWorld) throws -> MigrateChild {
        let script =
            #filePath.split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" }
            + "/migrate/codis_proxy.py"
        let port = try LoopbackPorts.next()
        let child = try MigrateChild(
            codisPython, ["-B", script, "\(port)", "\(world.target.port)"],
            directory: "\(world.directory)/proxy", port: port)
        try child.start()
        return child
    }

    private func write(_ client: BlockingClient, _ number: Int) {
        let commands: [[String]] = [
            ["INCR", "count:\(number % 7)"], ["RPUSH", "list:\(number % 5)", "\(number)"],
            ["RPOPLPUSH", "list:\(number % 5)", "list:\((number + 1) % 5)"],
            ["ZINCRBY", "scores", "1", "m\(number % 11)"],
            ["MSET", "a:\(number % 13)", "\(number)", "b:\(number % 17)", "\(number)"],
            ["DEL", "a:\(number % 5)", "b:\(number % 5)", "old:\(number)"],
            ["UNLINK", "a:\(number % 9)", "b:\(number % 9)"],
            ["SADD", "set:\(number % 5)", "\(number)"],
            ["SUNIONSTORE", "union", "set:\(number % 5)", "set:\((number + 1) % 5)"],
            ["SMOVE", "set:\(number % 5)", "set:\((number + 2) % 5)", "\(number)"],
            ["MULTI"], ["INCR", "t:\(number % 3)"], ["INCR", "u:\(number % 3)"], ["EXEC"],
            ["SET", "from", "\(number)"], ["RENAME", "from", "to:\(number % 5)"],
            ["SET", "soon:\(number % 5)", "v", "EX", "3600"], ["PUBLISH", "c", "m"],
            ["ZADD", "scores", "GT", "CH", "\(number)", "m1"],
        ]
        for command in commands { #expect(client.send(command)) }
        for _ in commands { _ = client.receive() }
    }

    @Test(
        "Writes of many slots, a kill and an emptied database arrive, and nothing is refused",
        .timeLimit(.minutes(3)))
    func live() throws {
        let world = try MigrateWorld()
        let proxy = try self.proxy(world)
        let client = try #require(BlockingClient(port: world.source.port))
        for number in 0..<300 { #expect(client.send(["SET", "old:\(number)", "\(number)"])) }
        for _ in 0..<300 { _ = client.receive() }
        let target = "target.url=codis://127.0.0.1:\(proxy.port)"
        try world.start("--set", target)
        try world.waitUntilEqual(seconds: 60)
        for number in 0..<250 {
            self.write(client, number)
            if number % 100 == 60 {
                world.tool.kill()
                try world.start("--set", target)
            }
        }
        try world.waitUntilEqual(seconds: 60)
        let asked = proxy.log.split(separator: "\n").filter { $0.hasPrefix("refused") }
        // The tool asks which commands there are; what it found it does not send.
        let probes = asked.filter { $0.hasSuffix("is not allowed") }
        #expect(asked.count == probes.count, "\(Set(asked))")
        #expect(probes.count < 40, "\(probes.count)")

        #expect(client.call("FLUSHALL") == .text("OK"))
        for number in 250..<260 { self.write(client, number) }
        try world.waitUntilEqual(seconds: 60)
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
    }

    @Test("A proxy with keys behind it is refused with code 4, or emptied if that is asked for")
    func nonEmpty() throws {
        let world = try MigrateWorld()
        let proxy = try self.proxy(world)
        let target = try #require(BlockingClient(port: world.target.port))
        #expect(target.call("SET", "mine", "1") == .text("OK"))
        let client = try #require(BlockingClient(port: world.source.port))
        self.write(client, 1)
        let url = ["--set", "target.url=codis://127.0.0.1:\(proxy.port)"]
        #expect(try world.tool(directory: "other", url).waitForExit() == 4)
        #expect(target.call("EXISTS", "mine") == .integer(1))
        try world.start(url[0], url[1], "--set", "target.on-nonempty=flush")
        try world.waitUntilEqual(seconds: 30)
        #expect(target.call("EXISTS", "mine") == .integer(0))
    }
}
