import Commands
import Testing

@Suite("Command table")
struct TableTests {
    private struct Wanted {
        var arity: Int
        var isWrite: Bool
    }

    /// Rows of the specification's table, as `name arity R|W`, for the families implemented here.
    private static let specification = """
        append 3 W,decr 2 W,decrby 3 W,del -2 W,delvx 3 W,exists -2 R,expire 3 W,expireat 3 W,get 2 R,
        getrange 4 R,getset 3 W,incr 2 W,incrby 3 W,incrbyfloat 3 W,keys -2 R,mget -2 R,mset -3 W,
        msetnx -3 W,persist 2 W,pexpire 3 W,pexpireat 3 W,pksetexat 4 W,psetex 4 W,pttl 2 R,
        ptype 2 R,scan -2 R,scanx -3 R,set -3 W,setex 4 W,setnx 3 W,setrange 4 W,strlen 2 R,
        ttl 2 R,type 2 R,unlink -2 W,hdel -3 W,hexists 3 R,hget 3 R,hgetall 2 R,hincrby 4 W,
        hincrbyfloat 4 W,hkeys 2 R,hlen 2 R,hmget -3 R,hmset -4 W,hscan -3 R,hscanx -3 R,hset 4 W,
        hsetnx 4 W,hstrlen 3 R,hvals 2 R,lindex 3 R,linsert 5 W,llen 2 R,lpop -2 W,lpush -3 W,
        lpushx -3 W,lrange 4 R,lrem 4 W,lset 4 W,ltrim 4 W,rpop -2 W,rpoplpush 3 W,rpush -3 W,
        rpushx -3 W,sadd -3 W,scard 2 R,sdiff -2 R,sdiffstore -3 W,sinter -2 R,sinterstore -3 W,
        sismember 3 R,smembers 2 R,smove 4 W,spop -2 W,srandmember -2 R,srem -3 W,sscan -3 R,
        sunion -2 R,sunionstore -3 W,zadd -4 W,zcard 2 R,zcount 4 R,zincrby 4 W,zinterstore -4 W,
        zlexcount 4 R,zpopmax -2 W,zpopmin -2 W,zrange -4 R,zrangebylex -4 R,zrangebyscore -4 R,
        zrank 3 R,zrem -3 W,zremrangebylex 4 W,zremrangebyrank 4 W,zremrangebyscore 4 W,
        zrevrange -4 R,zrevrangebylex -4 R,zrevrangebyscore -4 R,zrevrank 3 R,zscan -3 R,
        zscore 3 R,zunionstore -4 W,auth 2 R,bgsave -1 R,client -2 R,command -1 R,compact -1 R,
        config -2 R,dbsize 1 R,dbslaveof -2 R,diskrecovery 1 R,echo 2 R,flushall 1 W,flushdb -1 W,
        hello -1 R,info -1 R,ping 1 R,purgelogsto -2 R,select 2 R,shutdown 1 R,slaveof -3 R,
        time 1 R,quit 1 R,
        setbit 4 W,getbit 3 R,bitcount -2 R,bitpos -3 R,bitop -3 W,pfadd -2 W,pfcount -2 R,
        pfmerge -3 W,pkscanrange -4 R,pkrscanrange -4 R,pkhscanrange -4 R,pkhrscanrange -4 R,
        pkpatternmatchdel 3 W,blpop -3 W,brpop -3 W,
        psubscribe -2 R,publish 3 R,pubsub -2 R,punsubscribe -1 R,subscribe -2 R,unsubscribe -1 R,
        slowlog -2 R,monitor -1 R,geoadd -5 W,geodist -4 R,geohash -2 R,geopos -2 R,
        georadius -6 R,georadiusbymember -5 R
        """

    /// Arities in which Redis 7 allows more than Pika 3.5.0.
    private static let wider = [
        "expire": -3, "expireat": -3, "pexpire": -3, "pexpireat": -3, "hset": -4, "auth": -2,
        "ping": -1, "flushall": -1, "shutdown": -1, "quit": -1, "pfmerge": -2,
    ]

