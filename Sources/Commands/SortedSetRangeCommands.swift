import Keyspace
import PikaStorage
import RESP

/// Commands that read or count a range of a sorted set.
enum SortedSetRangeCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "zrange", arity: -4, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "1.2.0", summary: "Returns the members in a range of places, scores or names.",
            handler: { try range(&$0, .rank, reverse: false, isGeneral: true) }),
        CommandRow(
            "zrevrange", arity: -4, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "1.2.0",
            summary: "Returns the members in a range of places, highest score first.",
            handler: { try range(&$0, .rank, reverse: true) }),
        CommandRow(
            "zrangebyscore", arity: -4, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "1.0.5", summary: "Returns the members in a range of scores.",
            handler: { try range(&$0, .score, reverse: false) }),
        CommandRow(
            "zrevrangebyscore", arity: -4, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "2.2.0", summary: "Returns the members in a range of scores, highest first.",
            handler: { try range(&$0, .score, reverse: true) }),
        CommandRow(
            "zrangebylex", arity: -4, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "2.8.9", summary: "Returns the members in a range of names.",
            handler: { try range(&$0, .lex, reverse: false) }),
        CommandRow(
            "zrevrangebylex", arity: -4, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "2.8.9", summary: "Returns the members in a range of names, last first.",
            handler: { try range(&$0, .lex, reverse: true) }),
        CommandRow(
            "zrangestore", arity: -5, flags: [.write, .growsData, .multi], keys: .two,
            group: .sortedSet, since: "6.2.0",
            summary: "Stores the members in a range of places, scores or names.",
            handler: rangeStore),
        CommandRow(
            "zcount", arity: 4, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "2.0.0", summary: "Counts the members in a range of scores.",
            handler: zcount),
        CommandRow(
            "zlexcount", arity: 4, flags: [.readonly, .fast], keys: .one, group: .sortedSet,
            since: "2.8.9", summary: "Counts the members in a range of names.",
            handler: zlexcount),
    ]
}

extension SortedSetRangeCommands {
    enum Order { case rank, score, lex }

    private struct Options {
        /// The sorted set.
        var key: Bytes
        /// The bounds as sent: in reverse the upper one first.
        var first: Bytes
        var last: Bytes
        var order: Order
        var reverse: Bool
        var withScores = false
        /// The members go into a sorted set of their own.
        var stores = false
        var offset: Int64 = 0
        /// Negative = all.
        var limit: Int64 = -1

        init(
            _ x: borrowing Execution, keyAt start: Int, _ order: Order, reverse: Bool,
            isGeneral: Bool
        ) throws(CommandError) {
            self.key = x[start]
            self.first = x[start + 1]
            self.last = x[start + 2]
            self.order = order
            self.reverse = reverse
            self.stores = start > 1
            var index = start + 3
            while index < x.count {
                let word = x[index]
                if word.isWord("withscores"), !self.stores {
                    self.withScores = true
                } else if word.isWord("limit"), index + 2 < x.count {
                    self.offset = try x.integer(index + 1)
                    self.limit = try x.integer(index + 2)
                    index += 2
                } else if isGeneral, word.isWord("byscore"), self.order == .rank {
                    self.order = .score
                } else if isGeneral, word.isWord("bylex"), self.order == .rank {
                    self.order = .lex
                } else if isGeneral, word.isWord("rev") {
                    self.reverse = true
                } else {
                    throw .syntax
                }
                index += 1
            }
            guard self.limit == -1 || self.order != .rank else {
                throw .text(
                    "ERR syntax error, LIMIT is only supported in combination with either "
                        + "BYSCORE or BYLEX")
            }
            guard !self.withScores || self.order != .lex else {
                throw .reply(
                    "ERR syntax error, WITHSCORES not supported in combination with BYLEX")
            }
        }
    }

    static func range(
        _ x: inout Execution, _ order: Order, reverse: Bool, isGeneral: Bool = false
    ) throws {
        let options = try Options(x, keyAt: 1, order, reverse: reverse, isGeneral: isGeneral)
        let start = x.reply.count
        x.scanned = 0
        try visit(&x, options)
        let perMember = options.withScores && x.reply.version == .resp2 ? 2 : 1
        x.reply.insertHeader(.array, count: x.scanned * perMember, at: start)
    }

