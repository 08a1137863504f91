import Glibc
import Keyspace
import PikaStorage
import RESP

/// Commands about the server and its databases.
enum ServerCommands {
    static let rows: [CommandRow] =
        dataRows + replicationRows + [
            CommandRow(
                "info", arity: -1, flags: [.commitsFirst], keys: .none, group: .server,
                since: "1.0.0", summary: "Describes the state of the server.",
                handler: { x in
                    let words = x.words(from: 1).map { $0.lowercased() }
                    // It asks RocksDB for many figures: a millisecond or two.
                    x.turn.add(elements: ExecutionPlace.elementLimit)
                    x.administrative(x.environment.services.info(sections: words))
                }),
            CommandRow(
                "config", arity: -2, flags: [.admin, .commitsFirst, .container], keys: .none,
                group: .server, since: "2.0.0", summary: "Reads and changes settings.",
                handler: config),
            CommandRow(
                "time", arity: 1, flags: [.fast], keys: .none, group: .server, since: "2.6.0",
                summary: "Returns the time of the server.", handler: time),
            CommandRow(
                "shutdown", arity: -1, flags: [.admin, .commitsFirst, .noMulti], keys: .none,
                group: .server,
                since: "1.0.0", summary: "Stops the server.", handler: shutdown),
        ]

    private static let dataRows: [CommandRow] = [
        CommandRow(
            "dbsize", arity: 1, flags: [.fast, .commitsFirst], keys: .none, group: .server,
            since: "1.0.0", summary: "Returns the number of keys found by the last key scan.",
            handler: { x in
                x.reply.integer(x.environment.services.keyCount(database: x.client.database))
            }),
        CommandRow(
            "flushdb", arity: -1, flags: [.write, .slow, .suspend], keys: .none, group: .server,
            since: "1.0.0", summary: "Deletes all keys of the database.",
            handler: flushdb),
        CommandRow(
            "flushall", arity: -1, flags: [.write, .slow, .suspend], keys: .none,
            group: .server, since: "1.0.0", summary: "Deletes all keys of all databases.",
            handler: flushall),
        CommandRow(
            "bgsave", arity: -1, flags: [.admin, .slow, .suspend], keys: .none, group: .server,
            since: "1.0.0", summary: "Makes a snapshot of databases.", handler: bgsave),
        CommandRow(
            "save", arity: 1, flags: [.admin, .slow, .suspend], keys: .none, group: .server,
            since: "1.0.0", summary: "Makes a snapshot of all databases and waits for it.",
            handler: { x in
                x.administrative(x.environment.services.save(databases: x.allDatabases))
            }),
        CommandRow(
            "compact", arity: -1, flags: [.admin, .slow, .suspend], keys: .none, group: .server,
            since: "1.0.0", summary: "Compacts the stores of databases.", handler: compact),
        CommandRow(
            "purgelogsto", arity: -2, flags: [.admin, .slow, .suspend], keys: .none,
            group: .server, since: "1.0.0",
            summary: "Deletes binlog files up to the given one.", handler: purgeLogs),
        CommandRow(
            "diskrecovery", arity: 1, flags: [.admin, .slow, .suspend], keys: .none,
            group: .server, since: "3.5.0",
            summary: "Takes writes again after a full or failing disk.",
            handler: { x in x.administrative(x.environment.services.diskRecovery()) }),
    ]

    private static let replicationRows: [CommandRow] = [
        CommandRow(
            "slaveof", arity: -3, flags: [.admin, .slow, .suspend], keys: .none, group: .server,
            since: "1.0.0", summary: "Follows a master, or none.", handler: slaveOf),
        CommandRow(
            "replicaof", arity: -3, flags: [.admin, .slow, .suspend], keys: .none,
            group: .server, since: "5.0.0", summary: "Follows a master, or none.",
            handler: slaveOf),
        CommandRow(
            "dbslaveof", arity: -2, flags: [.admin, .slow, .suspend], keys: .none,
            group: .server, since: "3.4.0",
            summary: "Follows the master with one database, or stops it.",
            handler: { x in
                let words = x.words(from: 1)
                x.administrative(x.environment.services.dbSlaveOf(words))
            }),
    ]
}

extension Execution {
    /// Arguments as text.
    func words(from index: Int) -> [String] {
        index < self.count ? self.arguments[index...].map(\.text) : []
    }

    /// A word such as `db1`.
    func databaseIndex(_ word: String) throws(CommandError) -> Int {
        guard word.hasPrefix("db"), let index = Int(word.dropFirst(2)),
            self.environment.keyspace.databases.indices.contains(index)
        else { throw .text("ERR invalid DB for '\(word)'") }
        return index
    }

    /// A list such as `db0,db1`.
    func databaseIndexes(_ list: String) throws(CommandError) -> [Int] {
        var indexes: [Int] = []
        for word in list.split(separator: ",", omittingEmptySubsequences: false) {
            let index = try self.databaseIndex(String(word))
            if !indexes.contains(index) { indexes.append(index) }
        }
        return indexes
    }

    var allDatabases: [Int] { Array(self.environment.keyspace.databases.indices) }
}

