/// A list of names: globs, beginnings and regular expressions, one of which a key must match.
public struct KeyPatterns: Sendable, Equatable, ExpressibleByArrayLiteral {
    /// As they were written.
    public let globs: [String]
    /// Beginnings of names.
    public let prefixes: [[UInt8]]
    /// Regular expressions.
    public let regexes: [ByteRegex]
    private let globBytes: [[UInt8]]

    /// A list of its parts.
    public init(
        globs: [String] = [], prefixes: [String] = [], regexes: [ByteRegex] = []
    ) {
        self.globs = globs
        self.globBytes = globs.map { Array($0.utf8) }
        self.prefixes = prefixes.map { Array($0.utf8) }
        self.regexes = regexes
    }

    /// Globs.
    public init(arrayLiteral elements: String...) { self.init(globs: elements) }

    /// There is nothing in it.
    public var isEmpty: Bool {
        self.globs.isEmpty && self.prefixes.isEmpty && self.regexes.isEmpty
    }

    /// Whether one of them matches.
    public func matches(_ key: [UInt8]) -> Bool {
        self.prefixes.contains { key.starts(with: $0) }
            || self.globBytes.contains { Glob.matches($0, key) }
            || self.regexes.contains { $0.matches(key) }
    }

    /// All of it, for a digest.
    var texts: [String] {
        self.globs.map { "g" + $0 }
            + self.prefixes.map { "p" + String(decoding: $0, as: UTF8.self) }
            + self.regexes.map { "r" + $0.pattern }
    }
}
