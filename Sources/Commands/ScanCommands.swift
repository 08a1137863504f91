import Keyspace
import PikaStorage
import RESP
import Synchronization

/// Commands that walk over the key names, or over one large collection, in steps.
enum ScanCommands {
    /// Names that a step visits when the client does not say.
    static let defaultCount = 10

    static let rows: [CommandRow] = [
        CommandRow(
            "keys", arity: -2, flags: [.readonly, .slow], keys: .none, group: .generic,
            since: "1.0.0", summary: "Returns all key names that match a pattern.",
            handler: keys),
        CommandRow(
            "scan", arity: -2, flags: [.readonly], keys: .none, group: .generic, since: "2.8.0",
            summary: "Iterates over the key names in the database.", handler: scan),
        CommandRow(
            "scanx", arity: -3, flags: [.readonly], keys: .none, group: .generic, since: "1.0.0",
            summary: "Iterates over the key names of one type, from a given name on.",
            handler: scanx),
        CommandRow(
            "hscan", arity: -3, flags: [.readonly], keys: .one, group: .hash, since: "2.8.0",
            summary: "Iterates over fields and values of a hash.",
            handler: { try scanElements(&$0, .hashes) }),
        CommandRow(
            "hscanx", arity: -3, flags: [.readonly], keys: .one, group: .hash, since: "1.0.0",
            summary: "Iterates over fields and values of a hash, from a given field on.",
            handler: hscanx),
        CommandRow(
            "sscan", arity: -3, flags: [.readonly], keys: .one, group: .set, since: "2.8.0",
            summary: "Iterates over the members of a set.",
            handler: { try scanElements(&$0, .sets) }),
        CommandRow(
            "zscan", arity: -3, flags: [.readonly], keys: .one, group: .sortedSet,
            since: "2.8.0", summary: "Iterates over members and scores of a sorted set.",
            handler: { try scanElements(&$0, .zsets) }),
    ]

    /// The stores in the order in which SCAN visits them.
    static let order: [StoreKind] = [.strings, .hashes, .sets, .lists, .zsets]
    /// The order in which KEYS does.
    static let keysOrder: [StoreKind] = [.strings, .hashes, .zsets, .sets, .lists]
}

/// MATCH, COUNT and TYPE.
struct ScanOptions {
    var pattern: Bytes?
    var count = ScanCommands.defaultCount
    /// Nil = all types.
    var kind: StoreKind?
    /// TYPE named no type that there is: nothing matches.
    var isEmpty = false

    init(_ x: borrowing Execution, from start: Int, allowsType: Bool) throws(CommandError) {
        var index = start
        while index < x.count {
            guard index + 1 < x.count else { throw .syntax }
            if x[index].isWord("match") {
                self.pattern = x[index + 1]
            } else if x[index].isWord("count") {
                let value = try x.integer(index + 1)
                guard value >= 1 else { throw .syntax }
                self.count = Int(min(value, Int64(Int32.max)))
            } else if allowsType, x[index].isWord("type") {
                self.kind = parseKind(x[index + 1])
                self.isEmpty = self.kind == nil
            } else {
                throw .syntax
            }
            index += 2
        }
    }

    /// The bytes that each match begins with.
    var prefix: Bytes {
        guard let pattern = self.pattern else { return .none }
        return Self.literalPrefix(of: pattern)
    }

    /// What comes before the first special character: names are looked for from there on.
    static func literalPrefix(of pattern: Bytes) -> Bytes {
        let special = pattern.firstIndex { byte in
            byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "[")
                || byte == UInt8(ascii: "\\")
        }
        return Bytes(rebasing: pattern[..<(special ?? pattern.endIndex)])
    }

    func matches(_ name: Bytes) -> Bool {
        guard let pattern = self.pattern else { return true }
        return GlobPattern(pattern).matches(name)
    }
}

// MARK: - Key names

extension ScanCommands {
    static func keys(_ x: inout Execution) throws {
        var kind: StoreKind?
        if x.count > 2 {
            guard x.count == 3 else { throw CommandError.syntax }
            kind = parseKind(x[2])
            guard kind != nil else { throw CommandError.syntax }
        }
        let pattern = GlobPattern(x[1])
        let prefix = ScanOptions.literalPrefix(of: x[1])
        let limit = x.environment.maxReplyBytes.load(ordering: .relaxed)
        let start = x.reply.count
        var found = 0
        for each in keysOrder where kind == nil || kind == each {
            try x.group.transactions[each].forEachKey(
                from: .none, prefix: prefix, now: x.now
            ) { name, _ in
                guard pattern.matches(name) else { return true }
                x.reply.bulk(name)
                found += 1
                return x.reply.count - start <= limit
            }
        }
        guard x.reply.count - start <= limit else { throw CommandError.replyTooLarge }
        x.reply.insertHeader(.array, count: found, at: start)
    }

    static func scan(_ x: inout Execution) throws {
        let number = try cursorNumber(x[1])
        let options = try ScanOptions(x, from: 2, allowsType: true)
        try x.limit(options.count)
        var position = ScanPosition(
            database: x.client.database, subject: .keys(order[0]), next: [])
        if number != 0 {
            guard let saved = x.environment.cursors.position(number), case .keys = saved.subject,
                saved.database == x.client.database
            else { throw CommandError.lostCursor }
            position = saved
        }
        let start = x.reply.count
        let step = try scanStep(&x, options, position)
        let next = step.map { x.environment.cursors.save($0, continuing: number) } ?? 0
        try finishScan(&x, start, next)
    }

