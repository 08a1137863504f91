/// A key in a database.
public struct DatabaseKey: Sendable, Hashable {
    /// The database.
    public var database: Int
    /// The key.
    public var key: [UInt8]

    /// A key from its parts.
    public init(_ database: Int, _ key: [UInt8]) {
        self.database = database
        self.key = key
    }
}

/// Which keys go where.
public struct KeyFilter: Sendable, Equatable {
    /// Names that the tool itself uses in targets; never copied.
    public static let reservedPrefix = Array("__pika_migrate:".utf8)

    /// Source's database to target's; empty = each to the one of its number.
    public var databases: [Int: Int] = [:]
    /// Globs, one of which a key must match; empty = all.
    public var include: [String] = []
    /// Globs that a key must not match.
    public var exclude: [String] = []
    /// Slots of a cluster that a key must lie in; empty = all.
    public var slots: [ClosedRange<Int>] = []
    /// Types that are copied; empty = all.
    public var kinds: Set<KeyKind> = []
    /// Commands of the stream that are left out, lower case.
    public var deniedCommands: Set<String> = []
    /// Taken off the beginning of names that have it.
    public var stripPrefix: [UInt8] = []
    /// Put before all names.
    public var addPrefix: [UInt8] = []
    /// Whose writes are not sent on.
    public var origin = OriginFilter()

    /// Lets everything through.
    public init() {}

    /// Keys are left out for what they are called.
    public var selectsKeys: Bool {
        !self.include.isEmpty || !self.exclude.isEmpty || !self.slots.isEmpty || !self.kinds.isEmpty
    }

    /// All keys keep their names, and none is left out for its name.
    public var keepsNames: Bool {
        self.include.isEmpty && self.exclude.isEmpty && self.slots.isEmpty
            && self.stripPrefix.isEmpty && self.addPrefix.isEmpty
    }

    /// The target's database; nil = not copied.
    public func target(database: Int) -> Int? {
        self.databases.isEmpty ? database : self.databases[database]
    }

    /// Where a key goes; nil = not copied.
    public func target(_ key: DatabaseKey) -> DatabaseKey? {
        guard let database = self.target(database: key.database), self.takes(key.key) else {
            return nil
        }
        return DatabaseKey(database, self.rename(key.key))
    }

    /// Whether keys of a type are copied.
    public func takes(_ kind: KeyKind) -> Bool { self.kinds.isEmpty || self.kinds.contains(kind) }

    private func takes(_ key: [UInt8]) -> Bool {
        if key.starts(with: Self.reservedPrefix) { return false }
        if !self.include.isEmpty, !self.include.contains(where: { Glob.matches($0, key) }) {
            return false
        }
        if self.exclude.contains(where: { Glob.matches($0, key) }) { return false }
        guard !self.slots.isEmpty else { return true }
        let slot = KeyHash.slot(key)
        return self.slots.contains { $0.contains(slot) }
    }

    private func rename(_ key: [UInt8]) -> [UInt8] {
        var name = key[...]
        if !self.stripPrefix.isEmpty, name.starts(with: self.stripPrefix) {
            name = name.dropFirst(self.stripPrefix.count)
        }
        return self.addPrefix.isEmpty && name.count == key.count ? key : self.addPrefix + name
    }

    /// Tells whether a checkpoint was made with the same filter.
    public var digest: UInt64 {
        var text = [
            self.databases.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
                .joined(separator: ","),
            self.include.joined(separator: "\u{1}"), self.exclude.joined(separator: "\u{1}"),
            self.slots.map { "\($0)" }.joined(separator: ","),
            self.kinds.map(\.rawValue).sorted().map(String.init).joined(separator: ","),
            self.deniedCommands.sorted().joined(separator: ","),
            String(decoding: self.stripPrefix, as: UTF8.self),
            String(decoding: self.addPrefix, as: UTF8.self),
        ].joined(separator: "\u{2}")
        if self.origin.isActive { text += "\u{2}origin \(self.origin.partner)" }
        return KeyHash.hash(database: 0, key: text.utf8)
    }
}

/// Patterns with `*`, `?`, `[a-z]`, `[^a]` and `\`, over bytes.
public enum Glob {
    /// Whether the whole of `text` matches.
    public static func matches(_ pattern: String, _ text: [UInt8]) -> Bool {
        Self.matches(Array(pattern.utf8)[...], text[...])
    }

    private static func matches(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        var pattern = pattern
        var text = text
        // Behind the last star: where to go on when something behind it does not match.
        var retry: (pattern: ArraySlice<UInt8>, text: ArraySlice<UInt8>)?
        while true {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                if pattern.isEmpty { return true }
                retry = (pattern, text)
                continue
            }
            if text.isEmpty && pattern.isEmpty { return true }
            if let byte = text.first, let rest = Self.one(pattern, byte) {
                pattern = rest
                text = text.dropFirst()
                continue
            }
            guard let last = retry, !last.text.isEmpty else { return false }
            retry = (last.pattern, last.text.dropFirst())
            pattern = last.pattern
            text = last.text.dropFirst()
        }
    }

    /// What is left of the pattern if its first element matches the byte.
    private static func one(_ pattern: ArraySlice<UInt8>, _ byte: UInt8) -> ArraySlice<UInt8>? {
        guard let first = pattern.first else { return nil }
        let rest = pattern.dropFirst()
        switch first {
        case UInt8(ascii: "?"): return rest
        case UInt8(ascii: "\\"):
            guard let literal = rest.first else { return byte == first ? rest : nil }
            return literal == byte ? rest.dropFirst() : nil
        case UInt8(ascii: "["):
            guard let close = rest.dropFirst().firstIndex(of: UInt8(ascii: "]")) else {
                return byte == first ? rest : nil
            }
            var set = rest[rest.startIndex..<close]
            let isNegated = set.first == UInt8(ascii: "^")
            if isNegated { set = set.dropFirst() }
            return Self.contains(set, byte) != isNegated ? rest[(close + 1)...] : nil
        default: return first == byte ? rest : nil
        }
    }

    private static func contains(_ set: ArraySlice<UInt8>, _ byte: UInt8) -> Bool {
        var at = set.startIndex
        while at < set.endIndex {
            if at + 2 < set.endIndex, set[at + 1] == UInt8(ascii: "-") {
                if set[at] <= byte && byte <= set[at + 2] { return true }
                at += 3
            } else {
                if set[at] == byte { return true }
                at += 1
            }
        }
        return false
    }
}
