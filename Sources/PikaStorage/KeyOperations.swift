/// Operations that act on a key of every type.
///
/// `only` restricts them to some stores: recovery replays an item on one store.
public struct KeyOperations {
    /// The transactions that are read and written.
    public let transactions: TransactionSet
    /// The stores that are looked at.
    public let only: StoreKinds

    /// Operates on the transactions of a database.
    @inlinable
    public init(_ transactions: TransactionSet, only: StoreKinds = .all) {
        self.transactions = transactions
        self.only = only
    }

    private func expiry(
        _ key: Bytes, in kind: StoreKind, now: Int64
    ) throws(StorageError) -> Int32? {
        guard only.has(kind) else { return nil }
        return try transactions[kind].keyExpiry(key, now: now)
    }

    /// The types under which `key` lives.
    public func kinds(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKinds {
        var kinds: StoreKinds = []
        for raw in 0..<UInt8(5) {
            guard let kind = StoreKind(rawValue: raw) else { continue }
            if try expiry(key, in: kind, now: now) != nil { kinds.insert(StoreKinds(kind)) }
        }
        return kinds
    }

    /// TYPE: the first in the order string, hash, list, zset, set.
    public func type(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKind? {
        for kind in StoreKind.precedence where try expiry(key, in: kind, now: now) != nil {
            return kind
        }
        return nil
    }

    /// TTL: the deadline (0 for none) of the first type in that order; nil if there is no such key.
    public func expiry(_ key: Bytes, now: Int64) throws(StorageError) -> Int32? {
        for kind in StoreKind.precedence {
            if let expiry = try expiry(key, in: kind, now: now) { return expiry }
        }
        return nil
    }

    /// DEL: returns the types that were deleted.
    public func delete(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKinds {
        try change { transaction throws(StorageError) in try transaction.deleteKey(key, now: now) }
    }

    /// EXPIREAT: returns the types that were changed (with `expiry` <= 0 in 32 bits: deleted).
    public func setExpiry(
        _ key: Bytes, _ expiry: Int64, now: Int64
    ) throws(StorageError) -> StoreKinds {
        try change { transaction throws(StorageError) in
            try transaction.setKeyExpiry(key, expiry, now: now)
        }
    }

    /// PERSIST: returns the types that lost a deadline.
    public func persist(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKinds {
        try change { transaction throws(StorageError) in
            try transaction.persistKey(key, now: now)
        }
    }

    private func change(
        _ body: (StoreTransaction) throws(StorageError) -> Bool
    ) throws(StorageError) -> StoreKinds {
        var changed: StoreKinds = []
        for raw in 0..<UInt8(5) {
            guard let kind = StoreKind(rawValue: raw), only.has(kind) else { continue }
            if try body(transactions[kind]) { changed.insert(StoreKinds(kind)) }
        }
        return changed
    }

    /// PKPATTERNMATCHDEL: deletes the keys of one type that match a glob; returns how many.
    public func deleteMatching(
        _ pattern: Bytes, _ kind: StoreKind, now: Int64
    ) throws(StorageError) -> Int {
        guard only.has(kind) else { return 0 }
        let glob = GlobPattern(pattern)
        let transaction = transactions[kind]
        var deleted = 0
        let prefix = glob.literalPrefix
        try prefix.withUnsafeBytesOfArray { prefix throws(StorageError) in
            try transaction.forEachKey(from: .none, prefix: prefix, now: now) {
                key, _ throws(StorageError) in
                if glob.matches(key), try transaction.deleteKey(key, now: now) { deleted += 1 }
                return true
            }
        }
        return deleted
    }
}

extension StoreTransaction {
    /// The deadline (0 for none) of a live key; nil if there is no such key.
    public func keyExpiry(_ key: Bytes, now: Int64) throws(StorageError) -> Int32? {
        let row = try beginRead(.meta, key)
        defer { endRead() }
        guard let row, let state = try KeyState(decoding: row, kind: kind) else { return nil }
        return state.isLive(now: now) ? state.expiry : nil
    }

    /// DEL in this store: a collection's meta row stays, with a new version; returns whether a live
    /// key was there.
    public func deleteKey(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        switch kind {
        case .strings: return try Strings(self).delete(key, now: now)
        case .lists:
            guard let meta = try Lists(self).liveMeta(key, now: now) else { return false }
            Lists(self).putMeta(key, meta.recreated(now: now))
        case .hashes, .sets, .zsets:
            guard let meta = try liveMeta(key, now: now) else { return false }
            putMeta(key, meta.recreated(now: now))
        }
        return true
    }

    /// EXPIREAT in this store; returns whether a live key was there.
    public func setKeyExpiry(
        _ key: Bytes, _ expiry: Int64, now: Int64
    ) throws(StorageError) -> Bool {
        let stored = storedExpiry(expiry)
        if stored <= 0 { return try deleteKey(key, now: now) }
        switch kind {
        case .strings: return try Strings(self).setExpiry(key, expiry, now: now)
        case .lists:
            guard var meta = try Lists(self).liveMeta(key, now: now) else { return false }
            meta.expiry = stored
            Lists(self).putMeta(key, meta)
        case .hashes, .sets, .zsets:
            guard var meta = try liveMeta(key, now: now) else { return false }
            meta.expiry = stored
            putMeta(key, meta)
        }
        return true
    }

    /// PERSIST in this store; returns whether there was a deadline to remove.
    public func persistKey(_ key: Bytes, now: Int64) throws(StorageError) -> Bool {
        switch kind {
        case .strings: return try Strings(self).persist(key, now: now)
        case .lists:
            guard var meta = try Lists(self).liveMeta(key, now: now), meta.expiry != 0 else {
                return false
            }
            meta.expiry = 0
            Lists(self).putMeta(key, meta)
        case .hashes, .sets, .zsets:
            guard var meta = try liveMeta(key, now: now), meta.expiry != 0 else { return false }
            meta.expiry = 0
            putMeta(key, meta)
        }
        return true
    }
}
