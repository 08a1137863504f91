import Binlog
import Keyspace
import SyncProtocol
import Synchronization
import Testing

@testable import Commands

@Suite("When keyspace events are sent, and to whom")
struct KeyspaceEventPathTests {
    private func withListening(
        _ letters: String = "KEA", _ body: (Listening) throws -> Void
    ) throws {
        let listening = try Listening(letters)
        defer { listening.harness.close() }
        try body(listening)
    }

    @Test("Only classes that are on are told, in the forms that are on; without a form nothing")
    func classes() throws {
        try withListening("KEl") { listening in
            listening.check("> SET a 1 ; LPUSH l x ; DEL a\nl lpush")
            try listening.listen("Kg")
            listening.check("> SET a 1 ; DEL a\nalone:, a del")
            try listening.listen("E$")
            listening.check("> SET a 1 ; DEL a\n__keyevent@0__:set a")
            try listening.listen("A")
            listening.check("> SET a 1 ; DEL a\n-")
            try listening.listen("")
            listening.check("> SET a 1 ; DEL a\n-")
        }
    }

    @Test("The channels name the database")
    func database() throws {
        try withListening { listening in
            listening.check(
                "> SELECT 1 ; SET a 1\n__keyspace@1__:a set, __keyevent@1__:set a")
        }
    }

    @Test("A transaction that is executed twice is told once, in order, with its messages")
    func transaction() throws {
        try withListening("KEAnm") { listening in
            listening.harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
            listening.check(
                """
                > MULTI ; SET a 1 ; GET none ; PUBLISH c m ; LPUSH l x ; LPOP l ; INCR l ; EXEC
                a new, a set, none keymiss, c m, l new, l lpush, l lpop, l del, l new, l incrby
                > MULTI ; GET none ; EXEC
                none keymiss
                > MULTI ; SET a 1 ; DISCARD
                -
                > MULTI ; SET b 1 ; SELECT 0 ; SELECT 1 ; SELECT 0 ; DEL a ; FLUSHDB ; SET c 1 ; EXEC
                b new, b set, a del, c new, c set
                """)
        }
    }

    @Test("Commands of one pipeline are told in order, once, behind their commit")
    func pipeline() throws {
        try withListening { listening in
            listening.harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
            listening.check("> SET a 1 ; INCR a ; LPUSH a x ; DEL a\na set, a incrby, a del")
        }
    }

    @Test("Writes that could not be logged are not told")
    func failure() throws {
        let files = FailingFileSystem()
        let listening = try Listening("KEA", harness: try Harness(fileSystem: files))
        defer { listening.harness.close() }
        files.failsWrites.store(true, ordering: .relaxed)
        listening.check("> SET a 1 ; LPUSH l x\n-\n> MULTI ; SET b 1 ; SELECT 1 ; EXEC\n-")
    }

    @Test("A waiting client that is served is told behind the push")
    func blocking() throws {
        try withListening { listening in
            let waiting = Harness.makeClient(id: 11)
            listening.harness.services.add(waiting.record)
            _ = listening.harness.run("BLMOVE l m LEFT RIGHT 0", as: waiting)
            #expect(listening.events() == [])
            _ = listening.harness.run("RPUSH l a")
            _ = listening.harness.wake([waiting])
            #expect(listening.events() == ["l rpush", "m rpush", "l lpop", "l del"])
        }
    }

    @Test("Commands of the slow pool, also those in slices, tell all of it once")
    func pool() throws {
        try withListening { listening in
            let harness = listening.harness
            let names = (0..<2500).map { "k\($0)" }
            _ = harness.run("MSET " + names.map { "\($0) v" }.joined(separator: " "))
            #expect(listening.events() == names.map { "\($0) set" })
            harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
            _ = harness.run("UNLINK none " + names.joined(separator: " "))
            #expect(listening.events() == names.map { "\($0) del" })
            _ = harness.run("SADD s " + names.joined(separator: " "))
            _ = harness.run("SPOP s 2000")
            _ = harness.run("SPOP s 2000")
            #expect(listening.events() == ["s sadd", "s spop", "s spop", "s del"])
            #expect(harness.poolCount > 3)
        }
    }

