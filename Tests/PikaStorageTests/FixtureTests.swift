import PikaStorage
import Testing

/// The second at which the recorded server answered.
private let fixtureNow: Int64 = 1_795_399_804

/// What one line of `contents.txt` says.
struct FixtureKey: CustomTestStringConvertible {
    var database: String
    var kind: StoreKind
    var ttl: Int
    var key: [UInt8]
    var values: [String]

    var testDescription: String { "\(database) \(kind) \(String(decoding: key, as: UTF8.self))" }

    var bytes: [[UInt8]] { values.map { $0 == "-" ? [] : hex($0) } }
}

func fixtureKeys() throws -> [FixtureKey] {
    let kinds = Dictionary(uniqueKeysWithValues: StoreKind.allCases.map { ($0.typeName, $0) })
    return try fixtureText("contents.txt").split(separator: "\n")
        .filter { !$0.hasPrefix("#") }
        .map { line in
            let words = line.split(separator: " ").map(String.init)
            return FixtureKey(
                database: words[0], kind: try #require(kinds[words[1]]),
                ttl: try #require(Int(words[2])), key: hex(words[3]),
                values: Array(words[4...]))
        }
}

@Suite("Directories written by real Pika 3.5.0")
struct FixtureTests {
    @Test("Every key reads back as the server answered", arguments: ["A", "C"])
    func everyKey(directory: String) throws {
        let temporary = try TemporaryDirectory()
        let path = try copyFixture(directory, into: temporary)
        for name in ["db0", "db1"] {
            let database = try TestDatabase(temporary, path: path + "/" + name)
            var listed = Set<[UInt8]>()
            for key in try fixtureKeys() where key.database == name {
                // Compaction came after this key's last second.
                if directory == "C", key.key == Array("str:short".utf8) { continue }
                try check(key, in: database.set)
                listed.insert([key.kind.rawValue] + key.key)
            }
            var stored = Set<[UInt8]>()
            for kind in StoreKind.allCases {
                try database.set[kind].forEachKey(from: .none, now: fixtureNow) { key, _ in
                    stored.insert([kind.rawValue] + Array(key))
                    return true
                }
            }
            #expect(stored.subtracting(listed).isEmpty)
            if directory == "A" { #expect(stored == listed) }
            try database.close()
        }
    }

    private func check(_ expected: FixtureKey, in set: TransactionSet) throws {
        let now = fixtureNow
        try with(expected.key) { key in
            let expiry = try set[expected.kind].keyExpiry(key, now: now)
            let stored = try #require(expiry, "\(expected.testDescription) is missing")
            #expect(stored == 0 ? expected.ttl == -1 : Int64(stored) - now == expected.ttl)
            var actual: [[UInt8]] = []
            switch expected.kind {
            case .strings:
                try Strings(set.strings).withValue(key, now: now) { value, _ in
                    actual.append(Array(value ?? .none))
                }
            case .hashes:
                try Hashes(set.hashes).forEach(key, now: now) {
                    actual += [Array($0), Array($1)]
                    return true
                }
            case .lists:
                try Lists(set.lists).forEach(key, now: now) {
                    actual.append(Array($0))
                    return true
                }
            case .sets:
                try Sets(set.sets).forEach(key, now: now) {
                    actual.append(Array($0))
                    return true
                }
            case .zsets:
                try SortedSets(set.zsets).forEachByRank(
                    key, start: 0, stop: -1, reverse: false, now: now
                ) { member, score in
                    actual += [Array(member), Array(shortest(score).utf8)]
                    return true
                }
                // The server's own ranges miss a score of -inf.
                if expected.key == Array("zset:zninf".utf8) {
                    #expect(actual.prefix(2) == [Array("ninf".utf8), Array("-inf".utf8)])
                    actual.removeFirst(2)
                }
            }
            if let length = expected.values.first, length.hasPrefix("length=") {
                #expect(Int(length.dropFirst(7)) == actual.first?.count)
            } else {
                #expect(actual == expected.bytes, "\(expected.testDescription)")
            }
        }
    }

    @Test("PFADD gives the registers that real Pika stored")
    func hyperLogLog() throws {
        let temporary = try TemporaryDirectory()
        let database = try TestDatabase(
            temporary, path: try copyFixture("A", into: temporary) + "/db0")
        let strings = Strings(database.set.strings)
        let isChanged = try with("hll:own") { key in
            try with(list: (0..<100).map { "e\($0)" }) {
                try strings.pfAdd(key, $0, now: fixtureNow)
            }
        }
        #expect(isChanged)
        let real = try value(strings, "hll:a")
        let own = try value(strings, "hll:own")
        #expect(real != nil)
        #expect(real == own)
    }

    @Test("GEOADD gives the scores that real Pika stored")
    func geo() throws {
        let temporary = try TemporaryDirectory()
        let database = try TestDatabase(
            temporary, path: try copyFixture("A", into: temporary) + "/db0")
        let zsets = SortedSets(database.set.zsets)
        try with("geo:own") { own in
            let places = ["13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"]
            #expect(try with(list: places) { try zsets.geoAdd(own, $0, now: fixtureNow) } == 2)
            try with("geo:a") { real in
                for name in ["Palermo", "Catania"] {
                    try with(name) { member in
                        let stored = try zsets.score(real, member, now: fixtureNow)
                        #expect(stored != nil)
                        #expect(try zsets.score(own, member, now: fixtureNow) == stored)
                    }
                }
            }
        }
    }

    @Test("Opening for reading leaves the directory as it is and verifies its blocks")
    func readOnly() throws {
        let temporary = try TemporaryDirectory()
        let path = try copyFixture("C", into: temporary) + "/db0"
        for kind in StoreKind.allCases {
            let folder = path + "/" + kind.directoryName
            let before = try listing(folder)
            let store = try Store.openReadOnly(
                path: folder, kind: kind, environment: testEnvironment)
            try store.verifyChecksums()
            #expect(try store.appliedPosition() == nil)
            #expect(store.close() == nil)
            #expect(try listing(folder) == before)
        }
    }

    private func value(_ strings: Strings, _ key: String) throws -> [UInt8]? {
        try with(key) { key in
            try strings.withValue(key, now: fixtureNow) { value, _ in value.map { Array($0) } }
        }
    }
}

func shortest(_ score: Double) -> String {
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { text in
        let length = Numbers.writeShortest(score, into: text)
        return String(decoding: text[..<length], as: UTF8.self)
    }
}
