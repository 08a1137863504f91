import Glibc
import TestKit
import Testing

/// pika-migrate between processes: a redis-server as the source, another or ours as the target.
@Suite(
    "pika-migrate as a process", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateProcessTests {
    private static let writes = 4_000

    /// Commands none of which may be lost or carried out twice.
    private func write(_ world: MigrateWorld, _ number: Int) throws {
        let client = try #require(BlockingClient(port: world.source.port))
        let commands: [[String]] = [
            ["INCR", "count:\(number % 7)"], ["RPUSH", "list:\(number % 5)", "\(number)"],
            ["ZINCRBY", "scores", "1", "m\(number % 11)"],
            ["RPOPLPUSH", "list:\(number % 5)", "list:\((number + 1) % 5)"],
            ["MSET", "a:\(number % 13)", "\(number)", "b:\(number % 17)", "\(number)"],
        ]
        for command in commands { #expect(client.send(command)) }
        for _ in commands { _ = client.receive() }
    }

    @Test("M2, R1: ten kills in the middle of writes lose nothing and double nothing")
    func kills() throws {
        let world = try MigrateWorld()
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        for number in 0..<Self.writes {
            try self.write(world, number)
            if number % (Self.writes / 10) == 17 {
                world.tool.kill()
                try world.start()
            }
        }
        try world.waitUntilEqual(seconds: 60)
    }

    @Test("A killed target and a killed source are come back from")
    func servers() throws {
        let world = try MigrateWorld(persistent: true)
        try world.start()
        for number in 0..<300 {
            try self.write(world, number)
            if number == 100 {
                world.target.kill()
                try world.target.start()
            }
            if number == 200 {
                world.source.kill()
                try world.source.start()
            }
        }
        try world.waitUntilEqual(seconds: 60)
    }

    @Test("M7, R7: a source with a new history is reconciled, its deletes included")
    func reconciling() throws {
        let world = try MigrateWorld(persistent: true)
        for number in 0..<200 { try self.write(world, number) }
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        world.tool.kill()
        world.source.kill()
        try world.source.start()
        let client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("DEL", "count:1", "list:1", "scores") == .integer(3))
        try world.start()
        try world.waitUntilEqual(seconds: 30)
    }

    @Test("A copy whose spool is lost in the middle is begun anew and leaves nothing behind")
    func lostSpool() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        for number in 0..<3_000 {
            #expect(client.call("SET", "key:\(number)", "\(number)") == .text("OK"))
        }
        try world.start("--set", "limit.snapshot-keys=400")
        let target = try #require(BlockingClient(port: world.target.port))
        for _ in 0..<1_000 {
            if case .integer(let count)? = target.call("DBSIZE"), count > 500 { break }
            usleep(10_000)
        }
        world.tool.kill()
        world.removeSpool()
        for number in 0..<3_000 where number % 2 == 0 {
            #expect(client.call("DEL", "key:\(number)") == .integer(1))
        }
        try world.start()
        try world.waitUntilEqual(seconds: 30)
    }

    @Test("M9: SIGTERM drains and ends with code 0, and the next run goes on")
    func draining() throws {
        let world = try MigrateWorld()
        try world.start()
        for number in 0..<500 { try self.write(world, number) }
        try world.waitUntilEqual(seconds: 30)
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
        for number in 0..<100 { try self.write(world, number) }
        try world.start()
        try world.waitUntilEqual(seconds: 30)
    }

    @Test("A target with keys is refused with code 4 before anything is written")
    func nonEmpty() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.target.port))
        #expect(client.call("SET", "mine", "1") == .text("OK"))
        try world.start()
        #expect(world.tool.waitForExit() == 4)
        #expect(client.call("DBSIZE") == .integer(1))
    }

    @Test("A target that was emptied behind the tool is noticed: code 6")
    func emptied() throws {
        let world = try MigrateWorld()
        try self.write(world, 1)
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        world.tool.kill()
        let client = try #require(BlockingClient(port: world.target.port))
        #expect(client.call("FLUSHALL") == .text("OK"))
        try world.start()
        #expect(world.tool.waitForExit() == 6)
    }

    @Test("A second instance fences the first one off: code 7")
    func fencing() throws {
        let world = try MigrateWorld()
        try self.write(world, 1)
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        let other = try world.tool(
            directory: "other", ["--set", "target.on-nonempty=merge"])
        #expect(world.tool.waitForExit() == 7)
        other.kill()
    }

    @Test("Unknown settings, passwords in URLs and missing ends are refused with code 2")
    func usage() throws {
        let world = try MigrateWorld()
        #expect(try world.tool(directory: "x", ["--set", "job.nmae=x"]).waitForExit() == 2)
        #expect(
            try world.tool(
                directory: "x", ["--set", "source.url=redis://a:b@localhost:1"]
            )
            .waitForExit() == 2)
    }
}

