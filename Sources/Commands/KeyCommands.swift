import Keyspace
import PikaStorage
import RESP

/// Commands on keys of any type.
enum KeyCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "del", arity: -2, flags: [.write, .multi, .sliced], keys: .all, group: .generic,
            since: "1.0.0", summary: "Deletes keys, of all types.",
            handler: { try delete(&$0, .del) }),
        CommandRow(
            "unlink", arity: -2, flags: [.write, .fast, .multi, .sliced], keys: .all,
            group: .generic,
            since: "4.0.0", summary: "Deletes keys, of all types.",
            handler: { try delete(&$0, .unlink) }),
        CommandRow(
            "exists", arity: -2, flags: [.readonly, .fast, .multi], keys: .all, group: .generic,
            since: "1.0.0", summary: "Counts the types that exist under the given keys.",
            handler: exists),
        CommandRow(
            "expire", arity: -3, flags: [.write, .fast], keys: .one, group: .generic,
            since: "1.0.0", summary: "Sets the expiration of a key in seconds.",
            handler: { x in
                try expire(&x) { x throws(CommandError) in
                    try x.deadline(inSeconds: x.integer(2), "expire")
                }
            }),
        CommandRow(
            "pexpire", arity: -3, flags: [.write, .fast], keys: .one, group: .generic,
            since: "2.6.0", summary: "Sets the expiration of a key in milliseconds.",
            handler: { x in
                try expire(&x) { x throws(CommandError) in
                    try x.deadline(inMilliseconds: x.integer(2), "pexpire")
                }
            }),
        CommandRow(
            "expireat", arity: -3, flags: [.write, .fast], keys: .one, group: .generic,
            since: "1.2.0", summary: "Sets the expiration of a key to a Unix second.",
            handler: { x in
                try expire(&x, asSent: true) { x throws(CommandError) in
                    try x.deadline(atSeconds: x.integer(2), "expireat")
                }
            }),
        CommandRow(
            "pexpireat", arity: -3, flags: [.write, .fast], keys: .one, group: .generic,
            since: "2.6.0", summary: "Sets the expiration of a key to a Unix millisecond.",
            handler: { x in
                try expire(&x) { x throws(CommandError) in
                    try x.deadline(atMilliseconds: x.integer(2), "pexpireat")
                }
            }),
        CommandRow(
            "persist", arity: 2, flags: [.write, .fast], keys: .one, group: .generic,
            since: "2.2.0", summary: "Removes the expiration of a key.", handler: persist),
        CommandRow(
            "ttl", arity: 2, flags: [.readonly, .fast], keys: .one, group: .generic,
            since: "1.0.0", summary: "Returns the seconds until a key expires.",
            handler: { try timeToLive(&$0, unit: 1) }),
        CommandRow(
            "pttl", arity: 2, flags: [.readonly, .fast], keys: .one, group: .generic,
            since: "2.6.0", summary: "Returns the milliseconds until a key expires.",
            handler: { try timeToLive(&$0, unit: 1000) }),
        CommandRow(
            "type", arity: 2, flags: [.readonly, .fast], keys: .one, group: .generic,
            since: "1.0.0", summary: "Returns the first type that a key has.", handler: type),
        CommandRow(
            "ptype", arity: 2, flags: [.readonly, .fast], keys: .one, group: .generic,
            since: "1.0.0", summary: "Returns all types that a key has.", handler: ptype),
    ]
}

extension KeyCommands {
    static func delete(_ x: inout Execution, _ effect: Effect) throws {
        if x.count == 2 {
            let deleted = try x.performAsSent(effect)
            if deleted > 0 { x.notify(.del, x.key) }
            x.reply.integer(deleted)
            return
        }
        try x.limit(x.count - 1)
        let word = x[0]
        if x.count - 1 > ExecutionPlace.sliceLimit, x.mayRunInSlices {
            let keys = x.rest(from: 1)
            x.reply.integer(
                try x.inSlices(keys) { x, key in try deleteOne(&x, effect, word, key) })
            return
        }
        var deleted: Int64 = 0
        try x.atomically { x in
            for index in 1..<x.count { deleted += try deleteOne(&x, effect, word, x[index]) }
        }
        x.reply.integer(deleted)
    }

