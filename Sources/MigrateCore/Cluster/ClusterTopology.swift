/// A node of a Redis Cluster that has slots or could have some.
public struct ClusterNode: Sendable, Equatable {
    /// 40 hexadecimal digits.
    public var id: String
    /// Where clients reach it; empty = where it was asked.
    public var host: String
    /// The port of its clients.
    public var port: Int
    /// The master whose replica it is; nil = it is a master.
    public var masterID: String?
    /// The cluster takes it for dead, or does not know it yet.
    public var isFailing: Bool
    /// The slots that it serves.
    public var slots: [ClosedRange<Int>]
    /// Slots that it is giving away or taking over; only a node itself tells.
    public var moving: Set<Int>
}

/// Why a text is no topology.
public enum ClusterTopologyError: Error, Sendable, Equatable {
    /// A line of `CLUSTER NODES` that can't be read.
    case malformed(line: String)
}

/// Who serves which slot, as `CLUSTER NODES` tells it.
public struct ClusterTopology: Sendable, Equatable {
    /// Most nodes.
    public static let maxNodes = 2_000
    /// Fields of a line before its slots.
    private static let fixedFields = 8

    /// All nodes, in the order of their first slot, then of their names.
    public private(set) var nodes: [ClusterNode] = []
    /// The serving node's index by slot; -1 = nobody.
    private var owners = [Int](repeating: -1, count: SlotTags.slotCount)

    /// Nobody serves anything.
    public init() {}

    /// Reads the reply to `CLUSTER NODES`.
    public init(nodes text: String) throws(ClusterTopologyError) {
        for line in text.split(whereSeparator: \.isNewline) {
            self.nodes.append(try Self.node(line))
        }
        guard self.nodes.count <= Self.maxNodes else {
            throw .malformed(line: "\(self.nodes.count) nodes")
        }
        self.nodes.sort { left, right in
            let first = left.slots.first?.lowerBound ?? .max
            let second = right.slots.first?.lowerBound ?? .max
            return (first, left.id) < (second, right.id)
        }
        for (index, node) in self.nodes.enumerated() {
            for slot in node.slots.joined() { self.owners[slot] = index }
        }
    }

    /// The nodes that serve slots.
    public var masters: [ClusterNode] {
        self.nodes.filter { $0.masterID == nil && !$0.slots.isEmpty }
    }

    /// Slots that nobody serves.
    public var unservedCount: Int { self.owners.count { $0 < 0 } }

    /// Who serves a slot; nil = nobody.
    public func owner(_ slot: Int) -> ClusterNode? {
        self.owners[slot] < 0 ? nil : self.nodes[self.owners[slot]]
    }

    /// A node by its name.
    public func node(_ id: String) -> ClusterNode? { self.nodes.first { $0.id == id } }

    private static func node(_ line: Substring) throws(ClusterTopologyError) -> ClusterNode {
        let fields = line.split(separator: " ")
        guard fields.count >= Self.fixedFields else { throw .malformed(line: String(line)) }
        // ip:port@cport,hostname,… where the ip may be empty or of version 6.
        let address = fields[1].prefix { $0 != "@" && $0 != "," }
        guard let colon = address.lastIndex(of: ":"),
            let port = Int(address[address.index(after: colon)...]), (0...65_535).contains(port)
        else { throw .malformed(line: String(line)) }
        var host = address[..<colon]
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        var node = ClusterNode(
            id: String(fields[0]), host: String(host), port: port, masterID: nil,
            isFailing: false, slots: [], moving: [])
        let flags = Set(fields[2].split(separator: ",").map(String.init))
        node.isFailing = !flags.isDisjoint(with: ["fail", "handshake", "noaddr"])
        if flags.contains("slave") || flags.contains("replica") {
            node.masterID = String(fields[3])
        }
        for field in fields.dropFirst(Self.fixedFields) {
            if field.first == "[" {
                // [slot->-node] is given away, [slot-<-node] is taken over.
                guard let slot = Int(field.dropFirst().prefix { $0.isNumber }),
                    (0..<SlotTags.slotCount).contains(slot)
                else { throw .malformed(line: String(line)) }
                node.moving.insert(slot)
                continue
            }
            let ends = field.split(separator: "-").map { Int($0) }
            guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2,
                first >= 0, first <= last, last < SlotTags.slotCount
            else { throw .malformed(line: String(line)) }
            node.slots.append(first...last)
        }
        return node
    }
}