/// A redis-server, a target, and the tool between them.
final class MigrateWorld {
    static let redisServer = "/usr/bin/redis-server"

    let source: MigrateChild
    let target: MigrateChild
    private(set) var tool: MigrateChild
    let directory: String

    /// - Parameter persistent: The servers keep every write over a kill.
    init(persistent: Bool = false, sourceOptions: [String] = []) throws {
        var template = Array("/tmp/pika-migrate-tests-XXXXXX".utf8CString)
        let directory = String(cString: try #require(mkdtemp(&template)))
        let log = persistent ? "yes" : "no"
        func redis(_ name: String, _ options: [String] = []) throws -> MigrateChild {
            let port = try LoopbackPorts.next()
            return try MigrateChild(
                Self.redisServer,
                [
                    "--port", "\(port)", "--save", "", "--appendonly", log, "--appendfsync",
                    "always", "--repl-diskless-sync-delay", "0",
                ] + options, directory: "\(directory)/\(name)", port: port)
        }
        let source = try redis("source", sourceOptions)
        self.source = source
        self.target = try redis("target")
        self.tool = source
        self.directory = directory
        try self.source.start()
        try self.target.start()
    }

    deinit {
        for child in [self.tool, self.target, self.source] { child.kill() }
        _ = PikaProcess.spawn(
            "/bin/rm", ["-rf", self.directory], directory: "/", output: "dev/null"
        ).map(PikaProcess.wait)
    }

    /// Starts the tool, again if it has run before.
    func start(_ more: String...) throws { try self.start(more) }

    func start(_ more: [String]) throws { self.tool = try self.tool(directory: "job", more) }

    /// Removes what the job has of the source.
    func removeSpool() {
        _ = PikaProcess.spawn(
            "/bin/rm", ["-rf", "\(self.directory)/job/spool"], directory: "/", output: "dev/null"
        ).map(PikaProcess.wait)
    }

    /// A tool with a job's directory of its own.
    func tool(directory: String, _ more: [String] = []) throws -> MigrateChild {
        let child = try MigrateChild(
            PikaProcess.executable + "-migrate",
            [
                "run", "--from", "redis://127.0.0.1:\(self.source.port)", "--to",
                "redis://127.0.0.1:\(self.target.port)", "--dir", "\(self.directory)/\(directory)",
                "--set", "checkpoint.interval=50",
            ] + more, directory: self.directory, port: nil)
        try child.launch()
        return child
    }

    /// Waits until both servers have the same keys with the same values; gives up when the target has
    /// not changed for so long, or the tool has ended.
    func waitUntilEqual(seconds: Int) throws {
        let source = try #require(BlockingClient(port: self.source.port))
        let target = try #require(BlockingClient(port: self.target.port))
        var last: [String: String] = [:]
        var unchanged = 0
        while unchanged < seconds * 10, self.tool.isRunning {
            let contents = Self.contents(target)
            if Self.contents(source) == contents { return }
            unchanged = contents == last ? unchanged + 1 : 0
            last = contents
            usleep(100_000)
        }
        let differences = Self.differences(Self.contents(source), Self.contents(target))
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))\n\(self.tool.logTail)")
    }

    /// One short line for each of the first keys that differ.
    static func differences(
        _ source: [String: String], _ target: [String: String]
    ) -> [String] {
        Set(source.keys).union(target.keys).sorted()
            .filter { source[$0] != target[$0] }.prefix(12)
            .map { key in
                let mine = Array((source[key] ?? "nothing").utf8)
                let other = Array((target[key] ?? "nothing").utf8)
                let equal = zip(mine, other).prefix { $0 == $1 }.count
                func part(_ bytes: [UInt8]) -> String {
                    String(decoding: bytes.dropFirst(max(0, equal - 40)).prefix(100), as: UTF8.self)
                }
                return "\(key): source has \(part(mine)), target has \(part(other))"
            }
    }

    static func contents(_ client: BlockingClient) -> [String: String] {
        guard case .array(let keys?) = client.call("KEYS", "*") else { return ["keys": "none"] }
        var found: [String: String] = [:]
        for case .bulk(let key?) in keys where !key.hasPrefix("__pika_migrate:") {
            guard case .text(let kind) = client.call("TYPE", key) else { continue }
            let reply =
                switch kind {
                case "string": client.call("GET", key)
                case "list": client.call("LRANGE", key, "0", "-1")
                case "hash": Self.sorted(client.call("HGETALL", key), by: 2)
                case "set": Self.sorted(client.call("SMEMBERS", key), by: 1)
                default: client.call("ZRANGE", key, "0", "-1", "WITHSCORES")
                }
            found[key] = "\(kind) \(String(describing: reply))"
        }
        return found
    }
}

