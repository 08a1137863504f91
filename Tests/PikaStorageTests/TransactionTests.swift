import PikaStorage
import Testing

@Suite("Transactions")
struct TransactionTests {
    private let now: Int64 = 1_700_000_000

    private func put(_ transaction: StoreTransaction, _ key: [UInt8], _ value: String) {
        with(key) { key in with(value) { transaction.put(.meta, key, $0) } }
    }

    private func get(_ transaction: StoreTransaction, _ key: String) throws -> String? {
        try with(key) { try transaction.withRow(.meta, $0) { $0.map { text($0) } } }
    }

    private func put(_ transaction: StoreTransaction, _ key: String, _ value: String) {
        put(transaction, Array(key.utf8), value)
    }

    @Test("Reads see own rows, others only after the commit; a reset forgets them")
    func visibility() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let writer = database.set.strings
        let reader = database.stores[0].makeTransaction()
        put(writer, "a", "1")
        #expect(try get(writer, "a") == "1")
        #expect(try get(reader, "a") == nil)
        writer.reset()
        #expect(try get(writer, "a") == nil && writer.isEmpty)
        put(writer, "a", "2")
        #expect(try writer.commit(applied: nil) == .done)
        #expect(try get(reader, "a") == "2")
        with("a") { writer.delete(.meta, $0) }
        #expect(try get(writer, "a") == nil)
        #expect(try get(reader, "a") == "2")
        #expect(database.set.touched == .strings)
        try withExtendedLifetime(database) { try database.commit() }
        #expect(try get(reader, "a") == nil)
    }

    @Test("What was prepared is seen behind its commit, by caches, too; a reset forgets it")
    func prepared() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let writer = database.set.strings
        let reader = database.stores[0].makeTransaction()
        func putAll(_ value: String) {
            for number in 0..<500 { put(writer, "k\(number)", value) }
        }
        func expectAll(_ value: String) throws {
            for number in 0..<500 { try #require(try get(reader, "k\(number)") == value) }
        }
        putAll("1")
        try database.commit()
        try expectAll("1")
        putAll("2")
        writer.prepareCommit()
        // Rows are in a cache, and in no batch that was written.
        try expectAll("1")
        #expect(writer.needsCommit)
        #expect(try writer.commit(applied: nil) == .done)
        #expect(!writer.needsCommit && !writer.isEmpty)
        try expectAll("2")
        writer.reset()
        #expect(writer.isEmpty)
        try expectAll("2")
        putAll("3")
        writer.prepareCommit()
        writer.reset()
        try expectAll("2")
        try withExtendedLifetime(database) { try database.commit() }
        try expectAll("2")
    }

    @Test("Bytes handed out stay as they are while their row is written again")
    func stableBytes() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let transaction = database.set.strings
        put(transaction, "a", "first")
        let seen = try with("a") { key in
            try transaction.withRow(.meta, key) { row in
                for number in 0..<5000 { put(transaction, "a", "value \(number)") }
                return row.map { text($0) }
            }
        }
        #expect(seen == "first")
        #expect(try get(transaction, "a") == "value 4999")
        #expect(transaction.pendingRowCount == 1)
        #expect(transaction.pendingByteCount > 40_000)
        withExtendedLifetime(database) {}
    }

    @Test("Large groups: 50,000 rows, with keys and values of every size")
    func large() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let transaction = database.set.strings
        for round in 0..<2 {
            for number in 0..<50_000 { put(transaction, "key\(number)", "\(round) \(number)") }
            put(transaction, "", "empty")
            put(transaction, [UInt8](repeating: 65, count: 300_000), "long key")
            put(transaction, "long", String(repeating: "x", count: 200_000))
            #expect(transaction.pendingRowCount == 50_003)
            #expect(try get(transaction, "key777") == "\(round) 777")
            #expect(try transaction.commit(applied: nil, mode: .waiting) == .done)
        }
        #expect(try get(transaction, "key49999") == "1 49999")
        #expect(try get(transaction, "") == "empty")
        #expect(try get(transaction, "long")?.utf8.count == 200_000)
        #expect(try rows(transaction, .meta).count == 50_003)
        withExtendedLifetime(database) {}
    }

    @Test("A scan merges own rows in order, in both directions")
    func mergedScan() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let transaction = database.set.strings
        for key in ["b", "d", "f", "h"] { put(transaction, key, "stored") }
        _ = try transaction.commit(applied: nil)
        for key in ["a", "c", "h", "i"] { put(transaction, key, "own") }
        with("f") { transaction.delete(.meta, $0) }
        var forward: [String] = []
        try transaction.scan(.meta, prefix: .none, from: nil) { key, value in
            forward.append(text(key) + "=" + text(value))
            // What is written meanwhile does not show.
            put(transaction, "z" + text(key), "late")
            return true
        }
        #expect(forward == ["a=own", "b=stored", "c=own", "d=stored", "h=own", "i=own"])
        transaction.reset()
        for key in ["a", "c", "h", "i"] { put(transaction, key, "own") }
        with("f") { transaction.delete(.meta, $0) }
        var backward: [String] = []
        try with("h") { from in
            try transaction.scan(.meta, prefix: .none, from: from, reverse: true) { key, _ in
                backward.append(text(key))
                return backward.count < 4
            }
        }
        #expect(backward == ["h", "d", "c", "b"])
        withExtendedLifetime(database) {}
    }

    @Test("A snapshot shows one state, own rows on top")
    func snapshot() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let writer = database.set.strings
        let reader = database.stores[0].makeTransaction()
        put(writer, "a", "1")
        _ = try writer.commit(applied: nil)
        var seen: [String?] = []
        func read() { seen.append((try? get(reader, "a")).flatMap(\.self)) }
        try reader.withSnapshot { () throws(StorageError) in
            read()
            put(writer, "a", "2")
            _ = try writer.commit(applied: nil)
            read()
            put(reader, "a", "own")
            read()
            reader.reset()
        }
        read()
        #expect(seen == ["1", "1", "own", "2"])
        withExtendedLifetime(database) {}
    }

    @Test("HMGET shows one state, with few fields and with many", arguments: [3, 8, 9, 40])
    func manyFields(count: Int) throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: now)
        let fields = (0..<count).map { "f\($0)" }
        _ = try with("h") { key in
            try with(list: fields.flatMap { [$0, "v" + $0] }) {
                try driver.hashes.setPairs(key, $0, now: now)
            }
        }
        var seen: [String?] = []
        for key in ["h", "none"] {
            try with(key) { key in
                try with(list: fields + ["missing"]) { fields in
                    try driver.hashes.forEachField(key, fields, now: now) { index, value in
                        #expect(index == seen.count % fields.count)
                        seen.append(value.map { text($0) })
                    }
                }
            }
        }
        #expect(seen == fields.map { "v" + $0 } + [nil] + fields.map { _ in nil } + [nil])
    }

    @Test("A rebound transaction goes on with the other store")
    func rebind() throws {
        let first = try TestDatabase(TemporaryDirectory())
        let second = try TestDatabase(TemporaryDirectory())
        let transaction = first.stores[0].makeTransaction()
        put(transaction, "a", "1")
        transaction.rebind(to: second.stores[0])
        #expect(transaction.isEmpty)
        put(transaction, "b", "2")
        _ = try transaction.commit(applied: nil)
        #expect(try rows(first.set.strings, .meta).isEmpty)
        #expect(try rows(second.set.strings, .meta).count == 1)
    }
}

