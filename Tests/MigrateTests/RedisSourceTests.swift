import FileIO
import MigrateCore
import Synchronization
import TestKit
import Testing

@testable import Migrate

/// A source that follows a fake master, with what it gave out.
private final class Follower {
    static let first = String(repeating: "1", count: 40)
    static let second = String(repeating: "2", count: 40)

    let fake: FakeRedis
    let files: MemoryFileSystem
    var source: RedisSource
    var events: [SourceEvent] = []

    init(
        _ fake: FakeRedis, files: MemoryFileSystem = MemoryFileSystem(), password: String? = nil,
        partner: String = ""
    ) {
        self.fake = fake
        self.files = files
        self.source = Self.source(fake, files, password, partner: partner)
    }

    static func source(
        _ fake: FakeRedis, _ files: MemoryFileSystem, _ password: String?, partner: String = ""
    ) -> RedisSource {
        var link = RedisLinkConfiguration(
            address: RedisAddress(host: "127.0.0.1", port: fake.port),
            password: { password.map { Array($0.utf8) } })
        link.syncEveryMilliseconds = 10
        var configuration = RedisSourceConfiguration(
            link: link, spoolDirectory: "/spool", fileSystem: files)
        configuration.origin = OriginFilter(partner: partner)
        return RedisSource(configuration)
    }

    /// Reads until an event is what is waited for.
    func read(until isLast: (SourceEvent) -> Bool) async throws {
        while true {
            let new = try await self.source.next()
            self.events += new
            if new.contains(where: isLast) { return }
        }
    }

    func readUnits(_ count: Int) async throws {
        while self.units.count < count { self.events += try await self.source.next() }
    }

    var units: [SourceUnit] {
        self.events.compactMap { if case .unit(let unit) = $0 { unit } else { nil } }
    }

    var commands: [String] {
        self.units.map { unit in
            unit.commands.map { command in
                "\(command.database):"
                    + command.arguments.map { String(decoding: $0, as: UTF8.self) }
                    .joined(separator: " ")
            }.joined(separator: "; ")
        }
    }

    var keys: [String] {
        self.events.flatMap(\.keyNames)
    }

    var starts: [SnapshotStart] {
        self.events.compactMap { if case .snapshotStart(let start) = $0 { start } else { nil } }
    }

    var changes: [IdentityChange] {
        self.events.compactMap { if case .identityChange(let change) = $0 { change } else { nil } }
    }
}

@Suite("Redis source, against a fake master", .timeLimit(.minutes(10)))
struct RedisSourceTests {
    @Test("Snapshot with a length or a mark, then units with their exact ends", arguments: [0, 1])
    func snapshotAndStream(form: Int) async throws {
        let fake = try await FakeRedis()
        let file = FakeRedis.snapshot([("a", "1"), ("b", "2")])
        let set = FakeRedis.command("SET", "c", "3")
        let select = FakeRedis.command("SELECT", "3")
        fake.answer(
            (form == 0
                ? FakeRedis.fullSync(Follower.first, 1000, file)
                : FakeRedis.markedSync(Follower.first, 1000, file)) + set + select
                + FakeRedis.command("MULTI") + set + set)
        let follower = Follower(fake)
        let opening = try await follower.source.start(.fresh)
        #expect(opening.canRefresh)
        try await follower.readUnits(1)
        #expect(follower.keys == ["a", "b"])
        #expect(follower.starts.map(\.reason) == [.firstCopy])
        #expect(follower.commands == ["0:SET c 3"])
        let end = RedisPosition(
            replicationID: Follower.first, offset: 1000 + UInt64(set.count), database: 0)
        #expect(follower.units[0].end == .redis(end))
        // A transaction is a unit once it is whole.
        fake.send(FakeRedis.command("EXEC"))
        try await follower.readUnits(2)
        #expect(follower.commands[1] == "3:SET c 3; 3:SET c 3")
        #expect(follower.units[1].isTransaction)
        #expect(follower.units[1].start != follower.units[1].end)
        await follower.source.stop()
        await fake.stop()
    }

    @Test("Acknowledgements name what is durable, and come without being asked for")
    func acknowledgements() async throws {
        let fake = try await FakeRedis()
        let set = FakeRedis.command("SET", "c", "3")
        fake.answer(FakeRedis.fullSync(Follower.first, 10, FakeRedis.snapshot([])) + set)
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        try await follower.readUnits(1)
        let wanted = String(10 + set.count)
        while !fake.requests("REPLCONF").contains(["REPLCONF", "ACK", wanted]) {
            try await Task.sleep(for: .milliseconds(20))
        }
        let getAck = FakeRedis.command("REPLCONF", "GETACK", "*")
        fake.send(getAck)
        let next = String(10 + set.count + getAck.count)
        while !fake.requests("REPLCONF").contains(["REPLCONF", "ACK", next]) {
            try await Task.sleep(for: .milliseconds(20))
        }
        await follower.source.stop()
        await fake.stop()
    }

