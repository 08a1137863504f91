import Keyspace
import PikaStorage
import RESP

/// Commands on whole keys that came with Redis: copies, names, facts about a key.
enum KeyspaceCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "touch", arity: -2, flags: [.readonly, .fast, .multi], keys: .all, group: .generic,
            since: "3.2.1", summary: "Counts the given keys that exist.", handler: touch),
        CommandRow(
            "expiretime", arity: 2, flags: [.readonly, .fast], keys: .one, group: .generic,
            since: "7.0.0", summary: "Returns the Unix second at which a key expires.",
            handler: { try expireTime(&$0, unit: 1) }),
        CommandRow(
            "pexpiretime", arity: 2, flags: [.readonly, .fast], keys: .one, group: .generic,
            since: "7.0.0", summary: "Returns the Unix millisecond at which a key expires.",
            handler: { try expireTime(&$0, unit: 1000) }),
        CommandRow(
            "randomkey", arity: 1, flags: [.readonly], keys: .none, group: .generic,
            since: "1.0.0", summary: "Returns the name of some key.", handler: randomkey),
        CommandRow(
            "rename", arity: 3, flags: [.write, .multi], keys: .two, group: .generic,
            since: "1.0.0", summary: "Renames a key, in all its types.",
            handler: { try rename(&$0, onlyIfAbsent: false) }),
        CommandRow(
            "renamenx", arity: 3, flags: [.write, .multi], keys: .two, group: .generic,
            since: "1.0.0", summary: "Renames a key unless the new name exists.",
            handler: { try rename(&$0, onlyIfAbsent: true) }),
        CommandRow(
            "copy", arity: -3, flags: [.write, .growsData, .multi], keys: .two,
            group: .generic, since: "6.2.0", summary: "Copies a key, in all its types.",
            handler: copy),
        CommandRow(
            "swapdb", arity: 3, flags: [.fast], keys: .none, group: .server, since: "4.0.0",
            summary: "Is refused: each database has a log of its own.",
            handler: { x in
                x.reply.error("ERR SWAPDB is not possible: each database has a log of its own")
            }),
        CommandRow(
            "move", arity: 3, flags: [.fast], keys: .one, group: .generic, since: "1.0.0",
            summary: "Is refused: each database has a log of its own.",
            handler: { x in
                x.reply.error("ERR MOVE is not possible: each database has a log of its own")
            }),
    ]
}

// MARK: - Facts

extension KeyspaceCommands {
    static func touch(_ x: inout Execution) throws {
        try x.limit(x.count - 1)
        var found = 0
        for index in 1..<x.count where try x.keys.type(x[index], now: x.now) != nil { found += 1 }
        x.reply.integer(found)
    }

    static func expireTime(_ x: inout Execution, unit: Int64) throws {
        guard let expiry = try x.keys.expiry(x.key, now: x.now) else {
            x.reply.integer(-2)
            return
        }
        x.reply.integer(expiry == 0 ? -1 : Int64(expiry) * unit)
    }

    /// Names among which RANDOMKEY draws, per type.
    private static let drawnNames = 100

    static func randomkey(_ x: inout Execution) throws {
        var seen = 0
        var chosen: [UInt8]?
        for kind in StoreKind.allCases {
            let transaction = x.group.transactions[kind]
            guard let (low, high) = try bounds(x, kind) else { continue }
            let start = between(low, high)
            var left = drawnNames
            func draw(_ name: Bytes) -> Bool {
                seen += 1
                if Int.random(in: 0..<seen) == 0 { chosen = Array(name) }
                left -= 1
                return left > 0
            }
            try start.withUnsafeBytes { start in
                try transaction.forEachKey(from: start, now: x.now) { name, _ in draw(name) }
            }
            guard left > 0 else { continue }
            try transaction.forEachKey(from: .none, now: x.now) { name, _ in draw(name) }
        }
        if let chosen { chosen.withUnsafeBytes { x.reply.bulk($0) } } else { x.reply.null() }
    }

    private static func bounds(
        _ x: borrowing Execution, _ kind: StoreKind
    ) throws -> (low: [UInt8], high: [UInt8])? {
        let transaction = x.group.transactions[kind]
        var low: [UInt8]?
        var high: [UInt8] = []
        try transaction.forEachKey(from: .none, now: x.now) { name, _ in
            low = Array(name)
            return false
        }
        try transaction.forEachKey(from: .none, now: x.now, reverse: true) { name, _ in
            high = Array(name)
            return false
        }
        return low.map { ($0, high) }
    }

