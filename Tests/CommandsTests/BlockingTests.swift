import Commands
import Keyspace
import Synchronization
import Testing

@Suite("Commands that wait for elements")
struct BlockingTests {
    private let first = Harness.makeClient(id: 11)
    private let second = Harness.makeClient(id: 12)
    private let third = Harness.makeClient(id: 13)

    private func withHarness(_ body: (Harness) throws -> Void) throws {
        let harness = try Harness()
        defer { harness.close() }
        for client in [first, second, third] { harness.services.add(client.record) }
        try body(harness)
        #expect(harness.keyspace.databases[0].events.waiterCount == 0)
    }

    private func woken(_ harness: Harness) -> [UInt64: [String]] {
        harness.wake([first, second, third]).mapValues { $0.map(\.description) }
            .filter { !$0.value.isEmpty }
    }

    @Test("With elements there, nobody waits")
    func servedAtOnce() throws {
        try withHarness { harness in
            check(
                harness,
                """
                > RPUSH l a b c d e f
                :6
                > BLPOP none l 0
                ["l", "a"]
                > BRPOP l 1
                ["l", "f"]
                > BRPOPLPUSH l m 0
                "e"
                > BLMOVE l m LEFT RIGHT 0.5
                "b"
                > BLMPOP 0 2 none l LEFT COUNT 5
                ["l", ["c", "d"]]
                > LRANGE m 0 -1
                ["e", "b"]
                > ZADD z 1 one 2 two 3 three 4 four
                :4
                > BZPOPMIN none z 0
                ["z", "one", "1"]
                > BZPOPMAX z 0
                ["z", "four", "4"]
                > BZMPOP 0 1 z MIN COUNT 9
                ["z", [["two", "2"], ["three", "3"]]]
                """)
        }
    }

    @Test("The one who waits longest is served first, each element once")
    func fifo() throws {
        try withHarness { harness in
            #expect(harness.run("BLPOP l 0", as: first) == .none)
            #expect(harness.run("BRPOP k l 0", as: second) == .none)
            #expect(harness.run("BLPOP l 0", as: third) == .none)
            #expect(harness.keyspace.databases[0].events.waiterCount == 3)
            #expect(harness.run("RPUSH l a b").description == ":2")
            #expect(woken(harness) == [11: ["[\"l\", \"a\"]"], 12: ["[\"l\", \"b\"]"]])
            #expect(harness.run("EXISTS l").description == ":0")
            #expect(harness.run("LPUSH l c").description == ":1")
            #expect(woken(harness) == [13: ["[\"l\", \"c\"]"]])
        }
    }

    @Test("An element that is gone again by then is waited for on")
    func goneAgain() throws {
        try withHarness { harness in
            _ = harness.run("BLPOP l 0", as: first)
            _ = harness.replies("RPUSH l a\r\nDEL l")
            #expect(woken(harness) == [:])
            _ = harness.run("MULTI")
            _ = harness.run("RPUSH l b")
            _ = harness.run("LPOP l")
            _ = harness.run("RPUSH l c")
            _ = harness.run("EXEC")
            #expect(woken(harness) == [11: ["[\"l\", \"c\"]"]])
        }
    }

    @Test("What follows a request that waits is executed behind it")
    func inputBehind() throws {
        try withHarness { harness in
            let replies = harness.replies("SET a 1\r\nBLPOP l 0\r\nINCR a\r\nGET a", as: first)
            #expect(replies.map(\.description) == ["+OK"])
            #expect(harness.run("GET a").description == "\"1\"")
            _ = harness.run("RPUSH l x")
            #expect(woken(harness) == [11: ["[\"l\", \"x\"]", ":2", "\"2\""]])
        }
    }

    @Test("A list does not wake who waits for a sorted set, nor the other way round")
    func types() throws {
        try withHarness { harness in
            _ = harness.run("BZPOPMIN k 0", as: first)
            _ = harness.run("BLPOP k 0", as: second)
            _ = harness.run("RPUSH k a")
            #expect(woken(harness) == [12: ["[\"k\", \"a\"]"]])
            _ = harness.run("ZADD k 1 m")
            #expect(woken(harness) == [11: ["[\"k\", \"m\", \"1\"]"]])
        }
    }