@Suite("Orders of the families")
struct OrderTests {
    private func element(_ key: String, _ version: Int32, _ rest: [UInt8]) -> [UInt8] {
        let bytes = Array(key.utf8)
        return littleEndian(UInt32(bytes.count)) + bytes
            + littleEndian(UInt32(bitPattern: version)) + rest
    }

    private func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    private func score(_ value: Double, _ member: String = "") -> [UInt8] {
        littleEndian(value.bitPattern) + Array(member.utf8)
    }

    /// What a family gives back, in order, of rows written in any order.
    private func order(
        _ kind: StoreKind, _ family: Family, _ keys: [[UInt8]], flush: Bool
    ) throws -> [[UInt8]] {
        let database = try TestDatabase(TemporaryDirectory())
        let transaction = database.set[kind]
        for key in keys.reversed() { with(key) { transaction.put(family, $0, .none) } }
        _ = try transaction.commit(applied: nil, mode: .waiting)
        if flush { try database.stores[Int(kind.rawValue)].flush() }
        var found: [[UInt8]] = []
        try transaction.scan(family, prefix: .none, from: nil) { key, _ in
            found.append(Array(key))
            return true
        }
        var backward: [[UInt8]] = []
        try transaction.scan(family, prefix: .none, from: nil, reverse: true) { key, _ in
            backward.append(Array(key))
            return true
        }
        #expect(backward == found.reversed())
        return found
    }

