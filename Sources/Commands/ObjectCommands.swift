import Glibc
import Keyspace
import PikaStorage
import RESP

/// OBJECT, MEMORY and DEBUG: what clients and test suites ask about a key.
enum ObjectCommands {
    /// Elements that MEMORY USAGE looks at when the client does not say.
    static let defaultSamples: Int64 = 5
    /// Bytes that a row takes beside its name and value, as an estimate.
    static let rowOverhead = 32
    /// Longest DEBUG SLEEP: it holds a thread of the slow pool.
    static let maxSleepSeconds = 10.0

    static let rows: [CommandRow] = [
        CommandRow(
            "object", arity: -2, flags: [.readonly, .container], keys: .none, group: .generic,
            since: "2.2.3", summary: "Tells how a key would be kept by Redis.", handler: object),
        CommandRow(
            "memory", arity: -2, flags: [.readonly, .container], keys: .none, group: .server,
            since: "4.0.0", summary: "Estimates the size of a key.", handler: memory),
        CommandRow(
            "debug", arity: -2, flags: [.admin, .slow, .container], keys: .none, group: .server,
            since: "1.0.0", summary: "Answers what test suites ask; changes nothing.",
            handler: debug),
    ]

    private static func help(_ x: inout Execution, _ lines: [String]) {
        x.reply.array(lines.count)
        for line in lines { x.reply.simple(line) }
    }

    private static func unknown(_ x: borrowing Execution, _ command: String) -> CommandError {
        .text(
            "ERR unknown subcommand or wrong number of arguments for '\(x[1].text)'. Try "
                + "\(command) HELP.")
    }
}

// MARK: - OBJECT

extension ObjectCommands {
    static func object(_ x: inout Execution) throws {
        if x.count == 2, x[1].isWord("help") {
            help(
                &x,
                [
                    "OBJECT <subcommand> <key>. Subcommands are:",
                    "ENCODING: the encoding that Redis would choose.",
                    "FREQ: an error, since accesses are not counted.",
                    "IDLETIME: always 0.", "REFCOUNT: always 1.",
                ])
            return
        }
        guard x.count == 3 else { throw unknown(x, "OBJECT") }
        let key = x[2]
        let kind = try x.keys.type(key, now: x.now)
        if x[1].isWord("encoding") {
            guard let kind else { return x.reply.null() }
            x.reply.bulk(try encoding(x, key, kind))
        } else if x[1].isWord("idletime") || x[1].isWord("refcount") {
            guard kind != nil else { return x.reply.null() }
            x.reply.integer(x[1].isWord("refcount") ? 1 : 0)
        } else if x[1].isWord("freq") {
            guard kind != nil else { return x.reply.null() }
            throw CommandError.reply(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked.")
        } else {
            throw unknown(x, "OBJECT")
        }
    }

    /// Sizes up to which Redis 7.0 keeps a collection in one block.
    private enum Compact {
        static let elements = 128
        static let elementBytes = 64
        static let integers = 512
        static let embeddedBytes = 44
    }

    /// What Redis 7.0 with its own settings would answer for a value of this size.
    static func encoding(
        _ x: borrowing Execution, _ key: Bytes, _ kind: StoreKind
    ) throws -> String {
        switch kind {
        case .strings:
            return try x.strings.withValue(key, now: x.now) { value, _ in
                guard let value else { return "raw" }
                if Decimal.parseInteger(value) != nil { return "int" }
                return value.count <= Compact.embeddedBytes ? "embstr" : "raw"
            }
        case .lists: return "quicklist"
        case .sets:
            guard try x.sets.count(key, now: x.now) <= Compact.integers else { return "hashtable" }
            var integers = true
            try x.sets.forEach(key, now: x.now) { member in
                integers = Decimal.parseInteger(member) != nil
                return integers
            }
            return integers ? "intset" : "hashtable"
        case .hashes:
            guard try x.hashes.count(key, now: x.now) <= Compact.elements else {
                return "hashtable"
            }
            var isSmall = true
            try x.hashes.forEach(key, now: x.now) { field, value in
                isSmall = max(field.count, value.count) <= Compact.elementBytes
                return isSmall
            }
            return isSmall ? "listpack" : "hashtable"
        case .zsets:
            guard try x.zsets.count(key, now: x.now) <= Compact.elements else { return "skiplist" }
            var isSmall = true
            try x.zsets.forEachMember(key, now: x.now) { member, _ in
                isSmall = member.count <= Compact.elementBytes
                return isSmall
            }
            return isSmall ? "listpack" : "skiplist"
        }
    }
}

// MARK: - MEMORY

extension ObjectCommands {
    static func memory(_ x: inout Execution) throws {
        if x[1].isWord("usage"), x.count == 3 || x.count == 5 {
            try memoryUsage(&x)
        } else if x[1].isWord("doctor"), x.count == 2 {
            x.reply.bulk("Data are on disk; INFO memory tells what the server itself uses.")
        } else if x[1].isWord("purge"), x.count == 2 {
            x.reply.ok()
        } else if x[1].isWord("help"), x.count == 2 {
            help(
                &x,
                [
                    "MEMORY <subcommand>. Subcommands are:", "DOCTOR: a line of advice.",
                    "PURGE: does nothing.",
                    "USAGE <key> [SAMPLES <count>]: estimates the bytes of a key.",
                ])
        } else {
            throw unknown(x, "MEMORY")
        }
    }