    @Test("Without a subscriber nothing is kept; one that comes hears what follows")
    func nobody() throws {
        let harness = try Harness()
        defer { harness.close() }
        harness.environment.setEventClasses(try #require(EventClasses("KEA")))
        #expect(harness.run("SET a 1").description == "+OK")
        let listening = try Listening("KEA", harness: harness)
        listening.check("> SET a 2\na set")
    }
}

@Suite("Events of keys whose time is over")
struct ExpiredEventTests {
    private func withListening(_ body: (Listening) throws -> Void) throws {
        let listening = try Listening("KEAn")
        defer { listening.harness.close() }
        try body(listening)
    }

    /// Lets seconds pass, and looks for dead keys.
    private func pass(_ seconds: Int64, _ listening: Listening) -> [String] {
        listening.harness.clock.advance(seconds)
        listening.harness.environment.publishExpired()
        return listening.events().sorted()
    }

    @Test("A key of any type is told of once, when the second of its deadline is over")
    func dies() throws {
        try withListening { listening in
            _ = listening.harness.replies(
                "SETEX a 10 x\r\nSADD s x\r\nEXPIRE s 10\r\nSET b 1 EX 20\r\nSET c 1")
            _ = listening.events()
            #expect(pass(10, listening) == [])
            #expect(pass(1, listening) == ["a expired", "s expired"])
            #expect(pass(5, listening) == [])
            #expect(pass(10, listening) == ["b expired"])
            #expect(pass(100, listening) == [])
        }
    }

    @Test("A deadline that was moved, removed, or went with its key is not told of")
    func changed() throws {
        try withListening { listening in
            _ = listening.harness.replies(
                """
                MSET a 1 b 1 c 1 d 1\r
                RPUSH e x\r
                EXPIRE a 10\r
                EXPIRE b 10\r
                EXPIRE c 10\r
                EXPIRE d 10\r
                EXPIRE e 10\r
                EXPIRE a 50\r
                PERSIST b\r
                DEL c\r
                SET d 2\r
                LPOP e\r
                RPUSH e y
                """)
            _ = listening.events()
            #expect(pass(30, listening) == [])
            #expect(pass(30, listening) == ["a expired"])
        }
    }

    @Test("A command that comes before the look finds the key dead and tells of it first")
    func onAccess() throws {
        try withListening { listening in
            _ = listening.harness.replies("SETEX a 10 x\r\nSETEX b 10 x")
            _ = listening.events()
            listening.harness.clock.advance(11)
            listening.check("> SET a 2\na expired, a new, a set\n> GET b\nb expired")
            #expect(pass(10, listening) == [])
        }
    }

    @Test("RENAME and COPY take the deadline along")
    func renamed() throws {
        try withListening { listening in
            _ = listening.harness.replies(
                "SETEX a 10 x\r\nRENAME a b\r\nSADD s x\r\nEXPIRE s 10\r\nCOPY s t")
            _ = listening.events()
            #expect(pass(11, listening) == ["b expired", "s expired", "t expired"])
        }
    }

    @Test("Deadlines from before class x was on, and of an emptied database, are not told of")
    func unknown() throws {
        try withListening { listening in
            try listening.listen("KE")
            _ = listening.harness.run("SETEX a 10 x")
            #expect(!listening.harness.environment.remembersDeadlines)
            try listening.listen("KEx")
            #expect(listening.harness.environment.remembersDeadlines)
            _ = listening.harness.replies("SELECT 1\r\nSETEX b 10 x\r\nFLUSHDB")
            #expect(listening.harness.keyspace.databases[1].events.deadlineCounts.remembered == 0)
            #expect(pass(11, listening) == [])
        }
    }
}

@Suite("Keyspace events of a replica")
struct ReplicaEventTests {
    /// A master, and a listening replica of its database.
    private struct Pair {
        let master: Harness
        let replica: Listening
        private var position = BinlogPosition.zero

