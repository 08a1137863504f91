/// What a row of the default family says about its key.
struct KeyState {
    var isEmpty: Bool
    var expiry: Int32

    /// Reads a row of any kind.
    init?(decoding row: Bytes, kind: StoreKind) throws(StorageError) {
        switch kind {
        case .strings:
            guard row.count >= 4 else {
                throw .corruptRow(kind: kind, family: .meta, expected: 4, length: row.count)
            }
            isEmpty = false
            expiry = row.number(Int32.self, at: row.count - 4)
        case .lists:
            let meta = try ListMeta(decoding: row)
            isEmpty = meta.count == 0
            expiry = meta.expiry
        case .hashes, .sets, .zsets:
            let meta = try CollectionMeta(decoding: row, kind: kind)
            isEmpty = meta.count == 0
            expiry = meta.expiry
        }
    }

    func isLive(now: Int64) -> Bool { !isEmpty && !isStale(expiry: expiry, now: now) }
}

/// How many keys a store holds.
public struct KeyStatistics: Equatable, Sendable {
    /// Live keys.
    public var keys: UInt64 = 0
    /// Live keys with a deadline.
    public var expiring: UInt64 = 0
    /// Sum of the remaining seconds of these.
    public var remainingSeconds: UInt64 = 0
    /// Rows that are stale or empty.
    public var invalid: UInt64 = 0

    /// All zero.
    public init() {}
}

extension StoreTransaction {
    /// Calls `body` for every live key in byte order, until it returns false.
    ///
    /// The reserved row is left out.
    ///
    /// - Parameters:
    ///   - from: the first key that may be visited (in reverse the last); empty for all.
    ///   - prefix: only keys that begin with it.
    ///   - now: effective now, Unix seconds.
    ///   - fillCache: whether blocks that are read shall stay in the block cache.
    ///   - reverse: from high to low; needs an empty prefix.
    ///   - body: takes the key and its deadline (0 for none); returns whether to go on.
    public func forEachKey(
        from: Bytes, prefix: Bytes = .none, now: Int64, fillCache: Bool = true,
        reverse: Bool = false, _ body: (_ key: Bytes, _ expiry: Int32) throws(StorageError) -> Bool
    ) throws(StorageError) {
        let start: Bytes? = reverse && from.isEmpty ? nil : from.isBefore(prefix) ? prefix : from
        try scan(
            .meta, prefix: prefix, from: start, reverse: reverse, fillCache: fillCache
        ) { key, row throws(StorageError) in
            guard let state = try KeyState(decoding: row, kind: kind), state.isLive(now: now),
                !AppliedRow.isReserved(key)
            else { return true }
            return try body(key, state.expiry)
        }
    }

    /// Counts the keys, live and not, as INFO keyspace 1 shows them.
    ///
    /// - Parameters:
    ///   - now: effective now, Unix seconds.
    ///   - isCancelled: asked once in a while; ends the count early.
    public func keyStatistics(
        now: Int64, isCancelled: () -> Bool = { false }
    ) throws(StorageError) -> KeyStatistics {
        var statistics = KeyStatistics()
        var visited = 0
        try scan(.meta, prefix: .none, from: nil, fillCache: false) {
            key, row throws(StorageError) in
            visited += 1
            if visited % 1024 == 0, isCancelled() { return false }
            if AppliedRow.isReserved(key) { return true }
            guard let state = try KeyState(decoding: row, kind: kind), state.isLive(now: now)
            else {
                statistics.invalid += 1
                return true
            }
            statistics.keys += 1
            if state.expiry != 0 {
                statistics.expiring += 1
                statistics.remainingSeconds += UInt64(max(Int64(state.expiry) - now, 0))
            }
            return true
        }
        return statistics
    }
}
