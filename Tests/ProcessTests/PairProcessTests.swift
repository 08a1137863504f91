import Glibc
import Testing

/// A master and a replica as processes: provisioned, killed half-way, resumed, verified, followed.
@Suite("A pair of servers", .serialized)
struct PairProcessTests {
    private static let keyCount = 6_000

    private func value(_ number: Int) -> String {
        var state = UInt64(number) &* 0x9E37_79B9_7F4A_7C15 &+ 1
        var text = ""
        for _ in 0..<64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            text += String(state, radix: 36)
        }
        return text
    }

    private func load(_ port: Int) throws {
        let client = try #require(BlockingClient(port: port))
        for start in stride(from: 0, to: Self.keyCount, by: 100) {
            for number in start..<start + 100 {
                #expect(client.send(["SET", "key:\(number)", value(number)]))
            }
            for _ in 0..<100 { #expect(client.receive() == .text("OK")) }
        }
    }

    /// The lines of INFO replication.
    private func info(_ port: Int) -> [String: String] {
        guard let client = BlockingClient(port: port),
            case .bulk(let text?) = client.call("INFO", "replication")
        else { return [:] }
        var found: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { found[String(parts[0])] = String(parts[1]) }
        }
        return found
    }

    private func wait(
        seconds: Int = 60, _ condition: () -> Bool
    ) -> Bool {
        for _ in 0..<seconds * 20 {
            if condition() { return true }
            usleep(50_000)
        }
        return condition()
    }

    private func bytes(_ replica: PikaProcess, _ name: String) -> Int {
        Int(info(replica.port)[name] ?? "") ?? 0
    }

    private func follows(_ replica: PikaProcess) -> Bool {
        info(replica.port)["master_link_status"] == "up"
    }

    private func differences(_ replica: PikaProcess) throws -> Int {
        let client = try #require(BlockingClient(port: replica.port))
        var count = 0
        for number in 0..<Self.keyCount
        where client.call("GET", "key:\(number)") != .bulk(value(number)) {
            count += 1
        }
        return count
    }

    private func passes(_ word: String, from master: PikaProcess, to replica: PikaProcess) -> Bool {
        guard let client = BlockingClient(port: master.port),
            client.call("SET", "live", word) == .text("OK")
        else { return false }
        return wait {
            BlockingClient(port: replica.port)?.call("GET", "live") == .bulk(word)
        }
    }

    @Test("C2, C3: kill -9 of the replica in mid-copy, resume, verify; then kill -9 of the master")
    func provision() throws {
        let master = try PikaProcess()
        try master.start()
        try load(master.port)
        let replica = try PikaProcess(["throttle-bytes-per-second : 1000000"])
        try replica.start()
        let client = try #require(BlockingClient(port: replica.port))
        #expect(client.call("SLAVEOF", "127.0.0.1", "\(master.port)") == .text("OK"))
        #expect(wait { bytes(replica, "sync_bytes_done") > 1_500_000 }, "\(info(replica.port))")
        #expect(info(replica.port)["is_eligible_for_master_election"] == "false")
        if case .error(let text) = client.call("SLAVEOF", "NO", "ONE") {
            #expect(text.contains("unfinished"))
        } else {
            Issue.record("half a copy was promoted")
        }
        replica.kill()

        // It remembers its master; nothing in the settings names it.
        try replica.start()
        #expect(wait { bytes(replica, "sync_bytes_resumed") >= 1_000_000 })
        let again = try #require(BlockingClient(port: replica.port))
        #expect(
            again.call("CONFIG", "SET", "throttle-bytes-per-second", "100000000") == .text("OK"))
        #expect(wait { follows(replica) }, "\(info(replica.port))\n\(replica.log)")
        #expect(bytes(replica, "sync_bytes_sent_twice") < 600_000)
        #expect(try differences(replica) == 0)
        #expect(passes("one", from: master, to: replica))

        master.kill()
        try master.start()
        #expect(passes("two", from: master, to: replica), "\(replica.log)")
        replica.kill()
        try replica.start()
        #expect(passes("three", from: master, to: replica), "\(replica.log)")
        #expect(try differences(replica) == 0)
    }

    @Test("F23: SLAVEOF of a server that follows this one is refused, both go on, and WAIT counts")
    func ring() throws {
        let master = try PikaProcess()
        try master.start()
        let replica = try PikaProcess()
        try replica.start()
        let client = try #require(BlockingClient(port: replica.port))
        #expect(client.call("SLAVEOF", "127.0.0.1", "\(master.port)") == .text("OK"))
        #expect(wait { follows(replica) }, "\(info(replica.port))")
        #expect(wait { info(master.port)["connected_slaves"] == "1" }, "\(info(master.port))")
        let other = try #require(BlockingClient(port: master.port))
        for host in ["127.0.0.1", "localhost"] {
            if case .error(let text) = other.call("SLAVEOF", host, "\(replica.port)") {
                #expect(text.contains("\(replica.port) follows this server"), "\(text)")
            } else {
                Issue.record("a ring of \(host)")
            }
        }
        #expect(passes("still", from: master, to: replica))
        // WAIT counts the replica once it has on its disk what was written, and nobody else.
        #expect(other.call("SET", "waited", "for") == .text("OK"))
        #expect(other.call("WAIT", "1", "60000") == .integer(1))
        #expect(other.call("WAIT", "2", "50") == .integer(1))
    }

    @Test("F23: a ring of three servers is refused by the one that would close it, with its data")
    func ringOfThree() throws {
        let servers = try (0..<3).map { _ in try PikaProcess() }
        for server in servers { try server.start() }
        let top = servers[0]
        let clients = try servers.map { try #require(BlockingClient(port: $0.port)) }
        for (replica, master) in [(1, 0), (2, 1)] {
            let reply = clients[replica].call("SLAVEOF", "127.0.0.1", "\(servers[master].port)")
            #expect(reply == .text("OK"))
            #expect(wait { follows(servers[replica]) }, "\(info(servers[replica].port))")
        }
        #expect(passes("before", from: top, to: servers[2]))
        let chain = "127.0.0.1:\(servers[1].port),127.0.0.1:\(top.port)"
        #expect(wait { info(servers[2].port)["master_chain"] == chain })
        #expect(clients[0].call("SLAVEOF", "127.0.0.1", "\(servers[2].port)") == .text("OK"))
        #expect(wait { info(top.port)["master_link_state"] == "broken" }, "\(info(top.port))")
        let reason = info(top.port)["last_sync_failure"] ?? ""
        #expect(reason.contains("\(servers[2].port) <- ") && reason.contains("ring"), "\(reason)")
        #expect(clients[0].call("GET", "live") == .bulk("before"))
        #expect(clients[0].call("SLAVEOF", "NO", "ONE") == .text("OK"))
        #expect(passes("after", from: top, to: servers[2]), "\(servers[1].log)")
    }
}
