import Commands
import Synchronization
import Testing

/// Keeps what was pushed to a connection.
final class KeptPushes: ClientOutlet {
    private let bytes = Mutex<[UInt8]>([])

    func push(_ bytes: [UInt8]) { self.bytes.withLock { $0 += bytes } }

    var waitingBytes: Int { self.bytes.withLock { $0.count } }

    /// What came since the last call, as text.
    func take() -> String {
        self.bytes.withLock { bytes in
            defer { bytes = [] }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    var replies: [Reply] { Reply.parseAll(Array(self.take().utf8)) }
}

@Suite("Publishing and subscribing")
struct PubSubTests {
    private func listener(_ harness: Harness, id: UInt64) -> (ClientState, KeptPushes) {
        let client = Harness.makeClient(id: id)
        let outlet = KeptPushes()
        client.record.outlet = outlet
        harness.services.add(client.record)
        return (client, outlet)
    }

    @Test("Channels and patterns get a message each; counts go up and down")
    func messages() throws {
        let harness = try Harness()
        defer { harness.close() }
        let (client, outlet) = listener(harness, id: 2)
        let replies = harness.replies(
            "SUBSCRIBE a b a\r\nPSUBSCRIBE a*\r\nSSUBSCRIBE s", as: client)
        #expect(
            replies.map(\.description) == [
                "[\"subscribe\", \"a\", :1]", "[\"subscribe\", \"b\", :2]",
                "[\"subscribe\", \"a\", :2]", "[\"psubscribe\", \"a*\", :3]",
                "[\"ssubscribe\", \"s\", :1]",
            ])
        check(
            harness,
            """
            > PUBLISH a hello
            :2
            > PUBLISH nobody hello
            :0
            > SPUBLISH s quiet
            :1
            > SPUBLISH a quiet
            :0
            > PUBSUB CHANNELS
            ["a", "b"]
            > PUBSUB CHANNELS b*
            ["b"]
            > PUBSUB NUMSUB a nobody
            ["a", :1, "nobody", :0]
            > PUBSUB NUMPAT
            :1
            > PUBSUB SHARDCHANNELS
            ["s"]
            """)
        #expect(
            outlet.replies.map(\.description) == [
                "[\"message\", \"a\", \"hello\"]", "[\"pmessage\", \"a*\", \"a\", \"hello\"]",
                "[\"smessage\", \"s\", \"quiet\"]",
            ])
        let ends = harness.replies(
            "UNSUBSCRIBE\r\nPUNSUBSCRIBE a*\r\nSUNSUBSCRIBE x\r\nUNSUBSCRIBE", as: client)
        #expect(
            ends.map(\.description) == [
                "[\"unsubscribe\", \"a\", :2]", "[\"unsubscribe\", \"b\", :1]",
                "[\"punsubscribe\", \"a*\", :0]", "[\"sunsubscribe\", \"x\", :1]",
                "[\"unsubscribe\", nil, :0]",
            ])
        client.disconnect()
        #expect(harness.run("SPUBLISH s gone").description == ":0")
    }

    @Test("RESP2: only a few commands while listening, PING in the form of a message")
    func subscribedMode() throws {
        let harness = try Harness()
        defer { harness.close() }
        let (client, _) = listener(harness, id: 2)
        _ = harness.run("SUBSCRIBE a", as: client)
        #expect(
            harness.run("GET k", as: client).description
                == "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT"
                + " / RESET are allowed in this context")
        #expect(harness.run("PING", as: client).description == "[\"pong\", \"\"]")
        #expect(harness.run("PING x", as: client).description == "[\"pong\", \"x\"]")
        #expect(harness.run("RESET", as: client).description == "+RESET")
        #expect(harness.run("GET k", as: client).description == "nil")
        #expect(harness.run("PUBLISH a m").description == ":0")
    }

    @Test("RESP3: messages are pushes, and all commands are allowed")
    func pushes() throws {
        let harness = try Harness()
        defer { harness.close() }
        let (client, outlet) = listener(harness, id: 2)
        _ = harness.run("HELLO 3", as: client)
        let confirmed = String(
            decoding: harness.send(bytes("SUBSCRIBE a\r\n"), as: client), as: UTF8.self)
        #expect(confirmed == ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
        #expect(harness.send(bytes("GET k\r\n"), as: client) == bytes("_\r\n"))
        _ = harness.run("PUBLISH a m")
        #expect(outlet.take() == ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n")
    }

    @Test("A message behind uncommitted writes comes once, when they are committed")
    func transaction() throws {
        let harness = try Harness()
        defer { harness.close() }
        let (client, outlet) = listener(harness, id: 2)
        _ = harness.run("SUBSCRIBE a", as: client)
        // Time moves on at each reading, so that the group is executed twice.
        harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
        let replies = harness.replies(
            "MULTI\r\nSET k v\r\nPUBLISH a m\r\nEXEC\r\nSET k w\r\nPUBLISH a n")
        harness.clock.jumpsPerRead.store(0, ordering: .relaxed)
        #expect(replies.suffix(3).map(\.description) == ["[+OK, :1]", "+OK", ":1"])
        #expect(
            outlet.replies.map(\.description) == [
                "[\"message\", \"a\", \"m\"]", "[\"message\", \"a\", \"n\"]",
            ])
    }
}

