import Testing

@Suite("CLIENT PAUSE and WAIT")
struct PauseTests {
    @Test("WRITE holds writes back, and lets reads through, until UNPAUSE")
    func writes() throws {
        let harness = try Harness()
        defer { harness.close() }
        let other = Harness.makeClient(id: 2)
        #expect(harness.run("SET k old").description == "+OK")
        #expect(harness.run("CLIENT PAUSE 1000 WRITE").description == "+OK")
        let replies = harness.replies("GET k\r\nSET k new\r\nGET k", as: other)
        #expect(replies.map(\.description) == ["\"old\""])
        #expect(harness.run("GET k").description == "\"old\"")
        #expect(harness.resume(other).isEmpty)
        #expect(harness.run("CLIENT UNPAUSE").description == "+OK")
        #expect(harness.resume(other).map(\.description) == ["+OK", "\"new\""])
    }

    @Test("EXEC waits if the transaction writes; ALL holds everything but CLIENT; time ends it")
    func all() throws {
        let harness = try Harness()
        defer { harness.close() }
        let other = Harness.makeClient(id: 2)
        _ = harness.replies("MULTI\r\nSET k v", as: other)
        _ = harness.run("CLIENT PAUSE 50 WRITE")
        #expect(harness.replies("EXEC", as: other).isEmpty)
        _ = harness.run("CLIENT PAUSE 10 ALL")
        #expect(harness.replies("PING").isEmpty)
        // The first timer belongs to a pause that was prolonged.
        harness.services.runDelayed()
        #expect(harness.resume().map(\.description) == ["+PONG"])
        #expect(harness.resume(other).map(\.description) == ["[+OK]"])
        #expect(
            harness.run("CLIENT PAUSE x").description
                == "-ERR timeout is not an integer or out of range")
        #expect(harness.run("CLIENT PAUSE -1").description == "-ERR timeout is negative")
    }

    @Test("WAIT answers when enough replicas have the writes, or when its time is over")
    func wait() throws {
        let harness = try Harness()
        defer { harness.close() }
        #expect(harness.run("WAIT 0 0").description == ":0")
        harness.services.setReplicas(1)
        #expect(harness.run("WAIT 1 0").description == ":1")
        #expect(harness.replies("WAIT 2 0\r\nPING").isEmpty)
        #expect(harness.resume().isEmpty)
        harness.services.setReplicas(2)
        #expect(harness.resume().map(\.description) == [":2", "+PONG"])
        #expect(harness.run("WAIT 3 -1").description == "-ERR timeout is negative")
        #expect(harness.replies("MULTI\r\nWAIT 3 0\r\nEXEC").last?.description == "[:2]")
    }
}
