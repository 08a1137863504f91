import Keyspace
import PikaStorage
import RESP

/// Commands on lists.
enum ListCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "lpush", arity: -3, flags: [.write, .growsData, .fast], keys: .one, group: .list,
            since: "1.0.0", summary: "Adds elements in front of a list.",
            handler: { try push(&$0, .lpush) }),
        CommandRow(
            "rpush", arity: -3, flags: [.write, .growsData, .fast], keys: .one, group: .list,
            since: "1.0.0", summary: "Adds elements at the end of a list.",
            handler: { try push(&$0, .rpush) }),
        CommandRow(
            "lpushx", arity: -3, flags: [.write, .growsData, .fast], keys: .one, group: .list,
            since: "2.2.0", summary: "Adds elements in front of a list that exists.",
            handler: { try push(&$0, .lpushx) }),
        CommandRow(
            "rpushx", arity: -3, flags: [.write, .growsData, .fast], keys: .one, group: .list,
            since: "2.2.0", summary: "Adds elements at the end of a list that exists.",
            handler: { try push(&$0, .rpushx) }),
        CommandRow(
            "lpop", arity: -2, flags: [.write, .fast], keys: .one, group: .list, since: "1.0.0",
            summary: "Removes and returns elements from the front of a list.",
            handler: { try pop(&$0, .lpop, "lpop") }),
        CommandRow(
            "rpop", arity: -2, flags: [.write, .fast], keys: .one, group: .list, since: "1.0.0",
            summary: "Removes and returns elements from the end of a list.",
            handler: { try pop(&$0, .rpop, "rpop") }),
        CommandRow(
            "llen", arity: 2, flags: [.readonly, .fast], keys: .one, group: .list,
            since: "1.0.0", summary: "Returns the length of a list.",
            handler: { x in x.reply.integer(try x.lists.count(x.key, now: x.now)) }),
        CommandRow(
            "lindex", arity: 3, flags: [.readonly], keys: .one, group: .list, since: "1.0.0",
            summary: "Returns an element of a list by its index.", handler: lindex),
        CommandRow(
            "lrange", arity: 4, flags: [.readonly], keys: .one, group: .list, since: "1.0.0",
            summary: "Returns a range of elements of a list.", handler: lrange),
        CommandRow(
            "lset", arity: 4, flags: [.write, .growsData], keys: .one, group: .list,
            since: "1.0.0", summary: "Sets an element of a list by its index.", handler: lset),
        CommandRow(
            "lrem", arity: 4, flags: [.write], keys: .one, group: .list, since: "1.0.0",
            summary: "Removes elements equal to a value from a list.", handler: lrem),
        CommandRow(
            "ltrim", arity: 4, flags: [.write], keys: .one, group: .list, since: "1.0.0",
            summary: "Keeps only a range of elements of a list.", handler: ltrim),
        CommandRow(
            "linsert", arity: 5, flags: [.write, .growsData], keys: .one, group: .list,
            since: "2.2.0", summary: "Inserts an element before or after another one.",
            handler: linsert),
    ]
}

extension ListCommands {
    static func push(_ x: inout Execution, _ effect: Effect) throws {
        try x.limit(x.count - 2)
        let length = try x.performAsSent(effect)
        if length > 0 { x.notify(effect.pushEvent, x.key) }
        x.reply.integer(length)
    }

    static func pop(_ x: inout Execution, _ effect: Effect, _ name: StaticString) throws {
        guard x.count <= 3 else { throw CommandError.arity("\(name)") }
        let fromLeft = effect == .lpop
        let event: KeyspaceEvent = fromLeft ? .lpop : .rpop
        guard x.count == 3 else {
            try x.lists.withEnd(x.key, fromLeft ? .left : .right, now: x.now) { x.bulkOrNull($0) }
            if try x.performAsSent(effect) > 0 { try x.notifyTaken(event, x.key) }
            return
        }
        let wanted = try x.positive(2)
        let length = try x.lists.count(x.key, now: x.now)
        guard length > 0 else {
            x.reply.nullArray()
            // Without effect, and logged all the same: so does real Pika.
            try x.performAsSent(effect)
            return
        }
        let taken = min(wanted, length)
        try x.limit(taken)
        x.reply.array(taken)
        guard taken > 0 else { return }
        try ListMoveCommands.writeElements(&x, x.key, fromLeft ? .left : .right, taken)
        try x.performAsSent(effect)
        try x.notifyTaken(event, x.key)
    }

    static func lindex(_ x: inout Execution) throws {
        guard let index = Decimal.parseInteger(x[2]) else {
            // Redis looks for the key first.
            guard try x.lists.count(x.key, now: x.now) == 0 else { throw CommandError.notInteger }
            x.reply.null()
            return
        }
        try x.lists.withElement(x.key, at: index, now: x.now) { x.bulkOrNull($0) }
    }

    static func lrange(_ x: inout Execution) throws {
        let start = try x.integer(2)
        let stop = try x.integer(3)
        let count = try x.lists.rangeCount(x.key, start: start, stop: stop, now: x.now)
        try x.limit(count)
        let replyStart = x.reply.count
        var written = 0
        if count > 0 {
            try x.lists.forEach(x.key, start: start, stop: stop, now: x.now) { element in
                x.reply.bulk(element)
                written += 1
                return !x.reply.hasOverflowed
            }
        }
        x.reply.insertHeader(.array, count: written, at: replyStart)
    }

    static func lset(_ x: inout Execution) throws {
        let length = Int64(try x.lists.count(x.key, now: x.now))
        guard length > 0 else { throw CommandError.noSuchKey }
        let index = try x.integer(2)
        guard index < length, index >= -length else { throw CommandError.indexOutOfRange }
        try x.performAsSent(.lset)
        x.notify(.lset, x.key)
        x.reply.ok()
    }

    static func lrem(_ x: inout Execution) throws {
        _ = try x.integer(2)
        try x.limit(try x.lists.count(x.key, now: x.now))
        let removed = try x.performAsSent(.lrem)
        if removed > 0 { try x.notifyTaken(.lrem, x.key) }
        x.reply.integer(removed)
    }

    static func ltrim(_ x: inout Execution) throws {
        let start = try x.integer(2)
        let stop = try x.integer(3)
        let kept = try x.lists.rangeCount(x.key, start: start, stop: stop, now: x.now)
        // Trimmed to nothing, the list gets a new version, whatever its length.
        if kept > 0 { try x.limit(try x.lists.count(x.key, now: x.now) - kept) }
        try x.takesAway(.lists)
        let isThere = try x.notices.isOn && x.lists.count(x.key, now: x.now) > 0
        try x.performAsSent(.ltrim)
        if isThere { try x.notifyTaken(.ltrim, x.key) }
        x.reply.ok()
    }

    static func linsert(_ x: inout Execution) throws {
        guard x[2].isWord("before") || x[2].isWord("after") else { throw CommandError.syntax }
        try x.limit(try x.lists.count(x.key, now: x.now))
        let length = try x.performAsSent(.linsert)
        if length > 0 { x.notify(.linsert, x.key) }
        x.reply.integer(length)
    }
}

extension Effect {
    /// The event of LPUSH, RPUSH, LPUSHX and RPUSHX.
    fileprivate var pushEvent: KeyspaceEvent {
        self == .lpush || self == .lpushx ? .lpush : .rpush
    }
}
