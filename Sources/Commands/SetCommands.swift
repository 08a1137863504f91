import Keyspace
import PikaStorage
import RESP
import Synchronization

/// Commands on sets.
enum SetCommands {
    /// An item of a *STORE command is closed when its members have come to this many bytes.
    static let itemBytes = 131_072
    /// Members that SPOP chooses among in a large set: looking further costs time per member.
    static let choiceWindow = 1000

    static let rows: [CommandRow] = [
        CommandRow(
            "sadd", arity: -3, flags: [.write, .growsData, .fast], keys: .one, group: .set,
            since: "1.0.0", summary: "Adds members to a set.",
            handler: { x in
                try x.limit(x.count - 2)
                let added = try x.performAsSent(.sadd)
                if added > 0 { x.notify(.sadd, x.key) }
                x.reply.integer(added)
            }),
        CommandRow(
            "srem", arity: -3, flags: [.write, .fast], keys: .one, group: .set, since: "1.0.0",
            summary: "Removes members from a set.",
            handler: { x in
                try x.limit(x.count - 2)
                let removed = try x.performAsSent(.srem)
                if removed > 0 { try x.notifyTaken(.srem, x.key) }
                x.reply.integer(removed)
            }),
        CommandRow(
            "scard", arity: 2, flags: [.readonly, .fast], keys: .one, group: .set,
            since: "1.0.0", summary: "Returns the number of members of a set.",
            handler: { x in x.reply.integer(try x.sets.count(x.key, now: x.now)) }),
        CommandRow(
            "sismember", arity: 3, flags: [.readonly, .fast], keys: .one, group: .set,
            since: "1.0.0", summary: "Tells whether a member belongs to a set.",
            handler: { x in
                x.reply.integer(try x.sets.contains(x.key, x[2], now: x.now) ? 1 : 0)
            }),
        CommandRow(
            "smismember", arity: -3, flags: [.readonly, .fast], keys: .one, group: .set,
            since: "6.2.0", summary: "Tells which of several members belong to a set.",
            handler: smismember),
        CommandRow(
            "sintercard", arity: -3, flags: [.readonly, .multi, .movableKeys],
            keys: .counted(at: 1), group: .set, since: "7.0.0",
            summary: "Counts the members of the intersection of sets.", handler: sintercard),
        CommandRow(
            "smembers", arity: 2, flags: [.readonly], keys: .one, group: .set, since: "1.0.0",
            summary: "Returns all members of a set.", handler: smembers),
        CommandRow(
            "srandmember", arity: -2, flags: [.readonly], keys: .one, group: .set,
            since: "1.0.0", summary: "Returns random members of a set.", handler: srandmember),
        CommandRow(
            "spop", arity: -2, flags: [.write, .fast], keys: .one, group: .set, since: "1.0.0",
            summary: "Removes and returns random members of a set.", handler: spop),
        CommandRow(
            "smove", arity: 4, flags: [.write, .fast, .multi], keys: .two, group: .set,
            since: "1.0.0", summary: "Moves a member from one set to another.", handler: smove),
        CommandRow(
            "sinter", arity: -2, flags: [.readonly, .multi], keys: .all, group: .set,
            since: "1.0.0", summary: "Returns the intersection of sets.",
            handler: { try combine(&$0, .intersection) }),
        CommandRow(
            "sunion", arity: -2, flags: [.readonly, .multi], keys: .all, group: .set,
            since: "1.0.0", summary: "Returns the union of sets.",
            handler: { try combine(&$0, .union) }),
        CommandRow(
            "sdiff", arity: -2, flags: [.readonly, .multi], keys: .all, group: .set,
            since: "1.0.0", summary: "Returns the difference of sets.",
            handler: { try combine(&$0, .difference) }),
        CommandRow(
            "sinterstore", arity: -3, flags: [.write, .growsData, .multi], keys: .all,
            group: .set, since: "1.0.0", summary: "Stores the intersection of sets.",
            handler: { try combineAndStore(&$0, .intersection) }),
        CommandRow(
            "sunionstore", arity: -3, flags: [.write, .growsData, .multi], keys: .all,
            group: .set, since: "1.0.0", summary: "Stores the union of sets.",
            handler: { try combineAndStore(&$0, .union) }),
        CommandRow(
            "sdiffstore", arity: -3, flags: [.write, .growsData, .multi], keys: .all,
            group: .set, since: "1.0.0", summary: "Stores the difference of sets.",
            handler: { try combineAndStore(&$0, .difference) }),
    ]
}

extension SetCommands {
    static func smembers(_ x: inout Execution) throws {
        try x.limit(try x.sets.count(x.key, now: x.now))
        let start = x.reply.count
        var count = 0
        try x.sets.forEach(x.key, now: x.now) { member in
            x.reply.bulk(member)
            count += 1
            return !x.reply.hasOverflowed
        }
        x.reply.insertHeader(.set, count: count, at: start)
    }

