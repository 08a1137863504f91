import Keyspace
import PikaStorage
import RESP

/// Commands that wait until a list or a sorted set has elements.
///
/// A command that finds none registers its connection with the keys, whose locks it has, and is
/// executed again, from its bytes, when somebody added to one of them. Inside EXEC nothing waits.
enum BlockingCommands {
    private static let flags: CommandFlags = [.write, .blocking]

    static let rows: [CommandRow] = [
        CommandRow(
            "blpop", arity: -3, flags: flags, keys: KeyPositions(1, -2, 1), group: .list,
            since: "2.0.0", summary: "Takes the first element of a list, or waits for one.",
            handler: { try pop(&$0, .left) }),
        CommandRow(
            "brpop", arity: -3, flags: flags, keys: KeyPositions(1, -2, 1), group: .list,
            since: "2.0.0", summary: "Takes the last element of a list, or waits for one.",
            handler: { try pop(&$0, .right) }),
        CommandRow(
            "brpoplpush", arity: 4, flags: [.write, .blocking, .growsData], keys: .two,
            group: .list, since: "2.2.0",
            summary: "Moves the last element of a list to the front of another, or waits for one.",
            handler: { x in try move(&x, .right, .left, timeoutAt: 3) }),
        CommandRow(
            "blmove", arity: 6, flags: [.write, .blocking, .growsData], keys: .two,
            group: .list, since: "6.2.0",
            summary: "Moves an element from one list to another, or waits for one.",
            handler: { x in
                let source = try ListMoveCommands.parseEnd(x[3])
                let target = try ListMoveCommands.parseEnd(x[4])
                try move(&x, source, target, timeoutAt: 5)
            }),
        CommandRow(
            "blmpop", arity: -5, flags: [.write, .blocking, .movableKeys],
            keys: .counted(at: 2), group: .list, since: "7.0.0",
            summary: "Takes elements of the first list that has any, or waits for some.",
            handler: multiPopList),
        CommandRow(
            "bzpopmin", arity: -3, flags: [.write, .blocking, .fast],
            keys: KeyPositions(1, -2, 1), group: .sortedSet, since: "5.0.0",
            summary: "Takes the member with the lowest score, or waits for one.",
            handler: { try popMember(&$0, highest: false) }),
        CommandRow(
            "bzpopmax", arity: -3, flags: [.write, .blocking, .fast],
            keys: KeyPositions(1, -2, 1), group: .sortedSet, since: "5.0.0",
            summary: "Takes the member with the highest score, or waits for one.",
            handler: { try popMember(&$0, highest: true) }),
        CommandRow(
            "bzmpop", arity: -5, flags: [.write, .blocking, .movableKeys],
            keys: .counted(at: 2), group: .sortedSet, since: "7.0.0",
            summary: "Takes members of the first sorted set that has any, or waits for some.",
            handler: multiPopMembers),
    ]
}

// MARK: - Waiting

extension Execution {
    /// Reads a number of seconds to wait, in nanoseconds; nil = for ever.
    func timeout(at index: Int) throws(CommandError) -> Int64? {
        guard let seconds = parseDouble(self[index]), seconds.isFinite else {
            throw .reply("ERR timeout is not a float or out of range")
        }
        guard seconds >= 0 else { throw .reply("ERR timeout is negative") }
        guard seconds < Double(Int64.max / 1_000_000_000) else {
            throw .reply("ERR timeout is out of range")
        }
        guard seconds > 0 else { return nil }
        return max(1, Int64((seconds * 1e9).rounded(.up)))
    }

    /// Waits for elements of `keys`, none of which has any.
    ///
    /// - Parameters:
    ///   - keys: their names; the command owns their locks.
    ///   - kind: the type.
    ///   - timeout: nanoseconds to wait; nil = for ever.
    ///   - null: writes the reply for a wait that is over, or that must not be.
    mutating func block(
        _ keys: UnsafeBufferPointer<Bytes>, _ kind: StoreKind, _ timeout: Int64?,
        null: (inout ReplyWriter) -> Void
    ) throws(CommandError) {
        guard !self.isInTransaction else { return null(&self.reply) }
        switch self.client.waiter?.interruption {
        case .timeout?: return null(&self.reply)
        case .error?:
            throw .reply("UNBLOCKED client unblocked via CLIENT UNBLOCK")
        case nil: break
        }
        if self.client.waiter == nil {
            self.client.waiter = self.group.database.wait(
                for: keys.map { Array($0) }, kind, timeoutNanoseconds: timeout)
        }
        throw .blocked
    }

    /// The arguments in front of the last one but for the command word.
    fileprivate var keysBeforeLast: UnsafeBufferPointer<Bytes> {
        UnsafeBufferPointer(rebasing: self.arguments[1..<self.count - 1])
    }
}

// MARK: - Lists

extension BlockingCommands {
    static func pop(_ x: inout Execution, _ end: ListEnd) throws {
        let timeout = try x.timeout(at: x.count - 1)
        let keys = x.keysBeforeLast
        for key in keys where try x.lists.count(key, now: x.now) > 0 {
            x.reply.array(2)
            x.reply.bulk(key)
            try ListMoveCommands.writeElements(&x, key, end, 1)
            try ListMoveCommands.take(&x, key, end, 1)
            return
        }
        try x.block(keys, .lists, timeout) { $0.nullArray() }
    }

    static func move(
        _ x: inout Execution, _ source: ListEnd, _ target: ListEnd, timeoutAt index: Int
    ) throws {
        let timeout = try x.timeout(at: index)
        if try ListMoveCommands.move(&x, from: x.key, source, to: x[2], target) { return }
        try x.block(UnsafeBufferPointer(rebasing: x.arguments[1..<2]), .lists, timeout) {
            $0.null()
        }
    }

    static func multiPopList(_ x: inout Execution) throws {
        let timeout = try x.timeout(at: 1)
        let arguments = try MultiPop(x, countAt: 2)
        let end = try ListMoveCommands.parseEnd(arguments.which)
        let keys = arguments.keys
        if try ListMoveCommands.popFirst(&x, keys, end, count: arguments.count) { return }
        try x.block(keys, .lists, timeout) { $0.nullArray() }
    }
}

// MARK: - Sorted sets

extension BlockingCommands {
    static func popMember(_ x: inout Execution, highest: Bool) throws {
        let timeout = try x.timeout(at: x.count - 1)
        let keys = x.keysBeforeLast
        if try SortedSetCommands.popOne(&x, keys, highest: highest) { return }
        try x.block(keys, .zsets, timeout) { $0.nullArray() }
    }

    static func multiPopMembers(_ x: inout Execution) throws {
        let timeout = try x.timeout(at: 1)
        let arguments = try MultiPop(x, countAt: 2)
        let highest = try SortedSetCommands.parseHighest(arguments.which)
        let keys = arguments.keys
        if try SortedSetCommands.popFirst(&x, keys, highest: highest, count: arguments.count) {
            return
        }
        try x.block(keys, .zsets, timeout) { $0.nullArray() }
    }
}
