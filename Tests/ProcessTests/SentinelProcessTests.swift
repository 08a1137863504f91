import Glibc
import TestKit
import Testing

@Suite(
    "pika-migrate and Sentinels", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct SentinelProcessTests {
    /// A replica and a Sentinel beside a world's servers.
    private final class Watch {
        let replica: MigrateChild
        let sentinel: MigrateChild

        init(_ world: MigrateWorld) throws {
            let port = try LoopbackPorts.next()
            self.replica = try MigrateChild(
                MigrateWorld.redisServer,
                [
                    "--port", "\(port)", "--save", "", "--replicaof", "127.0.0.1",
                    "\(world.source.port)",
                ], directory: "\(world.directory)/replica", port: port)
            try self.replica.start()
            let own = try LoopbackPorts.next()
            let directory = "\(world.directory)/sentinel"
            self.sentinel = try MigrateChild(
                MigrateWorld.redisServer, ["\(directory)/sentinel.conf", "--sentinel"],
                directory: directory, port: own)
            let file = try #require(fopen("\(directory)/sentinel.conf", "w"))
            fputs(
                """
                port \(own)
                bind 127.0.0.1
                sentinel monitor main 127.0.0.1 \(world.source.port) 1
                sentinel down-after-milliseconds main 700
                sentinel failover-timeout main 3000

                """, file)
            fclose(file)
            try self.sentinel.start()
        }

        var url: String { "sentinel://127.0.0.1:\(self.sentinel.port)/main" }
    }

    private func field(_ name: String, _ client: BlockingClient, _ section: String) -> String? {
        guard case .bulk(let info?)? = client.call("INFO", section) else { return nil }
        return info.split(whereSeparator: \.isNewline)
            .first { $0.hasPrefix("\(name):") }.map { String($0.dropFirst(name.count + 1)) }
    }

    @Test("A failover of the source is followed without a new copy: nothing lost, nothing doubled")
    func failover() throws {
        // No pings: the replica must have every byte that we have, or it could not go on with us.
        let world = try MigrateWorld(sourceOptions: ["--repl-ping-replica-period", "3600"])
        let watch = try Watch(world)
        let master = try #require(BlockingClient(port: world.source.port))
        let replica = try #require(BlockingClient(port: watch.replica.port))
        let target = try #require(BlockingClient(port: world.target.port))
        func write(_ client: BlockingClient, _ numbers: Range<Int>) {
            for number in numbers {
                #expect(client.call("INCR", "count") == .integer(number + 1))
                #expect(client.call("RPUSH", "list", "\(number)") == .integer(number + 1))
            }
        }
        try world.wait("the replica") {
            self.field("master_link_status", replica, "replication") == "up"
        }
        try world.start("--set", "source.url=\(watch.url)")
        write(master, 0..<200)
        try world.waitUntilEqual(seconds: 30)
        write(master, 200..<300)
        let end = try #require(self.field("master_repl_offset", master, "replication"))
        try world.wait("the replica's last byte") {
            self.field("slave_repl_offset", replica, "replication") == end
        }
        // The Sentinel must know of the replica before it can choose it.
        let sentinel = try #require(BlockingClient(port: watch.sentinel.port))
        try world.wait("the Sentinel") {
            // We are in that list, too.
            guard case .array(let known?)? = sentinel.call("SENTINEL", "replicas", "main") else {
                return false
            }
            return "\(known)".contains(":\(watch.replica.port)\"")
        }
        world.source.kill()
        // A Sentinel that finds itself without time for a while does nothing for half a minute.
        try world.wait("the election", seconds: 120) {
            // The Sentinel cuts all clients of the one that it chooses.
            guard let client = BlockingClient(port: watch.replica.port) else { return false }
            return self.field("role", client, "replication") == "master"
        }
        let chosen = try #require(BlockingClient(port: watch.replica.port))
        write(chosen, 300..<500)
        try world.wait("the last write") { target.call("LLEN", "list") == .integer(500) }
        #expect(target.call("GET", "count") == .bulk("500"))
        #expect(MigrateWorld.contents(chosen) == MigrateWorld.contents(target))
        #expect(self.field("sync_full", chosen, "stats") == "0")
        #expect(world.tool.isRunning)
        world.tool.signal(SIGTERM)
        #expect(world.tool.waitForExit() == 0)
    }
}
