import PikaStorage
import Testing

@Suite("Rows as the format prescribes them")
struct LayoutTests {
    private let now: Int64 = 1_700_000_000

    private func makeDatabase() throws -> (TestDatabase, Driver) {
        let database = try TestDatabase(TemporaryDirectory())
        return (database, Driver(database: database, now: now))
    }

    @Test("Strings: value, then the deadline")
    func strings() throws {
        let (database, driver) = try makeDatabase()
        try driver.setValue("k", "bar")
        try driver.setValue("x", "bar", expiry: 1_700_000_060)
        #expect(
            try rows(database.set.strings, .meta) == [
                Array("k".utf8): hex("62 61 72 00 00 00 00"),
                Array("x".utf8): hex("62 61 72 3c f1 53 65"),
            ])
    }

    @Test("Hashes: meta and fields")
    func hashes() throws {
        let (database, driver) = try makeDatabase()
        #expect(try driver.hset("h", "f", "v") == 1)
        #expect(
            try rows(database.set.hashes, .meta)
                == [Array("h".utf8): hex("01 00 00 00 | 00 f1 53 65 | 00 00 00 00")])
        #expect(
            try rows(database.set.hashes, .data)
                == [hex("01 00 00 00 | 68 | 00 f1 53 65 | 66"): Array("v".utf8)])
    }

    @Test("Lists: meta and indexes")
    func lists() throws {
        let (database, driver) = try makeDatabase()
        #expect(try driver.push("l", .right, ["a", "b"]) == 2)
        #expect(
            try rows(database.set.lists, .meta) == [
                Array("l".utf8): hex(
                    "02 00 00 00 00 00 00 00 | 00 f1 53 65 | 00 00 00 00 | ff ff ff ff ff ff ff 7f | 02 00 00 00 00 00 00 80"
                )
            ])
        #expect(
            try rows(database.set.lists, .data) == [
                hex("01 00 00 00 | 6c | 00 f1 53 65 | 00 00 00 00 00 00 00 80"): Array("a".utf8),
                hex("01 00 00 00 | 6c | 00 f1 53 65 | 01 00 00 00 00 00 00 80"): Array("b".utf8),
            ])
    }

    @Test("Sets and sorted sets: members and scores")
    func sets() throws {
        let (database, driver) = try makeDatabase()
        #expect(try driver.sadd("s", "m") == 1)
        #expect(
            try rows(database.set.sets, .data) == [hex("01 00 00 00 | 73 | 00 f1 53 65 | 6d"): []])
        #expect(try driver.zadd("z", ["1.5", "m"]) == 1)
        #expect(
            try rows(database.set.zsets, .data)
                == [hex("01 00 00 00 | 7a | 00 f1 53 65 | 6d"): hex("00 00 00 00 00 00 f8 3f")])
        #expect(
            try rows(database.set.zsets, .score)
                == [hex("01 00 00 00 | 7a | 00 f1 53 65 | 00 00 00 00 00 00 f8 3f | 6d"): []])
    }

    private func meta(_ database: TestDatabase, _ key: String) throws -> [UInt8]? {
        try rows(database.set.hashes, .meta)[Array(key.utf8)]
    }

    @Test("A key made anew gets a version that never was")
    func versions() throws {
        var (database, driver) = try makeDatabase()
        _ = try driver.hset("h", "a", "1")
        #expect(try driver.delete("h") == .hashes)
        // The same second: one higher; again: one more.
        #expect(try meta(database, "h") == hex("00 00 00 00 | 01 f1 53 65 | 00 00 00 00"))
        _ = try driver.hset("h", "b", "2")
        #expect(try meta(database, "h") == hex("01 00 00 00 | 02 f1 53 65 | 00 00 00 00"))
        #expect(try driver.hgetall("h") == ["b", "2"])
        #expect(try driver.delete("h") == .hashes)
        #expect(try driver.delete("h") == [])
        driver.now = now + 100
        _ = try driver.hset("h", "c", "3")
        #expect(try meta(database, "h") == hex("01 00 00 00 | 64 f1 53 65 | 00 00 00 00"))
    }

    @Test("A key that lost its last element keeps version and deadline until it is made anew")
    func lastElement() throws {
        let (database, driver) = try makeDatabase()
        _ = try driver.hset("h", "a", "1")
        #expect(try driver.expire("h", now + 60) == .hashes)
        #expect(try driver.hdel("h", "a", "a") == 1)
        #expect(try meta(database, "h") == hex("00 00 00 00 | 00 f1 53 65 | 3c f1 53 65"))
        #expect(try driver.expire("h", now + 60) == [])
        _ = try driver.hset("h", "a", "2")
        #expect(try meta(database, "h") == hex("01 00 00 00 | 01 f1 53 65 | 00 00 00 00"))
    }

    @Test("A key lives through the second of its deadline")
    func deadline() throws {
        var (database, driver) = try makeDatabase()
        try driver.setValue("s", "v", expiry: now)
        _ = try driver.push("l", .left, ["v"])
        #expect(try driver.expire("l", now) == .lists)
        #expect(try driver.get("s") == "v")
        #expect(try driver.lrange("l") == ["v"])
        driver.now = now + 1
        #expect(try driver.get("s") == nil)
        #expect(try driver.lrange("l") == [])
        #expect(try with("s") { try driver.strings.setIfAbsent($0, $0, now: driver.now) })
        _ = try driver.push("l", .left, ["w"])
        #expect(try driver.lrange("l") == ["w"])
        #expect(try rows(database.set.lists, .data).count == 2)
    }

    @Test("A deadline that is not positive deletes; one beyond 32 bits is cut, as Pika does")
    func oddDeadlines() throws {
        let (_, driver) = try makeDatabase()
        try driver.setValue("s", "v")
        _ = try driver.sadd("c", "m")
        #expect(try driver.expire("s", -1) == .strings)
        #expect(try driver.expire("c", 0) == .sets)
        #expect(try driver.get("s") == nil)
        #expect(try driver.smembers("c") == [])
        try driver.setValue("s", "v")
        #expect(try driver.expire("s", 4_102_444_800) == .strings)
        #expect(try driver.get("s") == nil)
        try driver.setValue("s", "v", expiry: (1 << 32) + now + 5)
        #expect(try with("s") { try driver.keys.expiry($0, now: now) } == Int32(now + 5))
    }

    @Test("Metas longer than usual are read from both ends")
    func longMeta() throws {
        let (database, driver) = try makeDatabase()
        let hash = hex("01 00 00 00 | ff ff ff ff ff | 00 f1 53 65 | 3c f1 53 65")
        let list = hex(
            """
            02 00 00 00 00 00 00 00 | ee ee | 00 f1 53 65 | 00 00 00 00 | ff ff ff ff ff ff ff 7f |
            02 00 00 00 00 00 00 80
            """)
        let (meta, count) = try with("h") { key in
            with(hash) { database.set.hashes.put(.meta, key, $0) }
            with(list) { database.set.lists.put(.meta, key, $0) }
            return (
                try driver.hashes.meta(key, now: now), try driver.lists.count(key, now: now)
            )
        }
        #expect(meta == CollectionMeta(count: 1, version: Int32(now), expiry: Int32(now + 60)))
        #expect(count == 2)
    }

    @Test("Rows that are too short are reported", arguments: StoreKind.allCases)
    func shortRows(kind: StoreKind) throws {
        let (database, driver) = try makeDatabase()
        let needed = [4, 12, 32, 12, 12][Int(kind.rawValue)]
        with("k") { key in
            for length in 0..<needed {
                with([UInt8](repeating: 1, count: length)) {
                    database.set[kind].put(.meta, key, $0)
                }
                #expect(
                    throws: StorageError.corruptRow(
                        kind: kind, family: .meta, expected: needed, length: length)
                ) {
                    try database.set[kind].keyExpiry(key, now: driver.now)
                }
            }
        }
    }
}

