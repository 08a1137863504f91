import Glibc
import TestKit
import Testing

/// pika-migrate into files, which a real redis-server then loads.
@Suite(
    "Files as targets, as processes", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct FileTargetTests {
    /// All keys of all databases with values and deadlines.
    private func contents(_ port: Int) throws -> [String: String] {
        let client = try #require(BlockingClient(port: port))
        var found: [String: String] = [:]
        for database in 0..<16 {
            #expect(client.call("SELECT", "\(database)") == .text("OK"))
            guard case .integer(let size)? = client.call("DBSIZE"), size > 0 else { continue }
            for (key, value) in MigrateWorld.contents(client) {
                let deadline = client.call("PEXPIRETIME", key)
                found["\(database) \(key)"] = "\(String(describing: deadline)) \(value)"
            }
        }
        return found
    }

    private func expectEqual(_ world: MigrateWorld, _ loaded: MigrateChild) throws {
        let source = try self.contents(world.source.port)
        let differences = MigrateWorld.differences(source, try self.contents(loaded.port))
        #expect(source.count > 5)
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }

    /// Keys of all five types, short and long, in three databases.
    private func fill(_ world: MigrateWorld) throws {
        let client = try #require(BlockingClient(port: world.source.port))
        for database in [0, 3, 9] {
            #expect(client.call("SELECT", "\(database)") == .text("OK"))
            #expect(client.call("SET", "empty", "") == .text("OK"))
            #expect(client.call("SET", "s", "v", "PX", "3600000") == .text("OK"))
            #expect(client.call("SETRANGE", "long", "700000", "x") == .integer(700_001))
            for start in stride(from: 0, to: 900, by: 300) {
                let numbers = (start..<(start + 300)).map { "e\($0)" }
                let commands: [[String]] = [
                    ["RPUSH", "list"] + numbers, ["SADD", "set"] + numbers,
                    ["HSET", "hash"] + numbers.flatMap { [$0, "v"] },
                    ["ZADD", "zset"] + numbers.flatMap { ["0.1", $0] },
                ]
                for command in commands {
                    #expect(client.send(command))
                    _ = client.receive()
                }
            }
            #expect(client.call("PEXPIRE", "hash", "7200000") == .integer(1))
            #expect(client.call("ZADD", "small", "-inf", "m", "1.5", "n") == .integer(2))
            #expect(client.call("HSET", "fields", "f", "v") == .integer(1))
        }
    }

    private func write(_ world: MigrateWorld, _ number: Int) throws {
        let client = try #require(BlockingClient(port: world.source.port))
        let commands: [[String]] = [
            ["SELECT", "\(number % 3)"], ["INCR", "count:\(number % 7)"],
            ["RPUSH", "list:\(number % 5)", "\(number)"],
            ["ZINCRBY", "scores", "1", "m\(number % 11)"], ["MULTI"],
            ["SET", "t:\(number % 5)", "\(number)", "EX", "3600"], ["INCR", "t"], ["EXEC"],
            ["RPOPLPUSH", "list:\(number % 5)", "list:\((number + 1) % 5)"], ["SPOP", "set"],
            ["SADD", "set", "a\(number)", "b\(number)"],
        ]
        for command in commands { #expect(client.send(command)) }
        for _ in commands { _ = client.receive() }
    }

    private func load(_ world: MigrateWorld, _ options: [String]) throws -> MigrateChild {
        let port = try LoopbackPorts.next()
        let child = try MigrateChild(
            MigrateWorld.redisServer, ["--port", "\(port)"] + options,
            directory: "\(world.directory)/file", port: port)
        try child.start()
        return child
    }

    @Test("An RDB has all types, deadlines and databases; a second run finds it done")
    func rdb() throws {
        let world = try MigrateWorld()
        try self.fill(world)
        mkdir("\(world.directory)/file", 0o755)
        let target = ["--set", "target.url=rdb://\(world.directory)/file/dump.rdb"]
        for _ in 0..<2 {
            let tool = try world.tool(directory: "job", target)
            #expect(tool.waitForExit() == 0)
            #expect(tool.log.contains("has the source's data up to offset"))
        }
        let loaded = try self.load(world, ["--save", "", "--dbfilename", "dump.rdb"])
        try self.expectEqual(world, loaded)
        let again = try world.tool(directory: "other", target)
        #expect(again.waitForExit() == 4)
    }

    @Test("An RDB whose writer is killed does not come about; the next run begins again")
    func killedRDB() throws {
        let world = try MigrateWorld()
        try self.fill(world)
        let path = "\(world.directory)/file/dump.rdb"
        mkdir("\(world.directory)/file", 0o755)
        let target = ["--set", "target.url=rdb://\(path)"]
        for round in 0..<3 {
            let tool = try world.tool(
                directory: "job", target + ["--set", "limit.snapshot-bytes=1000000"])
            for _ in 0..<1_000 where Self.size(path + ".pika-migrate.tmp") == 0 { usleep(10_000) }
            usleep(20_000 * UInt32(round))
            tool.kill()
            #expect(access(path, F_OK) != 0)
        }
        #expect(try world.tool(directory: "job", target).waitForExit() == 0)
        try self.expectEqual(
            world, try self.load(world, ["--save", "", "--dbfilename", "dump.rdb"]))
    }

    private static func size(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_size : 0
    }

    @Test("An AOF loses and doubles nothing over kills in copy and stream, and a SIGTERM")
    func aof() throws {
        let world = try MigrateWorld()
        try self.fill(world)
        mkdir("\(world.directory)/file", 0o755)
        let path = "\(world.directory)/file/appendonly.aof"
        let target = ["--set", "target.url=aof://\(path)"]
        let slow = try world.tool(
            directory: "job", target + ["--set", "limit.snapshot-bytes=1000000"])
        for _ in 0..<1_000 where Self.size(path) == 0 { usleep(10_000) }
        slow.kill()
        var tool = try world.tool(directory: "job", target)
        for number in 0..<1_500 {
            try self.write(world, number)
            if number % 250 == 99 {
                tool.kill()
                tool = try world.tool(directory: "job", target)
            }
        }
        // Before it is up, a SIGTERM would just end it.
        try world.wait("the run") { try world.ask("status").code == 0 }
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
        let client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("SELECT", "9") == .text("OK"))
        #expect(client.call("FLUSHDB") == .text("OK"))
        for number in 0..<50 { try self.write(world, number) }
        tool = try world.tool(
            directory: "job", target + ["--set", "job.stop-when-caught-up=true"])
        #expect(tool.waitForExit() == 0, "\(tool.logTail)")
        let loaded = try self.load(
            world, ["--save", "", "--appendonly", "yes", "--appendfilename", "appendonly.aof"])
        try self.expectEqual(world, loaded)
        #expect(!loaded.log.contains("truncat"))
    }

    @Test("An AOF that was changed behind the tool is noticed: code 6")
    func changed() throws {
        let world = try MigrateWorld()
        try self.write(world, 1)
        mkdir("\(world.directory)/file", 0o755)
        let path = "\(world.directory)/file/appendonly.aof"
        let words = [
            "--set", "target.url=aof://\(path)", "--set", "job.stop-when-caught-up=true",
        ]
        #expect(try world.tool(directory: "job", words).waitForExit() == 0)
        #expect(truncate(path, 10) == 0)
        #expect(try world.tool(directory: "job", words).waitForExit() == 6)
    }

    @Test(
        "A full device ends with code 9, for both kinds of file",
        .enabled(if: SmallDisk.isAvailable, "needs the right to mount in a namespace"))
    func full() throws {
        let world = try MigrateWorld()
        try self.fill(world)
        mkdir("\(world.directory)/file", 0o755)
        let disk = try SmallDisk(path: "\(world.directory)/file", megabytes: 1)
        for kind in ["rdb", "aof"] {
            let tool = try #require(
                PikaProcess.spawn(
                    PikaProcess.executable + "-migrate",
                    [
                        "run", "--from", "redis://127.0.0.1:\(world.source.port)", "--to",
                        "\(kind)://\(world.directory)/file/it", "--dir",
                        "\(world.directory)/\(kind)",
                    ], directory: world.directory, output: "full.txt", launcher: disk.launcher))
            #expect(PikaProcess.wait(tool) == 9, "\(kind)")
        }
    }
}