    /// Not in Pika 3.5.0.
    private static let added: Set<String> = [
        "replicaof", "reset", "getdel", "getex", "substr", "lcs", "bitfield", "bitfield_ro",
        "touch", "expiretime", "pexpiretime", "randomkey", "rename", "renamenx", "copy", "swapdb",
        "move",
        "ssubscribe", "sunsubscribe", "spublish", "wait", "object", "memory", "debug", "sort",
        "sort_ro",
        "dump", "restore", "save",
    ]

    /// Of collections, not in Pika 3.5.0 either.
    private static let addedForCollections: Set<String> = [
        "lmove", "lmpop", "lpos", "zmpop", "zrangestore", "zunion", "zinter", "zdiff",
        "zdiffstore", "zintercard", "zmscore", "zrandmember", "hrandfield", "smismember",
        "sintercard", "geosearch", "geosearchstore", "georadius_ro", "georadiusbymember_ro",
    ]

    /// Transactions and waiting, not in Pika 3.5.0 either.
    private static let addedForTransactions: Set<String> = [
        "multi", "exec", "discard", "watch", "unwatch", "brpoplpush", "blmove", "blmpop",
        "bzpopmin", "bzpopmax", "bzmpop", "function", "script",
    ]

    @Test("Rows agree with the specification's table")
    func rows() {
        var wanted: [String: Wanted] = [:]
        for row in Self.specification.split(whereSeparator: { $0 == "," || $0 == "\n" }) {
            let words = row.split(separator: " ")
            guard words.count == 3, let arity = Int(words[1]) else { continue }
            wanted[String(words[0])] = Wanted(arity: arity, isWrite: words[2] == "W")
        }
        #expect(wanted.count == 153)
        let table = CommandTable()
        for row in table.rows {
            let name = "\(row.name)"
            if Self.added.contains(name) || Self.addedForCollections.contains(name)
                || Self.addedForTransactions.contains(name)
            {
                continue
            }
            guard let expected = wanted.removeValue(forKey: name) else {
                Issue.record("\(name) is not in the specification")
                continue
            }
            #expect(row.arity == Self.wider[name] ?? expected.arity, "\(name)")
            let isWrite = row.flags.contains(.write) && !row.flags.contains(.readsUnlessStored)
            #expect(isWrite == expected.isWrite, "\(name)")
        }
        #expect(wanted.isEmpty, "missing: \(wanted.keys.sorted())")
    }

    @Test("Words are found in any case, and no others")
    func lookup() {
        let table = CommandTable()
        for (index, row) in table.rows.enumerated() {
            let name = "\(row.name)"
            for word in [name, name.uppercased(), name.prefix(1).uppercased() + name.dropFirst()] {
                #expect(bytes(word).withUnsafeBytes { table.find($0) } == index)
            }
            for word in [name + "y", String(name.dropLast()) + "\u{1}", name + "\0"] {
                #expect(bytes(word).withUnsafeBytes { table.find($0) } == nil)
            }
        }
        for word in ["", "g", "g\u{45}\u{14}", "{et", String(repeating: "a", count: 25)] {
            #expect(bytes(word).withUnsafeBytes { table.find($0) } == nil)
        }
    }

    @Test("Each flag has a bit of its own")
    func flags() {
        let all: [CommandFlags] = [
            .write, .readonly, .slow, .noauth, .admin, .fast, .growsData, .hidden, .multi,
            .commitsFirst, .movableKeys, .container, .suspend, .locksKeys, .noMulti, .blocking,
            .subscribed, .secret, .pausedWithWrites, .readsUnlessStored, .sliced,
        ]
        #expect(Set(all.map(\.rawValue)).count == all.count)
    }

    @Test("Every write command locks its keys, or is run alone")
    func keys() {
        for row in CommandTable().rows where row.flags.contains(.write) {
            // PKPATTERNMATCHDEL locks the names that it finds.
            let isAlone =
                row.flags.contains(.suspend) || "\(row.name)" == "pkpatternmatchdel"
            let hasKeys = row.keys.first > 0 || row.keys.countAt > 0
            #expect(hasKeys || isAlone, "\(row.name)")
        }
    }
}
