import PikaStorage
import SyncProtocol
import Testing

@Suite("The reserved row")
struct AppliedRowTests {
    private func sample() throws -> AppliedPosition {
        let id = try #require(ReplicationID("0123456789abcdef0123456789abcdef0123456789abcdef01"))
        return AppliedPosition(
            historyID: HistoryID(id), position: BinlogPosition(fileNumber: 3, offset: 0x1234),
            highestEffectiveNow: 1_700_000_000)
    }

    private func encode(_ position: AppliedPosition) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: AppliedRow.encodedSize, alignment: 8) { row in
            if let start = row.baseAddress { AppliedRow.encode(position, into: start) }
            return Array(row)
        }
    }

    private func decode(_ row: [UInt8]) -> Result<AppliedPosition, AppliedRowFault> {
        with(row) { row in
            do throws(AppliedRowFault) {
                return .success(try AppliedRow.decode(row))
            } catch {
                return .failure(error)
            }
        }
    }

    @Test("Its bytes are stale and empty by the rules of every type")
    func bytes() throws {
        let row = encode(try sample())
        #expect(row.count == 104)
        #expect(row[..<8].allSatisfy { $0 == 0 })
        #expect(
            Array(row[8..<72])
                == hex(
                    """
                    01 00 00 00 | 00 00 00 00
                    01 23 45 67 89 ab cd ef 01 23 45 67 89 ab cd ef 01 23 45 67 89 ab cd ef 01
                    00 00 00 00 00 00 00 | 03 00 00 00 | 00 00 00 00
                    34 12 00 00 00 00 00 00 | 00 f1 53 65 00 00 00 00
                    """))
        #expect(
            Array(row[80...])
                == hex(
                    "00 00 00 00 | 01 00 00 00 | 00*".replacing("*", with: "")
                        + "00 00 00 00 00 00 00 | 00 00 00 00 | 01 00 00 00"))
        #expect(AppliedRow.name == [0] + Array("pika-swift:applied".utf8))
    }

    @Test("It reads back; no prefix and no flipped byte does")
    func damage() throws {
        let position = try sample()
        let row = encode(position)
        #expect(decode(row) == .success(position))
        for length in 0..<row.count {
            #expect(
                decode(Array(row[..<length])) == .failure(.length(expected: 104, actual: length)))
        }
        for index in row.indices {
            var damaged = row
            damaged[index] ^= 0x40
            #expect(throws: AppliedRowFault.self) { try decode(damaged).get() }
        }
    }

    @Test("Ids of 50 hexadecimal digits are told apart, and other ids too")
    func identifiers() throws {
        var seen = Set<HistoryID>()
        for character in "0123456789abcdefXYZ-" {
            let text = String(repeating: "a", count: 49) + String(character)
            seen.insert(HistoryID(try #require(ReplicationID(text))))
        }
        #expect(seen.count == 20)
    }

    @Test("A commit writes it with the rows; clients never see it")
    func hidden() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: 1_700_000_000)
        try driver.setValue("s", "1")
        _ = try driver.hset("h", "f", "v")
        _ = try driver.push("l", .left, ["v"])
        _ = try driver.sadd("c", "m")
        _ = try driver.zadd("z", ["1", "m"])
        let expected = try sample()
        try database.commit(expected)
        for store in database.stores {
            #expect(try store.appliedPosition() == expected)
            #expect(try store.appliedPosition(persistedOnly: true) == nil)
            try store.flush()
            #expect(try store.appliedPosition(persistedOnly: true) == expected)
            try store.compact()
            #expect(try store.appliedPosition() == expected)
        }
        for kind in StoreKind.allCases {
            var keys = 0
            try database.set[kind].forEachKey(from: .none, now: driver.now) { _, _ in
                keys += 1
                return true
            }
            #expect(keys == 1)
            let statistics = try database.set[kind].keyStatistics(now: driver.now)
            #expect(statistics.keys == 1 && statistics.invalid == 0)
        }
        let kinds = try with(AppliedRow.name) { try driver.keys.kinds($0, now: driver.now) }
        #expect(kinds == [])
    }

    @Test("Its name is refused to every write that makes a key")
    func refused() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: 1_700_000_000)
        let name = String(decoding: AppliedRow.name, as: UTF8.self)
        try database.commit(try sample())
        let refused = StorageError.reservedName
        #expect(throws: refused) { try driver.setValue(name, "v") }
        #expect(throws: refused) { _ = try driver.append(name, "v") }
        #expect(throws: refused) { _ = try driver.increment(name, 1) }
        #expect(throws: refused) { _ = try driver.hset(name, "f", "v") }
        #expect(throws: refused) { _ = try driver.push(name, .left, ["v"]) }
        #expect(throws: refused) { _ = try driver.sadd(name, "m") }
        #expect(throws: refused) { _ = try driver.zadd(name, ["1", "m"]) }
        #expect(try driver.delete(name) == [])
        #expect(try driver.expire(name, 2_000_000_000) == [])
        #expect(try driver.persist(name) == [])
        #expect(try database.stores[0].appliedPosition() == sample())
    }
}
