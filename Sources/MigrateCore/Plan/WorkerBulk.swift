/// A worker's commands of a snapshot that are not handed over yet.
///
/// Plain strings are joined: one `MSET` for many.
public struct WorkerBulk: Sendable {
    /// Most strings in one command.
    static let maxPairs = 64
    /// A command is closed at this size, in bytes.
    static let maxPairBytes = 16 * 1_024

    /// The target's database of all commands.
    public var database = 0
    /// The commands; those of joined strings come with `closePairs`.
    public var commands = CommandBuffer()
    /// Keys that were added.
    public var keys = 0
    private var pairs = CommandBuffer()
    private var pairCount = 0

    /// Nothing.
    public init() {}

    /// Bytes that wait.
    public var byteCount: Int { self.commands.bytes.count + self.pairs.bytes.count }

    /// Adds a string without a deadline.
    mutating func add(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        self.pairs.argument(name)
        self.pairs.argument(value)
        self.pairCount += 1
        self.keys += 1
        if self.pairCount >= Self.maxPairs || self.pairs.bytes.count >= Self.maxPairBytes {
            self.closePairs()
        }
    }

    /// Ends the joining: what follows is behind all strings so far.
    public mutating func closePairs() {
        guard self.pairCount > 0 else { return }
        self.commands.begin(1 + 2 * self.pairCount)
        self.commands.argument(self.pairCount == 1 ? "SET" : "MSET")
        self.commands.append(self.pairs)
        self.pairs.removeAll()
        self.pairCount = 0
    }

    /// Gives everything out.
    public mutating func take() -> (commands: CommandBuffer, keys: Int) {
        self.closePairs()
        let keys = self.keys
        self.keys = 0
        // The next one will be as large: it need not grow step by step.
        let next = CommandBuffer(reserving: self.commands.bytes.count + Self.maxPairBytes)
        return (exchange(&self.commands, with: next), keys)
    }
}

extension StringBatch {
    /// Puts the strings into their workers' bulks.
    ///
    /// - Parameters:
    ///   - database: The target's.
    ///   - isPlain: Tells of a key by name and value whether it may be joined.
    /// - Returns: The indexes of those that are to go the long way: with a deadline, or not plain.
    public func join(
        into bulks: inout [WorkerBulk], database: Int,
        isPlain: (UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<UInt8>) -> Bool
    ) -> [Int] {
        var others: [Int] = []
        self.bytes.withUnsafeBufferPointer { bytes in
            for index in 0..<self.count {
                let name = UnsafeBufferPointer(rebasing: bytes[self.name(index)])
                let value = UnsafeBufferPointer(rebasing: bytes[self.value(index)])
                guard self.deadlines[index] == 0, isPlain(name, value) else {
                    others.append(index)
                    continue
                }
                let hash = KeyHash.hash(database: database, key: name)
                bulks[Int(hash % UInt64(bulks.count))].add(name, value)
            }
        }
        return others
    }
}