@Suite("Rows equal to real Pika's")
struct ReplayTests {
    /// The second in which the recorded server took the load.
    private let load: Int64 = 1_795_399_803

    @Test("The recorded commands give the recorded server's rows, byte for byte")
    func replay() throws {
        let temporary = try TemporaryDirectory()
        let path = try copyFixture("A", into: temporary)
        let real = try TestDatabase(temporary, path: path + "/db0")
        let own = try TestDatabase(temporary, path: temporary("own"))
        let driver = Driver(database: own, now: load)
        try loadStrings(driver)
        try loadHashes(driver)
        try loadLists(driver)
        try loadSets(driver)
        try loadSortedSets(driver)
        for kind in StoreKind.allCases {
            for family in [Family.meta, .data, .score].prefix(kind.familyCount) {
                let expected = try rows(real.set[kind], family)
                let actual = try rows(own.set[kind], family)
                #expect(Set(expected.keys) == Set(actual.keys), "\(kind) \(family)")
                for (key, value) in expected {
                    #expect(actual[key] == value, "\(kind) \(family) \(key)")
                }
            }
        }
        // The same once it is in files.
        try own.commit(position(1, now: load))
        for kind in StoreKind.allCases { try own.stores[Int(kind.rawValue)].compact() }
        #expect(try rows(own.set.zsets, .score) == rows(real.set.zsets, .score))
        #expect(try rows(own.set.lists, .data) == rows(real.set.lists, .data))
    }

