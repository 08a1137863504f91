/// A snapshot's commands on their way to the nodes of a cluster: which go where, which have to be
/// sent again.
///
///     var bulk = SlotBulk(commands)
///     while !bulk.isDone {
///         for window in bulk.windows(owner) { … send …; bulk.take(window, refused: indices) }
///     }
///
/// Commands of one key stay in order: a key of which a later command was done though an earlier one
/// was not is out of order, and the copy has to write it anew.
public struct SlotBulk: Sendable {
    /// What one node gets at once.
    public struct Window: Sendable {
        /// Who gets it.
        public var node: String
        /// The commands, each answered by one reply.
        public var commands: CommandBuffer
        /// Which of the bulk's commands they are.
        fileprivate var entries: [Int]
    }

    private struct Entry {
        var whole: Range<Int>
        var key: Range<Int>
        var slot: Int
        var isDone = false
    }

    private let bytes: ContiguousArray<UInt8>
    private var entries: [Entry] = []
    private var missing = 0

    /// All commands of a buffer; the first argument of each MUST be its only key.
    public init(_ buffer: CommandBuffer) {
        self.bytes = buffer.bytes
        self.entries.reserveCapacity(buffer.commandCount)
        var walk = CommandWalk(buffer)
        var last: (key: Range<Int>, slot: Int)?
        while let command = walk.next() {
            let slot: Int
            if let last, self.bytes[last.key] == self.bytes[command.key] {
                slot = last.slot
            } else {
                slot = KeyHash.slot(Array(self.bytes[command.key]))
            }
            last = (command.key, slot)
            self.entries.append(Entry(whole: command.whole, key: command.key, slot: slot))
        }
        self.missing = self.entries.count
    }

    /// Everything was carried out.
    public var isDone: Bool { self.missing == 0 }

    /// What is to be sent now; commands of slots that nobody serves (`owner` says nil) wait.
    public func windows(_ owner: (Int) -> String?) -> [Window] {
        var places: [String: Int] = [:]
        var windows: [Window] = []
        for (index, entry) in self.entries.enumerated() where !entry.isDone {
            guard let node = owner(entry.slot) else { continue }
            let place: Int
            if let known = places[node] {
                place = known
            } else {
                place = windows.count
                places[node] = place
                windows.append(Window(node: node, commands: CommandBuffer(), entries: []))
            }
            windows[place].commands.append(encoded: self.bytes[entry.whole])
            windows[place].entries.append(index)
        }
        return windows
    }

    /// Notes what became of a window.
    ///
    /// - Parameter refused: Which of its commands were not carried out, from 0, ascending.
    /// - Returns: false if a key is out of order now.
    public mutating func take(_ window: Window, refused: [Int]) -> Bool {
        var behind: Set<ArraySlice<UInt8>> = []
        var next = refused.makeIterator()
        var missed = next.next()
        var isOrdered = true
        for (place, index) in window.entries.enumerated() {
            if place == missed {
                missed = next.next()
                behind.insert(ArraySlice(self.bytes[self.entries[index].key]))
                continue
            }
            if !behind.isEmpty, behind.contains(ArraySlice(self.bytes[self.entries[index].key])) {
                isOrdered = false
            }
            self.entries[index].isDone = true
            self.missing -= 1
        }
        return isOrdered
    }
}
