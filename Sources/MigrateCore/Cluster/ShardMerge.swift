/// Makes one stream of the streams of a cluster's shards.
///
/// A key is written by one shard alone, so shards need no order between them, except while a slot
/// moves: then the old owner's stream says `DEL` and the new one's `RESTORE`, and nobody says which
/// came first. Keys of such slots are read from the source instead, whatever their units say. That a
/// slot moves is found out by asking now and then, which may come too late; but the last word of the
/// old owner's stream about a key is always that `DEL`. So what a `DEL` removes is always read, too:
/// the target is right behind it, whatever was carried out in the wrong order before.
///
/// A shard that is emptied empties its own slots only.
public struct ShardMerge: Sendable {
    /// How far each shard has been given out.
    public private(set) var positions: [Int: RedisPosition]
    /// The shard that serves a slot; -1 = not known.
    private var owners = [Int](repeating: -1, count: SlotTags.slotCount)
    private var moving: Set<Int> = []

    /// A merge that goes on behind positions.
    public init(positions: [Int: RedisPosition]) { self.positions = positions }

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
            guard let entry = CommandKeys.entry(name) else { continue }
            if entry.role == .flushAll || entry.role == .flushDatabase {
                unit.emptiedSlots = self.slots(of: shard)
            }
            guard let places = CommandKeys.positions(command.arguments, entry.places)
            else { continue }
            for place in places {
                let slot = KeyHash.slot(command.arguments[place])
                if self.owners[slot] != shard || self.moving.contains(slot)
                    || name == "del" || name == "unlink"
                {
                    unit.mustRead = true
                }
            }
        }
        return unit
    }

    /// The slots in which a shard may have keys, as far as is known.
    public func slots(of shard: Int) -> Set<Int> {
        Set(self.owners.indices.filter { self.owners[$0] == shard || self.moving.contains($0) })
    }

    /// What the cluster says.
    ///
    /// - Parameters:
    ///   - owner: The shard that serves a slot; -1 = not known.
    ///   - moving: Slots that are on the move at any node.
    public mutating func learn(owner: (Int) -> Int, moving: Set<Int>) {
        for slot in self.owners.indices { self.owners[slot] = owner(slot) }
        self.moving = moving
    }
}
