import Keyspace
import PikaStorage
import RESP

/// ZUNIONSTORE and ZINTERSTORE.
enum SortedSetStoreCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "zunionstore", arity: -4, flags: [.write, .growsData, .multi, .movableKeys],
            keys: .counted(at: 2, behindKey: true), group: .sortedSet, since: "2.0.0",
            summary: "Stores the union of sorted sets.",
            handler: { try store(&$0, intersects: false) }),
        CommandRow(
            "zinterstore", arity: -4, flags: [.write, .growsData, .multi, .movableKeys],
            keys: .counted(at: 2, behindKey: true), group: .sortedSet, since: "2.0.0",
            summary: "Stores the intersection of sorted sets.",
            handler: { try store(&$0, intersects: true) }),
    ]
}

extension SortedSetStoreCommands {
    private enum Aggregate { case sum, minimum, maximum }

    private struct Options {
        var keys: UnsafeBufferPointer<Bytes>
        var weights: [Double]
        var aggregate = Aggregate.sum

        init(_ x: borrowing Execution) throws(CommandError) {
            let number = try x.integer(2)
            guard number > 0 else {
                throw .text(
                    "ERR at least 1 input key is needed for '\(x[0].lowercasedText)' command")
            }
            guard number <= Int64(x.count - 3) else { throw .syntax }
            let end = 3 + Int(number)
            self.keys = UnsafeBufferPointer(rebasing: x.arguments[3..<end])
            self.weights = Array(repeating: 1, count: Int(number))
            var index = end
            while index < x.count {
                if x[index].isWord("weights"), index + Int(number) < x.count {
                    for place in 0..<Int(number) {
                        guard let weight = parseDouble(x[index + 1 + place]) else {
                            throw .reply("ERR weight value is not a float")
                        }
                        self.weights[place] = weight
                    }
                    index += 1 + Int(number)
                } else if x[index].isWord("aggregate"), index + 1 < x.count {
                    self.aggregate = try Self.parseAggregate(x[index + 1])
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

        /// The score of a member in one input, weighted; infinity times zero is zero, as in Redis.
        func weighted(_ score: Double, _ place: Int) -> Double {
            let product = score * self.weights[place]
            return product.isNaN ? 0 : product
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

    /// Logged as `del`, then `zadd` in items of limited size: one atomic group.
    static func store(_ x: inout Execution, intersects: Bool) throws {
        let options = try Options(x)
        for key in options.keys where AppliedRow.isReserved(key) { throw CommandError.reservedKey }
        let zsets = x.zsets
        let now = x.now
        let metas = try options.keys.map { try zsets.meta($0, now: now) }
        try x.limit(metas.reduce(0) { $0 + Int($1?.count ?? 0) })
        let result =
            intersects
            ? try intersection(zsets, options, metas, now) : try union(zsets, options, now)
        x.collector.clear()
        for (member, score) in result {
            withScoreText(score) { x.collector.append($0) }
            member.withUnsafeBytes { x.collector.append($0) }
        }
        try x.storeElements(.zadd, x.collector.list(), wordsPerElement: 2)
        x.reply.integer(result.count)
    }

    private static func union(
        _ zsets: SortedSets, _ options: Options, _ now: Int64
    ) throws -> [[UInt8]: Double] {
        var result: [[UInt8]: Double] = [:]
        for (place, key) in options.keys.enumerated() {
            try zsets.forEachMember(key, now: now) { member, score in
                let weighted = options.weighted(score, place)
                let name = Array(member)
                result[name] = result[name].map { options.join($0, weighted) } ?? weighted
                return true
            }
        }
        return result
    }

    private static func intersection(
        _ zsets: SortedSets, _ options: Options, _ metas: [CollectionMeta?], _ now: Int64
    ) throws -> [[UInt8]: Double] {
        var result: [[UInt8]: Double] = [:]
        guard !metas.contains(nil) else { return result }
        let keys = options.keys
        try zsets.forEachMember(keys[0], now: now) { member, score throws(StorageError) -> Bool in
            var total = options.weighted(score, 0)
            for place in keys.indices.dropFirst() {
                guard let meta = metas[place],
                    let other = try zsets.score(keys[place], meta, member)
                else { return true }
                total = options.join(total, options.weighted(other, place))
            }
            result[Array(member)] = total
            return true
        }
        return result
    }
}
