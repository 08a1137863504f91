/// What names become on the way.
///
/// In this order: the first of `prefixes` that the name begins with, `strip`, `template`, `add`.
public struct KeyRenaming: Sendable, Equatable {
    /// One beginning for another.
    public struct PrefixChange: Sendable, Equatable {
        /// What names begin with.
        public var from: [UInt8]
        /// What they begin with then.
        public var to: [UInt8]

        /// A change.
        public init(from: [UInt8], to: [UInt8]) {
            self.from = from
            self.to = to
        }
    }

    /// Beginnings that are exchanged; the first that fits counts.
    public var prefixes: [PrefixChange] = []
    /// Taken off the beginning of names that have it.
    public var strip: [UInt8] = []
    /// What a name stands in; nil = by itself.
    public var template: KeyTemplate?
    /// Put before all names.
    public var add: [UInt8] = []

    /// Changes nothing.
    public init() {}

    /// Names stay what they are.
    public var isEmpty: Bool {
        self.prefixes.isEmpty && self.strip.isEmpty && self.template == nil && self.add.isEmpty
    }

    /// A job's names are one part of the target's: others may write beside it.
    public var sharesTarget: Bool { self.template != nil || !self.add.isEmpty }

    /// The target's name for a key of the source.
    public func name(_ key: [UInt8], database: Int) -> [UInt8] {
        guard !self.isEmpty else { return key }
        var name = key
        if let change = self.prefixes.first(where: { key.starts(with: $0.from) }) {
            name = change.to + key.dropFirst(change.from.count)
        }
        if !self.strip.isEmpty, name.starts(with: self.strip) {
            name.removeFirst(self.strip.count)
        }
        if let template { name = template.fill(name, database: database) }
        return self.add + name
    }

    /// All of it, for a digest.
    var texts: [String] {
        func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        return self.prefixes.flatMap { [text($0.from), text($0.to)] }
            + [text(self.strip), self.template?.text ?? "", text(self.add)]
    }
}

/// A text with `{key}` once, and `{db}` where the source's database shall stand.
public struct KeyTemplate: Sendable, Equatable {
    private static let key = "{key}"
    private static let database = "{db}"

    /// As it was written.
    public let text: String
    private let before: [[UInt8]]
    private let after: [[UInt8]]

    /// Reads a template; nil if it does not have `{key}` exactly once.
    public init?(_ text: String) {
        let parts = Self.split(text, Self.key)
        guard parts.count == 2 else { return nil }
        self.text = text
        self.before = Self.split(parts[0], Self.database).map { Array($0.utf8) }
        self.after = Self.split(parts[1], Self.database).map { Array($0.utf8) }
    }

    func fill(_ key: [UInt8], database: Int) -> [UInt8] {
        let number = Array("\(database)".utf8)
        return Array(self.before.joined(separator: number)) + key
            + Array(self.after.joined(separator: number))
    }

    private static func split(_ text: String, _ word: String) -> [String] {
        var parts: [String] = []
        var part: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            if rest.starts(with: word.utf8) {
                rest = rest.dropFirst(word.utf8.count)
                parts.append(String(decoding: part, as: UTF8.self))
                part = []
            } else {
                part.append(rest.removeFirst())
            }
        }
        return parts + [String(decoding: part, as: UTF8.self)]
    }
}
