import FileIO
import Glibc
import MigrateCore
import NIOPosix
import PikaStorage
import RedisSync
import SyncProtocol
import Testing

@testable import Migrate

/// A server that a developer has started: `host:port` of a Pika whose data may be destroyed.
private let liveAddress = getenv("PIKA_MIGRATE_SOURCE").flatMap {
    RedisAddress(String(cString: $0))
}

@Suite("Pika source")
struct PikaSourceTests {
    @Test("The end of a log is read from INFO as all versions print it")
    func logEnd() {
        let old = "role:master\r\ndb0 binlog_offset=0 589,safety_purge=none\r\n"
        #expect(
            PikaRefresh.logEnd(old, database: 0) == BinlogPosition(fileNumber: 0, offset: 589))
        let new = "db0:binlog_offset=3 17,safety_purge=write2file0\r\ndb1:binlog_offset=4 18,x\r\n"
        #expect(
            PikaRefresh.logEnd(new, database: 1) == BinlogPosition(fileNumber: 4, offset: 18))
        #expect(PikaRefresh.logEnd(new, database: 2) == nil)
        let many = "db1:binlog_offset=1 2\r\n"
        #expect(PikaRefresh.logEnd(many.replacing("db1", with: "db10"), database: 1) == nil)
    }

    @Test("A point in a dump survives its encoding")
    func walkPoint() {
        let point = StoreWalkPoint(database: 3, kind: .zsets, key: [0, 255, 7])
        #expect(StoreWalkPoint(point.encode()) == point)
        for length in 0..<3 { #expect(StoreWalkPoint(Array(point.encode()[..<length])) == nil) }
    }

    @Test(
        "A live Pika: all types of all databases, then its log, over a restart",
        .enabled(if: liveAddress != nil), .timeLimit(.minutes(10)))
    func live() async throws {
        let address = try #require(liveAddress)
        let client = try await RedisConnection.connect(
            to: address, group: MultiThreadedEventLoopGroup.singleton)
        try await seed(client)
        let directory = "/tmp/pika-migrate-test-\(getpid())"
        defer { try? RealFileSystem().removeTree(directory) }
        var configuration = PikaSourceConfiguration(address: address, directory: directory)
        configuration.announcedPort = 29_000 + Int(getpid() % 1_000)
        var source = PikaSource(configuration)
        let opening = try await source.start(.fresh)
        #expect(opening.description.hasPrefix("pika "))

        var kinds: [KeyKind: Int] = [:]
        var texts: [KeyKind: Int] = [:]
        var databases: Set<Int> = []
        var open = KeyKind.string
        var end: SourcePosition?
        while end == nil {
            for event in try await source.next() {
                switch event {
                case .keyStart(let head):
                    open = head.kind
                    kinds[open, default: 0] += 1
                    databases.insert(head.database)
                case .strings(let batch):
                    kinds[.string, default: 0] += batch.count
                    texts[.string, default: 0] += batch.count
                    databases.insert(batch.database)
                    for (head, _) in (0..<batch.count).map({ batch.key($0) }) {
                        let isTTL = head.name == Array("ttl".utf8)
                        #expect((head.deadlineMilliseconds != nil) == isTTL)
                    }
                case .elements(let chunk): texts[open, default: 0] += chunk.textCount
                case .snapshotEnd(let position): end = position
                default: break
                }
            }
        }
        #expect(kinds == [.string: 3, .list: 1, .set: 1, .sortedSet: 1, .hash: 1])
        #expect(texts == [.string: 3, .list: 1000, .set: 1000, .sortedSet: 1000, .hash: 2000])

        _ = try await client.send("SET", "later", "1")
        _ = try await client.send("HSET", "hash", "f", "changed")
        var units = try await Self.units(source, 2)
        #expect(units[0].commands[0].arguments[1] == Array("later".utf8))
        let refreshed = try await source.refresh(database: 0, key: Array("later".utf8))
        #expect(refreshed.values.first?.chunks.first?.text(0) == Array("1".utf8))
        let from = units[0].end
        await source.stop()

        _ = try await client.send("SET", "offline", "1")
        source = PikaSource(configuration)
        _ = try await source.start(.stream(from))
        units = try await Self.units(source, 2)
        #expect(units[0].start == from)
        #expect(units[1].commands[0].arguments[1] == Array("offline".utf8))
        await source.stop()
        client.close()
    }

    private func seed(_ client: RedisConnection) async throws {
        _ = try await client.send("FLUSHALL")
        try await Task.sleep(for: .seconds(1))
        _ = try await client.send("SELECT", "0")
        _ = try await client.send("SET", "string", "value")
        _ = try await client.send("SET", "ttl", "value", "EX", "1000")
        for start in stride(from: 0, to: 1000, by: 100) {
            for (name, key) in [("RPUSH", "list"), ("SADD", "set")] {
                _ = try await client.send(
                    [name, key].map { Array($0.utf8) }
                        + (start..<(start + 100)).map { Array("e\($0)".utf8) })
            }
            for (name, key) in [("HMSET", "hash"), ("ZADD", "zset")] {
                _ = try await client.send(
                    [name, key].map { Array($0.utf8) }
                        + (start..<(start + 100)).flatMap {
                            [Array("\($0)".utf8), Array("\($0)".utf8)]
                        })
            }
        }
        _ = try await client.send("SET", "third", "value")
    }

    private static func units(_ source: PikaSource, _ count: Int) async throws -> [SourceUnit] {
        var units: [SourceUnit] = []
        while units.count < count {
            for event in try await source.next() {
                if case .unit(let unit) = event { units.append(unit) }
            }
        }
        return units
    }
}
