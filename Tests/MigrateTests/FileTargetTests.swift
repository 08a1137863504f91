import FileIO
import MigrateCore
import RDB
import TestKit
import Testing

@testable import Migrate

/// A position in a stream of its own.
private func place(_ offset: UInt64) -> SourcePosition {
    .redis(RedisPosition(replicationID: "a", offset: offset, database: 0))
}

private func unit(_ end: UInt64, _ database: Int, _ commands: [String]...) -> WorkItem {
    var buffer = CommandBuffer()
    for command in commands { buffer.append(command) }
    return .unit(
        WorkUnit(commands: buffer, database: database, end: place(end), sources: []))
}

private func text(_ bytes: [UInt8]?) -> String { String(decoding: bytes ?? [], as: UTF8.self) }

@Suite("A file of commands as a target")
struct CommandLogTests {
    private static let path = "/aof"

    private func open(_ files: MemoryFileSystem, epoch: UInt64) throws -> CommandLog {
        let log = try CommandLog(Self.path, job: "job", fileSystem: files)
        try log.take(epoch: epoch)
        return log
    }

    @Test("Units are written with their database, several commands as a transaction")
    func golden() throws {
        let files = MemoryFileSystem()
        let log = try self.open(files, epoch: 1)
        var copied = CommandBuffer()
        copied.append(["SET", "a", "1"])
        try log.append([.bulk(copied, database: 0, keys: 1), unit(10, 0, ["DEL", "a"])])
        try log.append([unit(20, 3, ["INCR", "b"], ["INCR", "c"])])
        #expect(
            text(files.contents(Self.path))
                == "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
                + "*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
                + "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb\r\n"
                + "*2\r\n$4\r\nINCR\r\n$1\r\nc\r\n*1\r\n$4\r\nEXEC\r\n")
        #expect(log.mark.markers[0]?.position == place(10))
        #expect(log.mark.markers[3]?.position == place(20))
    }

    @Test("What was written is read back: the snapshot's commands, then each unit as one")
    func readBack() async throws {
        let files = MemoryFileSystem()
        let log = try self.open(files, epoch: 1)
        var copied = CommandBuffer()
        copied.append(["SET", "a", "1"])
        copied.append(["RPUSH", "l", "x", "\r\n*1"])
        try log.append([.bulk(copied, database: 4, keys: 2)])
        try log.append([unit(10, 0, ["INCR", "b"], ["INCR", "c"]), unit(20, 4, ["DEL", "a"])])
        let events = try await FileSourceTests.all(FileSourceTests.file(files, Self.path))
        #expect(
            FileSourceTests.text(events) == [
                "4:SET a 1", "4:RPUSH l x \r\n*1", "0:INCR b; 0:INCR c", "4:DEL a", "end",
            ])
    }

    @Test("What a crash leaves behind the mark is cut off, with its markers")
    func resume() throws {
        for crash in [false, true] {
            let files = MemoryFileSystem()
            var log = try self.open(files, epoch: 1)
            try log.append([unit(10, 0, ["INCR", "a"])])
            try log.persist(place(10))
            let whole = files.contents(Self.path)
            try log.append([unit(20, 0, ["INCR", "a"])])
            #expect(files.contents(Self.path) != whole)
            log.close()
            if crash { files.crash() }
            log = try CommandLog(Self.path, job: "job", fileSystem: files)
            #expect(log.heldEpoch == 1)
            try log.take(epoch: 2)
            #expect(files.contents(Self.path) == whole)
            #expect(log.mark.low == place(10))
            #expect(log.mark.markers[0]?.position == place(10))
            // The next command can't rely on a database that was selected before.
            try log.append([unit(30, 0, ["INCR", "a"])])
            #expect(text(files.contents(Self.path)).components(of: "SELECT") == 2)
        }
    }

    @Test("A full device ends the run, and leaves the file whole")
    func full() throws {
        let files = MemoryFileSystem()
        let log = try self.open(files, epoch: 1)
        try log.append([unit(10, 0, ["SET", "a", "1"])])
        let whole = files.contents(Self.path)
        files.setCapacity(500)
        let long = String(repeating: "x", count: 1_000)
        for _ in 0..<2 {
            let error = #expect(throws: RunError.self) {
                try log.append([unit(20, 0, ["SET", "a", long])])
            }
            guard case .outOfSpace = error else { continue }
            #expect(files.contents(Self.path) == whole)
        }
        #expect(files.contents(Self.path) == whole)
        #expect(log.mark.markers[0]?.position == place(10))
    }

    @Test("A file that was changed, is another job's or is held is not gone on with")
    func foreign() throws {
        let files = MemoryFileSystem()
        let log = try self.open(files, epoch: 1)
        try log.append([unit(10, 0, ["SET", "a", "1"])])
        try log.persist(place(10))
        #expect(throws: RunError.self) {
            try CommandLog(Self.path, job: "job", fileSystem: files)
        }
        log.close()
        let other = try CommandLog(Self.path, job: "other", fileSystem: files)
        #expect(other.heldEpoch == nil && other.isForeign)
        other.close()
        var bytes = try #require(files.contents(Self.path))
        bytes[bytes.count - 3] ^= 1
        files.setContents(Self.path, bytes)
        let changed = try CommandLog(Self.path, job: "job", fileSystem: files)
        #expect(changed.heldEpoch == nil && changed.isForeign)
    }

    @Test("A copy begins the file anew; FLUSHDB goes only to databases that were used")
    func anew() throws {
        let files = MemoryFileSystem()
        let log = try self.open(files, epoch: 1)
        try log.append([unit(10, 0, ["SET", "a", "1"])])
        try log.restart()
        #expect(files.contents(Self.path)?.isEmpty == true)
        #expect(log.mark.markers.isEmpty && log.mark.low == nil)
        try log.append([unit(20, 1, ["SET", "a", "1"])])
        for database in 0..<4 { try log.empty(database: database, end: place(30)) }
        let written = text(files.contents(Self.path))
        #expect(written.components(of: "FLUSHDB") == 1)
        #expect(written.components(of: "SELECT") == 1)
        #expect(log.mark.markers.count == 4)
    }
}