    /// A random name between two names: the common start, and eight bytes drawn.
    private static func between(_ low: [UInt8], _ high: [UInt8]) -> [UInt8] {
        let common = zip(low, high).prefix { $0 == $1 }.count
        func number(_ name: [UInt8]) -> UInt64 {
            (common..<common + 8).reduce(0) { $0 << 8 | UInt64($1 < name.count ? name[$1] : 0) }
        }
        let first = number(low)
        let drawn = UInt64.random(in: first...max(first, number(high)))
        return low[..<common] + withUnsafeBytes(of: drawn.bigEndian) { Array($0) }
    }
}

// MARK: - Copies

/// Byte strings behind each other: the elements of a collection while it is copied.
struct PackedList {
    /// Bytes of elements in one item of the log, as in real Pika's batches.
    static let batchBytes = 131_072

    private var bytes: [UInt8] = []
    private var lengths: [Int] = []

    /// Number of byte strings.
    var count: Int { self.lengths.count }

    mutating func append(_ element: Bytes) {
        self.bytes.append(contentsOf: element)
        self.lengths.append(element.count)
    }

    /// Calls `body` with all of them.
    func withViews(_ body: (UnsafeBufferPointer<Bytes>) throws -> Void) rethrows {
        try self.bytes.withUnsafeBytes { all in
            var views: [Bytes] = []
            views.reserveCapacity(self.lengths.count)
            var offset = 0
            for length in self.lengths {
                views.append(Bytes(rebasing: all[offset..<offset + length]))
                offset += length
            }
            try views.withUnsafeBufferPointer { try body($0) }
        }
    }

    /// Calls `body` with each of them.
    func forEach(_ body: (Bytes) -> Void) {
        self.bytes.withUnsafeBytes { all in
            var offset = 0
            for length in self.lengths {
                body(Bytes(rebasing: all[offset..<offset + length]))
                offset += length
            }
        }
    }

    /// Performs `effect` on `key` with all elements, `step` of them belonging together.
    func perform(
        _ x: inout Execution, _ effect: Effect, _ key: Bytes, step: Int = 1
    ) throws {
        try self.bytes.withUnsafeBytes { all in
            var words: [Bytes] = [key]
            var offset = 0
            var batch = 0
            for (index, length) in self.lengths.enumerated() {
                words.append(Bytes(rebasing: all[offset..<offset + length]))
                offset += length
                batch += length
                guard (index + 1) % step == 0,
                    batch >= Self.batchBytes || index + 1 == self.lengths.count
                else { continue }
                try words.withUnsafeBufferPointer { _ = try x.perform(effect, list: $0) }
                if let kind = effect.filledKind { try x.group.writeUnseen(key, kind) }
                words.removeSubrange(1...)
                batch = 0
            }
        }
    }
}

extension Execution {
    /// Elements of a collection; 1 for a string that there is.
    func elementCount(_ key: Bytes, _ kind: StoreKind) throws -> Int {
        switch kind {
        case .strings: try self.strings.exists(key, now: self.now) ? 1 : 0
        case .hashes: try self.hashes.count(key, now: self.now)
        case .lists: try self.lists.count(key, now: self.now)
        case .sets: try self.sets.count(key, now: self.now)
        case .zsets: try self.zsets.count(key, now: self.now)
        }
    }

    /// The elements of a collection in the form that its write command takes.
    func elements(_ key: Bytes, _ kind: StoreKind) throws -> PackedList {
        var list = PackedList()
        switch kind {
        case .strings:
            try self.strings.withValue(key, now: self.now) { value, _ in
                if let value { list.append(value) }
            }
        case .hashes:
            try self.hashes.forEach(key, now: self.now) { field, value in
                list.append(field)
                list.append(value)
                return true
            }
        case .lists:
            try self.lists.forEach(key, now: self.now) { element in
                list.append(element)
                return true
            }
        case .sets:
            try self.sets.forEach(key, now: self.now) { member in
                list.append(member)
                return true
            }
        case .zsets:
            try self.zsets.forEachMember(key, now: self.now) { member, score in
                withScoreText(score) { list.append($0) }
                list.append(member)
                return true
            }
        }
        return list
    }

