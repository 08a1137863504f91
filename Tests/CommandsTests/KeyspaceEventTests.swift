import Synchronization
import Testing

@testable import Commands

/// A harness with a client that listens to all keyspace events.
struct Listening {
    let harness: Harness
    private let outlet = KeptPushes()

    init(_ letters: String = "KEAnm", harness: Harness? = nil) throws {
        self.harness = try harness ?? Harness()
        let client = Harness.makeClient(id: 77)
        client.record.outlet = self.outlet
        self.harness.services.add(client.record)
        self.harness.environment.checksTypes.store(true, ordering: .relaxed)
        try self.listen(letters)
        _ = self.harness.run("PSUBSCRIBE *", as: client)
    }

    func listen(_ letters: String) throws {
        self.harness.environment.setEventClasses(try #require(EventClasses(letters)))
    }

    /// What came since the last call: `key event` for the two messages of an event, else what a
    /// message says.
    func events() -> [String] {
        var messages = self.outlet.replies.map { reply in
            reply.elements.compactMap(\.bulkBytes).map { String(decoding: $0, as: UTF8.self) }
        }[...]
        var found: [String] = []
        while let first = messages.popFirst(), first.count == 4 {
            let (channel, message) = (first[2], first[3])
            guard channel.hasPrefix("__keyspace@0__:") else {
                found.append("\(channel) \(message)")
                continue
            }
            let key = String(channel.dropFirst("__keyspace@0__:".count))
            if messages.first == ["pmessage", "*", "__keyevent@0__:\(message)", key] {
                messages.removeFirst()
            } else {
                found.append("alone:")
            }
            found.append("\(key) \(message)")
        }
        return found
    }

    /// Runs requests, each followed by its events, `-` for none.
    func check(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) {
        var request = ""
        for line in script.split(separator: "\n") {
            guard !line.hasPrefix("> ") else {
                request = String(line.dropFirst(2))
                _ = self.harness.replies(request.replacing(" ; ", with: "\r\n"))
                continue
            }
            let expected = line == "-" ? [] : line.split(separator: ", ").map(String.init)
            #expect(self.events() == expected, "\(request)", sourceLocation: sourceLocation)
        }
    }
}

@Suite("Keyspace events of each command, as Redis 7 sends them")
struct KeyspaceEventTests {
    private func check(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let listening = try Listening()
        defer { listening.harness.close() }
        listening.check(script, sourceLocation: sourceLocation)
    }

    private static let strings = """
        > SET a 1
        a new, a set
        > SET a 2 EX 100
        a set, a expire
        > SET a 2 NX
        -
        > SET b 1 GET
        b keymiss, b new, b set
        > SETNX a 2
        -
        > SETEX a 100 x
        a set, a expire
        > PKSETEXAT a 2000000000 x
        a set, a expire
        > GETSET a 5
        a set
        > INCR a
        a incrby
        > DECRBY a 3
        a incrby
        > INCRBYFLOAT a 1.5
        a incrbyfloat
        > APPEND a x
        a append
        > SETRANGE a 1 yy
        a setrange
        > SETRANGE a 1 ''
        -
        > MSET a 1 c 2
        a set, c new, c set
        > MSETNX a 1 d 2
        -
        > SETBIT c 7 1
        c setbit
        > SETBIT c 7 1
        -
        > BITFIELD c SET u8 0 7
        c setbit
        > BITOP AND d a c
        d new, d set
        > BITOP AND d none
        none keymiss, d del
        > PFADD p x
        p new, p pfadd
        > PFADD p x
        -
        > PFMERGE q p
        q keymiss, q new, q pfadd
        > DELVX a 1
        a del
        > GETDEL c
        c del
        > GETDEL c
        c keymiss
        > INCR p
        -
        """

    private static let keys = """
        > MSET a 1 b 2 e 3
        a new, a set, b new, b set, e new, e set
        > EXPIRE a 100
        a expire
        > PEXPIREAT none 1
        -
        > PERSIST a
        a persist
        > PERSIST a
        -
        > GETEX a EX 100
        a expire
        > GETEX a PERSIST
        a persist
        > GETEX a
        -
        > EXPIREAT e 1
        e del
        > COPY a c
        c new, c copy_to
        > RENAME a b
        b new, a rename_from, b rename_to
        > RENAMENX b c
        -
        > RENAME b b
        -
        > DEL b c none
        b del, c del
        > UNLINK b
        -
        > GET b
        b keymiss
        > FLUSHDB
        -
        """

    private static let lists = """
        > LPUSH l b a
        l new, l lpush
        > RPUSH l c d
        l rpush
        > LPUSHX none x
        -
        > LINSERT l BEFORE a z
        l linsert
        > LSET l 0 y
        l lset
        > LREM l 0 y
        l lrem
        > LREM l 0 nothing
        -
        > LPOP l
        l lpop
        > RPOP l 1
        l rpop
        > RPOPLPUSH l m
        m new, m lpush, l rpop
        > LMOVE l m LEFT RIGHT
        m rpush, l lpop, l del
        > LMOVE m m LEFT RIGHT
        m rpush, m lpop
        > LTRIM m 0 0
        m ltrim
        > SORT m ALPHA STORE n
        n new, n sortstore
        > SORT none STORE n
        none keymiss, n del
        > LTRIM m 1 0
        m ltrim, m del
        > LTRIM m 1 0
        -
        > RPUSH l a b
        l new, l rpush
        > LMPOP 2 none l RIGHT COUNT 5
        l rpop, l del
        > LPOP l
        -
        """

