public import PikaStorage
public import SyncProtocol

/// Applies items of the log to the stores: the one function of master, recovery and replicas.
///
/// What an item does to a store depends on that store, on the effective now and on the item's
/// position alone; so it does the same thing whenever and wherever it is applied.
public enum ItemApplier {
    /// Applies one item to the stores in `only`.
    ///
    /// FLUSHDB is not applied here: it exchanges whole stores (``flushTarget(_:typeIsWithoutMeaning:)``).
    ///
    /// - Parameters:
    ///   - effect: the effect of the item's word.
    ///   - arguments: the item's strings; `[0]` is the word.
    ///   - now: effective now in Unix seconds.
    ///   - position: the item's end; decides which members a raw SPOP takes.
    ///   - transactions: the stores.
    ///   - only: stores that take part.
    /// - Returns: the count that the command would answer.
    @discardableResult
    public static func apply(
        _ effect: Effect, _ arguments: UnsafeBufferPointer<Bytes>, now: Int64,
        position: BinlogPosition, to transactions: TransactionSet, only: StoreKinds
    ) throws(ApplyError) -> Int64 {
        guard !effect.stores.isDisjoint(with: only) else { return 0 }
        let item = Item(effect: effect, arguments: arguments, now: now)
        try item.check()
        do throws(StorageError) {
            switch effect {
            case .set, .setnx, .pksetexat, .append, .setrange, .setbit, .pfadd, .getset, .delvx:
                return try item.applyString(Strings(transactions.strings))
            case .incr, .incrby, .incrbyfloat, .decr, .decrby:
                return try item.applyArithmetic(Strings(transactions.strings))
            case .hset, .hsetnx, .hmset, .hdel, .hincrby, .hincrbyfloat:
                return try item.applyHash(Hashes(transactions.hashes))
            case .lpush, .rpush, .lpushx, .rpushx, .lpop, .rpop, .lset, .lrem, .ltrim, .linsert:
                return try item.applyList(Lists(transactions.lists))
            case .sadd, .srem, .spop:
                return try item.applySet(Sets(transactions.sets), position: position)
            case .zadd, .zrem, .zincrby, .zpopmin, .zpopmax, .geoadd, .zremrangebyrank,
                .zremrangebyscore, .zremrangebylex:
                return try item.applySortedSet(SortedSets(transactions.zsets))
            case .del, .unlink, .expireat, .persist, .pkpatternmatchdel:
                return try item.applyKey(KeyOperations(transactions, only: only))
            case .flushdb, .padding, .slotsmgrtExecWrapper, .clearReplicationID, .clearCache,
                .xadd, .xdel, .xtrim, .xgroup, .xreadgroup, .xack, .xclaim:
                return 0
            }
        } catch {
            throw .storage(error)
        }
    }

    /// The stores that a `flushdb` item empties.
    ///
    /// A 3.5.0 master logs `FLUSHDB hash` as it was typed and means that type alone.
    ///
    /// - Parameter typeIsWithoutMeaning: the writer was a 3.5.5, which takes the type, logs it, and
    ///   empties everything.
    public static func flushTarget(
        _ arguments: UnsafeBufferPointer<Bytes>, typeIsWithoutMeaning: Bool = false
    ) throws(ApplyError) -> StoreKinds {
        switch arguments.count {
        case 1: return .all
        case 2:
            let word = arguments[1]
            if word.isWord("async") || word.isWord("sync") { return .all }
            guard let kind = storeKind(named: word) else {
                throw .badArgument(effect: .flushdb, index: 1)
            }
            return typeIsWithoutMeaning ? .all : StoreKinds(kind)
        default: throw .argumentCount(effect: .flushdb, actual: arguments.count)
        }
    }

    static func storeKind(named word: Bytes) -> StoreKind? {
        StoreKind.allCases.first { word.isWord($0.typeName) }
    }

    /// True for errors by which the same item fails in the same way everywhere: it has no effect.
    static func isWithoutEffect(_ error: StorageError) -> Bool {
        switch error {
        case .notAnInteger, .notAFloat, .integerOverflow, .resultIsNaN, .indexOutOfRange,
            .noSuchKey, .offsetOutOfRange, .valueTooLong, .countOverflow, .invalidCoordinates,
            .unpairedArguments, .reservedName:
            true
        case .engine, .corruptRow, .corruptAppliedRow, .locked, .closed, .flushIncomplete,
            .notAStore:
            false
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Compares with a lower-case ASCII word, in any case of letters.
    func isWord(_ word: String) -> Bool {
        guard word.utf8.count == count else { return false }
        var index = 0
        for expected in word.utf8 {
            var byte = self[index]
            if byte >= UInt8(ascii: "A"), byte <= UInt8(ascii: "Z") { byte |= 0x20 }
            guard byte == expected else { return false }
            index += 1
        }
        return true
    }
}
