import Glibc
import TestKit
import Testing

/// pika-migrate and a Redis Cluster of this machine: three masters, and replicas where they are
/// needed.
@Suite(
    "pika-migrate and a Redis Cluster", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct ClusterProcessTests {
    /// Commands none of which may be lost or carried out twice; many with keys in several slots.
    private func write(_ client: BlockingClient, _ number: Int) {
        let commands: [[String]] = [
            ["INCR", "count:\(number % 7)"], ["RPUSH", "list:\(number % 5)", "\(number)"],
            ["ZINCRBY", "scores", "1", "m\(number % 11)"],
            ["RPOPLPUSH", "list:\(number % 5)", "list:\((number + 1) % 5)"],
            ["MSET", "a:\(number % 13)", "\(number)", "b:\(number % 17)", "\(number)"],
            ["DEL", "a:\((number + 3) % 13)", "b:\((number + 5) % 17)"],
            ["MULTI"], ["INCR", "tx:1"], ["INCR", "tx:2"], ["HINCRBY", "h{tx:1}", "f", "1"],
            ["EXEC"],
        ]
        for command in commands { #expect(client.send(command)) }
        for _ in commands { _ = client.receive() }
    }

    @Test(
        "A cluster as the target: kills, slots on the move and a failover lose and double nothing",
        .timeLimit(.minutes(4)))
    func target() throws {
        let world = try ClusterWorld(masters: 3, replicasOfFirst: 1)
        let source = try world.server()
        let client = try #require(BlockingClient(port: source.port))
        for number in 0..<100 { self.write(client, number) }
        // Longer than what a script may unpack.
        let long = ["RPUSH", "long"] + (0..<5_000).map { "\($0)" }
        #expect(client.send(long) && client.receive() == .integer(5_000))
        var tool = try world.tool(
            from: "redis://127.0.0.1:\(source.port)", to: world.url, directory: "job")
        try world.waitUntilEqual([source.port], world.masters.map(\.port), tool)

        for number in 100..<400 {
            self.write(client, number)
            if number % 100 == 17 {
                tool.kill()
                tool = try world.tool(
                    from: "redis://127.0.0.1:\(source.port)", to: world.url, directory: "job")
            }
            if number % 60 == 31 {
                #expect(client.send(long) && client.receive() != nil)
                try world.moveSlot(of: "count:\(number / 60)")
                try world.moveSlot(of: "list:\(number / 60 % 5)")
            }
        }
        try world.waitUntilEqual([source.port], world.masters.map(\.port), tool)

        let first = world.masters[0]
        first.kill()
        for number in 400..<500 { self.write(client, number) }
        let ports = world.replicas.map(\.port) + world.masters.dropFirst().map(\.port)
        try world.waitUntilEqual([source.port], ports, tool)
        #expect(client.call("FLUSHALL") == .text("OK"))
        for number in 500..<520 { self.write(client, number) }
        try world.waitUntilEqual([source.port], ports, tool)
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
    }

    @Test(
        "A cluster as the source: kills, slots on the move and a failover lose and double nothing",
        .timeLimit(.minutes(4)))
    func source() throws {
        let world = try ClusterWorld(masters: 3, replicasOfFirst: 1)
        let target = try world.server()
        for number in 0..<60 { self.write(world, number) }
        let to = "redis://127.0.0.1:\(target.port)"
        var tool = try world.tool(from: world.url, to: to, directory: "job")
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        for number in 60..<240 {
            self.write(world, number)
            if number % 60 == 17 {
                tool.kill()
                tool = try world.tool(from: world.url, to: to, directory: "job")
            }
            if number % 40 == 31 {
                try world.moveSlot(of: "count:\(number / 40)")
                try world.moveSlot(of: "a:\(number / 40)")
                self.write(world, number)
                // What it knew of the move is gone, and its checkpoint lies behind it.
                usleep(150_000)
                tool.kill()
                tool = try world.tool(from: world.url, to: to, directory: "job")
            }
        }
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        // The other masters' keys stay.
        let last = try #require(BlockingClient(port: world.masters[2].port))
        #expect(last.call("FLUSHALL") == .text("OK"))
        self.write(world, 240)
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)

        let first = world.masters[0]
        try world.waitForReplicas()
        first.kill()
        try world.waitUntilServed()
        for number in 240..<300 { self.write(world, number) }
        let ports = world.replicas.map(\.port) + world.masters.dropFirst().map(\.port)
        try world.waitUntilEqual(ports, [target.port], tool)
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
    }

    /// The same kind of commands, each to the master of its key.
    private func write(_ world: ClusterWorld, _ number: Int) {
        let commands: [[String]] = [
            ["INCR", "count:\(number % 7)"], ["RPUSH", "list:\(number % 5)", "\(number)"],
            ["ZINCRBY", "scores", "1", "m\(number % 11)"],
            ["RPOPLPUSH", "{l}\(number % 5)", "{l}\((number + 1) % 5)"],
            ["RPUSH", "{l}\(number % 5)", "\(number)"], ["SET", "a:\(number % 13)", "\(number)"],
            ["DEL", "a:\((number + 3) % 13)"], ["HINCRBY", "h", "f", "1"],
        ]
        for command in commands {
            if case .error(let text)? = world.call(command) { Issue.record("\(command): \(text)") }
        }
    }

    @Test(
        "A shard that joins a cluster while it is followed: its keys come, and nothing is doubled",
        .timeLimit(.minutes(3)))
    func newShard() throws {
        let world = try ClusterWorld(masters: 2, replicasOfFirst: 0)
        let target = try world.server()
        for number in 0..<40 { self.write(world, number) }
        let to = "redis://127.0.0.1:\(target.port)"
        var tool = try world.tool(from: world.url, to: to, directory: "job")
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        let old = world.url
        let added = try world.addMaster()
        for number in 40..<200 {
            self.write(world, number)
            if number % 20 == 7 {
                for key in ["count:\(number / 20 % 7)", "list:\(number / 20 % 5)", "scores"] {
                    try world.moveSlot(of: key, to: added)
                }
            }
            if number == 110 {
                tool.kill()
                tool = try world.tool(from: old, to: to, directory: "job")
            }
        }
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        #expect(tool.isRunning, "\(tool.logTail)")
        // The others' keys stay when it is emptied.
        let last = try #require(BlockingClient(port: world.masters[added].port))
        #expect(last.call("FLUSHALL") == .text("OK"))
        self.write(world, 200)
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
    }

    @Test(
        "A shard that comes back with a history of its own is copied anew; the others only go on",
        .timeLimit(.minutes(3)))
    func newHistoryOfShard() throws {
        let world = try ClusterWorld(masters: 3, replicasOfFirst: 0)
        let target = try world.server()
        for number in 0..<60 { self.write(world, number) }
        let to = "redis://127.0.0.1:\(target.port)"
        var tool = try world.tool(from: world.url, to: to, directory: "job")
        try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        // Nothing of it is on a disk: it comes back empty, and counts from 0.
        let last = world.masters[2]
        for round in 0..<2 {
            last.kill()
            try last.start()
            try world.waitUntilServed()
            for number in 60 * (round + 1)..<60 * (round + 2) {
                self.write(world, number)
                if number % 60 == 20 {
                    tool.kill()
                    tool = try world.tool(from: world.url, to: to, directory: "job")
                }
            }
            try world.waitUntilEqual(world.masters.map(\.port), [target.port], tool)
        }
        // The others gave one copy each, at the beginning.
        for node in world.masters.prefix(2) {
            let client = try #require(BlockingClient(port: node.port))
            guard case .bulk(let info?)? = client.call("INFO", "stats") else {
                throw ProcessFailure(text: "no INFO")
            }
            #expect(info.contains("sync_full:1\r\n"), "\(info)")
        }
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
    }

    @Test("A second instance fences the first one off in every slot", .timeLimit(.minutes(2)))
    func fencing() throws {
        let world = try ClusterWorld(masters: 2, replicasOfFirst: 0)
        let source = try world.server()
        let client = try #require(BlockingClient(port: source.port))
        self.write(client, 1)
        let from = "redis://127.0.0.1:\(source.port)"
        let tool = try world.tool(from: from, to: world.url, directory: "job")
        try world.waitUntilEqual([source.port], world.masters.map(\.port), tool)
        let other = try world.tool(
            from: from, to: world.url, directory: "other",
            ["--set", "target.on-nonempty=merge"])
        #expect(tool.waitForExit() == 7, "\(tool.log)")
        other.kill()
    }
}

/// A cluster on the loopback, other servers beside it, and the tool between them.
final class ClusterWorld {
    private static let slotCount = 16_384

    private(set) var masters: [MigrateChild] = []
    private(set) var replicas: [MigrateChild] = []
    private var children: [MigrateChild] = []
    private var clients: [Int: BlockingClient] = [:]
    private let directory: String

    /// Nodes that share the slots evenly; the first master has replicas.
    init(masters: Int, replicasOfFirst: Int) throws {
        var template = Array("/tmp/pika-migrate-cluster-XXXXXX".utf8CString)
        self.directory = String(cString: try #require(mkdtemp(&template)))
        for _ in 0..<masters { self.masters.append(try self.node()) }
        for _ in 0..<replicasOfFirst { self.replicas.append(try self.node()) }
        let nodes = self.masters + self.replicas
        for (index, node) in self.masters.enumerated() {
            let first = Self.slotCount * index / masters
            let last = Self.slotCount * (index + 1) / masters - 1
            try self.order(node, "ADDSLOTSRANGE", "\(first)", "\(last)")
            try self.order(node, "SET-CONFIG-EPOCH", "\(index + 1)")
        }
        for node in nodes.dropFirst() {
            try self.order(nodes[0], "MEET", "127.0.0.1", "\(node.port)", "\(Self.bus(node.port))")
        }
        try self.wait("a whole cluster") {
            nodes.allSatisfy { node in
                guard case .bulk(let state?) = self.ask(node, "CLUSTER", "INFO") else {
                    return false
                }
                return state.contains("cluster_state:ok")
                    && state.contains("cluster_known_nodes:\(nodes.count)")
            }
        }
        for replica in self.replicas { try self.attach(replica) }
    }

    /// Lets another master without slots join; returns its place among them.
    func addMaster() throws -> Int {
        let node = try self.node()
        try self.order(node, "SET-CONFIG-EPOCH", "\(self.masters.count + 1)")
        self.masters.append(node)
        let first = self.masters[0]
        try self.order(first, "MEET", "127.0.0.1", "\(node.port)", "\(Self.bus(node.port))")
        let count = self.masters.count + self.replicas.count
        try self.wait("the new node") {
            (self.masters + self.replicas).allSatisfy { other in
                guard case .bulk(let state?) = self.ask(other, "CLUSTER", "INFO") else {
                    return false
                }
                return state.contains("cluster_state:ok")
                    && state.contains("cluster_known_nodes:\(count)")
            }
        }
        return self.masters.count - 1
    }

    /// Sends a command to the master of its key.
    func call(_ words: [String]) -> BlockingClient.Reply? {
        var last: BlockingClient.Reply?
        for node in self.masters + self.replicas {
            guard let client = self.client(node), client.send(words) else { continue }
            last = client.receive()
            if case .error(let text)? = last, text.hasPrefix("MOVED") { continue }
            if last != nil { return last }
        }
        return last
    }

    /// A connection to a node, the same one as before if it lives.
    private func client(_ node: MigrateChild) -> BlockingClient? {
        if let client = self.clients[node.port], client.call("PING") == .text("PONG") {
            return client
        }
        self.clients[node.port] = BlockingClient(port: node.port)
        return self.clients[node.port]
    }

    /// Waits until what was written is at the replicas.
    func waitForReplicas() throws {
        for master in self.masters.prefix(self.replicas.isEmpty ? 0 : 1) {
            let client = try #require(self.client(master))
            guard case .integer(let count)? = client.call("WAIT", "1", "30000"), count > 0 else {
                throw ProcessFailure(text: "a replica does not follow")
            }
        }
    }

    /// Waits until a replica has taken the place of a master that is gone.
    func waitUntilServed() throws {
        try self.wait("an election") {
            self.replicas.allSatisfy { node in
                guard case .bulk(let state?) = self.ask(node, "CLUSTER", "INFO"),
                    case .bulk(let info?) = self.ask(node, "INFO", "replication")
                else { return false }
                return state.contains("cluster_state:ok") && info.contains("role:master")
            }
                && self.masters.dropFirst().allSatisfy { node in
                    guard case .bulk(let state?) = self.ask(node, "CLUSTER", "INFO") else {
                        return false
                    }
                    return state.contains("cluster_state:ok")
                }
        }
    }

    private func attach(_ replica: MigrateChild) throws {
        try self.order(replica, "REPLICATE", self.id(self.masters[0]))
        try self.wait("a replica") {
            guard case .bulk(let info?) = self.ask(replica, "INFO", "replication") else {
                return false
            }
            return info.contains("master_link_status:up")
        }
    }

    deinit {
        for child in self.children { child.kill() }
        _ = PikaProcess.spawn(
            "/bin/rm", ["-rf", self.directory], directory: "/", output: "dev/null"
        ).map(PikaProcess.wait)
    }

    /// How the cluster is called as a source or target.
    var url: String {
        "redis-cluster://" + self.masters.map { "127.0.0.1:\($0.port)" }.joined(separator: ",")
    }

    private static func bus(_ port: Int) -> Int { port + 10_001 }

    private func node() throws -> MigrateChild {
        let port = try LoopbackPorts.next()
        return try self.start(
            [
                "--cluster-enabled", "yes", "--cluster-port", "\(Self.bus(port))",
                "--cluster-node-timeout", "2000",
            ], port)
    }

    /// A server of its own; settings may name ports beside that of its clients.
    func server(_ settings: (Int) -> [String] = { _ in [] }) throws -> MigrateChild {
        let port = try LoopbackPorts.next()
        return try self.start(settings(port), port)
    }

    /// A place in the world's directory.
    func path(_ name: String) -> String { "\(self.directory)/\(name)" }

    private func start(_ settings: [String], _ port: Int) throws -> MigrateChild {
        let child = try MigrateChild(
            MigrateWorld.redisServer,
            ["--port", "\(port)", "--save", "", "--repl-diskless-sync-delay", "0"] + settings,
            directory: "\(self.directory)/\(port)", port: port)
        self.children.append(child)
        try child.start()
        return child
    }

    /// Starts the tool.
    func tool(
        from: String, to: String, directory: String, _ more: [String] = []
    ) throws -> MigrateChild {
        let child = try MigrateChild(
            PikaProcess.executable + "-migrate",
            [
                "run", "--from", from, "--to", to, "--dir", self.path(directory), "--set",
                "checkpoint.interval=50",
            ] + more, directory: self.path("\(directory).log"), port: nil)
        self.children.append(child)
        try child.launch()
        return child
    }

    // MARK: - Orders

    private func ask(_ node: MigrateChild, _ words: String...) -> BlockingClient.Reply? {
        guard let client = BlockingClient(port: node.port), client.send(words) else { return nil }
        return client.receive()
    }

    private func order(_ node: MigrateChild, _ words: String...) throws {
        let client = try #require(BlockingClient(port: node.port))
        #expect(client.send(["CLUSTER"] + words) && client.receive() == .text("OK"), "\(words)")
    }

    private func id(_ node: MigrateChild) throws -> String {
        guard case .bulk(let id?) = self.ask(node, "CLUSTER", "MYID") else {
            throw ProcessFailure(text: "a node does not say its name")
        }
        return id
    }

    private func wait(_ what: String, _ isDone: () -> Bool) throws {
        for _ in 0..<1_200 {
            if isDone() { return }
            usleep(50_000)
        }
        throw ProcessFailure(text: "waited in vain for \(what)")
    }

    /// Gives the slot of a key from the master that has it to the next one, or to one by its place.
    func moveSlot(of key: String, to place: Int? = nil) throws {
        guard case .integer(let slot)? = self.ask(self.masters[0], "CLUSTER", "KEYSLOT", key),
            let index = self.masters.firstIndex(where: { self.has(slot, $0) })
        else { throw ProcessFailure(text: "nobody has the slot of \(key)") }
        let giver = self.masters[index]
        guard index != place else { return }
        let taker = self.masters[place ?? (index + 1) % self.masters.count]
        let name = try self.id(taker)
        try self.order(taker, "SETSLOT", "\(slot)", "IMPORTING", self.id(giver))
        try self.order(giver, "SETSLOT", "\(slot)", "MIGRATING", name)
        let client = try #require(BlockingClient(port: giver.port))
        while case .array(let keys?) = client.call("CLUSTER", "GETKEYSINSLOT", "\(slot)", "100"),
            !keys.isEmpty
        {
            let names = keys.compactMap { if case .bulk(let name?) = $0 { name } else { nil } }
            let words = ["MIGRATE", "127.0.0.1", "\(taker.port)", "", "0", "5000", "KEYS"] + names
            #expect(client.send(words) && client.receive() == .text("OK"))
        }
        for node in [taker, giver] { try self.order(node, "SETSLOT", "\(slot)", "NODE", name) }
    }

    /// Whether a master serves a slot: it says MOVED or CROSSSLOT to none of its keys.
    private func has(_ slot: Int, _ node: MigrateChild) -> Bool {
        guard case .bulk(let text?) = self.ask(node, "CLUSTER", "NODES") else { return false }
        return text.split(separator: "\n").contains { line in
            let fields = line.split(separator: " ")
            return fields.count > 8 && fields[2].contains("myself")
                && fields.dropFirst(8).contains { field in
                    let ends = field.split(separator: "-").compactMap { Int($0) }
                    return ends.count == 1 && ends[0] == slot && !field.contains("[")
                        || ends.count == 2 && (ends[0]...ends[1]).contains(slot)
                }
        }
    }

    // MARK: - Comparison

    /// Waits until the servers of both sides have the same keys with the same values together.
    func waitUntilEqual(_ source: [Int], _ target: [Int], _ tool: MigrateChild) throws {
        for _ in 0..<600 {
            if Self.contents(source) == Self.contents(target) { return }
            usleep(100_000)
        }
        let differences = MigrateWorld.differences(Self.contents(source), Self.contents(target))
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))\n\(tool.logTail)")
    }

    static func contents(_ ports: [Int]) -> [String: String] {
        var found: [String: String] = [:]
        for port in ports {
            guard let client = BlockingClient(port: port) else { return ["server": "gone"] }
            found.merge(MigrateWorld.contents(client)) { "twice: \($0), \($1)" }
        }
        return found
    }
}