    private func loadStrings(_ d: Driver) throws {
        let all = (0...255).map { UInt8($0) }
        for (key, value) in [
            ("str:plain", "hello"), ("str:empty", ""), ("str:int", "41"), ("str:over", "1"),
            ("str:over", "2"), ("str:pexp", "v"), ("str:exp2100", "v"), ("str:deleted", "gone"),
            ("mset:a", "1"), ("mset:b", "2"), ("str:nx", "n"), ("same", "string value"),
        ] { try d.setValue(key, value) }
        try with("str:bin") { key in try with(all) { try d.strings.set(key, $0) } }
        try with(Array("key\0bin".utf8) + [0xFF, 13, 10]) { key in
            try with("binary key") { try d.strings.set(key, $0) }
        }
        try d.setValue("str:10k", String(repeating: "x", count: 10240))
        #expect(try d.increment("str:int", 1) == 42)
        try with("str:float") { key in
            try with("3.25") { try d.strings.incrementFloat(key, by: $0, now: load) }
        }
        #expect(try d.append("str:append", "ab") == 2)
        #expect(try d.append("str:append", "cd") == 4)
        try d.setValue("str:ttl", "expires far", expiry: load + 4_000_000)
        #expect(try d.expire("str:pexp", 2_114_380_800) == .strings)
        #expect(try d.expire("str:exp2100", 4_102_444_800) == .strings)
        #expect(try d.delete("str:deleted") == .strings)
        try d.setValue("str:short", "expires soon", expiry: load + 1)
        let length = try with("str:range") { key in
            try with("world") { try d.strings.setRange(key, offset: 5, $0, now: load) }
        }
        #expect(length == 10)
        try with("bit:a") {
            _ = try d.strings.setBit($0, offset: 7, on: true, now: load)
            _ = try d.strings.setBit($0, offset: 1000, on: true, now: load)
        }
        _ = try with("hll:a") { key in
            try with(list: (0..<100).map { "e\($0)" }) { try d.strings.pfAdd(key, $0, now: load) }
        }
    }

    private func loadHashes(_ d: Driver) throws {
        #expect(try d.hset("hash:a", "f1", "v1") == 1)
        #expect(try d.hset("hash:a", "f2", "v2") == 1)
        #expect(try d.hset("hash:a", "f3", "v3", "f4", "") == 2)
        try with("hash:a") { key in
            try with("n") {
                _ = try d.hashes.increment(key, $0, by: 5, now: load)
            }
        }
        #expect(try d.hdel("hash:a", "f2") == 1)
        let all = (0...255).map { UInt8($0) }
        try with("hash:bin") { key in
            _ = try with(all) { try d.hashes.set(key, $0, $0, now: load) }
        }
        for index in 0..<50 {
            let number = (index < 10 ? "0" : "") + String(index)
            #expect(try d.hset("hash:50", "field" + number, "value-\(index)") == 1)
        }
        _ = try d.hset("hash:recreated", "old", "1")
        #expect(try d.delete("hash:recreated") == .hashes)
        _ = try d.hset("hash:recreated", "new", "2")
        _ = try d.hset("hash:ttl", "f", "v")
        #expect(try d.expire("hash:ttl", load + 4_000_000) == .hashes)
        _ = try d.hset("hash:gone", "f", "v")
        #expect(try d.delete("hash:gone") == .hashes)
        _ = try d.hset("same", "f", "hash value")
    }

