/// Commands for a target, encoded behind each other.
public struct CommandBuffer: Sendable, Equatable {
    /// What goes over the wire.
    public private(set) var bytes = ContiguousArray<UInt8>()
    /// Complete commands; each is answered by one reply.
    public private(set) var commandCount = 0

    /// Room that a buffer keeps from the beginning, in bytes.
    private static let reservedBytes = 1_024

    /// An empty buffer.
    public init() { self.bytes.reserveCapacity(Self.reservedBytes) }

    /// Whether nothing is in it.
    public var isEmpty: Bool { self.commandCount == 0 }

    /// Forgets the commands, keeps the memory.
    public mutating func removeAll() {
        self.bytes.removeAll(keepingCapacity: true)
        self.commandCount = 0
    }

    /// Begins a command; exactly `count` arguments, the name among them, MUST follow.
    public mutating func begin(_ count: Int) {
        self.header(UInt8(ascii: "*"), count)
        self.commandCount += 1
    }

    /// Adds an argument.
    public mutating func argument(_ text: some Collection<UInt8>) {
        self.header(UInt8(ascii: "$"), text.count)
        self.bytes.append(contentsOf: text)
        self.lineEnd()
    }

    /// Adds an argument.
    public mutating func argument(_ text: StaticString) {
        text.withUTF8Buffer { self.argument($0) }
    }

    /// Adds a number as an argument.
    public mutating func argument(_ number: Int64) { self.argument("\(number)".utf8) }

    /// Adds a score in its shortest form that reads back as the same number.
    public mutating func argument(score: Double) {
        self.argument(ScoreText.text(score).utf8)
    }

    /// Adds a whole command.
    public mutating func append(_ command: [[UInt8]]) {
        self.begin(command.count)
        for argument in command { self.argument(argument) }
    }

    /// Adds a whole command.
    public mutating func append(_ words: [String]) {
        self.append(words.map { Array($0.utf8) })
    }

    /// Adds all commands of another buffer.
    public mutating func append(_ other: CommandBuffer) {
        self.bytes.append(contentsOf: other.bytes)
        self.commandCount += other.commandCount
    }

    /// Adds a command that is encoded already.
    public mutating func append(encoded bytes: some Collection<UInt8>) {
        self.bytes.append(contentsOf: bytes)
        self.commandCount += 1
    }

    /// Adds arguments that are encoded already.
    public mutating func arguments(encoded bytes: some Collection<UInt8>) {
        self.bytes.append(contentsOf: bytes)
    }

    private mutating func header(_ mark: UInt8, _ number: Int) {
        self.bytes.append(mark)
        if number < 10 {
            self.bytes.append(UInt8(ascii: "0") + UInt8(number))
        } else if number < 100 {
            self.bytes.append(UInt8(ascii: "0") + UInt8(number / 10))
            self.bytes.append(UInt8(ascii: "0") + UInt8(number % 10))
        } else if number < 1_000 {
            self.bytes.append(UInt8(ascii: "0") + UInt8(number / 100))
            self.bytes.append(UInt8(ascii: "0") + UInt8(number / 10 % 10))
            self.bytes.append(UInt8(ascii: "0") + UInt8(number % 10))
        } else {
            self.bytes.append(contentsOf: String(number).utf8)
        }
        self.lineEnd()
    }

    private mutating func lineEnd() {
        self.bytes.append(13)
        self.bytes.append(10)
    }
}

/// Scores as text.
public enum ScoreText {
    /// The shortest text that reads back as the same number; integers without a point.
    public static func text(_ score: Double) -> String {
        if score == score.rounded(), abs(score) < 9_007_199_254_740_992 {
            // -0 reads back as -0 only with its sign.
            return score == 0 && score.sign == .minus ? "-0" : String(Int64(score))
        }
        return "\(score)"
    }
}