    @Test(
        "Lists: key as text, version as a signed number, index unsigned", arguments: [false, true])
    func lists(flush: Bool) throws {
        let keys = [
            element("a", -5, littleEndian(UInt64(9))),
            element("a", 1, littleEndian(UInt64(1))),
            element("a", 1, littleEndian(UInt64(256))),
            element("a", 1, littleEndian(UInt64.max)),
            element("a", 256, littleEndian(UInt64(0))),
            element("aa", 1, littleEndian(UInt64(0))),
            element("b", 1, littleEndian(UInt64(0))),
        ]
        #expect(try order(.lists, .data, keys, flush: flush) == keys)
    }

    @Test("Scores: prefix as bytes, score as a number, then the member", arguments: [false, true])
    func scores(flush: Bool) throws {
        let keys = [
            element("z", 256, score(1, "m")),
            element("z", 1, score(-.infinity, "m")),
            element("z", 1, score(-1e300, "m")),
            element("z", 1, score(-1, "m")),
            element("z", 1, score(0)),
            element("z", 1, score(0, "m")),
            element("z", 1, score(.leastNonzeroMagnitude, "m")),
            element("z", 1, score(1, "a")),
            element("z", 1, score(1, "b")),
            element("z", 1, score(.infinity)),
            element("z", 1, score(.nan, "m")),
            element("aa", 1, score(-7, "m")),
        ]
        #expect(try order(.zsets, .score, keys, flush: flush) == keys)
    }

    @Test("-0.0 and 0.0 are one key, in a batch and in files")
    func zeros() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: 1)
        for commit in [false, true] {
            for flush in [false, true] {
                for (first, second) in [("0", "-0"), ("-0", "0")] {
                    _ = try driver.zadd("z", [first, "m"])
                    if commit { try database.commit() }
                    if flush { try database.stores[4].flush() }
                    // To and fro between both forms in one group.
                    _ = try driver.zadd("z", ["5", "m"])
                    _ = try driver.zadd("z", [second, "m"])
                    _ = try driver.zadd("z", ["7", "m"])
                    _ = try driver.zadd("z", [first, "m"])
                    try database.commit()
                    #expect(try driver.zrange("z") == ["m", first])
                    #expect(try rows(database.set.zsets, .score).count == 1)
                    #expect(try driver.zrem("z", "m") == 1)
                    try database.commit()
                    #expect(try rows(database.set.zsets, .score).isEmpty)
                }
            }
        }
    }
}

