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

    /// The types under which `key` lives.
    public func kinds(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKinds {
        fatalError("skeleton")
    }

    /// TYPE: the first in the order string, hash, list, zset, set.
    public func type(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKind? {
        fatalError("skeleton")
    }

    /// TTL: the deadline (0 for none) of the first type in that order; nil if there is no such key.
    public func expiry(_ key: Bytes, now: Int64) throws(StorageError) -> Int32? {
        fatalError("skeleton")
    }

    /// DEL: returns the types that were deleted.
    public func delete(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKinds {
        fatalError("skeleton")
    }

    /// EXPIREAT: returns the types that were changed (with `expiry` <= 0 in 32 bits: deleted).
    public func setExpiry(
        _ key: Bytes, _ expiry: Int64, now: Int64
    ) throws(StorageError) -> StoreKinds { fatalError("skeleton") }

    /// PERSIST: returns the types that lost a deadline.
    public func persist(_ key: Bytes, now: Int64) throws(StorageError) -> StoreKinds {
        fatalError("skeleton")
    }

    /// PKPATTERNMATCHDEL: deletes the keys of one type that match a glob; returns how many.
    public func deleteMatching(
        _ pattern: Bytes, _ kind: StoreKind, now: Int64
    ) throws(StorageError) -> Int { fatalError("skeleton") }
}

/// Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
public struct GlobPattern {
    /// Makes a pattern over bytes that must outlive it.
    @inlinable
    public init(_ pattern: Bytes) { self.pattern = pattern }

    /// The pattern.
    public let pattern: Bytes

    /// Whether all of `text` matches.
    public func matches(_ text: Bytes) -> Bool { fatalError("skeleton") }

    /// The bytes that every match begins with.
    public var literalPrefix: Bytes { fatalError("skeleton") }
}
