/// What a command of a source's stream is to the planner.
public enum CommandRole: Sendable, Equatable {
    /// Changes keys and can be sent on.
    case write
    /// Changes one key's whole value, whatever it held before.
    case overwrite
    /// Writes what depends on more than its arguments: the key is read from the source instead
    /// unless the target is a Redis.
    case derived
    /// The same, but never sent on.
    case unrepeatable
    /// HyperLogLog.
    case hyperLogLog
    /// Streams.
    case stream
    /// Deadlines of fields.
    case fieldDeadline
    /// All keys of a database.
    case flushDatabase
    /// All keys.
    case flushAll
    /// Exchanges two databases.
    case swapDatabases
    /// Nothing that a target must know.
    case ignored
    /// Messages.
    case publish
    /// Scripts and functions as such.
    case program
}

/// Where a command's keys stand among its arguments.
enum KeyPlaces: Equatable {
    /// None.
    case none
    /// From `first` to `last` (negative: from the end), each `step`-th.
    case range(first: Int, last: Int, step: Int)
    /// `dest`, then a count at `count`, then that many keys.
    case destinationAndCount(count: Int)
    /// A count at 2, then that many keys: scripts.
    case script
    /// The first argument, and the one behind the word `store` or `storedist`.
    case storeOption
}

/// A row of the table of commands.
struct CommandEntry: Equatable {
    var role: CommandRole
    var places: KeyPlaces
    var kind: KeyKind?
}

/// What the commands of a replication stream are.
public enum CommandKeys {
    private static let one = KeyPlaces.range(first: 1, last: 1, step: 1)
    private static let two = KeyPlaces.range(first: 1, last: 2, step: 1)
    private static let all = KeyPlaces.range(first: 1, last: -1, step: 1)

    private static func rows(
        _ names: String, _ role: CommandRole, _ places: KeyPlaces, _ kind: KeyKind? = nil
    ) -> [(String, CommandEntry)] {
        names.split(separator: " ").map {
            (String($0), CommandEntry(role: role, places: places, kind: kind))
        }
    }

    private static let table: [String: CommandEntry] = Dictionary(
        uniqueKeysWithValues: [
            Self.rows("set setex psetex getset pksetexat", .overwrite, Self.one, .string),
            Self.rows("mset", .overwrite, .range(first: 1, last: -1, step: 2), .string),
            Self.rows(
                "msetnx", .write, .range(first: 1, last: -1, step: 2), .string),
            Self.rows(
                "setnx append incr decr incrby decrby incrbyfloat setrange setbit", .write,
                Self.one,
                .string),
            Self.rows("bitfield", .derived, Self.one, .string),
            Self.rows("bitop", .derived, .range(first: 2, last: -1, step: 1), .string),
            Self.rows("del unlink", .write, Self.all),
            Self.rows("expire pexpire expireat pexpireat persist", .write, Self.one),
            Self.rows("rename renamenx", .derived, Self.two),
            Self.rows("copy", .unrepeatable, Self.two),
            Self.rows("move restore restore-asking", .unrepeatable, Self.one),
            Self.rows("sort georadius georadiusbymember", .unrepeatable, .storeOption),
            Self.rows("geosearchstore", .derived, Self.two, .sortedSet),
            Self.rows(
                "lpush rpush lpushx rpushx lpop rpop linsert lset lrem ltrim", .write, Self.one,
                .list),
            Self.rows("rpoplpush", .write, Self.two, .list),
            Self.rows("lmove", .derived, Self.two, .list),
            Self.rows("sadd srem", .write, Self.one, .set),
            Self.rows("spop", .unrepeatable, Self.one, .set),
            Self.rows("smove", .write, Self.two, .set),
            Self.rows("sunionstore sinterstore sdiffstore", .derived, Self.all, .set),
            Self.rows(
                "zadd zincrby zrem zremrangebyrank zremrangebyscore zremrangebylex zpopmin zpopmax",
                .write, Self.one, .sortedSet),
            Self.rows("geoadd", .derived, Self.one, .sortedSet),
            Self.rows(
                "zunionstore zinterstore zdiffstore", .derived, .destinationAndCount(count: 2),
                .sortedSet),
            Self.rows("zrangestore", .derived, Self.two, .sortedSet),
            Self.rows(
                "hset hsetnx hmset hincrby hincrbyfloat hdel", .write, Self.one, .hash),
            Self.rows(
                "hexpire hpexpire hexpireat hpexpireat hpersist hsetex hgetex", .fieldDeadline,
                Self.one, .hash),
            Self.rows("pfadd", .hyperLogLog, Self.one, .string),
            Self.rows("pfmerge pfcount", .hyperLogLog, Self.all, .string),
            Self.rows(
                "xadd xdel xtrim xsetid xack xclaim xautoclaim xdelex xackdel", .stream, Self.one,
                .stream),
            Self.rows("xgroup", .stream, .range(first: 2, last: 2, step: 1), .stream),
            Self.rows("eval evalsha fcall", .unrepeatable, .script),
            Self.rows("flushdb", .flushDatabase, .none),
            Self.rows("flushall", .flushAll, .none),
            Self.rows("swapdb", .swapDatabases, .none),
            Self.rows("ping replconf select opinfo wait multi exec", .ignored, .none),
            Self.rows("publish spublish", .publish, .none),
            Self.rows("script function", .program, .none),
        ].flatMap { $0 })

    static func entry(_ name: String) -> CommandEntry? { Self.table[name] }

    /// The role of a command by its lower-case name; nil for one that is not known.
    public static func role(_ name: String) -> CommandRole? { Self.table[name]?.role }

    /// The name in lower case.
    static func name(_ command: SourceCommand) -> String {
        String(decoding: command.arguments[0], as: UTF8.self).lowercased()
    }

    /// Positions of the keys; nil if the command's own counts make no sense.
    static func positions(_ arguments: [[UInt8]], _ places: KeyPlaces) -> [Int]? {
        let count = arguments.count
        switch places {
        case .none: return []
        case .range(let first, let last, let step):
            let end = last < 0 ? count + last : last
            guard first < count, end < count, end >= first else { return nil }
            return Array(stride(from: first, through: end, by: step))
        case .destinationAndCount(let at):
            guard let keys = Self.number(arguments, at), keys > 0, at + keys < count else {
                return nil
            }
            return [1] + Array((at + 1)...(at + keys))
        case .script:
            guard let keys = Self.number(arguments, 2), keys >= 0, 2 + keys < count else {
                return nil
            }
            return Array(3..<(3 + keys))
        case .storeOption:
            guard count > 1 else { return nil }
            let option = arguments.indices.dropFirst(2).first {
                ["store", "storedist"].contains(
                    String(decoding: arguments[$0], as: UTF8.self).lowercased())
            }
            guard let option, option + 1 < count else { return [1] }
            return [1, option + 1]
        }
    }

    private static func number(_ arguments: [[UInt8]], _ at: Int) -> Int? {
        guard at < arguments.count else { return nil }
        return Int(String(decoding: arguments[at], as: UTF8.self))
    }
}