@Suite("Numbers and patterns")
struct NumberTests {
    @Test("Integers are read as Pika reads them")
    func integers() {
        let cases: [(String, Int64?)] = [
            ("0", 0), ("-0", 0), ("007", 7), ("-12", -12), ("9223372036854775807", .max),
            ("-9223372036854775808", .min), ("9223372036854775808", nil),
            ("-9223372036854775809", nil), ("", nil), ("-", nil), ("+1", nil), (" 1", nil),
            ("1 ", nil), ("1.0", nil), ("0x1", nil), ("99999999999999999999", nil),
        ]
        for (text, value) in cases {
            #expect(with(text) { Numbers.integer($0) } == value, "\(text)")
        }
        for value in [Int64.min, -1, 0, 9, 10, 12345, .max] {
            let written = withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) {
                String(decoding: $0[..<Numbers.write(value, into: $0)], as: UTF8.self)
            }
            #expect(written == String(value))
        }
    }

    @Test("Doubles are read whole, without NaN, and written so that they read back")
    func doubles() {
        #expect(with("inf") { Numbers.double($0) } == .infinity)
        #expect(with("-INF") { Numbers.double($0) } == -.infinity)
        #expect(with("1e3") { Numbers.double($0) } == 1000)
        for text in ["nan", "", " 1", "1 ", "1x", "\u{0}", "1\u{0}", "--1"] {
            #expect(with(text) { Numbers.double($0) } == nil, "\(text)")
        }
        #expect(shortest(0.1) == "0.1")
        #expect(shortest(3_479_099_956_230_698) == "3479099956230698")
        #expect(shortest(1e300) == "1e+300")
        #expect(shortest(-0.0) == "-0")
        #expect(shortest(-.infinity) == "-inf")
        let long = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) {
            String(decoding: $0[..<Numbers.write17(0.1, into: $0)], as: UTF8.self)
        }
        #expect(long == "0.10000000000000001")
    }

    private func add(_ a: String?, _ b: String) -> Result<String, StorageError> {
        let room = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Numbers.textCapacity, alignment: 8)
        defer { room.deallocate() }
        return with(a ?? "") { left in
            with(b) { right in
                do throws(StorageError) {
                    let length = try Numbers.addFloat(a == nil ? nil : left, right, into: room)
                    return .success(String(decoding: room[..<length], as: UTF8.self))
                } catch {
                    return .failure(error)
                }
            }
        }
    }

    @Test("INCRBYFLOAT adds long doubles and cuts zeros")
    func longDoubles() {
        #expect(add("3.0", "0.25") == .success("3.25"))
        #expect(add(nil, "10.5") == .success("10.5"))
        #expect(add("10.5", "0.1") == .success("10.6"))
        #expect(add("5.0e3", "2.0e2") == .success("5200"))
        #expect(add("1", "-1") == .success("0"))
        #expect(add("x", "1") == .failure(.notAFloat))
        #expect(add("1", "nan") == .failure(.notAFloat))
        #expect(add("inf", "1") == .failure(.resultIsNaN))
    }

    @Test("Glob patterns match as in Redis")
    func globs() {
        let cases: [(String, String, Bool)] = [
            ("*", "", true), ("*", "abc", true), ("a*c", "abbbc", true), ("a*c", "abb", false),
            ("a?c", "abc", true), ("a?c", "ac", false), ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false), ("[^a-c]x", "dx", true), ("\\*", "*", true),
            ("\\*", "x", false), ("h[ae]llo", "hallo", true), ("h[ae]llo", "hillo", false),
            ("", "", true), ("", "a", false), ("**a", "bca", true), ("[a", "a", true),
            ("a**********************b", String(repeating: "a", count: 300), false),
        ]
        for (pattern, name, expected) in cases {
            let result = with(pattern) { pattern in
                with(name) { GlobPattern(pattern).matches($0) }
            }
            #expect(result == expected, "\(pattern) \(name)")
        }
        #expect(with("ab\\*c*") { GlobPattern($0).literalPrefix } == Array("ab*c".utf8))
    }

    @Test("PKPATTERNMATCHDEL deletes the keys of one type that match")
    func patternDelete() throws {
        let database = try TestDatabase(TemporaryDirectory())
        let driver = Driver(database: database, now: 1_700_000_000)
        for key in ["user:1", "user:2", "other"] {
            _ = try driver.sadd(key, "m")
            try driver.setValue(key, "v")
        }
        try database.commit()
        let deleted = try with("user:*") {
            try driver.keys.deleteMatching($0, .sets, now: driver.now)
        }
        #expect(deleted == 2)
        #expect(try driver.smembers("user:1") == [])
        #expect(try driver.smembers("other") == ["m"])
        #expect(try driver.get("user:1") == "v")
    }
}
