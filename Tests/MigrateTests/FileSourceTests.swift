import FileIO
import MigrateCore
import RDB
import RedisSync
import TestKit
import Testing

@testable import Migrate

@Suite("File sources")
struct FileSourceTests {
    static func all(_ source: any Source, from: SourceStart = .fresh) async throws -> [SourceEvent]
    {
        _ = try await source.start(from)
        var events: [SourceEvent] = []
        while true {
            events += try await source.next()
            if case .end = events.last { return events }
        }
    }

    static func text(_ events: [SourceEvent]) -> [String] {
        events.flatMap { event -> [String] in
            let names = event.keyNames.map { "key \($0)" }
            return names.isEmpty ? [Self.text(event)].compactMap { $0 } : names
        }
    }

    private static func text(_ event: SourceEvent) -> String? {
        switch event {
        case .snapshotStart(let start): "start \(start.reason)"
        case .snapshotEnd: "snapshot end"
        case .unit(let unit):
            unit.commands.map { command in
                "\(command.database):"
                    + command.arguments.map { String(decoding: $0, as: UTF8.self) }
                    .joined(separator: " ")
            }.joined(separator: "; ")
        case .notice(let notice): "notice \(notice.kind)"
        case .end: "end"
        default: nil
        }
    }

    static func file(_ files: MemoryFileSystem, _ path: String) -> FileSource {
        FileSource(path: path, fileSystem: files, wallClockMilliseconds: { 0 })
    }

    @Test("An RDB gives its keys and ends")
    func rdb() async throws {
        let files = MemoryFileSystem()
        files.setContents("/d.rdb", FakeRedis.snapshot([("a", "1"), ("b", "2")]))
        let events = try await Self.all(Self.file(files, "/d.rdb"))
        #expect(
            Self.text(events) == ["start firstCopy", "key a", "key b", "snapshot end", "end"])
    }

    @Test("An AOF with preamble, times and a cut end; and from a position within")
    func aof() async throws {
        let files = MemoryFileSystem()
        let set = FakeRedis.command("SET", "k", "#TS:1\r\n*")
        let bytes =
            FakeRedis.snapshot([("a", "1")]) + FakeRedis.command("SELECT", "2") + set
            + Array("#TS:1700000000\r\n".utf8) + FakeRedis.command("MULTI") + set + set
            + FakeRedis.command("EXEC") + set.prefix(11)
        files.setContents("/a.aof", bytes)
        let events = try await Self.all(Self.file(files, "/a.aof"))
        let one = "2:SET k #TS:1\r\n*"
        #expect(
            Self.text(events) == [
                "start firstCopy", "key a", "snapshot end", one, "\(one); \(one)",
                "notice truncated", "end",
            ])
        let units = events.compactMap { if case .unit(let unit) = $0 { unit } else { nil } }
        #expect(units[1].sourceTimeMilliseconds == 1_700_000_000_000)
        guard case .file(let end) = units[1].end else { return }
        #expect(end.offset == UInt64(bytes.count - 11))
        let rest = try await Self.all(Self.file(files, "/a.aof"), from: .stream(units[0].end))
        #expect(Self.text(rest) == ["\(one); \(one)", "notice truncated", "end"])
    }

    @Test("A directory of base and increments, in the manifest's order; history is left out")
    func multipart() async throws {
        let files = MemoryFileSystem()
        try files.makeDirectory("/aof")
        files.setContents("/aof/b.rdb", FakeRedis.snapshot([("a", "1")]))
        files.setContents(
            "/aof/i1.aof", FakeRedis.command("SELECT", "1") + FakeRedis.command("DEL", "x"))
        files.setContents("/aof/i2.aof", FakeRedis.command("DEL", "y"))
        files.setContents("/aof/old.aof", Array("nonsense".utf8))
        files.setContents(
            "/aof/appendonly.aof.manifest",
            Array(
                """
                file b.rdb seq 1 type b
                file old.aof seq 1 type h
                file i1.aof seq 1 type i
                file i2.aof seq 2 type i

                """.utf8))
        let events = try await Self.all(Self.file(files, "/aof"))
        #expect(
            Self.text(events) == [
                "start firstCopy", "key a", "snapshot end", "1:DEL x", "1:DEL y", "end",
            ])
        files.setContents("/aof/i1.aof", FakeRedis.command("DEL", "x").dropLast())
        await #expect(throws: SourceError.self) {
            _ = try await Self.all(Self.file(files, "/aof"))
        }
    }

    @Test("An AOF is cut the same whatever the pieces, and every strict prefix is incomplete")
    func splitter() {
        let command = FakeRedis.command("SET", "key", "value")
        #expect(AppendOnlySplitter.next(command[...]) == .command(command.count))
        for length in 0..<command.count {
            #expect(AppendOnlySplitter.next(command[..<length]) == .incomplete)
        }
        #expect(
            AppendOnlySplitter.next(Array("#TS:12\r\nx".utf8)[...]) == .annotation(8, seconds: 12))
        #expect(AppendOnlySplitter.next(Array("#x\n".utf8)[...]) == .annotation(3, seconds: nil))
        for text in ["x\r\n", "*0\r\n", "*-1\r\n", "*1\r\n:1\r\n", "*1\r\n$x\r\n"] {
            #expect(AppendOnlySplitter.next(Array(text.utf8)[...]) == .malformed)
        }
    }

    @Test("URLs of files and Sentinels are read; what is not known is refused")
    func locations() throws {
        #expect(try SourceLocation.parse("redis://h:1") == nil)
        #expect(try SourceLocation.parse("rdb:/a/b") == .file(path: "/a/b", untilSeconds: nil))
        #expect(try SourceLocation.parse("aof:///a?until=5") == .file(path: "/a", untilSeconds: 5))
        #expect(try SourceLocation.parse("pika-dump:/d") == .dump(path: "/d"))
        #expect(
            try SourceLocation.parse("binlog:/l?db=2&file=3&offset=4")
                == .binlog(
                    path: "/l", database: 2,
                    limits: BinlogSource.Limits(
                        position: PikaLogPosition(fileNumber: 3, offset: 4, digest: 0))))
        #expect(
            try SourceLocation.parse("sentinel://a:1,b/main")
                == .sentinel(
                    addresses: [
                        RedisAddress(host: "a", port: 1), RedisAddress(host: "b", port: 26_379),
                    ], name: "main"))
        #expect(throws: SourceError.self) { try SourceLocation.parse("binlog:/l?x=2") }
        #expect(throws: SourceError.self) { try SourceLocation.parse("sentinel://a:1") }
    }
}
