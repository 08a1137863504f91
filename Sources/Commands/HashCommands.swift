import Keyspace
import PikaStorage
import RESP

/// Commands on hashes.
enum HashCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "hset", arity: -4, flags: [.write, .growsData, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Sets fields of a hash.", handler: hset),
        CommandRow(
            "hmset", arity: -4, flags: [.write, .growsData, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Sets fields of a hash.", handler: hmset),
        CommandRow(
            "hsetnx", arity: 4, flags: [.write, .growsData, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Sets a field of a hash when it does not exist.",
            handler: { x in
                let set = try x.performAsSent(.hsetnx)
                if set > 0 { x.notify(.hset, x.key) }
                x.reply.integer(set)
            }),
        CommandRow(
            "hget", arity: 3, flags: [.readonly, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Returns the value of a field.", handler: hget),
        CommandRow(
            "hmget", arity: -3, flags: [.readonly, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Returns the values of several fields.", handler: hmget),
        CommandRow(
            "hgetall", arity: 2, flags: [.readonly], keys: .one, group: .hash, since: "2.0.0",
            summary: "Returns all fields and values of a hash.", handler: hgetall),
        CommandRow(
            "hkeys", arity: 2, flags: [.readonly], keys: .one, group: .hash, since: "2.0.0",
            summary: "Returns all fields of a hash.",
            handler: { try column(&$0, fields: true) }),
        CommandRow(
            "hvals", arity: 2, flags: [.readonly], keys: .one, group: .hash, since: "2.0.0",
            summary: "Returns all values of a hash.",
            handler: { try column(&$0, fields: false) }),
        CommandRow(
            "hlen", arity: 2, flags: [.readonly, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Returns the number of fields of a hash.",
            handler: { x in x.reply.integer(try x.hashes.count(x.key, now: x.now)) }),
        CommandRow(
            "hexists", arity: 3, flags: [.readonly, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Tells whether a field exists.",
            handler: { x in
                x.reply.integer(try x.hashes.exists(x.key, x[2], now: x.now) ? 1 : 0)
            }),
        CommandRow(
            "hstrlen", arity: 3, flags: [.readonly, .fast], keys: .one, group: .hash,
            since: "3.2.0", summary: "Returns the length of the value of a field.",
            handler: hstrlen),
        CommandRow(
            "hdel", arity: -3, flags: [.write, .fast], keys: .one, group: .hash, since: "2.0.0",
            summary: "Deletes fields of a hash.",
            handler: { x in
                try x.limit(x.count - 2)
                let deleted = try x.performAsSent(.hdel)
                if deleted > 0 { try x.notifyTaken(.hdel, x.key) }
                x.reply.integer(deleted)
            }),
        CommandRow(
            "hincrby", arity: 4, flags: [.write, .growsData, .fast], keys: .one, group: .hash,
            since: "2.0.0", summary: "Adds to the integer value of a field.", handler: hincrby),
        CommandRow(
            "hincrbyfloat", arity: 4, flags: [.write, .growsData, .fast], keys: .one,
            group: .hash, since: "2.6.0", summary: "Adds to the floating point value of a field.",
            handler: hincrbyfloat),
    ]
}

extension HashCommands {
    static func hset(_ x: inout Execution) throws {
        guard x.count % 2 == 0 else { throw CommandError.arity("hset") }
        if x.count == 4 {
            x.reply.integer(try x.performAsSent(.hset))
            x.notify(.hset, x.key)
            return
        }
        x.reply.integer(try setPairs(&x))
        x.notify(.hset, x.key)
    }

    static func hmset(_ x: inout Execution) throws {
        guard x.count % 2 == 0 else { throw CommandError.arity("hmset") }
        try x.limit(x.count / 2)
        try x.performAsSent(.hmset)
        x.notify(.hset, x.key)
        x.reply.ok()
    }

    /// Several pairs of HSET: real Pika's `hset` takes one only, so they are logged as `hmset`.
    private static func setPairs(_ x: inout Execution) throws -> Int64 {
        try x.limit(x.count / 2)
        return try x.perform(.hmset, list: x.rest(from: 1))
    }

    static func hget(_ x: inout Execution) throws {
        try x.hashes.withField(x.key, x[2], now: x.now) { x.bulkOrNull($0) }
    }

    static func hstrlen(_ x: inout Execution) throws {
        try x.hashes.withField(x.key, x[2], now: x.now) { x.reply.integer($0?.count ?? 0) }
    }

    static func hmget(_ x: inout Execution) throws {
        try x.limit(x.count - 2)
        let key = x.key
        let meta = try x.hashes.meta(key, now: x.now)
        x.reply.array(x.count - 2)
        for index in 2..<x.count where !x.reply.hasOverflowed {
            if let meta {
                try x.hashes.withField(key, meta, x[index]) { x.bulkOrNull($0) }
            } else {
                x.reply.null()
            }
        }
    }

    static func hgetall(_ x: inout Execution) throws {
        try x.limit(try x.hashes.count(x.key, now: x.now))
        let start = x.reply.count
        var pairs = 0
        try x.hashes.forEach(x.key, now: x.now) { field, value in
            x.reply.bulk(field)
            x.reply.bulk(value)
            pairs += 1
            return !x.reply.hasOverflowed
        }
        x.reply.insertHeader(.map, count: pairs, at: start)
    }

    static func column(_ x: inout Execution, fields: Bool) throws {
        try x.limit(try x.hashes.count(x.key, now: x.now))
        let start = x.reply.count
        var count = 0
        try x.hashes.forEach(x.key, now: x.now) { field, value in
            x.reply.bulk(fields ? field : value)
            count += 1
            return !x.reply.hasOverflowed
        }
        x.reply.insertHeader(.array, count: count, at: start)
    }

    static func hincrby(_ x: inout Execution) throws {
        let delta = try x.integer(3)
        var current: Int64? = 0
        try x.hashes.withField(x.key, x[2], now: x.now) { value in
            if let value { current = Decimal.parseInteger(value) }
        }
        guard let current else {
            throw CommandError.reply("ERR hash value is not an integer")
        }
        let (sum, overflow) = current.addingReportingOverflow(delta)
        guard !overflow else { throw CommandError.overflow }
        try withDecimal(sum) { text in
            _ = try x.perform(.hset, x.key, x[2], text)
        }
        x.notify(.hincrby, x.key)
        x.reply.integer(sum)
    }

    static func hincrbyfloat(_ x: inout Execution) throws {
        let delta = x[3]
        guard let number = parseDouble(delta) else { throw CommandError.notFloat }
        guard number.isFinite else { throw CommandError.reply("ERR value is NaN or Infinity") }
        var fault: CommandError?
        var isNumber = true
        x.collector.clear()
        try x.hashes.withField(x.key, x[2], now: x.now) { value in
            if let value { isNumber = parseDouble(value) != nil }
            guard isNumber else { return }
            fault = x.collectSum(value, delta)
        }
        guard isNumber else { throw CommandError.reply("ERR hash value is not a float") }
        if let fault { throw fault }
        let text = x.collector.list()[0]
        try x.perform(.hset, x.key, x[2], text)
        x.notify(.hincrbyfloat, x.key)
        x.reply.bulk(text)
    }
}