    /// Puts `[cursor, [` in front of the elements that were written since `start`.
    private static func finishScan(_ x: inout Execution, _ start: Int, _ cursor: UInt64) throws {
        let limit = x.environment.maxReplyBytes.load(ordering: .relaxed)
        guard x.reply.count - start <= limit else { throw CommandError.replyTooLarge }
        x.reply.insertHeader(.array, count: x.scanned, at: start)
        x.reply.insert(at: start) { reply in
            reply.array(2)
            reply.bulk(integer: Int64(cursor))
        }
    }

    /// Visits up to COUNT names; returns where to go on, nil at the end.
    private static func scanStep(
        _ x: inout Execution, _ options: ScanOptions, _ position: ScanPosition
    ) throws -> ScanPosition? {
        x.scanned = 0
        guard case .keys(let first) = position.subject, !options.isEmpty else { return nil }
        var visited = 0
        var next: ScanPosition?
        let startIndex = order.firstIndex(of: first) ?? 0
        for kind in order[startIndex...] where options.kind == nil || options.kind == kind {
            let resumes = kind == first ? position.next : []
            try resumes.withUnsafeBytes { from in
                let prefix = options.prefix
                let begin = from.isBefore(prefix) ? prefix : from
                try x.group.transactions[kind].forEachKey(
                    from: begin, prefix: prefix, now: x.now
                ) { name, _ in
                    guard visited < options.count else {
                        next = ScanPosition(
                            database: position.database, subject: .keys(kind), next: Array(name))
                        return false
                    }
                    visited += 1
                    if options.matches(name) {
                        x.reply.bulk(name)
                        x.scanned += 1
                    }
                    return true
                }
            }
            if next != nil { break }
        }
        return next
    }

    static func scanx(_ x: inout Execution) throws {
        guard let kind = parseKind(x[1]) else { throw CommandError.syntax }
        let options = try ScanOptions(x, from: 3, allowsType: false)
        try x.limit(options.count)
        let start = x.reply.count
        x.scanned = 0
        x.collector.clear()
        var visited = 0
        let prefix = options.prefix
        let from = x[2].isBefore(prefix) ? prefix : x[2]
        try x.group.transactions[kind].forEachKey(from: from, prefix: prefix, now: x.now) {
            name, _ in
            guard visited < options.count else {
                x.collector.append(name)
                return false
            }
            visited += 1
            if options.matches(name) {
                x.reply.bulk(name)
                x.scanned += 1
            }
            return true
        }
        finishNamed(&x, start)
    }

    /// Puts the next name and the array's header in front of the elements.
    static func finishNamed(_ x: inout Execution, _ start: Int) {
        x.reply.insertHeader(.array, count: x.scanned, at: start)
        let next = x.collector.count > 0 ? x.collector.list()[0] : .none
        x.reply.insert(at: start) { reply in
            reply.array(2)
            reply.bulk(next)
        }
    }
}

// MARK: - Elements of one collection

extension ScanCommands {
    private static func cursorNumber(_ text: Bytes) throws(CommandError) -> UInt64 {
        guard let value = Decimal.parseInteger(text), value >= 0 else { throw .badCursor }
        return UInt64(value)
    }

    static func scanElements(_ x: inout Execution, _ kind: StoreKind) throws {
        let number = try cursorNumber(x[2])
        let options = try ScanOptions(x, from: 3, allowsType: false)
        try x.limit(options.count)
        var from: [UInt8] = []
        if number != 0 {
            guard let saved = x.environment.cursors.position(number),
                case .elements(kind, let key) = saved.subject,
                saved.database == x.client.database,
                key.withUnsafeBytes({ $0.equals(x.key) })
            else { throw CommandError.lostCursor }
            from = saved.next
        }
        let start = x.reply.count
        let next = try from.withUnsafeBytes { try elementStep(&x, kind, options, from: $0) }
        var cursor: UInt64 = 0
        if let next {
            let position = ScanPosition(
                database: x.client.database, subject: .elements(kind, key: Array(x.key)),
                next: next)
            cursor = x.environment.cursors.save(position, continuing: number)
        }
        try finishScan(&x, start, cursor)
    }

    /// Visits up to COUNT elements; returns the first one not visited.
    private static func elementStep(
        _ x: inout Execution, _ kind: StoreKind, _ options: ScanOptions, from: Bytes
    ) throws -> [UInt8]? {
        x.scanned = 0
        var visited = 0
        var next: [UInt8]?
        let prefix = options.prefix
        let begin = from.isBefore(prefix) ? prefix : from
        let key = x.key
        func visits(_ name: Bytes) -> Bool? {
            guard visited < options.count else {
                next = Array(name)
                return nil
            }
            visited += 1
            return options.matches(name)
        }
        switch kind {
        case .hashes:
            try x.hashes.forEach(key, from: begin, prefix: prefix, now: x.now) { field, value in
                guard let matches = visits(field) else { return false }
                if matches {
                    x.reply.bulk(field)
                    x.reply.bulk(value)
                    x.scanned += 2
                }
                return true
            }
        case .sets:
            try x.sets.forEach(key, from: begin, prefix: prefix, now: x.now) { member in
                guard let matches = visits(member) else { return false }
                if matches {
                    x.reply.bulk(member)
                    x.scanned += 1
                }
                return true
            }
        default:
            try x.zsets.forEachMember(key, from: begin, prefix: prefix, now: x.now) {
                member, score in
                guard let matches = visits(member) else { return false }
                if matches {
                    x.reply.bulk(member)
                    x.scoreText(score)
                    x.scanned += 2
                }
                return true
            }
        }
        return next
    }

    static func hscanx(_ x: inout Execution) throws {
        let options = try ScanOptions(x, from: 3, allowsType: false)
        try x.limit(options.count)
        let start = x.reply.count
        x.collector.clear()
        let next = try elementStep(&x, .hashes, options, from: x[2])
        if let next { next.withUnsafeBytes { x.collector.append($0) } }
        finishNamed(&x, start)
    }
}
