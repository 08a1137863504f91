import MigrateCore
import Testing

@Suite("A copy by cursor beside the stream")
struct ScanProgressTests {
    private static func unit(_ text: String, _ end: UInt64, database: Int = 0) -> SourceUnit {
        let position = SourcePosition.redis(
            RedisPosition(replicationID: "id", offset: end, database: database))
        return SourceUnit(
            commands: [
                SourceCommand(
                    database: database,
                    arguments: text.split(separator: " ").map { Array($0.utf8) })
            ], isTransaction: false, start: position, end: position, sourceTimeMilliseconds: 0)
    }

    private static func key(_ database: Int, _ text: String) -> DatabaseKey {
        DatabaseKey(database, Array(text.utf8))
    }

    /// A copy whose cursor is at its end, with everything read at 100.
    private static func scanned(_ databases: Set<Int> = [0]) -> ScanProgress {
        var progress = ScanProgress(databases: databases, from: 50)
        for _ in databases {
            _ = progress.step()
            progress.read(at: 100)
            progress.scanned(next: 0)
        }
        return progress
    }

    @Test("Every database is gone through to its cursor's end, from a place on if there is one")
    func databases() {
        var progress = ScanProgress(
            databases: [0, 3, 7], from: 1, at: ScanProgress.Place(database: 3, cursor: 9))
        var steps = [progress.step()]
        progress.scanned(next: 17)
        steps.append(progress.step())
        progress.scanned(next: 0)
        steps.append(progress.step())
        progress.rescan()
        steps.append(progress.step())
        #expect(
            steps == [
                .scan(database: 3, cursor: 9), .scan(database: 3, cursor: 17),
                .scan(database: 7, cursor: 0), .scan(database: 0, cursor: 0),
            ])
    }

    @Test("Keys that were written meanwhile are read again behind the stream's place")
    func passes() {
        var progress = Self.scanned()
        var step = progress.step()
        #expect(step == .catchUp)
        _ = progress.take(Self.unit("SET a 1", 110))
        step = progress.step()
        #expect(step == .reread([Self.key(0, "a")]))
        #expect(!progress.takesUnits)
        progress.read(at: 130)
        step = progress.step()
        #expect(step == .finish)
        #expect(progress.fence == 110 && progress.horizon == 130)
    }

    @Test("Without writes it is complete as soon as the stream is behind what was read")
    func quiet() {
        var progress = Self.scanned()
        progress.advance(to: 100)
        let step = progress.step()
        #expect(step == .finish)
    }

    @Test("Before the first SELECT a key may be in any database")
    func unknown() {
        var progress = Self.scanned([0, 5])
        _ = progress.take(Self.unit("DEL a", 110, database: ScanProgress.unknownDatabase))
        guard case .reread(let keys) = progress.step() else { return }
        #expect(Set(keys) == [Self.key(0, "a"), Self.key(5, "a")])
    }

    @Test("An emptied database makes the copy begin anew")
    func emptied() {
        var progress = Self.scanned()
        let isSound = progress.take(Self.unit("FLUSHALL", 110))
        #expect(!isSound)
    }

    @Test("Behind the copy, keys are read up to the horizon and replayed behind it")
    func horizon() {
        let early = ScanProgress.following(
            Self.unit("INCR a", 130), horizon: 130, databases: [0])
        let late = ScanProgress.following(
            Self.unit("INCR a", 131), horizon: 130, databases: [0])
        let unknown = ScanProgress.following(
            Self.unit("INCR a", 131, database: ScanProgress.unknownDatabase), horizon: 130,
            databases: [0, 5])
        #expect([early, late, unknown].map(\.mustRead) == [true, false, true])
        #expect(unknown.commands.map(\.database) == [0, 5])
    }
}
