internal import MigrateCore
internal import NIOCore
internal import NIOPosix
internal import RedisSync

/// A target as it was found.
struct TargetServer: Sendable {
    /// Where it is.
    let endpoint: Endpoint
    /// What it can do.
    let capabilities: TargetCapabilities
    /// The job's name: markers are called after it.
    let job: String

    /// Commands that are asked for by name, without arguments: it tells "unknown" from "wrong
    /// number", and executes nothing.
    private static let probed = [
        "unlink", "pexpireat", "hmset", "setrange", "bitfield", "bitop", "rename", "renamenx",
        "lmove",
        "rpoplpush", "linsert", "lset", "smove", "sunionstore", "sinterstore", "sdiffstore",
        "zpopmin", "zpopmax", "zremrangebylex", "zunionstore", "zinterstore", "zdiffstore",
        "zrangestore", "geoadd", "geosearchstore", "hincrbyfloat", "incrbyfloat", "watch", "xadd",
        "xgroup", "xclaim", "xsetid", "pksetexat", "lpushx", "rpushx",
    ]

    /// Connects for requests of any kind.
    static func connect(_ endpoint: Endpoint) async throws(RunError) -> RedisConnection {
        let password = try endpoint.password()
        do throws(RedisConnectionError) {
            return try await RedisConnection.connect(
                to: endpoint.address, user: endpoint.user, password: password, tls: endpoint.tls,
                group: MultiThreadedEventLoopGroup.singleton)
        } catch {
            if case .lost(let text) = error, FaultClass.of(text) == .permission {
                throw .refused("the target refuses us: \(text)")
            }
            throw Self.lost(error, endpoint.address)
        }
    }

    /// Asks a target what it is.
    ///
    /// - Parameter slot: A slot that the node serves, if it belongs to a cluster that is written as
    ///   such.
    static func probe(
        _ endpoint: Endpoint, job: String, _ connection: RedisConnection, slot: Int? = nil
    ) async throws(RunError) -> TargetServer {
        if endpoint.scheme == "codis" {
            return try await Self.probeCodis(endpoint, job: job, connection)
        }
        let info = RedisInfo(try await Self.text(connection, ["INFO", "server"]))
        var target: TargetCapabilities
        if let own = info["pika_swift_version"] {
            target = TargetCapabilities(product: .ours, version: own)
        } else if let pika = info["pika_version"] {
            target = TargetCapabilities(product: .pika, version: pika)
        } else if let redis = info["valkey_version"] ?? info["redis_version"] {
            target = TargetCapabilities(product: .redis, version: redis)
        } else {
            throw .preflight("the target does not say what it is: INFO has no version")
        }
        if info["redis_mode"] == "cluster", slot == nil {
            throw .preflight(
                "the target is one node of a Redis Cluster: redis-cluster://host:port writes all")
        }
        target.isSharded = slot != nil
        target.hasSecondDeadlines = target.product != .redis
        target.keepsTypesApart = target.product != .redis
        if target.product != .redis {
            target.maxRequestBytes = try await Self.requestBytes(target.product, connection)
        }
        try await Self.probeCommands(&target, connection)
        try await Self.probeForms(&target, connection, job, slot)
        target.databases = try await Self.databases(target, connection)
        return TargetServer(endpoint: endpoint, capabilities: target, job: job)
    }

    /// A proxy says nothing of the servers behind it: all is found out by trying.
    private static func probeCodis(
        _ endpoint: Endpoint, job: String, _ connection: RedisConnection
    ) async throws(RunError) -> TargetServer {
        var target = TargetCapabilities(product: .codis, version: "proxy")
        target.keepsTypesApart = true
        target.maxRequestBytes = 255 << 20
        try await Self.probeCommands(&target, connection)
        // A proxy splits DEL by slots, and sends other commands to the first key's.
        target.missing.insert("unlink")
        target.hasSecondDeadlines = !target.missing.contains("pksetexat")
        try await Self.probeForms(&target, connection, job, nil)
        target.databases = 1
        return TargetServer(endpoint: endpoint, capabilities: target, job: job)
    }

    private static func probeCommands(
        _ target: inout TargetCapabilities, _ connection: RedisConnection
    ) async throws(RunError) {
        for name in Self.probed {
            let reply = try await Self.send(connection, [Array(name.utf8)])
            let failure = reply.failure?.lowercased() ?? ""
            if failure.contains("unknown") || failure.contains("not allowed") {
                target.missing.insert(name)
            }
        }
        // With one argument too many, so that nothing begins.
        let multi = try await Self.send(connection, ["MULTI", "x"].map { Array($0.utf8) })
        let isUnknown = multi.failure?.lowercased().contains("unknown") ?? false
        target.hasTransactions =
            target.product != .codis && !isUnknown && !target.missing.contains("watch")
        // 3.5.5 has them, but its stores have a log each: a crash tears a transaction.
        if target.product == .pika { target.hasTransactions = false }
    }

