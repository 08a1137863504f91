import Keyspace
import PikaStorage
import RESP

/// Commands that take elements from one list of several, or look for them.
enum ListMoveCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "rpoplpush", arity: 3, flags: [.write, .growsData], keys: .two, group: .list,
            since: "1.2.0",
            summary: "Moves the last element of one list to the front of another.",
            handler: rpoplpush),
        CommandRow(
            "lmove", arity: 5, flags: [.write, .growsData], keys: .two, group: .list,
            since: "6.2.0", summary: "Moves an element from one end of a list to another list.",
            handler: lmove),
        CommandRow(
            "lmpop", arity: -4, flags: [.write, .movableKeys], keys: .counted(at: 1),
            group: .list, since: "7.0.0",
            summary: "Removes and returns elements of the first list that has any.",
            handler: lmpop),
        CommandRow(
            "lpos", arity: -3, flags: [.readonly], keys: .one, group: .list, since: "6.0.6",
            summary: "Returns the index of matching elements of a list.", handler: lpos),
    ]
}

// MARK: - LMOVE, RPOPLPUSH

extension ListMoveCommands {
    /// Reads `LEFT` or `RIGHT`.
    static func parseEnd(_ word: Bytes) throws(CommandError) -> ListEnd {
        if word.isWord("left") { return .left }
        if word.isWord("right") { return .right }
        throw .syntax
    }

    /// Real Pika logs RPOPLPUSH in capitals.
    static func rpoplpush(_ x: inout Execution) throws {
        let pop: StaticString = "RPOP"
        let push: StaticString = "LPUSH"
        let moved = try move(
            &x, from: x.key, .right, to: x[2], .left, words: (pop.bytes, push.bytes))
        if !moved { x.reply.null() }
    }

    static func lmove(_ x: inout Execution) throws {
        let source = try parseEnd(x[3])
        let target = try parseEnd(x[4])
        if try !move(&x, from: x.key, source, to: x[2], target) { x.reply.null() }
    }

    /// Moves one element and replies with it: the pop, then the push, as one atomic group.
    ///
    /// - Parameters:
    ///   - x: the execution; it owns both keys.
    ///   - source: the list that gives.
    ///   - sourceEnd: the end that gives.
    ///   - target: the list that takes.
    ///   - targetEnd: the end that takes.
    ///   - words: command words of the two items; nil for those of the effects.
    /// - Returns: false, without reply or effect, when the source is empty.
    static func move(
        _ x: inout Execution, from source: Bytes, _ sourceEnd: ListEnd, to target: Bytes,
        _ targetEnd: ListEnd, words: (pop: Bytes, push: Bytes)? = nil
    ) throws -> Bool {
        x.collector.clear()
        try x.lists.withElement(source, at: sourceEnd == .left ? 0 : -1, now: x.now) { element in
            if let element { x.collector.append(element) }
        }
        guard x.collector.count == 1 else { return false }
        try x.requireType(target, .lists)
        let element = x.collector.list()[0]
        // What stays where it is must not cost a list of one element its deadline.
        let isSame = source.equals(target)
        let stays =
            try isSame && (sourceEnd == targetEnd || x.lists.count(source, now: x.now) == 1)
        if !stays {
            let pop: Effect = sourceEnd == .left ? .lpop : .rpop
            let push: Effect = targetEnd == .left ? .lpush : .rpush
            try x.atomically { x in
                try x.perform(pop, word: words?.pop ?? pop.word.bytes, source)
                try x.perform(push, word: words?.push ?? push.word.bytes, target, element)
            }
        }
        x.notify(targetEnd == .left ? .lpush : .rpush, target)
        try x.notifyTaken(sourceEnd == .left ? .lpop : .rpop, source)
        x.reply.bulk(element)
        return true
    }
}

// MARK: - LMPOP

/// Arguments of LMPOP, ZMPOP and their blocking forms: `numkeys key … which [COUNT n]`.
struct MultiPop {
    /// The keys in the order in which they are tried.
    let keys: UnsafeBufferPointer<Bytes>
    /// LEFT, RIGHT, MIN or MAX as sent.
    let which: Bytes
    /// Elements wanted at most.
    var count = 1

    /// Reads the arguments; the number of keys is at `index`.
    init(_ x: borrowing Execution, countAt index: Int) throws(CommandError) {
        guard let number = Decimal.parseInteger(x[index]), number > 0 else {
            throw .reply("ERR numkeys should be greater than 0")
        }
        guard number < Int64(x.count - index - 1) else { throw .syntax }
        let end = index + 1 + Int(number)
        self.keys = UnsafeBufferPointer(rebasing: x.arguments[index + 1..<end])
        self.which = x[end]
        guard end + 1 < x.count else { return }
        guard end + 3 == x.count, x[end + 1].isWord("count") else { throw .syntax }
        guard let count = Decimal.parseInteger(x[end + 2]), count > 0 else {
            throw .reply("ERR count should be greater than 0")
        }
        self.count = Int(count)
    }
}