    @Test(
        "Every command that makes a list or sorted set wakes",
        arguments: [
            ("BLPOP l 0", "LPUSH l x"), ("BLPOP l 0", "RENAME other l"),
            ("BLPOP l 0", "COPY other l"), ("BLPOP l 0", "LMOVE other l LEFT LEFT"),
            ("BLPOP l 0", "SORT other STORE l"), ("BLMPOP 0 1 l LEFT", "RPOPLPUSH other l"),
            ("BLMOVE l m LEFT LEFT 0", "LPUSH l x"), ("BZPOPMAX z 0", "ZUNIONSTORE z 1 zs"),
            ("BZMPOP 0 1 z MAX", "ZINCRBY z 1 m"), ("BZPOPMIN z 0", "RENAME zs z"),
        ])
    func sources(waits: String, makes: String) throws {
        try withHarness { harness in
            _ = harness.run("RPUSH other 1 2")
            _ = harness.run("ZADD zs 1 one")
            #expect(harness.run(waits, as: first) == .none)
            _ = harness.run(makes)
            #expect(woken(harness)[11]?.count == 1, "\(makes)")
        }
    }

    @Test("A chain of moves is served link by link")
    func chain() throws {
        try withHarness { harness in
            _ = harness.run("BLMOVE a b LEFT LEFT 0", as: first)
            _ = harness.run("BLMOVE b c LEFT LEFT 0", as: second)
            _ = harness.run("BLPOP c 0", as: third)
            _ = harness.run("LPUSH a x")
            #expect(
                woken(harness) == [11: ["\"x\""], 12: ["\"x\""], 13: ["[\"c\", \"x\"]"]])
        }
    }

    @Test("CLIENT UNBLOCK ends a wait as a timeout or with an error")
    func unblock() throws {
        try withHarness { harness in
            _ = harness.run("BLPOP l 0", as: first)
            _ = harness.run("BLMOVE l m LEFT LEFT 0", as: second)
            _ = harness.run("BZPOPMIN z 0", as: third)
            #expect(harness.run("CLIENT UNBLOCK 11").description == ":1")
            #expect(harness.run("CLIENT UNBLOCK 12 TIMEOUT").description == ":1")
            #expect(harness.run("CLIENT UNBLOCK 13 ERROR").description == ":1")
            #expect(harness.run("CLIENT UNBLOCK 1").description == ":0")
            #expect(
                woken(harness) == [
                    11: ["nil"], 12: ["nil"],
                    13: ["-UNBLOCKED client unblocked via CLIENT UNBLOCK"],
                ])
            #expect(harness.run("CLIENT UNBLOCK 11").description == ":0")
        }
    }

    @Test("A connection that goes away leaves its turn to the next")
    func disconnect() throws {
        try withHarness { harness in
            _ = harness.run("BLPOP l 0", as: first)
            _ = harness.run("BLPOP l 0", as: second)
            _ = harness.run("RPUSH l a")
            first.disconnect()
            let got = harness.wake([second]).mapValues { $0.map(\.description) }
            #expect(got == [12: ["[\"l\", \"a\"]"]])
        }
    }

    @Test("With types checked, a key of another type is waited through, a wrong target is an error")
    func typesChecked() throws {
        try withHarness { harness in
            harness.environment.checksTypes.store(true, ordering: .relaxed)
            _ = harness.run("BLPOP l 0", as: first)
            _ = harness.run("MULTI")
            _ = harness.run("LPUSH l a")
            _ = harness.run("DEL l")
            _ = harness.run("SET l text")
            _ = harness.run("EXEC")
            #expect(woken(harness) == [:])
            _ = harness.run("DEL l")
            _ = harness.run("LPUSH l b")
            #expect(woken(harness) == [11: ["[\"l\", \"b\"]"]])
            _ = harness.run("SET target text")
            #expect(harness.run("BLMOVE l target LEFT LEFT 0", as: second) == .none)
            #expect(harness.run("LMOVE l target LEFT LEFT").description == "nil")
            _ = harness.run("LPUSH l c")
            let wrong =
                "-WRONGTYPE Operation against a key holding the wrong kind of value"
            #expect(woken(harness) == [12: [wrong]])
            #expect(harness.run("LLEN l").description == ":1")
            #expect(harness.run("BLPOP target 0").description == wrong)
        }
    }

    @Test("Inside EXEC nothing waits; bad timeouts are refused")
    func inTransactionAndTimeouts() throws {
        try withHarness { harness in
            check(
                harness,
                """
                > MULTI
                +OK
                > BLPOP l 0
                +QUEUED
                > BLMOVE l m LEFT LEFT 0
                +QUEUED
                > BZMPOP 0 1 z MIN
                +QUEUED
                > EXEC
                [nil, nil, nil]
                > BLPOP l -1
                -ERR timeout is negative
                > BLPOP l soon
                -ERR timeout is not a float or out of range
                > BLPOP l 1e300
                -ERR timeout is out of range
                > BLMPOP 0 0 l LEFT
                -ERR numkeys should be greater than 0
                """)
        }
    }
}