    /// Logged as `del`, then `zadd` in items of limited size: one atomic group.
    static func rangeStore(_ x: inout Execution) throws {
        let options = try Options(x, keyAt: 2, .rank, reverse: false, isGeneral: true)
        x.scanned = 0
        x.collector.clear()
        try visit(&x, options)
        try x.storeElements(.zadd, x.collector.list(), wordsPerElement: 2, .zrangestore)
        x.reply.integer(x.scanned)
    }

    private static func visit(_ x: inout Execution, _ options: Options) throws {
        if options.order == .rank {
            try rankRange(&x, options)
        } else {
            try limitedRange(&x, options)
        }
    }

    private static func take(
        _ x: inout Execution, _ options: Options, _ member: Bytes, _ score: Double
    ) {
        x.scanned += 1
        if options.stores {
            withScoreText(score) { x.collector.append($0) }
            x.collector.append(member)
        } else if options.withScores {
            x.pair(member, score)
        } else {
            x.reply.bulk(member)
        }
    }

    private static func rankRange(_ x: inout Execution, _ options: Options) throws {
        guard let start = Decimal.parseInteger(options.first),
            let stop = Decimal.parseInteger(options.last)
        else { throw CommandError.notInteger }
        let size = Int64(try x.zsets.count(options.key, now: x.now))
        let first = max(0, start < 0 ? size &+ start : start)
        let last = min(size - 1, stop < 0 ? size &+ stop : stop)
        guard first <= last else { return }
        // Members between the range and the end that the walk begins at are walked over too.
        let isNearEnd = size - first < last + 1
        try x.limit(Int(isNearEnd ? size - first : last + 1))
        guard isNearEnd, !options.stores else {
            try x.zsets.forEachByRank(
                options.key, start: first, stop: last, reverse: options.reverse, now: x.now
            ) { member, score in
                take(&x, options, member, score)
                return true
            }
            return
        }
        try rankRangeFromEnd(&x, options, first: size - 1 - last, last: size - 1 - first)
    }

    /// The range seen from the other end, turned round.
    private static func rankRangeFromEnd(
        _ x: inout Execution, _ options: Options, first: Int64, last: Int64
    ) throws {
        x.collector.clear()
        var scores: [Double] = []
        try x.zsets.forEachByRank(
            options.key, start: first, stop: last, reverse: !options.reverse, now: x.now
        ) { member, score in
            x.collector.append(member)
            scores.append(score)
            return true
        }
        let members = x.collector.list()
        for index in members.indices.reversed() {
            take(&x, options, members[index], scores[index])
        }
    }

    /// A range of scores or names, with LIMIT; defers when it walks too far on a loop.
    private static func limitedRange(_ x: inout Execution, _ options: Options) throws {
        var skip = options.offset
        var left = options.limit < 0 ? Int64.max : options.limit
        var visited = 0
        let mayVisit = x.place == .loop ? ExecutionPlace.elementLimit : Int.max
        func visit(_ member: Bytes, _ score: Double) -> Bool {
            visited += 1
            guard left > 0, visited <= mayVisit else { return false }
            guard skip == 0 else {
                skip -= 1
                return true
            }
            left -= 1
            take(&x, options, member, score)
            return true
        }
        let (low, high) =
            options.reverse ? (options.last, options.first) : (options.first, options.last)
        if options.order == .score {
            let range = ScoreRange(
                minimum: try parseScoreBound(low), maximum: try parseScoreBound(high))
            guard skip >= 0 else { return }
            try x.zsets.forEachByScore(
                options.key, range, reverse: options.reverse, now: x.now, visit)
        } else {
            let range = LexRange(
                minimum: try parseLexBound(low), maximum: try parseLexBound(high))
            guard skip >= 0 else { return }
            try x.zsets.forEachByLex(
                options.key, range, reverse: options.reverse, now: x.now, visit)
        }
        if visited > mayVisit { throw CommandError.deferToPool }
    }

    static func zcount(_ x: inout Execution) throws {
        let range = ScoreRange(
            minimum: try parseScoreBound(x[2]), maximum: try parseScoreBound(x[3]))
        try x.limit(try x.zsets.count(x.key, now: x.now))
        x.reply.integer(try x.zsets.countByScore(x.key, range, now: x.now))
    }

    static func zlexcount(_ x: inout Execution) throws {
        let range = LexRange(
            minimum: try parseLexBound(x[2]), maximum: try parseLexBound(x[3]))
        try x.limit(try x.zsets.count(x.key, now: x.now))
        x.reply.integer(try x.zsets.countByLex(x.key, range, now: x.now))
    }
}
