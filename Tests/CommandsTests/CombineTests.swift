import Testing

@Suite("Combinations and random elements of collections")
struct CombineTests {
    @Test("Unions, intersections and differences of sorted sets, plain sets with them")
    func combinations() throws {
        try check(
            """
            > ZADD a 1 one 2 two 3 three
            :3
            > ZADD b 10 two 20 three 30 four
            :3
            > SADD s one four
            :2
            > ZUNION 2 a b WITHSCORES
            ["one", "1", "two", "12", "three", "23", "four", "30"]
            > ZUNION 3 a b s WEIGHTS 1 1 100 AGGREGATE MAX WITHSCORES
            ["two", "10", "three", "20", "four", "100", "one", "100"]
            > ZINTER 2 a b AGGREGATE MIN WITHSCORES
            ["two", "2", "three", "3"]
            > ZINTER 2 s a WITHSCORES
            ["one", "2"]
            > ZINTER 2 a missing
            []
            > ZDIFF 2 a b WITHSCORES
            ["one", "1"]
            > ZDIFF 2 a s
            ["two", "three"]
            > ZDIFF 1 s
            ["four", "one"]
            > ZINTERCARD 2 a b
            :2
            > ZINTERCARD 2 a b LIMIT 1
            :1
            > ZUNIONSTORE d 2 a s
            :4
            > ZRANGE d 0 -1 WITHSCORES
            ["four", "1", "one", "2", "two", "2", "three", "3"]
            > ZDIFFSTORE d 2 a b
            :1
            > ZRANGE d 0 -1
            ["one"]
            > ZINTERSTORE d 2 a missing
            :0
            > EXISTS d
            :0
            > ZUNION 0 a
            -ERR at least 1 input key is needed for 'zunion' command
            > ZDIFF 1 a WEIGHTS 1
            -ERR syntax error
            > ZUNIONSTORE d 1 a WITHSCORES
            -ERR syntax error
            > ZINTERCARD 1 a LIMIT -1
            -ERR LIMIT can't be negative
            > ZINTER 3 a b
            -ERR syntax error
            """)
    }

    @Test("ZRANGESTORE stores what ZRANGE shows")
    func rangeStore() throws {
        try check(
            """
            > ZADD a 1 a 2 b 3 c 4 d 5 e
            :5
            > ZRANGESTORE t a 0 1
            :2
            > ZRANGE t 0 -1 WITHSCORES
            ["a", "1", "b", "2"]
            > ZRANGESTORE t a 3 -1
            :2
            > ZRANGE t 0 -1
            ["d", "e"]
            > ZRANGESTORE t a 4 2 BYSCORE REV LIMIT 1 1
            :1
            > ZRANGE t 0 -1
            ["c"]
            > ZRANGESTORE t a [b (d BYLEX
            :2
            > ZRANGESTORE t missing 0 -1
            :0
            > EXISTS t
            :0
            > ZRANGESTORE t a 0 -1 WITHSCORES
            -ERR syntax error
            > ZRANGE a - + BYLEX WITHSCORES
            -ERR syntax error, WITHSCORES not supported in combination with BYLEX
            > ZRANGE a -2 -1
            ["d", "e"]
            > ZRANGE a -2 -1 REV WITHSCORES
            ["b", "2", "a", "1"]
            > ZREVRANGE a 3 9
            ["b", "a"]
            > ZMSCORE a a nobody e
            ["1", nil, "5"]
            > ZMSCORE missing a
            [nil]
            """)
    }

    @Test("SMISMEMBER and SINTERCARD")
    func sets() throws {
        try check(
            """
            > SADD a 1 2 3
            :3
            > SADD b 2 3 4
            :3
            > SMISMEMBER a 1 4 3
            [:1, :0, :1]
            > SMISMEMBER missing x
            [:0]
            > SINTERCARD 2 a b
            :2
            > SINTERCARD 2 a b LIMIT 1
            :1
            > SINTERCARD 2 a missing
            :0
            > SINTERCARD 0 a
            -ERR numkeys should be greater than 0
            > SINTERCARD 3 a b
            -ERR Number of keys can't be greater than number of args
            > SINTERCARD 1 a LIMIT -1
            -ERR LIMIT can't be negative
            > SINTERCARD 1 a FOO
            -ERR syntax error
            > SUNION a b a
            ["1", "2", "3", "4"]
            """)
    }

