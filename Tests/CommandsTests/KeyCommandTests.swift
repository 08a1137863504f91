import Testing

@Suite("Key commands")
struct KeyCommandTests {
    @Test("Keys of several types under one name, as in Pika 3.5.0")
    func types() throws {
        try check(
            """
            > SET same s
            +OK
            > HSET same f v
            :1
            > RPUSH same l
            :1
            > SADD same m
            :1
            > ZADD same 1 z
            :1
            > TYPE same
            +string
            > PTYPE same
            ["string", "hash", "list", "zset", "set"]
            > EXISTS same missing same
            :10
            > DEL same missing
            :5
            > TYPE same
            +none
            > PTYPE same
            []
            > UNLINK same
            :0
            """)
    }

    @Test("Deadlines: set, read, remove, pass")
    func deadlines() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(
            harness,
            """
            > SET k v
            +OK
            > TTL k
            :-1
            > TTL missing
            :-2
            > EXPIRE k 10
            :1
            > TTL k
            :10
            > PTTL k
            :10000
            > PERSIST k
            :1
            > PERSIST k
            :0
            > PEXPIRE k 1
            :1
            > PTTL k
            :1000
            > EXPIREAT k 1795399813
            :1
            > TTL k
            :10
            > PEXPIREAT k 1795399823999
            :1
            > TTL k
            :20
            > EXPIRE k 5 NX
            :0
            > EXPIRE k 5 GT
            :0
            > EXPIRE k 50 GT
            :1
            > EXPIRE k 5 LT
            :1
            > EXPIRE k 50 XX
            :1
            > EXPIRE k 5 NX XX
            -ERR NX and XX, GT or LT options at the same time are not compatible
            > EXPIRE k 5 GT LT
            -ERR GT and LT options at the same time are not compatible
            > EXPIRE k 5 FOO
            -ERR Unsupported option FOO
            > EXPIRE k abc
            -ERR value is not an integer or out of range
            > EXPIRE k 9223372036854775807
            -ERR invalid expire time in 'expire' command
            > EXPIREAT k 4102444800
            -ERR invalid expire time in 'expireat' command
            > EXPIRE missing 10
            :0
            > EXPIRE k 0
            :1
            > EXISTS k
            :0
            > HSET h f v
            :1
            > EXPIRE h 10
            :1
            """)
        harness.clock.advance(10)
        #expect(harness.run("HGET h f").description == "\"v\"")
        harness.clock.advance(1)
        #expect(harness.run("HGET h f").description == "nil")
        #expect(harness.run("TTL h").description == ":-2")
    }

    @Test("The reserved name is hidden and refused")
    func reserved() throws {
        let harness = try Harness()
        defer { harness.close() }
        let name = [0] + bytes("pika-swift:applied")
        let refusal = "-ERR this key name is reserved for the server"
        #expect(harness.run([bytes("SET"), name, bytes("v")]).description == refusal)
        #expect(harness.run([bytes("GET"), name]).description == refusal)
        #expect(harness.run([bytes("DEL"), bytes("a"), name]).description == refusal)
        let pairs = [bytes("MSET"), bytes("a"), bytes("1"), name, bytes("2")]
        #expect(harness.run(pairs).description == refusal)
        let union = [bytes("ZUNIONSTORE"), bytes("d"), bytes("1"), name]
        #expect(harness.run(union).description == refusal)
        #expect(harness.run("SET a 1").description == "+OK")
        #expect(harness.run("KEYS *").description == "[\"a\"]")
        #expect(harness.run("SCAN 0 COUNT 100").description == "[\"0\", [\"a\"]]")
        // The value may be that name.
        #expect(harness.run([bytes("SET"), bytes("b"), name]).description == "+OK")
    }
}

@Suite("Scans")
struct ScanTests {
    private func scanAll(_ harness: Harness, _ command: String, _ options: String) -> [String] {
        var cursor = "0"
        var found: [String] = []
        repeat {
            let reply = harness.run("\(command) \(cursor) \(options)").elements
            guard reply.count == 2, let next = reply[0].bulkBytes else { return ["?\(reply)"] }
            cursor = String(decoding: next, as: UTF8.self)
            found += reply[1].elements.compactMap(\.bulkBytes).map {
                String(decoding: $0, as: UTF8.self)
            }
        } while cursor != "0"
        return found
    }

