import Commands
import RESP
import Synchronization
import Testing

@Suite("Connection and server commands")
struct ServerCommandTests {
    @Test("PING, ECHO, SELECT, TIME, DBSIZE, unknown commands, arity")
    func basics() throws {
        try check(
            """
            > PING
            +PONG
            > PING hello
            "hello"
            > PING a b
            -ERR wrong number of arguments for 'ping' command
            > ECHO hi
            "hi"
            > SET k zero
            +OK
            > SELECT 1
            +OK
            > GET k
            nil
            > SELECT 2
            -ERR DB index is out of range
            > SELECT x
            -ERR value is not an integer or out of range
            > DBSIZE
            :42
            > foo a b
            -ERR unknown command 'foo', with args beginning with: 'a' 'b' 
            > Foo
            -ERR unknown command 'Foo', with args beginning with: 
            > GET
            -ERR wrong number of arguments for 'get' command
            > geT a b
            -ERR wrong number of arguments for 'get' command
            > RESET
            +RESET
            > GET k
            "zero"
            > QUIT
            +OK
            """)
    }

    @Test("HELLO chooses the protocol; RESP3 has its own types")
    func hello() throws {
        let harness = try Harness()
        defer { harness.close() }
        let described = harness.run("HELLO 3")
        guard case .map(let fields) = described else {
            Issue.record("\(described)")
            return
        }
        #expect(fields.count == 14)
        #expect(fields[5] == .integer(3))
        check(
            harness,
            """
            > GET missing
            nil
            > HSET h f v
            :1
            > HGETALL h
            {"f": "v"}
            > SADD s a
            :1
            > SMEMBERS s
            ~["a"]
            > ZADD z 1.5 a 2 b
            :2
            > ZSCORE z a
            ,1.5
            > ZRANGE z 0 -1 WITHSCORES
            [["a", ,1.5], ["b", ,2]]
            > ZPOPMIN z
            ["a", ,1.5]
            > ZPOPMIN z 1
            [["b", ,2]]
            > CONFIG GET timeout
            {"timeout": "60"}
            > HELLO 4
            -NOPROTO unsupported protocol version
            > HELLO 3 FOO
            -ERR Syntax error in HELLO option 'FOO'
            """)
        #expect(harness.run("HELLO 2").elements.count == 14)
        #expect(harness.run("HGETALL h").description == "[\"f\", \"v\"]")
    }

