import MigrateCore
import Testing

@Suite("Source positions")
struct SourcePositionTests {
    @Test("A Redis position covers what ends at or before its offset")
    func redis() {
        func at(_ offset: UInt64) -> SourcePosition {
            .redis(RedisPosition(replicationID: "a", offset: offset, database: 0))
        }
        #expect(at(10).covers(at(10), database: 0))
        #expect(at(10).covers(at(9), database: 3))
        #expect(!at(10).covers(at(11), database: 0))
    }

    @Test("A Redis position covers nothing of another history, unless one of them has no name")
    func histories() {
        func at(_ id: String, _ offset: UInt64) -> SourcePosition {
            .redis(RedisPosition(replicationID: id, offset: offset, database: 0))
        }
        #expect(!at("new", 10).covers(at("old", 5), database: 0))
        #expect(at("", 10).covers(at("old", 5), database: 0))
        #expect(at("new", 10).covers(at("", 5), database: 0))
        #expect(!at("", 10).covers(at("old", 11), database: 0))
        // What may be in a value is asked carefully: a renamed history goes on counting.
        #expect(at("new", 10).mayHold(at("old", 5), database: 0))
        #expect(at("old", 5).merged(at("new", 10)) == at("new", 10))
        #expect(at("old", 10).merged(at("new", 5)) == at("old", 10))
    }

    @Test("A cluster's position covers by the history and offset of the unit's shard")
    func cluster() {
        func at(_ shard: Int, _ places: [Int: (String, UInt64)]) -> SourcePosition {
            .cluster(
                ClusterPosition(
                    shard: shard,
                    shards: places.mapValues {
                        RedisPosition(replicationID: $0.0, offset: $0.1, database: 0)
                    }))
        }
        let place = at(0, [0: ("a", 10), 1: ("b", 5)])
        #expect(place.covers(at(0, [0: ("a", 10), 1: ("b", 9)]), database: 0))
        #expect(!place.covers(at(0, [0: ("new", 3), 1: ("b", 5)]), database: 0))
        #expect(!place.covers(at(2, [2: ("c", 1)]), database: 0))
        #expect(!place.coversAll(at(0, [0: ("a", 10), 1: ("new", 5)])))
        // A renamed history goes on counting.
        #expect(place.reaches(at(0, [0: ("a", 10), 1: ("new", 5)])))
        #expect(place.mayHold(at(1, [1: ("new", 5)]), database: 0))
        #expect(!place.mayHold(at(1, [1: ("new", 6)]), database: 0))
        #expect(
            place.merged(at(1, [0: ("a", 3), 1: ("new", 7)]))
                == at(1, [0: ("a", 10), 1: ("new", 7)]))
    }

    @Test("A Pika position covers by the log of the unit's database alone")
    func pika() {
        func at(_ ends: [Int: (UInt32, UInt64)]) -> SourcePosition {
            .pika(
                PikaPosition(
                    replicationID: "", runID: "",
                    databases: ends.mapValues {
                        PikaLogPosition(fileNumber: $0.0, offset: $0.1, digest: 0)
                    }))
        }
        #expect(at([0: (2, 5), 1: (0, 0)]).covers(at([0: (1, 900), 1: (7, 7)]), database: 0))
        #expect(!at([0: (2, 5), 1: (0, 0)]).covers(at([0: (1, 900), 1: (7, 7)]), database: 1))
    }
}
