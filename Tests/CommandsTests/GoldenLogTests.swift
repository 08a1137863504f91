import Commands
import Keyspace
import PikaStorage
import Testing

@Suite("Items of the log, compared with real Pika's")
struct GoldenLogTests {
    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    /// Replays the recorded load.
    private func replay(_ harness: Harness) throws {
        for request in try fixture("dataset-commands.resp") {
            _ = harness.run("SELECT " + text(request[0]).dropFirst(2))
            let reply = harness.run(Array(request.dropFirst()))
            let isLate = text(request[1]) == "EXPIREAT"
            if case .error(let error) = reply, !isLate {
                Issue.record("\(text(request[1])) \(text(request[2])): \(error)")
            }
        }
    }

    /// Real Pika's item in the form in which we log it; nil for those left out.
    private func expected(_ item: [[UInt8]]) -> [[UInt8]]? {
        let word = text(item[0])
        switch (word, text(item[1])) {
        case ("EXPIREAT", "str:exp2100"): return nil
        case ("INCR", _): return [bytes("set"), item[1], bytes("42")]
        case ("INCRBYFLOAT", _): return [bytes("set"), item[1], bytes("3.25")]
        case ("APPEND", _):
            return [bytes("set"), item[1], text(item[2]) == "ab" ? item[2] : bytes("abcd")]
        case ("HINCRBY", _): return [bytes("hset"), item[1], item[2], item[3]]
        case ("ZINCRBY", _): return [bytes("zadd"), item[1], bytes("11"), item[3]]
        default: return item
        }
    }

    /// Members of the items of *STORE commands may come in any order.
    private func sortedMembers(_ item: [[UInt8]]) -> [[UInt8]] {
        func isOrdered(_ a: [[UInt8]], _ b: [[UInt8]]) -> Bool {
            a.flatMap { $0 }.lexicographicallyPrecedes(b.flatMap { $0 })
        }
        let step = text(item[0]) == "sadd" ? 1 : text(item[0]) == "zadd" ? 2 : 0
        guard step > 0 else { return item }
        let groups = stride(from: 2, to: item.count, by: step).map { Array(item[$0..<$0 + step]) }
        return item[..<2] + groups.sorted(by: isOrdered).flatMap { $0 }
    }

    @Test("The recorded load gives real Pika's items", arguments: [0, 1])
    func items(database: Int) throws {
        let harness = try Harness()
        defer { harness.close() }
        try replay(harness)
        let wanted = try fixture("items-db\(database).resp").compactMap(expected)
        let logged = try harness.items(database)
        #expect(logged.count == wanted.count)
        for (ours, theirs) in zip(logged, wanted) {
            let message = "\(ours.map(text)) instead of \(theirs.map(text))"
            #expect(sortedMembers(ours) == sortedMembers(theirs), Comment(rawValue: message))
        }
    }

    @Test("Every key of the recorded load reads back as from real Pika")
    func contents() throws {
        let harness = try Harness()
        defer { harness.close() }
        try replay(harness)
        harness.clock.advance(1)
        for record in try fixture("dataset-contents.resp") {
            let name = text(record[1])
            guard name != "zset:zninf" else { continue }
            _ = harness.run("SELECT " + text(record[0]).dropFirst(2))
            let elements = Array(record.dropFirst(4))
            let type = text(record[2])
            let reply = try read(harness, record[1], type)
            let isUnordered = type == "hash"
            if isUnordered {
                #expect(pairs(reply) == pairs(elements), "\(name)")
            } else {
                #expect(reply == elements, "\(name)")
            }
            let ttl = harness.run([bytes("TTL"), record[1]]).description
            #expect(ttl == ":" + text(record[3]), "\(name)")
        }
    }

    private func pairs(_ elements: [[UInt8]]) -> [[UInt8]: [UInt8]] {
        var result: [[UInt8]: [UInt8]] = [:]
        for index in stride(from: 0, to: elements.count - 1, by: 2) {
            result[elements[index]] = elements[index + 1]
        }
        return result
    }

    private func read(_ harness: Harness, _ key: [UInt8], _ type: String) throws -> [[UInt8]] {
        let reply: Reply
        switch type {
        case "string": return [harness.run([bytes("GET"), key]).bulkBytes ?? []]
        case "hash": reply = harness.run([bytes("HGETALL"), key])
        case "list": reply = harness.run([bytes("LRANGE"), key, bytes("0"), bytes("-1")])
        case "set": reply = harness.run([bytes("SMEMBERS"), key])
        default:
            reply = harness.run(
                [bytes("ZRANGE"), key, bytes("0"), bytes("-1"), bytes("WITHSCORES")])
        }
        return reply.elements.compactMap(\.bulkBytes)
    }
}