    private static func deleteOne(
        _ x: inout Execution, _ effect: Effect, _ word: Bytes, _ key: Bytes
    ) throws -> Int64 {
        let deleted = try x.perform(effect, word: word, key)
        if deleted > 0 { x.notify(.del, key) }
        return deleted
    }

    static func exists(_ x: inout Execution) throws {
        try x.limit(x.count - 1)
        var found = 0
        for index in 1..<x.count { found += try x.keys.kinds(x[index], now: x.now).count }
        x.reply.integer(found)
    }

    /// Sets a deadline; one that has come deletes the key, as in Redis.
    static func expire(
        _ x: inout Execution, asSent: Bool = false,
        _ parse: (borrowing Execution) throws(CommandError) -> Int64
    ) throws {
        let condition = try ExpireCondition(x)
        let deadline = try parse(x)
        guard try condition.isMet(x, deadline) else {
            x.reply.integer(0)
            return
        }
        let changed: Int64
        var event = KeyspaceEvent.expire
        if x.isOver(deadline) {
            event = .del
            changed = try x.perform(.del, x.key)
        } else if asSent, x.count == 3 {
            changed = try x.performAsSent(.expireat)
        } else {
            let key = x.key
            changed = try withDecimal(deadline) { text in
                try x.perform(.expireat, key, text)
            }
        }
        if changed > 0 { x.notify(event, x.key) }
        x.reply.integer(changed)
    }

    static func persist(_ x: inout Execution) throws {
        let changed = try x.performAsSent(.persist)
        if changed > 0 { x.notify(.persist, x.key) }
        x.reply.integer(changed)
    }

    static func timeToLive(_ x: inout Execution, unit: Int64) throws {
        guard let expiry = try x.keys.expiry(x.key, now: x.now) else {
            x.reply.integer(-2)
            return
        }
        x.reply.integer(expiry == 0 ? -1 : (Int64(expiry) - x.now) * unit)
    }

    static func type(_ x: inout Execution) throws {
        guard let kind = try x.keys.type(x.key, now: x.now) else {
            x.reply.simple("none")
            return
        }
        switch kind {
        case .strings: x.reply.simple("string")
        case .hashes: x.reply.simple("hash")
        case .lists: x.reply.simple("list")
        case .sets: x.reply.simple("set")
        case .zsets: x.reply.simple("zset")
        }
    }

    static func ptype(_ x: inout Execution) throws {
        let kinds = try x.keys.kinds(x.key, now: x.now)
        x.reply.array(kinds.count)
        for kind in StoreKind.precedence where kinds.has(kind) { x.reply.bulk(kind.typeName) }
    }
}

/// NX, XX, GT and LT of Redis 7; a key without a deadline counts as one that lives for ever.
private struct ExpireCondition {
    private var onlyNew = false
    private var onlyOld = false
    private var onlyLater = false
    private var onlySooner = false
    private let isEmpty: Bool

    init(_ x: borrowing Execution) throws(CommandError) {
        self.isEmpty = x.count == 3
        guard !self.isEmpty else { return }
        for index in 3..<x.count {
            let word = x[index]
            if word.isWord("nx") {
                self.onlyNew = true
            } else if word.isWord("xx") {
                self.onlyOld = true
            } else if word.isWord("gt") {
                self.onlyLater = true
            } else if word.isWord("lt") {
                self.onlySooner = true
            } else {
                throw .text("ERR Unsupported option \(word.text)")
            }
        }
        guard !self.onlyNew || !(self.onlyOld || self.onlyLater || self.onlySooner) else {
            throw .reply("ERR NX and XX, GT or LT options at the same time are not compatible")
        }
        guard !self.onlyLater || !self.onlySooner else {
            throw .reply("ERR GT and LT options at the same time are not compatible")
        }
    }

    func isMet(_ x: borrowing Execution, _ deadline: Int64) throws -> Bool {
        guard !self.isEmpty, let current = try x.keys.expiry(x.key, now: x.now) else { return true }
        if self.onlyNew { return current == 0 }
        if self.onlyOld, current == 0 { return false }
        if self.onlyLater { return current != 0 && deadline > Int64(current) }
        if self.onlySooner { return current == 0 || deadline < Int64(current) }
        return true
    }
}