    private static func memoryUsage(_ x: inout Execution) throws {
        var samples = defaultSamples
        if x.count == 5 {
            guard x[3].isWord("samples") else { throw CommandError.syntax }
            samples = try x.integer(4)
            guard samples >= 0 else { throw CommandError.syntax }
        }
        let key = x[2]
        guard let kind = try x.keys.type(key, now: x.now) else {
            x.reply.null()
            return
        }
        let count = try x.elementCount(key, kind)
        let looked = samples == 0 ? count : min(count, Int(clamping: samples))
        try x.limit(looked)
        let bytes = try sampledBytes(x, key, kind, looked)
        let scaled = looked == 0 ? 0 : Double(bytes) / Double(looked) * Double(count)
        x.reply.integer(key.count + rowOverhead + Int(scaled))
    }

    /// Bytes of the first `limit` elements.
    private static func sampledBytes(
        _ x: borrowing Execution, _ key: Bytes, _ kind: StoreKind, _ limit: Int
    ) throws -> Int {
        var total = 0
        var left = limit
        func add(_ bytes: Int) -> Bool {
            total += bytes
            left -= 1
            return left > 0
        }
        // An element's row repeats the key.
        let row = key.count + rowOverhead
        switch kind {
        case .strings: return try x.strings.length(key, now: x.now) ?? 0
        case .hashes:
            try x.hashes.forEach(key, now: x.now) { add(row + $0.count + $1.count) }
        case .lists: try x.lists.forEach(key, now: x.now) { add(row + $0.count) }
        case .sets: try x.sets.forEach(key, now: x.now) { add(row + $0.count) }
        case .zsets:
            try x.zsets.forEachMember(key, now: x.now) { member, _ in
                add(2 * (row + member.count + MemoryLayout<Double>.size))
            }
        }
        return total
    }
}

// MARK: - DEBUG

extension ObjectCommands {
    /// Switches of Redis's own parts that are accepted and mean nothing here.
    private static let ignored: [StaticString] = [
        "set-active-expire", "jmap", "quicklist-packed-threshold", "listpack",
        "stringmatch-len", "reload", "loadaof", "change-repl-id",
    ]

