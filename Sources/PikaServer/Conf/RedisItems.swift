import Synchronization

/// Items of Redis's configuration that mean nothing here, for tools and test suites that set them.
///
/// Encodings, lazy freeing, persistence by snapshots and the like: a value of the right form is
/// kept and shown by CONFIG GET, and changes nothing, but for `maxmemory`: there commands that may
/// make data grow are refused while the process has more memory than that. Where a value would be a promise that is not
/// kept (`maxmemory-policy allkeys-lru`), only the value that is true is taken. None of it is
/// written into a file.
final class RedisItems: Sendable {
    /// What an item takes.
    enum Form: Sendable {
        /// Any whole number, also with a unit.
        case number
        /// `yes` or `no`.
        case flag
        /// Any text.
        case text
        /// One of these alone.
        case only([String])
    }

    /// One item.
    struct Item: Sendable {
        var name: String
        var value: String
        var form: Form
    }

    private static let encodings: [Item] = [
        ("hash-max-listpack-entries", "512"), ("hash-max-ziplist-entries", "512"),
        ("hash-max-listpack-value", "64"), ("hash-max-ziplist-value", "64"),
        ("list-max-listpack-size", "-2"), ("list-max-ziplist-size", "-2"),
        ("list-compress-depth", "0"), ("set-max-intset-entries", "512"),
        ("set-max-listpack-entries", "128"), ("set-max-listpack-value", "64"),
        ("zset-max-listpack-entries", "128"), ("zset-max-ziplist-entries", "128"),
        ("zset-max-listpack-value", "64"), ("zset-max-ziplist-value", "64"),
        ("hll-sparse-max-bytes", "3000"), ("stream-node-max-bytes", "4096"),
        ("stream-node-max-entries", "100"), ("active-expire-effort", "1"), ("hz", "10"),
        ("lua-time-limit", "5000"), ("busy-reply-threshold", "5000"),
        ("maxmemory", "0"), ("rdb-key-save-delay", "0"), ("maxmemory-samples", "5"),
        ("auto-aof-rewrite-percentage", "100"), ("latency-monitor-threshold", "0"),
    ].map { Item(name: $0, value: $1, form: .number) }

    private static let flags: [Item] = [
        ("lazyfree-lazy-eviction", "yes"), ("lazyfree-lazy-expire", "yes"),
        ("lazyfree-lazy-server-del", "yes"), ("lazyfree-lazy-user-del", "yes"),
        ("lazyfree-lazy-user-flush", "no"), ("aof-use-rdb-preamble", "yes"),
        ("appendonly", "no"), ("activerehashing", "yes"), ("dynamic-hz", "yes"),
    ].map { Item(name: $0, value: $1, form: .flag) }

    private static let others: [Item] = [
        Item(name: "save", value: "", form: .text),
        Item(name: "slave-read-only", value: "yes", form: .only(["yes"])),
        Item(name: "replica-read-only", value: "yes", form: .only(["yes"])),
        Item(name: "replica-serve-stale-data", value: "yes", form: .only(["yes"])),
        Item(name: "maxmemory-policy", value: "noeviction", form: .only(["noeviction"])),
        Item(name: "min-replicas-to-write", value: "0", form: .only(["0"])),
        Item(name: "appendfsync", value: "everysec", form: .only(["always", "everysec", "no"])),
    ]

    private let items: Mutex<[String: Item]>

    init() {
        let all = Self.encodings + Self.flags + Self.others
        items = Mutex(Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) }))
    }

    /// True for a name of this table, in lower case.
    func isItem(_ name: String) -> Bool { items.withLock { $0[name] != nil } }

    /// Items whose names match, in their order.
    func items(matching matches: (String) -> Bool) -> [(name: String, value: String)] {
        let all = items.withLock { Array($0.values) }
        return all.filter { matches($0.name) }.sorted { $0.name < $1.name }
            .map { ($0.name, $0.value) }
    }

    /// Checks a value; false = not of the item's form.
    func accepts(_ name: String, _ value: String) -> Bool {
        guard let item = items.withLock({ $0[name] }) else { return false }
        return switch item.form {
        case .number: Self.number(value) != nil
        case .flag: value.lowercased() == "yes" || value.lowercased() == "no"
        case .text: true
        case .only(let allowed): allowed.contains(value.lowercased())
        }
    }

    /// Keeps a value that ``accepts(_:_:)`` takes.
    func set(_ name: String, to value: String) {
        items.withLock { $0[name]?.value = value }
    }

    /// `maxmemory` in bytes; 0 = no limit.
    var memoryLimitBytes: Int {
        Self.number(items.withLock { $0["maxmemory"]?.value } ?? "0") ?? 0
    }

    private static let units: [(suffix: String, factor: Int)] = [
        ("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("k", 1000), ("m", 1_000_000),
        ("g", 1_000_000_000), ("b", 1), ("", 1),
    ]

    private static func number(_ text: String) -> Int? {
        let text = text.lowercased()
        guard let unit = units.first(where: { text.hasSuffix($0.suffix) }),
            let value = Int(text.dropLast(unit.suffix.utf8.count))
        else { return nil }
        let (bytes, overflow) = value.multipliedReportingOverflow(by: unit.factor)
        return overflow ? nil : bytes
    }
}
