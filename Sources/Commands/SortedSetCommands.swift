import Keyspace
import PikaStorage
import RESP

/// Commands on sorted sets that change or look up members.
enum SortedSetCommands {
    static let rows: [CommandRow] = changeRows + SortedSetRangeCommands.rows

    private static let changeRows: [CommandRow] = [
        CommandRow(
            "zadd", arity: -4, flags: [.write, .growsData, .fast], keys: .one,
            group: .sortedSet, since: "1.2.0",
            summary: "Adds members to a sorted set, or changes their scores.", handler: zadd),
        CommandRow(
            "zincrby", arity: 4, flags: [.write, .growsData, .fast], keys: .one,
            group: .sortedSet, since: "1.2.0", summary: "Adds to the score of a member.",
            handler: zincrby),
        CommandRow(
            "zrem", arity: -3, flags: [.write, .fast], keys: .one, group: .sortedSet,
            since: "1.2.0", summary: "Removes members from a sorted set.",
            handler: { x in
                try x.limit(x.count - 2)
                let removed = try x.performAsSent(.zrem)
                if removed > 0 { try x.notifyTaken(.zrem, x.key) }
                x.reply.integer(removed)
            }),
        CommandRow(
            "zcard", arity: 2, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "1.2.0", summary: "Returns the number of members of a sorted set.",
            handler: { x in x.reply.integer(try x.zsets.count(x.key, now: x.now)) }),
        CommandRow(
            "zscore", arity: 3, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "1.2.0", summary: "Returns the score of a member.", handler: zscore),
        CommandRow(
            "zmscore", arity: -3, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "6.2.0", summary: "Returns the scores of several members.",
            handler: zmscore),
        CommandRow(
            "zrank", arity: 3, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "2.0.0", summary: "Returns the place of a member, lowest score first.",
            handler: { try rank(&$0, reverse: false) }),
        CommandRow(
            "zrevrank", arity: 3, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "2.0.0", summary: "Returns the place of a member, highest score first.",
            handler: { try rank(&$0, reverse: true) }),
        CommandRow(
            "zpopmin", arity: -2, flags: [.write, .fast], keys: .one, group: .sortedSet,
            since: "5.0.0", summary: "Removes and returns the members with the lowest scores.",
            handler: { try pop(&$0, .zpopmin) }),
        CommandRow(
            "zpopmax", arity: -2, flags: [.write, .fast], keys: .one, group: .sortedSet,
            since: "5.0.0", summary: "Removes and returns the members with the highest scores.",
            handler: { try pop(&$0, .zpopmax) }),
        CommandRow(
            "zmpop", arity: -4, flags: [.write, .movableKeys], keys: .counted(at: 1),
            group: .sortedSet, since: "7.0.0",
            summary: "Removes and returns members of the first sorted set that has any.",
            handler: zmpop),
        CommandRow(
            "zremrangebyrank", arity: 4, flags: [.write], keys: .one, group: .sortedSet,
            since: "2.0.0", summary: "Removes the members in a range of places.",
            handler: removeByRank),
        CommandRow(
            "zremrangebyscore", arity: 4, flags: [.write], keys: .one, group: .sortedSet,
            since: "1.2.0", summary: "Removes the members in a range of scores.",
            handler: removeByScore),
        CommandRow(
            "zremrangebylex", arity: 4, flags: [.write], keys: .one, group: .sortedSet,
            since: "2.8.9", summary: "Removes the members in a range of names.",
            handler: removeByLex),
    ]
}

// MARK: - ZADD, ZINCRBY

extension SortedSetCommands {
    /// Options of ZADD, and those of GEOADD among them.
    struct AddOptions {
        var onlyNew = false
        var onlyOld = false
        var onlyGreater = false
        var onlyLess = false
        var countsChanges = false
        var increments = false
        /// Where the pairs start.
        var first = 2

        var isPlain: Bool { self.first == 2 }

        init(_ x: borrowing Execution, knowsComparisons: Bool = true) {
            while self.first < x.count {
                let word = x[self.first]
                if word.isWord("nx") {
                    self.onlyNew = true
                } else if word.isWord("xx") {
                    self.onlyOld = true
                } else if word.isWord("ch") {
                    self.countsChanges = true
                } else if knowsComparisons, word.isWord("gt") {
                    self.onlyGreater = true
                } else if knowsComparisons, word.isWord("lt") {
                    self.onlyLess = true
                } else if knowsComparisons, word.isWord("incr") {
                    self.increments = true
                } else {
                    return
                }
                self.first += 1
            }
        }

        func check(pairs: Int) throws(CommandError) {
            guard !self.onlyNew || !self.onlyOld else {
                throw .reply("ERR XX and NX options at the same time are not compatible")
            }
            guard !(self.onlyGreater && (self.onlyLess || self.onlyNew)),
                !(self.onlyLess && self.onlyNew)
            else {
                throw .reply(
                    "ERR GT, LT, and/or NX options at the same time are not compatible")
            }
            guard !self.increments || pairs == 1 else {
                throw .reply("ERR INCR option supports a single increment-element pair")
            }
        }
    }

