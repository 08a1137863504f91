import Keyspace
import PikaStorage
import RESP
import Synchronization

/// Pika's own commands on ranges of names: PKSCANRANGE and its kin, PKPATTERNMATCHDEL.
enum RangeCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "pkscanrange", arity: -4, flags: [.readonly], keys: .none, group: .generic,
            since: "1.0.0", summary: "Returns names of one type between two names.",
            handler: { try scanKeys(&$0, reverse: false) }),
        CommandRow(
            "pkrscanrange", arity: -4, flags: [.readonly], keys: .none, group: .generic,
            since: "1.0.0", summary: "Returns names of one type between two names, backwards.",
            handler: { try scanKeys(&$0, reverse: true) }),
        CommandRow(
            "pkhscanrange", arity: -4, flags: [.readonly], keys: .one, group: .hash,
            since: "1.0.0", summary: "Returns fields and values of a hash between two fields.",
            handler: { try scanFields(&$0, reverse: false) }),
        CommandRow(
            "pkhrscanrange", arity: -4, flags: [.readonly], keys: .one, group: .hash,
            since: "1.0.0",
            summary: "Returns fields and values of a hash between two fields, backwards.",
            handler: { try scanFields(&$0, reverse: true) }),
        CommandRow(
            "pkpatternmatchdel", arity: 3, flags: [.write, .slow, .commitsFirst, .sliced],
            keys: .none,
            group: .generic, since: "1.0.0",
            summary: "Deletes the keys of one type that match a pattern.",
            handler: deleteMatching),
    ]
}

/// A range of names, and which of them are wanted.
private struct NameRange {
    /// Where to begin, in the order of the scan; empty = open.
    let first: Bytes
    /// Where to end; empty = open.
    let last: Bytes
    let reverse: Bool
    var pattern: Bytes?
    var limit = ScanCommands.defaultCount

    init(_ x: borrowing Execution, reverse: Bool) throws(CommandError) {
        self.first = x[2]
        self.last = x[3]
        self.reverse = reverse
        let low = reverse ? self.last : self.first
        let high = reverse ? self.first : self.last
        guard low.isEmpty || high.isEmpty || !high.isBefore(low) else {
            throw .reply("ERR error in given range")
        }
        var index = 4
        while index < x.count {
            guard index + 1 < x.count else { throw .syntax }
            if x[index].isWord("match") {
                self.pattern = x[index + 1]
            } else if x[index].isWord("limit") {
                let value = try x.integer(index + 1)
                guard value >= 1 else { throw .syntax }
                self.limit = Int(min(value, Int64(Int32.max)))
            } else {
                throw .syntax
            }
            index += 2
        }
        try x.limit(self.limit)
    }

    func isPastEnd(_ name: Bytes) -> Bool {
        guard !self.last.isEmpty else { return false }
        return self.reverse ? name.isBefore(self.last) : self.last.isBefore(name)
    }

    func matches(_ name: Bytes) -> Bool {
        self.pattern.map { GlobPattern($0).matches(name) } ?? true
    }
}

extension RangeCommands {
    static func scanKeys(_ x: inout Execution, reverse: Bool) throws {
        let withValues = x[1].isWord("string_with_value")
        guard let kind = withValues ? .strings : parseKind(x[1]) else {
            throw CommandError.syntax
        }
        let range = try NameRange(x, reverse: reverse)
        let start = x.reply.count
        x.scanned = 0
        x.collector.clear()
        var visited = 0
        try x.group.transactions[kind].forEachKey(
            from: range.first, now: x.now, reverse: reverse
        ) { name, _ throws(StorageError) in
            guard !range.isPastEnd(name) else { return false }
            guard visited < range.limit else {
                x.collector.append(name)
                return false
            }
            visited += 1
            guard range.matches(name) else { return true }
            x.reply.bulk(name)
            x.scanned += 1
            if withValues {
                try x.strings.withValue(name, now: x.now) { value, _ in
                    x.reply.bulk(value ?? .none)
                }
                x.scanned += 1
            }
            return true
        }
        try finish(&x, start)
    }

    static func scanFields(_ x: inout Execution, reverse: Bool) throws {
        let range = try NameRange(x, reverse: reverse)
        let start = x.reply.count
        x.scanned = 0
        x.collector.clear()
        var visited = 0
        try x.hashes.forEach(x.key, from: range.first, now: x.now, reverse: reverse) {
            field, value in
            guard !range.isPastEnd(field) else { return false }
            guard visited < range.limit else {
                x.collector.append(field)
                return false
            }
            visited += 1
            guard range.matches(field) else { return true }
            x.reply.bulk(field)
            x.reply.bulk(value)
            x.scanned += 2
            return true
        }
        try finish(&x, start)
    }

    private static func finish(_ x: inout Execution, _ start: Int) throws {
        let limit = x.environment.maxReplyBytes.load(ordering: .relaxed)
        guard x.reply.count - start <= limit else { throw CommandError.replyTooLarge }
        ScanCommands.finishNamed(&x, start)
    }
}

// MARK: - PKPATTERNMATCHDEL

extension RangeCommands {
    static func deleteMatching(_ x: inout Execution) throws {
        guard let kind = parseKind(x[2]) else { throw CommandError.syntax }
        var next: [UInt8]? = []
        var deleted: Int64 = 0
        while let from = next {
            var names = PackedList()
            next = try matching(x, kind, from: from, into: &names)
            try names.withViews { names in
                if x.mayRunInSlices {
                    deleted += try x.inSlices(names) { x, name in try delete(&x, name, kind) }
                    return
                }
                // A group of the pool that holds nothing waits for its keys.
                guard case .acquired = x.group.lock(names) else {
                    throw CommandError.reply("ERR keys are in use, try again")
                }
                try x.atomically { x in
                    for name in names { deleted += try delete(&x, name, kind) }
                }
            }
        }
        x.reply.integer(deleted)
    }

    /// Names that match the pattern; in slices at most one slice of them, and where to go on.
    private static func matching(
        _ x: borrowing Execution, _ kind: StoreKind, from: [UInt8], into names: inout PackedList
    ) throws -> [UInt8]? {
        let pattern = GlobPattern(x[1])
        let prefix = ScanOptions.literalPrefix(of: x[1])
        let limit = x.mayRunInSlices ? ExecutionPlace.sliceLimit : Int.max
        var next: [UInt8]?
        try from.withUnsafeBytes { from in
            try x.group.transactions[kind].forEachKey(
                from: from.isBefore(prefix) ? prefix : from, prefix: prefix, now: x.now
            ) { name, _ in
                guard pattern.matches(name) else { return true }
                guard names.count < limit else {
                    next = Array(name)
                    return false
                }
                names.append(name)
                return true
            }
        }
        return next
    }

    /// Deletes one type of a key: `del` would delete the others too.
    private static func delete(
        _ x: inout Execution, _ key: Bytes, _ kind: StoreKind
    ) throws -> Int64 {
        let kinds = try x.keys.kinds(key, now: x.now)
        guard kinds.has(kind) else { return 0 }
        if kinds == StoreKinds(kind) {
            x.notify(.del, key)
            return try x.perform(.del, key)
        }
        var escaped: [UInt8] = []
        for byte in key {
            escaped.append(UInt8(ascii: "\\"))
            escaped.append(byte)
        }
        let type = Array(kind.typeName.utf8)
        return try escaped.withUnsafeBytes { escaped in
            try type.withUnsafeBytes { try x.perform(.pkpatternmatchdel, escaped, $0) }
        }
    }
}