    static func debug(_ x: inout Execution) throws {
        if x[1].isWord("sleep"), x.count == 3 {
            let seconds = try x.double(2)
            guard seconds >= 0, seconds <= maxSleepSeconds else {
                throw CommandError.reply("ERR value is out of range")
            }
            usleep(UInt32(seconds * 1_000_000))
            x.reply.ok()
        } else if x[1].isWord("object"), x.count >= 3 {
            let key = x[2]
            guard let kind = try x.keys.type(key, now: x.now) else {
                throw CommandError.noSuchKey
            }
            let bytes = try sampledBytes(x, key, kind, try x.elementCount(key, kind))
            let name = try encoding(x, key, kind)
            x.reply.simple(
                "Value at:0x0 refcount:1 encoding:\(name) serializedlength:\(bytes) lru:0 "
                    + "lru_seconds_idle:0")
        } else if x[1].isWord("digest-value"), x.count >= 3 {
            x.reply.array(x.count - 2)
            for index in 2..<x.count { x.reply.simple(try digest(x, x[index])) }
        } else if x[1].isWord("protocol"), x.count == 3 {
            try protocolSample(&x, x[2])
        } else if x[1].isWord("help") {
            help(
                &x,
                [
                    "DEBUG <subcommand>. Subcommands are:",
                    "DIGEST-VALUE <key> ...: a number that depends on the contents.",
                    "OBJECT <key>: facts about a key.",
                    "PROTOCOL <type>: a reply of that type.",
                    "SLEEP <seconds>: answers later; other clients are served.",
                ])
        } else if ignored.contains(where: { x[1].isWord($0) }) {
            x.reply.ok()
        } else {
            throw unknown(x, "DEBUG")
        }
    }

    /// A reply of each type, for tests of clients.
    private static func protocolSample(_ x: inout Execution, _ type: Bytes) throws {
        func text(_ literal: StaticString) -> Bytes { literal.bytes }
        switch type.lowercasedText {
        case "string": x.reply.bulk("Hello World")
        case "integer": x.reply.integer(12345)
        case "double": x.reply.double(text: text("3.141"))
        case "null": x.reply.null()
        case "array", "set":
            if type.isWord("set") { x.reply.set(3) } else { x.reply.array(3) }
            for number in 0..<3 { x.reply.integer(number) }
        case "map":
            x.reply.map(3)
            for number in 0..<3 {
                x.reply.integer(number)
                x.reply.boolean(number == 1)
            }
        case "attrib":
            if x.reply.version == .resp3 {
                x.reply.raw("|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n")
            }
            x.reply.bulk("Some real reply following the attribute")
        case "push":
            guard x.reply.version == .resp3 else {
                throw CommandError.reply("ERR RESP2 is not supported by this command")
            }
            x.reply.raw(">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n")
        case "true": x.reply.boolean(true)
        case "false": x.reply.boolean(false)
        case "verbatim": x.reply.verbatim(text("This is a verbatim\nstring"))
        case "bignum": x.reply.bigNumber(text: text("1234567999999999999999999999999999999"))
        default:
            throw CommandError.text(
                "ERR Wrong protocol type name. Please use one of the following: "
                    + "string|integer|double|null|array|set|map|attrib|push|verbatim|true|false")
        }
    }

    /// FNV-1a over types and elements, written as wide as Redis's digest.
    private static func digest(_ x: borrowing Execution, _ key: Bytes) throws -> String {
        let kinds = try x.keys.kinds(key, now: x.now)
        guard !kinds.isEmpty else { return String(repeating: "0", count: 40) }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for kind in StoreKind.allCases where kinds.has(kind) {
            hash = (hash ^ UInt64(kind.rawValue)) &* 0x100_0000_01b3
            try x.elements(key, kind).forEach { element in
                for byte in element { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
                // Where an element ends counts as well.
                hash = (hash ^ UInt64(element.count)) &* 0x100_0000_01b3
            }
        }
        let text = String(hash, radix: 16)
        return String(repeating: "0", count: 40 - text.utf8.count) + text
    }
}
