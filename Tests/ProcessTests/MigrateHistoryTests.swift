import Foundation
import Glibc
import TestKit
import Testing

/// Much is in the spool that can't be carried over as it is: its keys are read from the source.
@Suite(
    "pika-migrate with a spool full of what must be read", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateHistoryTests {
    private static let count = 2_000

    /// A job from a Redis to ours that is paused behind the copy of these keys.
    private func pausedWorld(
        _ keys: [String]
    ) throws -> (world: MigrateWorld, target: PikaProcess, settings: [String]) {
        let world = try MigrateWorld(persistent: true)
        let target = try PikaProcess(["databases : 1"])
        try target.start()
        let client = try #require(BlockingClient(port: world.source.port))
        try Self.pipeline(keys.map { ["SET", $0, "1"] }, client)
        // One worker: nothing but the reading itself takes time.
        let settings = ["target.url=pika://127.0.0.1:\(target.port)", "target.connections=1"]
            .flatMap { ["--set", $0] }
        try world.start(settings)
        let other = try #require(BlockingClient(port: target.port))
        try world.wait("the copy") { other.call("EXISTS", keys[keys.count - 1]) == .integer(1) }
        try world.wait("the stream") {
            try world.ask("status").text.contains("\"phase\":\"streaming\"")
        }
        #expect(try world.ask("pause").code == 0)
        return (world, target, settings)
    }

    private static func pipeline(_ commands: [[String]], _ client: BlockingClient) throws {
        for start in stride(from: 0, to: commands.count, by: 500) {
            let part = commands[start..<min(start + 500, commands.count)]
            for command in part { try #require(client.send(command)) }
            for command in part { #expect(client.receive() == .text("OK"), "\(command)") }
        }
    }

    /// Waits until the spool has all that the source has.
    private func waitUntilSpooled(_ world: MigrateWorld) throws {
        try world.wait("the spool") {
            let place = world.figure("slave0")?.split(separator: ",")
                .first { $0.hasPrefix("offset=") }
                .flatMap { UInt64($0.dropFirst("offset=".count)) }
            guard let end = world.figure("master_repl_offset").flatMap({ UInt64($0) }) else {
                return false
            }
            return place ?? 0 >= end
        }
    }

    private static func refreshedKeys(_ text: String) -> Int? {
        text.components(separatedBy: "\"refreshed_keys_total\":").last
            .flatMap { Int($0.prefix(while: \.isNumber)) }
    }

    @Test("R7: what is left of an old history is applied without reading each unit's keys")
    func newHistory() throws {
        let (world, target, _) = try self.pausedWorld(["a", "c"])
        var client = try #require(BlockingClient(port: world.source.port))
        let there = [["RENAME", "a", "b"], ["RENAME", "b", "a"]]
        try Self.pipeline((0..<Self.count).flatMap { _ in there }, client)
        try self.waitUntilSpooled(world)
        world.source.kill()
        try world.source.start()
        client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("SET", "a", "2") == .text("OK"))
        #expect(client.call("DEL", "c") == .integer(1))
        #expect(try world.ask("resume").code == 0)
        let other = try #require(BlockingClient(port: target.port))
        try world.wait("the new history") {
            other.call("GET", "a") == .bulk("2") && other.call("EXISTS", "b", "c") == .integer(0)
        }
        try world.wait("the stream") {
            try world.ask("status").text.contains("\"phase\":\"streaming\"")
        }
        let read = try #require(Self.refreshedKeys(try world.ask("status").text))
        #expect(read < 20, "\(read) keys were read\n\(world.tool.logTail)")
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
    }

    @Test("M9: SIGTERM ends behind the unit under way, not behind all that was read of the spool")
    func stopped() throws {
        let keys = (0..<Self.count).map { "k:\($0)" }
        let (world, target, settings) = try self.pausedWorld(keys)
        let client = try #require(BlockingClient(port: world.source.port))
        try Self.pipeline(keys.map { ["RENAME", $0, "new:\($0)"] }, client)
        try self.waitUntilSpooled(world)
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
        let read = try #require(Self.refreshedKeys(world.tool.log))
        #expect(read < 20, "\(read) keys were read\n\(world.tool.logTail)")
        // The rest is carried over by the next run.
        try world.start(settings)
        let other = try #require(BlockingClient(port: target.port))
        for key in [keys[0], keys[Self.count - 1]] {
            try world.wait(key) {
                other.call("EXISTS", "new:\(key)") == .integer(1)
                    && other.call("EXISTS", key) == .integer(0)
            }
        }
        world.tool.kill()
    }
}
