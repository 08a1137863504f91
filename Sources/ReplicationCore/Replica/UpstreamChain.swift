public import SyncProtocol

/// The servers above a replica, as its master of ours tells them: how a ring is noticed (F23).
///
/// Each node announces itself and the nodes above it to its replicas, and again when they change.
/// Who finds itself above itself is part of a ring, in which nobody writes. A chain ends at a real
/// Pika, which tells nothing.
public struct UpstreamChain: Hashable, Sendable {
    /// The master first; empty when it is no peer of ours, or an older one.
    public private(set) var nodes: [UpstreamNode]

    /// Nobody above.
    public static let none = UpstreamChain(nodes: [])

    private init(nodes: [UpstreamNode]) { self.nodes = nodes }

    /// What a master said of itself.
    ///
    /// - Parameter master: what we follow it by.
    public init(master: ReplicaAddress, peer: PeerInfo?) {
        guard let peer, let id = peer.nodeID else {
            self = .none
            return
        }
        let nodes = [UpstreamNode(id: id, address: master)] + peer.upstreams
        self.nodes = Array(nodes.prefix(WireLimits.maxUpstreams))
    }

    /// The nodes from the master on to ourselves, if we are above ourselves.
    public func ring(through own: NodeID) -> [UpstreamNode]? {
        guard let index = self.nodes.firstIndex(where: { $0.id == own }) else { return nil }
        return Array(self.nodes[...index])
    }

    /// The chain without what lies behind ourselves: in a ring it would grow for ever.
    public func cut(at own: NodeID) -> UpstreamChain {
        self.ring(through: own).map { UpstreamChain(nodes: $0) } ?? self
    }

    /// Whether it is we who leave a ring that was closed somewhere else: one of its nodes does, and
    /// all of them find the same one.
    public static func leaves(_ own: NodeID, ring: [UpstreamNode]) -> Bool {
        ring.allSatisfy { own <= $0.id }
    }
}
