import Foundation
import Glibc
import TestKit
import Testing

/// What went wrong once, between processes.
@Suite(
    "Faults of pika-migrate that must not come back", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateFaultTests {
    private static let names = 400
    private static let value = String(repeating: "v", count: 2_000)

    /// A server of ours with names that hold all five types.
    private func severalTypes() throws -> PikaProcess {
        let source = try PikaProcess(["databases : 1"])
        try source.start()
        let client = try #require(BlockingClient(port: source.port))
        for number in 0..<Self.names {
            let key = "key:\(number)"
            let commands = [
                ["SET", key, Self.value], ["HSET", key, "f\(number)", Self.value],
                ["RPUSH", key, "a", Self.value, "a"], ["ZADD", key, "1.5", Self.value],
                ["SADD", key, Self.value, "\(number)"],
            ]
            for command in commands { #expect(client.send(command)) }
            for _ in commands { _ = client.receive() }
        }
        return source
    }

    @Test(
        "M6: names that hold five types hold them over kills in the middle of the copy",
        .enabled(if: access(Comparer.python, X_OK) == 0))
    func severalTypesResumed() throws {
        let world = try MigrateWorld()
        let source = try self.severalTypes()
        let target = try PikaProcess(["databases : 1"])
        try target.start()
        let client = try #require(BlockingClient(port: target.port))
        func tool() throws -> MigrateChild {
            try world.tool(
                directory: "types",
                [
                    "--set", "source.url=pika://127.0.0.1:\(source.port)", "--set",
                    "target.url=pika://127.0.0.1:\(target.port)", "--set",
                    "limit.snapshot-keys=600",
                ])
        }
        var child = try tool()
        // The kinds come one behind the other: killed in the middle of lists, then of sets.
        for (count, key) in [("LLEN", "key:250"), ("SCARD", "key:300")] {
            try world.wait("\(count) \(key)") {
                if case .integer(let number)? = client.call(count, key) { return number > 0 }
                return false
            }
            child.kill()
            child = try tool()
        }
        try Comparer.waitUntilEqual(source.port, target.port, child)
        #expect(child.isRunning)
        child.kill()
    }

    @Test("M6: a Redis gets the first type of a name, or the run says which name has several")
    func severalTypesForRedis() throws {
        let world = try MigrateWorld()
        let source = try self.severalTypes()
        let target = try #require(BlockingClient(port: world.target.port))
        let from = ["--set", "source.url=pika://127.0.0.1:\(source.port)"]
        let refused = try world.tool(directory: "refused", from)
        #expect(refused.waitForExit() == 5)
        #expect(refused.log.contains("holds string and hash"), "\(refused.logTail)")
        #expect(target.call("FLUSHALL") == .text("OK"))
        let child = try world.tool(
            directory: "first", from + ["--set", "policy.same-name=first"])
        try world.wait("all names") { target.call("DBSIZE") == .integer(Self.names + 1) }
        #expect(target.call("TYPE", "key:7") == .text("string"))
        // A stream's command for another type is rejected, as by any Redis: read instead, it is right.
        let client = try #require(BlockingClient(port: source.port))
        #expect(client.call("DEL", "key:7") != nil)
        #expect(client.call("RPUSH", "key:7", "x") == .integer(1))
        try world.wait("the stream") { target.call("LLEN", "key:7") == .integer(1) }
        #expect(child.isRunning, "\(child.logTail)")
        child.kill()
    }

    @Test("What answers at the port of a job that is gone is not taken for it, nor ordered about")
    func strangerAtThePort() throws {
        let world = try MigrateWorld()
        try world.start()
        try world.wait("the status") { try world.ask("status").code == 0 }
        world.tool.kill()
        let path = "\(world.directory)/job/status-address"
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let address = try #require(text.split(separator: "\n").first)
        let other = try world.tool(
            directory: "other",
            [
                "--set", "status.listen=\(address)", "--set", "target.on-nonempty=merge", "--set",
                "job.name=other",
            ])
        let owner = "\(world.directory)/other/status-address"
        try world.wait("the other job") {
            FileManager.default.fileExists(atPath: owner)
        }
        for words in [["status"], ["pause"], ["limit", "stream-keys", "1"], ["stop"]] {
            let answer = try world.ask(words)
            #expect(answer.code == 2 && answer.text.contains("somebody else"), "\(answer)")
        }
        #expect(other.isRunning)
        other.signal(SIGTERM)
        #expect(other.waitForExit() == 0)
        // It takes its address with it.
        #expect(!FileManager.default.fileExists(atPath: owner))
        // Whoever has the port meanwhile.
        #expect(try world.ask("status").code == 2)
    }

    @Test("A second run in a job's directory is refused, and the first one is still asked there")
    func secondRun() throws {
        let world = try MigrateWorld()
        try world.start()
        try world.wait("the status") { try world.ask("status").code == 0 }
        #expect(try world.tool(directory: "job").waitForExit() == 7)
        #expect(try world.ask("status").code == 0)
        #expect(world.tool.isRunning)
    }

    @Test("Another [map] for a job that has begun: code 6, and what can be done")
    func otherFilter() throws {
        let world = try MigrateWorld()
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        try world.wait("a checkpoint") {
            ["a", "b"].contains { access("\(world.directory)/job/checkpoint.\($0)", F_OK) == 0 }
        }
        world.tool.kill()
        try world.start("--set", "map.exclude=[\"x\"]")
        #expect(world.tool.waitForExit() == 6)
        for words in ["another [map]", "job.dir", "reconcile"] {
            #expect(world.tool.log.contains(words), "\(words): \(world.tool.logTail)")
        }
        try world.start()
        let client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("SET", "x", "1") == .text("OK"))
        try world.waitUntilEqual(seconds: 30)
    }

    @Test("A source that is emptied takes no key of others with it: code 5, or it is left out")
    func emptiedSource() throws {
        for isDenied in [false, true] {
            let world = try MigrateWorld()
            let client = try #require(BlockingClient(port: world.source.port))
            let target = try #require(BlockingClient(port: world.target.port))
            #expect(target.call("SET", "mine", "1") == .text("OK"))
            #expect(client.call("SET", "theirs", "1") == .text("OK"))
            let denied = isDenied ? ["map.commands-deny=[\"flushall\",\"flushdb\"]"] : []
            let settings = ["target.on-nonempty=merge"] + denied
            let tool = try world.tool(
                directory: "merge", settings.flatMap { ["--set", $0] })
            try world.wait("the copy") { target.call("GET", "theirs") == .bulk("1") }
            #expect(client.call("FLUSHALL") == .text("OK"))
            #expect(client.call("SET", "later", "1") == .text("OK"))
            if isDenied {
                try world.wait("the stream") { target.call("GET", "later") == .bulk("1") }
                tool.kill()
            } else {
                #expect(tool.waitForExit() == 5)
                #expect(tool.log.contains("commands-deny"), "\(tool.logTail)")
            }
            #expect(target.call("GET", "mine") == .bulk("1"))
        }
    }

    @Test(
        "MOVE and COPY DB of a live Redis arrive in their databases, over kills",
        .enabled(if: access(Comparer.python, X_OK) == 0))
    func otherDatabases() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        try world.start()
        for number in 0..<400 {
            let commands: [[String]] = [
                ["SELECT", "0"], ["SET", "moved:\(number % 40)", "\(number)"],
                ["RPUSH", "list", "\(number)"], ["MOVE", "moved:\(number % 40)", "1"],
                ["COPY", "list", "copy:\(number % 3)", "DB", "2", "REPLACE"],
                ["COPY", "list", "list:\(number % 5)", "REPLACE"],
                ["SELECT", "1"], ["INCR", "moved:\(number % 40)"],
                ["MOVE", "moved:\(number % 40)", "3"],
                ["SELECT", "2"], ["RPUSH", "copy:\(number % 3)", "own"],
                ["MULTI"], ["COPY", "copy:0", "again", "DB", "4", "REPLACE"], ["INCR", "count"],
                ["EXEC"],
            ]
            for command in commands { #expect(client.send(command)) }
            for _ in commands { _ = client.receive() }
            if number % 150 == 99 {
                world.tool.kill()
                try world.start()
            }
        }
        try Comparer.waitUntilEqual(world.source.port, world.target.port, world.tool)
    }
}
