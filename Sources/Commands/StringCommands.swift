import Keyspace
import PikaStorage
import RESP

/// Commands on strings.
enum StringCommands {
    /// Values up to this size are logged whole by APPEND; longer ones as the appended part.
    static let wholeValueLimit = 4096
    /// The longest string, as in Redis.
    static let maxStringBytes = 512 * 1024 * 1024

    static let rows: [CommandRow] = [
        CommandRow(
            "get", arity: 2, flags: [.readonly, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Returns the string value of a key.", handler: get),
        CommandRow(
            "set", arity: -3, flags: [.write, .growsData], keys: .one, group: .string,
            since: "1.0.0", summary: "Sets the string value of a key.", handler: set),
        CommandRow(
            "setnx", arity: 3, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Sets a string value when the key does not exist.",
            handler: setnx),
        CommandRow(
            "setex", arity: 4, flags: [.write, .growsData], keys: .one, group: .string,
            since: "2.0.0", summary: "Sets a string value and its expiration in seconds.",
            handler: setex),
        CommandRow(
            "psetex", arity: 4, flags: [.write, .growsData], keys: .one, group: .string,
            since: "2.6.0", summary: "Sets a string value and its expiration in milliseconds.",
            handler: psetex),
        CommandRow(
            "pksetexat", arity: 4, flags: [.write, .growsData], keys: .one, group: .string,
            since: "1.0.0", summary: "Sets a string value and the Unix second of its expiration.",
            handler: pksetexat),
        CommandRow(
            "getset", arity: 3, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Sets a string value and returns the previous one.",
            handler: getset),
        CommandRow(
            "delvx", arity: 3, flags: [.write], keys: .one, group: .string, since: "1.0.0",
            summary: "Deletes a string key when its value equals the given one.", handler: delvx),
        CommandRow(
            "append", arity: 3, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "2.0.0", summary: "Appends to the string value of a key.", handler: append),
        CommandRow(
            "strlen", arity: 2, flags: [.readonly, .fast], keys: .one, group: .string,
            since: "2.2.0", summary: "Returns the length of a string value.", handler: strlen),
        CommandRow(
            "getrange", arity: 4, flags: [.readonly], keys: .one, group: .string, since: "2.4.0",
            summary: "Returns a part of a string value.", handler: getrange),
        CommandRow(
            "setrange", arity: 4, flags: [.write, .growsData], keys: .one, group: .string,
            since: "2.2.0", summary: "Overwrites a part of a string value.", handler: setrange),
        CommandRow(
            "incr", arity: 2, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Adds one to the integer value of a key.",
            handler: { try increment(&$0, by: 1) }),
        CommandRow(
            "decr", arity: 2, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Subtracts one from the integer value of a key.",
            handler: { try increment(&$0, by: -1) }),
        CommandRow(
            "incrby", arity: 3, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Adds to the integer value of a key.",
            handler: { x in try increment(&x, by: x.integer(2)) }),
        CommandRow(
            "decrby", arity: 3, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "1.0.0", summary: "Subtracts from the integer value of a key.",
            handler: decrby),
        CommandRow(
            "incrbyfloat", arity: 3, flags: [.write, .growsData, .fast], keys: .one,
            group: .string, since: "2.6.0",
            summary: "Adds to the floating point value of a key.", handler: incrbyfloat),
        CommandRow(
            "mget", arity: -2, flags: [.readonly, .fast, .multi], keys: .all, group: .string,
            since: "1.0.0", summary: "Returns the string values of several keys.", handler: mget),
        CommandRow(
            "mset", arity: -3, flags: [.write, .growsData, .multi, .locksLate], keys: .pairs,
            group: .string, since: "1.0.1", summary: "Sets the string values of several keys.",
            handler: mset),
        CommandRow(
            "msetnx", arity: -3, flags: [.write, .growsData, .multi], keys: .pairs,
            group: .string, since: "1.0.1",
            summary: "Sets the string values of several keys when none of them exists.",
            handler: msetnx),
    ]
}

// MARK: - GET, SET

extension StringCommands {
    static func get(_ x: inout Execution) throws {
        try x.strings.withValue(x.key, now: x.now) { value, _ in x.bulkOrNull(value) }
    }

    static func set(_ x: inout Execution) throws {
        if x.count == 3 {
            try x.removeDisplaced()
            try x.performAsSent(.set)
            x.notify(.set, x.key)
            x.reply.ok()
            return
        }
        try setWithOptions(&x)
    }

    /// `SET k v NX`, `XX` or `VX target` and nothing else: logged as sent, as real Pika does.
    private static func setConditionally(_ x: inout Execution) throws -> Bool {
        let isPlain = x.count == 4 && (x[3].isWord("nx") || x[3].isWord("xx"))
        guard isPlain || x.count == 5 && x[3].isWord("vx") else { return false }
        let outcome = try x.performAsSent(.set)
        if outcome == 1 { x.notify(.set, x.key) }
        if !isPlain {
            x.reply.integer(outcome)
        } else if outcome == 1 {
            x.reply.ok()
        } else {
            x.reply.null()
        }
        return true
    }

    private struct SetOptions {
        enum Condition { case always, ifAbsent, ifPresent, ifEqual(Bytes) }
        var condition = Condition.always
        /// Nil = no expiry given.
        var deadline: Int64?
        var keepsDeadline = false
        var returnsOld = false
    }

    private static func setOptions(_ x: borrowing Execution) throws(CommandError) -> SetOptions {
        var options = SetOptions()
        var index = 3
        while index < x.count {
            let word = x[index]
            let hasNext = index + 1 < x.count
            if word.isWord("nx") {
                if case .ifPresent = options.condition { throw .syntax }
                options.condition = .ifAbsent
            } else if word.isWord("xx") {
                if case .ifAbsent = options.condition { throw .syntax }
                options.condition = .ifPresent
            } else if word.isWord("vx"), hasNext {
                options.condition = .ifEqual(x[index + 1])
                index += 1
            } else if word.isWord("get") {
                options.returnsOld = true
            } else if word.isWord("keepttl"), options.deadline == nil {
                options.keepsDeadline = true
            } else if hasNext, options.deadline == nil, !options.keepsDeadline,
                let deadline = try x.expiryOption(word, x[index + 1], "set")
            {
                options.deadline = deadline
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
        return options
    }

    private static func setWithOptions(_ x: inout Execution) throws {
        if x.displaced.isEmpty, try setConditionally(&x) { return }
        let options = try setOptions(x)
        if options.returnsOld, !x.displaced.isEmpty { throw CommandError.wrongType }
        let key = x.key
        let value = x[2]
        // -2: no such key; the reply of GET is written while the old value is at hand.
        var oldExpiry: Int64 = -2
        var equal = false
        let replyStart = x.reply.count
        try x.strings.withValue(key, now: x.now) { old, expiry in
            if options.returnsOld { x.bulkOrNull(old) }
            guard let old else { return }
            oldExpiry = Int64(expiry)
            if case .ifEqual(let target) = options.condition { equal = old.equals(target) }
        }
        if !x.displaced.isEmpty { oldExpiry = Int64(try x.keys.expiry(key, now: x.now) ?? 0) }
        let exists = oldExpiry != -2
        var writes = true
        switch options.condition {
        case .always: break
        case .ifAbsent: writes = !exists
        case .ifPresent: writes = exists
        case .ifEqual: writes = equal
        }
        if writes {
            let kept = options.keepsDeadline && exists ? oldExpiry : 0
            try x.writeString(key, value, expiry: options.deadline ?? kept)
            x.notify(.set, key)
            if options.deadline != nil { x.notify(.expire, key) }
        }
        guard !options.returnsOld || x.reply.count == replyStart else { return }
        if case .ifEqual = options.condition {
            x.reply.integer(writes ? 1 : exists ? -1 : 0)
        } else if writes {
            x.reply.ok()
        } else {
            x.reply.null()
        }
    }

    static func setnx(_ x: inout Execution) throws {
        let written = x.displaced.isEmpty ? try x.perform(.setnx, x.key, x[2]) : 0
        if written > 0 { x.notify(.set, x.key) }
        x.reply.integer(written)
    }

    static func setex(_ x: inout Execution) throws {
        let seconds = try x.integer(2)
        guard seconds > 0 else { throw CommandError.badExpiry("setex") }
        let deadline = try x.deadline(inSeconds: seconds, "setex")
        try x.writeString(x.key, x[3], expiry: deadline)
        x.notify(.set, x.key)
        x.notify(.expire, x.key)
        x.reply.ok()
    }

    static func psetex(_ x: inout Execution) throws {
        let milliseconds = try x.integer(2)
        guard milliseconds > 0 else { throw CommandError.badExpiry("psetex") }
        let deadline = try x.deadline(inMilliseconds: milliseconds, "psetex")
        try x.writeString(x.key, x[3], expiry: deadline)
        x.notify(.set, x.key)
        x.notify(.expire, x.key)
        x.reply.ok()
    }

    static func pksetexat(_ x: inout Execution) throws {
        let deadline = try x.integer(2)
        guard deadline >= 0, deadline < Int64(Int32.max) else {
            throw CommandError.badExpiry("pksetexat")
        }
        try x.removeDisplaced()
        try x.performAsSent(.pksetexat)
        x.notify(.set, x.key)
        if deadline > 0 { x.notify(.expire, x.key) }
        x.reply.ok()
    }

    static func getset(_ x: inout Execution) throws {
        try x.strings.withValue(x.key, now: x.now) { value, _ in x.bulkOrNull(value) }
        try x.performAsSent(.getset)
        x.notify(.set, x.key)
    }

    static func delvx(_ x: inout Execution) throws {
        var outcome: Int64 = 0
        try x.strings.withValue(x.key, now: x.now) { value, _ in
            guard let value else { return }
            outcome = value.equals(x[2]) ? 1 : -1
        }
        if outcome == 1 {
            try x.performAsSent(.delvx)
            x.notify(.del, x.key)
        }
        x.reply.integer(outcome)
    }
}

extension Execution {
    /// The deadline of EX, PX, EXAT or PXAT; nil when `word` is none of them.
    func expiryOption(
        _ word: Bytes, _ argument: Bytes, _ command: StaticString
    ) throws(CommandError) -> Int64? {
        let isSeconds = word.isWord("ex")
        let isMilliseconds = word.isWord("px")
        let isUnixSecond = word.isWord("exat")
        guard isSeconds || isMilliseconds || isUnixSecond || word.isWord("pxat") else { return nil }
        guard let value = Decimal.parseInteger(argument) else { throw .notInteger }
        guard value > 0 else { throw .badExpiry(command) }
        if isSeconds { return try self.deadline(inSeconds: value, command) }
        if isMilliseconds { return try self.deadline(inMilliseconds: value, command) }
        if isUnixSecond { return max(1, try self.deadline(atSeconds: value, command)) }
        // 0 would mean no deadline at all.
        return max(1, try self.deadline(atMilliseconds: value, command))
    }
}

// MARK: - Parts of values

extension StringCommands {
    static func append(_ x: inout Execution) throws {
        let key = x.key
        let tail = x[2]
        var newLength = tail.count
        var expiry: Int64 = 0
        x.collector.clear()
        try x.strings.withValue(key, now: x.now) { value, deadline in
            guard let value else { return }
            newLength += value.count
            expiry = Int64(deadline)
            guard newLength <= wholeValueLimit else { return }
            x.collector.append(capacity: newLength) { whole in
                whole.copyMemory(from: value)
                UnsafeMutableRawBufferPointer(rebasing: whole[value.count...])
                    .copyMemory(from: tail)
                return newLength
            }
        }
        guard newLength <= maxStringBytes else { throw CommandError.tooLong }
        x.turn.add(bytes: newLength)
        if newLength > wholeValueLimit {
            try x.performAsSent(.append)
        } else if x.collector.count == 0 {
            try x.writeString(key, tail, expiry: expiry)
        } else {
            let whole = x.collector.list()[0]
            try x.writeString(key, whole, expiry: expiry)
        }
        x.notify(.append, key)
        x.reply.integer(newLength)
    }

    static func strlen(_ x: inout Execution) throws {
        x.reply.integer(try x.strings.length(x.key, now: x.now) ?? 0)
    }

    static func getrange(_ x: inout Execution) throws {
        let start = try x.integer(2)
        let end = try x.integer(3)
        try x.strings.withValue(x.key, now: x.now) { value, _ in
            guard let value, let range = resolve(start, end, count: value.count) else {
                x.reply.bulk("")
                return
            }
            x.reply.bulk(Bytes(rebasing: value[range]))
        }
    }

    /// Redis's rules for the indexes of GETRANGE.
    private static func resolve(_ start: Int64, _ end: Int64, count: Int) -> Range<Int>? {
        guard !(start < 0 && end < 0 && start > end) else { return nil }
        let length = Int64(count)
        let first = max(0, start < 0 ? length + start : start)
        let last = min(length - 1, max(0, end < 0 ? length + end : end))
        guard length > 0, first <= last else { return nil }
        return Int(first)..<Int(last) + 1
    }

    static func setrange(_ x: inout Execution) throws {
        let offset = try x.integer(2)
        guard offset >= 0 else { throw CommandError.badOffset }
        let patch = x[3]
        let oldLength = try x.strings.length(x.key, now: x.now)
        guard !patch.isEmpty else {
            x.reply.integer(oldLength ?? 0)
            return
        }
        guard offset <= Int64(maxStringBytes - patch.count) else { throw CommandError.tooLong }
        try x.limitBytes(max(oldLength ?? 0, Int(offset) + patch.count))
        let expiry = try x.strings.expiry(x.key, now: x.now) ?? 0
        if expiry == 0, !patch.contains(0) {
            x.reply.integer(try x.performAsSent(.setrange))
            x.notify(.setrange, x.key)
            return
        }
        try x.writePatch(x.key, Int(offset), Array(patch))
        x.notify(.setrange, x.key)
        x.reply.integer(max(oldLength ?? 0, Int(offset) + patch.count))
    }
}

// MARK: - Arithmetic

extension StringCommands {
    static func increment(_ x: inout Execution, by delta: Int64) throws {
        let key = x.key
        var current: Int64? = 0
        var expiry: Int64 = 0
        try x.strings.withValue(key, now: x.now) { value, deadline in
            guard let value else { return }
            current = Decimal.parseInteger(value)
            expiry = Int64(deadline)
        }
        guard let current else { throw CommandError.notInteger }
        let (sum, overflow) = current.addingReportingOverflow(delta)
        guard !overflow else { throw CommandError.overflow }
        try withDecimal(sum) { text in try x.writeString(key, text, expiry: expiry) }
        x.notify(.incrby, key)
        x.reply.integer(sum)
    }

    static func decrby(_ x: inout Execution) throws {
        let delta = try x.integer(2)
        guard delta != .min else {
            throw CommandError.reply("ERR decrement would overflow")
        }
        try increment(&x, by: -delta)
    }

    static func incrbyfloat(_ x: inout Execution) throws {
        let key = x.key
        let delta = x[2]
        guard parseDouble(delta) != nil else { throw CommandError.notFloat }
        var expiry: Int64 = 0
        x.collector.clear()
        var fault: CommandError?
        try x.strings.withValue(key, now: x.now) { value, deadline in
            expiry = Int64(deadline)
            fault = x.collectSum(value, delta)
        }
        if let fault { throw fault }
        let text = x.collector.list()[0]
        try x.writeString(key, text, expiry: expiry)
        x.notify(.incrbyfloat, key)
        x.reply.bulk(text)
    }
}

extension Execution {
    /// Adds two texts as long doubles and keeps the text of the sum in the collector.
    mutating func collectSum(_ value: Bytes?, _ delta: Bytes) -> CommandError? {
        if let value, parseDouble(value) == nil { return .notFloat }
        var fault: CommandError?
        let zero: StaticString = "0"
        self.collector.append(capacity: Numbers.textCapacity) { buffer in
            do throws(StorageError) {
                return try Numbers.addFloat(value ?? zero.bytes, delta, into: buffer)
            } catch {
                fault = error == .resultIsNaN ? .notFinite : .notFloat
                return 0
            }
        }
        guard fault == nil else { return fault }
        // An infinite sum has no digits.
        return self.collector.byteCount == 0 ? .notFinite : nil
    }
}

// MARK: - Several keys

extension StringCommands {
    static func mget(_ x: inout Execution) throws {
        try x.limit(x.count - 1)
        x.reply.array(x.count - 1)
        for index in 1..<x.count where !x.reply.hasOverflowed {
            try x.strings.withValue(x[index], now: x.now) { value, _ in x.bulkOrNull(value) }
        }
    }

    static func mset(_ x: inout Execution) throws {
        guard x.count % 2 == 1 else { throw CommandError.arity("mset") }
        try x.limit(x.count / 2)
        let locksLate = x.locksLate
        x.locksLate = false
        try x.replacing { try setPairs(&$0) }
        if locksLate {
            // All stripes of locks are among those of many keys, and all writers would wait meanwhile.
            let keys = stride(from: 1, to: x.count, by: 2).map { x[$0] }
            keys.withUnsafeBufferPointer { x.group.lockLate($0) }
        }
        x.reply.ok()
    }

    static func msetnx(_ x: inout Execution) throws {
        guard x.count % 2 == 1 else { throw CommandError.arity("msetnx") }
        try x.limit(x.count / 2)
        guard x.displaced.isEmpty else {
            x.reply.integer(0)
            return
        }
        for index in stride(from: 1, to: x.count, by: 2)
        where try x.strings.exists(x[index], now: x.now) {
            x.reply.integer(0)
            return
        }
        try x.atomically { try setPairs(&$0) }
        x.reply.integer(1)
    }

    private static func setPairs(_ x: inout Execution) throws {
        try x.removeDisplaced()
        for index in stride(from: 1, to: x.count, by: 2) {
            try x.perform(.set, x[index], x[index + 1])
            x.notify(.set, x[index])
        }
    }
}
