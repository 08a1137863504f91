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
        var order: Order
        var reverse: Bool
        var withScores = false
        var offset: Int64 = 0
        /// Negative = all.
        var limit: Int64 = -1

        init(
            _ x: borrowing Execution, _ order: Order, reverse: Bool, isGeneral: Bool
        ) throws(CommandError) {
            self.order = order
            self.reverse = reverse
            var index = 4
            while index < x.count {
                let word = x[index]
                if word.isWord("withscores"), self.order != .lex {
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
        let options = try Options(x, order, reverse: reverse, isGeneral: isGeneral)
        let start = x.reply.count
        x.scanned = 0
        if options.order == .rank {
            try rankRange(&x, options)
        } else {
            try limitedRange(&x, options)
        }
        let perMember = options.withScores && x.reply.version == .resp2 ? 2 : 1
        x.reply.insertHeader(.array, count: x.scanned * perMember, at: start)
    }

    private static func write(
        _ x: inout Execution, _ options: Options, _ member: Bytes, _ score: Double
    ) {
        if options.withScores { x.pair(member, score) } else { x.reply.bulk(member) }
        x.scanned += 1
    }

    private static func rankRange(_ x: inout Execution, _ options: Options) throws {
        let start = try x.integer(2)
        let stop = try x.integer(3)
        let size = Int64(try x.zsets.count(x.key, now: x.now))
        // Members in front of the range are walked over too.
        try x.limit(Int(max(0, min(size - 1, stop < 0 ? size + stop : stop) + 1)))
        try x.zsets.forEachByRank(
            x.key, start: start, stop: stop, reverse: options.reverse, now: x.now
        ) { member, score in
            write(&x, options, member, score)
            return true
        }
    }

    /// A range of scores or names, with LIMIT; defers when it walks too far on a loop.
    private static func limitedRange(_ x: inout Execution, _ options: Options) throws {
        var skip = options.offset
        var left = options.limit < 0 ? Int64.max : options.limit
        var visited = 0
        let mayVisit = x.place == .loop ? ExecutionPlace.elementLimit : Int.max
        func takes() -> Bool? {
            visited += 1
            guard left > 0, visited <= mayVisit else { return nil }
            guard skip == 0 else {
                skip -= 1
                return false
            }
            left -= 1
            return true
        }
        let (low, high) = options.reverse ? (x[3], x[2]) : (x[2], x[3])
        if options.order == .score {
            let range = ScoreRange(
                minimum: try parseScoreBound(low), maximum: try parseScoreBound(high))
            guard skip >= 0 else { return }
            try x.zsets.forEachByScore(x.key, range, reverse: options.reverse, now: x.now) {
                member, score in
                guard let taken = takes() else { return false }
                if taken { write(&x, options, member, score) }
                return true
            }
        } else {
            let range = LexRange(
                minimum: try parseLexBound(low), maximum: try parseLexBound(high))
            guard skip >= 0 else { return }
            try x.zsets.forEachByLex(x.key, range, reverse: options.reverse, now: x.now) {
                member, score in
                guard let taken = takes() else { return false }
                if taken { write(&x, options, member, score) }
                return true
            }
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
