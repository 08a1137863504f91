import Testing

@testable import PikaServer

@Suite("Limits of clients, over loopback", .serialized)
struct LimitTests {
    @Test(
        "A request of a million arguments is read and answered, one beyond the limit ends the connection"
    )
    func manyArguments() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        let count = 1_000_000
        client.send("*\(count + 1)\r\n$4\r\nECHO\r\n")
        let piece = String(repeating: "$1\r\nk\r\n", count: 10_000)
        for _ in 0..<count / 10_000 { client.send(piece) }
        #expect(
            client.read() == .error("ERR wrong number of arguments for 'echo' command"))
        client.send("*\(2 << 20)\r\n")
        #expect(client.read() == .error("ERR Protocol error: invalid multibulk length"))
        #expect(client.read() == .closed)
    }

    @Test("A pipeline of 100,000 requests that is sent before anything is read")
    func deepPipeline() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        let count = 100_000
        client.send(String(repeating: "PING\r\n", count: count))
        for _ in 0..<count { #expect(client.read() == .simple("PONG")) }
    }

    @Test("A flood of connections that send garbage harms nobody")
    func flood() throws {
        let server = try LoopbackServer("maxclients : 50")
        let good = try server.client()
        for round in 0..<4 {
            let clients = try (0..<60).map { _ in try server.client() }
            for client in clients {
                client.send(round % 2 == 0 ? "*3\r\n$-5\r\n" : "\u{0}\u{1}x\r\n")
            }
            #expect(good.call("PING") == .simple("PONG"))
        }
    }

    @Test("A long reply that nobody reads keeps nobody from his own, and comes whole")
    func unreadReply() throws {
        let server = try LoopbackServer("max-conn-rbuf-size : 128M", "client-output-limit : 1M")
        let reader = try server.client()
        let other = try server.client()
        let value = String(repeating: "v", count: 48 << 20)
        // Neither a large request nor the long reply is copied on the loop.
        #expect(reader.call("SET", "big", value) == .simple("OK"))
        reader.send(LoopbackClient.encode(["GET", "big"]) + "PING\r\n")
        var isWaiting = false
        while !isWaiting {
            guard case .bulk(let list?) = other.call("CLIENT", "LIST") else { break }
            #expect(other.call("SET", "small", "v") == .simple("OK"))
            // Far more than sockets hold.
            isWaiting = list.split(separator: "\n").contains { line in
                let field = line.split(separator: " ").first { $0.hasPrefix("omem=") }
                return (field.flatMap { Int($0.dropFirst(5)) } ?? 0) > 16 << 20
            }
        }
        #expect(isWaiting)
        #expect(reader.read() == .bulk(value))
        #expect(reader.read() == .simple("PONG"))
    }

    @Test("Who closes his half before he reads gets all that he asked for")
    func halfClosed() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        let value = String(repeating: "v", count: 64 << 10)
        #expect(client.call("SET", "k", value) == .simple("OK"))
        // The replies are far more than sockets hold.
        let count = 500
        client.send(String(repeating: LoopbackClient.encode(["GET", "k"]), count: count))
        client.endSending()
        for _ in 0..<count { #expect(client.read() == .bulk(value)) }
        #expect(client.read() == .closed)
    }

    @Test("A client that goes away in the middle of a long reply leaves nothing behind")
    func lostReader() throws {
        let server = try LoopbackServer("max-conn-rbuf-size : 128M", "client-output-limit : 1M")
        let other = try server.client()
        let value = String(repeating: "v", count: 32 << 20)
        #expect(other.call("SET", "big", value) == .simple("OK"))
        for _ in 0..<3 {
            let reader = try server.client()
            reader.send(LoopbackClient.encode(["GET", "big"]))
            _ = reader
        }
        while other.info("clients", "connected_clients") != "1" {}
        #expect(other.call("STRLEN", "big") == .integer(value.count))
    }

    @Test("Paused writes of a real connection go on after UNPAUSE")
    func pause() throws {
        let server = try LoopbackServer()
        let operatorClient = try server.client()
        let writer = try server.client()
        #expect(operatorClient.call("CLIENT", "PAUSE", "60000", "WRITE") == .simple("OK"))
        writer.send(LoopbackClient.encode(["SET", "k", "v"]))
        while operatorClient.info("clients", "blocked_clients") != "1" {}
        #expect(operatorClient.call("GET", "k") == .bulk(nil))
        #expect(operatorClient.call("CLIENT", "UNPAUSE") == .simple("OK"))
        #expect(writer.read() == .simple("OK"))
        #expect(writer.call("WAIT", "1", "30") == .integer(0))
    }
}