extension ListMoveCommands {
    static func lmpop(_ x: inout Execution) throws {
        let arguments = try MultiPop(x, countAt: 1)
        let end = try parseEnd(arguments.which)
        if try !popFirst(&x, arguments.keys, end, count: arguments.count) { x.reply.nullArray() }
    }

    /// Takes up to `count` elements off the first list that has any: `[key, [element …]]`.
    ///
    /// - Returns: false, without reply or effect, when all lists are empty.
    static func popFirst(
        _ x: inout Execution, _ keys: UnsafeBufferPointer<Bytes>, _ end: ListEnd, count: Int
    ) throws -> Bool {
        for key in keys {
            let length = try x.lists.count(key, now: x.now)
            guard length > 0 else { continue }
            let taken = min(count, length)
            try x.limit(taken)
            x.reply.array(2)
            x.reply.bulk(key)
            x.reply.array(taken)
            try writeElements(&x, key, end, taken)
            try take(&x, key, end, taken)
            return true
        }
        return false
    }

    /// Logs `lpop key` or `rpop key`, with the count when it is not one.
    static func take(_ x: inout Execution, _ key: Bytes, _ end: ListEnd, _ count: Int) throws {
        let effect: Effect = end == .left ? .lpop : .rpop
        if count == 1 {
            try x.perform(effect, key)
        } else {
            try withDecimal(Int64(count)) { _ = try x.perform(effect, key, $0) }
        }
        try x.notifyTaken(end == .left ? .lpop : .rpop, key)
    }

    /// Replies with `count` elements from an end of a list that has so many.
    static func writeElements(
        _ x: inout Execution, _ key: Bytes, _ end: ListEnd, _ count: Int
    ) throws {
        guard count != 1 else {
            try x.lists.withElement(key, at: end == .left ? 0 : -1, now: x.now) {
                x.bulkOrNull($0)
            }
            return
        }
        var left = count
        guard left > 0 else { return }
        try x.lists.forEachIndexed(key, from: end, now: x.now) { _, element in
            x.reply.bulk(element)
            left -= 1
            return left > 0
        }
    }
}

// MARK: - LPOS

extension ListMoveCommands {
    private struct PositionOptions {
        /// Matches to skip.
        var skip: UInt64 = 0
        var reverse = false
        /// Nil = the reply is one index.
        var count: UInt64?
        /// Comparisons at most.
        var comparisons = UInt64.max

        init(_ x: borrowing Execution) throws(CommandError) {
            var index = 3
            while index < x.count {
                guard index + 1 < x.count else { throw .syntax }
                let value = Decimal.parseInteger(x[index + 1])
                if x[index].isWord("rank") {
                    try self.setRank(value)
                } else if x[index].isWord("count") {
                    guard let value, value >= 0 else {
                        throw .reply("ERR COUNT can't be negative")
                    }
                    self.count = value == 0 ? .max : UInt64(value)
                } else if x[index].isWord("maxlen") {
                    guard let value, value >= 0 else {
                        throw .reply("ERR MAXLEN can't be negative")
                    }
                    self.comparisons = value == 0 ? .max : UInt64(value)
                } else {
                    throw .syntax
                }
                index += 2
            }
        }

        private mutating func setRank(_ value: Int64?) throws(CommandError) {
            guard let value, value != .min else {
                throw .reply("ERR value is not an integer or out of range")
            }
            guard value != 0 else {
                throw .text(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the "
                        + "second ... or use negative to start from the end of the list")
            }
            self.reverse = value < 0
            self.skip = value.magnitude - 1
        }
    }

    static func lpos(_ x: inout Execution) throws {
        let options = try PositionOptions(x)
        let length = try x.lists.count(x.key, now: x.now)
        try x.limit(min(length, Int(clamping: options.comparisons)))
        var skip = options.skip
        var comparisons = options.comparisons
        var wanted = options.count ?? 1
        var found = 0
        let start = x.reply.count
        let element = x[2]
        try x.lists.forEachIndexed(x.key, from: options.reverse ? .right : .left, now: x.now) {
            index, candidate in
            comparisons -= 1
            if candidate.equals(element) {
                if skip > 0 {
                    skip -= 1
                } else {
                    x.reply.integer(index)
                    found += 1
                    wanted -= 1
                }
            }
            return wanted > 0 && comparisons > 0
        }
        if options.count != nil {
            x.reply.insertHeader(.array, count: found, at: start)
        } else if found == 0 {
            x.reply.null()
        }
    }
}
