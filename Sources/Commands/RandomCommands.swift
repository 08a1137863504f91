import PikaStorage
import RESP
import Synchronization

/// HRANDFIELD and ZRANDMEMBER: random elements of a collection with what belongs to them.
enum RandomCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "hrandfield", arity: -2, flags: [.readonly], keys: .one, group: .hash,
            since: "6.2.0", summary: "Returns random fields of a hash.",
            handler: { try random(&$0, .hashes) }),
        CommandRow(
            "zrandmember", arity: -2, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "6.2.0", summary: "Returns random members of a sorted set.",
            handler: { try random(&$0, .zsets) }),
    ]

    /// Elements in one reply at most.
    static let maxCount = Int64(Int32.max)

    static func random(_ x: inout Execution, _ kind: StoreKind) throws {
        guard x.count <= 4 else { throw CommandError.syntax }
        var withValues = false
        if x.count == 4 {
            guard x[3].isWord(kind == .hashes ? "withvalues" : "withscores") else {
                throw CommandError.syntax
            }
            withValues = true
        }
        var wanted: Int64 = 1
        if x.count > 2 {
            wanted = try x.integer(2)
            guard wanted >= -maxCount, wanted <= maxCount else {
                throw CommandError.reply("ERR value is out of range")
            }
        }
        let size =
            kind == .hashes
            ? try x.hashes.count(x.key, now: x.now) : try x.zsets.count(x.key, now: x.now)
        guard size > 0, wanted != 0 else {
            if x.count > 2 { x.reply.array(0) } else { x.reply.null() }
            return
        }
        try x.limit(size)
        if x.count == 2 {
            try collect(&x, kind, [Int.random(in: 0..<size)])
            x.bulkOrNull(x.collector.list().first)
        } else if wanted > 0 {
            let indexes = SetCommands.distinct(min(Int(wanted), size), of: size)
            try collect(&x, kind, indexes)
            let words = x.collector.list()
            let order = Array(0..<words.count / 2).shuffled()
            x.reply.array(order.count * headerFactor(x, withValues))
            for index in order { write(&x, kind, words, index, withValues) }
        } else {
            try x.limit(Int(-wanted))
            try repeated(&x, kind, Int(-wanted), of: size, withValues)
        }
    }

    /// The same element may come several times.
    private static func repeated(
        _ x: inout Execution, _ kind: StoreKind, _ count: Int, of size: Int, _ withValues: Bool
    ) throws {
        try collect(&x, kind, Array(0..<size))
        let words = x.collector.list()
        let limit = x.environment.maxReplyBytes.load(ordering: .relaxed)
        let start = x.reply.count
        guard words.count > 0 else {
            x.reply.array(0)
            return
        }
        x.reply.array(count * headerFactor(x, withValues))
        for _ in 0..<count {
            write(&x, kind, words, Int.random(in: 0..<words.count / 2), withValues)
            guard x.reply.count - start <= limit else { throw CommandError.replyTooLarge }
        }
    }

    private static func headerFactor(_ x: borrowing Execution, _ withValues: Bool) -> Int {
        withValues && x.reply.version == .resp2 ? 2 : 1
    }

    private static func write(
        _ x: inout Execution, _ kind: StoreKind, _ words: UnsafeBufferPointer<Bytes>,
        _ index: Int, _ withValues: Bool
    ) {
        let (element, value) = (words[2 * index], words[2 * index + 1])
        guard withValues else { return x.reply.bulk(element) }
        if x.reply.version == .resp3 { x.reply.array(2) }
        x.reply.bulk(element)
        if kind == .zsets { x.reply.double(text: value) } else { x.reply.bulk(value) }
    }

    /// Copies the elements with these places, each with its value or the text of its score.
    private static func collect(
        _ x: inout Execution, _ kind: StoreKind, _ indexes: [Int]
    ) throws {
        x.collector.clear()
        var index = 0
        var next = 0
        func isWanted() -> Bool {
            defer { index += 1 }
            guard indexes[next] == index else { return false }
            next += 1
            return true
        }
        if kind == .hashes {
            try x.hashes.forEach(x.key, now: x.now) { field, value in
                if isWanted() {
                    x.collector.append(field)
                    x.collector.append(value)
                }
                return next < indexes.count
            }
        } else {
            try x.zsets.forEachMember(x.key, now: x.now) { member, score in
                if isWanted() {
                    x.collector.append(member)
                    withScoreText(score) { x.collector.append($0) }
                }
                return next < indexes.count
            }
        }
    }
}