    static func smismember(_ x: inout Execution) throws {
        try x.limit(x.count - 2)
        let meta = try x.sets.meta(x.key, now: x.now)
        x.reply.array(x.count - 2)
        for member in x.rest(from: 2) {
            let isMember = try meta.map { try x.sets.contains(x.key, $0, member) } ?? false
            x.reply.integer(isMember ? 1 : 0)
        }
    }

    static func sintercard(_ x: inout Execution) throws {
        guard let number = Decimal.parseInteger(x[1]), number > 0 else {
            throw CommandError.reply("ERR numkeys should be greater than 0")
        }
        guard number <= Int64(x.count - 2) else {
            throw CommandError.reply(
                "ERR Number of keys can't be greater than number of args")
        }
        let end = 2 + Int(number)
        var limit = Int.max
        if end < x.count {
            guard end + 2 == x.count, x[end].isWord("limit") else { throw CommandError.syntax }
            guard let value = Decimal.parseInteger(x[end + 1]), value >= 0 else {
                throw CommandError.reply("ERR LIMIT can't be negative")
            }
            limit = value == 0 ? .max : Int(value)
        }
        var count = 0
        let keys = UnsafeBufferPointer(rebasing: x.arguments[2..<end])
        try forEachMember(&x, .intersection, keys: keys) { _, _ in
            count += 1
            return count < limit
        }
        x.reply.integer(count)
    }

    static func smove(_ x: inout Execution) throws {
        let member = x[3]
        guard try x.sets.contains(x.key, member, now: x.now) else {
            x.reply.integer(0)
            return
        }
        if !x.key.equals(x[2]) {
            try x.atomically { x in
                try x.perform(.srem, x.key, member)
                try x.notifyTaken(.srem, x.key)
                if try x.perform(.sadd, x[2], member) > 0 { x.notify(.sadd, x[2]) }
            }
        }
        x.reply.integer(1)
    }
}

// MARK: - Random members

extension SetCommands {
    static func srandmember(_ x: inout Execution) throws {
        guard x.count <= 3 else { throw CommandError.syntax }
        let size = try x.sets.count(x.key, now: x.now)
        guard x.count == 3 else {
            guard size > 0 else {
                x.reply.null()
                return
            }
            try x.limit(size)
            try collect(&x, indexes: [Int.random(in: 0..<size)])
            if x.collector.count > 0 { x.reply.bulk(x.collector.list()[0]) } else { x.reply.null() }
            return
        }
        let wanted = try x.integer(2)
        guard wanted >= -Int64(Int32.max), wanted <= Int64(Int32.max) else {
            throw CommandError.reply("ERR value is out of range")
        }
        guard size > 0, wanted != 0 else {
            x.reply.array(0)
            return
        }
        try x.limit(size)
        if wanted > 0 {
            try collect(&x, indexes: distinct(min(Int(wanted), size), of: size))
            let members = x.collector.list()
            x.reply.array(members.count)
            for member in members.shuffled() { x.reply.bulk(member) }
        } else {
            try x.limit(Int(-wanted))
            try collect(&x, indexes: Array(0..<size))
            let members = x.collector.list()
            let limit = x.environment.maxReplyBytes.load(ordering: .relaxed)
            let start = x.reply.count
            x.reply.array(Int(-wanted))
            for _ in 0..<Int(-wanted) {
                x.bulkOrNull(members.randomElement())
                guard x.reply.count - start <= limit else { throw CommandError.replyTooLarge }
            }
        }
    }

    static func spop(_ x: inout Execution) throws {
        guard x.count <= 3 else { throw CommandError.syntax }
        let wanted = x.count == 3 ? try x.positive(2) : 1
        let size = try x.sets.count(x.key, now: x.now)
        guard size > 0, wanted > 0 else {
            if x.count == 3 { x.reply.set(0) } else { x.reply.null() }
            return
        }
        let taken = min(wanted, size)
        try x.limit(taken)
        let window = min(size, max(choiceWindow, taken))
        try collect(&x, indexes: distinct(taken, of: window))
        let members = x.collector.list()
        if taken > ExecutionPlace.sliceLimit, x.mayRunInSlices {
            try x.inSlicesOfKey(members) { x, members in
                try x.performInItems(.srem, members, wordsPerElement: 1)
            }
        } else {
            try x.takesAway(.sets)
            try x.atomically { x in try x.performInItems(.srem, members, wordsPerElement: 1) }
        }
        try x.notifyTaken(.spop, x.key)
        if x.count == 3 { x.reply.set(members.count) }
        for member in members { x.reply.bulk(member) }
    }

    /// `count` different indexes below `size`, ascending.
    static func distinct(_ count: Int, of size: Int) -> [Int] {
        guard count < size else { return Array(0..<size) }
        // Floyd's method: one random number per index.
        var chosen = Set<Int>(minimumCapacity: count)
        for last in size - count..<size {
            if !chosen.insert(Int.random(in: 0...last)).inserted { chosen.insert(last) }
        }
        return chosen.sorted()
    }

