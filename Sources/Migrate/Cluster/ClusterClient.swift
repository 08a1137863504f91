internal import MigrateCore
internal import RedisSync
internal import Synchronization

/// Connections to all masters of a cluster, and who serves which slot.
///
/// Requests go to the master that serves their slot; where that is in doubt they wait.
final class ClusterClient: Sendable {
    /// Between two looks at a cluster that is not ready, in milliseconds.
    static let pauseMilliseconds: Int64 = 50
    /// A slot that can't be written for so long ends the try, in milliseconds.
    static let patienceMilliseconds: Int64 = 30_000

    private struct State {
        var seeds: [RedisAddress]
        var topology = ClusterTopology()
        /// Where the topology was asked for: the host of nodes that do not know their own.
        var asked = ""
        /// The masters that were there at the beginning.
        var masters: Set<String> = []
        var connections: [String: RedisConnection] = [:]
        var isClosed = false
    }

    let endpoint: Endpoint
    private let state: Mutex<State>

    /// A client that has not looked yet; `known` are more addresses of nodes.
    init(_ endpoint: Endpoint, known: [RedisAddress] = []) {
        self.endpoint = endpoint
        let seeds = [endpoint.address] + endpoint.others
        self.state = Mutex(State(seeds: seeds + known.filter { !seeds.contains($0) }))
    }

    var topology: ClusterTopology { self.state.withLock { $0.topology } }

    /// Where all nodes listen that are known of.
    var addresses: [RedisAddress] {
        self.topology.nodes.filter { $0.port > 0 }.map { self.address($0) }
    }

    func address(_ node: ClusterNode) -> RedisAddress {
        let asked = self.state.withLock { $0.asked }
        return RedisAddress(host: node.host.isEmpty ? asked : node.host, port: node.port)
    }

    func endpoint(_ node: ClusterNode) -> Endpoint {
        var endpoint = self.endpoint
        endpoint.address = self.address(node)
        return endpoint
    }

    func close() {
        let open = self.state.withLock { state in
            state.isClosed = true
            defer { state.connections = [:] }
            return state.connections.values.map { $0 }
        }
        for connection in open { connection.close() }
    }

    // MARK: - Topology

    /// Asks the first node that answers who serves what.
    func refresh() async throws(RunError) {
        var troubles: [String] = []
        for address in self.addresses + self.state.withLock({ $0.seeds }) {
            var endpoint = self.endpoint
            endpoint.address = address
            do throws(RunError) {
                let connection = try await TargetServer.connect(endpoint)
                defer { connection.close() }
                let text = try await TargetServer.text(connection, ["CLUSTER", "NODES"])
                let found: ClusterTopology
                do throws(ClusterTopologyError) { found = try ClusterTopology(nodes: text) } catch {
                    throw .corrupt("\(address) answers CLUSTER NODES without sense: \(error)")
                }
                return self.take(found, from: address)
            } catch {
                guard error.isTransient else { throw error }
                troubles.append(error.description)
            }
        }
        throw .targetLost("no node of the cluster answers: \(troubles.joined(separator: "; "))")
    }

    private func take(_ topology: ClusterTopology, from address: RedisAddress) {
        self.state.withLock { state in
            state.topology = topology
            state.asked = address.host
            if state.masters.isEmpty { state.masters = Set(topology.masters.map(\.id)) }
        }
    }

    /// A master that was none at the beginning may lack the last writes of the one before it: what
    /// it has must be looked at anew.
    var hasNewMaster: Bool {
        self.state.withLock { state in
            !state.topology.masters.allSatisfy { state.masters.contains($0.id) }
        }
    }

    /// Looks again until every slot has a master.
    func waitUntilServed() async throws(RunError) {
        let deadline = systemMilliseconds() + Self.patienceMilliseconds
        while true {
            try await self.refresh()
            let missing = self.topology.unservedCount
            if missing == 0, !self.topology.masters.contains(where: \.isFailing) { return }
            guard systemMilliseconds() < deadline, !Task.isCancelled else {
                throw .targetLost("\(missing) slots of the cluster are served by nobody")
            }
            await Self.pause()
        }
    }

    static func pause() async { try? await Task.sleep(for: .milliseconds(Self.pauseMilliseconds)) }

    // MARK: - Requests

    /// Sends requests to a node.
    func send(
        _ node: ClusterNode, _ requests: [[[UInt8]]]
    ) async throws(RunError) -> [RedisReply] {
        let connection: RedisConnection
        if let open = self.state.withLock({ $0.connections[node.id] }) {
            connection = open
        } else {
            connection = try await TargetServer.connect(self.endpoint(node))
            let isClosed = self.state.withLock { state in
                state.connections[node.id] = connection
                return state.isClosed
            }
            if isClosed { connection.close() }
        }
        do throws(RedisConnectionError) {
            return try await connection.send(requests: requests)
        } catch {
            self.state.withLock { $0.connections[node.id] = nil }
            throw .targetLost("target \(self.address(node)): \(error)")
        }
    }

    /// Sends a request about a slot to whom it belongs.
    func send(slot: Int, _ words: [[UInt8]]) async throws(RunError) -> RedisReply {
        let deadline = systemMilliseconds() + Self.patienceMilliseconds
        while true {
            if let node = self.topology.owner(slot) {
                let reply = try await self.send(node, [words]).first ?? .null
                guard let failure = reply.failure, Self.isPassing(failure) else { return reply }
            }
            guard systemMilliseconds() < deadline, !Task.isCancelled else {
                throw .targetLost("slot \(slot) of the cluster can't be used")
            }
            await Self.pause()
            try await self.refresh()
        }
    }

    /// An error that passes when a slot has moved or a master was elected; nothing was carried out.
    static func isPassing(_ failure: String) -> Bool {
        ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN"].contains {
            failure.hasPrefix($0)
        }
    }
}
