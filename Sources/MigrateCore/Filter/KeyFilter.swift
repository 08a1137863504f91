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
///
/// A key is copied if all of these say yes, asked in this order:
///
/// 1. its database has a place in the target;
/// 2. its name is none of the tool's own;
/// 3. `exclude` does not match: what is denied can't be allowed again;
/// 4. `include` matches, or is empty;
/// 5. its slot is one of `slots`, or there are none;
/// 6. its type is one of `kinds`, or there are none.
///
/// All of that is asked of the source's name; it is renamed afterwards.
public struct KeyFilter: Sendable, Equatable {
    /// Names that the tool itself uses in targets; never copied.
    public static let reservedPrefix = Array("__pika_migrate:".utf8)

    /// Source's database to target's; empty = each to the one of its number.
    public var databases: [Int: Int] = [:]
    /// What a key must match; empty = all.
    public var include: KeyPatterns = []
    /// What a key must not match.
    public var exclude: KeyPatterns = []
    /// Slots of a cluster that a key must lie in; empty = all.
    public var slots: [ClosedRange<Int>] = []
    /// Types that are copied; empty = all.
    public var kinds: Set<KeyKind> = []
    /// Commands of the stream that are left out, lower case.
    public var deniedCommands: Set<String> = []
    /// The only commands of the stream that are sent on, lower case; empty = all.
    public var allowedCommands: Set<String> = []
    /// What names become.
    public var renaming = KeyRenaming()
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
            && self.renaming.isEmpty
    }

    /// Several databases of the source go into one.
    public var joinsDatabases: Bool {
        Set(self.databases.values).count < self.databases.count
    }

    /// Whether a snapshot at this position may bring one name of the target twice: a Pika has names of
    /// several types, and renaming or joining can make two names one.
    public func mayRepeatNames(_ position: SourcePosition) -> Bool {
        if self.joinsDatabases || !self.renaming.isEmpty { return true }
        if case .pika = position { return self.kinds.count != 1 }
        return false
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
        return DatabaseKey(database, self.renaming.name(key.key, database: key.database))
    }

    /// Whether keys of a type are copied.
    public func takes(_ kind: KeyKind) -> Bool { self.kinds.isEmpty || self.kinds.contains(kind) }

    /// Whether a command of the stream is sent on, by its lower-case name; what is denied can't be
    /// allowed again.
    public func takes(command name: String) -> Bool {
        !self.deniedCommands.contains(name)
            && (self.allowedCommands.isEmpty || self.allowedCommands.contains(name))
    }

    private func takes(_ key: [UInt8]) -> Bool {
        if key.starts(with: Self.reservedPrefix) { return false }
        if self.exclude.matches(key) { return false }
        guard self.include.isEmpty || self.include.matches(key) else { return false }
        guard !self.slots.isEmpty else { return true }
        let slot = KeyHash.slot(key)
        return self.slots.contains { $0.contains(slot) }
    }

    /// Tells whether a checkpoint was made with the same filter.
    public var digest: UInt64 {
        let lists: [[String]] = [
            self.databases.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" },
            self.include.texts, self.exclude.texts, self.slots.map { "\($0)" },
            self.kinds.map(\.rawValue).sorted().map { "\($0)" }, self.deniedCommands.sorted(),
            self.allowedCommands.sorted(), self.renaming.texts, [self.origin.partner],
        ]
        // With lengths: no two filters read alike.
        let text = lists.map { list in
            "\(list.count)" + list.map { ":\($0.utf8.count):\($0)" }.joined()
        }.joined(separator: ";")
        return KeyHash.hash(database: 0, key: text.utf8)
    }
}
