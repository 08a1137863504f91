import Keyspace
import PikaStorage
import RESP

/// Commands on the bits of strings.
enum BitCommands {
    /// First bit that there is not: strings have 512 MB.
    static let bitLimit = Int64(StringCommands.maxStringBytes) * 8
    /// Bytes that a command may read or copy on an event loop.
    static let loopByteLimit = 256 * 1024

    static let rows: [CommandRow] = [
        CommandRow(
            "setbit", arity: 4, flags: [.write, .growsData], keys: .one, group: .string,
            since: "2.2.0", summary: "Sets one bit of a string value.", handler: setbit),
        CommandRow(
            "getbit", arity: 3, flags: [.readonly, .fast], keys: .one, group: .string,
            since: "2.2.0", summary: "Returns one bit of a string value.", handler: getbit),
        CommandRow(
            "bitcount", arity: -2, flags: [.readonly], keys: .one, group: .string,
            since: "2.6.0", summary: "Counts the bits that are set.", handler: bitcount),
        CommandRow(
            "bitpos", arity: -3, flags: [.readonly], keys: .one, group: .string,
            since: "2.8.7", summary: "Finds the first bit that is set or clear.",
            handler: bitpos),
        CommandRow(
            "bitop", arity: -3, flags: [.write, .growsData, .multi],
            keys: KeyPositions(2, -1, 1), group: .string, since: "2.6.0",
            summary: "Combines strings bit by bit and stores the result.", handler: bitop),
        CommandRow(
            "bitfield", arity: -2, flags: [.write, .growsData], keys: .one, group: .string,
            since: "3.2.0", summary: "Reads and changes integers of any width in a string.",
            handler: { try bitfield(&$0, isReadOnly: false) }),
        CommandRow(
            "bitfield_ro", arity: -2, flags: [.readonly, .fast], keys: .one, group: .string,
            since: "6.0.0", summary: "Reads integers of any width in a string.",
            handler: { try bitfield(&$0, isReadOnly: true) }),
    ]

    static func offset(_ text: Bytes) throws(CommandError) -> Int64 {
        guard let value = Decimal.parseInteger(text), value >= 0, value < bitLimit else {
            throw .reply("ERR bit offset is not an integer or out of range")
        }
        return value
    }
}

// MARK: - Whole values

extension Execution {
    /// A copy of a string value and its deadline; large ones are for the pool.
    func copyOfValue(_ key: Bytes) throws -> (value: [UInt8]?, expiry: Int64) {
        try self.limitBytes(try self.strings.length(key, now: self.now) ?? 0)
        return try self.strings.withValue(key, now: self.now) { value, expiry in
            (value.map { Array($0) }, Int64(expiry))
        }
    }

    /// Sends the command to the slow pool when it would touch more bytes than a loop may.
    func limitBytes(_ count: Int) throws(CommandError) {
        self.turn.add(bytes: count)
        if count > BitCommands.loopByteLimit, self.place == .loop { throw .deferToPool }
    }

    /// Writes `patch` into a string at `offset`, padded with zeros; the deadline stays.
    ///
    /// Short values are logged whole. So are those with a deadline, which `setrange` would remove,
    /// and patches with a NUL byte, at which real Pika's `setrange` ends.
    mutating func writePatch(_ key: Bytes, _ offset: Int, _ patch: [UInt8]) throws {
        var length = 0
        var expiry: Int64 = 0
        try self.strings.withValue(key, now: self.now) { value, deadline in
            length = value?.count ?? 0
            expiry = Int64(deadline)
        }
        let total = max(length, offset + patch.count)
        guard total <= StringCommands.maxStringBytes else { throw CommandError.tooLong }
        try self.limitBytes(total)
        if expiry == 0, total > StringCommands.wholeValueLimit, !patch.contains(0) {
            try patch.withUnsafeBytes { patch in
                try withDecimal(Int64(offset)) { text in
                    _ = try self.perform(.setrange, key, text, patch)
                }
            }
            return
        }
        var whole = try self.copyOfValue(key).value ?? []
        if whole.count < total {
            whole.append(contentsOf: repeatElement(0, count: total - whole.count))
        }
        whole.replaceSubrange(offset..<offset + patch.count, with: patch)
        try whole.withUnsafeBytes { try self.writeString(key, $0, expiry: expiry) }
    }
}

