import Testing

@testable import MigrateCore

@Suite("A cluster's nodes, slots and batches")
struct ClusterTests {
    private static let nodes = """
        a1 127.0.0.1:7000@17000,host1 myself,master - 0 0 1 connected 0-5460 5462 [5461->-b1]
        b1 [::1]:7001@17001 master - 0 1700000000000 2 connected 5461 5463-16383 [77-<-a1]
        c1 :7002@17002 slave b1 0 1700000000000 2 connected
        d1 10.0.0.9:0@0 master,fail,noaddr - 1700000000000 0 0 disconnected
        """

    @Test("Ranges, single slots, slots on the move, replicas and dead nodes")
    func topology() throws {
        let topology = try ClusterTopology(nodes: Self.nodes)
        #expect(topology.masters.map(\.id) == ["a1", "b1"])
        #expect(topology.owner(5_461)?.id == "b1")
        #expect(topology.owner(5_462)?.id == "a1")
        #expect(topology.unservedCount == 0)
        #expect(topology.node("a1")?.moving == [5_461])
        #expect(topology.node("b1")?.host == "::1")
        #expect(topology.node("c1")?.masterID == "b1")
        #expect(topology.node("d1")?.isFailing == true)
    }

    @Test(
        "Lines without sense are refused",
        arguments: [
            "a1 127.0.0.1:7000", "a1 nowhere master - 0 0 1 connected 0",
            "a1 127.0.0.1:7000@1 master - 0 0 1 connected 16384",
            "a1 127.0.0.1:7000@1 master - 0 0 1 connected 9-3",
            "a1 127.0.0.1:7000@1 master - 0 0 1 connected [x->-b]",
        ])
    func malformed(line: String) {
        #expect(throws: ClusterTopologyError.malformed(line: line)) {
            try ClusterTopology(nodes: line)
        }
    }

    @Test("Every slot has a name that lies in it")
    func tags() {
        for slot in 0..<SlotTags.slotCount {
            #expect(KeyHash.slot(SlotMarker.key(job: "j", slot: slot)) == slot)
        }
    }

    private static func buffer(_ lines: String...) -> CommandBuffer {
        var buffer = CommandBuffer()
        for line in lines { buffer.append(line.split(separator: " ").map(String.init)) }
        return buffer
    }

    @Test("Commands that were refused are sent again, in order for each key")
    func bulk() {
        var bulk = SlotBulk(Self.buffer("DEL a", "RPUSH a 1 2", "SET b x", "SET c y"))
        let first = bulk.windows { KeyHash.slot(Array("b".utf8)) == $0 ? "two" : "one" }
        #expect(first.map(\.commands.commandCount) == [3, 1])
        var isOrdered = bulk.take(first[0], refused: [0, 1])
        isOrdered = bulk.take(first[1], refused: []) && isOrdered
        let second = bulk.windows { _ in "three" }
        #expect(second.map(\.commands) == [Self.buffer("DEL a", "RPUSH a 1 2")])
        isOrdered = bulk.take(second[0], refused: []) && isOrdered
        #expect(isOrdered)
        #expect(bulk.isDone)
    }

    @Test("A key whose first command was refused and whose second was not is out of order")
    func disorder() {
        var bulk = SlotBulk(Self.buffer("DEL a", "RPUSH a 1", "SET b x"))
        let window = bulk.windows { _ in "one" }[0]
        let isOrdered = bulk.take(window, refused: [0])
        #expect(!isOrdered)
        var other = SlotBulk(Self.buffer("DEL a", "RPUSH b 1"))
        let harmless = other.windows { _ in "one" }[0]
        let staysOrdered = other.take(harmless, refused: [0])
        #expect(staysOrdered)
        #expect(!other.isDone)
    }

    @Test("A run that takes over keeps what was applied and changes who may write")
    func fences() throws {
        let position = SourcePosition.redis(
            RedisPosition(replicationID: "id", offset: 9, database: 0))
        let old = Marker(epoch: 3, position: position, horizon: nil).encode()
        let new = SlotMarker.fenced(old, epoch: 4)
        #expect(
            try SlotMarker.marker(new) == Marker(epoch: 4, position: position, horizon: nil))
        #expect(try SlotMarker.marker(SlotMarker.fence(epoch: 4)) == nil)
        #expect(SlotMarker.fenced([], epoch: 4) == SlotMarker.fence(epoch: 4))
    }

    @Test("A batch names its keys once, and goes as a transaction where a script can't take it")
    func units() {
        let end = SourcePosition.redis(
            RedisPosition(replicationID: "id", offset: 9, database: 0))
        var units = SlotUnits(slot: 7, end: end)
        for _ in 0..<2 {
            units.append(
                Self.buffer("INCR a"), keys: [Array("a".utf8)], end: end, horizon: nil)
        }
        let text = String(
            decoding: units.call(digest: [100], job: "j", before: [1], after: [2]).bytes,
            as: UTF8.self)
        #expect(text.hasPrefix("*13\r\n$7\r\nEVALSHA\r\n$1\r\nd\r\n$1\r\n2\r\n"))
        #expect(text.hasSuffix("$1\r\n2\r\n$4\r\nINCR\r\n$1\r\na\r\n"))
        #expect(units.fitsScript)
        var long = CommandBuffer()
        long.append([String](repeating: "x", count: SlotUnits.maxScriptArguments + 1))
        units.append(long, keys: [], end: end, horizon: nil)
        #expect(!units.fitsScript)
        #expect(units.transaction(job: "j", after: []).commandCount == 6)
    }
}