    /// Forms of commands, tried out under a name of our own.
    private static func probeForms(
        _ target: inout TargetCapabilities, _ connection: RedisConnection, _ job: String,
        _ slot: Int?
    ) async throws(RunError) {
        let tag = slot.map { "{\(String(decoding: SlotTags.tag($0), as: UTF8.self))}" } ?? ""
        let key = "__pika_migrate:\(job):probe\(tag)"
        func works(_ words: [String]) async throws(RunError) -> Bool {
            let removed = try await Self.send(connection, ["DEL", key].map { Array($0.utf8) })
            if let failure = removed.failure {
                switch FaultClass.of(failure) {
                case .transient, .topology, .capacity: throw .targetLost("target: \(failure)")
                case .permission: throw .refused("the target refuses us: \(failure)")
                case .data: throw .preflight("the target can't be written: \(failure)")
                }
            }
            let reply = try await Self.send(connection, words.map { Array($0.utf8) })
            return reply.failure == nil
        }
        target.hasMultiFieldHset = try await works(["HSET", key, "a", "1", "b", "2"])
        target.hasZaddFlags = try await works(["ZADD", key, "GT", "1", "m"])
        let setsAt = try await works(["SET", key, "v", "PXAT", "4102444800000"])
        let keeps = try await works(["SET", key, "v", "KEEPTTL"])
        target.hasModernSet = setsAt && keeps
        _ = try await Self.send(connection, ["DEL", key].map { Array($0.utf8) })
    }

    /// Longest request of a Pika or of ours, in bytes: beyond it the connection is cut.
    private static func requestBytes(
        _ product: TargetCapabilities.Product, _ connection: RedisConnection
    ) async throws(RunError) -> Int {
        let marginBytes = 1 << 20
        let pikaBytes = 256 << 20
        guard product == .ours else { return pikaBytes - marginBytes }
        let reply = try await Self.send(
            connection, ["CONFIG", "GET", "max-conn-rbuf-size"].map { Array($0.utf8) })
        let limit = reply.elements?.last?.number.map { Int(clamping: $0) } ?? pikaBytes
        return max(limit, 2 * marginBytes) - marginBytes
    }

    private static func databases(
        _ target: TargetCapabilities, _ connection: RedisConnection
    ) async throws(RunError) -> Int {
        guard !target.isSharded else { return 1 }
        let reply = try await Self.send(
            connection, ["CONFIG", "GET", "databases"].map { Array($0.utf8) })
        if let count = reply.elements?.last?.number, count > 0 { return Int(count) }
        return target.product == .redis ? 16 : 1
    }

    // MARK: - Requests

    /// Sends a request; a broken link is the target's loss.
    static func send(
        _ connection: RedisConnection, _ words: [[UInt8]]
    ) async throws(RunError) -> RedisReply {
        do throws(RedisConnectionError) { return try await connection.send(words) } catch {
            throw Self.lost(error, nil)
        }
    }

    private static func lost(
        _ error: RedisConnectionError, _ address: RedisAddress?
    ) -> RunError {
        let name = address.map { " \($0)" } ?? ""
        if case .untrusted(let text) = error {
            return .refused("TLS with the target\(name): \(text)")
        }
        return .targetLost("target\(name): \(error)")
    }

    /// Sends a request that must be answered by a text.
    static func text(
        _ connection: RedisConnection, _ words: [String]
    ) async throws(RunError) -> String {
        let reply = try await Self.send(connection, words.map { Array($0.utf8) })
        if let text = reply.text { return text }
        throw Self.error(reply, words[0])
    }

    static func error(_ reply: RedisReply, _ what: String) -> RunError {
        let text = reply.failure ?? "an answer without sense"
        switch FaultClass.of(text) {
        case .permission: return .refused("the target refuses \(what): \(text)")
        case .transient, .topology, .capacity: return .targetLost("target: \(what): \(text)")
        case .data: return .rejected("the target rejects \(what): \(text)")
        }
    }

    static func select(
        _ connection: RedisConnection, _ database: Int
    ) async throws(RunError) {
        let reply = try await Self.send(
            connection, ["SELECT", "\(database)"].map { Array($0.utf8) })
        if let failure = reply.failure {
            throw FaultClass.of(failure) == .data
                ? .preflight(
                    "the target has no database \(database): \(failure); see [map] databases")
                : Self.error(reply, "SELECT")
        }
    }
}