    @Test("Random fields and members exist, and are different when the count is positive")
    func random() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run("HSET h a 1 b 2 c 3")
        _ = harness.run("ZADD z 1 a 2 b 3 c")
        let values = ["a": "1", "b": "2", "c": "3"]
        for (command, option) in [("HRANDFIELD h", "WITHVALUES"), ("ZRANDMEMBER z", "WITHSCORES")] {
            let single = harness.run(command)
            let name = single.bulkBytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
            #expect(values[name] != nil)
            let some = harness.run("\(command) 2").elements.map(\.description)
            #expect(Set(some).count == 2)
            #expect(Set(harness.run("\(command) 9").elements.map(\.description)).count == 3)
            #expect(harness.run("\(command) -9").elements.count == 9)
            let pairs = harness.run("\(command) -9 \(option)").elements.map(\.description)
            #expect(pairs.count == 18)
            for index in stride(from: 0, to: 18, by: 2) {
                let element = String(pairs[index].dropFirst().dropLast())
                #expect(pairs[index + 1] == "\"\(values[element] ?? "")\"")
            }
            #expect(harness.run("\(command) 0").description == "[]")
            #expect(
                harness.run("\(command) -9223372036854775808").description
                    == "-ERR value is out of range")
        }
        #expect(harness.run("HRANDFIELD missing").description == "nil")
        #expect(harness.run("ZRANDMEMBER missing 3").description == "[]")
    }

    @Test("SPOP of more members than a slice is committed slice by slice, and answers all of them")
    func slicedPop() throws {
        let harness = try Harness()
        defer { harness.close() }
        let members = (0..<5000).map { bytes("\($0)") }
        #expect(harness.run([bytes("SADD"), bytes("s")] + members).description == ":5000")
        let before = try harness.rawItems().count
        let popped = Set(harness.run("SPOP s 3500").elements.map(\.description))
        #expect(popped.count == 3500)
        let items = try harness.rawItems().dropFirst(before)
        #expect(items.map(\.words.count) == [1002, 1002, 1002, 502])
        #expect(items.allSatisfy { $0.itemsLeft == 0 && $0.words[0] == bytes("srem") })
        let rest = Set(harness.run("SMEMBERS s").elements.map(\.description))
        #expect(rest.count == 1500)
        #expect(rest.isDisjoint(with: popped))
        // The key is nobody's any more.
        #expect(harness.run("SADD s new").description == ":1")
    }

    @Test("SPOP of many members in a transaction is one group with it")
    func popInTransaction() throws {
        let harness = try Harness()
        defer { harness.close() }
        let members = (0..<3000).map { bytes("\($0)") }
        #expect(harness.run([bytes("SADD"), bytes("s")] + members).description == ":3000")
        let before = try harness.rawItems().count
        let replies = harness.replies("MULTI\r\nSPOP s 2000\r\nSADD t 1\r\nEXEC")
        #expect(replies.last?.elements.first?.elements.count == 2000)
        let items = try harness.rawItems().dropFirst(before)
        #expect(items.map(\.itemsLeft) == Array((0..<items.count).reversed()).map { UInt32($0) })
    }

    @Test("SPOP of many members logs items of limited size")
    func largePop() throws {
        let harness = try Harness()
        defer { harness.close() }
        let filler = String(repeating: "x", count: 1000)
        let members = (0..<500).map { bytes("\($0)-\(filler)") }
        #expect(harness.run([bytes("SADD"), bytes("s")] + members).description == ":500")
        let before = try harness.rawItems().count
        #expect(harness.run("SPOP s 499").elements.count == 499)
        let items = try harness.rawItems().dropFirst(before)
        #expect(items.count == 4)
        #expect(items.map(\.itemsLeft) == [3, 2, 1, 0])
        #expect(harness.run("SCARD s").description == ":1")
    }
}
