import Glibc
import Testing

/// A source that forgives little: small buffers, short patience.
@Suite(
    "A target in trouble does not reach the source", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct SourceSafetyTests {
    private static let valueBytes = 16_384
    private static let outputLimit = "4mb"
    private static let timeoutSeconds = 4

    private func world() throws -> MigrateWorld {
        try MigrateWorld(
            persistent: true,
            sourceOptions: [
                "--client-output-buffer-limit", "replica \(Self.outputLimit) \(Self.outputLimit) 0",
                "--repl-timeout", "\(Self.timeoutSeconds)", "--repl-backlog-size", "16kb",
                "--repl-ping-replica-period", "1",
            ])
    }

    /// Writes for so long, about 5 MB a second.
    private func write(_ world: MigrateWorld, milliseconds: Int) throws {
        let client = try #require(BlockingClient(port: world.source.port))
        let value = String(repeating: "v", count: Self.valueBytes)
        for number in 0..<milliseconds / 3 {
            #expect(client.call("SET", "big:\(number % 50)", value) == .text("OK"))
            _ = client.call("INCR", "count")
            usleep(3_000)
        }
    }

    private func figure(_ name: String, _ world: MigrateWorld) throws -> String? {
        let client = try #require(BlockingClient(port: world.source.port))
        guard case .bulk(let info?) = client.call("INFO") else { return nil }
        return info.split(whereSeparator: \.isNewline)
            .first { $0.hasPrefix("\(name):") }.map { String($0.dropFirst(name.count + 1)) }
    }

    @Test("A target hangs, then dies, for longer than the source's limits: one link, one copy")
    func stalledTarget() throws {
        let world = try self.world()
        try world.start()
        try self.write(world, milliseconds: 30)
        try world.waitUntilEqual(seconds: 30)
        world.target.signal(SIGSTOP)
        // More than the output buffer and the sockets hold, for longer than repl-timeout.
        try self.write(world, milliseconds: Self.timeoutSeconds * 1_000 + 2_000)
        #expect(try self.figure("connected_slaves", world) == "1")
        world.target.signal(SIGCONT)
        world.target.kill()
        try self.write(world, milliseconds: 1_000)
        try world.target.start()
        try world.waitUntilEqual(seconds: 60)
        // One copy in all; the link was never made anew.
        #expect(try self.figure("sync_full", world) == "1")
        #expect(try self.figure("sync_partial_ok", world) == "0")
        #expect(try self.figure("sync_partial_err", world) == "0")
    }
}