    @Test("A lost link goes on at the next byte; a new id is said before what it brings")
    func continuesWithNewID() async throws {
        let fake = try await FakeRedis()
        let set = FakeRedis.command("SET", "c", "3")
        let file = FakeRedis.snapshot([("a", "1")])
        // Cut in the middle of a command.
        fake.answer(FakeRedis.fullSync(Follower.first, 0, file) + set + set.prefix(9))
        fake.answer(Array("+CONTINUE \(Follower.second)\r\n".utf8) + set.dropFirst(9) + set)
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        try await follower.readUnits(1)
        while await follower.source.status().backlogBytes < 9 {
            try await Task.sleep(for: .milliseconds(10))
        }
        fake.drop()
        try await follower.readUnits(3)
        #expect(follower.commands == ["0:SET c 3", "0:SET c 3", "0:SET c 3"])
        #expect(
            fake.requests("PSYNC").last == ["PSYNC", Follower.first, String(set.count + 10)])
        #expect(follower.starts.count == 1)
        #expect(follower.changes.count == 1)
        guard case .redis(let end) = follower.units[2].end else { return }
        #expect(end.replicationID == Follower.second)
        #expect(end.offset == UInt64(3 * set.count))
        await follower.source.stop()
        await fake.stop()
    }

    @Test("A full copy in mid-life is a gap in the history")
    func gap() async throws {
        let fake = try await FakeRedis()
        let set = FakeRedis.command("SET", "c", "3")
        fake.answer(FakeRedis.fullSync(Follower.first, 0, FakeRedis.snapshot([("a", "1")])) + set)
        fake.answer(FakeRedis.fullSync(Follower.second, 5, FakeRedis.snapshot([("z", "1")])) + set)
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        try await follower.readUnits(1)
        fake.drop()
        try await follower.readUnits(2)
        #expect(follower.keys == ["a", "z"])
        #expect(follower.starts.map(\.reason) == [.firstCopy, .historyGap])
        await follower.source.stop()
        await fake.stop()
    }

    @Test("A source that left our history before what we have is stopped at")
    func lostWrites() async throws {
        let fake = try await FakeRedis()
        let set = FakeRedis.command("SET", "c", "3")
        fake.answer(FakeRedis.fullSync(Follower.first, 100, FakeRedis.snapshot([])) + set)
        fake.answer(FakeRedis.fullSync(Follower.second, 105, FakeRedis.snapshot([])))
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        try await follower.readUnits(1)
        fake.state.withLock {
            $0.info =
                "master_replid:\(Follower.second)\r\nmaster_replid2:\(Follower.first)\r\n"
                + "second_repl_offset:106\r\n"
        }
        fake.drop()
        let error = await #expect(throws: SourceError.self) {
            while true { _ = try await follower.source.next() }
        }
        guard case .lostWrites = error else { throw error ?? .stopped }
        await follower.source.stop()
        await fake.stop()
    }

    @Test(
        "Two-way: a source that lost only what the other job brought goes on where it left our history",
        arguments: [true, false])
    func lostEchoes(ownIsLost: Bool) async throws {
        let fake = try await FakeRedis()
        let own = FakeRedis.command("SET", "own", "1")
        let echo =
            FakeRedis.command("MULTI") + FakeRedis.command("SET", "e", "1")
            + FakeRedis.command("SET", "__pika_migrate:forth:0", "m") + FakeRedis.command("EXEC")
        let low = FakeRedis.command("SET", "__pika_migrate:forth:low", "m")
        let stream = ownIsLost ? echo + own : own + echo
        fake.answer(FakeRedis.fullSync(Follower.first, 100, FakeRedis.snapshot([])) + stream + low)
        fake.answer(FakeRedis.fullSync(Follower.second, 300, FakeRedis.snapshot([("e", "0")])))
        fake.answer(Array("+CONTINUE \(Follower.second)\r\n".utf8) + own)
        let follower = Follower(fake, partner: "forth")
        _ = try await follower.source.start(.fresh)
        try await follower.readUnits(3)
        // It still has what came first.
        let left = 100 + (ownIsLost ? echo.count : own.count)
        fake.state.withLock {
            $0.info =
                "master_replid:\(Follower.second)\r\nmaster_replid2:\(Follower.first)\r\n"
                + "second_repl_offset:\(left + 1)\r\n"
        }
        fake.drop()
        guard !ownIsLost else {
            let error = await #expect(throws: SourceError.self) {
                while true { _ = try await follower.source.next() }
            }
            guard case .lostWrites = error else { throw error ?? .stopped }
            await follower.source.stop()
            return await fake.stop()
        }
        try await follower.readUnits(4)
        #expect(fake.requests("PSYNC").last == ["PSYNC", Follower.first, "\(left + 1)"])
        #expect(follower.starts.count == 1)
        let change = try #require(follower.changes.first)
        #expect(change.goesBack && follower.changes.count == 1)
        #expect(
            change.new
                == .redis(
                    RedisPosition(
                        replicationID: Follower.second, offset: UInt64(left), database: 0)))
        #expect(follower.units[3].start == change.new)
        await follower.source.stop()
        await fake.stop()
    }

    @Test("A restart goes on from the spool without a new copy")
    func restart() async throws {
        let fake = try await FakeRedis()
        let set = FakeRedis.command("SET", "c", "3")
        fake.answer(
            FakeRedis.fullSync(Follower.first, 0, FakeRedis.snapshot([("a", "1")])) + set + set)
        fake.answer(Array("+CONTINUE\r\n".utf8) + set)
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        try await follower.readUnits(2)
        await follower.source.stop()

        follower.source = Follower.source(fake, follower.files, nil)
        let from = follower.units[0].end
        follower.events = []
        _ = try await follower.source.start(.stream(from))
        try await follower.readUnits(2)
        #expect(follower.units[0].start == from)
        #expect(follower.starts.isEmpty)
        #expect(
            fake.requests("PSYNC").last
                == ["PSYNC", Follower.first, String(2 * set.count + 1)])
        await follower.source.stop()

        // Without the spool the source's history is as good.
        let other = Follower(fake)
        _ = try await other.source.start(.stream(from))
        try await other.readUnits(1)
        #expect(
            fake.requests("PSYNC").last == ["PSYNC", Follower.first, String(set.count + 1)])
        #expect(other.starts.isEmpty)
        await other.source.stop()
        await fake.stop()
    }

    @Test("Keys come while the rest is on its way; a link that breaks then begins a new copy")
    func overlapping() async throws {
        let fake = try await FakeRedis()
        let file = FakeRedis.snapshot([("a", "1"), ("b", "2"), ("c", "3")])
        // Checksum, end and a part of the last key are missing.
        fake.answer(Array(FakeRedis.fullSync(Follower.first, 7, file).dropLast(12)))
        fake.answer(FakeRedis.fullSync(Follower.first, 9, FakeRedis.snapshot([("z", "1")])))
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        while follower.keys.count < 2 { follower.events += try await follower.source.next() }
        #expect(follower.keys == ["a", "b"])
        fake.drop()
        try await follower.read { if case .snapshotEnd = $0 { true } else { false } }
        #expect(follower.keys == ["a", "b", "z"])
        #expect(follower.starts.map(\.reason) == [.firstCopy, .firstCopy])
        await follower.source.stop()
        await fake.stop()
    }

    @Test("A snapshot goes on at a point between two keys")
    func resumesSnapshot() async throws {
        let fake = try await FakeRedis()
        let values = (0..<1200).map { ("key\($0)", String(repeating: "v", count: 1000 + $0)) }
        fake.answer(FakeRedis.fullSync(Follower.first, 7, FakeRedis.snapshot(values)))
        let follower = Follower(fake)
        _ = try await follower.source.start(.fresh)
        try await follower.read { if case .snapshotPoint = $0 { true } else { false } }
        let index = try #require(
            follower.events.firstIndex {
                if case .snapshotPoint = $0 { true } else { false }
            })
        guard case .snapshotPoint(let point, _) = follower.events[index] else { return }
        follower.events = Array(follower.events[..<index])
        let before = follower.keys
        await follower.source.stop()

        follower.source = Follower.source(fake, follower.files, nil)
        follower.events = []
        _ = try await follower.source.start(.snapshot(point))
        try await follower.read { if case .snapshotEnd = $0 { true } else { false } }
        #expect(follower.starts.map(\.isResumed) == [true])
        #expect(before + follower.keys == values.map(\.0))
        await follower.source.stop()

        // Without the spool a new copy takes its place, and the target has a part of the old one.
        let other = Follower(fake)
        _ = try await other.source.start(.snapshot(point))
        try await other.read { if case .snapshotEnd = $0 { true } else { false } }
        #expect(other.starts.map(\.reason) == [.historyGap])
        #expect(other.keys == values.map(\.0))
        await other.source.stop()
        await fake.stop()
    }

    @Test("A wrong password ends the source, a server that loads is waited for")
    func refusals() async throws {
        let fake = try await FakeRedis()
        fake.state.withLock {
            $0.password = "right"
            $0.pingReplies = ["-LOADING Redis is loading the dataset in memory"]
        }
        let refused = Follower(fake, password: "wrong")
        _ = try await refused.source.start(.fresh)
        let error = await #expect(throws: SourceError.self) {
            while true { _ = try await refused.source.next() }
        }
        guard case .refused = error else { throw error ?? .stopped }
        await refused.source.stop()

        fake.state.withLock {
            $0.pingReplies = ["-LOADING Redis is loading the dataset in memory"]
        }
        fake.answer(FakeRedis.fullSync(Follower.first, 0, FakeRedis.snapshot([("a", "1")])))
        let follower = Follower(fake, password: "right")
        _ = try await follower.source.start(.fresh)
        try await follower.read { if case .snapshotEnd = $0 { true } else { false } }
        #expect(follower.keys == ["a"])
        await follower.source.stop()
        await fake.stop()
    }
}
