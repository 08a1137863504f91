import Commands
import Synchronization
import Testing

@Suite("Hash and list commands")
struct HashAndListCommandTests {
    @Test("Hashes")
    func hashes() throws {
        try check(
            """
            > HSET h a 1
            :1
            > HSET h a 2 b 3 c 4
            :2
            > HSET h a
            -ERR wrong number of arguments for 'hset' command
            > HSET h a 1 b
            -ERR wrong number of arguments for 'hset' command
            > HGET h a
            "2"
            > HGET h x
            nil
            > HGET missing x
            nil
            > HMGET h a x b
            ["2", nil, "3"]
            > HMGET missing a b
            [nil, nil]
            > HMSET h d 5 e 6
            +OK
            > HMSET h d 5 e
            -ERR wrong number of arguments for 'hmset' command
            > HGETALL h
            ["a", "2", "b", "3", "c", "4", "d", "5", "e", "6"]
            > HKEYS h
            ["a", "b", "c", "d", "e"]
            > HVALS h
            ["2", "3", "4", "5", "6"]
            > HLEN h
            :5
            > HEXISTS h a
            :1
            > HEXISTS h x
            :0
            > HSTRLEN h a
            :1
            > HSTRLEN h x
            :0
            > HSETNX h a 9
            :0
            > HSETNX h f 9
            :1
            > HDEL h a b x
            :2
            > HDEL missing a
            :0
            > HINCRBY h n 5
            :5
            > HINCRBY h n -7
            :-2
            > HSET h n abc
            :0
            > HINCRBY h n 1
            -ERR hash value is not an integer
            > HINCRBYFLOAT h n 1
            -ERR hash value is not a float
            > HINCRBYFLOAT h x 10.5
            "10.5"
            > HINCRBYFLOAT h x -0.1
            "10.4"
            > HGETALL missing
            []
            > HSET h m 9223372036854775807
            :1
            > HINCRBY h m 1
            -ERR increment or decrement would overflow
            """)
    }

    @Test("Lists")
    func lists() throws {
        try check(
            """
            > RPUSH l a b c
            :3
            > LPUSH l x y
            :5
            > LRANGE l 0 -1
            ["y", "x", "a", "b", "c"]
            > LRANGE l 1 2
            ["x", "a"]
            > LRANGE l -2 -1
            ["b", "c"]
            > LRANGE l 5 10
            []
            > LRANGE missing 0 -1
            []
            > LLEN l
            :5
            > LINDEX l 0
            "y"
            > LINDEX l -1
            "c"
            > LINDEX l 99
            nil
            > LSET l 0 Y
            +OK
            > LSET l 99 Y
            -ERR index out of range
            > LSET missing 0 Y
            -ERR no such key
            > LPOP l
            "Y"
            > RPOP l
            "c"
            > LPOP l 2
            ["x", "a"]
            > LPOP missing
            nil
            > LPOP missing 2
            nil
            > LPOP l 0
            []
            > LPOP l -1
            -ERR value is out of range, must be positive
            > LPOP l 1 2
            -ERR wrong number of arguments for 'lpop' command
            > RPUSH l 1 2 1 2 1
            :6
            > LREM l 2 1
            :2
            > LREM l -1 2
            :1
            > LRANGE l 0 -1
            ["b", "2", "1"]
            > LINSERT l BEFORE 2 one
            :4
            > LINSERT l after 2 three
            :5
            > LINSERT l after none three
            :-1
            > LINSERT missing after none three
            :0
            > LINSERT l around none three
            -ERR syntax error
            > LTRIM l 1 -2
            +OK
            > LRANGE l 0 -1
            ["one", "2", "three"]
            > RPOP l 2
            ["three", "2"]
            > LPUSHX missing a
            :0
            > RPUSHX l a b
            :3
            > LPUSHX l z
            :4
            > RPOPLPUSH l m
            "b"
            > RPOPLPUSH missing m
            nil
            > RPOPLPUSH l l
            "a"
            > LRANGE l 0 -1
            ["a", "z", "one"]
            > LTRIM l 5 10
            +OK
            > EXISTS l
            :0
            """)
    }
}

