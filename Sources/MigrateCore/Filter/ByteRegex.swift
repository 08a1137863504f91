/// Why a regular expression can't be used.
public struct RegexError: Error, Sendable, Equatable {
    /// For the operator.
    public var reason: String
    /// Where in the pattern, in bytes.
    public var offset: Int
}

/// A regular expression over the bytes of a key.
///
/// All ways through the pattern are followed at once, byte by byte: the time is at most the
/// pattern's length times the key's, whatever both are, and nothing is ever tried again. (Swift's
/// `Regex` goes back on failure, over characters: one key could stop a migration, and keys are
/// bytes.) So there are no references back and no looking around.
///
/// | | |
/// |---|---|
/// | `.` | any byte |
/// | `[a-z]`, `[^a-z]`, `\d` `\D` `\w` `\W` `\s` `\S` | sets, of ASCII |
/// | `\x41`, `\t`, `\n`, `\r`, `\.` | single bytes |
/// | `ab`, `a\|b`, `(ab)`, `(?:ab)` | one after the other, one of both, groups |
/// | `a*`, `a+`, `a?`, `a{2}`, `a{2,}`, `a{2,5}` | repeated |
/// | `^`, `$` | the key's beginning and end; without them it may match anywhere |
public struct ByteRegex: Sendable, Equatable {
    /// Longest pattern, in bytes.
    public static let maxPatternBytes = 1_024
    /// Most repeats that are counted.
    public static let maxRepeats = 256
    /// Deepest groups.
    public static let maxDepth = 32
    /// Most steps of the program: repeats are written out.
    public static let maxSteps = 4_096

    /// The pattern as it was written.
    public let pattern: String
    private let steps: [RegexStep]

    /// Reads a pattern.
    public init(_ pattern: String) throws(RegexError) {
        self.pattern = pattern
        var parser = RegexParser(Array(pattern.utf8))
        let tree = try parser.parse()
        var program = RegexProgram()
        try program.add(tree)
        try program.emit(.match)
        self.steps = program.steps
    }

    /// Whether it matches a part of the text.
    public func matches(_ text: [UInt8]) -> Bool {
        var current = StepSet(count: self.steps.count)
        var next = StepSet(count: self.steps.count)
        for at in 0...text.count {
            // A match may begin at any byte.
            if self.follow(0, at, text.count, &current) { return true }
            guard at < text.count else { break }
            next.removeAll()
            for place in 0..<current.count {
                let step = current.members[place]
                if case .bytes(let set) = self.steps[step], set.contains(text[at]),
                    self.follow(step + 1, at + 1, text.count, &next)
                {
                    return true
                }
            }
            swap(&current, &next)
        }
        return false
    }

    /// Adds a step and all that follow it without a byte; true if one of them is the end.
    private func follow(_ first: Int, _ at: Int, _ end: Int, _ set: inout StepSet) -> Bool {
        var open = [first]
        while let step = open.popLast() {
            guard set.insert(step) else { continue }
            switch self.steps[step] {
            case .match: return true
            case .bytes: break
            case .start: if at == 0 { open.append(step + 1) }
            case .end: if at == end { open.append(step + 1) }
            case .jump(let target): open.append(target)
            case .fork(let one, let other):
                open.append(other)
                open.append(one)
            }
        }
        return false
    }
}

/// Steps of a program, each once.
private struct StepSet {
    var members: [Int]
    private var places: [Int]
    private(set) var count = 0

    init(count: Int) {
        self.members = [Int](repeating: 0, count: count)
        self.places = [Int](repeating: 0, count: count)
    }

    mutating func removeAll() { self.count = 0 }

    mutating func insert(_ step: Int) -> Bool {
        let place = self.places[step]
        if place < self.count, self.members[place] == step { return false }
        self.members[self.count] = step
        self.places[step] = self.count
        self.count += 1
        return true
    }
}

/// A set of bytes.
struct ByteSet: Sendable, Equatable {
    private var words = SIMD4<UInt64>(repeating: 0)

    func contains(_ byte: UInt8) -> Bool {
        self.words[Int(byte >> 6)] & (1 << UInt64(byte & 63)) != 0
    }

    mutating func insert(_ byte: UInt8) {
        self.words[Int(byte >> 6)] |= 1 << UInt64(byte & 63)
    }

    mutating func formUnion(_ other: ByteSet) { self.words |= other.words }

    var inverted: ByteSet {
        var set = self
        set.words = ~self.words
        return set
    }

    static func of(_ ranges: ClosedRange<UInt8>...) -> ByteSet {
        var set = ByteSet()
        for range in ranges { for byte in range { set.insert(byte) } }
        return set
    }

    static func one(_ byte: UInt8) -> ByteSet { Self.of(byte...byte) }
}

/// One step of the program.
enum RegexStep: Sendable, Equatable {
    case bytes(ByteSet)
    case start
    case end
    case jump(Int)
    case fork(Int, Int)
    case match
}

/// A pattern as a tree.
indirect enum RegexNode {
    case bytes(ByteSet)
    case start
    case end
    case sequence([RegexNode])
    case either([RegexNode])
    case repeated(RegexNode, least: Int, most: Int?)
}

/// Writes a tree out as steps.
private struct RegexProgram {
    private(set) var steps: [RegexStep] = []
    /// Nodes written out: empty ones make no steps.
    private var nodes = 0

    private func check(_ count: Int) throws(RegexError) {
        guard count < ByteRegex.maxSteps else {
            throw RegexError(reason: "is longer than \(ByteRegex.maxSteps) steps", offset: 0)
        }
    }

    mutating func emit(_ step: RegexStep) throws(RegexError) {
        try self.check(self.steps.count)
        self.steps.append(step)
    }

    mutating func add(_ node: RegexNode) throws(RegexError) {
        self.nodes += 1
        try self.check(self.nodes / 2)
        switch node {
        case .bytes(let set): try self.emit(.bytes(set))
        case .start: try self.emit(.start)
        case .end: try self.emit(.end)
        case .sequence(let nodes): for node in nodes { try self.add(node) }
        case .either(let nodes): try self.add(either: nodes)
        case .repeated(let node, let least, let most):
            for _ in 0..<least { try self.add(node) }
            guard let most else { return try self.add(loop: node) }
            var forks: [Int] = []
            for _ in least..<most {
                forks.append(self.steps.count)
                try self.emit(.match)
                try self.add(node)
            }
            for fork in forks { self.steps[fork] = .fork(fork + 1, self.steps.count) }
        }
    }

    private mutating func add(either nodes: [RegexNode]) throws(RegexError) {
        var jumps: [Int] = []
        for (index, node) in nodes.enumerated() {
            guard index < nodes.count - 1 else {
                try self.add(node)
                break
            }
            let fork = self.steps.count
            try self.emit(.match)
            try self.add(node)
            jumps.append(self.steps.count)
            try self.emit(.match)
            self.steps[fork] = .fork(fork + 1, self.steps.count)
        }
        for jump in jumps { self.steps[jump] = .jump(self.steps.count) }
    }

    private mutating func add(loop node: RegexNode) throws(RegexError) {
        let fork = self.steps.count
        try self.emit(.match)
        try self.add(node)
        try self.emit(.jump(fork))
        self.steps[fork] = .fork(fork + 1, self.steps.count)
    }
}