@Suite("Canonical forms")
struct CanonicalFormTests {
    /// Every write command, with the items that it must log.
    static let forms: [(commands: String, items: [String])] = [
        ("SET k v", ["SET k v"]),
        ("set k v NX", ["set k v NX"]),
        ("SET k v EX 100", ["pksetexat k 1795399903 v"]),
        ("SET k v PX 1001", ["pksetexat k 1795399805 v"]),
        ("SET k v NX EX 100", ["pksetexat k 1795399903 v"]),
        ("SET k v GET", ["set k v"]),
        ("SETEX k 100 v", ["pksetexat k 1795399903 v"]),
        ("PSETEX k 1000 v", ["pksetexat k 1795399804 v"]),
        ("PKSETEXAT k 1795399903 v", ["PKSETEXAT k 1795399903 v"]),
        ("SETNX k v", ["setnx k v"]),
        ("GETSET k v", ["GETSET k v"]),
        ("MSET a 1 b 2", ["set a 1", "set b 2"]),
        ("MSETNX a 1 b 2", ["set a 1", "set b 2"]),
        ("INCR n", ["set n 1"]),
        ("DECRBY n 5", ["set n -5"]),
        ("SETEX n 100 1;INCRBY n 4", ["pksetexat n 1795399903 1", "pksetexat n 1795399903 5"]),
        ("INCRBYFLOAT n 1.5", ["set n 1.5"]),
        ("APPEND k ab", ["set k ab"]),
        ("SETRANGE k 2 x", ["SETRANGE k 2 x"]),
        ("SETBIT k 7 1", ["SETBIT k 7 1"]),
        ("SETBIT k 15 0", ["set k \u{0}\u{0}"]),
        ("SET k a;SETBIT k 7 1;SETBIT k 0 0", ["SET k a", "SETBIT k 7 1", "SETBIT k 0 0"]),
        ("SETBIT k 16777223 1;STRLEN k", ["setrange k 2097152 \u{1}"]),
        ("SETEX k 100 a;SETBIT k 6 1", ["pksetexat k 1795399903 a", "pksetexat k 1795399903 c"]),
        ("SET a a;SET b c;BITOP OR d a b", ["SET a a", "SET b c", "set d c"]),
        ("BITFIELD k SET u8 0 65 GET u8 0", ["set k A"]),
        ("BITFIELD k GET u8 0", []),
        ("PFADD p a", ["PFADD p a"]),
        ("SET k v;GETDEL k", ["SET k v", "del k"]),
        ("SET k v;HSET k f w;GETDEL k", ["SET k v", "HSET k f w", "delvx k v"]),
        ("SET k v;GETEX k EX 100", ["SET k v", "expireat k 1795399903"]),
        ("SETEX k 100 v;GETEX k PERSIST", ["pksetexat k 1795399903 v", "persist k"]),
        ("SET k v;RENAME k l", ["SET k v", "set l v", "del k"]),
        (
            "RPUSH k a b;EXPIRE k 100;COPY k l",
            ["RPUSH k a b", "expireat k 1795399903", "rpush l a b", "expireat l 1795399903"]
        ),
        ("RPUSH k 2 1;SORT k STORE l", ["RPUSH k 2 1", "rpush l 1 2"]),
        ("SORT k STORE l", []),
        (
            "SADD ab x;SADD ac x;PKPATTERNMATCHDEL a* set",
            ["SADD ab x", "SADD ac x", "del ab", "del ac"]
        ),
        ("DEL a", ["DEL a"]),
        ("Del a b", ["Del a", "Del b"]),
        ("UNLINK a b", ["UNLINK a", "UNLINK b"]),
        ("SET k v;EXPIRE k 100", ["SET k v", "expireat k 1795399903"]),
        ("SET k v;PEXPIRE k 1001", ["SET k v", "expireat k 1795399805"]),
        ("SET k v;EXPIREAT k 1795399903", ["SET k v", "EXPIREAT k 1795399903"]),
        ("SET k v;PEXPIREAT k 1795399903999", ["SET k v", "expireat k 1795399903"]),
        ("SET k v;EXPIRE k -1", ["SET k v", "del k"]),
        ("SET k v;EXPIREAT k 5", ["SET k v", "del k"]),
        ("PERSIST k", ["PERSIST k"]),
        ("HSET h f v", ["HSET h f v"]),
        ("HSET h f v g w", ["hmset h f v g w"]),
        ("HMSET h f v", ["HMSET h f v"]),
        ("HSETNX h f v", ["HSETNX h f v"]),
        ("HDEL h f g", ["HDEL h f g"]),
        ("HINCRBY h f 5", ["hset h f 5"]),
        ("HINCRBYFLOAT h f 0.5", ["hset h f 0.5"]),
        ("LPUSH l a b", ["LPUSH l a b"]),
        ("RPUSH l a;RPOPLPUSH l m", ["RPUSH l a", "RPOP l", "LPUSH m a"]),
        ("RPOPLPUSH l m", []),
        ("RPUSH l a b;LMOVE l m LEFT RIGHT", ["RPUSH l a b", "lpop l", "rpush m a"]),
        ("RPUSH l a;LMOVE l l LEFT RIGHT", ["RPUSH l a"]),
        ("RPUSH l a b;LMPOP 2 k l RIGHT COUNT 5", ["RPUSH l a b", "rpop l 2"]),
        ("RPUSH l a b;LMPOP 1 l LEFT", ["RPUSH l a b", "lpop l"]),
        ("ZADD z 1 a 2 b;ZMPOP 1 z MAX COUNT 2", ["ZADD z 1 a 2 b", "zpopmax z 2"]),
        ("RPUSH l a b;LPOP l 2", ["RPUSH l a b", "LPOP l 2"]),
        ("RPUSH l a;LSET l 0 b", ["RPUSH l a", "LSET l 0 b"]),
        ("LSET l 0 b", []),
        ("SADD s a;SPOP s", ["SADD s a", "srem s a"]),
        ("SADD s a;SMOVE s t a", ["SADD s a", "srem s a", "sadd t a"]),
        ("SADD s a;SUNIONSTORE d s", ["SADD s a", "del d", "sadd d a"]),
        ("SINTERSTORE d s t", ["del d"]),
        ("ZADD z 1.50 m", ["ZADD z 1.50 m"]),
        ("ZADD z XX 1 m", []),
        ("ZADD z NX CH 0.1 m", ["zadd z 0.10000000000000001 m"]),
        ("ZADD z 1 m;ZINCRBY z 0.1 m", ["ZADD z 1 m", "zadd z 1.1000000000000001 m"]),
        ("ZADD z 1 m;ZUNIONSTORE d 1 z", ["ZADD z 1 m", "del d", "zadd d 1 m"]),
        ("GEOADD g 13.5 38 a 15 37 b", ["GEOADD g 13.5 38 a 15 37 b"]),
        ("GEOADD g CH 0 0 a", ["zadd g 3377699720527872 a"]),
        (
            "GEOADD g 0 0 a 1 1 a;GEORADIUS g 1 1 1 km STORE d",
            [
                "zadd g 3377699720527872 a", "zadd g 3377822707026402 a", "del d",
                "zadd d 3377822707026402 a",
            ]
        ),
        (
            "GEOADD g 1 1 a;GEOSEARCHSTORE d g FROMMEMBER a BYBOX 1 1 m STOREDIST",
            ["GEOADD g 1 1 a", "del d", "zadd d 0 a"]
        ),
        ("GEORADIUS g 1 1 1 km STORE d", ["del d"]),
        ("GEORADIUS g 1 1 1 km", []),
        ("ZPOPMIN z", ["ZPOPMIN z"]),
        ("ZREMRANGEBYSCORE z (1 +inf", ["ZREMRANGEBYSCORE z (1 +inf"]),
        ("GET k", []),
        ("INCR n;SET n x;INCR n", ["set n 1", "SET n x"]),
    ]