@Suite("Set commands")
struct SetCommandTests {
    @Test("Sets")
    func sets() throws {
        try check(
            """
            > SADD s a b c a
            :3
            > SADD s a
            :0
            > SCARD s
            :3
            > SMEMBERS s
            ["a", "b", "c"]
            > SISMEMBER s a
            :1
            > SISMEMBER s x
            :0
            > SREM s a x
            :1
            > SADD t c d
            :2
            > SINTER s t
            ["c"]
            > SUNION s t
            ["b", "c", "d"]
            > SDIFF s t
            ["b"]
            > SINTER s missing
            []
            > SUNION s missing s
            ["b", "c"]
            > SDIFF s s
            []
            > SUNIONSTORE u s t
            :3
            > SMEMBERS u
            ["b", "c", "d"]
            > SINTERSTORE u s t
            :1
            > SMEMBERS u
            ["c"]
            > SDIFFSTORE s s t
            :1
            > SMEMBERS s
            ["b"]
            > SINTERSTORE u s missing
            :0
            > EXISTS u
            :0
            > SMOVE t s d
            :1
            > SMOVE t s x
            :0
            > SMOVE s s b
            :1
            > SMEMBERS s
            ["b", "d"]
            > SPOP missing
            nil
            > SPOP missing 2
            []
            > SPOP t
            "c"
            > EXISTS t
            :0
            > SRANDMEMBER missing
            nil
            > SRANDMEMBER missing 2
            []
            > SPOP s -1
            -ERR value is out of range, must be positive
            """)
    }

    @Test("SPOP and SRANDMEMBER choose members that are there, without repetition")
    func random() throws {
        let harness = try Harness()
        defer { harness.close() }
        let all = Set((0..<50).map { "m\($0)" })
        _ = harness.run("SADD s " + all.joined(separator: " "))
        func texts(_ reply: Reply) -> [String] {
            reply.elements.compactMap(\.bulkBytes).map { String(decoding: $0, as: UTF8.self) }
        }
        let some = texts(harness.run("SRANDMEMBER s 10"))
        #expect(some.count == 10 && Set(some).count == 10 && all.isSuperset(of: some))
        #expect(texts(harness.run("SRANDMEMBER s 100")).count == 50)
        #expect(texts(harness.run("SRANDMEMBER s -100")).count == 100)
        // More repetitions than a reply may hold are refused, not gathered in memory.
        harness.environment.maxReplyBytes.store(1000, ordering: .relaxed)
        #expect(
            harness.run("SRANDMEMBER s -2147483647").description
                == "-ERR Response exceeds the max-client-response-size limit")
        let popped = texts(harness.run("SPOP s 20"))
        #expect(Set(popped).count == 20 && all.isSuperset(of: popped))
        #expect(harness.run("SCARD s").description == ":30")
        let rest = texts(harness.run("SPOP s 100"))
        #expect(Set(rest).union(popped) == all)
        #expect(harness.run("EXISTS s").description == ":0")
        // What was chosen is in the log, as plain removals.
        let words = try harness.itemTexts().map { $0.split(separator: " ")[0] }
        #expect(words == ["SADD", "srem", "srem"])
    }
}

@Suite("Sorted set commands")
struct SortedSetCommandTests {
    @Test("Adding, scores and ranks")
    func adding() throws {
        try check(
            """
            > ZADD z 1 a 2 b 3 c
            :3
            > ZADD z 1.5 a 4 d
            :1
            > ZSCORE z a
            "1.5"
            > ZSCORE z x
            nil
            > ZCARD z
            :4
            > ZRANK z a
            :0
            > ZREVRANK z a
            :3
            > ZRANK z x
            nil
            > ZINCRBY z 2 a
            "3.5"
            > ZINCRBY z 1 new
            "1"
            > ZADD z NX 9 a 9 e
            :1
            > ZADD z XX CH 9 a 9 f
            :1
            > ZADD z GT CH 8 a 10 e
            :1
            > ZADD z LT CH 8 a
            :1
            > ZADD z INCR 1 a
            "9"
            > ZADD z NX INCR 1 a
            nil
            > ZADD z NX XX 1 a
            -ERR XX and NX options at the same time are not compatible
            > ZADD z GT LT 1 a
            -ERR GT, LT, and/or NX options at the same time are not compatible
            > ZADD z INCR 1 a 2 b
            -ERR INCR option supports a single increment-element pair
            > ZADD z 1 a 2
            -ERR syntax error
            > ZADD z nan a
            -ERR value is not a valid float
            > ZADD z abc a
            -ERR value is not a valid float
            > ZADD dup 1 m 2 m
            :1
            > ZSCORE dup m
            "2"
            > ZADD inf inf p -inf n 0 z
            :3
            > ZRANGE inf 0 -1 WITHSCORES
            ["n", "-inf", "z", "0", "p", "inf"]
            > ZINCRBY inf -inf p
            -ERR resulting score is not a number (NaN)
            > ZREM z a x b
            :2
            > ZREM missing a
            :0
            > ZSCORE missing a
            nil
            """)
    }