    @Test("SCAN visits every key once, in any step size", arguments: [1, 3, 10, 1000])
    func everyKey(count: Int) throws {
        let harness = try Harness()
        defer { harness.close() }
        var names: Set<String> = []
        for index in 0..<40 {
            _ = harness.run("SET s\(index) v")
            _ = harness.run("HSET h\(index) f v")
            _ = harness.run("ZADD z\(index) 1 m")
            names.formUnion(["s\(index)", "h\(index)", "z\(index)"])
        }
        let found = scanAll(harness, "SCAN", "COUNT \(count)")
        #expect(found.count == 120)
        #expect(Set(found) == names)
        let hashes = scanAll(harness, "SCAN", "COUNT \(count) TYPE hash MATCH h1*")
        #expect(Set(hashes) == Set(names.filter { $0.hasPrefix("h1") }))
        let odd = scanAll(harness, "SCAN", "COUNT \(count) MATCH *[13]")
        #expect(Set(odd) == Set(names.filter { $0.hasSuffix("1") || $0.hasSuffix("3") }))
        #expect(scanAll(harness, "SCAN", "TYPE stream").isEmpty)
    }

    @Test("Two scans with the same steps do not disturb each other")
    func interleaved() throws {
        let harness = try Harness()
        defer { harness.close() }
        for index in 10..<60 { _ = harness.run("MSET aa\(index) 1 bb\(index) 1") }
        let first = harness.run("SCAN 0 MATCH aa* COUNT 10").elements
        _ = harness.run("SCAN 0 MATCH bb* COUNT 10")
        let cursor = String(decoding: first[0].bulkBytes ?? [], as: UTF8.self)
        let second = harness.run("SCAN \(cursor) MATCH aa* COUNT 10").elements
        #expect(second[1].elements.count == 10)
        // A step may be repeated: its cursor is not used up.
        #expect(harness.run("SCAN \(cursor) MATCH aa* COUNT 10").elements[1] == second[1])
    }

    @Test("A lost cursor gets an error, never a silent end")
    func lost() throws {
        let harness = try Harness()
        defer { harness.close() }
        let text = "-ERR cursor is not known any more, start the scan again at 0"
        #expect(harness.run("SCAN 12345").description == text)
        #expect(harness.run("SCAN abc").description == "-ERR invalid cursor")
        for index in 0..<20 { _ = harness.run("HSET h f\(index) v") }
        let cursor = harness.run("HSCAN h 0").elements[0].bulkBytes ?? []
        let number = String(decoding: cursor, as: UTF8.self)
        #expect(harness.run("SSCAN h \(number)").description == text)
        #expect(harness.run("HSCAN other \(number)").description == text)
        #expect(harness.run("SCAN \(number)").description == text)
        _ = harness.run("SELECT 1")
        #expect(harness.run("HSCAN h \(number)").description == text)
    }

    @Test("HSCAN, SSCAN and ZSCAN visit every element")
    func elements() throws {
        let harness = try Harness()
        defer { harness.close() }
        for index in 0..<25 {
            _ = harness.run("HSET h f\(index) v\(index)")
            _ = harness.run("SADD s m\(index)")
            _ = harness.run("ZADD z \(index).5 m\(index)")
        }
        #expect(scanAll(harness, "HSCAN h", "COUNT 4").count == 50)
        #expect(Set(scanAll(harness, "SSCAN s", "COUNT 4")).count == 25)
        let scores = scanAll(harness, "ZSCAN z", "MATCH m1?")
        #expect(scores.count == 20)
        #expect(scores.contains("10.5"))
        #expect(scanAll(harness, "SSCAN missing", "").isEmpty)
        #expect(harness.run("HSCAN h 0 COUNT 0").description == "-ERR syntax error")
        #expect(harness.run("HSCAN h 0 MATCH").description == "-ERR syntax error")
    }

    @Test("SCANX and HSCANX go on from a name")
    func stateless() throws {
        try check(
            """
            > MSET a 1 b 2 c 3
            +OK
            > SCANX string "" COUNT 2
            ["c", ["a", "b"]]
            > SCANX string c COUNT 2
            ["", ["c"]]
            > SCANX nothing ""
            -ERR syntax error
            > HMSET h a 1 b 2 c 3
            +OK
            > HSCANX h b COUNT 1
            ["c", ["b", "2"]]
            > KEYS ?
            ["a", "b", "c", "h"]
            > KEYS * hash
            ["h"]
            """)
    }
}
