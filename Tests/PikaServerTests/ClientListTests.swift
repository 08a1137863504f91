import Testing

@testable import PikaServer

@Suite("What CLIENT LIST says of a connection's buffers, over loopback", .serialized)
struct ClientListTests {
    /// Fields of CLIENT LIST or CLIENT INFO.
    private struct Fields {
        private let numbers: [Substring: Int]
        let line: String

        init(_ line: some StringProtocol) {
            self.line = String(line)
            var numbers: [Substring: Int] = [:]
            for field in self.line.split(whereSeparator: \.isWhitespace) {
                let parts = field.split(separator: "=", maxSplits: 1)
                if parts.count == 2 { numbers[parts[0]] = Int(parts[1]) }
            }
            self.numbers = numbers
        }

        subscript(_ name: Substring) -> Int { numbers[name] ?? -1 }
    }

    private let server: LoopbackServer
    private let observer: LoopbackClient
    private let client: LoopbackClient

    init() throws {
        server = try LoopbackServer("max-conn-rbuf-size : 128M", "binlog-sync : always")
        observer = try server.client()
        client = try server.client()
        client.call("CLIENT", "SETNAME", "seen")
    }

    /// Looks at the client until it is as wanted; the last look.
    private func look(until isWanted: (Fields) -> Bool) throws -> Fields {
        var last = Fields("")
        for _ in 0..<30_000 {
            guard case .bulk(let list?) = observer.call("CLIENT", "LIST") else { break }
            let line = try #require(list.split(separator: "\n").first { $0.contains("name=seen") })
            last = Fields(line)
            if isWanted(last) { return last }
        }
        Issue.record("it never came: \(last.line)")
        return last
    }

    @Test("An incomplete request is in the query buffer, which has room for what was announced")
    func queryBuffer() throws {
        let value = String(repeating: "v", count: 1_000_000)
        let request = LoopbackClient.encode(["SET", "k", value])
        let (begin, end) = (request.utf8.prefix(1000), request.utf8.dropFirst(1000))
        client.send(String(Substring(begin)))
        let begun = try look { $0["qbuf"] == 1000 }
        // The last line end may be read apart.
        #expect(begun["qbuf-free"] >= request.utf8.count - 1000 - 2)
        #expect(begun["tot-mem"] >= request.utf8.count - 2)
        client.send(String(Substring(end)))
        #expect(client.read() == .simple("OK"))
        let done = try look { $0["qbuf"] == 0 }
        #expect(done["qbuf-free"] == 0)
        #expect(done["tot-mem"] == 0)
    }

    @Test("CLIENT INFO sees its own request in the buffer, and the replies before it in obl")
    func own() throws {
        let request = LoopbackClient.encode(["CLIENT", "INFO"])
        client.send(request)
        guard case .bulk(let alone?) = client.read() else { throw NoList() }
        let first = Fields(alone)
        #expect(first["qbuf"] == request.utf8.count)
        #expect(first["qbuf-free"] > 0)
        #expect(first["argv-mem"] == 10)
        #expect(first["obl"] == 0)
        let sum = first["qbuf"] + first["qbuf-free"] + first["argv-mem"]
        #expect(first["tot-mem"] == sum)

        client.send("PING\r\nPING\r\n" + request)
        #expect(client.read() == .simple("PONG"))
        #expect(client.read() == .simple("PONG"))
        guard case .bulk(let behind?) = client.read() else { throw NoList() }
        let second = Fields(behind)
        #expect(second["qbuf"] == request.utf8.count + 12)
        #expect(second["obl"] == "+PONG\r\n+PONG\r\n".utf8.count)
    }

    @Test("Commands behind MULTI count in multi-mem")
    func transaction() throws {
        client.call("MULTI")
        client.call("SET", "key", "value")
        #expect(try look { $0["multi"] == 1 }["multi-mem"] == 11)
        client.call("EXEC")
        #expect(try look { $0["multi"] == -1 }["multi-mem"] == 0)
    }

    @Test("Replies that a client does not take are in omem until it takes them")
    func unreadReplies() throws {
        let value = String(repeating: "v", count: 64 << 10)
        let count = 300
        #expect(client.call("SET", "k", value) == .simple("OK"))
        // More than sockets hold, less than makes the server stop.
        client.send(String(repeating: LoopbackClient.encode(["GET", "k"]), count: count))
        let waiting = try look { $0["omem"] > 0 && $0["qbuf"] == 0 }
        #expect(waiting["oll"] == 1)
        #expect(waiting["tot-mem"] >= waiting["omem"])
        #expect(waiting.line.contains(" events=rw "))
        for _ in 0..<count { #expect(client.read() == .bulk(value)) }
        let taken = try look { $0["omem"] == 0 }
        #expect(taken["oll"] == 0)
        #expect(taken.line.contains(" events=r "))
    }

    @Test("Replies that wait for the disk are in obl")
    func heldReplies() throws {
        let pipeline = String(repeating: LoopbackClient.encode(["SET", "k", "v"]), count: 10)
        var sent = 0
        _ = try look {
            if $0["obl"] > 0 { return true }
            client.send(pipeline)
            sent += 10
            return false
        }
        for _ in 0..<sent { #expect(client.read() == .simple("OK")) }
        #expect(try look { $0["obl"] == 0 }["tot-mem"] == 0)
    }

    @Test("Lines of MONITOR that wait behind a paused write are in omem")
    func waitingLines() throws {
        client.call("MONITOR")
        #expect(observer.call("CLIENT", "PAUSE", "60000", "WRITE") == .simple("OK"))
        client.send(LoopbackClient.encode(["SET", "k", "v"]))
        let waiting = try look {
            // CLIENT LIST itself is not among the lines.
            observer.call("PING")
            return $0["omem"] > 1000
        }
        #expect(waiting["oll"] == 1)
        #expect(observer.call("CLIENT", "UNPAUSE") == .simple("OK"))
        while client.read() != .simple("OK") {}
        #expect(try look { $0["omem"] == 0 }["oll"] == 0)
    }
}

private struct NoList: Error {}