    private func loadLists(_ d: Driver) throws {
        #expect(try d.push("list:a", .right, ["1", "2", "3"]) == 3)
        #expect(try d.push("list:a", .left, ["0", "-1"]) == 5)
        #expect(try d.insert("list:a", before: true, "2", "1.5") == 6)
        try d.lset("list:a", 0, "first")
        #expect(try d.pop("list:a", .right) == ["3"])
        #expect(try d.pop("list:a", .left) == ["first"])
        let items = (0..<100).map { "item0" + ($0 < 10 ? "0" : "") + String($0) }
        #expect(try d.push("list:b", .right, items) == 100)
        try d.ltrim("list:b", 10, 89)
        #expect(try d.lrem("list:b", 1, "item050") == 1)
        #expect(try d.pop("list:b", .right) == ["item089"])
        #expect(try d.push("list:c", .left, ["item089"]) == 1)
        #expect(try d.expire("list:c", load + 4_000_000) == .lists)
        _ = try d.push("same", .right, ["list value"])
    }

    private func loadSets(_ d: Driver) throws {
        #expect(try d.sadd("set:a", "a", "b", "c", "") == 4)
        #expect(try d.srem("set:a", "b") == 1)
        #expect(try d.sadd("set:b", "b", "c", "d") == 3)
        #expect(try d.sadd("set:inter", "c") == 1)
        #expect(try d.sadd("set:union", "", "a", "b", "c", "d") == 5)
        #expect(try d.srem("set:a", "a") == 1)
        #expect(try d.sadd("set:b", "a") == 1)
        _ = try d.sadd("same", "set value")
    }

    private func loadSortedSets(_ d: Driver) throws {
        #expect(
            try d.zadd(
                "zset:a", ["1", "one", "2.5", "two", "-3", "neg", "inf", "inf", "0", "zero"]) == 5)
        #expect(try d.zincrby("zset:a", 10, "one") == 11)
        #expect(try d.zrem("zset:a", "two") == 1)
        let pairs = (0..<60).flatMap { index -> [String] in
            [String(Double(index) * 1.5), "m" + twoDigits(index)]
        }
        #expect(try d.zadd("zset:b", pairs) == 60)
        try with("zset:b") { key in
            _ = try d.zsets.removeByRank(key, start: 0, stop: 4, now: load)
            let range = ScoreRange(
                minimum: ScoreBound(80, isExclusive: true), maximum: ScoreBound(.infinity))
            _ = try d.zsets.removeByScore(key, range, now: load)
        }
        var union: [String] = []
        let a = try d.zrange("zset:a")
        for index in stride(from: 0, to: a.count, by: 2) { union += [a[index + 1], a[index]] }
        let b = try d.zrange("zset:b")
        for index in stride(from: 0, to: b.count, by: 2) {
            union += [String(2 * (Double(b[index + 1]) ?? 0)), b[index]]
        }
        #expect(try d.zadd("zset:union", union) == 53)
        #expect(try d.zadd("zset:zninf", ["-inf", "ninf", "1", "one", "2", "two"]) == 3)
        try with("geo:a") { key in
            let places = ["13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"]
            _ = try with(list: places) { try d.zsets.geoAdd(key, $0, now: load) }
        }
        _ = try d.zadd("same", ["7", "zset value"])
    }
}

func twoDigits(_ number: Int) -> String { (number < 10 ? "0" : "") + String(number) }
