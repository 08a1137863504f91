import MigrateCore
import Testing

@Suite("Whose writes are not sent on")
struct OriginTests {
    private func unit(_ commands: String...) -> SourceUnit {
        let place = SourcePosition.redis(
            RedisPosition(replicationID: "a", offset: 1, database: 0))
        return SourceUnit(
            commands: commands.map { text in
                SourceCommand(
                    database: 0, arguments: text.split(separator: " ").map { Array($0.utf8) })
            }, isTransaction: commands.count > 1, start: place, end: place,
            sourceTimeMilliseconds: 0)
    }

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