@Suite("Watching the server: MONITOR, SLOWLOG, times, CLIENT REPLY")
struct ObservationTests {
    @Test("MONITOR shows each command with its database and address, quoted; no passwords")
    func monitor() throws {
        let harness = try Harness()
        defer { harness.close() }
        let monitor = Harness.makeClient(id: 7)
        let outlet = KeptPushes()
        monitor.record.outlet = outlet
        #expect(harness.run("MONITOR", as: monitor).description == "+OK")
        _ = harness.run([bytes("SET"), bytes("k"), [0x22, 0x0a, 0xff]])
        _ = harness.replies("AUTH secret\r\nMULTI\r\nGET k\r\nEXEC")
        let lines = outlet.take().split(separator: "\r\n").map { line in
            String(line.drop { $0 != "[" })
        }
        #expect(
            lines == [
                #"[0 127.0.0.1:50001] "SET" "k" "\"\n\xff""#, #"[0 127.0.0.1:50001] "MULTI""#,
                #"[0 127.0.0.1:50001] "GET" "k""#, #"[0 127.0.0.1:50001] "EXEC""#,
            ])
        monitor.disconnect()
        _ = harness.run("GET k")
        #expect(outlet.take().isEmpty)
    }

    @Test("SLOWLOG keeps the newest commands over the threshold, arguments cut")
    func slowLog() throws {
        let harness = try Harness()
        defer { harness.close() }
        let log = harness.environment.slowLog
        #expect(harness.run("SLOWLOG LEN").description == ":0")
        log.thresholdMicroseconds.store(0, ordering: .relaxed)
        log.limit.store(3, ordering: .relaxed)
        for _ in 0..<5 { _ = harness.run("PING") }
        _ = harness.replies(
            "SADD s " + (0..<40).map(String.init).joined(separator: " ") + "\r\nGET k")
        log.thresholdMicroseconds.store(-1, ordering: .relaxed)
        #expect(harness.run("SLOWLOG LEN").description == ":3")
        let entries = harness.run("SLOWLOG GET -1").elements
        #expect(entries.map { $0.elements[0].description } == [":6", ":5", ":4"])
        #expect(entries[0].elements[3].description == "[\"GET\", \"k\"]")
        #expect(entries[1].elements[3].elements.count == SlowLogLimits.arguments)
        #expect(
            entries[1].elements[3].elements.last?.description == "\"... (11 more arguments)\"")
        #expect(entries[0].elements[4].description == "\"127.0.0.1:50001\"")
        #expect(harness.run("SLOWLOG RESET").description == "+OK")
        #expect(harness.run("SLOWLOG GET").description == "[]")
        #expect(harness.services.calls.contains("slow get"))
    }

    @Test("A command that is kept in the SLOWLOG leaves its time to no later one")
    func slowLogTime() throws {
        let harness = try Harness()
        defer { harness.close() }
        harness.environment.slowLog.thresholdMicroseconds.store(0, ordering: .relaxed)
        #expect(harness.run("SET k v EX 5").description == "+OK")
        harness.clock.advance(10)
        #expect(harness.run("EXISTS k").description == ":0")
    }

    private enum SlowLogLimits { static let arguments = 32 }

    @Test("Calls are counted and timed, in pipelines too; a reset begins anew")
    func times() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.replies(
            Array(repeating: "SET k v\r\nGET k", count: 100).joined(separator: "\r\n"))
        func counts(_ name: String) -> CommandCounts? {
            let environment = harness.environment
            return zip(environment.table.rows, environment.commandCounts)
                .first { "\($0.0.name)" == name }?.1
        }
        #expect(counts("set")?.calls == 100)
        #expect((counts("get")?.nanoseconds ?? 0) > 0)
        harness.environment.resetCounts()
        #expect(counts("set")?.calls == 0 && counts("set")?.nanoseconds == 0)
        _ = harness.run("SET k v")
        #expect(counts("set")?.calls == 1)
        #expect(harness.environment.requestCount == 1)
    }

    @Test("CLIENT REPLY OFF, ON and SKIP, also for writes that are executed twice")
    func reply() throws {
        let harness = try Harness()
        defer { harness.close() }
        harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
        let replies = harness.replies(
            """
            CLIENT REPLY SKIP\r
            SET a 1\r
            SET b 2\r
            CLIENT REPLY OFF\r
            SET c 3\r
            LPUSH c x\r
            FOO\r
            CLIENT REPLY ON\r
            MGET a b c
            """)
        #expect(
            replies.map(\.description) == ["+OK", "+OK", "[\"1\", \"2\", \"3\"]"])
    }

    @Test("CLIENT TRACKING is refused with a reason, and its state is told truly")
    func tracking() throws {
        try check(
            """
            > CLIENT TRACKING ON
            -ERR client side caching is not supported by this server
            > CLIENT TRACKING OFF
            +OK
            > CLIENT GETREDIR
            :-1
            > CLIENT TRACKINGINFO
            ["flags", ["off"], "redirect", :-1, "prefixes", []]
            """)
    }
}
