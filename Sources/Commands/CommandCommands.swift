import PikaStorage
import RESP

/// COMMAND and its subcommands: the command table for clients.
enum CommandCommands {
    static let rows: [CommandRow] =
        ClientCommands.rows + [
            CommandRow(
                "command", arity: -1, flags: [.container], keys: .none, group: .server,
                since: "2.8.13", summary: "Describes the commands of the server.", handler: command)
        ]
}

extension CommandCommands {
    static func command(_ x: inout Execution) throws {
        // The longest replies have some twenty parts for each command.
        x.turn.add(elements: ExecutionPlace.elementLimit)
        guard x.count > 1 else {
            let rows = x.environment.table.rows
            x.reply.array(rows.count)
            for row in rows { describe(&x, row) }
            return
        }
        if x[1].isWord("count") {
            try x.requireCount(2...2, "command", "count")
            x.reply.integer(x.environment.table.rows.count)
        } else if x[1].isWord("info") {
            info(&x)
        } else if x[1].isWord("docs") {
            docs(&x)
        } else if x[1].isWord("list") {
            try list(&x)
        } else if x[1].isWord("getkeys") {
            try getKeys(&x, withFlags: false)
        } else if x[1].isWord("getkeysandflags") {
            try getKeys(&x, withFlags: true)
        } else if x[1].isWord("help") {
            x.help([
                "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "(no subcommand)",
                "COUNT", "DOCS [<command-name> ...]", "GETKEYS <full-command>",
                "GETKEYSANDFLAGS <full-command>",
                "INFO [<command-name> ...]", "LIST [FILTERBY PATTERN <pattern>]", "HELP",
            ])
        } else {
            throw x.unknownSubcommand("COMMAND")
        }
    }

    private static func info(_ x: inout Execution) {
        guard x.count > 2 else {
            let rows = x.environment.table.rows
            x.reply.array(rows.count)
            for row in rows { describe(&x, row) }
            return
        }
        x.reply.array(x.count - 2)
        for index in 2..<x.count {
            if let row = x.environment.table.row(x[index]) {
                describe(&x, row)
            } else {
                x.reply.null()
            }
        }
    }

    /// Redis 7's ten fields.
    private static func describe(_ x: inout Execution, _ row: CommandRow) {
        x.reply.array(10)
        x.reply.bulk(row.name)
        x.reply.integer(row.arity)
        let flags = row.flagNames
        x.reply.set(flags.count)
        for flag in flags { x.reply.simple(flag) }
        x.reply.integer(row.keys.first)
        x.reply.integer(row.keys.last)
        x.reply.integer(row.keys.step)
        let categories = row.categories
        x.reply.set(categories.count)
        for category in categories { x.reply.simple(category) }
        x.reply.array(0)
        let specifications = row.keySpecifications
        x.reply.array(specifications.count)
        for specification in specifications { x.reply.keySpecification(specification) }
        x.reply.array(0)
    }

    private static func docs(_ x: inout Execution) {
        let table = x.environment.table
        let rows =
            x.count > 2 ? (2..<x.count).compactMap { table.row(x[$0]) } : table.rows
        x.reply.map(rows.count)
        for row in rows {
            x.reply.bulk(row.name)
            x.reply.map(4)
            x.reply.bulk("summary")
            x.reply.bulk(row.summary)
            x.reply.bulk("since")
            x.reply.bulk(row.since)
            x.reply.bulk("group")
            x.reply.bulk(row.group.rawValue)
            x.reply.bulk("complexity")
            x.reply.bulk(row.flags.contains(.fast) ? "O(1) or O(log N)" : "O(N)")
        }
    }

    private static func list(_ x: inout Execution) throws {
        let rows = x.environment.table.rows
        guard x.count > 2 else {
            x.reply.array(rows.count)
            for row in rows { x.reply.bulk(row.name) }
            return
        }
        guard x.count == 5, x[2].isWord("filterby") else { throw CommandError.syntax }
        let argument = x[4]
        let found: [CommandRow]
        if x[3].isWord("pattern") {
            let pattern = GlobPattern(argument)
            found = rows.filter { pattern.matches($0.name.bytes) }
        } else if x[3].isWord("aclcat") {
            found = rows.filter { row in
                row.categories.contains { Bytes(rebasing: $0.bytes.dropFirst()).equals(argument) }
            }
        } else if x[3].isWord("module") {
            found = []
        } else {
            throw CommandError.syntax
        }
        x.reply.array(found.count)
        for row in found { x.reply.bulk(row.name) }
    }

    private static func getKeys(_ x: inout Execution, withFlags: Bool) throws {
        guard x.count > 2 else {
            throw CommandError.arity(withFlags ? "command|getkeysandflags" : "command|getkeys")
        }
        let request = x.rest(from: 2)
        guard let row = x.environment.table.row(request[0]) else {
            throw CommandError.reply("ERR Invalid command specified")
        }
        guard row.keys.first > 0 || row.keys.isMovable else {
            throw CommandError.reply("ERR The command has no key arguments")
        }
        let arity = row.arity
        guard arity >= 0 ? request.count == arity : request.count >= -arity else {
            throw CommandError.reply("ERR Invalid number of arguments specified for command")
        }
        let keys = row.keys.indexes(in: request)
        guard !keys.isEmpty, row.keys.countAt == 0 || keys.count > (row.keys.first > 0 ? 1 : 0)
        else { throw CommandError.reply("ERR Invalid arguments specified for command") }
        x.reply.array(keys.count)
        for index in keys {
            guard withFlags else {
                x.reply.bulk(request[index])
                continue
            }
            x.reply.array(2)
            x.reply.bulk(request[index])
            let flags = row.keyFlags(at: index, in: request)
            x.reply.set(flags.count)
            for flag in flags { x.reply.simple(flag) }
        }
    }
}

extension CommandRow {
    /// Flags by the words of COMMAND INFO.
    var flagNames: [StaticString] {
        let words: [(CommandFlags, StaticString)] = [
            (.write, "write"), (.readonly, "readonly"), (.growsData, "denyoom"),
            (.admin, "admin"), (.noauth, "no_auth"), (.fast, "fast"),
            (.movableKeys, "movablekeys"), (.subscribed, "pubsub"), (.blocking, "blocking"),
            (.noMulti, "no_multi"),
        ]
        return words.filter { self.flags.contains($0.0) }.map(\.1)
    }

    /// ACL categories.
    var categories: [StaticString] {
        var names: [StaticString] = []
        if self.flags.contains(.write) { names.append("@write") }
        if self.flags.contains(.readonly) { names.append("@read") }
        switch self.group {
        case .generic: names.append("@keyspace")
        case .string: names.append("@string")
        case .hash: names.append("@hash")
        case .list: names.append("@list")
        case .set: names.append("@set")
        case .sortedSet: names.append("@sortedset")
        case .pubsub: names.append("@pubsub")
        case .geo: names.append("@geo")
        case .connection: names.append("@connection")
        case .transactions: names.append("@transaction")
        case .scripting: names.append("@scripting")
        case .server: break
        }
        if self.flags.contains(.blocking) { names.append("@blocking") }
        if self.flags.contains(.admin) { names += ["@admin", "@dangerous"] }
        names.append(self.flags.contains(.fast) ? "@fast" : "@slow")
        return names
    }
}
