internal import PikaStorage
internal import SyncProtocol

/// One item on its way into a store.
struct Item {
    let effect: Effect
    let arguments: UnsafeBufferPointer<Bytes>
    let now: Int64

    var key: Bytes { arguments[1] }

    /// The arguments behind the first `count`.
    func rest(_ count: Int) -> UnsafeBufferPointer<Bytes> {
        UnsafeBufferPointer(rebasing: arguments[count...])
    }

    func integer(_ index: Int) throws(StorageError) -> Int64 {
        guard let value = Numbers.integer(arguments[index]) else { throw .notAnInteger }
        return value
    }

    /// Checks the form of the item, so that what follows can index its arguments.
    func check() throws(ApplyError) {
        guard arityRange.contains(arguments.count) else {
            throw .argumentCount(effect: effect, actual: arguments.count)
        }
        let behindKey = arguments.count - 2
        switch effect {
        case .hset, .hmset:
            guard behindKey % 2 == 0 else {
                throw .argumentCount(effect: effect, actual: arguments.count)
            }
        case .zadd:
            guard behindKey % 2 == 0 else {
                throw .argumentCount(effect: effect, actual: arguments.count)
            }
        case .geoadd:
            guard behindKey % 3 == 0 else {
                throw .argumentCount(effect: effect, actual: arguments.count)
            }
        case .linsert:
            guard arguments[2].isWord("before") || arguments[2].isWord("after") else {
                throw .badArgument(effect: effect, index: 2)
            }
        case .pkpatternmatchdel:
            guard ItemApplier.storeKind(named: arguments[2]) != nil else {
                throw .badArgument(effect: effect, index: 2)
            }
        default: break
        }
    }

    /// How many strings an item of this effect has, the word included.
    private var arityRange: ClosedRange<Int> {
        switch effect {
        case .set: 3...8
        case .setnx, .append, .getset, .incrby, .incrbyfloat, .decrby, .expireat: 3...3
        case .pksetexat, .setrange, .setbit, .hsetnx, .hincrby, .hincrbyfloat, .zincrby, .lset,
            .lrem, .ltrim, .zremrangebyrank, .zremrangebyscore, .zremrangebylex:
            4...4
        case .incr, .decr, .persist: 2...2
        case .del, .unlink: 2...Int.max
        case .pfadd: 2...Int.max
        case .delvx, .pkpatternmatchdel: 3...3
        case .hset, .hmset, .zadd: 4...Int.max
        case .geoadd, .linsert: 5...(effect == .linsert ? 5 : Int.max)
        case .hdel, .lpush, .rpush, .lpushx, .rpushx, .sadd, .srem, .zrem: 3...Int.max
        case .lpop, .rpop, .spop, .zpopmin, .zpopmax: 2...3
        case .flushdb, .padding, .slotsmgrtExecWrapper, .clearReplicationID, .clearCache, .xadd,
            .xdel, .xtrim, .xgroup, .xreadgroup, .xack, .xclaim:
            1...Int.max
        }
    }
}

// MARK: Strings

extension Item {
    func applyString(_ strings: Strings) throws(StorageError) -> Int64 {
        switch effect {
        case .set: return try applySet(strings)
        case .setnx: return try strings.setIfAbsent(key, arguments[2], now: now) ? 1 : 0
        case .pksetexat:
            try strings.set(key, arguments[3], expiry: try integer(2))
            return 1
        case .append: return Int64(try strings.append(key, arguments[2], now: now))
        case .setrange:
            return Int64(
                try strings.setRange(key, offset: integer(2), arguments[3], now: now))
        case .setbit:
            let on = try integer(3) != 0
            return try strings.setBit(key, offset: integer(2), on: on, now: now) ? 1 : 0
        case .pfadd: return try strings.pfAdd(key, rest(2), now: now) ? 1 : 0
        case .getset:
            try strings.set(key, arguments[2])
            return 1
        case .delvx:
            return Int64(try strings.deleteIfEqual(key, expected: arguments[2], now: now))
        default: preconditionFailure("no string effect: \(effect)")
        }
    }

