import PikaStorage

/// Calls the typed operations with texts and arrays.
struct Driver {
    /// Keeps the stores open.
    let database: TestDatabase
    var now: Int64

    var set: TransactionSet { database.set }

    var strings: Strings { Strings(set.strings) }
    var hashes: Hashes { Hashes(set.hashes) }
    var lists: Lists { Lists(set.lists) }
    var sets: Sets { Sets(set.sets) }
    var zsets: SortedSets { SortedSets(set.zsets) }
    var keys: KeyOperations { KeyOperations(set) }

    func get(_ key: String) throws -> String? {
        try with(key) { key in
            try strings.withValue(key, now: now) { value, _ in value.map { text($0) } }
        }
    }

    func setValue(_ key: String, _ value: String, expiry: Int64 = 0) throws {
        try with(key) { key in
            try with(value) { try strings.set(key, $0, expiry: expiry) }
        }
    }

    func append(_ key: String, _ value: String) throws -> Int {
        try with(key) { key in try with(value) { try strings.append(key, $0, now: now) } }
    }

    func increment(_ key: String, _ delta: Int64) throws -> Int64 {
        try with(key) { try strings.increment($0, by: delta, now: now) }
    }

    func delete(_ key: String) throws -> StoreKinds {
        try with(key) { try keys.delete($0, now: now) }
    }

    func expire(_ key: String, _ expiry: Int64) throws -> StoreKinds {
        try with(key) { try keys.setExpiry($0, expiry, now: now) }
    }

    func persist(_ key: String) throws -> StoreKinds {
        try with(key) { try keys.persist($0, now: now) }
    }

    func hset(_ key: String, _ pairs: String...) throws -> Int {
        try with(key) { key in
            try with(list: pairs) { try hashes.setPairs(key, $0, now: now) }
        }
    }

    func hget(_ key: String, _ field: String) throws -> String? {
        try with(key) { key in
            try with(field) { field in
                try hashes.withField(key, field, now: now) { $0.map { text($0) } }
            }
        }
    }

    func hgetall(_ key: String) throws -> [String] {
        var all: [String] = []
        try with(key) { key in
            try hashes.forEach(key, now: now) {
                all += [text($0), text($1)]
                return true
            }
        }
        return all
    }

    func hdel(_ key: String, _ fields: String...) throws -> Int {
        try with(key) { key in try with(list: fields) { try hashes.delete(key, $0, now: now) } }
    }

    func push(_ key: String, _ end: ListEnd, _ elements: [String]) throws -> Int {
        try with(key) { key in
            try with(list: elements) { try lists.push(key, end, $0, now: now) }
        }
    }

    func pop(_ key: String, _ end: ListEnd, _ count: Int = 1) throws -> [String] {
        var popped: [String] = []
        let number = try with(key) { key in
            try lists.pop(key, end, count: count, now: now) { popped.append(text($0)) }
        }
        precondition(number == popped.count)
        return popped
    }

    func insert(_ key: String, before: Bool, _ pivot: String, _ element: String) throws -> Int {
        try with(key) { key in
            try with(pivot) { pivot in
                try with(element) {
                    try lists.insert(key, before: before, pivot: pivot, $0, now: now)
                }
            }
        }
    }

    func lset(_ key: String, _ index: Int64, _ element: String) throws {
        try with(key) { key in try with(element) { try lists.set(key, at: index, $0, now: now) } }
    }

    func lrem(_ key: String, _ count: Int64, _ element: String) throws -> Int {
        try with(key) { key in
            try with(element) { try lists.remove(key, count: count, $0, now: now) }
        }
    }

    func ltrim(_ key: String, _ start: Int64, _ stop: Int64) throws {
        try with(key) { try lists.trim($0, start: start, stop: stop, now: now) }
    }

    func lrange(_ key: String, _ start: Int64 = 0, _ stop: Int64 = -1) throws -> [String] {
        var elements: [String] = []
        try with(key) { key in
            try lists.forEach(key, start: start, stop: stop, now: now) {
                elements.append(text($0))
                return true
            }
        }
        return elements
    }

    func lindex(_ key: String, _ index: Int64) throws -> String? {
        try with(key) { key in
            try lists.withElement(key, at: index, now: now) { $0.map { text($0) } }
        }
    }

    func sadd(_ key: String, _ members: String...) throws -> Int {
        try with(key) { key in try with(list: members) { try sets.add(key, $0, now: now) } }
    }

    func srem(_ key: String, _ members: String...) throws -> Int {
        try with(key) { key in try with(list: members) { try sets.remove(key, $0, now: now) } }
    }

    func smembers(_ key: String) throws -> [String] {
        var members: [String] = []
        try with(key) { key in
            try sets.forEach(key, now: now) {
                members.append(text($0))
                return true
            }
        }
        return members
    }

    func zadd(_ key: String, _ pairs: [String]) throws -> Int {
        try with(key) { key in try with(list: pairs) { try zsets.addPairs(key, $0, now: now) } }
    }

    func zrem(_ key: String, _ members: String...) throws -> Int {
        try with(key) { key in try with(list: members) { try zsets.remove(key, $0, now: now) } }
    }

    func zincrby(_ key: String, _ delta: Double, _ member: String) throws -> Double {
        try with(key) { key in
            try with(member) { try zsets.increment(key, $0, by: delta, now: now) }
        }
    }

    func zrange(_ key: String, _ start: Int64 = 0, _ stop: Int64 = -1, reverse: Bool = false) throws
        -> [String]
    {
        try collect(key) { key, visit in
            try zsets.forEachByRank(
                key, start: start, stop: stop, reverse: reverse, now: now, visit)
        }
    }

    func zrangeByScore(_ key: String, _ range: ScoreRange, reverse: Bool = false) throws -> [String]
    {
        try collect(key) { key, visit in
            try zsets.forEachByScore(key, range, reverse: reverse, now: now, visit)
        }
    }

    func zscan(_ key: String) throws -> [String] {
        try collect(key) { key, visit in try zsets.forEachMember(key, now: now, visit) }
    }

    func zpop(_ key: String, highest: Bool, _ count: Int) throws -> [String] {
        var popped: [String] = []
        _ = try with(key) { key in
            try zsets.pop(key, highest: highest, count: count, now: now) {
                popped += [text($0), shortest($1)]
            }
        }
        return popped
    }

    private func collect(
        _ key: String, _ walk: (Bytes, SortedSets.Visitor) throws -> Void
    ) throws -> [String] {
        var members: [String] = []
        try with(key) { key in
            try walk(key) { member, score in
                members += [text(member), shortest(score)]
                return true
            }
        }
        return members
    }
}

func text(_ bytes: Bytes) -> String { String(decoding: bytes, as: UTF8.self) }
