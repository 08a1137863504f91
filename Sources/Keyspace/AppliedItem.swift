internal import PikaStorage

/// What a replica has applied of an item to one key.
public struct AppliedItem: Sendable {
    /// What the item does.
    public var effect: Effect
    /// The name.
    public var key: [UInt8]
    /// The count that the command would answer.
    public var count: Int64
    /// Whether the key was there before, in any type.
    public var existed: Bool
    /// Whether it is there behind the item.
    public var exists: Bool
}

extension AppliedItem {
    /// Looks at the keys of an item that is about to be applied; a pattern has none.
    static func before(
        _ effect: Effect, _ words: UnsafeBufferPointer<Bytes>, _ transactions: TransactionSet,
        now: Int64
    ) throws(StorageError) -> [AppliedItem] {
        guard words.count > 1, effect != .pkpatternmatchdel else { return [] }
        let isDelete = effect == .del || effect == .unlink
        var items: [AppliedItem] = []
        for word in isDelete ? words.dropFirst() : words[1...1] {
            let existed = try KeyOperations(transactions).type(word, now: now) != nil
            items.append(
                AppliedItem(
                    effect: effect, key: Array(word), count: 0, existed: existed, exists: existed))
        }
        return items
    }

    /// Completes it behind the item.
    mutating func complete(
        count: Int64, _ transactions: TransactionSet, now: Int64
    ) throws(StorageError) {
        self.count = count
        let keys = KeyOperations(transactions)
        let found = key.withUnsafeBytes { key -> Result<StoreKind?, StorageError> in
            do throws(StorageError) { return .success(try keys.type(key, now: now)) } catch {
                return .failure(error)
            }
        }
        exists = try found.get() != nil
    }
}