@Suite("An RDB as a target")
struct SnapshotWriterTests {
    private static func head(
        _ name: String, _ kind: KeyKind, database: Int = 0, deadline: Int64? = nil
    ) -> KeyHead {
        KeyHead(
            database: database, name: Array(name.utf8), kind: kind, deadlineMilliseconds: deadline)
    }

    private static func chunk(_ texts: [String], scores: [Double] = []) -> ElementChunk {
        var chunk = ElementChunk()
        for text in texts { chunk.append(Array(text.utf8)) }
        chunk.scores = ContiguousArray(scores)
        return chunk
    }

    private static func writer(
        _ policy: PlanPolicy = PlanPolicy(), checksNames: Bool = false
    ) -> SnapshotWriter {
        SnapshotWriter(filter: KeyFilter(), policy: policy, checksNames: checksNames)
    }

    @Test("A key of one chunk has its count before it, byte for byte")
    func golden() throws {
        var writer = Self.writer()
        try writer.begin(Self.head("l", .list, database: 2, deadline: 1_000), now: 999)
        try writer.append(Self.chunk(["a", "b"]))
        #expect(writer.endKey() == .list)
        try writer.begin(Self.head("e", .string), now: 0)
        #expect(writer.endKey() == .string)
        try writer.end()
        let bytes = Array(writer.takeBytes())
        let aux: [UInt8] = [0xfa, 10] + Array("redis-bits".utf8) + [2] + Array("64".utf8)
        let keys: [UInt8] = [
            0xfe, 2, 0xfc, 0xe8, 3, 0, 0, 0, 0, 0, 0, 1, 1, 0x6c, 2, 1, 0x61, 1, 0x62,  //
            0xfe, 0, 0, 1, 0x65, 0, 0xff,
        ]
        #expect(Array(bytes.dropLast(8)) == Array("REDIS0009".utf8) + aux + keys)
        let sum = CRC64.checksum(bytes.dropLast(8))
        #expect(bytes.suffix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) } == sum)
    }

    @Test("Keys of any length, taken in pieces of any size, are read back as they were")
    func roundTrip() async throws {
        for seed in UInt64(1)...6 {
            var random = SeededRandom(seed: seed)
            let files = MemoryFileSystem()
            let file = try SnapshotFile("/d.rdb", replaces: false, fileSystem: files)
            var writer = Self.writer()
            var expected: [String] = []
            for number in 0..<60 {
                let kind = [KeyKind.string, .list, .set, .sortedSet, .hash].randomElement(
                    using: &random)!
                let head = Self.head("k\(number)", kind, database: number / 20)
                try writer.begin(head, now: 0)
                var elements = 0
                let chunks = Int.random(in: 1...4, using: &random)
                for part in 0..<chunks {
                    let count = kind == .string ? 1 : 2 * Int.random(in: 1...100, using: &random)
                    let texts = (0..<count).map { "\(part)-\($0)-\(number)" }
                    let scores = kind == .sortedSet ? (0..<count).map { Double($0) / 3 } : []
                    try writer.append(Self.chunk(texts, scores: scores))
                    elements += kind == .string ? texts[0].utf8.count : count
                    if random.chance(0.3) { try file.write(&writer) }
                }
                #expect(writer.endKey() == kind)
                expected.append("\(number / 20) k\(number) \(kind) \(elements)")
            }
            try writer.end()
            try file.write(&writer)
            #expect(files.contents("/d.rdb") == nil)
            try file.complete()
            let events = try await FileSourceTests.all(FileSourceTests.file(files, "/d.rdb"))
            #expect(Self.summary(events) == expected, "seed \(seed)")
            let notices = events.filter { if case .notice = $0 { true } else { false } }
            #expect(notices.isEmpty)
        }
    }

