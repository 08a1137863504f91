/// Commands for a target, encoded behind each other.
public struct CommandBuffer: Sendable, Equatable {
    /// What goes over the wire.
    public private(set) var bytes = ContiguousArray<UInt8>()
    /// Complete commands; each is answered by one reply.
    public private(set) var commandCount = 0
    /// The last command is incomplete: the next buffer goes on with it.
    public private(set) var isOpen = false
    /// What the buffer has of a command that an earlier one began; nil if it begins with a whole one.
    public private(set) var continuation: Continuation?

    /// The rest of a command, or a part of it, at the beginning of a buffer.
    public struct Continuation: Sendable, Equatable {
        /// The command's key.
        public var key: [UInt8]
        /// Bytes of the buffer that belong to it.
        public var byteCount: Int
    }

    /// Room that a buffer keeps from the beginning, in bytes.
    private static let reservedBytes = 1_024

    /// An empty buffer.
    public init() { self.init(reserving: Self.reservedBytes) }

    /// An empty buffer with room for so many bytes.
    public init(reserving count: Int) { self.bytes.reserveCapacity(count) }

    /// Whether nothing is in it.
    public var isEmpty: Bool { self.bytes.isEmpty }

    /// Forgets the commands, keeps the memory.
    public mutating func removeAll() {
        self.bytes.removeAll(keepingCapacity: true)
        self.commandCount = 0
        self.isOpen = false
        self.continuation = nil
    }

    /// Begins a command; exactly `count` arguments, the name among them, MUST follow.
    public mutating func begin(_ count: Int) {
        precondition(!self.isOpen, "a command is open")
        self.header(UInt8(ascii: "*"), count)
        self.commandCount += 1
    }

    /// Adds an argument.
    public mutating func argument(_ text: some Collection<UInt8>) {
        self.header(UInt8(ascii: "$"), text.count)
        self.bytes.append(contentsOf: text)
        self.lineEnd()
    }

    /// Begins the last argument of a command; `count` bytes MUST follow in pieces, in this buffer and
    /// in others that are sent behind it, and then the end.
    ///
    /// The command counts where it ends: there its reply is to be expected.
    public mutating func openArgument(_ count: Int) {
        self.header(UInt8(ascii: "$"), count)
        self.commandCount -= 1
        self.isOpen = true
    }

    /// Adds a piece of the open argument of the command on a key.
    public mutating func piece(_ bytes: some Collection<UInt8>, key: [UInt8]) {
        self.resume(key)
        self.bytes.append(contentsOf: bytes)
        if self.commandCount == 0 { self.continuation?.byteCount = self.bytes.count }
    }

    /// Ends the open argument, and with it the command on a key.
    public mutating func closeArgument(key: [UInt8]) {
        self.resume(key)
        self.lineEnd()
        self.commandCount += 1
        self.isOpen = false
        if self.commandCount == 1 { self.continuation?.byteCount = self.bytes.count }
    }

    /// A buffer that does not know of the open command goes on with it.
    private mutating func resume(_ key: [UInt8]) {
        guard !self.isOpen else { return }
        precondition(self.bytes.isEmpty, "a command is open, and others are behind it")
        self.continuation = Continuation(key: key, byteCount: 0)
        self.isOpen = true
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
        guard !other.isEmpty else { return }
        precondition(
            self.isEmpty || self.isOpen == (other.continuation != nil),
            "an open command goes on in the next buffer, and only there")
        // Nothing is copied where there is nothing to add to.
        guard !self.isEmpty else {
            self = other
            return
        }
        if self.commandCount == 0, let rest = other.continuation {
            self.continuation?.byteCount += rest.byteCount
        }
        self.bytes.append(contentsOf: other.bytes)
        self.commandCount += other.commandCount
        self.isOpen = other.isOpen
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

    /// A mark, a number and the line's end; most numbers are short, and then it is one word.
    private mutating func header(_ mark: UInt8, _ number: Int) {
        guard number < 1_000 else {
            self.bytes.append(mark)
            self.bytes.append(contentsOf: String(number).utf8)
            return self.lineEnd()
        }
        var word = UInt64(mark)
        var count = 1
        func add(_ byte: UInt8) {
            word |= UInt64(byte) << UInt64(8 * count)
            count += 1
        }
        let zero = UInt8(ascii: "0")
        if number >= 100 { add(zero + UInt8(number / 100)) }
        if number >= 10 { add(zero + UInt8(number / 10 % 10)) }
        add(zero + UInt8(number % 10))
        add(13)
        add(10)
        withUnsafeBytes(of: word.littleEndian) {
            self.bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: $0[..<count]))
        }
    }

    private mutating func lineEnd() {
        withUnsafeBytes(of: UInt16(0x0a0d).littleEndian) { self.bytes.append(contentsOf: $0) }
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
