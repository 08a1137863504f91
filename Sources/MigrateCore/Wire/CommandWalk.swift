/// Goes through the commands of a ``CommandBuffer`` without copying them.
public struct CommandWalk: Sendable {
    /// One command, as places in the buffer's bytes.
    public struct Command: Sendable, Equatable {
        /// All of it.
        public var whole: Range<Int>
        /// Its arguments as they go over the wire: what follows the header.
        public var body: Range<Int>
        /// Number of arguments, the name among them.
        public var count: Int
        /// The first argument behind the name; empty if there is none.
        public var key: Range<Int>
    }

    private let bytes: ContiguousArray<UInt8>
    private var at = 0

    /// A walk over a buffer's commands.
    public init(_ buffer: CommandBuffer) { self.bytes = buffer.bytes }

    /// The next command; nil at the end.
    public mutating func next() -> Command? {
        guard self.at < self.bytes.count else { return nil }
        let start = self.at
        let count = self.number()
        let body = self.at
        var key = body..<body
        for index in 0..<count {
            let size = self.number()
            if index == 1 { key = self.at..<(self.at + size) }
            self.at += size + Self.lineEndBytes
        }
        return Command(whole: start..<self.at, body: body..<self.at, count: count, key: key)
    }

    private static let lineEndBytes = 2

    /// The number behind a mark, and the line's end.
    private mutating func number() -> Int {
        var value = 0
        self.at += 1
        while self.bytes[self.at] != 13 {
            value = value * 10 + Int(self.bytes[self.at] - UInt8(ascii: "0"))
            self.at += 1
        }
        self.at += Self.lineEndBytes
        return value
    }
}
