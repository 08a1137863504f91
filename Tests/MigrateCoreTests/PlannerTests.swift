import MigrateCore
import Testing

@Suite("What a source's commands become")
struct PlannerTests {
    private static let time: Int64 = 1_700_000_000_000

    private static var redis: TargetCapabilities {
        var target = TargetCapabilities(product: .redis, version: "7.0.15")
        target.hasMultiFieldHset = true
        target.hasModernSet = true
        target.hasZaddFlags = true
        target.hasTransactions = true
        return target
    }

    private static var pika: TargetCapabilities {
        var target = TargetCapabilities(product: .pika, version: "3.5.0")
        target.hasSecondDeadlines = true
        target.keepsTypesApart = true
        target.missing = ["lmove", "rename", "copy", "unlink"]
        return target
    }

    private static var codis: TargetCapabilities {
        var target = TargetCapabilities(product: .codis, version: "proxy")
        target.keepsTypesApart = true
        target.missing = ["rename", "unlink", "pksetexat"]
        return target
    }

    @Test("To a Codis proxy goes what it splits itself; keys of other commands are read instead")
    func codis() throws {
        for command in ["RPOPLPUSH a b", "SMOVE a b m", "SUNIONSTORE a b c", "RENAME a b"] {
            #expect(self.text(try self.plan(command, target: Self.codis)) == nil, "\(command)")
        }
        #expect(self.text(try self.plan("UNLINK a b", target: Self.codis)) == ["DEL a b"])
        #expect(
            self.text(try self.plan("MSET a 1 b 2", target: Self.codis)) == [
                "DEL a b", "MSET a 1 b 2",
            ])
        #expect(
            self.text(try self.plan("SETEX a 10 v", target: Self.codis)) == [
                "DEL a", "SET a v", "PEXPIREAT a 1700000010000",
            ])
        #expect(self.text(try self.plan("PUBLISH c m", target: Self.codis)) == [])
    }

    private func plan(
        _ commands: String..., target: TargetCapabilities, filter: KeyFilter = KeyFilter(),
        policy: PlanPolicy = PlanPolicy()
    ) throws -> UnitPlan {
        let planner = Planner(target: target, filter: filter, policy: policy)
        let end = SourcePosition.redis(
            RedisPosition(replicationID: "a", offset: 1, database: 0))
        return try planner.plan(
            SourceUnit(
                commands: commands.map { text in
                    SourceCommand(
                        database: 0,
                        arguments: text.split(separator: " ").map { Array($0.utf8) })
                }, isTransaction: commands.count > 1, start: end, end: end,
                sourceTimeMilliseconds: Self.time))
    }

    /// Commands as lines; nil = the keys are read instead.
    private func text(_ plan: UnitPlan) -> [String]? {
        guard case .execute(let parts) = plan.action else { return nil }
        return parts.flatMap { part -> [String] in
            let words = String(decoding: part.commands.bytes, as: UTF8.self)
                .split(separator: "\r\n").map(String.init)
            var lines: [[String]] = []
            var skipsNext = false
            for word in words {
                if word.hasPrefix("*") {
                    lines.append([])
                } else if word.hasPrefix("$"), !skipsNext {
                    skipsNext = true
                    continue
                } else {
                    lines[lines.count - 1].append(word)
                }
                skipsNext = false
            }
            return lines.map { $0.joined(separator: " ") }
        }
    }

    @Test("M4: deadlines become absolute, whole seconds upward, and past ones a DEL")
    func deadlines() throws {
        #expect(
            try self.text(self.plan("SET k v PX 1500", target: Self.pika))
                == ["DEL k", "PKSETEXAT k 1700000002 v"])
        #expect(
            try self.text(self.plan("PEXPIRE k 400", target: Self.pika))
                == ["EXPIREAT k 1700000001"])
        #expect(
            try self.text(self.plan("EXPIRE k 10", target: Self.redis))
                == ["PEXPIREAT k 1700000010000"])
        #expect(try self.text(self.plan("PEXPIREAT k 5", target: Self.pika)) == ["DEL k"])
        #expect(try self.text(self.plan("SETEX k -1 v", target: Self.pika)) == ["DEL k"])
        #expect(
            try self.text(self.plan("PKSETEXAT k 1 v", target: Self.redis)) == ["DEL k"])
    }

    @Test(
        "What writes streams or deadlines of fields is refused by name, or counted and left out",
        arguments: ["XADD s 1-1 f v", "XGROUP CREATE s g 0", "HPEXPIREAT h 1 FIELDS 1 f"])
    func unsupportedKinds(command: String) throws {
        for target in [Self.redis, Self.pika] {
            let refusal = try #require(throws: PlanRefusal.self) {
                try self.plan(command, target: target)
            }
            #expect(refusal.reason.contains(String(command.prefix { $0 != " " })))
            var policy = PlanPolicy()
            policy.stream = .skip
            policy.fieldDeadline = .drop
            let plan = try self.plan(command, target: target, policy: policy)
            #expect(self.text(plan) == [])
            let name = command.hasPrefix("X") ? "stream" : "field-deadline"
            #expect(plan.notes == [PlanNote(name)])
        }
    }

    @Test("Deadlines behind 2038 are cut, dropped or refused for a Pika")
    func farDeadlines() throws {
        let far = "EXPIREAT k 4102444800"
        #expect(
            try self.text(self.plan(far, target: Self.pika)) == ["EXPIREAT k 2147483646"])
        var policy = PlanPolicy()
        policy.farDeadline = .drop
        #expect(
            try self.text(self.plan(far, target: Self.pika, policy: policy)) == ["PERSIST k"])
        policy.farDeadline = .fail
        #expect(throws: PlanRefusal.self) {
            try self.plan(far, target: Self.pika, policy: policy)
        }
        #expect(
            try self.text(self.plan(far, target: Self.redis)) == ["PEXPIREAT k 4102444800000"])
    }

    @Test("What a target does not know is rewritten or read from the source")
    func rewrites() throws {
        #expect(
            try self.text(self.plan("HSET k a 1 b 2", target: Self.pika)) == ["HMSET k a 1 b 2"])
        #expect(try self.text(self.plan("UNLINK a b", target: Self.pika)) == ["DEL a b"])
        #expect(try self.text(self.plan("SET k v", target: Self.pika)) == ["DEL k", "SET k v"])
        #expect(try self.text(self.plan("SET k v", target: Self.redis)) == ["SET k v"])
        #expect(try self.text(self.plan("INCR k", target: Self.pika)) == ["INCR k"])
        #expect(
            try self.text(self.plan("ZADD k 1 a inf b", target: Self.pika)) == ["ZADD k 1 a inf b"])
        let readInstead = [
            "SET k v KEEPTTL", "ZADD k GT 1 a", "ZADD k INCR 1 a", "RENAME a b",
            "LMOVE a b LEFT RIGHT",
            "SORT a STORE b", "EVAL script 1 k", "SPOP k 2", "COPY a b", "BITFIELD k SET u8 0 1",
            "SUNIONSTORE d a b", "SET k v NX", "EXPIRE k 10 NX",
        ]
        for command in readInstead {
            #expect(try self.plan(command, target: Self.pika).action == .refresh, "\(command)")
        }
    }

    @Test("Messages, scripts and pings are not sent on")
    func ignored() throws {
        for command in ["PUBLISH __sentinel__:hello x", "PING", "SCRIPT LOAD x", "FUNCTION FLUSH"] {
            #expect(try self.text(self.plan(command, target: Self.redis)) == [])
        }
    }

    @Test("Unknown commands end the run unless they are skipped")
    func unknown() throws {
        #expect(throws: PlanRefusal.self) { try self.plan("FROB k", target: Self.redis) }
        var policy = PlanPolicy()
        policy.unknownCommand = .skip
        let plan = try self.plan("FROB k", target: Self.redis, policy: policy)
        #expect(plan.notes == [PlanNote("unknown-command frob")])
    }

    @Test("Commands of which only some keys are copied are split or read")
    func mixed() throws {
        var filter = KeyFilter()
        filter.include = ["a*"]
        #expect(
            try self.text(self.plan("DEL a1 b1 a2", target: Self.redis, filter: filter))
                == ["DEL a1 a2"])
        let plan = try self.plan("RPOPLPUSH b1 a1", target: Self.redis, filter: filter)
        #expect(plan.action == .refresh)
        #expect(plan.keys == [DatabaseKey(0, Array("a1".utf8))])
        #expect(
            try self.text(self.plan("SET b v", target: Self.redis, filter: filter)) == [])
    }

    @Test("Keys on both sides of the filter: a table of commands")
    func straddling() throws {
        var filter = KeyFilter()
        filter.include = ["a*"]
        filter.renaming.add = Array("n:".utf8)
        let sent: [(String, [String])] = [
            ("MSET a1 1 b1 2 a2 3", ["MSET n:a1 1 n:a2 3"]), ("UNLINK b1 a1", ["DEL n:a1"]),
            ("MSET b1 1", []), ("RENAME b1 b2", []), ("RPUSH a1 b1", ["RPUSH n:a1 b1"]),
        ]
        for (command, expected) in sent {
            #expect(
                try self.text(self.plan(command, target: Self.redis, filter: filter)) == expected,
                "\(command)")
        }
        let read: [(String, [String])] = [
            ("MSETNX a1 1 b1 2", ["a1"]), ("RENAME b1 a1", ["a1"]), ("SMOVE a1 b1 m", ["a1"]),
            ("SUNIONSTORE a1 b1 b2", ["a1"]), ("BITOP AND b1 a1", ["a1"]),
            ("ZUNIONSTORE a1 2 b1 a2", ["a1", "a2"]), ("COPY b1 a1", ["a1"]),
        ]
        for (command, expected) in read {
            let plan = try self.plan(command, target: Self.redis, filter: filter)
            #expect(plan.action == .refresh, "\(command)")
            #expect(plan.keys.map { String(decoding: $0.key, as: UTF8.self) } == expected)
        }
    }

    @Test("Commands that write into another database have both keys read")
    func otherDatabases() throws {
        for command in ["MOVE k 3", "COPY k k DB 3 REPLACE"] {
            let plan = try self.plan(command, target: Self.redis)
            #expect(plan.action == .refresh)
            #expect(plan.keys.map(\.database) == [0, 3], "\(command)")
        }
    }

    @Test("A type that is left out removes what it takes the place of")
    func types() throws {
        var filter = KeyFilter()
        filter.kinds = [.list]
        let cases: [(String, [String]?)] = [
            ("RPUSH k a", ["RPUSH k a"]), ("SADD k a", []), ("SET k v", ["DEL k"]),
            ("MSET k v l w", ["DEL k l"]), ("SUNIONSTORE k a b", ["DEL k"]),
            ("BITOP AND k a b", ["DEL k"]), ("DEL k", ["DEL k"]), ("RENAME k l", nil),
            ("EXPIREAT k 4102444800", ["PEXPIREAT k 4102444800000"]),
        ]
        for (command, expected) in cases {
            #expect(
                try self.text(self.plan(command, target: Self.redis, filter: filter)) == expected,
                "\(command)")
        }
    }

    @Test("What is denied can't be allowed again; without a list all commands are sent on")
    func commands() throws {
        var filter = KeyFilter()
        filter.allowedCommands = ["set", "del"]
        filter.deniedCommands = ["del"]
        #expect(try self.text(self.plan("SET k v", target: Self.redis, filter: filter)) != [])
        #expect(try self.text(self.plan("INCR k", target: Self.redis, filter: filter)) == [])
        let plan = try self.plan("DEL k", target: Self.redis, filter: filter)
        #expect(plan.action == .execute([]))
        #expect(plan.notes == [PlanNote("denied del")])
    }

    @Test("A database that others share is not emptied")
    func sharedDatabases() {
        var joined = KeyFilter()
        joined.databases = [0: 0, 1: 0]
        var renamed = KeyFilter()
        renamed.renaming.template = KeyTemplate("{db}:{key}")
        for filter in [joined, renamed] {
            #expect(throws: PlanRefusal.self) {
                try self.plan("FLUSHDB", target: Self.redis, filter: filter)
            }
        }
    }

    @Test("A transaction stays one unit, and is read as a whole if a part of it can't be sent")
    func transactions() throws {
        #expect(
            try self.text(self.plan("INCR a", "RPUSH b x", target: Self.redis))
                == ["INCR a", "RPUSH b x"])
        let plan = try self.plan("INCR a", "SORT b STORE c", target: Self.pika)
        #expect(plan.action == .refresh)
        #expect(plan.keys.count == 3)
    }

    @Test("HyperLogLogs between Redis and Pika end the run with an explanation")
    func hyperLogLogs() throws {
        #expect(throws: PlanRefusal.self) { try self.plan("PFADD k a", target: Self.pika) }
        #expect(try self.text(self.plan("PFADD k a", target: Self.redis)) == ["PFADD k a"])
    }

    @Test("Emptied databases are a barrier, and refused where keys are chosen")
    func flushes() throws {
        #expect(try self.plan("FLUSHDB", target: Self.redis).action == .flush([0]))
        var filter = KeyFilter()
        filter.include = ["a*"]
        #expect(throws: PlanRefusal.self) {
            try self.plan("FLUSHALL", target: Self.redis, filter: filter)
        }
    }

    @Test("A source's emptying is refused where the target keeps keys that are not the source's")
    func flushesOfShared() throws {
        var policy = PlanPolicy()
        policy.keepsForeignKeys = true
        for command in ["FLUSHDB", "FLUSHALL"] {
            #expect(throws: PlanRefusal.self) {
                try self.plan(command, target: Self.redis, policy: policy)
            }
        }
    }

    @Test("M6: a name's further types stay beside the first on a Pika; a Redis has one of them")
    func severalTypes() throws {
        var head = KeyHead(database: 0, name: Array("k".utf8), kind: .list)
        head.earlierKinds = [.string, .hash]
        var chunk = ElementChunk()
        chunk.append("a".utf8)
        func written(
            _ target: TargetCapabilities, _ policy: PlanPolicy
        ) throws -> (String, [PlanNote]) {
            var buffer = CommandBuffer()
            var writer = ValueWriter(target, policy)
            try writer.begin(head, key: head.name, replaces: true, now: 1, into: &buffer)
            try writer.append(chunk, into: &buffer)
            try writer.end(into: &buffer)
            return (String(decoding: buffer.bytes, as: UTF8.self), writer.takeNotes())
        }
        // Only a list could hold a part of what is written again.
        let list = try written(Self.pika, PlanPolicy()).0
        #expect(!list.contains("DEL") && list.contains("LTRIM") && list.contains("RPUSH"))
        head.kind = .set
        let set = try written(Self.pika, PlanPolicy()).0
        #expect(!set.contains("DEL") && !set.contains("LTRIM") && set.contains("SADD"))
        let refusal = #expect(throws: PlanRefusal.self) { try written(Self.redis, PlanPolicy()) }
        #expect(refusal?.reason.contains("the name k holds string and hash and set") == true)
        var policy = PlanPolicy()
        policy.sameName = .first
        #expect(try written(Self.redis, policy) == ("", [PlanNote("same-name")]))
        head.earlierKinds = []
        #expect(try written(Self.redis, policy).0.contains("DEL"))
    }

    @Test(
        "A deadline of 0 in a Pika's log is none of its own: the value is new, the deadline stays")
    func counterOfPika() throws {
        var policy = PlanPolicy()
        policy.sourceKeepsTypesApart = true
        let count = "PKSETEXAT k 0 5"
        #expect(
            try self.text(self.plan(count, target: Self.redis, policy: policy))
                == ["SET k 5 KEEPTTL"])
        var ours = Self.pika
        #expect(try self.plan(count, target: ours, policy: policy).action == .refresh)
        ours.hasModernSet = true
        #expect(
            try self.text(self.plan(count, target: ours, policy: policy)) == ["SET k 5 KEEPTTL"])
        policy.canRead = false
        #expect(try self.text(self.plan(count, target: Self.pika, policy: policy)) == ["SET k 5"])
    }

    @Test("What a Pika overwrites leaves the name's other types on a Pika")
    func overwritesOfPika() throws {
        var policy = PlanPolicy()
        policy.sourceKeepsTypesApart = true
        for (command, expected) in [
            ("SET k v", "SET k v"), ("MSET k v l w", "MSET k v l w"), ("GETSET k v", "SET k v"),
            ("PKSETEXAT k 2000000000 v", "PKSETEXAT k 2000000000 v"),
        ] {
            #expect(
                try self.text(self.plan(command, target: Self.pika, policy: policy)) == [expected])
        }
    }

    private static var cluster: TargetCapabilities {
        var target = Self.redis
        target.isSharded = true
        return target
    }

    @Test("On a cluster, DEL and MSET go in pieces, what depends on several slots is read anew")
    func slots() throws {
        #expect(
            self.text(try self.plan("DEL a b {a}x", target: Self.cluster))
                == ["DEL a {a}x", "DEL b"])
        #expect(
            self.text(try self.plan("MSET a 1 b 2", target: Self.cluster))
                == ["MSET a 1", "MSET b 2"])
        #expect(
            self.text(try self.plan("RPOPLPUSH {a}x {a}y", target: Self.cluster))
                == ["RPOPLPUSH {a}x {a}y"])
        for command in ["RPOPLPUSH a b", "RENAME a b", "SUNIONSTORE a b c", "MSETNX a 1 b 2"] {
            let plan = try self.plan(command, target: Self.cluster)
            #expect(plan.action == .refresh, "\(command)")
            #expect(plan.keys.count >= 2)
        }
    }

    @Test("A transaction over several slots has a part for each, with its own keys")
    func slotsOfTransaction() throws {
        let plan = try self.plan("INCR a", "INCR b", "INCR {a}x", target: Self.cluster)
        guard case .execute(let parts) = plan.action else { return }
        #expect(parts.map { $0.sources.count } == [1, 2])
        #expect(parts.map { $0.commands.commandCount } == [1, 2])
    }
}
