import Commands
import Keyspace
import Synchronization
import Testing

@Suite("Transactions")
struct TransactionTests {
    private func withHarness(_ body: (Harness) throws -> Void) throws {
        let harness = try Harness()
        defer { harness.close() }
        try body(harness)
    }

    private func texts(_ replies: [Reply]) -> [String] { replies.map(\.description) }

    @Test("EXEC answers each command in order; the items are one atomic group")
    func exec() throws {
        try withHarness { harness in
            check(
                harness,
                """
                > MULTI
                +OK
                > SET k 1
                +QUEUED
                > INCR k
                +QUEUED
                > GET k
                +QUEUED
                > LPUSH l a b
                +QUEUED
                > HGETALL missing
                +QUEUED
                > EXEC
                [+OK, :2, "2", :2, []]
                > EXEC
                -ERR EXEC without MULTI
                > GET k
                "2"
                """)
            let items = try harness.rawItems(0)
            #expect(items.count == 3)
            #expect(items.map(\.itemsLeft) == [2, 1, 0])
        }
    }

    @Test("A transaction in one burst, between writes, gives what it gives line by line")
    func inOneBurst() throws {
        try withHarness { harness in
            let replies = harness.replies(
                "SET a 1\r\nMULTI\r\nINCR a\r\nINCR a\r\nEXEC\r\nINCR a\r\nMULTI\r\nGET a\r\nEXEC")
            #expect(
                texts(replies) == [
                    "+OK", "+OK", "+QUEUED", "+QUEUED", "[:2, :3]", ":4", "+OK", "+QUEUED",
                    "[\"4\"]",
                ])
        }
    }

    @Test("A burst that must be prepared again repeats its transactions")
    func preparedAgain() throws {
        try withHarness { harness in
            #expect(harness.run("MULTI").description == "+OK")
            #expect(harness.run("INCR a").description == "+QUEUED")
            // The second reading of the clock, at the commit, is another second.
            harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
            let first = harness.replies("EXEC\r\nSET b 1\r\nMULTI\r\nINCR b\r\nEXEC")
            #expect(texts(first) == ["[:1]", "+OK", "+OK", "+QUEUED", "[:2]"])
            let second = harness.replies("SET c 1\r\nMULTI\r\nINCR c\r\nEXEC\r\nMULTI\r\nINCR c")
            #expect(texts(second) == ["+OK", "+OK", "+QUEUED", "[:2]", "+OK", "+QUEUED"])
            harness.clock.jumpsPerRead.store(0, ordering: .relaxed)
            #expect(harness.run("EXEC").description == "[:3]")
            #expect(harness.run("GET a").description == "\"1\"")
            #expect(harness.run("GET b").description == "\"2\"")
        }
    }

    @Test("An error in the queue refuses the whole; an error at run time only its command")
    func errors() throws {
        try check(
            """
            > MULTI
            +OK
            > SET k 1
            +QUEUED
            > NOSUCHCOMMAND
            -ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 
            > EXEC
            -EXECABORT Transaction discarded because of previous errors.
            > GET k
            nil
            > MULTI
            +OK
            > GET
            -ERR wrong number of arguments for 'get' command
            > EXEC
            -EXECABORT Transaction discarded because of previous errors.
            > SET k text
            +OK
            > MULTI
            +OK
            > INCR k
            +QUEUED
            > SET l 2
            +QUEUED
            > EXEC
            [-ERR value is not an integer or out of range, +OK]
            > MULTI
            +OK
            > MULTI
            -ERR MULTI calls can not be nested
            > WATCH k
            -ERR WATCH inside MULTI is not allowed
            > DISCARD
            +OK
            > DISCARD
            -ERR DISCARD without MULTI
            > EXEC
            -ERR EXEC without MULTI
            """)
    }

    @Test("A command that rules the server is not allowed inside")
    func notAllowed() throws {
        try check(
            """
            > MULTI
            +OK
            > BGSAVE
            -ERR Command not allowed inside a transaction
            > SAVE
            -ERR Command not allowed inside a transaction
            > EXEC
            -EXECABORT Transaction discarded because of previous errors.
            """)
    }

    @Test("A watched key that somebody wrote makes EXEC answer null")
    func watch() throws {
        try withHarness { harness in
            let other = Harness.makeClient(id: 2)
            func attempt(_ change: String?, watched: String = "a b") -> String {
                _ = harness.run("WATCH \(watched)")
                if let change { _ = harness.run(change, as: other) }
                _ = harness.run("MULTI")
                _ = harness.run("SET result x")
                return harness.run("EXEC").description
            }
            #expect(attempt(nil) == "[+OK]")
            #expect(attempt("SET c 1") == "[+OK]")
            #expect(attempt("GET a") == "[+OK]")
            #expect(attempt("DEL a") == "[+OK]")
            for change in [
                "SET a 1", "DEL a", "LPUSH b x", "LPOP b", "SADD b m", "ZADD a 1 m", "HSET a f v",
                "HSET a f v2", "EXPIRE a 100", "PERSIST a", "RENAME a b", "MSET x 1 b 2",
                "PFADD a x y", "SETBIT a 7 1", "FLUSHDB",
            ] {
                #expect(attempt(change) == "nil", "\(change)")
            }
            // Everything is gone now, and stays gone.
            #expect(attempt("FLUSHALL", watched: "nothing here") == "[+OK]")
            #expect(harness.keyspace.databases[0].events.watchedCount == 0)
        }
    }

    @Test("A watched key whose time is over makes EXEC answer null, unless it was over before")
    func watchExpiry() throws {
        try withHarness { harness in
            _ = harness.run("SET a 1 EX 10")
            _ = harness.run("WATCH a")
            harness.clock.advance(20)
            _ = harness.run("MULTI")
            _ = harness.run("PING")
            #expect(harness.run("EXEC").description == "nil")
            _ = harness.run("WATCH a")
            harness.clock.advance(20)
            _ = harness.run("MULTI")
            _ = harness.run("PING")
            #expect(harness.run("EXEC").description == "[+PONG]")
        }
    }

    @Test("UNWATCH, DISCARD, RESET and the end of the connection end the watches")
    func watchesEnd() throws {
        try withHarness { harness in
            let other = Harness.makeClient(id: 2)
            for end in ["UNWATCH", "MULTI\r\nDISCARD", "RESET"] {
                _ = harness.run("WATCH a")
                _ = harness.run("SET a 1", as: other)
                _ = harness.replies(end)
                _ = harness.run("MULTI")
                _ = harness.run("PING")
                #expect(harness.run("EXEC").description == "[+PONG]", "\(end)")
            }
            _ = harness.run("WATCH a b c")
            #expect(harness.keyspace.databases[0].events.watchedCount == 3)
            harness.client.disconnect()
            #expect(harness.keyspace.databases[0].events.watchedCount == 0)
        }
    }

    @Test("A command that is too much for a loop takes the whole transaction to the pool")
    func movesToPool() throws {
        try withHarness { harness in
            let members = (0..<3000).map { "m\($0)" }.joined(separator: " ")
            _ = harness.run("SADD s \(members)")
            let replies = harness.replies(
                "SET a 1\r\nMULTI\r\nINCR a\r\nSMEMBERS s\r\nINCR a\r\nEXEC\r\nINCR a")
            let start = ["+OK", "+OK"] + Array(repeating: "+QUEUED", count: 3)
            #expect(texts(Array(replies.prefix(5))) == start)
            #expect(replies[5].elements.count == 3)
            #expect(replies[5].elements[1].elements.count == 3000)
            #expect(replies[5].elements[2].description == ":3")
            #expect(replies[6].description == ":4")
            _ = harness.run("MULTI")
            _ = harness.run("INCR a")
            _ = harness.run("KEYS *")
            #expect(harness.run("EXEC").elements[0].description == ":5")
            #expect(harness.run("GET a").description == "\"5\"")
        }
    }

    @Test("A transaction over two databases and a FLUSHDB is executed stretch by stretch")
    func segments() throws {
        try withHarness { harness in
            check(
                harness,
                """
                > MULTI
                +OK
                > SET a 1
                +QUEUED
                > SELECT 1
                +QUEUED
                > SET b 2
                +QUEUED
                > FLUSHDB
                +QUEUED
                > SET c 3
                +QUEUED
                > SELECT 0
                +QUEUED
                > GET a
                +QUEUED
                > EXEC
                [+OK, +OK, +OK, +OK, +OK, +OK, "1"]
                > GET c
                nil
                > SELECT 1
                +OK
                > MGET b c
                [nil, "3"]
                """)
            let items = try harness.itemTexts(1)
            #expect(items == ["SET b 2", "flushdb", "SET c 3"])
        }
    }

    @Test("Locks of a transaction that waits on the pool keep others' writes out")
    func isolation() throws {
        try withHarness { harness in
            let other = CommandProcessor(environment: harness.environment)
            let client = Harness.makeClient(id: 3)
            _ = harness.run("MULTI")
            _ = harness.run("INCR a")
            _ = harness.run("INCR b")
            _ = harness.run("EXEC")
            let result = Array("MSET a 10 b 20\r\n".utf8).withUnsafeBytes {
                other.process(client, $0)
            }
            #expect(result.consumed == 16)
            #expect(harness.run("MGET a b").description == "[\"10\", \"20\"]")
        }
    }
}
