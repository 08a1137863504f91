import Glibc
import Synchronization
import Testing

@testable import PikaServer

@Suite("Server over loopback", .serialized)
struct ServerTests {
    @Test("PING, SET, GET, and a pipeline of many commands in order")
    func basics() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        #expect(client.call("PING") == .simple("PONG"))
        #expect(client.call("SET", "k", "v") == .simple("OK"))
        #expect(client.call("GET", "k") == .bulk("v"))
        #expect(client.call("GET", "missing") == .bulk(nil))
        let count = 1000
        client.send((0..<count).map { _ in LoopbackClient.encode(["INCR", "n"]) }.joined())
        for number in 1...count { #expect(client.read() == .integer(number)) }
    }

    @Test("Requests that arrive byte by byte, and inline commands, are answered")
    func fragments() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        for byte in LoopbackClient.encode(["SET", "slow", "value"]) {
            client.send(String(byte))
        }
        #expect(client.read() == .simple("OK"))
        client.send("GET slow\r\nPING\r\n")
        #expect(client.read() == .bulk("value"))
        #expect(client.read() == .simple("PONG"))
    }

    @Test("A client that waits is served by another, times out, and leaves nobody behind")
    func blocking() throws {
        let server = try LoopbackServer()
        let pusher = try server.client()
        let waiter = try server.client()
        func waits(_ count: Int) -> Bool {
            for _ in 0..<2000 {
                if pusher.info("clients", "blocked_clients") == "\(count)" { return true }
                usleep(1000)
            }
            return false
        }
        waiter.send(LoopbackClient.encode(["BLPOP", "none", "l", "0"]))
        waiter.send(LoopbackClient.encode(["PING"]))
        #expect(waits(1))
        #expect(pusher.call("RPUSH", "l", "a") == .integer(1))
        #expect(waiter.read() == .array([.bulk("l"), .bulk("a")]))
        #expect(waiter.read() == .simple("PONG"))
        #expect(waiter.call("BLPOP", "l", "0.01") == .bulk(nil))
        #expect(waiter.call("BLMOVE", "l", "m", "LEFT", "LEFT", "0.01") == .bulk(nil))
        do {
            let gone = try server.client()
            gone.send(LoopbackClient.encode(["BZPOPMIN", "z", "0"]))
            #expect(waits(1))
        }
        #expect(waits(0))
        #expect(pusher.call("ZADD", "z", "1", "m") == .integer(1))
        #expect(pusher.call("ZCARD", "z") == .integer(1))
    }

    @Test("A value of some megabytes goes in and comes out")
    func largeValue() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        let value = String(repeating: "0123456789abcdef", count: 300_000)
        #expect(client.call("SET", "large", value) == .simple("OK"))
        #expect(client.call("GET", "large") == .bulk(value))
    }

    @Test("A protocol error closes that client only, after its text")
    func protocolError() throws {
        let server = try LoopbackServer()
        let good = try server.client()
        let bad = try server.client()
        bad.send("*1\r\n$x\r\n")
        #expect(bad.read() == .error("ERR Protocol error: invalid bulk length"))
        #expect(bad.read() == .closed)
        #expect(good.call("PING") == .simple("PONG"))
    }

    @Test("Replies of a client that does not read wait without harm to others")
    func slowReader() throws {
        let server = try LoopbackServer("client-output-limit : 1M")
        let writer = try server.client()
        let value = String(repeating: "x", count: 100_000)
        writer.call("SET", "big", value)
        let lazy = try server.client()
        let requests = 400
        lazy.send((0..<requests).map { _ in LoopbackClient.encode(["GET", "big"]) }.joined())
        #expect(writer.call("PING") == .simple("PONG"))
        for _ in 0..<requests { #expect(lazy.read() == .bulk(value)) }
    }

    @Test("With requirepass: NOAUTH until AUTH, and the blacklist for users of userpass")
    func passwords() throws {
        let server = try LoopbackServer(
            "requirepass : secret", "userpass : guest", "userblacklist : FLUSHALL,CONFIG")
        let client = try server.client()
        #expect(client.call("GET", "k") == .error("NOAUTH Authentication required."))
        guard case .error = client.call("AUTH", "wrong") else {
            Issue.record("a wrong password was taken")
            return
        }
        #expect(client.call("AUTH", "secret") == .simple("OK"))
        #expect(client.call("SET", "k", "v") == .simple("OK"))
        let user = try server.client()
        #expect(user.call("AUTH", "guest") == .simple("OK"))
        #expect(user.call("GET", "k") == .bulk("v"))
        guard case .error(let text) = user.call("CONFIG", "GET", "port") else {
            Issue.record("a command of the blacklist was run")
            return
        }
        #expect(text.hasPrefix("NOPERM"))
    }

    @Test("Connections beyond maxclients + root-connection-num are closed")
    func maxClients() throws {
        let server = try LoopbackServer("maxclients : 2", "root-connection-num : 1")
        let clients = try (0..<3).map { _ in try server.client() }
        for client in clients { #expect(client.call("PING") == .simple("PONG")) }
        let fourth = try server.client()
        #expect(fourth.read() == .error("ERR max number of clients reached"))
        #expect(fourth.read() == .closed)
        #expect(clients[0].info("stats", "rejected_connections") == "1")
    }

    @Test("CLIENT KILL by address and CLIENT LIST see all connections")
    func clientKill() throws {
        let server = try LoopbackServer()
        let killer = try server.client()
        let victim = try server.client()
        victim.call("CLIENT", "SETNAME", "victim")
        guard case .bulk(let list?) = killer.call("CLIENT", "LIST") else {
            Issue.record("no list")
            return
        }
        let line = try #require(list.split(separator: "\n").first { $0.contains("name=victim") })
        let field = try #require(line.split(separator: " ").first { $0.hasPrefix("addr=") })
        #expect(killer.call("CLIENT", "KILL", String(field.dropFirst(5))) == .simple("OK"))
        #expect(victim.read() == .closed)
        #expect(killer.call("PING") == .simple("PONG"))
    }

    @Test("SHUTDOWN asks the process to stop")
    func shutdown() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        client.send(LoopbackClient.encode(["SHUTDOWN"]))
        for _ in 0..<500 where server.shutdownCalls.value.load(ordering: .relaxed) == 0 {
            usleep(10_000)
        }
        #expect(server.shutdownCalls.value.load(ordering: .relaxed) == 1)
    }

    @Test("A second server on the same directory is refused with a clear error")
    func secondServer() throws {
        let server = try LoopbackServer()
        do {
            _ = try Server(
                conf: server.conf, fileSystem: RealFileSystemForTests.shared,
                logger: RealFileSystemForTests.logger, onShutdown: {})
            Issue.record("two servers opened one directory")
        } catch {
            #expect(error.code == .keyspace)
        }
        #expect(try server.client().call("PING") == .simple("PONG"))
    }

    @Test("Data are there after a stop and a start")
    func restart() throws {
        let server = try LoopbackServer()
        try server.client().call("SET", "k", "v")
        server.server.stop()
        let again = try Server(
            conf: server.conf, fileSystem: RealFileSystemForTests.shared,
            logger: RealFileSystemForTests.logger, onShutdown: {})
        defer { again.stop() }
        #expect(try LoopbackClient(port: again.port).call("GET", "k") == .bulk("v"))
    }
}
