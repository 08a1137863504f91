import FileIO
import Glibc
import MigrateCore
import NIOPosix
import RedisSync
import Synchronization
import TestKit
import Testing

@testable import Migrate

/// A `redis-server` of this machine, in a directory of its own; ended with its last reference.
private final class RealRedis {
    private static let candidates: [String] = [
        "/usr/bin/redis-server", "/usr/local/bin/redis-server",
    ]
    static let executable: String? = candidates.first { access($0, X_OK) == 0 }

    let port: Int
    private let directory: String
    private var processID: pid_t = 0

    init(_ settings: [String]) throws {
        var template = Array("/tmp/pika-migrate-redis-XXXXXX".utf8CString)
        self.directory = String(cString: try #require(mkdtemp(&template)))
        self.port = try LoopbackPorts.next()
        try self.start(settings)
    }

    func start(_ settings: [String]) throws {
        let words =
            ["redis-server", "--port", "\(self.port)", "--dir", self.directory, "--save", ""]
            + ["--logfile", self.directory + "/log"] + settings
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let path = try #require(Self.executable)
        #expect(posix_spawn(&self.processID, path, nil, nil, &arguments, environ) == 0)
    }

    func stop() {
        guard self.processID > 0 else { return }
        kill(self.processID, SIGKILL)
        var status: Int32 = 0
        waitpid(self.processID, &status, 0)
        self.processID = 0
    }

    func connect() async throws -> RedisConnection {
        let address = RedisAddress(host: "127.0.0.1", port: self.port)
        for _ in 0..<500 {
            let connection = try? await RedisConnection.connect(
                to: address, group: MultiThreadedEventLoopGroup.singleton)
            if let connection {
                let reply = try? await connection.send("PING")
                if reply?.text == "PONG" { return connection }
                connection.close()
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw RedisConnectionError.lost("redis-server did not start")
    }

    deinit {
        self.stop()
        try? RealFileSystem().removeTree(self.directory)
    }
}

@Suite("Redis source, against redis-server", .enabled(if: RealRedis.executable != nil))
struct RealRedisTests {
    private static func source(
        _ port: Int, _ files: MemoryFileSystem,
        resolve: (@Sendable () async throws(SourceError) -> RedisAddress)? = nil
    ) -> RedisSource {
        var link = RedisLinkConfiguration(address: RedisAddress(host: "127.0.0.1", port: port))
        link.syncEveryMilliseconds = 10
        var configuration = RedisSourceConfiguration(
            link: link, spoolDirectory: "/spool", fileSystem: files)
        configuration.resolve = resolve
        return RedisSource(configuration)
    }

    private static func read(
        _ source: RedisSource, until isDone: ([SourceEvent]) -> Bool
    ) async throws -> [SourceEvent] {
        var events: [SourceEvent] = []
        while !isDone(events) { events += try await source.next() }
        return events
    }

    private static func units(_ events: [SourceEvent]) -> [SourceUnit] {
        events.compactMap { if case .unit(let unit) = $0 { unit } else { nil } }
    }

    @Test(
        "Snapshot from disk or socket, transactions, other databases, a cut link, exact offsets",
        .timeLimit(.minutes(10)), arguments: ["no", "yes"])
    func follows(diskless: String) async throws {
        let server = try RealRedis([
            "--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0",
            // A PING between two units would move the second one's start.
            "--repl-ping-replica-period", "3600",
        ])
        let client = try await server.connect()
        _ = try await client.send("RPUSH", "list", "a", "b")
        let source = Self.source(server.port, MemoryFileSystem())
        let opening = try await source.start(.fresh)
        #expect(opening.description.hasPrefix("redis "))
        let copy = try await Self.read(source) { events in
            events.contains { if case .snapshotEnd = $0 { true } else { false } }
        }
        #expect(copy.contains { if case .keyStart = $0 { true } else { false } })

        _ = try await client.send(
            requests: [
                ["SET", "k", "1"], ["SELECT", "5"], ["MULTI"], ["INCR", "n"], ["INCR", "m"],
                ["EXEC"],
            ].map { $0.map { Array($0.utf8) } })
        let first = Self.units(
            try await Self.read(source) { Self.units($0).count >= 2 })
        #expect(first[1].isTransaction)
        #expect(first[1].commands.map(\.database) == [5, 5])

        _ = try await client.send("CLIENT", "KILL", "TYPE", "replica")
        _ = try await client.send("SET", "after", "cut")
        let second = try await Self.read(source) { !Self.units($0).isEmpty }
        let unit = try #require(Self.units(second).first)
        #expect(unit.commands[0].database == 5)
        #expect(unit.start == first[1].end)
        let info = RedisInfo(try await client.send("INFO", "replication").text ?? "")
        guard case .redis(let end) = unit.end else { return }
        #expect(info["master_replid"] == end.replicationID)
        #expect(UInt64(info["master_repl_offset"] ?? "") ?? 0 >= end.offset)

        // A key and the place in the stream that it belongs to.
        let key = try await source.refresh(database: 5, key: Array("after".utf8))
        #expect(key.values.first?.chunks.first?.text(0) == Array("cut".utf8))
        #expect(key.position.covers(unit.end, database: 5))
        let absent = try await source.refresh(database: 5, key: Array("absent".utf8))
        #expect(absent.values.isEmpty)
        await source.stop()
        client.close()
    }

    /// Two servers with a key each, a source that follows the first one, and a switch.
    private static func switched(
        _ settings: [String]
    ) async throws -> (servers: [RealRedis], clients: [RedisConnection], RedisSource, Switch) {
        let first = try RealRedis(["--repl-diskless-sync-delay", "0"])
        let servers = [first, try RealRedis(settings)]
        var clients: [RedisConnection] = []
        for (index, server) in servers.enumerated() {
            clients.append(try await server.connect())
            _ = try await clients[index].send("SET", "k", "of \(index)")
        }
        let place = Switch(servers[0].port)
        let source = Self.source(servers[0].port, MemoryFileSystem()) {
            RedisAddress(host: "127.0.0.1", port: place.port.withLock { $0 })
        }
        _ = try await source.start(.fresh)
        _ = try await Self.read(source) { events in
            events.contains { if case .snapshotEnd = $0 { true } else { false } }
        }
        // Whoever reads goes over to the second one; the link stays.
        place.port.withLock { $0 = servers[1].port }
        _ = try await clients[0].send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return (servers, clients, source, place)
    }

    private final class Switch: Sendable {
        let port: Mutex<Int>
        init(_ port: Int) { self.port = Mutex(port) }
    }

    private static func value(_ read: RefreshedKey) -> String? {
        read.values.first?.chunks.first.map { String(decoding: $0.text(0), as: UTF8.self) }
    }

    @Test(
        "A key read at a new server counts when the link has come there",
        .timeLimit(.minutes(10)))
    func readerGoesAhead() async throws {
        let (servers, clients, source, _) = try await Self.switched([
            "--repl-diskless-sync-delay", "0",
        ])
        let read = try await source.refresh(database: 0, key: Array("k".utf8))
        #expect(Self.value(read) == "of 1")
        let events = try await Self.read(source) { events in
            events.contains { if case .snapshotEnd = $0 { true } else { false } }
        }
        let copies = events.compactMap {
            if case .snapshotStart(let start) = $0 { start.position } else { nil }
        }
        // The copy that follows is of the history that was read.
        #expect(copies.count == 1)
        #expect(copies.first.map { read.position.covers($0, database: 0) } == true)
        await source.stop()
        for client in clients { client.close() }
        withExtendedLifetime(servers) {}
    }

    @Test(
        "A key read at a server that the link never comes to does not count: it is read where it is",
        .timeLimit(.minutes(10)))
    func readerComesBack() async throws {
        // The second one never begins a copy: the link gets nothing of its history.
        let (servers, clients, source, place) = try await Self.switched([
            "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "3600",
        ])
        async let reading = source.refresh(database: 0, key: Array("k".utf8))
        while true {
            let stats = try await clients[1].send("INFO", "commandstats").text ?? ""
            if stats.contains("cmdstat_get:calls=") { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        place.port.withLock { $0 = servers[0].port }
        let read = try await reading
        #expect(Self.value(read) == "of 0")
        // The stream goes on in the same history.
        _ = try await clients[0].send("SET", "k", "later")
        let units = Self.units(try await Self.read(source) { !Self.units($0).isEmpty })
        #expect(units.first.map { !read.position.covers($0.end, database: 0) } == true)
        #expect(units.first.map { $0.end.covers(read.position, database: 0) } == true)
        await source.stop()
        for client in clients { client.close() }
    }

    @Test("A backlog that is overrun while we are away is a gap", .timeLimit(.minutes(10)))
    func overrun() async throws {
        let server = try RealRedis([
            "--repl-diskless-sync-delay", "0", "--repl-backlog-size", "16kb",
        ])
        let client = try await server.connect()
        let files = MemoryFileSystem()
        var source = Self.source(server.port, files)
        _ = try await source.start(.fresh)
        _ = try await Self.read(source) { events in
            events.contains { if case .snapshotEnd = $0 { true } else { false } }
        }
        _ = try await client.send("SET", "k", "1")
        let units = Self.units(try await Self.read(source) { !Self.units($0).isEmpty })
        let place = try #require(units.last).end
        await source.stop()
        // In one request: each wait of this test stands in line behind whole tests.
        _ = try await client.send(
            "EVAL", "for n = 1, 300 do redis.call('SET', 'k' .. n, string.rep('v', 400)) end", "0")
        source = Self.source(server.port, files)
        _ = try await source.start(.stream(place))
        let events = try await Self.read(source) { events in
            events.contains { if case .snapshotEnd = $0 { true } else { false } }
        }
        let starts = events.compactMap {
            if case .snapshotStart(let start) = $0 { start.reason } else { nil }
        }
        #expect(starts == [.historyGap])
        await source.stop()
        client.close()
    }
}