    /// Copies the members with these places in the order of the store into the collector.
    private static func collect(_ x: inout Execution, indexes: [Int]) throws {
        x.collector.clear()
        var index = 0
        var next = 0
        try x.sets.forEach(x.key, now: x.now) { member in
            if indexes[next] == index {
                x.collector.append(member)
                next += 1
            }
            index += 1
            return next < indexes.count
        }
    }
}

// MARK: - Several sets

extension SetCommands {
    enum Combination {
        case intersection, union, difference

        /// What is told of the destination.
        var event: KeyspaceEvent {
            switch self {
            case .intersection: .sinterstore
            case .union: .sunionstore
            case .difference: .sdiffstore
            }
        }
    }

    static func combine(_ x: inout Execution, _ combination: Combination) throws {
        let start = x.reply.count
        var count = 0
        try forEachMember(&x, combination, keys: x.rest(from: 1)) { x, member in
            x.reply.bulk(member)
            count += 1
            return true
        }
        x.reply.insertHeader(.set, count: count, at: start)
    }

    /// Logged as `del`, then `sadd` in items of limited size: one atomic group.
    static func combineAndStore(_ x: inout Execution, _ combination: Combination) throws {
        x.collector.clear()
        try forEachMember(&x, combination, keys: x.rest(from: 2)) { x, member in
            x.collector.append(member)
            return true
        }
        let members = x.collector.list()
        try x.storeElements(.sadd, members, wordsPerElement: 1, combination.event)
        x.reply.integer(members.count)
    }

    /// Visits the members of the result, each once, until `body` returns false.
    private static func forEachMember(
        _ x: inout Execution, _ combination: Combination, keys: UnsafeBufferPointer<Bytes>,
        _ body: (inout Execution, Bytes) -> Bool
    ) throws {
        let now = x.now
        let sets = x.sets
        let metas = try keys.map { try sets.meta($0, now: now) }
        try x.limit(metas.reduce(0) { $0 + Int($1?.count ?? 0) })
        func isMember(_ index: Int, _ member: Bytes) throws(StorageError) -> Bool {
            guard let meta = metas[index] else { return false }
            return try sets.contains(keys[index], meta, member)
        }
        switch combination {
        case .union:
            // A single set has no member twice.
            var seen = Set<[UInt8]>()
            for key in keys {
                try sets.forEach(key, now: now) { member throws(StorageError) -> Bool in
                    guard keys.count == 1 || seen.insert(Array(member)).inserted else {
                        return true
                    }
                    return body(&x, member)
                }
            }
        case .intersection:
            guard !metas.contains(nil),
                let smallest = metas.indices.min(by: {
                    metas[$0]?.count ?? 0 < metas[$1]?.count ?? 0
                })
            else { return }
            try sets.forEach(keys[smallest], now: now) { member throws(StorageError) -> Bool in
                for other in keys.indices where other != smallest {
                    guard try isMember(other, member) else { return true }
                }
                return body(&x, member)
            }
        case .difference:
            try sets.forEach(keys[0], now: now) { member throws(StorageError) -> Bool in
                for other in keys.indices.dropFirst() where try isMember(other, member) {
                    return true
                }
                return body(&x, member)
            }
        }
    }
}

extension Execution {
    /// Replaces a key, by default the one in `arguments[1]`: `del`, then items of `effect` of
    /// limited size, as one atomic group; `event` tells of it, if anything is stored.
    mutating func storeElements(
        _ effect: Effect, _ words: UnsafeBufferPointer<Bytes>, wordsPerElement: Int,
        _ event: KeyspaceEvent, into destination: Bytes? = nil
    ) throws {
        let key = destination ?? self.key
        try self.replacing { x in
            let deleted = try x.perform(.del, key)
            try x.performInItems(effect, words, wordsPerElement: wordsPerElement, on: key)
            if !words.isEmpty {
                x.notify(event, key)
            } else if deleted > 0 {
                x.notify(.del, key)
            }
        }
    }

    /// Performs `effect` on a key, by default the one in `arguments[1]`, in items of limited size.
    mutating func performInItems(
        _ effect: Effect, _ words: UnsafeBufferPointer<Bytes>, wordsPerElement: Int,
        on key: Bytes? = nil
    ) throws {
        var item = [key ?? self.key]
        var bytes = 0
        for (index, word) in words.enumerated() {
            item.append(word)
            bytes += word.count
            let isWhole = (index + 1) % wordsPerElement == 0
            guard isWhole, bytes >= SetCommands.itemBytes || index + 1 == words.count else {
                continue
            }
            try item.withUnsafeBufferPointer { _ = try self.perform(effect, list: $0) }
            if let kind = effect.filledKind { try self.group.writeUnseen(item[0], kind) }
            item.removeSubrange(1...)
            bytes = 0
        }
    }
}
