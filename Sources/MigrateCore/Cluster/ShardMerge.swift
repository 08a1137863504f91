/// Makes one stream of the streams of a cluster's shards.
///
/// A key is written by one shard alone, so shards need no order between them, except while a slot
/// moves: then the old owner's stream says `DEL` and the new one's `RESTORE`, and nobody says which
/// came first. Keys of such slots are read from the source instead, whatever their units say. That a
/// slot moves is found out by asking now and then, so a `DEL` is remembered until the cluster was
/// asked after it: if its slot was on the move, its key is read, too.
public struct ShardMerge: Sendable {
    /// Most keys that are remembered; at that number the cluster is asked at once.
    public static let maxRemembered = 100_000

    private struct Removal {
        var key: [UInt8]
        var slot: Int
        var shard: Int
        var round: UInt64
    }

    /// How far each shard has been given out.
    public private(set) var positions: [Int: RedisPosition]
    /// The shard that serves a slot; -1 = not known.
    private var owners = [Int](repeating: -1, count: SlotTags.slotCount)
    private var moving: Set<Int> = []
    private var removals: [Removal] = []
    /// Grows with each question that is sent.
    private var round: UInt64 = 0

    /// A merge that goes on behind positions.
    public init(positions: [Int: RedisPosition]) { self.positions = positions }

    /// The cluster MUST be asked before more units are taken.
    public var mustAsk: Bool { self.removals.count >= Self.maxRemembered }

    /// The place of the whole stream, behind what a shard has given last.
    public func position(_ shard: Int) -> SourcePosition {
        .cluster(ClusterPosition(shard: shard, shards: self.positions))
    }

    /// A shard has got somewhere.
    public mutating func advance(_ shard: Int, to position: SourcePosition) {
        guard case .redis(let position) = position else { return }
        self.positions[shard] = position
    }

    /// A shard's unit as one of the whole stream.
    public mutating func unit(_ unit: SourceUnit, of shard: Int) -> SourceUnit {
        var unit = unit
        unit.start = self.position(shard)
        self.advance(shard, to: unit.end)
        unit.end = self.position(shard)
        for command in unit.commands where !command.arguments.isEmpty {
            let name = CommandKeys.name(command)
            guard let entry = CommandKeys.entry(name),
                let places = CommandKeys.positions(command.arguments, entry.places)
            else { continue }
            for place in places {
                let slot = KeyHash.slot(command.arguments[place])
                if self.owners[slot] != shard || self.moving.contains(slot) {
                    unit.mustRead = true
                } else if name == "del" || name == "unlink" {
                    self.removals.append(
                        Removal(
                            key: command.arguments[place], slot: slot, shard: shard,
                            round: self.round))
                }
            }
        }
        return unit
    }

    /// The cluster is about to be asked; what it answers holds for all units taken before this.
    public mutating func ask() -> UInt64 {
        self.round += 1
        return self.round
    }

    /// The answer.
    ///
    /// - Parameters:
    ///   - owner: The shard that serves a slot; -1 = not known.
    ///   - moving: Slots that are on the move at any node.
    ///   - round: What ``ask()`` said.
    /// - Returns: Keys that were removed while their slot was on the move, maybe.
    public mutating func answer(
        owner: (Int) -> Int, moving: Set<Int>, round: UInt64
    ) -> [[UInt8]] {
        for slot in self.owners.indices { self.owners[slot] = owner(slot) }
        self.moving = moving
        let doubtful = self.removals.filter {
            self.owners[$0.slot] != $0.shard || moving.contains($0.slot)
        }
        self.removals.removeAll { $0.round < round }
        return doubtful.map(\.key)
    }

    /// A unit that says nothing but that keys are to be read.
    public func reading(_ keys: [[UInt8]], of shard: Int, time: Int64) -> SourceUnit {
        var unit = SourceUnit(
            commands: [
                SourceCommand(database: 0, arguments: [Array("DEL".utf8)] + keys)
            ], isTransaction: false, start: self.position(shard), end: self.position(shard),
            sourceTimeMilliseconds: time)
        unit.mustRead = true
        return unit
    }
}
