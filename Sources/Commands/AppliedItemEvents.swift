import Keyspace

extension KeyspaceEvent {
    /// Calls `body` with the events of what a replica has applied to a key: as near to those of the
    /// command as the log, which holds results, tells.
    static func forEach(of item: AppliedItem, _ body: (KeyspaceEvent) -> Void) {
        let isDelete =
            item.effect == .del || item.effect == .unlink || item.effect == .delvx
        if isDelete {
            if item.existed, !item.exists { body(.del) }
            return
        }
        guard let event = Self.event(of: item.effect), item.hasEffect else { return }
        if item.exists, !item.existed { body(.new) }
        body(event)
        if item.effect == .pksetexat { body(.expire) }
        if item.existed, !item.exists { body(.del) }
    }

    /// The event of an item that does something.
    private static func event(of effect: Effect) -> KeyspaceEvent? {
        switch effect {
        case .set, .setnx, .getset, .pksetexat: .set
        case .expireat: .expire
        case .persist: .persist
        case .append: .append
        case .setrange: .setrange
        case .setbit: .setbit
        case .pfadd: .pfadd
        case .incr, .incrby, .decr, .decrby: .incrby
        case .incrbyfloat: .incrbyfloat
        case .hset, .hsetnx, .hmset: .hset
        case .hdel: .hdel
        case .hincrby: .hincrby
        case .hincrbyfloat: .hincrbyfloat
        case .sadd: .sadd
        case .srem: .srem
        case .spop: .spop
        default: Self.eventInOrder(of: effect)
        }
    }

    private static func eventInOrder(of effect: Effect) -> KeyspaceEvent? {
        switch effect {
        case .lpush, .lpushx: .lpush
        case .rpush, .rpushx: .rpush
        case .lpop: .lpop
        case .rpop: .rpop
        case .lset: .lset
        case .lrem: .lrem
        case .ltrim: .ltrim
        case .linsert: .linsert
        case .zadd, .geoadd: .zadd
        case .zincrby: .zincr
        case .zrem: .zrem
        case .zremrangebyrank: .zremrangebyrank
        case .zremrangebyscore: .zremrangebyscore
        case .zremrangebylex: .zremrangebylex
        case .zpopmin: .zpopmin
        case .zpopmax: .zpopmax
        default: nil
        }
    }
}

extension AppliedItem {
    /// Whether it has changed something, as far as its count tells.
    fileprivate var hasEffect: Bool {
        switch effect {
        case .ltrim, .lset: existed
        // Counts of what is new, and the former bit.
        case .zadd, .geoadd, .hset, .hmset, .setbit: exists
        // Its count is that of the key's types, or the outcome of a condition.
        case .set: count == 1
        case .incr, .incrby, .decr, .decrby, .incrbyfloat, .hincrby, .hincrbyfloat, .append,
            .setrange:
            exists
        default: count > 0
        }
    }
}