    /// Writes a collection's elements.
    mutating func writeElements(
        _ list: PackedList, _ kind: StoreKind, to key: Bytes
    ) throws {
        switch kind {
        case .strings: try list.perform(&self, .set, key)
        case .hashes: try list.perform(&self, .hmset, key, step: 2)
        case .lists: try list.perform(&self, .rpush, key)
        case .sets: try list.perform(&self, .sadd, key)
        case .zsets: try list.perform(&self, .zadd, key, step: 2)
        }
    }
}

extension KeyspaceCommands {
    private static let collections: [StoreKind] = [.hashes, .lists, .sets, .zsets]

    /// What has to be known before a key is copied.
    private struct Source {
        var kinds: StoreKinds
        /// The deadline of all collections that have one.
        var deadline: Int64 = 0
        /// Collections by whether they have that deadline.
        var mortal: [StoreKind] = []
        var immortal: [StoreKind] = []
    }

    /// Looks at all types under a name.
    ///
    /// The item `expireat` acts on every type of a key, so that two different deadlines of
    /// collections can't be given to one name.
    private static func source(_ x: borrowing Execution, _ key: Bytes) throws -> Source {
        var source = Source(kinds: try x.keys.kinds(key, now: x.now))
        var elements = 0
        for kind in collections where source.kinds.has(kind) {
            elements += try x.elementCount(key, kind)
            let expiry = Int64(
                try x.group.transactions[kind].keyExpiry(key, now: x.now) ?? 0)
            guard expiry != 0 else {
                source.immortal.append(kind)
                continue
            }
            guard source.deadline == 0 || source.deadline == expiry else {
                throw CommandError.reply(
                    "ERR the types under this name have different deadlines, which a copy can't keep"
                )
            }
            source.deadline = expiry
            source.mortal.append(kind)
        }
        try x.limit(elements)
        try x.limitBytes(try x.strings.length(key, now: x.now) ?? 0)
        return source
    }

    private static func write(
        _ x: inout Execution, _ source: Source, from key: Bytes, to destination: Bytes
    ) throws {
        for kind in source.mortal {
            try x.writeElements(try x.elements(key, kind), kind, to: destination)
        }
        if source.deadline != 0 {
            try withDecimal(source.deadline) { _ = try x.perform(.expireat, destination, $0) }
        }
        for kind in source.immortal {
            try x.writeElements(try x.elements(key, kind), kind, to: destination)
        }
        guard source.kinds.has(.strings) else { return }
        let (value, expiry) = try x.copyOfValue(key)
        try (value ?? []).withUnsafeBytes {
            try x.writeString(destination, $0, expiry: expiry)
        }
    }

    static func rename(_ x: inout Execution, onlyIfAbsent: Bool) throws {
        let key = x.key
        let destination = x[2]
        let source = try source(x, key)
        guard !source.kinds.isEmpty else { throw CommandError.noSuchKey }
        let isTaken = try x.keys.type(destination, now: x.now) != nil
        if onlyIfAbsent, isTaken {
            x.reply.integer(0)
            return
        }
        if !key.equals(destination) {
            try x.replacing { x in
                if isTaken { try x.perform(.del, destination) }
                try write(&x, source, from: key, to: destination)
                try x.perform(.del, key)
            }
            x.notifyNew(destination)
            x.notify(.renameFrom, key)
            x.notify(.renameTo, destination)
        }
        if onlyIfAbsent { x.reply.integer(1) } else { x.reply.ok() }
    }

    static func copy(_ x: inout Execution) throws {
        var replaces = false
        var index = 3
        while index < x.count {
            if x[index].isWord("replace") {
                replaces = true
            } else if x[index].isWord("db"), index + 1 < x.count {
                let database = try x.integer(index + 1)
                guard database == Int64(x.client.database) else {
                    throw CommandError.reply(
                        "ERR COPY to another database is not possible: each has a log of its own")
                }
                index += 1
            } else {
                throw CommandError.syntax
            }
            index += 1
        }
        let key = x.key
        let destination = x[2]
        guard !key.equals(destination) else {
            throw CommandError.reply("ERR source and destination objects are the same")
        }
        let source = try source(x, key)
        let isTaken = try x.keys.type(destination, now: x.now) != nil
        guard !source.kinds.isEmpty, replaces || !isTaken else {
            x.reply.integer(0)
            return
        }
        try x.replacing { x in
            if isTaken { try x.perform(.del, destination) }
            try write(&x, source, from: key, to: destination)
        }
        x.notifyNew(destination)
        x.notify(.copyTo, destination)
        x.reply.integer(1)
    }
}
