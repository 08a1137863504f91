import Keyspace
import PikaStorage
import RESP

/// Commands on HyperLogLogs, in Pika's form: 131,072 registers of one byte.
enum HyperLogLogCommands {
    /// Estimates of keys that an event loop may make: one takes about a millisecond.
    static let loopKeyLimit = 8

    static let rows: [CommandRow] = [
        CommandRow(
            "pfadd", arity: -2, flags: [.write, .growsData, .fast], keys: .one, group: .string,
            since: "2.8.9", summary: "Adds elements to a HyperLogLog.", handler: pfadd),
        CommandRow(
            "pfcount", arity: -2, flags: [.pausedWithWrites, .readonly, .multi], keys: .all,
            group: .string,
            since: "2.8.9", summary: "Estimates the number of elements of HyperLogLogs.",
            handler: pfcount),
        CommandRow(
            "pfmerge", arity: -2, flags: [.write, .growsData, .multi], keys: .all,
            group: .string, since: "2.8.9", summary: "Joins HyperLogLogs into one.",
            handler: pfmerge),
    ]

    /// The registers under a key; nil when there is no such key.
    private static func registers(
        _ x: borrowing Execution, _ key: Bytes
    ) throws -> (registers: HyperLogLog?, expiry: Int64) {
        var isOther = false
        var registers: HyperLogLog?
        var expiry: Int64 = 0
        try x.strings.withValue(key, now: x.now) { value, deadline in
            guard let value else { return }
            expiry = Int64(deadline)
            if value.isEmpty || value.count == HyperLogLog.registerCount {
                registers = HyperLogLog(registers: value)
            } else {
                isOther = true
            }
        }
        guard !isOther else { throw wrongType }
        return (registers, expiry)
    }

    /// Throws unless the value under a key is a HyperLogLog.
    private static func requireRegisters(_ x: borrowing Execution, _ key: Bytes) throws {
        let length = try x.strings.length(key, now: x.now) ?? 0
        guard length == 0 || length == HyperLogLog.registerCount else { throw wrongType }
    }

    private static let wrongType = CommandError.reply(
        "WRONGTYPE Key is not a valid HyperLogLog string value.")

    private static func limit(_ x: borrowing Execution) throws(CommandError) {
        x.turn.add(bytes: (x.count - 1) * HyperLogLog.registerCount)
        if x.count - 1 > loopKeyLimit, x.place == .loop { throw .deferToPool }
    }

    static func pfadd(_ x: inout Execution) throws {
        try x.limit(x.count)
        x.turn.add(bytes: 2 * HyperLogLog.registerCount)
        // Only what is going to be changed here is copied.
        let expiry = try x.strings.expiry(x.key, now: x.now)
        let old = expiry == 0 ? nil : try registers(x, x.key).registers
        if expiry == 0 { try requireRegisters(x, x.key) }
        if x.count == 2 {
            // Real Pika would empty a HyperLogLog that is there.
            if expiry == nil {
                try x.performAsSent(.pfadd)
                x.notify(.pfadd, x.key)
            }
            x.reply.integer(expiry == nil ? 1 : 0)
            return
        }
        guard let expiry = expiry.map(Int64.init), var merged = old else {
            let changed = try x.performAsSent(.pfadd)
            if changed > 0 { x.notify(.pfadd, x.key) }
            x.reply.integer(changed)
            return
        }
        // The item `pfadd` would remove the deadline.
        let before = merged.estimate
        for index in 2..<x.count { merged.add(x[index]) }
        try store(&x, x.key, merged, expiry: expiry)
        if merged.estimate != before { x.notify(.pfadd, x.key) }
        x.reply.integer(merged.estimate != before ? 1 : 0)
    }

    private static func store(
        _ x: inout Execution, _ key: Bytes, _ registers: HyperLogLog, expiry: Int64
    ) throws {
        var bytes: [UInt8] = []
        registers.withBytes { bytes = Array($0) }
        try bytes.withUnsafeBytes { try x.writeString(key, $0, expiry: expiry) }
    }

    static func pfcount(_ x: inout Execution) throws {
        try limit(x)
        var joined = try registers(x, x.key).registers
        for index in 2..<max(2, x.count) {
            guard let next = try registers(x, x[index]).registers else { continue }
            if joined == nil {
                joined = next
            } else {
                next.withBytes { joined?.merge($0) }
            }
        }
        x.reply.integer(joined?.estimate ?? 0)
    }

    static func pfmerge(_ x: inout Execution) throws {
        try limit(x)
        var (joined, expiry) = try registers(x, x.key)
        for index in 2..<max(2, x.count) {
            guard let next = try registers(x, x[index]).registers else { continue }
            if joined == nil {
                joined = next
            } else {
                next.withBytes { joined?.merge($0) }
            }
        }
        try store(&x, x.key, joined ?? HyperLogLog(registers: .none), expiry: expiry)
        x.notify(.pfadd, x.key)
        x.reply.ok()
    }
}