// MARK: - Single bits

extension BitCommands {
    static func setbit(_ x: inout Execution) throws {
        let offset = try offset(x[2])
        guard x[3].count == 1, x[3][0] == UInt8(ascii: "0") || x[3][0] == UInt8(ascii: "1") else {
            throw CommandError.reply("ERR bit is not an integer or out of range")
        }
        let on = x[3][0] == UInt8(ascii: "1")
        let place = Int(offset >> 3)
        var byte: UInt8 = 0
        var length = 0
        var expiry: Int64 = 0
        try x.strings.withValue(x.key, now: x.now) { value, deadline in
            expiry = Int64(deadline)
            length = value?.count ?? 0
            if let value, place < length { byte = value[place] }
        }
        let mask = UInt8(0x80) >> UInt8(offset & 7)
        let before = byte & mask != 0
        // A real Pika's SETBIT makes no room for a 0.
        let onlyExtends = before == on && place >= length
        if expiry == 0, !onlyExtends, offset < Int64(Strings.setBitLimit) {
            try x.performAsSent(.setbit)
        } else {
            try x.writePatch(x.key, place, [on ? byte | mask : byte & ~mask])
        }
        if before != on || place >= length { x.notify(.setbit, x.key) }
        x.reply.integer(before ? 1 : 0)
    }

    static func getbit(_ x: inout Execution) throws {
        let offset = try offset(x[2])
        let place = Int(offset >> 3)
        try x.strings.withValue(x.key, now: x.now) { value, _ in
            guard let value, place < value.count else {
                x.reply.integer(0)
                return
            }
            x.reply.integer(value[place] & UInt8(0x80) >> UInt8(offset & 7) != 0 ? 1 : 0)
        }
    }
}

// MARK: - Ranges of bits

/// The range of BITCOUNT and BITPOS: start, end and their unit.
private struct BitRange {
    var start: Int64 = 0
    var end: Int64 = -1
    var isBits = false
    var hasEnd = false

    init(_ x: borrowing Execution, from index: Int, needsEnd: Bool) throws(CommandError) {
        guard x.count > index else { return }
        guard x.count <= index + 3, !needsEnd || x.count > index + 1 else { throw .syntax }
        self.start = try x.integer(index)
        if x.count > index + 1 {
            self.end = try x.integer(index + 1)
            self.hasEnd = true
        }
        if x.count > index + 2 {
            if x[index + 2].isWord("bit") {
                self.isBits = true
            } else if !x[index + 2].isWord("byte") {
                throw .syntax
            }
        }
    }

    /// The bits meant in a value of `count` bytes; nil for none.
    func bits(count: Int) -> Range<Int>? {
        let total = Int64(count) * (self.isBits ? 8 : 1)
        guard !(self.start < 0 && self.end < 0 && self.start > self.end) else { return nil }
        let first = self.start < 0 ? max(0, total + self.start) : self.start
        let last = min(total - 1, self.end < 0 ? max(0, total + self.end) : self.end)
        guard total > 0, first <= last else { return nil }
        if self.isBits { return Int(first)..<Int(last) + 1 }
        return Int(first) * 8..<(Int(last) + 1) * 8
    }
}

extension BitCommands {
    static func bitcount(_ x: inout Execution) throws {
        let range = try BitRange(x, from: 2, needsEnd: true)
        try x.limitBytes(try x.strings.length(x.key, now: x.now) ?? 0)
        let count = try x.strings.withValue(x.key, now: x.now) { value, _ in
            guard let value, let bits = range.bits(count: value.count) else { return 0 }
            return ones(value, bits)
        }
        x.reply.integer(count)
    }