    /// A line for each key: strings by their length, all others by their elements.
    static func summary(_ events: [SourceEvent]) -> [String] {
        var lines: [String] = []
        var open: (head: KeyHead, count: Int)?
        for event in events {
            switch event {
            case .keyStart(let head): open = (head, 0)
            case .elements(let chunk):
                let isString = open?.head.kind == .string
                open?.count += isString ? chunk.bytes.count : chunk.textCount
            case .keyEnd:
                guard let key = open else { break }
                let name = String(decoding: key.head.name, as: UTF8.self)
                lines.append("\(key.head.database) \(name) \(key.head.kind) \(key.count)")
            case .strings(let batch):
                for index in 0..<batch.count {
                    let (head, chunk) = batch.key(index)
                    let name = String(decoding: head.name, as: UTF8.self)
                    lines.append("\(head.database) \(name) string \(chunk.bytes.count)")
                }
            default: break
            }
        }
        return lines
    }

    @Test("Expired keys and empty collections are left out, what policies name as they say")
    func policies() throws {
        var writer = Self.writer()
        try writer.begin(Self.head("old", .string, deadline: 5), now: 5)
        try writer.append(Self.chunk(["v"]))
        #expect(writer.endKey() == nil)
        try writer.begin(Self.head("none", .set), now: 0)
        #expect(writer.endKey() == nil)
        #expect(writer.takeNotes() == [PlanNote("expired")])
        #expect(throws: PlanRefusal.self) { try writer.begin(Self.head("x", .stream), now: 0) }
        try writer.begin(Self.head("z", .sortedSet), now: 0)
        #expect(throws: PlanRefusal.self) {
            try writer.append(Self.chunk(["m"], scores: [.nan]))
        }
        var fields = Self.chunk(["f", "v"])
        fields.fieldDeadlines = [9]
        try writer.begin(Self.head("h", .hash), now: 0)
        #expect(throws: PlanRefusal.self) { try writer.append(fields) }

        var policy = PlanPolicy()
        policy.stream = .skip
        policy.nanScore = .skip
        policy.fieldDeadline = .drop
        writer = Self.writer(policy)
        try writer.begin(Self.head("x", .stream), now: 0)
        #expect(writer.endKey() == nil)
        try writer.begin(Self.head("z", .sortedSet), now: 0)
        try writer.append(Self.chunk(["m"], scores: [.nan]))
        #expect(writer.endKey() == nil)
        try writer.begin(Self.head("h", .hash), now: 0)
        try writer.append(fields)
        #expect(writer.endKey() == .hash)
        #expect(
            writer.takeNotes().map(\.name) == ["stream", "nan-score", "field-deadline"])
    }

    @Test("A name that comes twice is refused before the file has its name")
    func twice() throws {
        var writer = Self.writer(checksNames: true)
        for kind in [KeyKind.string, .list] {
            try writer.begin(Self.head("k", kind), now: 0)
            try writer.append(Self.chunk(["v"]))
            _ = writer.endKey()
        }
        #expect(throws: PlanRefusal.self) { try writer.end() }
    }

    @Test("A full device is told as such, and leaves no file behind")
    func full() throws {
        let files = MemoryFileSystem()
        files.setCapacity(200)
        var writer = Self.writer()
        try writer.begin(Self.head("k", .string), now: 0)
        try writer.append(Self.chunk([String(repeating: "x", count: 1_000)]))
        _ = writer.endKey()
        try writer.end()
        var file: SnapshotFile? = try SnapshotFile("/d.rdb", replaces: false, fileSystem: files)
        let error = #expect(throws: RunError.self) { try file?.write(&writer) }
        guard case .outOfSpace = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        file = nil
        #expect(try files.list("/") == [])
    }

    @Test("A file that is there is replaced only if that is asked for, and by a whole one")
    func replacing() throws {
        let files = MemoryFileSystem()
        files.setContents("/d.rdb", [1])
        #expect(throws: RunError.self) {
            try SnapshotFile("/d.rdb", replaces: false, fileSystem: files)
        }
        let file = try SnapshotFile("/d.rdb", replaces: true, fileSystem: files)
        _ = files.takeOperations()
        var writer = Self.writer()
        try writer.end()
        try file.write(&writer)
        #expect(files.contents("/d.rdb") == [1])
        try file.complete()
        files.crash()
        #expect(files.contents("/d.rdb")?.starts(with: Array("REDIS0009".utf8)) == true)
    }

    @Test("URLs of files, and those that name none")
    func urls() throws {
        #expect(try TargetLocation.parse("rdb:///a/b.rdb") == .rdb(path: "/a/b.rdb"))
        #expect(try TargetLocation.parse("aof:b.aof") == .aof(path: "b.aof"))
        #expect(try TargetLocation.parse("redis://a:1") == nil)
        #expect(throws: RunError.self) { try TargetLocation.parse("aof:") }
        #expect(throws: RunError.self) { try TargetLocation.parse("rdb:///a/") }
    }
}

extension String {
    /// How often a word is in it.
    fileprivate func components(of word: String) -> Int {
        self.split(separator: "\r\n").count { $0 == word }
    }
}
