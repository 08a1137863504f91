import Glibc
import Testing

/// pika-migrate from a redis-server that must not make a snapshot.
@Suite(
    "pika-migrate by cursor", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct ScanProcessTests {
    private func write(_ client: BlockingClient, _ number: Int) {
        let commands: [[String]] = [
            ["SELECT", number % 9 == 0 ? "3" : "0"], ["INCR", "count:\(number % 7)"],
            ["RPUSH", "list:\(number % 5)", "\(number)"],
            ["RPOPLPUSH", "list:\(number % 5)", "list:\((number + 1) % 5)"],
            ["SET", "key:\(number * 7 % 4_000)", "new"], ["DEL", "key:\(number * 11 % 4_000)"],
            ["ZINCRBY", "scores", "1", "m\(number % 11)"],
        ]
        for command in commands { #expect(client.send(command)) }
        for _ in commands { _ = client.receive() }
    }

    @Test(
        "A copy without a fork, with writes and kills in the middle, loses and doubles nothing",
        .timeLimit(.minutes(3)))
    func copy() throws {
        let world = try ClusterWorld(masters: 0, replicasOfFirst: 0)
        let source = try world.server()
        let target = try world.server()
        let client = try #require(BlockingClient(port: source.port))
        for number in 0..<4_000 { #expect(client.send(["SET", "key:\(number)", "\(number)"])) }
        for _ in 0..<4_000 { _ = client.receive() }
        #expect(client.send(["RPUSH", "long"] + (0..<20_000).map { "\($0)" }))
        #expect(client.receive() == .integer(20_000))
        for number in 0..<50 { self.write(client, number) }
        func start() throws -> MigrateChild {
            try world.tool(
                from: "scan://127.0.0.1:\(source.port)", to: "redis://127.0.0.1:\(target.port)",
                directory: "job", ["--set", "limit.snapshot-keys=3000"])
        }
        var tool = try start()
        for number in 50..<900 {
            self.write(client, number)
            if number % 300 == 200 {
                tool.kill()
                tool = try start()
            }
            usleep(2_000)
        }
        try world.waitUntilEqual([source.port], [target.port], tool)
        let third = [source.port, target.port].map { port -> BlockingClient.Reply? in
            let client = BlockingClient(port: port)
            _ = client?.call("SELECT", "3")
            return client?.call("LRANGE", "list:4", "0", "-1")
        }
        #expect(third[0] == third[1])
        guard case .bulk(let stats?)? = client.call("INFO", "stats") else { return }
        // One snapshot without keys, for the backlog.
        #expect(stats.contains("sync_full:1"), "\(stats)")
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
    }
}