    @Test("With a password set nothing but AUTH, HELLO and QUIT is allowed before")
    func authentication() throws {
        let harness = try Harness()
        defer { harness.close() }
        #expect(harness.run("AUTH x").description.hasPrefix("-ERR AUTH <password> called without"))
        harness.environment.needsPassword.store(true, ordering: .relaxed)
        harness.services.setPassword("secret", .administrator)
        harness.services.setPassword("weak", .user)
        harness.environment.setForbiddenForUsers(["config", "nonsense"])
        check(
            harness,
            """
            > GET k
            -NOAUTH Authentication required.
            > FOO
            -ERR unknown command 'FOO', with args beginning with: 
            > GET
            -ERR wrong number of arguments for 'get' command
            > AUTH wrong
            -WRONGPASS invalid username-password pair or user is disabled.
            > AUTH weak
            +OK
            > GET k
            nil
            > CONFIG GET *
            -NOPERM this user has no permissions to run the 'config' command
            > AUTH default secret
            +OK
            > CONFIG GET timeout
            ["timeout", "60"]
            > RESET
            +RESET
            > GET k
            -NOAUTH Authentication required.
            """)
        let hello = harness.run("HELLO 3").description
        #expect(hello.hasPrefix("-NOAUTH HELLO must be called"))
        #expect(harness.run("HELLO 3 AUTH default secret").elements.count == 14)
        // Tighter limits on requests of strangers.
        let stranger = Harness.makeClient(id: 7)
        let many = "*11\r\n"
        #expect(
            Reply.parseAll(harness.send(bytes(many), as: stranger)).first
                == .error("ERR Protocol error: unauthenticated multibulk length"))
    }

    @Test("CLIENT ID, LIST, SETNAME, GETNAME, KILL, INFO")
    func clients() throws {
        let harness = try Harness()
        defer { harness.close() }
        let other = Harness.makeClient(id: 2)
        harness.services.add(other.record)
        check(
            harness,
            """
            > CLIENT ID
            :1
            > CLIENT GETNAME
            nil
            > CLIENT SETNAME me
            +OK
            > CLIENT GETNAME
            "me"
            > CLIENT SETNAME "a b"
            -ERR Client names cannot contain spaces, newlines or special characters.
            > CLIENT SETINFO LIB-NAME x
            +OK
            > CLIENT FOO
            -ERR unknown subcommand 'FOO'. Try CLIENT HELP.
            > CLIENT KILL 1.2.3.4:5
            -ERR No such client
            > CLIENT KILL 127.0.0.1:50002
            +OK
            > CLIENT KILL ID 2
            :1
            > CLIENT KILL ID 1
            :0
            > CLIENT KILL ID x
            -ERR client-id should be greater than 0
            > CLIENT LIST ID 99
            ""
            > CLIENT LIST TYPE replica
            ""
            """)
        let list = harness.run("CLIENT LIST").bulkBytes ?? []
        let lines = String(decoding: list, as: UTF8.self).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines[0].hasPrefix("id=1 addr=127.0.0.1:50001 laddr=127.0.0.1:9221 fd=8 name=me "))
        #expect(harness.services.killed == [2, 2])
        #expect(harness.run("CLIENT KILL ADDR 127.0.0.1:50001 SKIPME no").description == ":1")
    }

    @Test("Administrative commands reach the server's services")
    func services() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(
            harness,
            """
            > SLAVEOF 10.0.0.1 9221
            +OK
            > REPLICAOF 10.0.0.1 9221 force
            +OK
            > SLAVEOF NO ONE
            +OK
            > SLAVEOF host 99999
            -ERR value is not an integer or out of range
            > SLAVEOF host 1 nonsense
            -ERR syntax error
            > DBSLAVEOF db0 force
            +OK
            > BGSAVE
            +Background saving started
            > BGSAVE db1
            +Background saving started
            > SAVE
            +OK
            > SAVE db0
            -ERR wrong number of arguments for 'save' command
            > BGSAVE db7
            -ERR invalid DB for 'db7'
            > COMPACT
            +OK
            > COMPACT db0 hash
            +OK
            > COMPACT nonsense
            -ERR Invalid Argument 'nonsense'
            > PURGELOGSTO write2file5
            +OK
            > PURGELOGSTO write2file5 db1
            +OK
            > PURGELOGSTO file5
            -ERR Invalid Argument
            > DISKRECOVERY
            +OK
            > CONFIG SET timeout 100
            +OK
            > CONFIG GET timeout maxclients
            ["maxclients", "20000", "timeout", "100"]
            > CONFIG REWRITE
            +OK
            > CONFIG RESETSTAT
            +OK
            > CONFIG FOO
            -ERR unknown subcommand 'FOO'. Try CONFIG HELP.
            """)
        #expect(harness.run("INFO Server").description == "\"# server\r\n\"")
        #expect(
            harness.services.calls == [
                "slaveof 10.0.0.1 9221 false", "slaveof 10.0.0.1 9221 true",
                "slaveof no one false", "dbslaveof db0 force", "bgsave [0, 1]", "bgsave [1]",
                "save [0, 1]",
                "compact [0, 1] 31", "compact [0] 2", "purge 5 0", "purge 5 1", "recover",
                "rewrite", "resetstat",
            ])
    }

    @Test("FLUSHDB and FLUSHALL empty databases and are logged")
    func flush() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(
            harness,
            """
            > MSET a 1 b 2
            +OK
            > SELECT 1
            +OK
            > SET c 3
            +OK
            > FLUSHDB
            +OK
            > GET c
            nil
            > FLUSHDB hash
            -ERR syntax error
            > SELECT 0
            +OK
            > GET a
            "1"
            > FLUSHALL ASYNC
            +OK
            > KEYS *
            []
            > SET again 1
            +OK
            > GET again
            "1"
            """)
        let texts = try harness.itemTexts(0)
        #expect(texts == ["set a 1", "set b 2", "flushdb", "SET again 1"])
        #expect(try harness.itemTexts(1) == ["SET c 3", "flushdb", "flushdb"])
    }

    @Test("COMMAND describes the table")
    func command() throws {
        let harness = try Harness()
        defer { harness.close() }
        let count = harness.environment.table.rows.count
        #expect(harness.run("COMMAND COUNT") == .integer(Int64(count)))
        #expect(harness.run("COMMAND").elements.count == count)
        #expect(harness.run("COMMAND INFO get nonsense").elements.map(\.elements.count) == [10, 0])
        #expect(harness.run("COMMAND DOCS").elements.count == count * 2)
        #expect(harness.run("COMMAND DOCS set nonsense").elements.count == 2)
        #expect(harness.run("COMMAND LIST FILTERBY PATTERN zrange*").elements.count == 4)
        check(
            harness,
            """
            > COMMAND GETKEYS MSET a 1 b 2
            ["a", "b"]
            > COMMAND GETKEYS ZUNIONSTORE d 2 a b
            ["d", "a", "b"]
            > COMMAND GETKEYS PING
            -ERR The command has no key arguments
            > COMMAND GETKEYS nonsense
            -ERR Invalid command specified
            """)
    }

    @Test("A replica refuses writes and answers reads")
    func replica() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.run("SET k v")
        harness.environment.isReadOnlyReplica.store(true, ordering: .relaxed)
        let refusal = "-READONLY You can't write against a read only replica."
        #expect(harness.run("SET k w").description == refusal)
        #expect(harness.run("FLUSHDB").description == refusal)
        #expect(harness.run("GET k").description == "\"v\"")
    }
}
