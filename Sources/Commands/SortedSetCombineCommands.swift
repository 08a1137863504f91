import Keyspace
import PikaStorage
import RESP

/// Unions, intersections and differences of sorted sets; plain sets take part with the score 1.
enum SortedSetCombineCommands {
    enum Combination {
        case union, intersection, difference

        /// What is told of the destination.
        var event: KeyspaceEvent {
            switch self {
            case .union: .zunionstore
            case .intersection: .zinterstore
            case .difference: .zdiffstore
            }
        }
    }

    static let rows: [CommandRow] = [
        CommandRow(
            "zunionstore", arity: -4, flags: [.write, .growsData, .multi, .movableKeys],
            keys: .counted(at: 2, behindKey: true), group: .sortedSet, since: "2.0.0",
            summary: "Stores the union of sorted sets.", handler: { try store(&$0, .union) }),
        CommandRow(
            "zinterstore", arity: -4, flags: [.write, .growsData, .multi, .movableKeys],
            keys: .counted(at: 2, behindKey: true), group: .sortedSet, since: "2.0.0",
            summary: "Stores the intersection of sorted sets.",
            handler: { try store(&$0, .intersection) }),
        CommandRow(
            "zdiffstore", arity: -4, flags: [.write, .growsData, .multi, .movableKeys],
            keys: .counted(at: 2, behindKey: true), group: .sortedSet, since: "6.2.0",
            summary: "Stores the difference of sorted sets.",
            handler: { try store(&$0, .difference) }),
        CommandRow(
            "zunion", arity: -3, flags: [.readonly, .multi, .movableKeys], keys: .counted(at: 1),
            group: .sortedSet, since: "6.2.0", summary: "Returns the union of sorted sets.",
            handler: { try show(&$0, .union) }),
        CommandRow(
            "zinter", arity: -3, flags: [.readonly, .multi, .movableKeys], keys: .counted(at: 1),
            group: .sortedSet, since: "6.2.0",
            summary: "Returns the intersection of sorted sets.",
            handler: { try show(&$0, .intersection) }),
        CommandRow(
            "zdiff", arity: -3, flags: [.readonly, .multi, .movableKeys], keys: .counted(at: 1),
            group: .sortedSet, since: "6.2.0", summary: "Returns the difference of sorted sets.",
            handler: { try show(&$0, .difference) }),
        CommandRow(
            "zintercard", arity: -3, flags: [.readonly, .multi, .movableKeys],
            keys: .counted(at: 1), group: .sortedSet, since: "7.0.0",
            summary: "Counts the members of the intersection of sorted sets.",
            handler: cardinality),
    ]
}

// MARK: - Arguments

/// How the scores of a member come together.
private enum Aggregate { case sum, minimum, maximum }

private struct CombineOptions {
    /// What the command may say behind its keys.
    struct Allowed: OptionSet {
        let rawValue: Int
        static let weights = Allowed(rawValue: 1)
        static let scores = Allowed(rawValue: 2)
        static let limit = Allowed(rawValue: 4)
    }

    var keys: UnsafeBufferPointer<Bytes>
    var weights: [Double]
    var aggregate = Aggregate.sum
    var withScores = false
    /// Members to count at most.
    var limit = Int.max

    /// - Parameters:
    ///   - x: the execution.
    ///   - index: where the number of keys is.
    ///   - allowed: what may follow the keys.
    init(_ x: borrowing Execution, countAt index: Int, _ allowed: Allowed) throws(CommandError) {
        let number = try x.integer(index)
        guard number > 0 else {
            throw .text("ERR at least 1 input key is needed for '\(x[0].lowercasedText)' command")
        }
        guard number <= Int64(x.count - index - 1) else { throw .syntax }
        let end = index + 1 + Int(number)
        self.keys = UnsafeBufferPointer(rebasing: x.arguments[index + 1..<end])
        self.weights = Array(repeating: 1, count: Int(number))
        for key in self.keys where AppliedRow.isReserved(key) { throw .reservedKey }
        try self.parse(x, from: end, allowed)
    }

    private mutating func parse(
        _ x: borrowing Execution, from start: Int, _ allowed: Allowed
    ) throws(CommandError) {
        var index = start
        while index < x.count {
            let word = x[index]
            let left = x.count - index - 1
            if allowed.contains(.weights), word.isWord("weights"), left >= self.weights.count {
                for place in self.weights.indices {
                    guard let weight = parseDouble(x[index + 1 + place]) else {
                        throw .reply("ERR weight value is not a float")
                    }
                    self.weights[place] = weight
                }
                index += 1 + self.weights.count
            } else if allowed.contains(.weights), word.isWord("aggregate"), left >= 1 {
                self.aggregate = try Self.parseAggregate(x[index + 1])
                index += 2
            } else if allowed.contains(.scores), word.isWord("withscores") {
                self.withScores = true
                index += 1
            } else if allowed.contains(.limit), word.isWord("limit"), left >= 1 {
                guard let limit = Decimal.parseInteger(x[index + 1]), limit >= 0 else {
                    throw .reply("ERR LIMIT can't be negative")
                }
                self.limit = limit == 0 ? .max : Int(limit)
                index += 2
            } else {
                throw .syntax
            }
        }
    }

    private static func parseAggregate(_ word: Bytes) throws(CommandError) -> Aggregate {
        if word.isWord("sum") { return .sum }
        if word.isWord("min") { return .minimum }
        if word.isWord("max") { return .maximum }
        throw .syntax
    }

