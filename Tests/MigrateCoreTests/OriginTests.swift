import MigrateCore
import Testing

extension SourceUnit {
    /// Commands of words separated by spaces, at a place of the history "a".
    fileprivate init(_ commands: [String], at offset: UInt64 = 1) {
        let place = SourcePosition.redis(
            RedisPosition(replicationID: "a", offset: offset, database: 0))
        self.init(
            commands: commands.map { text in
                SourceCommand(
                    database: 0, arguments: text.split(separator: " ").map { Array($0.utf8) })
            }, isTransaction: commands.count > 1, start: place, end: place,
            sourceTimeMilliseconds: 0)
    }
}

@Suite("Whose writes are not sent on")
struct OriginTests {
    private func unit(_ commands: String...) -> SourceUnit { SourceUnit(commands) }

    @Test("A unit with the partner's mark is left out, every other one is sent on")
    func marks() {
        let filter = OriginFilter(partner: "back")
        #expect(filter.isForeign(self.unit("INCR a", "SET __pika_migrate:back:3 x")))
        #expect(filter.isForeign(self.unit("set __pika_migrate:back:copy 1", "INCR a")))
        #expect(filter.isForeign(self.unit("SET __pika_migrate:back:lock 7")))
        #expect(!filter.isForeign(self.unit("INCR a", "SET b x")))
        #expect(!filter.isForeign(self.unit("INCR a", "SET __pika_migrate:other:3 x")))
        #expect(!filter.isForeign(self.unit("INCR a", "SET __pika_migrate:back x")))
        #expect(!filter.isForeign(self.unit("DEL __pika_migrate:back:3 a")))
    }

    @Test("A star leaves out what any job has brought; nothing is left out by default")
    func anyJob() {
        let unit = self.unit("INCR a", "SET __pika_migrate:other:3 x")
        #expect(OriginFilter(partner: OriginFilter.anyJob).isForeign(unit))
        #expect(!OriginFilter().isForeign(unit))
    }

    @Test("The planner counts what it leaves out, and refuses to empty a two-way target")
    func planner() throws {
        var filter = KeyFilter()
        filter.origin = OriginFilter(partner: "back")
        let planner = Planner(
            target: TargetCapabilities(product: .redis, version: "7"), filter: filter,
            policy: PlanPolicy())
        let plan = try planner.plan(self.unit("INCR a", "SET __pika_migrate:back:3 x"))
        #expect(plan.keys.isEmpty)
        #expect(plan.action == .execute([]))
        #expect(plan.notes == [PlanNote("echo")])
        #expect(try planner.plan(self.unit("INCR a", "INCR b")).keys.count == 2)
        #expect(throws: PlanRefusal.self) { try planner.plan(self.unit("FLUSHALL")) }
        #expect(KeyFilter().digest != filter.digest)
    }
}

@Suite("What a source of a two-way sync has lost")
struct WriteTrailTests {
    private let forth = OriginFilter(partner: "forth")
    private static let echo = ["INCR a", "SET __pika_migrate:forth:0 x"]

    private func at(_ id: String, _ offset: UInt64) -> RedisPosition {
        RedisPosition(replicationID: id, offset: offset, database: 0)
    }

    private func unit(_ offset: UInt64, _ commands: [String]) -> SourceUnit {
        SourceUnit(commands, at: offset)
    }

    @Test("Behind the last unit of the source's own clients nothing is lost; before it there is")
    func ownAndEchoes() {
        var trail = WriteTrail(origin: self.forth, at: 100)
        trail.gave(self.unit(150, ["INCR own"]))
        trail.gave(self.unit(200, Self.echo))
        trail.gave(self.unit(210, ["SET __pika_migrate:forth:low x"]))
        trail.gave(self.unit(220, ["DEL __pika_migrate:forth:0 __pika_migrate:forth:1"]))
        let given = self.at("a", 220)
        #expect(trail.loss(left: "a", at: 149, given: given) == .own)
        #expect(trail.loss(left: "a", at: 150, given: given) == .echoes(self.at("a", 150)))
        #expect(trail.loss(left: "a", at: 220, given: given) == nil)
        #expect(trail.loss(left: "b", at: 10, given: given) == nil)
        trail.gave(self.unit(230, ["DEL __pika_migrate:forth:0 own"]))
        #expect(trail.loss(left: "a", at: 220, given: self.at("a", 230)) == .own)
    }

    @Test("What came before the run may be the clients' own; one way, everything is")
    func unknown() {
        let trail = WriteTrail(origin: self.forth, at: 100)
        #expect(trail.loss(left: "a", at: 99, given: self.at("a", 200)) == .own)
        var oneWay = WriteTrail()
        oneWay.gave(self.unit(150, Self.echo))
        #expect(oneWay.loss(left: "a", at: 199, given: self.at("a", 200)) == .own)
    }

    @Test("A source that is set back once more leaves the history before: its end is known")
    func twice() {
        var trail = WriteTrail(origin: self.forth, at: 100)
        trail.renamed(
            IdentityChange(
                what: "", old: .redis(self.at("a", 200)), new: .redis(self.at("b", 150))))
        let given = self.at("b", 300)
        #expect(trail.loss(left: "a", at: 150, given: given) == .echoes(self.at("a", 150)))
        // That history went no further.
        #expect(trail.loss(left: "a", at: 151, given: given) == nil)
        #expect(trail.loss(left: "b", at: 299, given: given) == .echoes(self.at("b", 299)))
    }
}