extension MigrateWorld {
    /// Elements without an order of their own, in one; each is `width` replies.
    private static func sorted(
        _ reply: BlockingClient.Reply?, by width: Int
    ) -> BlockingClient.Reply? {
        guard case .array(let elements?) = reply else { return reply }
        let groups = stride(from: 0, to: elements.count, by: width).map {
            elements[$0..<min(elements.count, $0 + width)]
        }
        return .array(groups.sorted { "\($0)" < "\($1)" }.flatMap { $0 })
    }
}

/// A process of another program; killed with its last reference.
final class MigrateChild {
    private let executable: String
    private let arguments: [String]
    private let directory: String
    /// Where it listens; 0 = nowhere.
    let port: Int
    private var processID: pid_t = 0

    init(_ executable: String, _ arguments: [String], directory: String, port: Int?) throws {
        self.executable = executable
        self.arguments = arguments
        self.directory = directory
        self.port = port ?? 0
        mkdir(directory, 0o755)
    }

    deinit { self.kill() }

    /// What it has written.
    var log: String {
        guard let file = fopen("\(self.directory)/log.txt", "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    /// Whether it has not ended by itself.
    var isRunning: Bool {
        var status: Int32 = 0
        guard self.processID > 0, waitpid(self.processID, &status, WNOHANG) != 0 else {
            return self.processID > 0
        }
        self.processID = 0
        return false
    }

    /// The most memory that it has had, in bytes.
    var peakMemory: Int? {
        guard let file = fopen("/proc/\(self.processID)/status", "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 14)
        let count = fread(&bytes, 1, bytes.count, file)
        let text = String(decoding: bytes.prefix(count), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line.flatMap { Int($0.filter(\.isNumber)) }.map { $0 * 1_024 }
    }

    /// The last lines of it.
    var logTail: String {
        self.log.split(separator: "\n").suffix(20).map { String($0.prefix(400)) }
            .joined(separator: "\n")
    }

    func launch() throws {
        self.processID = try #require(
            PikaProcess.spawn(
                self.executable, self.arguments, directory: self.directory, output: "log.txt",
                launcher: []))
    }

    /// Starts it, and waits until it answers.
    func start() throws {
        try self.launch()
        for _ in 0..<1_000 {
            if BlockingClient(port: self.port)?.call("PING") == .text("PONG") { return }
            usleep(10_000)
        }
        throw ProcessFailure(text: "no answer:\n\(self.log)")
    }

    func signal(_ number: Int32) { if self.processID > 0 { Glibc.kill(self.processID, number) } }

    /// Removes all that it has left.
    func removeDirectory() {
        _ = PikaProcess.spawn(
            "/bin/rm", ["-rf", self.directory], directory: "/", output: "dev/null"
        ).map(PikaProcess.wait)
    }

    func waitForExit() -> Int32 {
        guard self.processID > 0 else { return 0 }
        defer { self.processID = 0 }
        return PikaProcess.wait(self.processID)
    }

    func kill() {
        self.signal(SIGKILL)
        _ = self.waitForExit()
    }
}
