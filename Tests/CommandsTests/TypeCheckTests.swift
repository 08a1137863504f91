import Commands
import Synchronization
import Testing

@Suite("wrong-type-check yes: one type per key, as in Redis")
struct TypeCheckTests {
    private func makeHarness() throws -> Harness {
        let harness = try Harness()
        harness.environment.checksTypes.store(true, ordering: .relaxed)
        _ = harness.replies("SET s v\r\nHSET h f v\r\nRPUSH l a\r\nSADD t m\r\nZADD z 1 m")
        return harness
    }

    private static let wrongType =
        "-WRONGTYPE Operation against a key holding the wrong kind of value"

    @Test(
        "Reads and writes of a key of another type are refused",
        arguments: [
            "GET h", "GETSET h v", "APPEND l x", "INCR t", "STRLEN z", "SETRANGE h 0 x",
            "SETBIT l 0 1", "GETDEL t", "GETEX z", "SET h v GET", "PFADD l a", "BITCOUNT h",
            "HSET s f v", "HGETALL l", "HLEN t", "HSCAN z 0", "LPUSH s a", "LRANGE h 0 -1",
            "LLEN t", "RPOPLPUSH l h", "RPOPLPUSH h l", "SADD s a", "SMEMBERS l", "SMOVE t z m",
            "SINTER t h", "SUNIONSTORE new t z", "ZADD s 1 a", "ZRANGE t 0 -1",
            "ZUNIONSTORE new 2 z s", "BITOP AND new s h",
        ])
    func refused(request: String) throws {
        let harness = try makeHarness()
        defer { harness.close() }
        let before = try harness.rows()
        #expect(harness.run(request).description == Self.wrongType)
        #expect(try harness.rows() == before)
    }

    @Test("SET and the like replace a key of any type")
    func replaced() throws {
        let harness = try makeHarness()
        defer { harness.close() }
        check(
            harness,
            """
            > SETNX h v
            :0
            > SET h v NX
            nil
            > MSETNX new 1 h 2
            :0
            > EXPIRE h 100
            :1
            > SET h 1 XX KEEPTTL
            +OK
            > PTYPE h
            ["string"]
            > TTL h
            :100
            > MSET l 1 t 2 fresh 3
            +OK
            > PTYPE l
            ["string"]
            > PTYPE t
            ["string"]
            > SETEX z 0 v
            -ERR invalid expire time in 'setex' command
            > PTYPE z
            ["zset"]
            > SETEX z 10 v
            +OK
            > PTYPE z
            ["string"]
            > SADD a 1
            :1
            > SUNIONSTORE s a
            :1
            > PTYPE s
            ["set"]
            > SET s v
            +OK
            > BITOP NOT a z
            :1
            > PTYPE a
            ["string"]
            > MGET a missing
            ["\u{fffd}", nil]
            """)
    }

    @Test("MGET answers null for other types, and without the check names have many types")
    func others() throws {
        let harness = try makeHarness()
        defer { harness.close() }
        check(
            harness,
            """
            > MGET s h l
            ["v", nil, nil]
            > DEL h
            :1
            > SET h v
            +OK
            """)
        harness.environment.checksTypes.store(false, ordering: .relaxed)
        check(
            harness,
            """
            > HSET s f v
            :1
            > PTYPE s
            ["string", "hash"]
            """)
        harness.environment.checksTypes.store(true, ordering: .relaxed)
        // Names that had several types before keep them.
        check(
            harness,
            """
            > HGET s f
            "v"
            > GET s
            "v"
            > LPUSH s a
            \(Self.wrongType)
            """)
    }

    @Test("The replaced key's DEL and the write are one atomic group of the log")
    func logged() throws {
        let harness = try makeHarness()
        defer { harness.close() }
        let start = try harness.rawItems().count
        _ = harness.run("SET h v")
        let items = try harness.rawItems().dropFirst(start)
        let texts = items.map { item in
            item.words.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
        }
        #expect(texts == ["del h", "SET h v"])
        #expect(items.map(\.itemsLeft) == [1, 0])
        let plain = try harness.rawItems().count
        _ = harness.run("SET h w")
        #expect(try harness.rawItems().count == plain + 1)
    }

    @Test("The check holds inside of transactions")
    func transaction() throws {
        let harness = try makeHarness()
        defer { harness.close() }
        let replies = harness.replies("MULTI\r\nLPUSH s a\r\nSET l v\r\nEXEC")
        #expect(replies.last?.description == "[\(Self.wrongType), +OK]")
        #expect(harness.run("PTYPE l").description == "[\"string\"]")
    }

    @Test("A copy to which the items are applied has the same rows")
    func replayed() throws {
        let harness = try makeHarness()
        defer { harness.close() }
        _ = harness.replies("SET h v\r\nMSET l 1 t 2\r\nBITOP NOT z h\r\nSETEX h 50 w")
        let copy = try Harness()
        defer { copy.close() }
        for item in try harness.items() { _ = copy.run(item) }
        #expect(try copy.rows() == harness.rows())
    }
}