    /// The bits that are set in a range.
    static func ones(_ value: Bytes, _ bits: Range<Int>) -> Int {
        var count = 0
        var position = bits.lowerBound
        while position < bits.upperBound, position & 7 != 0 {
            if isSet(value, position) { count += 1 }
            position += 1
        }
        while position + 64 <= bits.upperBound {
            count +=
                value.loadUnaligned(fromByteOffset: position >> 3, as: UInt64.self).nonzeroBitCount
            position += 64
        }
        while position + 8 <= bits.upperBound {
            count += value[position >> 3].nonzeroBitCount
            position += 8
        }
        while position < bits.upperBound {
            if isSet(value, position) { count += 1 }
            position += 1
        }
        return count
    }

    private static func isSet(_ value: Bytes, _ bit: Int) -> Bool {
        value[bit >> 3] & UInt8(0x80) >> UInt8(bit & 7) != 0
    }

    static func bitpos(_ x: inout Execution) throws {
        guard let bit = Decimal.parseInteger(x[2]) else { throw CommandError.notInteger }
        guard bit == 0 || bit == 1 else {
            throw CommandError.reply("ERR The bit argument must be 1 or 0.")
        }
        let range = try BitRange(x, from: 3, needsEnd: false)
        try x.limitBytes(try x.strings.length(x.key, now: x.now) ?? 0)
        let position = try x.strings.withValue(x.key, now: x.now) { value, _ in
            guard let value else { return bit == 1 ? -1 : 0 }
            guard let bits = range.bits(count: value.count) else { return -1 }
            if let found = first(value, bits, bit == 1) { return found }
            // Without an end the string counts as followed by clear bits.
            return bit == 0 && !range.hasEnd ? bits.upperBound : -1
        }
        x.reply.integer(position)
    }

    private static func first(_ value: Bytes, _ bits: Range<Int>, _ wanted: Bool) -> Int? {
        let skipped: UInt64 = wanted ? 0 : .max
        var position = bits.lowerBound
        while position < bits.upperBound {
            if position & 7 == 0, position + 64 <= bits.upperBound,
                value.loadUnaligned(fromByteOffset: position >> 3, as: UInt64.self) == skipped
            {
                position += 64
            } else if isSet(value, position) == wanted {
                return position
            } else {
                position += 1
            }
        }
        return nil
    }
}

// MARK: - BITOP

extension BitCommands {
    private enum Operation { case and, or, xor, not }

    static func bitop(_ x: inout Execution) throws {
        guard x.count >= 4 else { throw CommandError.arity("bitop") }
        let operation: Operation
        if x[1].isWord("and") {
            operation = .and
        } else if x[1].isWord("or") {
            operation = .or
        } else if x[1].isWord("xor") {
            operation = .xor
        } else if x[1].isWord("not") {
            operation = .not
        } else {
            throw CommandError.syntax
        }
        guard operation != .not || x.count == 4 else {
            throw CommandError.reply("ERR BITOP NOT must be called with a single source key.")
        }
        var total = 0
        var longest = 0
        for index in 3..<x.count {
            let length = try x.strings.length(x[index], now: x.now) ?? 0
            total += length
            longest = max(longest, length)
        }
        try x.limitBytes(total)
        try x.limit(x.count)
        var result = [UInt8](repeating: 0, count: longest)
        for index in 3..<x.count {
            try x.strings.withValue(x[index], now: x.now) { value, _ in
                combine(&result, value ?? .none, operation, isFirst: index == 3)
            }
        }
        let destination = x[2]
        let hadDisplaced = !x.displaced.isEmpty
        try x.removeDisplaced()
        if result.isEmpty {
            if try hadDisplaced || x.strings.exists(destination, now: x.now) {
                try x.perform(.del, destination)
                x.notify(.del, destination)
            }
        } else {
            try result.withUnsafeBytes { _ = try x.perform(.set, destination, $0) }
            x.notify(.set, destination)
        }
        x.reply.integer(longest)
    }

    private static func combine(
        _ result: inout [UInt8], _ value: Bytes, _ operation: Operation, isFirst: Bool
    ) {
        for index in result.indices {
            let byte = index < value.count ? value[index] : 0
            switch operation {
            case .not: result[index] = ~byte
            case .and: result[index] = isFirst ? byte : result[index] & byte
            case .or: result[index] |= byte
            case .xor: result[index] ^= byte
            }
        }
    }
}
