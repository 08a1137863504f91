internal import FileIO
internal import MigrateCore

/// Which nodes make up which shard of a source: the job's numbers outlive elections.
struct ShardList: Sendable, Equatable {
    /// Most shards.
    static let maxShards = 1_000
    /// Longest file, in bytes.
    private static let maxBytes = 1 << 20
    private static let format = SealedFile(kind: "PKMIGSHD", version: 1, limitBytes: maxBytes)

    /// The names of each shard's nodes, by the shard's number.
    private(set) var nodes: [Int: Set<String>] = [:]

    var numbers: [Int] { self.nodes.keys.sorted() }

    /// The shard that a node belongs to.
    func number(of id: String) -> Int? { self.nodes.first { $0.value.contains(id) }?.key }

    /// Takes over who is whose replica; masters that belong to no shard are new ones.
    mutating func update(_ topology: ClusterTopology) throws(SourceError) {
        for master in topology.masters {
            let replicas = topology.nodes.filter { $0.masterID == master.id }.map(\.id)
            let number = self.number(of: master.id) ?? (self.nodes.keys.max() ?? -1) + 1
            guard number < Self.maxShards else {
                throw .unsupported("a cluster of more than \(Self.maxShards) shards")
            }
            // A node that changed sides belongs to its new master's shard.
            for other in self.nodes.keys { self.nodes[other]?.subtract(replicas) }
            self.nodes[number, default: []].formUnion([master.id] + replicas)
        }
    }

    /// The master of a shard, with slots or without; nil = there is none now.
    func master(_ number: Int, _ topology: ClusterTopology) -> ClusterNode? {
        topology.nodes.first {
            $0.masterID == nil && !$0.isFailing && self.nodes[number]?.contains($0.id) == true
        }
    }

    // MARK: - File

    static func read(_ path: String, _ files: any FileSystem) throws(SourceError) -> ShardList {
        var list = ShardList()
        let bytes: [UInt8]?
        do throws(FileError) {
            bytes = try files.readFile(path, limitBytes: Self.maxBytes)
        } catch { throw .io("\(error)") }
        guard let bytes else { return list }
        guard let payload = try? Self.format.decode(bytes) else {
            throw .corrupt("\(path) is damaged")
        }
        for line in String(decoding: payload.payload, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard let number = words.first.flatMap({ Int($0) }), number >= 0 else {
                throw .corrupt("\(path) is damaged")
            }
            list.nodes[number] = Set(words.dropFirst())
        }
        return list
    }

    func write(_ path: String, _ files: any FileSystem) throws(SourceError) {
        let lines = self.numbers.map { number in
            ([String(number)] + (self.nodes[number] ?? []).sorted()).joined(separator: " ")
        }
        do {
            try files.writeAtomically(
                path, Self.format.encode(Array(lines.joined(separator: "\n").utf8)))
        } catch { throw .io("\(error)") }
    }
}