    /// The score of a member in one input, weighted; infinity times zero is zero, as in Redis, and
    /// no zero is negative, as in Pika.
    func weighted(_ score: Double, _ place: Int) -> Double {
        let product = score * self.weights[place]
        return product.isNaN || product == 0 ? 0 : product
    }

    /// Joins two scores; infinities of both signs cancel out, as in Redis.
    func join(_ a: Double, _ b: Double) -> Double {
        switch self.aggregate {
        case .minimum: return min(a, b)
        case .maximum: return max(a, b)
        case .sum:
            let sum = a + b
            return sum.isNaN ? 0 : sum
        }
    }
}

// MARK: - Inputs

/// One input: a sorted set, or a set when there is no sorted set of that name.
private struct CombineInput {
    let key: Bytes
    let sorted: CollectionMeta?
    let plain: CollectionMeta?

    init(_ x: borrowing Execution, _ key: Bytes) throws {
        self.key = key
        self.sorted = try x.zsets.meta(key, now: x.now)
        self.plain = self.sorted == nil ? try x.sets.meta(key, now: x.now) : nil
    }

    var count: Int { Int(self.sorted?.count ?? self.plain?.count ?? 0) }

    func score(
        _ zsets: SortedSets, _ sets: Sets, _ member: Bytes
    ) throws(StorageError) -> Double? {
        if let sorted { return try zsets.score(self.key, sorted, member) }
        guard let plain else { return nil }
        return try sets.contains(self.key, plain, member) ? 1 : nil
    }

    func forEach(
        _ zsets: SortedSets, _ sets: Sets, now: Int64, _ body: SortedSets.Visitor
    ) throws(StorageError) {
        if self.sorted != nil { return try zsets.forEachMember(self.key, now: now, body) }
        guard self.plain != nil else { return }
        try sets.forEach(self.key, now: now) { member throws(StorageError) in
            try body(member, 1)
        }
    }
}

// MARK: - Combining

extension SortedSetCombineCommands {
    /// Logged as `del`, then `zadd` in items of limited size: one atomic group.
    static func store(_ x: inout Execution, _ combination: Combination) throws {
        let options = try CombineOptions(
            x, countAt: 2, combination == .difference ? [] : .weights)
        let result = try combine(x, options, combination)
        x.collector.clear()
        for (member, score) in result {
            withScoreText(score) { x.collector.append($0) }
            member.withUnsafeBytes { x.collector.append($0) }
        }
        try x.storeElements(
            .zadd, x.collector.list(), wordsPerElement: 2, combination.event)
        x.reply.integer(result.count)
    }

    static func show(_ x: inout Execution, _ combination: Combination) throws {
        let options = try CombineOptions(
            x, countAt: 1, combination == .difference ? .scores : [.scores, .weights])
        let result = try combine(x, options, combination).sorted {
            $0.value == $1.value
                ? $0.key.lexicographicallyPrecedes($1.key) : $0.value < $1.value
        }
        let perMember = options.withScores && x.reply.version == .resp2 ? 2 : 1
        x.reply.array(result.count * perMember)
        for (member, score) in result {
            member.withUnsafeBytes { member in
                if options.withScores { x.pair(member, score) } else { x.reply.bulk(member) }
            }
        }
    }

    static func cardinality(_ x: inout Execution) throws {
        let options = try CombineOptions(x, countAt: 1, .limit)
        let inputs = try options.keys.map { try CombineInput(x, $0) }
        try x.limit(inputs.reduce(0) { $0 + $1.count })
        var count = 0
        try forEachCommon(x, options, inputs) { _, _ in
            count += 1
            return count < options.limit
        }
        x.reply.integer(count)
    }

    private static func combine(
        _ x: borrowing Execution, _ options: CombineOptions, _ combination: Combination
    ) throws -> [[UInt8]: Double] {
        let inputs = try options.keys.map { try CombineInput(x, $0) }
        try x.limit(inputs.reduce(0) { $0 + $1.count })
        let (zsets, sets, now) = (x.zsets, x.sets, x.now)
        var result: [[UInt8]: Double] = [:]
        switch combination {
        case .union:
            for (place, input) in inputs.enumerated() {
                try input.forEach(zsets, sets, now: now) { member, score in
                    let weighted = options.weighted(score, place)
                    let name = Array(member)
                    result[name] = result[name].map { options.join($0, weighted) } ?? weighted
                    return true
                }
            }
        case .intersection:
            try forEachCommon(x, options, inputs) { member, score in
                result[Array(member)] = score
                return true
            }
        case .difference:
            try inputs[0].forEach(zsets, sets, now: now) {
                member, score throws(StorageError) -> Bool in
                for other in inputs.dropFirst()
                where try other.score(zsets, sets, member) != nil { return true }
                result[Array(member)] = score
                return true
            }
        }
        return result
    }

    /// Visits the members that all inputs have, until `body` returns false.
    private static func forEachCommon(
        _ x: borrowing Execution, _ options: CombineOptions, _ inputs: [CombineInput],
        _ body: (Bytes, Double) -> Bool
    ) throws {
        let (zsets, sets) = (x.zsets, x.sets)
        guard
            let smallest = inputs.indices.min(by: { inputs[$0].count < inputs[$1].count }),
            inputs[smallest].count > 0
        else { return }
        try inputs[smallest].forEach(zsets, sets, now: x.now) {
            member, score throws(StorageError) -> Bool in
            var total: Double?
            for (place, input) in inputs.enumerated() {
                let found =
                    place == smallest ? score : try input.score(zsets, sets, member)
                guard let found else { return true }
                let weighted = options.weighted(found, place)
                total = total.map { options.join($0, weighted) } ?? weighted
            }
            return body(member, total ?? 0)
        }
    }
}