    private static let hashes = """
        > HSET h a 1 b 2
        h new, h hset
        > HMSET h a 1
        h hset
        > HSETNX h a 1
        -
        > HINCRBY h a 1
        h hincrby
        > HINCRBYFLOAT h a 1.5
        h hincrbyfloat
        > HDEL h none
        -
        > HDEL h a
        h hdel
        > HDEL h b
        h hdel, h del
        > HGET h b
        h keymiss
        """

    private static let sets = """
        > SADD s a b c
        s new, s sadd
        > SADD s a
        -
        > SREM s none
        -
        > SMOVE s t a
        s srem, t new, t sadd
        > SUNIONSTORE u s t
        u new, u sunionstore
        > SDIFFSTORE u u t
        u sdiffstore
        > SINTERSTORE v s u
        v new, v sinterstore
        > SINTERSTORE v s none
        none keymiss, v del
        > SREM t a
        t srem, t del
        > SPOP s
        s spop
        > SPOP s 5
        s spop, s del
        """

    private static let sortedSets = """
        > ZADD z 1 a 2 b 3 c 4 d
        z new, z zadd
        > ZADD z 1 a
        -
        > ZADD z 5 a
        z zadd
        > ZADD z INCR 1 a
        z zincr
        > ZINCRBY z 0 a
        -
        > ZINCRBY z 1 a
        z zincr
        > ZREM z a none
        z zrem
        > ZREMRANGEBYSCORE z 2 2
        z zremrangebyscore
        > ZREMRANGEBYRANK z 0 0
        z zremrangebyrank
        > ZREMRANGEBYLEX z - +
        z zremrangebylex, z del
        > ZADD z 1 a 2 b 3 c 4 d
        z new, z zadd
        > ZPOPMIN z
        z zpopmin
        > ZPOPMAX z 1
        z zpopmax
        > ZMPOP 1 z MIN
        z zpopmin
        > ZUNIONSTORE y 2 z none
        none keymiss, y new, y zunionstore
        > ZINTERSTORE x 2 z y
        x new, x zinterstore
        > ZDIFFSTORE x 2 z none
        none keymiss, x zdiffstore
        > ZRANGESTORE w z 0 -1
        w new, w zrangestore
        > ZRANGESTORE w z 5 6
        w del
        > GEOADD g 13.36 38.11 p
        g new, g zadd
        > GEOADD g 13.36 38.11 p
        -
        > GEOSEARCHSTORE f g FROMMEMBER p BYRADIUS 1 km
        f new, f geosearchstore
        > GEORADIUS g 13 38 200 km STORE e
        e new, e georadiusstore
        > BZPOPMAX z 0
        z zpopmax, z del
        """

    private static let scripts = [strings, keys, lists, hashes, sets, sortedSets]

    @Test("Strings", arguments: [strings]) func ofStrings(_ script: String) throws {
        try check(script)
    }

    @Test("Keys of any type", arguments: [keys]) func ofKeys(_ script: String) throws {
        try check(script)
    }

    @Test("Lists", arguments: [lists]) func ofLists(_ script: String) throws { try check(script) }

    @Test("Hashes", arguments: [hashes]) func ofHashes(_ script: String) throws {
        try check(script)
    }

    @Test("Sets", arguments: [sets]) func ofSets(_ script: String) throws { try check(script) }

    @Test("Sorted sets", arguments: [sortedSets]) func ofSortedSets(_ script: String) throws {
        try check(script)
    }

    @Test("Every event is among those tests, but for two that have tests of their own")
    func complete() {
        let named = Set(
            Self.scripts.flatMap { $0.split(whereSeparator: { ", \n".contains($0) }) })
        for event in KeyspaceEvent.allCases where event != .restore && event != .expired {
            #expect(named.contains("\(event.word)"), "\(event)")
        }
        let words = Set(KeyspaceEvent.allCases.map { "\($0.word)" })
        #expect(words.count == KeyspaceEvent.allCases.count)
    }

    @Test("RESTORE tells of its key as new, and of one that it only deletes")
    func restore() throws {
        let listening = try Listening()
        defer { listening.harness.close() }
        let harness = listening.harness
        _ = harness.run("SET a 1")
        let dump = try #require(harness.run("DUMP a").bulkBytes)
        _ = listening.events()
        _ = harness.run([bytes("RESTORE"), bytes("b"), bytes("0"), dump])
        #expect(listening.events() == ["b new", "b restore"])
        _ = harness.run([bytes("RESTORE"), bytes("b"), bytes("0"), dump])
        #expect(listening.events() == [])
        _ = harness.run([bytes("RESTORE"), bytes("b"), bytes("9"), dump, bytes("REPLACE")])
        #expect(listening.events() == ["b new", "b restore"])
        _ = harness.run(
            [bytes("RESTORE"), bytes("b"), bytes("1"), dump, bytes("REPLACE"), bytes("ABSTTL")])
        #expect(listening.events() == ["b del"])
    }

    @Test("PKPATTERNMATCHDEL tells of each key")
    func patternDelete() throws {
        try check(
            """
            > SADD s1 a ; SADD s2 a ; SADD t a
            s1 new, s1 sadd, s2 new, s2 sadd, t new, t sadd
            > PKPATTERNMATCHDEL s* set
            s1 del, s2 del
            """)
    }
}
