import Glibc
import TestKit
import Testing

/// Two pika-migrate between two servers that are both written.
@Suite(
    "Two-way sync between processes", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct TwoWayProcessTests {
    private static let rounds = 400
    /// What checkpoints and pings may add to a log in the time in which nobody writes.
    private static let quietBytes = 8_192

    @Test(
        "Both ends get all writes of both, once, over kills of both tools; nothing circles",
        arguments: [("ours", "ours"), ("redis", "ours"), ("redis", "redis")])
    func bothWays(kinds: (String, String)) throws {
        let world = try TwoWayWorld(kinds.0, kinds.1)
        let ends = [try world.client(0), try world.client(1)]
        for number in 0..<100 { #expect(ends[0].call("SET", "old:\(number)", "x") == .text("OK")) }
        // The one from the empty end first: when it follows, the other may fill that end.
        try world.start(1)
        try world.waitUntilFollowing(1)
        try world.start(0)
        try world.waitUntilFollowing(0)
        // A Redis's stream has increments; a server of ours logs what came of them.
        let addsUp = kinds == ("redis", "redis")
        for number in 0..<Self.rounds {
            for (index, end) in ends.enumerated() {
                var commands = [
                    ["INCR", "own:\(index)"], ["RPUSH", "list:\(index)", "\(number)"],
                    ["SADD", "shared:set", "\(index):\(number)"],
                    ["HSET", "shared:hash", "\(index):\(number)", "v"],
                    ["ZADD", "shared:scores", "\(number)", "\(index):\(number)"],
                    ["MULTI"], ["SET", "pair:\(index)", "\(number)"],
                    ["SREM", "shared:set", "\(index):\(number - 10)"], ["EXEC"],
                ]
                if addsUp { commands.append(["INCR", "shared:counter"]) }
                for command in commands { #expect(end.send(command)) }
                for _ in commands { _ = end.receive() }
            }
            if number % 150 == 99 {
                world.kill(number / 150 % 2)
                try world.start(number / 150 % 2)
            }
        }
        try world.waitUntilEqual(seconds: 90)
        for (index, end) in ends.enumerated() {
            #expect(end.call("SCARD", "shared:set") == .integer(20), "\(index)")
            #expect(end.call("HLEN", "shared:hash") == .integer(2 * Self.rounds), "\(index)")
            #expect(end.call("GET", "own:1") == .bulk("\(Self.rounds)"), "\(index)")
            if addsUp {
                #expect(end.call("GET", "shared:counter") == .bulk("\(2 * Self.rounds)"))
            }
            // Each end carried out its own writes and the other's, each once.
            if let calls = world.calls("sadd", end) { #expect(calls == 2 * Self.rounds) }
        }
        usleep(500_000)
        let before = try ends.map { try world.logEnd($0) }
        usleep(1_500_000)
        for (end, before) in zip(ends, before) {
            #expect(try world.logEnd(end) - before < Self.quietBytes, "something circles")
        }
    }

    @Test("Two ends that both have keys are refused with code 4, and nothing is written")
    func bothFilled() throws {
        let world = try TwoWayWorld("redis", "redis")
        for index in 0...1 {
            #expect(try world.client(index).call("SET", "key:\(index)", "x") == .text("OK"))
        }
        try world.start(0)
        #expect(world.waitForExit(0) == 4)
        #expect(try world.client(1).call("GET", "key:0") == .bulk(nil))
    }

    /// Two Redis that follow each other; the second one has a file that it comes back from.
    private func setBackWorld() throws -> (TwoWayWorld, [BlockingClient]) {
        let world = try TwoWayWorld("redis", "redis")
        try world.start(1)
        try world.waitUntilFollowing(1)
        try world.start(0)
        try world.waitUntilFollowing(0)
        let ends = [try world.client(0), try world.client(1)]
        for number in 0..<20 {
            #expect(ends[0].call("INCR", "count") == .integer(number + 1))
            #expect(ends[1].call("INCR", "own") == .integer(number + 1))
        }
        try world.waitUntilEqual(seconds: 60)
        // What the link lacks of a history that has no backlog any more is a gap.
        try world.waitUntilReceived(1)
        #expect(ends[1].call("SAVE") == .text("OK"))
        return (world, ends)
    }

    @Test("A Redis that comes back from its file without what the other end wrote gets it again")
    func setBack() throws {
        let (world, ends) = try self.setBackWorld()
        for number in 0..<50 {
            #expect(ends[0].call("INCR", "count") == .integer(20 + number + 1))
            #expect(ends[0].call("RPUSH", "list", "\(number)") == .integer(number + 1))
        }
        try world.waitUntilEqual(seconds: 60)
        try world.waitUntilReceived(1)
        try world.restart(1)
        let back = try world.client(1)
        for number in 0..<50 {
            #expect(ends[0].call("INCR", "count") == .integer(70 + number + 1))
            #expect(back.call("RPUSH", "behind", "\(number)") == .integer(number + 1))
        }
        try world.waitUntilEqual(seconds: 60)
        #expect(back.call("GET", "count") == .bulk("120"))
        #expect(back.call("LLEN", "list") == .integer(50))
        #expect(ends[0].call("LLEN", "behind") == .integer(50))
        for index in 0...1 { #expect(world.stop(index) == 0) }
    }

    @Test("A Redis that lost what its own clients wrote ends its job with code 6: nobody can tell")
    func lostOwnWrites() throws {
        let (world, ends) = try self.setBackWorld()
        #expect(ends[1].call("INCR", "own") == .integer(21))
        try world.waitUntilEqual(seconds: 60)
        try world.waitUntilReceived(1)
        try world.restart(1)
        #expect(world.waitForExit(1) == 6)
        #expect(world.log(1).contains("empty the end that lost writes"), "\(world.log(1))")
        // What it lost is still where it was brought.
        #expect(ends[0].call("GET", "own") == .bulk("21"))
    }

    @Test("A history gap of a two-way sync ends the run with code 6: a copy would undo writes")
    func gap() throws {
        let world = try TwoWayWorld("redis", "redis")
        try world.start(0)
        try world.waitUntilFollowing(0)
        world.kill(0)
        // Nothing is kept on the disk: the restarted server has a history of its own.
        try world.restart(0)
        try world.start(0)
        #expect(world.waitForExit(0) == 6)
    }
}

/// Two servers, and a tool for each direction.
private final class TwoWayWorld {
    private static let names = ["forth", "back"]
    private let directory: String
    private var redis: [Int: MigrateChild] = [:]
    private var pikas: [Int: PikaProcess] = [:]
    private var tools: [Int: MigrateChild] = [:]

    init(_ kinds: String...) throws {
        var template = Array("/tmp/pika-two-way-tests-XXXXXX".utf8CString)
        self.directory = String(cString: try #require(mkdtemp(&template)))
        for (index, kind) in kinds.enumerated() {
            if kind == "ours" {
                let process = try PikaProcess()
                try process.start()
                self.pikas[index] = process
            } else {
                let port = try LoopbackPorts.next()
                let child = try MigrateChild(
                    MigrateWorld.redisServer,
                    [
                        "--port", "\(port)", "--save", "", "--repl-diskless-sync-delay", "0",
                    ], directory: "\(self.directory)/\(index)", port: port)
                try child.start()
                self.redis[index] = child
            }
        }
    }

    deinit {
        for child in self.tools.values { child.kill() }
        for child in self.redis.values { child.kill() }
        _ = PikaProcess.spawn(
            "/bin/rm", ["-rf", self.directory], directory: "/", output: "dev/null"
        ).map(PikaProcess.wait)
    }

    private func port(_ index: Int) -> Int {
        self.redis[index]?.port ?? self.pikas[index]?.port ?? 0
    }

    private func url(_ index: Int) -> String {
        "\(self.redis[index] == nil ? "pika" : "redis")://127.0.0.1:\(self.port(index))"
    }

    func client(_ index: Int) throws -> BlockingClient {
        try #require(BlockingClient(port: self.port(index)))
    }

    /// Starts the tool from the end of this index to the other one.
    func start(_ index: Int) throws {
        let child = try MigrateChild(
            PikaProcess.executable + "-migrate",
            [
                "run", "--from", self.url(index), "--to", self.url(1 - index),
                "--dir", "\(self.directory)/job\(index)",
                "--set", "job.name=\(Self.names[index])",
                "--set", "two-way.with=\(Self.names[1 - index])",
                "--set", "checkpoint.interval=50",
            ], directory: "\(self.directory)/tool\(index)", port: nil)
        try child.launch()
        self.tools[index] = child
    }

    func kill(_ index: Int) { self.tools[index]?.kill() }
    func waitForExit(_ index: Int) -> Int32 { self.tools[index]?.waitForExit() ?? -1 }
    func log(_ index: Int) -> String { self.tools[index]?.log ?? "" }

    func stop(_ index: Int) -> Int32 {
        self.tools[index]?.signal(SIGTERM)
        return self.waitForExit(index)
    }

    func restart(_ index: Int) throws {
        self.redis[index]?.kill()
        try self.redis[index]?.start()
    }

    /// Waits until the tool has left the copy behind.
    func waitUntilFollowing(_ index: Int) throws {
        let target = try self.client(1 - index)
        for _ in 0..<6_000 {
            if target.call("EXISTS", "__pika_migrate:\(Self.names[index]):low") == .integer(1) {
                return
            }
            usleep(10_000)
        }
        throw ProcessFailure(text: "no copy:\n\(self.tools[index]?.log ?? "")")
    }

    /// Waits until the tool says that it has all that a Redis has written.
    func waitUntilReceived(_ index: Int) throws {
        func number(_ text: Substring?) -> UInt64? { text.flatMap { UInt64($0) } }
        for _ in 0..<6_000 {
            guard case .bulk(let info?)? = try self.client(index).call("INFO", "replication") else {
                break
            }
            let lines = info.split(whereSeparator: \.isNewline)
            let place = lines.first { $0.hasPrefix("slave0:") }?.split(separator: ",")
                .first { $0.hasPrefix("offset=") }?.dropFirst("offset=".count)
            let end = lines.first { $0.hasPrefix("master_repl_offset:") }?
                .split(separator: ":").last
            if let place = number(place), let end = number(end), place >= end { return }
            usleep(10_000)
        }
        throw ProcessFailure(text: "the tool lacks a part of the stream")
    }

    func waitUntilEqual(seconds: Int) throws {
        let ends = [try self.client(0), try self.client(1)]
        for _ in 0..<seconds * 10 {
            if self.contents(ends[0]) == self.contents(ends[1]) { return }
            usleep(100_000)
        }
        #expect(
            self.contents(ends[0]) == self.contents(ends[1]),
            "\(self.tools.values.map(\.log).joined(separator: "\n--\n"))")
    }

    private func contents(_ client: BlockingClient) -> [String: [String]] {
        guard case .array(let keys?) = client.call("KEYS", "*") else { return ["keys": []] }
        var found: [String: [String]] = [:]
        for case .bulk(let key?) in keys where !key.hasPrefix("__pika_migrate:") {
            guard case .text(let kind) = client.call("TYPE", key) else { continue }
            switch kind {
            case "string": found[key] = ["\(String(describing: client.call("GET", key)))"]
            case "list": found[key] = Self.texts(client.call("LRANGE", key, "0", "-1"))
            case "set": found[key] = Self.texts(client.call("SMEMBERS", key)).sorted()
            case "hash": found[key] = Self.texts(client.call("HKEYS", key)).sorted()
            default: found[key] = Self.texts(client.call("ZRANGE", key, "0", "-1", "WITHSCORES"))
            }
        }
        return found
    }

    private static func texts(_ reply: BlockingClient.Reply?) -> [String] {
        guard case .array(let elements?) = reply else { return [] }
        return elements.compactMap { if case .bulk(let text?) = $0 { text } else { nil } }
    }

    /// How often a Redis has carried out a command.
    func calls(_ command: String, _ client: BlockingClient) -> Int? {
        guard case .bulk(let info?) = client.call("INFO", "commandstats") else { return nil }
        let line = info.split(whereSeparator: \.isNewline)
            .first { $0.hasPrefix("cmdstat_\(command):calls=") }
        return line.flatMap { $0.split(separator: "=").dropFirst().first }
            .flatMap { Int($0.prefix { $0.isNumber }) }
    }

    /// The end of a server's log, in bytes.
    func logEnd(_ client: BlockingClient) throws -> Int {
        guard case .bulk(let info?) = client.call("INFO", "replication") else { return -1 }
        let lines = info.split(whereSeparator: \.isNewline)
        let line = try #require(
            lines.first { $0.hasPrefix("db0 binlog_offset=") }
                ?? lines.first { $0.hasPrefix("master_repl_offset:") })
        let numbers = line.split { !$0.isNumber }.compactMap { Int($0) }
        // `db0 binlog_offset=FILE OFFSET,...`: files are much longer than this test's log.
        return line.hasPrefix("db0") ? numbers[2] : numbers[0]
    }
}
