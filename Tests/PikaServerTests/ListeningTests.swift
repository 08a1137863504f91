import Glibc
import Testing

@testable import PikaServer

@Suite("Clients that listen, over loopback", .serialized)
struct ListeningTests {
    @Test("Messages of publishers on other loops come in each publisher's order")
    func order() throws {
        let server = try LoopbackServer("command-loops : 3")
        let listeners = try (0..<3).map { _ in try server.client() }
        for listener in listeners {
            #expect(
                listener.call("SUBSCRIBE", "news")
                    == .array([.bulk("subscribe"), .bulk("news"), .integer(1)]))
        }
        let publishers = try (0..<3).map { _ in try server.client() }
        let count = 300
        for (number, publisher) in publishers.enumerated() {
            publisher.send(
                (0..<count).map { LoopbackClient.encode(["PUBLISH", "news", "\(number) \($0)"]) }
                    .joined())
        }
        for publisher in publishers {
            for _ in 0..<count { #expect(publisher.read() == .integer(listeners.count)) }
        }
        for listener in listeners {
            var next = [0, 0, 0]
            for _ in 0..<count * publishers.count {
                guard case .array(let parts) = listener.read(), parts.count == 3,
                    case .bulk(let text?) = parts[2]
                else {
                    Issue.record("no message")
                    return
                }
                let words = text.split(separator: " ").compactMap { Int($0) }
                #expect(words.count == 2 && words[1] == next[words[0]])
                next[words[0]] += 1
            }
        }
    }

    @Test("A listener that takes nothing is closed at the hard limit; others go on")
    func hardLimit() throws {
        let server = try LoopbackServer("client-output-buffer-limit : pubsub 1M 0 0")
        let lazy = try server.client()
        lazy.call("SUBSCRIBE", "news")
        let publisher = try server.client()
        let message = String(repeating: "x", count: 100_000)
        var reached = 1
        for _ in 0..<500 where reached > 0 {
            guard case .integer(let number) = publisher.call("PUBLISH", "news", message) else {
                break
            }
            reached = number
        }
        #expect(reached == 0)
        #expect(publisher.call("PING") == .simple("PONG"))
        #expect(
            publisher.call("CONFIG", "GET", "client-output-buffer-limit")
                == .array([.bulk("client-output-buffer-limit"), .bulk("pubsub 1048576 0 0")]))
        #expect(
            publisher.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")
                == .simple("OK"))
        guard case .error = publisher.call("CONFIG", "SET", "client-output-buffer-limit", "x")
        else {
            Issue.record("a wrong limit was taken")
            return
        }
    }

    @Test(
        "INFO shows times in microseconds, CONFIG RESETSTAT begins anew, SLOWLOG follows CONFIG SET"
    )
    func figures() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        for _ in 0..<10 { client.call("SET", "k", "v") }
        let text = client.info("commandstats", "set")
        #expect(text?.hasPrefix("calls=10, usec=") == true)
        let line = client.info("commandstats", "cmdstat_set") ?? ""
        #expect(line.wholeMatch(of: /calls=10,usec=\d+,usec_per_call=[\d.]+/) != nil)
        client.call("CONFIG", "RESETSTAT")
        #expect(client.info("commandstats", "set") == nil)
        client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
        client.call("GET", "k")
        client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        #expect(client.info("stats", "slow_logs_count") == "2")
        #expect(client.call("SLOWLOG", "RESET") == .simple("OK"))
        #expect(client.call("SLOWLOG", "LEN") == .integer(0))
        // More than a loop may do: begun there, executed on the pool.
        client.send(LoopbackClient.encode(["SADD", "big"] + (0..<1500).map { "m\($0)" }))
        #expect(client.read() == .integer(1500))
        client.call("SMEMBERS", "big")
        #expect(client.info("commandstats", "smembers")?.hasPrefix("calls=1, usec=") == true)
    }

    @Test("notify-keyspace-events: set at the start and live, and keys that die are told of")
    func keyspaceEvents() throws {
        let server = try LoopbackServer("notify-keyspace-events : xEg")
        let client = try server.client()
        #expect(
            client.call("CONFIG", "GET", "notify-keyspace-events")
                == .array([.bulk("notify-keyspace-events"), .bulk("gxE")]))
        let listener = try server.client()
        _ = listener.call("PSUBSCRIBE", "__key*")
        func read() -> [String] {
            guard case .array(let parts) = listener.read() else { return [] }
            return parts.dropFirst(2).map { if case .bulk(let text?) = $0 { text } else { "" } }
        }
        client.call("SET", "k", "v", "PX", "100")
        #expect(client.info("stats", "notify_deadlines") == "1")
        #expect(read() == ["__keyevent@0__:expire", "k"])
        #expect(read() == ["__keyevent@0__:expired", "k"])
        #expect(client.info("stats", "notify_deadlines") == "0")
        #expect(
            client.call("CONFIG", "SET", "notify-keyspace-events", "Kz?")
                == .error(
                    "ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events')"
                        + " - Invalid event class character. Use 'Ag$lshzxeKEtmdn'."))
        #expect(client.call("CONFIG", "SET", "notify-keyspace-events", "zK") == .simple("OK"))
        client.call("SET", "k", "v", "EX", "1")
        client.call("ZADD", "z", "1", "m")
        #expect(read() == ["__keyspace@0__:z", "zadd"])
        #expect(client.info("stats", "notify_deadlines") == "0")
    }
}
