import Glibc
import Testing

@Suite(
    "Limits and status of a running pika-migrate", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateLimitTests {
    private static let keys = 3_000
    private static let keysPerSecond = 200

    private func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    @Test("A copy keeps to its limit, another shell sees it, and lifts it at once")
    func live() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        for number in 0..<Self.keys {
            #expect(client.call("SET", "key:\(number)", "x") == .text("OK"))
        }
        let began = self.seconds()
        try world.start("--set", "limit.snapshot-keys=\(Self.keysPerSecond)")
        let target = try #require(BlockingClient(port: world.target.port))
        var count = 0
        for _ in 0..<6_000 where count < 300 {
            usleep(10_000)
            guard case .integer(let found)? = target.call("DBSIZE") else { continue }
            count = found
            // One handing over of keys at most goes beyond what the time allows.
            let allowed = Double(Self.keysPerSecond) * (self.seconds() - began)
            #expect(Double(count) <= allowed + Self.bulkKeys, "after \(allowed)")
        }
        #expect(count >= 300)
        let status = try world.ask("status")
        #expect(status.code == 0)
        #expect(status.text.contains("\"snapshot-keys\":\(Self.keysPerSecond)"), "\(status.text)")
        #expect(try world.ask("limit", "snapshot-keys", "none").code == 2)
        #expect(try world.ask("limit", "keys", "1").code == 2)
        #expect(try world.ask("limit", "snapshot-keys", "0").text.contains("\"snapshot-keys\":0"))
        try world.waitUntilEqual(seconds: 60)
        let metrics = try world.ask("status", "--metrics")
        #expect(metrics.text.contains("\npika_migrate_keys_total{type=\"string\"} \(Self.keys)\n"))
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
    }

    /// Keys in one handing over of each of the workers, and the bucket's burst.
    private static let bulkKeys = 100.0
}

extension MigrateWorld {
    /// Runs a command of the tool on the job that `start` began; its exit code and its output.
    func ask(_ words: String...) throws -> (code: Int32, text: String) { try self.ask(words) }

    func ask(_ words: [String]) throws -> (code: Int32, text: String) {
        let child = try MigrateChild(
            PikaProcess.executable + "-migrate", words + ["--dir", "\(self.directory)/job"],
            directory: "\(self.directory)/ask-\(UInt64.random(in: 0...UInt64.max))", port: nil)
        try child.launch()
        let code = child.waitForExit()
        let text = child.log
        child.removeDirectory()
        return (code, text)
    }
}