    @Test("Ranges of places, scores and names")
    func ranges() throws {
        try check(
            """
            > ZADD z 1 a 2 b 3 c 4 d
            :4
            > ZRANGE z 0 -1
            ["a", "b", "c", "d"]
            > ZRANGE z 1 2 WITHSCORES
            ["b", "2", "c", "3"]
            > ZREVRANGE z 0 1
            ["d", "c"]
            > ZRANGE z 0 1 REV
            ["d", "c"]
            > ZRANGE z 5 10
            []
            > ZRANGEBYSCORE z 2 3
            ["b", "c"]
            > ZRANGEBYSCORE z (1 +inf LIMIT 1 2
            ["c", "d"]
            > ZRANGEBYSCORE z -inf (3 WITHSCORES
            ["a", "1", "b", "2"]
            > ZREVRANGEBYSCORE z 3 (1
            ["c", "b"]
            > ZRANGE z 3 1 BYSCORE REV
            ["c", "b", "a"]
            > ZRANGE z (1 3 BYSCORE LIMIT 0 1
            ["b"]
            > ZRANGEBYSCORE z a b
            -ERR min or max is not a float
            > ZRANGE z 0 1 LIMIT 0 1
            -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
            > ZCOUNT z (1 4
            :3
            > ZCOUNT z -inf +inf
            :4
            > ZADD x 0 a 0 b 0 c 0 d
            :4
            > ZRANGEBYLEX x - +
            ["a", "b", "c", "d"]
            > ZRANGEBYLEX x [b (d
            ["b", "c"]
            > ZREVRANGEBYLEX x + (b
            ["d", "c"]
            > ZRANGE x [b + BYLEX LIMIT 1 1
            ["c"]
            > ZRANGEBYLEX x b d
            -ERR min or max not valid string range item
            > ZLEXCOUNT x [a [c
            :3
            > ZREMRANGEBYLEX x [a [b
            :2
            > ZREMRANGEBYRANK x 0 0
            :1
            > ZREMRANGEBYSCORE z (1 3
            :2
            > ZRANGE z 0 -1
            ["a", "d"]
            > ZPOPMIN z
            ["a", "1"]
            > ZPOPMAX z 5
            ["d", "4"]
            > ZPOPMIN z
            []
            > ZPOPMIN z -1
            -ERR value is out of range, must be positive
            """)
    }

    @Test("Places at the ends of the integers")
    func farPlaces() throws {
        try check(
            """
            > ZADD z 1 a 2 b
            :2
            > ZRANGE z 1 9223372036854775807
            ["b"]
            > ZRANGE z -9223372036854775808 -9223372036854775808
            []
            """)
    }

    @Test("ZUNIONSTORE and ZINTERSTORE")
    func stores() throws {
        try check(
            """
            > ZADD a 1 x 2 y
            :2
            > ZADD b 10 y 20 z
            :2
            > ZUNIONSTORE u 2 a b
            :3
            > ZRANGE u 0 -1 WITHSCORES
            ["x", "1", "y", "12", "z", "20"]
            > ZINTERSTORE i 2 a b WEIGHTS 2 3 AGGREGATE MAX
            :1
            > ZRANGE i 0 -1 WITHSCORES
            ["y", "30"]
            > ZUNIONSTORE a 2 a b AGGREGATE MIN
            :3
            > ZRANGE a 0 -1 WITHSCORES
            ["x", "1", "y", "2", "z", "20"]
            > ZINTERSTORE i 2 a missing
            :0
            > EXISTS i
            :0
            > ZUNIONSTORE u 0 a
            -ERR at least 1 input key is needed for 'zunionstore' command
            > ZUNIONSTORE u 3 a b
            -ERR syntax error
            > ZUNIONSTORE u 1 a WEIGHTS x
            -ERR weight value is not a float
            > ZUNIONSTORE u 1 a AGGREGATE AVG
            -ERR syntax error
            """)
    }
}
