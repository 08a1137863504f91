public import PikaStorage

/// What one item of the log does to the stores.
///
/// There is one case per canonical form that we write and per raw form that a real Pika 3.5.0 or
/// 3.5.5 master may send. The raw value is internal; only ``init(word:)`` and ``word`` are stable.
public enum Effect: UInt8, CaseIterable, Sendable {
    // Canonical forms; real masters send them too.
    case set, setnx, pksetexat
    case del, unlink, expireat, persist
    case append, setrange, setbit
    case hset, hsetnx, hmset, hdel
    case lpush, rpush, lpushx, rpushx, lpop, rpop, lset, lrem, ltrim, linsert
    case sadd, srem
    case zadd, zrem, zremrangebyrank, zremrangebyscore, zremrangebylex, zpopmin, zpopmax
    case pfadd, geoadd
    case flushdb

    // Raw forms that only a real master sends: arithmetic and choices that its replicas repeat.
    case incr, incrby, incrbyfloat, decr, decrby, getset, delvx
    case hincrby, hincrbyfloat, zincrby
    case spop, pkpatternmatchdel

    // Stored, counted, without effect.
    case padding, slotsmgrtExecWrapper, clearReplicationID, clearCache
    case xadd, xdel, xtrim, xgroup, xreadgroup, xack, xclaim

    /// The word as we write it into the log.
    public var word: StaticString {
        switch self {
        case .set: "set"
        case .setnx: "setnx"
        case .pksetexat: "pksetexat"
        case .del: "del"
        case .unlink: "unlink"
        case .expireat: "expireat"
        case .persist: "persist"
        case .append: "append"
        case .setrange: "setrange"
        case .setbit: "setbit"
        case .hset: "hset"
        case .hsetnx: "hsetnx"
        case .hmset: "hmset"
        case .hdel: "hdel"
        case .lpush: "lpush"
        case .rpush: "rpush"
        case .lpushx: "lpushx"
        case .rpushx: "rpushx"
        case .lpop: "lpop"
        case .rpop: "rpop"
        case .lset: "lset"
        case .lrem: "lrem"
        case .ltrim: "ltrim"
        case .linsert: "linsert"
        case .sadd: "sadd"
        case .srem: "srem"
        case .zadd: "zadd"
        case .zrem: "zrem"
        case .zremrangebyrank: "zremrangebyrank"
        case .zremrangebyscore: "zremrangebyscore"
        case .zremrangebylex: "zremrangebylex"
        case .zpopmin: "zpopmin"
        case .zpopmax: "zpopmax"
        case .pfadd: "pfadd"
        case .geoadd: "geoadd"
        case .flushdb: "flushdb"
        default: rawFormWord
        }
    }

    private var rawFormWord: StaticString {
        switch self {
        case .incr: "incr"
        case .incrby: "incrby"
        case .incrbyfloat: "incrbyfloat"
        case .decr: "decr"
        case .decrby: "decrby"
        case .getset: "getset"
        case .delvx: "delvx"
        case .hincrby: "hincrby"
        case .hincrbyfloat: "hincrbyfloat"
        case .zincrby: "zincrby"
        case .spop: "spop"
        case .pkpatternmatchdel: "pkpatternmatchdel"
        case .padding: "padding"
        case .slotsmgrtExecWrapper: "slotsmgrt-exec-wrapper"
        case .clearReplicationID: "clearreplicationid"
        case .clearCache: "clearcache"
        case .xadd: "xadd"
        case .xdel: "xdel"
        case .xtrim: "xtrim"
        case .xgroup: "xgroup"
        case .xreadgroup: "xreadgroup"
        case .xack: "xack"
        case .xclaim: "xclaim"
        default: preconditionFailure("an effect without a word: \(rawValue)")
        }
    }

    /// Finds the effect of a command word, in any case of letters; `nil` for a word not known here.
    public init?(word: Bytes) {
        guard word.count >= 3, word.count <= Self.longestWord else { return nil }
        for candidate in Self.candidates(length: word.count) where candidate.matches(word) {
            self = candidate
            return
        }
        return nil
    }

    /// Which stores an item of this effect can touch.
    public var stores: StoreKinds {
        switch self {
        case .set, .setnx, .pksetexat, .append, .setrange, .setbit, .pfadd, .incr, .incrby,
            .incrbyfloat, .decr, .decrby, .getset, .delvx:
            .strings
        case .hset, .hsetnx, .hmset, .hdel, .hincrby, .hincrbyfloat: .hashes
        case .lpush, .rpush, .lpushx, .rpushx, .lpop, .rpop, .lset, .lrem, .ltrim, .linsert: .lists
        case .sadd, .srem, .spop: .sets
        case .zadd, .zrem, .zremrangebyrank, .zremrangebyscore, .zremrangebylex, .zpopmin,
            .zpopmax, .zincrby, .geoadd:
            .zsets
        case .del, .unlink, .expireat, .persist, .flushdb, .pkpatternmatchdel: .all
        case .padding, .slotsmgrtExecWrapper, .clearReplicationID, .clearCache, .xadd, .xdel,
            .xtrim, .xgroup, .xreadgroup, .xack, .xclaim:
            []
        }
    }

    /// The collection that items of this effect fill, where they do nothing else.
    public var filledKind: StoreKind? {
        switch self {
        case .hmset: .hashes
        case .rpush: .lists
        case .sadd: .sets
        case .zadd: .zsets
        default: nil
        }
    }

    /// True for the items of a real master that are kept in the log and change nothing.
    public var isStoredWithoutEffect: Bool { stores.isEmpty }

    static let longestWord = 22

    private static func candidates(length: Int) -> [Effect] {
        length < byLength.count ? byLength[length] : []
    }

    private static let byLength: [[Effect]] = {
        var table = [[Effect]](repeating: [], count: longestWord + 1)
        for effect in Effect.allCases { table[effect.word.utf8CodeUnitCount].append(effect) }
        return table
    }()

    private func matches(_ bytes: Bytes) -> Bool {
        let word = self.word
        let start = word.utf8Start
        for index in 0..<word.utf8CodeUnitCount {
            var byte = bytes[index]
            if byte >= UInt8(ascii: "A"), byte <= UInt8(ascii: "Z") { byte |= 0x20 }
            guard byte == start[index] else { return false }
        }
        return true
    }
}
