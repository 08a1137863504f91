/// Reads the pattern of a ``ByteRegex``.
struct RegexParser {
    private let pattern: [UInt8]
    private var at = 0
    private var depth = 0

    init(_ pattern: [UInt8]) { self.pattern = pattern }

    mutating func parse() throws(RegexError) -> RegexNode {
        guard self.pattern.count <= ByteRegex.maxPatternBytes else {
            throw self.error("is longer than \(ByteRegex.maxPatternBytes) bytes")
        }
        let tree = try self.either()
        guard self.at == self.pattern.count else { throw self.error("has a ) without a (") }
        return tree
    }

    private func error(_ reason: String) -> RegexError {
        RegexError(reason: reason, offset: self.at)
    }

    private var next: UInt8? { self.at < self.pattern.count ? self.pattern[self.at] : nil }

    private mutating func take(_ byte: Character) -> Bool {
        guard self.next == byte.asciiValue else { return false }
        self.at += 1
        return true
    }

    private mutating func either() throws(RegexError) -> RegexNode {
        var branches = [try self.sequence()]
        while self.take("|") { branches.append(try self.sequence()) }
        return branches.count == 1 ? branches[0] : .either(branches)
    }

    private mutating func sequence() throws(RegexError) -> RegexNode {
        var nodes: [RegexNode] = []
        while let byte = self.next, byte != UInt8(ascii: "|"), byte != UInt8(ascii: ")") {
            nodes.append(try self.repeats(self.atom()))
        }
        return .sequence(nodes)
    }

    // MARK: - Repeats

    private mutating func repeats(_ node: RegexNode) throws(RegexError) -> RegexNode {
        let counts: (least: Int, most: Int?)
        if self.take("*") {
            counts = (0, nil)
        } else if self.take("+") {
            counts = (1, nil)
        } else if self.take("?") {
            counts = (0, 1)
        } else if self.next == UInt8(ascii: "{") {
            counts = try self.braces()
        } else {
            return node
        }
        if let byte = self.next, "*+?{".utf8.contains(byte) {
            throw self.error("repeats a repeat")
        }
        return .repeated(node, least: counts.least, most: counts.most)
    }

    private mutating func braces() throws(RegexError) -> (least: Int, most: Int?) {
        self.at += 1
        guard let least = try self.number() else { throw self.error("lacks a number behind {") }
        var most: Int? = least
        if self.take(",") { most = try self.number() }
        guard self.take("}") else { throw self.error("has a { without a }") }
        if let most, most < least { throw self.error("has repeats from \(least) to \(most)") }
        return (least, most)
    }

    private mutating func number() throws(RegexError) -> Int? {
        var value: Int?
        while let byte = self.next, byte >= 0x30, byte <= 0x39 {
            value = (value ?? 0) * 10 + Int(byte - 0x30)
            self.at += 1
            guard value ?? 0 <= ByteRegex.maxRepeats else {
                throw self.error("repeats more than \(ByteRegex.maxRepeats) times")
            }
        }
        return value
    }

    // MARK: - Atoms

    private mutating func atom() throws(RegexError) -> RegexNode {
        guard let byte = self.next else { throw self.error("ends too early") }
        switch byte {
        case UInt8(ascii: "("): return try self.group()
        case UInt8(ascii: "["): return .bytes(try self.set())
        case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"), UInt8(ascii: "{"):
            throw self.error("repeats nothing")
        default: break
        }
        self.at += 1
        switch byte {
        case UInt8(ascii: "."): return .bytes(ByteSet().inverted)
        case UInt8(ascii: "^"): return .start
        case UInt8(ascii: "$"): return .end
        case UInt8(ascii: "\\"): return .bytes(try self.escape())
        default: return self.literal(byte)
        }
    }

    /// A character of several bytes is repeated as one.
    private mutating func literal(_ first: UInt8) -> RegexNode {
        guard first >= 0xc0 else { return .bytes(.one(first)) }
        var nodes = [RegexNode.bytes(.one(first))]
        while let byte = self.next, byte & 0xc0 == 0x80 {
            nodes.append(.bytes(.one(byte)))
            self.at += 1
        }
        return .sequence(nodes)
    }

    private mutating func group() throws(RegexError) -> RegexNode {
        self.at += 1
        if self.take("?"), !self.take(":") { throw self.error("has a group that is not known") }
        self.depth += 1
        guard self.depth <= ByteRegex.maxDepth else {
            throw self.error("has groups deeper than \(ByteRegex.maxDepth)")
        }
        let node = try self.either()
        self.depth -= 1
        guard self.take(")") else { throw self.error("has a ( without a )") }
        return node
    }

    // MARK: - Sets

    /// Behind the backslash.
    private mutating func escape() throws(RegexError) -> ByteSet {
        guard let byte = self.next else { throw self.error("ends with a \\") }
        self.at += 1
        let digits = ByteSet.of(0x30...0x39)
        let words = ByteSet.of(0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a)
        let spaces = ByteSet.of(0x09...0x0d, 0x20...0x20)
        switch byte {
        case UInt8(ascii: "d"): return digits
        case UInt8(ascii: "D"): return digits.inverted
        case UInt8(ascii: "w"): return words
        case UInt8(ascii: "W"): return words.inverted
        case UInt8(ascii: "s"): return spaces
        case UInt8(ascii: "S"): return spaces.inverted
        case UInt8(ascii: "t"): return .one(0x09)
        case UInt8(ascii: "n"): return .one(0x0a)
        case UInt8(ascii: "r"): return .one(0x0d)
        case UInt8(ascii: "x"): return .one(try self.hexadecimal())
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a:
            throw self.error("has an escape that is not known")
        default: return .one(byte)
        }
    }

    private mutating func hexadecimal() throws(RegexError) -> UInt8 {
        guard self.at + 2 <= self.pattern.count,
            let value = UInt8(
                String(decoding: self.pattern[self.at..<self.at + 2], as: UTF8.self), radix: 16)
        else { throw self.error("lacks two hexadecimal digits behind \\x") }
        self.at += 2
        return value
    }

    private mutating func set() throws(RegexError) -> ByteSet {
        self.at += 1
        let isInverted = self.take("^")
        var set = ByteSet()
        var isFirst = true
        while isFirst || self.next != UInt8(ascii: "]") {
            isFirst = false
            let (members, single) = try self.member()
            guard let single, self.next == UInt8(ascii: "-"), self.at + 1 < self.pattern.count,
                self.pattern[self.at + 1] != UInt8(ascii: "]")
            else {
                set.formUnion(members)
                continue
            }
            self.at += 1
            guard let last = try self.member().single, single <= last else {
                throw self.error("has a range without sense")
            }
            set.formUnion(.of(single...last))
        }
        self.at += 1
        return isInverted ? set.inverted : set
    }

    /// One element of a set; `single` if it may begin or end a range.
    private mutating func member() throws(RegexError) -> (members: ByteSet, single: UInt8?) {
        guard let byte = self.next else { throw self.error("has a [ without a ]") }
        guard byte < 0x80 else { throw self.error("has more than ASCII in a set") }
        self.at += 1
        guard byte == UInt8(ascii: "\\") else { return (.one(byte), byte) }
        let set = try self.escape()
        let bytes = (UInt8.min...UInt8.max).filter { set.contains($0) }
        return (set, bytes.count == 1 ? bytes[0] : nil)
    }
}