    @Test("What each write command logs", arguments: forms.indices)
    func form(index: Int) throws {
        let harness = try Harness()
        defer { harness.close() }
        let (commands, wanted) = Self.forms[index]
        for command in commands.split(separator: ";") { _ = harness.run(String(command)) }
        #expect(try harness.itemTexts() == wanted, "\(commands)")
    }

    @Test("Commands of several items are atomic groups that count down")
    func atomicGroups() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run("MSET a 1 b 2 c 3")
        _ = harness.run("SET d 4")
        _ = harness.run("DEL a b")
        #expect(try harness.rawItems().map(\.itemsLeft) == [2, 1, 0, 0, 1, 0])
    }

    @Test("APPEND is logged whole up to 4 KiB, then as the appended part")
    func append() throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 0x61, count: 4095)
        _ = harness.run([bytes("APPEND"), bytes("k"), value])
        _ = harness.run("APPEND k b")
        _ = harness.run("APPEND k c")
        let items = try harness.items()
        #expect(items.map(\.count) == [3, 3, 3])
        #expect(items.map { $0[2].count } == [4095, 4096, 1])
        #expect(items[2][0] == bytes("APPEND"))
    }

    /// Commands that reach every form, several of them over existing and missing keys.
    static let load = [
        "SET a 1", "SET a 2 NX", "SETEX b 100 x", "INCR a", "INCRBYFLOAT a 0.5", "APPEND b yz",
        "MSET c 1 d 2", "DEL c", "SETRANGE d 4 zz", "GETSET d new", "EXPIRE a 50", "PERSIST a",
        "HSET h f v", "HSET h f w g x", "HMSET h i 1 j 2", "HDEL h f", "HINCRBY h i 5",
        "HSETNX h k v",
        "EXPIRE h 1000", "RPUSH l a b c d e", "LPUSH l z", "LINSERT l BEFORE b x", "LREM l 1 c",
        "LTRIM l 0 3", "LSET l 0 first", "LPOP l", "RPOP l", "RPOPLPUSH l m", "LPUSHX none x",
        "SADD s a b c", "SREM s a", "SADD t c d", "SUNIONSTORE u s t", "SMOVE s t b", "SPOP u 2",
        "DEL s t", "SADD s again", "ZADD z 1 a 2 b 3 c inf d -inf e", "ZINCRBY z 2.5 a",
        "ZREM z b", "ZUNIONSTORE w 1 z WEIGHTS 2", "ZPOPMIN z", "ZREMRANGEBYRANK w 0 0",
        "ZREMRANGEBYSCORE w 6 7", "ZADD z XX GT 9 a", "SET s string", "DEL s", "HSET h2 f v",
        "DEL h2", "HSET h2 f v2", "UNLINK l m", "RPUSH l new",
        "RPUSH l2 a b c", "LMOVE l2 l3 LEFT LEFT", "LMPOP 2 none l2 RIGHT COUNT 1",
        "ZADD mp 1 a 2 b", "ZMPOP 1 mp MAX", "SETEX e 1 v", "ZADD y 1 a 1 b 1 c",
        "ZREMRANGEBYLEX y [a (c", "SPOP t 10", "SADD t x",
        "SETBIT bits 77 1", "SETBIT bits 3000000 1", "SETBIT bits 3000000 0", "SETBIT b 3 1",
        "SETRANGE b 1 zz", "BITOP NOT nbits bits", "BITOP XOR xbits bits nbits",
        "BITFIELD bf SET i8 #2 -7 INCRBY u4 3 12",
        "BITFIELD bits OVERFLOW SAT INCRBY u8 #5000 300",
        "PFADD p a b c", "PFADD p", "PFADD q c d", "PFMERGE r p q", "EXPIRE r 100", "PFADD r z",
        "SET gd 1", "GETDEL gd", "SET gx 1", "GETEX gx EX 100", "HSET gx f v", "GETEX gx PERSIST",
        "RENAME h h3", "COPY z z2", "COPY gx gy", "RENAMENX u u2", "SORT l DESC ALPHA STORE sorted",
        "SORT z BY nothing STORE sorted2", "HSET pa f v", "SET pa v", "HSET pb f v",
        "PKPATTERNMATCHDEL p[ab] hash", "COPY l l2 REPLACE", "EXPIRE sorted 100",
        "RENAME sorted s3", "GEOADD geo 13.361389 38.115556 a 15.087269 37.502669 b",
        "GEOADD geo XX CH 13.5 38 a", "GEOADD geo 1 1 c 2 2 c", "SET near x",
        "GEORADIUS geo 15 37 200 km STORE near",
        "GEOSEARCHSTORE far geo FROMMEMBER a BYBOX 9000 "
            + "9000 km STOREDIST",
    ]

    @Test("Items applied to an empty copy give the same rows")
    func rows() throws {
        let original = try Harness()
        defer { original.close() }
        let copy = try Harness()
        defer { copy.close() }
        for command in Self.load {
            let reply = original.run(command)
            if case .error(let text) = reply { Issue.record("\(command): \(text)") }
        }
        let group = copy.keyspace.databases[0].makeGroup()
        for words in try original.items() {
            try apply(words, to: group)
            guard case .committed = group.commit() else {
                Issue.record("not committed")
                return
            }
        }
        let rows = try original.rows()
        #expect(rows.count > 30)
        #expect(try copy.rows() == rows)
    }

    private func apply(_ words: [[UInt8]], to group: WriteGroup) throws {
        let all = words.flatMap { $0 }
        try all.withUnsafeBytes { raw in
            var offset = 0
            let arguments = words.map { word -> UnsafeRawBufferPointer in
                defer { offset += word.count }
                return UnsafeRawBufferPointer(rebasing: raw[offset..<offset + word.count])
            }
            try arguments.withUnsafeBufferPointer { list in
                let effect = try #require(Effect(word: list[0]))
                try group.perform(effect, raw: list)
            }
        }
    }
}
