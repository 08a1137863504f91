import Testing

@Suite("Bits, HyperLogLogs and later string commands")
struct BitCommandTests {
    @Test("Bits are set, read, counted and found")
    func bits() throws {
        try check(
            """
            > SETBIT k 7 1
            :0
            > SETBIT k 7 1
            :1
            > STRLEN k
            :1
            > GETBIT k 7
            :1
            > SETBIT zero 17 0
            :0
            > STRLEN zero
            :3
            > GETBIT k 4294967295
            :0
            > GETBIT k 4294967296
            -ERR bit offset is not an integer or out of range
            > SETBIT k 0 2
            -ERR bit is not an integer or out of range
            > SET f foobar
            +OK
            > BITCOUNT f
            :26
            > BITCOUNT f 1 1
            :6
            > BITCOUNT f 5 30 BIT
            :17
            > BITCOUNT f 0
            -ERR syntax error
            > BITPOS f 1
            :1
            > BITPOS f 1 8 -1 BIT
            :9
            > BITPOS missing 0
            :0
            > BITPOS missing 1
            :-1
            > BITPOS f 2
            -ERR The bit argument must be 1 or 0.
            > BITOP NOT d f g
            -ERR BITOP NOT must be called with a single source key.
            > BITOP AND d f missing
            :6
            > STRLEN d
            :6
            > BITOP OR d missing
            :0
            > EXISTS d
            :0
            """)
    }

    @Test("Bit fields wrap, saturate and refuse")
    func fields() throws {
        try check(
            """
            > BITFIELD k SET i8 0 100 INCRBY i8 0 100
            [:0, :-56]
            > BITFIELD k OVERFLOW SAT INCRBY i8 0 -100 OVERFLOW FAIL INCRBY i8 0 -1
            [:-128, nil]
            > BITFIELD k SET u8 #1 255 GET u16 0
            [:0, :33023]
            > BITFIELD_RO k GET u8 #1
            [:255]
            > BITFIELD_RO k SET u8 0 1
            -ERR BITFIELD_RO only supports the GET subcommand
            > BITFIELD k GET u64 0
            -ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
            > BITFIELD k SET i64 4294967233 0
            -ERR bit offset is not an integer or out of range
            """)
    }

    @Test("HyperLogLogs are added to, counted and merged")
    func hyperLogLogs() throws {
        try check(
            """
            > PFADD p
            :1
            > PFADD p a b c
            :1
            > PFADD p
            :0
            > PFADD p a
            :0
            > PFCOUNT p
            :3
            > PFADD q c d
            :1
            > PFCOUNT p q missing
            :4
            > PFMERGE r p q
            +OK
            > PFCOUNT r
            :4
            > EXPIRE r 100
            :1
            > PFADD r e
            :1
            > TTL r
            :100
            > SET s text
            +OK
            > PFADD s a
            -WRONGTYPE Key is not a valid HyperLogLog string value.
            """)
    }

    @Test("LCS, GETEX, GETDEL, SUBSTR; SETRANGE keeps NUL bytes and the deadline")
    func strings() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(
            harness,
            """
            > MSET a ohmytext b mynewtext
            +OK
            > LCS a b
            "mytext"
            > LCS a b LEN
            :6
            > LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN
            ["matches", [[[:4, :7], [:5, :8], :4]], "len", :6]
            > LCS a b LEN IDX
            -ERR If you want both the length and indexes, please just use IDX.
            > GETEX a EX 10
            "ohmytext"
            > TTL a
            :10
            > GETEX a PERSIST
            "ohmytext"
            > TTL a
            :-1
            > GETEX a EX 0
            -ERR invalid expire time in 'getex' command
            > GETEX missing
            nil
            > SUBSTR a 0 1
            "oh"
            > GETDEL a
            "ohmytext"
            > GETDEL a
            nil
            > SETEX e 100 abc
            +OK
            """)
        _ = harness.run([bytes("SETRANGE"), bytes("e"), bytes("1"), [0, 0x78]])
        #expect(harness.run([bytes("GET"), bytes("e")]).bulkBytes == [0x61, 0, 0x78])
        #expect(harness.run("TTL e").description == ":100")
    }
}

@Suite("Large values")
struct LargeValueTests {
    @Test("Commands over large values run on the pool and answer the same")
    func pool() throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 0x61, count: 1_000_000)
        #expect(harness.run([bytes("SET"), bytes("k"), value]).description == "+OK")
        check(
            harness,
            """
            > BITCOUNT k
            :3000000
            > BITPOS k 0
            :0
            > BITOP NOT d k
            :1000000
            > BITFIELD k INCRBY u8 0 1
            [:98]
            > COPY k l
            :1
            > EXPIRE k 100
            :1
            > SETBIT k 8000007 1
            :0
            > TTL k
            :100
            > STRLEN k
            :1000001
            > SET a abc
            +OK
            > LCS k a LEN
            :1
            > LCS k k LEN
            -ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len
            > SETRANGE k 536870912 x
            -ERR string exceeds maximum allowed size (proto-max-bulk-len)
            """)
    }
}

