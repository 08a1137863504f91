import ReplicationCore
import SyncProtocol
import Testing

/// Servers that follow each other: sessions, and what passes between them in an order by chance.
private struct Rig {
    struct Node {
        var session: ReplicaSession?
        var announced = UpstreamChain.none
        /// Who has passed MetaSync here.
        var followers: Set<Int> = []
        var reports: [String] = []
    }

    var nodes: [Node]
    /// Events under way, first come first served per pair of servers.
    private var underWay: [(from: Int, to: Int, event: ReplicaSession.Event)] = []
    private var random: UInt64
    private let seed: UInt64

    init(_ count: Int, seed: UInt64 = 1) {
        self.seed = seed
        self.nodes = Array(repeating: Node(), count: count)
        self.random = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    }

    static func address(_ node: Int) -> ReplicaAddress {
        ReplicaAddress(host: "10.0.0.\(node)", port: 9221)
    }

    mutating func slaveOf(_ node: Int, _ master: Int) {
        if self.nodes[node].session?.configuration.master != Self.address(master) {
            var configuration = ReplicaSession.Configuration(
                master: Self.address(master), ownPort: 9221, databases: ["db0"])
            // Not in the order of the servers' numbers.
            configuration.nodeID = NodeID(rawValue: UInt64(node &* 7 % 5 + 1))
            self.nodes[node].session = ReplicaSession(configuration, now: seconds(0))
        }
        self.feed(node, .start(force: false))
    }

    mutating func slaveOfNoOne(_ node: Int) {
        self.feed(node, .stop)
        self.nodes[node].session = nil
    }

    mutating func feed(_ node: Int, _ event: ReplicaSession.Event, at time: Double = 0) {
        guard let directives = self.nodes[node].session?.handle(event, now: seconds(time)) else {
            return
        }
        for directive in directives { self.perform(directive, node) }
    }

    private func master(of node: Int) -> Int? {
        let address = self.nodes[node].session?.configuration.master
        return self.nodes.indices.first { Self.address($0) == address }
    }

    private mutating func perform(_ directive: ReplicaSession.Directive, _ node: Int) {
        guard let master = self.master(of: node) else { return }
        switch directive {
        case .connect:
            self.underWay.append((node, node, .connected(localHost: "10.0.0.\(node)")))
        case .send(.metaSync):
            self.nodes[master].followers.insert(node)
            self.answer(from: master, to: node)
        case .disconnect:
            self.nodes[master].followers.remove(node)
            self.underWay.removeAll { $0.from == master && $0.to == node }
        case .announce(let chain):
            self.nodes[node].announced = chain
            for follower in self.nodes[node].followers.sorted() {
                self.answer(from: node, to: follower)
            }
        case .report(_, let text):
            self.nodes[node].reports.append(text)
        case .send, .adopt, .readLocal, .discardCopy, .startCopy, .stopCopy, .beginFollowing,
            .apply:
            break
        }
    }

    private mutating func answer(from master: Int, to node: Int) {
        let peer = PeerInfo(
            nodeID: NodeID(rawValue: UInt64(master &* 7 % 5 + 1)),
            upstreams: self.nodes[master].announced.nodes)
        let info = MasterInfo(
            databases: [DatabaseInfo(name: "db0")], runID: runID("a"), peer: peer)
        self.underWay.append(
            (master, node, .response(.metaSync(MetaSyncResponse(status: .ok, master: info)))))
    }

    /// Delivers until nothing is under way.
    mutating func settle() {
        for _ in 0..<10_000 {
            guard !self.underWay.isEmpty else { return }
            self.random ^= self.random << 13
            self.random ^= self.random >> 7
            self.random ^= self.random << 17
            let chosen = self.underWay[Int(self.random % UInt64(self.underWay.count))]
            guard
                let index = self.underWay.firstIndex(where: {
                    $0.from == chosen.from && $0.to == chosen.to
                })
            else { continue }
            let next = self.underWay.remove(at: index)
            self.feed(next.to, next.event)
        }
        Issue.record("\(self.nodes.count) servers, SEED=\(self.seed): this does not end")
    }

    func link(_ node: Int) -> ReplicaSession.LinkState? { self.nodes[node].session?.link }

    func brokenNodes() -> [Int] { self.nodes.indices.filter { self.link($0) == .broken } }
}

