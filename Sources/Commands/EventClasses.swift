/// Which keyspace events are published, and in which of the two forms (`notify-keyspace-events`).
public struct EventClasses: OptionSet, Sendable, Hashable {
    /// One bit a letter.
    public let rawValue: UInt32

    /// Joins bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// K: to `__keyspace@<db>__:<key>`, with the event's name.
    public static let keyspace = EventClasses(rawValue: 1 << 0)
    /// E: to `__keyevent@<db>__:<event>`, with the key.
    public static let keyevent = EventClasses(rawValue: 1 << 1)
    /// g: of keys of any type: DEL, EXPIRE, RENAME ...
    public static let generic = EventClasses(rawValue: 1 << 2)
    /// $: of strings.
    public static let string = EventClasses(rawValue: 1 << 3)
    /// l: of lists.
    public static let list = EventClasses(rawValue: 1 << 4)
    /// s: of sets.
    public static let set = EventClasses(rawValue: 1 << 5)
    /// h: of hashes.
    public static let hash = EventClasses(rawValue: 1 << 6)
    /// z: of sorted sets.
    public static let sortedSet = EventClasses(rawValue: 1 << 7)
    /// x: a key's time is over.
    public static let expired = EventClasses(rawValue: 1 << 8)
    /// e: a key was removed to save memory, which never happens here.
    public static let evicted = EventClasses(rawValue: 1 << 9)
    /// t: of streams, which there are none.
    public static let stream = EventClasses(rawValue: 1 << 10)
    /// d: of modules' types, which there are none.
    public static let module = EventClasses(rawValue: 1 << 11)
    /// n: a key is new; not among `all`.
    public static let new = EventClasses(rawValue: 1 << 12)
    /// m: a key that was to be read is missing; not among `all`.
    public static let miss = EventClasses(rawValue: 1 << 13)

    /// A: all classes but for n and m.
    public static let all: EventClasses = [
        .generic, .string, .list, .set, .hash, .sortedSet, .expired, .evicted, .stream, .module,
    ]
    /// The forms; without one of them nothing is published.
    public static let forms: EventClasses = [.keyspace, .keyevent]

    /// The letters in the order in which they are shown; those of `all` come first.
    private static let letters: [(letter: Character, classes: EventClasses)] = [
        ("g", .generic), ("$", .string), ("l", .list), ("s", .set), ("h", .hash),
        ("z", .sortedSet), ("x", .expired), ("e", .evicted), ("t", .stream), ("d", .module),
        ("n", .new), ("K", .keyspace), ("E", .keyevent), ("m", .miss),
    ]

    /// What Redis answers to another letter.
    public static let fault = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."

    /// Reads letters in any order; nil if there is another one among them.
    public init?(_ text: String) {
        var classes: EventClasses = []
        for letter in text {
            if letter == "A" {
                classes.formUnion(.all)
            } else if let known = Self.letters.first(where: { $0.letter == letter }) {
                classes.formUnion(known.classes)
            } else {
                return nil
            }
        }
        self = classes
    }

    /// The letters in Redis's order; A stands for all that it means.
    public var text: String {
        let hasAll = self.isSuperset(of: .all)
        var text = hasAll ? "A" : ""
        for (letter, classes) in Self.letters where self.contains(classes) {
            if hasAll, Self.all.contains(classes) { continue }
            text.append(letter)
        }
        return text
    }
}

/// What happened to a key: the events of Redis 7, but for those of streams and of memory.
enum KeyspaceEvent: String, CaseIterable {
    case del, expire, persist, restore
    case renameFrom = "rename_from"
    case renameTo = "rename_to"
    case copyTo = "copy_to"
    case set, setrange, append, incrby, incrbyfloat, setbit, pfadd
    case lpush, rpush, lpop, rpop, lset, lrem, ltrim, linsert, sortstore
    case hset, hdel, hincrby, hincrbyfloat
    case sadd, srem, spop, sinterstore, sunionstore, sdiffstore
    case zadd, zincr, zrem, zremrangebyscore, zremrangebyrank, zremrangebylex, zpopmin, zpopmax
    case zunionstore, zinterstore, zdiffstore, zrangestore, geosearchstore, georadiusstore
    case expired, new, keymiss

    /// The name as it is published.
    var word: String { self.rawValue }

    /// The class that switches it on.
    var eventClass: EventClasses {
        switch self {
        case .del, .expire, .persist, .renameFrom, .renameTo, .copyTo, .restore: .generic
        case .set, .setrange, .append, .incrby, .incrbyfloat, .setbit, .pfadd: .string
        case .lpush, .rpush, .lpop, .rpop, .lset, .lrem, .ltrim, .linsert, .sortstore: .list
        case .hset, .hdel, .hincrby, .hincrbyfloat: .hash
        case .sadd, .srem, .spop, .sinterstore, .sunionstore, .sdiffstore: .set
        case .zadd, .zincr, .zrem, .zremrangebyscore, .zremrangebyrank, .zremrangebylex,
            .zpopmin, .zpopmax, .zunionstore, .zinterstore, .zdiffstore, .zrangestore,
            .geosearchstore, .georadiusstore:
            .sortedSet
        case .expired: .expired
        case .new: .new
        case .keymiss: .miss
        }
    }
}