        init() throws {
            self.master = try Harness(databases: 1)
            self.replica = try Listening("KEAn", harness: try Harness(databases: 1))
            let database = self.replica.harness.keyspace.databases[0]
            try database.becomeReplica()
            try database.setHistory(self.master.keyspace.databases[0].history)
            self.replica.harness.environment.isReadOnlyReplica.store(true, ordering: .relaxed)
        }

        func close() {
            self.master.close()
            self.replica.harness.close()
        }

        /// Runs requests on the master, and hands over what they log.
        mutating func run(_ requests: String) throws {
            _ = self.master.replies(requests.replacing(" ; ", with: "\r\n"))
            let source = self.master.keyspace.databases[0]
            let cursor = try source.log.makeCursor(at: self.position)
            while cursor.position < source.written {
                _ = try cursor.next(upTo: source.written, maxBytes: 1 << 20) { item, _, end in
                    var items = [ReceivedItem(bytes: item, end: end)]
                    items.withUnsafeMutableBufferPointer { items in
                        #expect(throws: Never.self) {
                            try self.replica.harness.keyspace.databases[0].appendReceived(
                                UnsafeBufferPointer(items))
                        }
                    }
                    return .next
                }
            }
            self.position = cursor.position
        }
    }

    @Test("It tells what its master's log says: names of commands where the log has them")
    func items() throws {
        var pair = try Pair()
        defer { pair.close() }
        func check(_ requests: String, _ expected: String) throws {
            try pair.run(requests)
            #expect(pair.replica.events().joined(separator: ", ") == expected, "\(requests)")
        }
        try check("SET a 1 ; INCR a ; SETNX a 2", "a new, a set, a set")
        try check("SETEX a 100 x ; PERSIST a", "a set, a expire, a persist")
        try check("APPEND a x ; DEL none ; DEL a b", "a set, a del")
        try check("RPUSH l a b ; LPOP l ; LPOP l ; LPOP l", "l new, l rpush, l lpop, l lpop, l del")
        try check("HSET h f 1 ; HDEL h g ; HDEL h f", "h new, h hset, h hdel, h del")
        try check("SADD s a b ; SADD s a ; SUNIONSTORE t s", "s new, s sadd, t new, t sadd")
        try check(
            "ZADD z 1 a 2 b ; ZPOPMIN z ; ZREM z b", "z new, z zadd, z zpopmin, z zrem, z del")
        try check("RENAME s u", "u new, u sadd, s del")
        try check("LPUSH p x ; FLUSHDB ; SETBIT b 1 1", "p new, p lpush, b new, b setbit")
        try check("PFADD f x ; EXPIRE f 100 ; EXPIRE f 0", "f new, f pfadd, f expire, f del")
    }

    @Test("It tells of keys that die of deadlines that its master's log has set")
    func expired() throws {
        var pair = try Pair()
        defer { pair.close() }
        try pair.run("SETEX a 10 x ; SADD s x ; EXPIRE s 10 ; SETEX b 10 x ; PERSIST b")
        _ = pair.replica.events()
        pair.replica.harness.clock.advance(11)
        pair.replica.harness.environment.publishExpired()
        #expect(pair.replica.events().sorted() == ["a expired", "s expired"])
    }
}

@Suite("Letters of notify-keyspace-events")
struct EventClassesTests {
    @Test(
        "Any order is read and shown in Redis's order; A stands for the classes that it means",
        arguments: [
            ("", ""), ("gKE", "gKE"), ("KA", "AK"), ("EA", "AE"), ("KEA", "AKE"),
            ("$lshzxeKE", "$lshzxeKE"), ("g$lshzxetd", "A"), ("Kn", "nK"), ("mK", "Km"),
            ("KEAnm", "AnKEm"), ("AA", "A"),
        ])
    func text(_ letters: String, _ shown: String) {
        #expect(EventClasses(letters)?.text == shown)
        #expect(EventClasses(shown)?.text == shown)
    }

    @Test("Another letter is refused", arguments: ["B", "KEx ", "k", "AKEé", "yes"])
    func refused(_ letters: String) { #expect(EventClasses(letters) == nil) }
}