// MARK: - Data

extension ServerCommands {
    static func flushdb(_ x: inout Execution) throws {
        guard x.count == 1 || x.count == 2 && (x[1].isWord("async") || x[1].isWord("sync")) else {
            // Pika 3.5.0 would delete one type, 3.5.5 everything: neither is done by mistake here.
            throw CommandError.syntax
        }
        _ = try x.environment.keyspace.databases[x.client.database].removeAll()
        x.reply.ok()
    }

    static func flushall(_ x: inout Execution) throws {
        guard x.count == 1 || x.count == 2 && (x[1].isWord("async") || x[1].isWord("sync")) else {
            throw CommandError.syntax
        }
        try x.environment.keyspace.removeAll()
        x.reply.ok()
    }

    static func bgsave(_ x: inout Execution) throws {
        guard x.count <= 2 else { throw CommandError.syntax }
        // Redis's SCHEDULE asks for what happens anyway.
        let isPlain = x.count == 1 || x[1].isWord("schedule")
        let databases = isPlain ? x.allDatabases : try x.databaseIndexes(x[1].text)
        x.administrative(x.environment.services.backgroundSave(databases: databases))
    }

    static func compact(_ x: inout Execution) throws {
        guard x.count <= 3 else { throw CommandError.arity("compact") }
        var databases = x.allDatabases
        var kinds = StoreKinds.all
        if x.count == 3 { databases = try x.databaseIndexes(x[1].text) }
        if x.count > 1, !x[x.count - 1].isWord("all") {
            guard let kind = parseKind(x[x.count - 1]) else {
                throw CommandError.text("ERR Invalid Argument '\(x[x.count - 1].text)'")
            }
            kinds = StoreKinds(kind)
        }
        x.administrative(x.environment.services.compact(databases: databases, kinds: kinds))
    }

    static func purgeLogs(_ x: inout Execution) throws {
        guard x.count <= 3 else { throw CommandError.arity("purgelogsto") }
        let name = x[1].text
        let prefix = "write2file"
        guard name.hasPrefix(prefix), let number = UInt32(name.dropFirst(prefix.count)) else {
            throw CommandError.reply("ERR Invalid Argument")
        }
        let database = x.count == 3 ? try x.databaseIndex(x[2].text) : 0
        x.administrative(x.environment.services.purgeLogs(to: number, database: database))
    }
}

// MARK: - Server

extension ServerCommands {
    static func slaveOf(_ x: inout Execution) throws {
        guard x.count <= 4 else { throw CommandError.syntax }
        let isForced = x.count == 4
        if isForced, !x[3].isWord("force") { throw CommandError.syntax }
        let services = x.environment.services
        if x[1].isWord("no"), x[2].isWord("one") {
            x.administrative(services.slaveOfNoOne(force: isForced))
            return
        }
        guard let port = Decimal.parseInteger(x[2]), (1...65535).contains(port) else {
            throw CommandError.notInteger
        }
        x.administrative(services.slaveOf(host: x[1].text, port: Int(port), force: isForced))
    }

    static func time(_ x: inout Execution) throws {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        x.reply.array(2)
        x.reply.bulk(integer: Int64(now.tv_sec))
        x.reply.bulk(integer: Int64(now.tv_nsec) / 1000)
    }

    static func shutdown(_ x: inout Execution) throws {
        for index in 1..<max(1, x.count) {
            let isKnown =
                x[index].isWord("save") || x[index].isWord("nosave") || x[index].isWord("now")
                || x[index].isWord("force")
            guard isKnown else { throw CommandError.syntax }
        }
        if let error = x.environment.services.shutdown(client: x.client.record) {
            x.administrative(error)
        } else {
            x.client.closesAfterReply = true
        }
    }

    static func config(_ x: inout Execution) throws {
        let services = x.environment.services
        if x[1].isWord("get") {
            guard x.count >= 3 else { throw CommandError.arity("config|get") }
            let pairs = services.configGet(patterns: x.words(from: 2))
            x.reply.map(pairs.count)
            for pair in pairs {
                x.reply.bulk(pair.name)
                x.reply.bulk(pair.value)
            }
        } else if x[1].isWord("set") {
            guard x.count >= 4, x.count % 2 == 0 else { throw CommandError.arity("config|set") }
            let words = x.words(from: 2)
            let pairs = stride(from: 0, to: words.count, by: 2).map {
                (name: words[$0], value: words[$0 + 1])
            }
            x.administrative(services.configSet(pairs))
        } else if x[1].isWord("rewrite") {
            try x.requireCount(2...2, "config", "rewrite")
            if x.place == .loop { throw CommandError.deferToPool }
            x.administrative(services.configRewrite())
        } else if x[1].isWord("resetstat") {
            try x.requireCount(2...2, "config", "resetstat")
            x.administrative(services.configResetStatistics())
        } else if x[1].isWord("help") {
            x.help([
                "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "GET <pattern>", "SET <directive> <value>", "RESETSTAT", "REWRITE", "HELP",
            ])
        } else {
            throw x.unknownSubcommand("CONFIG")
        }
    }
}