    func applyArithmetic(_ strings: Strings) throws(StorageError) -> Int64 {
        switch effect {
        case .incr: return try strings.increment(key, by: 1, now: now)
        case .decr: return try strings.increment(key, by: -1, now: now)
        case .incrby: return try strings.increment(key, by: integer(2), now: now)
        case .decrby:
            let (delta, overflow) = Int64(0).subtractingReportingOverflow(try integer(2))
            guard !overflow else { throw .integerOverflow }
            return try strings.increment(key, by: delta, now: now)
        case .incrbyfloat:
            try strings.incrementFloat(key, by: arguments[2], now: now)
            return 1
        default: preconditionFailure("no arithmetic effect: \(effect)")
        }
    }

    /// SET with the options that real masters leave in the item: the last of NX, XX and VX counts,
    /// and a relative time counts from the item's own time.
    private func applySet(_ strings: Strings) throws(StorageError) -> Int64 {
        guard arguments.count > 3 else {
            try strings.set(key, arguments[2])
            return 1
        }
        enum Condition { case none, ifAbsent, ifPresent, ifEqual(Bytes) }
        var condition = Condition.none
        var seconds: Int64 = 0
        var index = 3
        while index < arguments.count {
            let option = arguments[index]
            index += 1
            if option.isWord("nx") {
                condition = .ifAbsent
            } else if option.isWord("xx") {
                condition = .ifPresent
            } else {
                guard index < arguments.count else { throw .unpairedArguments(count: index) }
                if option.isWord("vx") {
                    condition = .ifEqual(arguments[index])
                } else if option.isWord("ex") {
                    seconds = try integer(index)
                } else if option.isWord("px") {
                    seconds = try integer(index) / 1000
                } else {
                    throw .unpairedArguments(count: index)
                }
                index += 1
            }
        }
        let expiry = seconds > 0 ? now &+ seconds : 0
        let value = arguments[2]
        switch condition {
        case .none:
            try strings.set(key, value, expiry: expiry)
            return 1
        case .ifAbsent:
            return try strings.setIfAbsent(key, value, expiry: expiry, now: now) ? 1 : 0
        case .ifPresent:
            return try strings.setIfPresent(key, value, expiry: expiry, now: now) ? 1 : 0
        case .ifEqual(let expected):
            return Int64(
                try strings.setIfEqual(key, expected: expected, value, expiry: expiry, now: now))
        }
    }
}

// MARK: Collections

extension Item {
    func applyHash(_ hashes: Hashes) throws(StorageError) -> Int64 {
        switch effect {
        case .hset where arguments.count == 4, .hmset where arguments.count == 4:
            return try hashes.set(key, arguments[2], arguments[3], now: now) ? 1 : 0
        case .hset, .hmset: return Int64(try hashes.setPairs(key, rest(2), now: now))
        case .hsetnx:
            return try hashes.setIfAbsent(key, arguments[2], arguments[3], now: now) ? 1 : 0
        case .hdel: return Int64(try hashes.delete(key, rest(2), now: now))
        case .hincrby: return try hashes.increment(key, arguments[2], by: integer(3), now: now)
        case .hincrbyfloat:
            try hashes.incrementFloat(key, arguments[2], by: arguments[3], now: now)
            return 1
        default: preconditionFailure("no hash effect: \(effect)")
        }
    }

    func applyList(_ lists: Lists) throws(StorageError) -> Int64 {
        switch effect {
        case .lpush: return Int64(try lists.push(key, .left, rest(2), now: now))
        case .rpush: return Int64(try lists.push(key, .right, rest(2), now: now))
        case .lpushx:
            return Int64(try lists.push(key, .left, rest(2), onlyIfExists: true, now: now))
        case .rpushx:
            return Int64(try lists.push(key, .right, rest(2), onlyIfExists: true, now: now))
        case .lpop: return Int64(try lists.pop(key, .left, count: popCount(), now: now))
        case .rpop: return Int64(try lists.pop(key, .right, count: popCount(), now: now))
        case .lset:
            try lists.set(key, at: integer(2), arguments[3], now: now)
            return 1
        case .lrem: return Int64(try lists.remove(key, count: integer(2), arguments[3], now: now))
        case .ltrim:
            try lists.trim(key, start: integer(2), stop: integer(3), now: now)
            return 1
        case .linsert:
            return Int64(
                try lists.insert(
                    key, before: arguments[2].isWord("before"), pivot: arguments[3],
                    arguments[4], now: now))
        default: preconditionFailure("no list effect: \(effect)")
        }
    }

