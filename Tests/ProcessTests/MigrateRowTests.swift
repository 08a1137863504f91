import Foundation
import Glibc
import TestKit
import Testing

/// More of what users of other tools suffer from, one test a row.
@Suite(
    "What pika-migrate is immune to, with live servers", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateRowTests {
    @Test(
        "M10: the comparer names all that differs, and a run's counts say why the numbers do",
        .enabled(if: access(Comparer.python, X_OK) == 0))
    func comparing() throws {
        let world = try MigrateWorld()
        let source = try #require(BlockingClient(port: world.source.port))
        let target = try #require(BlockingClient(port: world.target.port))
        for number in 0..<200 {
            #expect(source.call("SET", "key:\(number)", "v\(number)") == .text("OK"))
        }
        for number in 0..<50 { #expect(source.call("SET", "tmp:\(number)", "x") == .text("OK")) }
        try world.start("--set", "map.exclude=[\"tmp:*\"]")
        try world.wait("the copy") { target.call("GET", "key:199") == .bulk("v199") }
        #expect(source.call("RPUSH", "list", "a", "b") == .integer(2))
        try world.wait("the stream") { target.call("LLEN", "list") == .integer(2) }
        let ports = (world.source.port, world.target.port)
        let equal = try Comparer.run(ports.0, ports.1, "--exclude", "tmp:")
        #expect(equal.code == 0, "\(equal.text)")
        let whole = try Comparer.run(ports.0, ports.1)
        #expect(whole.code == 1 && whole.text.contains("tmp:49"), "\(whole.text)")
        let status = try world.ask("status")
        #expect(status.text.contains("\"keys\":{\"string\":200,"), "\(status.text)")

        #expect(target.call("SET", "key:7", "other") == .text("OK"))
        #expect(target.call("DEL", "key:8") == .integer(1))
        #expect(target.call("SET", "foreign", "x") == .text("OK"))
        #expect(target.call("PEXPIRE", "key:9", "900000") == .integer(1))
        #expect(target.call("LSET", "list", "1", "c") == .text("OK"))
        let found = try Comparer.run(ports.0, ports.1, "--exclude", "tmp:")
        #expect(found.code == 1)
        for (key, what) in [
            ("key:7", "value"), ("key:8", "missing"), ("foreign", "extra"), ("key:9", "ttl"),
            ("list", "value"),
        ] {
            let line = found.text.split(separator: "\n").first { $0.contains("\"\(key)\"") }
            #expect(line?.contains("\"\(what)\"") == true, "\(key): \(found.text)")
        }
        #expect(found.text.contains("\"different\": 5"), "\(found.text)")
    }

    @Test("M11: live from a Redis into a server of ours, and live out of it, over kills")
    func roadInAndOut() throws {
        let world = try MigrateWorld()
        let ours = try PikaProcess(["databases : 1"])
        try ours.start()
        let client = try #require(BlockingClient(port: world.source.port))
        func write(_ number: Int) {
            let commands: [[String]] = [
                ["INCR", "count:\(number % 7)"], ["RPUSH", "list:\(number % 5)", "\(number)"],
                ["LPOP", "list:\((number + 2) % 5)"], ["ZINCRBY", "scores", "1", "m\(number % 9)"],
                ["HSET", "hash", "f\(number % 20)", "\(number)"], ["SPOP", "set:\(number % 3)"],
                ["SADD", "set:\(number % 3)", "m\(number)"],
                ["RENAME", "count:\(number % 7)", "count:\((number + 3) % 7)"],
            ]
            for command in commands { #expect(client.send(command)) }
            for _ in commands { _ = client.receive() }
        }
        for number in 0..<100 { write(number) }
        let url = "pika://127.0.0.1:\(ours.port)"
        func into() throws -> MigrateChild {
            try world.tool(
                directory: "into",
                ["--set", "target.url=\(url)", "--set", "map.databases=[\"0=0\"]"])
        }
        func out() throws -> MigrateChild {
            try world.tool(directory: "out", ["--set", "source.url=\(url)"])
        }
        var tools = [try into(), try out()]
        for number in 100..<600 {
            write(number)
            if number % 200 == 117 {
                tools[0].kill()
                tools[0] = try into()
            } else if number % 200 == 17 {
                tools[1].kill()
                tools[1] = try out()
            }
        }
        try world.waitUntilEqual(seconds: 60)
        #expect(tools[0].isRunning && tools[1].isRunning)
    }

    @Test("R2: a restart asks for the next byte, and nobody sees half of a transaction")
    func partialSync() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        let target = try #require(BlockingClient(port: world.target.port))
        #expect(client.call("MSET", "a", "start", "b", "start") == .text("OK"))
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        for number in 0..<600 {
            for words in [
                ["MULTI"], ["SET", "a", "\(number)"], ["SET", "b", "\(number)"], ["EXEC"],
            ] {
                #expect(client.send(words))
            }
            for _ in 0..<4 { _ = client.receive() }
            guard case .array(let both?)? = target.call("MGET", "a", "b") else {
                Issue.record("the target does not answer")
                return
            }
            #expect(both.count == 2 && both[0] == both[1], "\(both)")
            if number % 200 == 99 {
                world.tool.kill()
                try world.start()
                try world.wait("the next byte") {
                    world.figure("sync_partial_ok") == "\(number / 200 + 1)"
                }
            }
        }
        try world.waitUntilEqual(seconds: 30)
        #expect(world.figure("sync_full") == "1")
    }

    @Test("R3: a source that can't write its snapshot is named, and copied as soon as it can")
    func failingSnapshot() throws {
        let world = try MigrateWorld(
            sourceOptions: ["--repl-diskless-sync", "no", "--enable-protected-configs", "yes"])
        let client = try #require(BlockingClient(port: world.source.port))
        let gone = "\(world.directory)/gone"
        #expect(mkdir(gone, 0o755) == 0)
        #expect(client.call("CONFIG", "SET", "dir", gone) == .text("OK"))
        #expect(rmdir(gone) == 0)
        for number in 0..<100 { #expect(client.call("SET", "k\(number)", "x") == .text("OK")) }
        try world.start()
        try world.wait("a second try of the snapshot") {
            try world.number("source_reconnects_total") ?? 0 >= 2
        }
        #expect(try world.ask("status").text.contains("\"last_trouble\":\"\"") == false)
        #expect(world.tool.isRunning)
        #expect(client.call("CONFIG", "SET", "dir", world.directory) == .text("OK"))
        try world.waitUntilEqual(seconds: 60)
        // What notifications of keys don't tell.
        #expect(client.call("FLUSHALL") == .text("OK"))
        #expect(client.call("SET", "after", "x") == .text("OK"))
        try world.waitUntilEqual(seconds: 30)
    }

    /// Keeps a Redis busy for some tenths of a second, in which it answers nobody.
    private static let busy = "for i=1,20000000 do end return 1"

    @Test("R4: a really slow target slows the run down and nothing else; well again, so is the run")
    func slowTarget() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        let target = try #require(BlockingClient(port: world.target.port))
        try world.start("--set", "limit.target-latency=25")
        for number in 0..<50 { #expect(client.call("RPUSH", "list", "\(number)") != nil) }
        try world.waitUntilEqual(seconds: 30)
        var lowest = 1.0
        var written = 0
        try world.wait("the governor") {
            #expect(target.call("EVAL", Self.busy, "0") == .integer(1))
            for _ in 0..<100 {
                #expect(client.call("INCR", "count") != nil)
                written += 1
            }
            lowest = min(lowest, try world.number("governor_share") ?? 1)
            return lowest <= 0.25
        }
        #expect(try world.number("throttle_wait_milliseconds_total") ?? 0 > 0)
        try world.waitUntilEqual(seconds: 60)
        #expect(target.call("GET", "count") == .bulk("\(written)"))
        try world.wait("the speed of before") {
            try world.number("governor_share") ?? 0 > 2 * lowest
        }
        // It stands still for longer than any batch takes; then it is killed with all that it had.
        world.target.signal(SIGSTOP)
        for number in 0..<2_000 { #expect(client.call("RPUSH", "list", "\(number)") != nil) }
        usleep(3_000_000)
        world.target.signal(SIGCONT)
        try world.waitUntilEqual(seconds: 60)
        #expect(world.figure("sync_full") == "1")
        #expect(try #require(world.tool.peakMemory) < 256 << 20)
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
    }

    @Test("R6: lag and every series are there from before the source is until behind the end")
    func figures() throws {
        let world = try MigrateWorld()
        world.source.kill()
        try world.start()
        func series() throws -> [String] {
            let answer = try world.ask("status", "--metrics")
            guard answer.code == 0 else { return [] }
            return answer.text.split(separator: "\n").filter { !$0.hasPrefix("#") }
                .compactMap { $0.split(separator: " ").first.map(String.init) }
        }
        var first: [String] = []
        try world.wait("figures without a source") {
            first = try series()
            return !first.isEmpty
        }
        #expect(first.contains("pika_migrate_lag_seconds"))
        try world.source.start()
        let client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("SET", "key", "x") == .text("OK"))
        try world.waitUntilEqual(seconds: 30)
        #expect(try series() == first)
        world.target.signal(SIGSTOP)
        for number in 0..<200 { #expect(client.call("INCRBY", "count", "\(number)") != nil) }
        try world.wait("a lag of more than a second") {
            try world.number("lag_seconds") ?? 0 > 1
        }
        #expect(try series() == first)
        world.target.signal(SIGCONT)
        try world.wait("the end of the lag") {
            try world.number("lag_seconds") == 0 && world.number("lag_bytes") == 0
        }
        world.source.kill()
        try world.wait("the loss of the source") {
            try world.ask("status").text.contains("\"phase\":\"reconnecting\"")
        }
        #expect(try series() == first)
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
        let report = try String(
            contentsOfFile: "\(world.directory)/job/report.json", encoding: .utf8)
        #expect(
            report.hasPrefix("{\"code\":\"E_") || report.hasPrefix("{\"code\":\"OK"), "\(report)")
        #expect(report.contains("\"reason\":\"stopped\""), "\(report)")
    }
}

/// The comparer of `Tests/migrate`, which shares no code with the tool.
enum Comparer {
    static let python = "/usr/bin/python3"

    static func run(_ source: Int, _ target: Int, _ more: String...) throws -> (
        code: Int32, text: String
    ) {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "migrate/compare.py").path
        var template = Array("/tmp/pika-migrate-compare-XXXXXX".utf8CString)
        let directory = String(cString: try #require(mkdtemp(&template)))
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let child = try MigrateChild(
            Self.python,
            ["-B", script] + more + ["127.0.0.1:\(source)", "127.0.0.1:\(target)"],
            directory: directory, port: nil)
        try child.launch()
        let code = child.waitForExit()
        return (code, child.log)
    }

    /// Waits until nothing differs.
    static func waitUntilEqual(_ source: Int, _ target: Int, _ tool: MigrateChild) throws {
        var last: (code: Int32, text: String) = (1, "")
        for _ in 0..<150 where last.code != 0 && tool.isRunning {
            usleep(200_000)
            last = try Self.run(source, target)
        }
        #expect(last.code == 0, "\(last.text)\n\(tool.logTail)")
    }
}

extension MigrateWorld {
    /// Waits for something that must come.
    func wait(_ what: String, seconds: Int = 60, _ condition: () throws -> Bool) throws {
        for _ in 0..<seconds * 20 {
            if try condition() { return }
            usleep(50_000)
        }
        throw ProcessFailure(text: "waited in vain for \(what)\n\(self.tool.logTail)")
    }

    /// A field of the source's INFO.
    func figure(_ name: String) -> String? {
        guard case .bulk(let info?)? = BlockingClient(port: self.source.port)?.call("INFO") else {
            return nil
        }
        return info.split(whereSeparator: \.isNewline)
            .first { $0.hasPrefix("\(name):") }.map { String($0.dropFirst(name.count + 1)) }
    }

    /// A number of the job's status.
    func number(_ name: String) throws -> Double? {
        let text = try self.ask("status").text
        guard let place = text.firstRange(of: "\"\(name)\":") else { return nil }
        return Double(text[place.upperBound...].prefix { $0.isNumber || "-+.e".contains($0) })
    }
}