    static func zadd(_ x: inout Execution) throws {
        let options = AddOptions(x)
        let words = x.count - options.first
        guard words > 0, words % 2 == 0 else { throw CommandError.syntax }
        try options.check(pairs: words / 2)
        for index in stride(from: options.first, to: x.count, by: 2) { _ = try x.double(index) }
        try x.limit(words / 2)
        // The count of the item does not tell whether scores have changed.
        if options.isPlain, !x.notices.isOn,
            words == 2 || !namesMemberTwice(x, from: 3, step: 2)
        {
            x.reply.integer(try x.performAsSent(.zadd))
            return
        }
        try addOneByOne(
            &x, options, members: stride(from: options.first + 1, to: x.count, by: 2)
        ) { x, member in try x.double(member - 1) }
    }

    /// Real Pika takes the first score of a member that is named twice, Redis the last.
    static func namesMemberTwice(
        _ x: borrowing Execution, from first: Int, step: Int
    ) -> Bool {
        if x.count <= first + 5 * step {
            for index in stride(from: first + step, to: x.count, by: step) {
                for earlier in stride(from: first, to: index, by: step)
                where x[earlier].equals(x[index]) { return true }
            }
            return false
        }
        var seen = Set<[UInt8]>(minimumCapacity: x.count / step)
        for index in stride(from: first, to: x.count, by: step)
        where !seen.insert(Array(x[index])).inserted { return true }
        return false
    }

    /// Logs a `zadd` for each change, and replies.
    ///
    /// - Parameters:
    ///   - x: the execution.
    ///   - options: what may be changed.
    ///   - members: indexes of the members among the arguments.
    ///   - score: the score that goes with the member at an index.
    static func addOneByOne(
        _ x: inout Execution, _ options: AddOptions, members: StrideTo<Int>,
        score wanted: (borrowing Execution, Int) throws -> Double
    ) throws {
        var added = 0
        var changed = 0
        var result: Double?
        try x.atomically { x in
            for member in members {
                let current = try x.zsets.score(x.key, x[member], now: x.now)
                guard !(options.onlyNew && current != nil), !(options.onlyOld && current == nil)
                else { continue }
                var score = try wanted(x, member)
                if options.increments { score += current ?? 0 }
                guard !score.isNaN else { throw SortedSetCommands.notANumber }
                if let current {
                    if options.onlyGreater, score <= current { continue }
                    if options.onlyLess, score >= current { continue }
                }
                result = score
                guard score != current else { continue }
                if current == nil { added += 1 } else { changed += 1 }
                try x.writeScore(x.key, x[member], score)
            }
        }
        if added + changed > 0 { x.notify(options.increments ? .zincr : .zadd, x.key) }
        if !options.increments {
            x.reply.integer(options.countsChanges ? added + changed : added)
        } else if let result {
            x.score(result)
        } else {
            x.reply.null()
        }
    }

    static let notANumber = CommandError.reply("ERR resulting score is not a number (NaN)")

    static func zincrby(_ x: inout Execution) throws {
        let delta = try x.double(2)
        let current = try x.zsets.score(x.key, x[3], now: x.now)
        let score = (current ?? 0) + delta
        guard !score.isNaN else { throw notANumber }
        try x.writeScore(x.key, x[3], score)
        if score != current { x.notify(.zincr, x.key) }
        x.score(score)
    }
}

extension Execution {
    /// Logs `zadd key score member`, the score with 17 digits.
    mutating func writeScore(_ key: Bytes, _ member: Bytes, _ score: Double) throws {
        try withScoreText(score) { _ = try self.perform(.zadd, key, $0, member) }
    }

    /// Member and score: two elements in RESP2, a pair in RESP3.
    mutating func pair(_ member: Bytes, _ score: Double) {
        if self.reply.version == .resp3 { self.reply.array(2) }
        self.reply.bulk(member)
        self.score(score)
    }
}

// MARK: - Look up, pop, remove

extension SortedSetCommands {
    static func zmscore(_ x: inout Execution) throws {
        try x.limit(x.count - 2)
        let meta = try x.zsets.meta(x.key, now: x.now)
        x.reply.array(x.count - 2)
        for member in x.rest(from: 2) {
            if let meta, let score = try x.zsets.score(x.key, meta, member) {
                x.score(score)
            } else {
                x.reply.null()
            }
        }
    }

    static func zscore(_ x: inout Execution) throws {
        if let score = try x.zsets.score(x.key, x[2], now: x.now) {
            x.score(score)
        } else {
            x.reply.null()
        }
    }

    static func rank(_ x: inout Execution, reverse: Bool) throws {
        guard try x.zsets.score(x.key, x[2], now: x.now) != nil else {
            x.reply.null()
            return
        }
        try x.limit(try x.zsets.count(x.key, now: x.now))
        if let rank = try x.zsets.rank(x.key, x[2], reverse: reverse, now: x.now) {
            x.reply.integer(rank)
        } else {
            x.reply.null()
        }
    }