@Suite("Whole keys")
struct KeyspaceCommandTests {
    @Test("Keys are renamed and copied with all their types and deadlines")
    func renames() throws {
        try check(
            """
            > RENAME missing k
            -ERR no such key
            > SET k v
            +OK
            > RPUSH k a b
            :2
            > EXPIRE k 100
            :2
            > SADD l x
            :1
            > RENAMENX k l
            :0
            > COPY k l
            :0
            > COPY k l REPLACE
            :1
            > PTYPE l
            ["string", "list"]
            > TTL l
            :100
            > COPY k k
            -ERR source and destination objects are the same
            > RENAME k m
            +OK
            > PTYPE k
            []
            > LRANGE m 0 -1
            ["a", "b"]
            > EXPIRETIME m
            :1795399903
            > PEXPIRETIME m
            :1795399903000
            > TOUCH l m missing
            :2
            > SWAPDB 0 1
            -ERR SWAPDB is not possible: each database has a log of its own
            """)
    }

    @Test("SORT by weight, by letter, with GET and STORE")
    func sort() throws {
        try check(
            """
            > RPUSH l 3 1 2
            :3
            > SORT l
            ["1", "2", "3"]
            > SORT l DESC LIMIT 0 2
            ["3", "2"]
            > MSET w1 30 w2 20 w3 10 o1 one
            +OK
            > SORT l BY w* GET # GET o*
            ["3", nil, "2", nil, "1", "one"]
            > HSET h1 f x
            :1
            > SORT_RO l GET h*->f
            ["x", nil, nil]
            > SORT l BY none
            ["3", "1", "2"]
            > SORT l STORE d
            :3
            > LRANGE d 0 -1
            ["1", "2", "3"]
            > SADD s b a
            :2
            > SORT s
            -ERR One or more scores can't be converted into double
            > SORT s ALPHA DESC
            ["b", "a"]
            > COMMAND GETKEYS SORT abc STORE invalid STORE def
            ["abc", "def"]
            > SORT missing STORE d
            :0
            > EXISTS d
            :0
            > SORT w1
            -WRONGTYPE Operation against a key holding the wrong kind of value
            """)
    }

    @Test("Ranges of names and fields, in both directions")
    func ranges() throws {
        try check(
            """
            > MSET a 1 b 2 c 3 d 4
            +OK
            > PKSCANRANGE string b "" LIMIT 2
            ["d", ["b", "c"]]
            > PKSCANRANGE string_with_value a b
            ["", ["a", "1", "b", "2"]]
            > PKRSCANRANGE string "" b LIMIT 2
            ["b", ["d", "c"]]
            > PKRSCANRANGE string a b
            -ERR error in given range
            > HMSET h f 1 g 2 i 3
            +OK
            > PKHSCANRANGE h "" g
            ["", ["f", "1", "g", "2"]]
            > PKHRSCANRANGE h h "" MATCH f
            ["", ["f", "1"]]
            > SET h v
            +OK
            > PKPATTERNMATCHDEL * string
            :5
            > PTYPE h
            ["hash"]
            """)
    }

    @Test("A key survives DUMP and RESTORE")
    func dump() throws {
        let harness = try Harness()
        defer { harness.close() }
        for command in [
            "SET s v", "HSET h f v g w", "RPUSH l a b", "SADD m x y", "ZADD z 1.5 a inf b",
        ] {
            _ = harness.run(command)
        }
        for key in ["s", "h", "l", "m", "z"] {
            let payload = try #require(harness.run("DUMP \(key)").bulkBytes)
            let words = [bytes("RESTORE"), bytes(key + "2"), bytes("1500"), payload]
            #expect(harness.run(words).description == "+OK")
            #expect(
                harness.run(words).description == "-BUSYKEY Target key name already exists.")
            #expect(harness.run("TTL \(key)2").description == ":2")
            let digests = harness.run("DEBUG DIGEST-VALUE \(key) \(key)2").elements
            #expect(digests.count == 2 && digests[0].description == digests[1].description)
            var damaged = payload
            damaged[1] ^= 1
            #expect(
                harness.run([bytes("RESTORE"), bytes("x"), bytes("0"), damaged]).description
                    == "-ERR DUMP payload version or checksum are wrong")
        }
    }

    @Test("Facts about keys")
    func facts() throws {
        try check(
            """
            > RANDOMKEY
            nil
            > SET n 12
            +OK
            > RANDOMKEY
            "n"
            > OBJECT ENCODING n
            "int"
            > OBJECT ENCODING missing
            nil
            > OBJECT IDLETIME n
            :0
            > ZADD z 1 a
            :1
            > OBJECT ENCODING z
            "listpack"
            > MEMORY USAGE n
            :35
            > MEMORY USAGE missing
            nil
            > DEBUG JMAP
            +OK
            """)
    }
}
