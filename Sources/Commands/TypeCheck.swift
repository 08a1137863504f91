import Keyspace
import PikaStorage
import Synchronization

/// What a command demands of the types that live under its keys (`wrong-type-check yes`).
struct TypeRule {
    /// Keys that may have any type, since the command replaces what is there.
    enum Replaced: UInt8 {
        case none
        /// The first key: the destination of SINTERSTORE and the like.
        case first
        /// All keys: SET, MSET and the like.
        case all
    }

    /// Types that the command works on; empty when it takes any.
    var kinds: StoreKinds
    var replaced = Replaced.none
    /// Only the first key is checked before the command runs: the others matter, and are looked at,
    /// when there is something to write.
    var onlyFirst = false

    /// Any type will do.
    static let any = TypeRule(kinds: [])

    @inline(__always) var isChecked: Bool { !self.kinds.isEmpty }
}

extension TypeRule {
    /// The rule of a row: by its family, but for a few commands.
    init(_ row: CommandRow) {
        if row.keys == .none {
            self = .any
            return
        }
        let name = row.name.bytes
        if Self.anyType.contains(where: { name.isWord($0) }) {
            self = .any
            return
        }
        self.kinds =
            switch row.group {
            case .string: .strings
            case .hash: .hashes
            case .list: .lists
            case .set: .sets
            case .sortedSet, .geo: .zsets
            default: []
            }
        // A plain set counts as a sorted set in which all scores are 1.
        if Self.takesPlainSets.contains(where: { name.isWord($0) }) {
            self.kinds.insert(.sets)
        }
        self.onlyFirst = Self.moves.contains(where: { name.isWord($0) })
        if Self.replacesAll.contains(where: { name.isWord($0) }) {
            self.replaced = .all
        } else if Self.replacesFirst.contains(where: { name.isWord($0) }) {
            self.replaced = .first
        }
    }

    /// MGET answers null for what is no string; the others look at a count before the type.
    private static let anyType: [StaticString] = ["mget", "zpopmin", "zpopmax"]
    private static let takesPlainSets: [StaticString] = [
        "zunionstore", "zinterstore", "zdiffstore", "zunion", "zinter", "zdiff", "zintercard",
    ]
    private static let moves: [StaticString] = [
        "rpoplpush", "lmove", "brpoplpush", "blmove",
        "georadius", "georadiusbymember",
    ]
    private static let replacesAll: [StaticString] = [
        "set", "setnx", "setex", "psetex", "pksetexat", "mset", "msetnx",
    ]
    private static let replacesFirst: [StaticString] = [
        "bitop", "sinterstore", "sunionstore", "sdiffstore", "zunionstore", "zinterstore",
        "zdiffstore", "zrangestore", "geosearchstore",
    ]
}

extension CommandError {
    static let wrongType = CommandError.reply(
        "WRONGTYPE Operation against a key holding the wrong kind of value")
}

// MARK: - The check

extension CommandProcessor {
    /// Throws WRONGTYPE when a key lives under types that the command does not work on.
    ///
    /// A name that has the command's own type passes, whatever else it has from the time before
    /// the check was on: so the look-ups beyond the first are for missing keys only.
    @inline(__always)
    func checkTypes(_ row: UnsafePointer<HotRow>) throws {
        let x = self.execution
        if !x.pointee.displaced.isEmpty { x.pointee.displaced = [] }
        // A command that waits goes on waiting when its key has another type by now.
        if x.pointee.client.waiter != nil { return }
        if row.pointee.types.isChecked, self.environment.checksTypes.load(ordering: .relaxed) {
            try self.checkKeys(row)
        }
    }

    private func checkKeys(_ row: UnsafePointer<HotRow>) throws {
        let x = self.execution
        let rule = row.pointee.types
        let keys = row.pointee.keys
        if rule.onlyFirst || !keys.isMovable && keys.first == keys.last {
            try x.pointee.checkType(x.pointee.arguments[keys.first], rule, isFirst: true)
            return
        }
        for (index, key) in keys.list(in: x.pointee.arguments).enumerated() {
            try x.pointee.checkType(key, rule, isFirst: index == 0)
        }
    }
}

extension Execution {
    /// Throws WRONGTYPE unless the key is missing or has one of the types (`wrong-type-check yes`).
    mutating func requireType(_ key: Bytes, _ kinds: StoreKinds) throws {
        guard self.environment.checksTypes.load(ordering: .relaxed) else { return }
        try self.checkType(key, TypeRule(kinds: kinds), isFirst: true)
    }

    mutating func checkType(_ key: Bytes, _ rule: TypeRule, isFirst: Bool) throws {
        let transactions = self.group.transactions
        for kind in StoreKind.allCases where rule.kinds.has(kind) {
            if try transactions[kind].keyExpiry(key, now: self.now) != nil { return }
        }
        var hasOther = false
        for kind in StoreKind.allCases where !hasOther && !rule.kinds.has(kind) {
            hasOther = try transactions[kind].keyExpiry(key, now: self.now) != nil
        }
        guard hasOther else { return }
        switch rule.replaced {
        case .all: self.displaced.append(key)
        case .first where isFirst: self.displaced.append(key)
        default: throw CommandError.wrongType
        }
    }

    /// Deletes the keys of other types that the command is about to replace, as one atomic group
    /// with what it writes: no effect deletes one type only, so this comes before the write.
    mutating func removeDisplaced() throws {
        guard !self.displaced.isEmpty else { return }
        let keys = self.displaced
        self.displaced = []
        try self.atomically { x in
            for key in keys { try x.perform(.del, key) }
        }
    }
}
