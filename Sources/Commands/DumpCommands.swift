import Keyspace
import PikaStorage
import RDB
import RESP

/// DUMP and RESTORE: one key as Redis's payload.
enum DumpCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "dump", arity: 2, flags: [.readonly], keys: .one, group: .generic, since: "2.6.0",
            summary: "Returns a key's value, of its first type, as a Redis payload.",
            handler: dump),
        CommandRow(
            "restore", arity: -4, flags: [.write, .growsData], keys: .one, group: .generic,
            since: "2.6.0", summary: "Makes a key of a Redis payload.", handler: restore),
    ]
}

// MARK: - DUMP

extension DumpCommands {
    static func dump(_ x: inout Execution) throws {
        let key = x.key
        guard let kind = try x.keys.type(key, now: x.now) else {
            x.reply.null()
            return
        }
        try x.limit(try x.elementCount(key, kind))
        if kind == .strings { try x.limitBytes(try x.strings.length(key, now: x.now) ?? 0) }
        let payload = try payload(x, key, kind)
        payload.withUnsafeBytes { x.reply.bulk($0) }
    }

    private static func payload(
        _ x: borrowing Execution, _ key: Bytes, _ kind: StoreKind
    ) throws -> [UInt8] {
        let count = try x.elementCount(key, kind)
        switch kind {
        case .strings:
            return try x.strings.withValue(key, now: x.now) { value, _ in
                DumpPayload.string(value ?? .none)
            }
        case .lists:
            var writer = DumpPayloadWriter(kind: .list, elementCount: count)
            try x.lists.forEach(key, now: x.now) {
                writer.append($0)
                return true
            }
            return writer.finish()
        case .sets:
            var writer = DumpPayloadWriter(kind: .set, elementCount: count)
            try x.sets.forEach(key, now: x.now) {
                writer.append($0)
                return true
            }
            return writer.finish()
        case .hashes:
            var writer = DumpPayloadWriter(kind: .hash, elementCount: count)
            try x.hashes.forEach(key, now: x.now) { field, value in
                writer.append(field: field, value: value)
                return true
            }
            return writer.finish()
        case .zsets:
            var writer = DumpPayloadWriter(kind: .sortedSet, elementCount: count)
            try x.zsets.forEachMember(key, now: x.now) { member, score in
                writer.append(member: member, score: score)
                return true
            }
            return writer.finish()
        }
    }
}

// MARK: - RESTORE

private struct RestoreOptions {
    var replaces = false
    var isAbsolute = false

    init(_ x: borrowing Execution) throws(CommandError) {
        var index = 4
        while index < x.count {
            if x[index].isWord("replace") {
                self.replaces = true
            } else if x[index].isWord("absttl") {
                self.isAbsolute = true
            } else if x[index].isWord("idletime"), index + 1 < x.count {
                guard try x.integer(index + 1) >= 0 else {
                    throw .reply("ERR Invalid IDLETIME value, must be >= 0")
                }
                index += 1
            } else if x[index].isWord("freq"), index + 1 < x.count {
                guard (0...255).contains(try x.integer(index + 1)) else {
                    throw .reply("ERR Invalid FREQ value, must be >= 0 and <= 255")
                }
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
    }
}

extension DumpCommands {
    private static let badFormat = CommandError.reply("ERR Bad data format")

    static func restore(_ x: inout Execution) throws {
        let options = try RestoreOptions(x)
        let key = x.key
        let payload = x[3]
        let isTaken = try x.keys.type(key, now: x.now) != nil
        guard options.replaces || !isTaken else {
            throw CommandError.reply("BUSYKEY Target key name already exists.")
        }
        let ttl = try x.integer(2)
        guard ttl >= 0 else { throw CommandError.reply("ERR Invalid TTL value, must be >= 0") }
        var deadline: Int64 = 0
        if ttl > 0 {
            deadline =
                options.isAbsolute
                ? max(1, try x.deadline(atMilliseconds: ttl, "restore"))
                : try x.deadline(inMilliseconds: ttl, "restore")
        }
        try x.limitBytes(payload.count)
        let (kind, list, count) = try decode(payload)
        try x.limit(count)
        let isOver = deadline != 0 && deadline < x.now
        try x.atomically { x in
            if isTaken { try x.perform(.del, key) }
            guard !isOver else { return }
            try write(&x, key, kind, list, deadline)
        }
        if !isOver {
            x.notifyNew(key)
            x.notify(.restore, key)
        } else if isTaken {
            x.notify(.del, key)
        }
        x.reply.ok()
    }

    private static func write(
        _ x: inout Execution, _ key: Bytes, _ kind: StoreKind, _ list: PackedList,
        _ deadline: Int64
    ) throws {
        if kind == .strings {
            try list.withViews { views in
                try x.writeString(key, views.first ?? .none, expiry: deadline)
            }
            return
        }
        try x.writeElements(list, kind, to: key)
        guard deadline != 0 else { return }
        try withDecimal(deadline) { _ = try x.perform(.expireat, key, $0) }
    }

    private static func decode(
        _ payload: Bytes
    ) throws(CommandError) -> (kind: StoreKind, list: PackedList, count: Int) {
        let value: DumpValue
        do throws(DumpError) {
            value = try DumpPayload.decode(payload)
        } catch {
            switch error {
            case .tooShort, .unsupportedVersion, .checksumMismatch:
                throw .reply("ERR DUMP payload version or checksum are wrong")
            case .unsupportedType, .invalid: throw badFormat
            }
        }
        var list = PackedList()
        func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { list.append($0) } }
        let kind: StoreKind
        let count: Int
        switch value {
        case .string(let bytes):
            add(bytes)
            return (.strings, list, 1)
        case .list(let elements):
            elements.forEach(add)
            (kind, count) = (.lists, elements.count)
        case .set(let members):
            members.forEach(add)
            (kind, count) = (.sets, members.count)
        case .hash(let fields):
            for field in fields {
                // The layout has no deadlines of fields.
                guard field.deadlineMilliseconds == nil else { throw badFormat }
                add(field.field)
                add(field.value)
            }
            (kind, count) = (.hashes, fields.count)
        case .sortedSet(let scores):
            for score in scores {
                guard !score.score.isNaN else { throw badFormat }
                withScoreText(score.score) { list.append($0) }
                add(score.member)
            }
            (kind, count) = (.zsets, scores.count)
        }
        guard count > 0 else { throw badFormat }
        return (kind, list, count)
    }
}