@Suite("One stream of a cluster's shards")
struct ShardMergeTests {
    private static func place(_ offset: UInt64) -> RedisPosition {
        RedisPosition(replicationID: "id", offset: offset, database: 0)
    }

    private static func unit(_ text: String, _ end: UInt64) -> SourceUnit {
        SourceUnit(
            commands: [
                SourceCommand(
                    database: 0, arguments: text.split(separator: " ").map { Array($0.utf8) })
            ], isTransaction: false, start: .redis(Self.place(end - 1)),
            end: .redis(Self.place(end)), sourceTimeMilliseconds: 0)
    }

    /// Shard 0 has the slot of a, shard 1 all others.
    private static func merge(moving: Set<Int> = []) -> ShardMerge {
        var merge = ShardMerge(positions: [0: Self.place(10), 1: Self.place(20)])
        merge.learn(owner: Self.owner, moving: moving)
        return merge
    }

    private static let slot = KeyHash.slot(Array("a".utf8))
    private static let owner: @Sendable (Int) -> Int = { $0 == Self.slot ? 0 : 1 }

    @Test("A unit's place has all shards, and covers only what its own shard has given")
    func positions() {
        var merge = Self.merge()
        let first = merge.unit(Self.unit("SET a 1", 11), of: 0)
        let second = merge.unit(Self.unit("SET b 1", 21), of: 1)
        #expect(!first.mustRead && !second.mustRead)
        #expect(second.end.covers(first.end, database: 0))
        #expect(!first.end.covers(second.end, database: 0))
        #expect(second.end.coversAll(first.end))
        let older = SourcePosition.cluster(ClusterPosition(shard: 0, shards: [0: Self.place(15)]))
        #expect(older.merged(second.end).covers(older, database: 0))
    }

    @Test("Units of a slot that another shard serves, or that is on the move, are read anew")
    func moved() {
        var merge = Self.merge(moving: [KeyHash.slot(Array("b".utf8))])
        let reads = ["SET a 1", "SET b 1", "SET c 1"].map {
            merge.unit(Self.unit($0, 21), of: 1).mustRead
        }
        #expect(reads == [true, true, false])
    }

    @Test("What a DEL removes is read: its slot may have moved before the cluster was asked")
    func removals() {
        var merge = Self.merge()
        let reads = ["SET a 1", "DEL a", "UNLINK a", "APPEND a 1"].map {
            merge.unit(Self.unit($0, 11), of: 0).mustRead
        }
        #expect(reads == [false, true, true, false])
    }

    @Test("A shard that is emptied empties its own slots, and those on the move")
    func emptied() {
        let onTheMove = KeyHash.slot(Array("b".utf8))
        var merge = Self.merge(moving: [onTheMove])
        for text in ["FLUSHALL", "FLUSHDB"] {
            #expect(
                merge.unit(Self.unit(text, 11), of: 0).emptiedSlots == [Self.slot, onTheMove])
        }
        #expect(merge.unit(Self.unit("SET a 1", 12), of: 0).emptiedSlots == nil)
    }

    @Test("A marker keeps what an earlier run had of the other shards, through two kills")
    func marks() {
        let keys = [DatabaseKey(0, Array("a".utf8)), DatabaseKey(0, Array("b".utf8))]
        func place(_ first: UInt64, _ second: UInt64, _ shard: Int) -> SourcePosition {
            .cluster(
                ClusterPosition(
                    shard: shard, shards: [0: Self.place(first), 1: Self.place(second)]))
        }
        // The first run: the worker has 11 of shard 0 and 21 of shard 1; the checkpoint is older.
        var marker = Marker(epoch: 1, position: place(11, 21, 1), horizon: nil)
        for end in [place(12, 20, 0), place(13, 20, 0)] {
            // Killed again before shard 1's stream is where it was.
            var router = UnitRouter(filter: KeyFilter(), workers: 1, markers: [0: [0: marker]])
            #expect(
                router.route([keys[0]], end: end, database: 0, mustRefresh: false)
                    == .execute(executor: 0, workers: [0]))
            marker.position = router.mark(end, place: 0, lane: 0)
        }
        var router = UnitRouter(filter: KeyFilter(), workers: 1, markers: [0: [0: marker]])
        #expect(
            router.route([keys[1]], end: place(13, 21, 1), database: 0, mustRefresh: false)
                == .done)
        #expect(
            router.route([keys[1]], end: place(13, 22, 1), database: 0, mustRefresh: false)
                == .execute(executor: 0, workers: [0]))
    }

    @Test("A place in all shards is kept whole, and every shorter text is refused")
    func codec() throws {
        let position = SourcePosition.cluster(
            ClusterPosition(shard: 1, shards: [0: Self.place(10), 1: Self.place(20)]))
        let marker = Marker(epoch: 3, position: position, horizon: nil)
        let bytes = marker.encode()
        #expect(try Marker(decoding: bytes) == marker)
        for count in bytes.indices {
            #expect(throws: StateCodecError.self) {
                try Marker(decoding: Array(bytes.prefix(count)))
            }
        }
    }
}