    func applySet(_ sets: Sets, position: BinlogPosition) throws(StorageError) -> Int64 {
        switch effect {
        case .sadd: return Int64(try sets.add(key, rest(2), now: now))
        case .srem: return Int64(try sets.remove(key, rest(2), now: now))
        case .spop:
            // Real masters draw lots; the position is the one thing that all holders of this log
            // share, so all of ours take the same members.
            let seed = UInt64(position.fileNumber) << 40 ^ position.offset
            return Int64(try sets.popByHash(key, count: popCount(), seed: seed, now: now))
        default: preconditionFailure("no set effect: \(effect)")
        }
    }

    func applySortedSet(_ zsets: SortedSets) throws(StorageError) -> Int64 {
        switch effect {
        case .zadd: return Int64(try zsets.addPairs(key, rest(2), now: now))
        case .zrem: return Int64(try zsets.remove(key, rest(2), now: now))
        case .zincrby:
            guard let delta = Numbers.double(arguments[2]) else { throw .notAFloat }
            _ = try zsets.increment(key, arguments[3], by: delta, now: now)
            return 1
        case .zpopmin:
            return Int64(
                try zsets.pop(key, highest: false, count: popCount(), now: now) { _, _ in })
        case .zpopmax:
            return Int64(
                try zsets.pop(key, highest: true, count: popCount(), now: now) { _, _ in })
        case .geoadd: return Int64(try zsets.geoAdd(key, rest(2), now: now))
        case .zremrangebyrank:
            return Int64(
                try zsets.removeByRank(key, start: integer(2), stop: integer(3), now: now))
        case .zremrangebyscore:
            let range = ScoreRange(
                minimum: try scoreBound(arguments[2]), maximum: try scoreBound(arguments[3]))
            return Int64(try zsets.removeByScore(key, range, now: now))
        case .zremrangebylex:
            let range = LexRange(
                minimum: try lexBound(arguments[2]), maximum: try lexBound(arguments[3]))
            return Int64(try zsets.removeByLex(key, range, now: now))
        default: preconditionFailure("no sorted set effect: \(effect)")
        }
    }

    func applyKey(_ keys: KeyOperations) throws(StorageError) -> Int64 {
        switch effect {
        case .del, .unlink:
            var count = 0
            for name in rest(1) { count += try keys.delete(name, now: now).count }
            return Int64(count)
        case .expireat: return Int64(try keys.setExpiry(key, integer(2), now: now).count)
        case .persist: return Int64(try keys.persist(key, now: now).count)
        case .pkpatternmatchdel:
            guard let kind = ItemApplier.storeKind(named: arguments[2]), keys.only.has(kind) else {
                return 0
            }
            return Int64(try keys.deleteMatching(arguments[1], kind, now: now))
        default: preconditionFailure("no key effect: \(effect)")
        }
    }

    private func popCount() throws(StorageError) -> Int {
        guard arguments.count == 3 else { return 1 }
        return Int(clamping: max(0, try integer(2)))
    }

    private func scoreBound(_ text: Bytes) throws(StorageError) -> ScoreBound {
        let isExclusive = text.first == UInt8(ascii: "(")
        guard let value = Numbers.double(isExclusive ? text.dropping(1) : text) else {
            throw .notAFloat
        }
        return ScoreBound(value, isExclusive: isExclusive)
    }

    private func lexBound(_ text: Bytes) throws(StorageError) -> LexBound {
        switch text.first {
        case UInt8(ascii: "-") where text.count == 1: return .lowest
        case UInt8(ascii: "+") where text.count == 1: return .highest
        case UInt8(ascii: "["): return .inclusive(text.dropping(1))
        case UInt8(ascii: "("): return .exclusive(text.dropping(1))
        default: throw .notAFloat
        }
    }
}