@Suite("Rings of replicas (F23)")
struct RingTests {
    @Test("SLAVEOF that closes a ring of three is refused by name; the others go on")
    func closing() {
        var rig = Rig(3)
        rig.slaveOf(1, 0)
        rig.slaveOf(2, 1)
        rig.settle()
        #expect(rig.nodes[2].announced.nodes.map(\.address) == [Rig.address(1), Rig.address(0)])
        rig.slaveOf(0, 2)
        rig.settle()
        #expect(rig.brokenNodes() == [0])
        #expect(
            rig.nodes[0].session?.linkBrokenReason
                == .ring([Rig.address(2), Rig.address(1), Rig.address(0)]))
        #expect(
            rig.nodes[0].reports == [
                "the master follows this server: 10.0.0.2:9221 <- 10.0.0.1:9221 <- 10.0.0.0:9221"
                    + " is a ring, in which nobody writes; SLAVEOF NO ONE at one of them opens it"
            ])
        // Nothing was asked for: no look at what is here, so no copy and no change of it.
        #expect(rig.nodes[0].session?.state(of: "db0") == .needsMeta)
        #expect(rig.link(1) == .established && rig.link(2) == .established)
        #expect(rig.nodes[2].announced.nodes.map(\.address) == [Rig.address(1), Rig.address(0)])
    }

    @Test("SLAVEOF again is accepted once the ring is open")
    func opened() {
        var rig = Rig(3)
        rig.slaveOf(1, 0)
        rig.slaveOf(2, 1)
        rig.settle()
        rig.slaveOf(0, 2)
        rig.settle()
        rig.slaveOfNoOne(1)
        rig.settle()
        #expect(rig.nodes[2].announced.nodes.map(\.address) == [Rig.address(1)])
        rig.slaveOf(0, 2)
        rig.settle()
        #expect(rig.link(0) == .established)
        #expect(rig.nodes[0].announced.nodes.map(\.address) == [Rig.address(2), Rig.address(1)])
    }

    @Test("Servers that are told to follow each other at once: one of them leaves, in any order")
    func simultaneous() {
        for count in 1...5 {
            for seed in 1...300 as ClosedRange<UInt64> {
                var rig = Rig(count, seed: seed)
                for node in 0..<count { rig.slaveOf(node, (node + 1) % count) }
                rig.settle()
                #expect(rig.brokenNodes().count == 1, "SEED=\(seed), \(count) servers")
                for node in 0..<count where rig.link(node) != .broken {
                    #expect(rig.link(node) == .established)
                    #expect(rig.nodes[node].announced.nodes.count < count)
                }
            }
        }
    }

    @Test("A server below a ring waits for the ring's end and then knows the way up")
    func below() {
        for seed in 1...100 as ClosedRange<UInt64> {
            var rig = Rig(4, seed: seed)
            rig.slaveOf(3, 0)
            for node in 0..<3 { rig.slaveOf(node, (node + 1) % 3) }
            rig.settle()
            #expect(rig.link(3) == .established)
            let broken = rig.brokenNodes()
            #expect(broken.count == 1 && broken != [3], "SEED=\(seed)")
            let top = rig.nodes[3].announced.nodes.last?.address
            #expect(top == broken.first.map(Rig.address), "SEED=\(seed)")
        }
    }

    @Test("A ring that a lost connection closes as it comes back is noticed")
    func comesBack() {
        var rig = Rig(3)
        rig.slaveOf(1, 0)
        rig.slaveOf(2, 1)
        rig.settle()
        rig.feed(1, .disconnected("a cable"))
        rig.settle()
        #expect(rig.nodes[2].announced.nodes.map(\.address) == [Rig.address(1)])
        rig.slaveOf(0, 2)
        rig.settle()
        #expect(rig.link(0) == .established, "nothing says that it is a ring")
        rig.feed(1, .tick, at: 60)
        rig.settle()
        #expect(rig.brokenNodes() == [1])
    }

    @Test("A chain is told up to its limit, and ends at a master that tells nothing")
    func ends() {
        func peer(_ count: Int) -> PeerInfo {
            PeerInfo(
                nodeID: NodeID(rawValue: 1_000),
                upstreams: (0..<count).map {
                    UpstreamNode(id: NodeID(rawValue: UInt64($0)), address: Rig.address($0))
                })
        }
        let limit = WireLimits.maxUpstreams
        for (count, told) in [(0, 1), (limit - 1, limit), (limit, limit)] {
            let chain = UpstreamChain(master: Rig.address(9), peer: peer(count))
            #expect(chain.nodes.count == told)
            #expect(chain.nodes.first?.address == Rig.address(9))
        }
        #expect(UpstreamChain(master: Rig.address(9), peer: nil) == .none)
        #expect(UpstreamChain(master: Rig.address(9), peer: PeerInfo()) == .none)
    }
}
