import Commands
import Keyspace
import RESP
import Synchronization
import Testing

@Suite("Command path")
struct CommandPathTests {
    private func burst(_ lines: [String]) -> [UInt8] { bytes(lines.map { $0 + "\r\n" }.joined()) }

    @Test("Commands of one burst see each other's writes")
    func overlay() throws {
        let harness = try Harness()
        defer { harness.close() }
        let lines =
            Array(repeating: "INCR n", count: 16) + Array(repeating: "LPUSH l x", count: 16)
            + [
                "HSET h f v", "HGETALL h", "LRANGE l 0 1", "DEL n", "GET n", "SADD s a",
                "SMEMBERS s",
            ]
        let replies = Reply.parseAll(harness.send(burst(lines))).map(\.description)
        let wanted =
            (1...16).map { ":\($0)" } + (1...16).map { ":\($0)" }
            + [":1", "[\"f\", \"v\"]", "[\"x\", \"x\"]", ":1", "nil", ":1", "[\"a\"]"]
        #expect(replies == wanted)
    }

    @Test("Input in any pieces gives the same replies", arguments: [1, 2, 7, 64])
    func pieces(size: Int) throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 0x78, count: 300)
        let input =
            encode([bytes("SET"), bytes("k"), value]) + encode([bytes("STRLEN"), bytes("k")])
            + bytes("PING\r\n") + encode([bytes("DEL"), bytes("k")])
        var pending: [UInt8] = []
        var output: [UInt8] = []
        var calls = 0
        for start in stride(from: 0, to: input.count, by: size) {
            pending += input[start..<min(start + size, input.count)]
            guard pending.count >= harness.client.neededBytes else { continue }
            calls += 1
            let result = pending.withUnsafeBytes { harness.processor.process(harness.client, $0) }
            pending.removeFirst(result.consumed)
            output += Array(harness.processor.output)
            harness.processor.clearOutput()
        }
        #expect(pending.isEmpty)
        let replies = Reply.parseAll(output).map(\.description)
        #expect(replies == ["+OK", ":300", "+PONG", ":1"])
        // The long value is not parsed again for each piece.
        #expect(size > 1 || calls < 150)
    }

    @Test("A protocol error answers what came before it and closes")
    func protocolError() throws {
        let harness = try Harness()
        defer { harness.close() }
        let input = bytes("SET k v\r\n*1\r\n+GET\r\nSET k w\r\n")
        let result = input.withUnsafeBytes { harness.processor.process(harness.client, $0) }
        #expect(result.consumed == input.count)
        guard case .close = result.next else {
            Issue.record("\(result.next)")
            return
        }
        let replies = Reply.parseAll(Array(harness.processor.output)).map(\.description)
        #expect(replies == ["+OK", "-ERR Protocol error: expected '$', got '+'"])
        harness.processor.clearOutput()
        #expect(harness.run("GET k").description == "\"v\"")
    }

    @Test("Above maxmemory what may make data grow is refused, and the transaction with it")
    func outOfMemory() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(harness, "> SET k v\n+OK")
        harness.environment.refusesGrowth.store(true, ordering: .relaxed)
        check(
            harness,
            """
            > SET k w
            -OOM command not allowed when used memory > 'maxmemory'.
            > GET k
            "v"
            > MULTI
            +OK
            > LPUSH l x
            -OOM command not allowed when used memory > 'maxmemory'.
            > EXEC
            -EXECABORT Transaction discarded because of previous errors.
            > DEL k
            :1
            """)
        harness.environment.refusesGrowth.store(false, ordering: .relaxed)
        check(harness, "> MULTI\n+OK\n> SET k v\n+QUEUED")
        harness.environment.refusesGrowth.store(true, ordering: .relaxed)
        #expect(
            harness.run("EXEC").description
                == "-EXECABORT Transaction discarded because of: OOM command not allowed when "
                + "used memory > 'maxmemory'.")
        #expect(harness.run("EXEC").description == "-ERR EXEC without MULTI")
    }

    @Test("QUIT and killing oneself close behind the reply")
    func closing() throws {
        let harness = try Harness()
        defer { harness.close() }
        let input = bytes("SET k v\r\nQUIT\r\nSET k w\r\n")
        let result = input.withUnsafeBytes { harness.processor.process(harness.client, $0) }
        guard case .close = result.next else {
            Issue.record("\(result.next)")
            return
        }
        #expect(Array(harness.processor.output) == bytes("+OK\r\n+OK\r\n"))
        harness.processor.clearOutput()
        let other = Harness.makeClient(id: 3)
        #expect(harness.run("GET k", as: other).description == "\"v\"")
    }

    @Test("Large collections are read and written on the pool")
    func pool() throws {
        let harness = try Harness()
        defer { harness.close() }
        let fields = (0..<1500).flatMap { [bytes("f\($0)"), bytes("v\($0)")] }
        #expect(harness.run([bytes("HMSET"), bytes("h")] + fields).description == "+OK")
        let request = bytes("SET a 1\r\nHGETALL h\r\nGET a\r\n")
        let result = request.withUnsafeBytes { harness.processor.process(harness.client, $0) }
        guard case .busy(let work) = result.next else {
            Issue.record("\(result.next)")
            return
        }
        #expect(result.consumed == bytes("SET a 1\r\nHGETALL h\r\n").count)
        #expect(Array(harness.processor.output) == bytes("+OK\r\n"))
        work.run()
        _ = harness.processor.finish(work, harness.client)
        let replies = Reply.parseAll(Array(harness.processor.output))
        #expect(replies.count == 2)
        #expect(replies[1].elements.count == 3000)
        harness.processor.clearOutput()
        #expect(harness.run("HLEN h").description == ":1500")
        #expect(harness.run("HKEYS h").elements.count == 1500)
        let members = (0..<2000).map { bytes("m\($0)") }
        #expect(harness.run([bytes("SADD"), bytes("s")] + members).description == ":2000")
        #expect(harness.run("SUNIONSTORE d s missing").description == ":2000")
        #expect(harness.run("SCARD d").description == ":2000")
        let pairs = (0..<1500).flatMap { [bytes("\($0)"), bytes("m\($0)")] }
        #expect(harness.run([bytes("ZADD"), bytes("z")] + pairs).description == ":1500")
        #expect(harness.run("ZCOUNT z -inf +inf").description == ":1500")
        #expect(harness.run("ZRANGEBYSCORE z 0 +inf").elements.count == 1500)
        #expect(harness.run("ZRANGE z -1 -1").description == "[\"m1499\"]")
    }

    @Test("Much output makes the processor yield")
    func yielding() throws {
        let harness = try Harness()
        defer { harness.close() }
        let value = [UInt8](repeating: 0x78, count: 400_000)
        _ = harness.run([bytes("SET"), bytes("k"), value])
        let input = burst(Array(repeating: "GET k", count: 6))
        let result = input.withUnsafeBytes { harness.processor.process(harness.client, $0) }
        guard case .yield = result.next else {
            Issue.record("\(result.next)")
            return
        }
        #expect(result.consumed == 3 * 7)
        harness.processor.clearOutput()
    }

    @Test("A key that the pool has makes the connection busy")
    func busyKey() throws {
        let harness = try Harness()
        defer { harness.close() }
        let group = harness.keyspace.databases[0].makeGroup(onPool: true)
        let key = bytes("k")
        key.withUnsafeBytes { _ = group.lock($0) }
        let input = bytes("SET a 1\r\nSET k 1\r\n")
        let result = input.withUnsafeBytes { harness.processor.process(harness.client, $0) }
        guard case .busy(let work) = result.next else {
            Issue.record("\(result.next)")
            return
        }
        #expect(result.consumed == input.count)
        #expect(Array(harness.processor.output) == bytes("+OK\r\n"))
        group.discard()
        work.run()
        _ = harness.processor.finish(work, harness.client)
        #expect(Array(harness.processor.output) == bytes("+OK\r\n+OK\r\n"))
        harness.processor.clearOutput()
        #expect(harness.run("GET k").description == "\"1\"")
    }

    @Test("While the gate is closed nothing is executed")
    func gate() throws {
        let harness = try Harness()
        defer { harness.close() }
        let input = bytes("SET k v\r\n")
        harness.keyspace.gate.withClosed {
            let result = input.withUnsafeBytes { harness.processor.process(harness.client, $0) }
            #expect(result.consumed == 0)
            guard case .gateClosed = result.next else {
                Issue.record("\(result.next)")
                return
            }
        }
        #expect(harness.run("SET k v").description == "+OK")
    }

    @Test("When the clock moves on under a group it is executed again")
    func prepareAgain() throws {
        let harness = try Harness()
        defer { harness.close() }
        // The clock jumps each time it is read: the commit finds another second than the commands.
        harness.clock.jumpsPerRead.store(3, ordering: .relaxed)
        let lines = ["INCR n", "INCR n", "SETEX t 10 v", "FOO", "LPUSH l a b", "INCR n"]
        let replies = Reply.parseAll(harness.send(burst(lines))).map(\.description)
        #expect(
            replies == [
                ":1", ":2", "+OK",
                "-ERR unknown command 'FOO', with args beginning with: ", ":2", ":3",
            ])
        harness.clock.jumpsPerRead.store(0, ordering: .relaxed)
        #expect(harness.run("GET n").description == "\"3\"")
        #expect(harness.run("LLEN l").description == ":2")
        #expect(try harness.itemTexts().count == 5)
    }

    @Test(
        "When the log can't be written each command of the burst gets the error, and nothing is kept"
    )
    func failedCommit() throws {
        let files = FailingFileSystem()
        let harness = try Harness(fileSystem: files)
        defer { harness.close() }
        #expect(harness.run("SET k v").description == "+OK")
        files.failsWrites.store(true, ordering: .relaxed)
        let replies = Reply.parseAll(
            harness.send(burst(["PING", "GET k", "SET k w", "GET k", "INCR n"]))
        ).map(\.description)
        #expect(replies.count == 5)
        #expect(replies[..<2] == ["+PONG", "\"v\""])
        for reply in replies[2...] { #expect(reply.hasPrefix("-ERR "), "\(reply)") }
        #expect(harness.run("GET k").description == "\"v\"")
        files.failsWrites.store(false, ordering: .relaxed)
        try harness.keyspace.databases[0].recoverDisk()
        #expect(harness.run("SET k x").description == "+OK")
        #expect(harness.run("EXISTS n").description == ":0")
        #expect(try harness.itemTexts() == ["SET k v", "SET k x"])
    }

    @Test("Requests and calls are counted")
    func statistics() throws {
        let harness = try Harness()
        defer { harness.close() }
        _ = harness.send(burst(["SET a 1", "GET a", "GET a", "FOO"]))
        #expect(harness.environment.requestCount == 4)
        let rows = harness.environment.table.rows
        let index = rows.firstIndex { "\($0.name)" == "get" } ?? 0
        #expect(harness.environment.callCounts[index] == 2)
    }

    @Test("Requests beyond the limits are refused")
    func limits() throws {
        var limits = RequestLimits()
        limits.maxArguments = 4
        limits.maxBulkBytes = 8
        let harness = try Harness(limits: limits)
        defer { harness.close() }
        #expect(harness.run("SET k 12345678").description == "+OK")
        let large = harness.run([bytes("SET"), bytes("k"), bytes("123456789")])
        #expect(large.description == "-ERR Protocol error: invalid bulk length")
        let many = harness.run([bytes("DEL"), bytes("a"), bytes("b"), bytes("c"), bytes("d")])
        #expect(many.description == "-ERR Protocol error: invalid multibulk length")
    }
}