    static func pop(_ x: inout Execution, _ effect: Effect) throws {
        guard x.count <= 3 else { throw CommandError.syntax }
        let wanted = x.count == 3 ? try x.positive(2) : 1
        try x.requireType(x.key, .zsets)
        let taken = min(wanted, try x.zsets.count(x.key, now: x.now))
        try x.limit(taken)
        guard taken > 0 else {
            x.reply.array(0)
            // Without effect, and logged all the same: so does real Pika.
            try x.performAsSent(effect)
            return
        }
        let isNested = x.reply.version == .resp3 && x.count == 3
        try writeEnd(&x, x.key, highest: effect == .zpopmax, taken, isNested: isNested)
        try x.performAsSent(effect)
        try x.notifyTaken(effect == .zpopmax ? .zpopmax : .zpopmin, x.key)
    }

    /// Replies with `count` members from one end, without taking them.
    private static func writeEnd(
        _ x: inout Execution, _ key: Bytes, highest: Bool, _ count: Int, isNested: Bool
    ) throws {
        let start = x.reply.count
        var written = 0
        try x.zsets.forEachByRank(
            key, start: 0, stop: Int64(count - 1), reverse: highest, now: x.now
        ) { member, score in
            if isNested { x.reply.array(2) }
            x.reply.bulk(member)
            x.score(score)
            written += 1
            return true
        }
        x.reply.insertHeader(.array, count: isNested ? written : written * 2, at: start)
    }

    static func zmpop(_ x: inout Execution) throws {
        let arguments = try MultiPop(x, countAt: 1)
        let highest = try parseHighest(arguments.which)
        if try !popFirst(&x, arguments.keys, highest: highest, count: arguments.count) {
            x.reply.nullArray()
        }
    }

    /// Reads `MIN` or `MAX`.
    static func parseHighest(_ word: Bytes) throws(CommandError) -> Bool {
        if word.isWord("min") { return false }
        if word.isWord("max") { return true }
        throw .syntax
    }

    /// Takes up to `count` members off the first sorted set that has any:
    /// `[key, [[member, score] …]]`.
    ///
    /// - Returns: false, without reply or effect, when all are empty.
    static func popFirst(
        _ x: inout Execution, _ keys: UnsafeBufferPointer<Bytes>, highest: Bool, count: Int
    ) throws -> Bool {
        for key in keys {
            let taken = min(count, try x.zsets.count(key, now: x.now))
            guard taken > 0 else { continue }
            try x.limit(taken)
            x.reply.array(2)
            x.reply.bulk(key)
            try writeEnd(&x, key, highest: highest, taken, isNested: true)
            try take(&x, key, highest: highest, taken)
            return true
        }
        return false
    }

    /// Takes one member off the first sorted set that has any: `[key, member, score]`, the reply
    /// of BZPOPMIN and BZPOPMAX.
    ///
    /// - Returns: false, without reply or effect, when all are empty.
    static func popOne(
        _ x: inout Execution, _ keys: UnsafeBufferPointer<Bytes>, highest: Bool
    ) throws -> Bool {
        for key in keys where try x.zsets.count(key, now: x.now) > 0 {
            x.reply.array(3)
            x.reply.bulk(key)
            try x.zsets.forEachByRank(key, start: 0, stop: 0, reverse: highest, now: x.now) {
                member, score in
                x.reply.bulk(member)
                x.score(score)
                return false
            }
            try take(&x, key, highest: highest, 1)
            return true
        }
        return false
    }

    /// Logs `zpopmin key` or `zpopmax key`, with the count when it is not one.
    private static func take(
        _ x: inout Execution, _ key: Bytes, highest: Bool, _ count: Int
    ) throws {
        let effect: Effect = highest ? .zpopmax : .zpopmin
        if count == 1 {
            try x.perform(effect, key)
        } else {
            try withDecimal(Int64(count)) { _ = try x.perform(effect, key, $0) }
        }
        try x.notifyTaken(highest ? .zpopmax : .zpopmin, key)
    }

    static func removeByRank(_ x: inout Execution) throws {
        _ = try x.integer(2)
        _ = try x.integer(3)
        try x.limit(try x.zsets.count(x.key, now: x.now))
        try x.takesAway(.zsets)
        try remove(&x, .zremrangebyrank, .zremrangebyrank)
    }

    static func removeByScore(_ x: inout Execution) throws {
        _ = try parseScoreBound(x[2])
        _ = try parseScoreBound(x[3])
        try x.limit(try x.zsets.count(x.key, now: x.now))
        try x.takesAway(.zsets)
        try remove(&x, .zremrangebyscore, .zremrangebyscore)
    }

    static func removeByLex(_ x: inout Execution) throws {
        _ = try parseLexBound(x[2])
        _ = try parseLexBound(x[3])
        try x.limit(try x.zsets.count(x.key, now: x.now))
        try x.takesAway(.zsets)
        try remove(&x, .zremrangebylex, .zremrangebylex)
    }

    private static func remove(
        _ x: inout Execution, _ effect: Effect, _ event: KeyspaceEvent
    ) throws {
        let removed = try x.performAsSent(effect)
        if removed > 0 { try x.notifyTaken(event, x.key) }
        x.reply.integer(removed)
    }
}
