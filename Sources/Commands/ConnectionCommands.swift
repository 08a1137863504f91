import Keyspace
import PikaStorage
import RESP
import Synchronization

/// Commands about the connection itself.
enum ConnectionCommands {
    /// Version of Redis whose replies ours follow; clients choose features by it.
    static let redisVersion: StaticString = "7.0.15"

    static let rows: [CommandRow] = [
        CommandRow(
            "ping", arity: -1, flags: [.fast, .subscribed], keys: .none, group: .connection,
            since: "1.0.0",
            summary: "Answers PONG, or its argument.", handler: ping),
        CommandRow(
            "echo", arity: 2, flags: [.fast], keys: .none, group: .connection, since: "1.0.0",
            summary: "Answers its argument.", handler: { x in x.reply.bulk(x[1]) }),
        CommandRow(
            "select", arity: 2, flags: [.fast, .commitsFirst], keys: .none, group: .connection,
            since: "1.0.0", summary: "Selects the database of the connection.", handler: select),
        CommandRow(
            "auth", arity: -2, flags: [.noauth, .fast, .commitsFirst, .secret], keys: .none,
            group: .connection, since: "1.0.0", summary: "Authenticates the connection.",
            handler: auth),
        CommandRow(
            "hello", arity: -1, flags: [.noauth, .fast, .commitsFirst, .secret], keys: .none,
            group: .connection, since: "6.0.0",
            summary: "Chooses the protocol and describes the server.", handler: hello),
        CommandRow(
            "quit", arity: -1, flags: [.noauth, .fast, .subscribed], keys: .none,
            group: .connection,
            since: "1.0.0", summary: "Closes the connection.",
            handler: { x in
                x.reply.ok()
                x.client.closesAfterReply = true
            }),
        CommandRow(
            "reset", arity: 1, flags: [.noauth, .fast, .commitsFirst, .subscribed],
            keys: .none,
            group: .connection, since: "6.2.0",
            summary: "Gives the connection its first state.", handler: reset),
    ]
}

extension ConnectionCommands {
    static func ping(_ x: inout Execution) throws {
        if x.client.subscriptions != nil, x.client.version == .resp2, x.count <= 2 {
            // A reply that looks like the messages between which it comes.
            x.reply.array(2)
            x.reply.bulk("pong")
            x.reply.bulk(x.count == 2 ? x[1] : .none)
            return
        }
        switch x.count {
        case 1: x.reply.simple("PONG")
        case 2: x.reply.bulk(x[1])
        default: throw CommandError.arity("ping")
        }
    }

    static func select(_ x: inout Execution) throws {
        let index = try x.integer(1)
        guard index >= 0, index < Int64(x.environment.keyspace.databases.count) else {
            throw CommandError.reply("ERR DB index is out of range")
        }
        x.client.database = Int(index)
        x.client.record.database.store(Int(index), ordering: .relaxed)
        x.reply.ok()
    }

    private static let wrongPassword = CommandError.reply(
        "WRONGPASS invalid username-password pair or user is disabled.")

    static func auth(_ x: inout Execution) throws {
        guard x.count <= 3 else { throw CommandError.syntax }
        guard x.count == 3 || x.environment.needsPassword.load(ordering: .relaxed) else {
            throw CommandError.text(
                "ERR AUTH <password> called without any password configured for the default "
                    + "user. Are you sure your configuration is correct?")
        }
        try authenticate(&x, user: x.count == 3 ? x[1] : nil, password: x[x.count - 1])
        x.reply.ok()
    }

    private static func authenticate(
        _ x: inout Execution, user: Bytes?, password: Bytes
    ) throws {
        guard
            let access = x.environment.services.authenticate(
                user: user?.text, password: password)
        else { throw wrongPassword }
        x.client.access = access
    }

    static func hello(_ x: inout Execution) throws {
        var version = x.client.version
        if x.count > 1 {
            guard let number = Decimal.parseInteger(x[1]) else {
                throw CommandError.reply(
                    "ERR Protocol version is not an integer or out of range")
            }
            guard let known = UInt8(exactly: number).flatMap({ ProtocolVersion(rawValue: $0) })
            else { throw CommandError.reply("NOPROTO unsupported protocol version") }
            version = known
        }
        var name: Bytes?
        var index = 2
        while index < x.count {
            if x[index].isWord("auth"), index + 2 < x.count {
                try authenticate(&x, user: x[index + 1], password: x[index + 2])
                index += 3
            } else if x[index].isWord("setname"), index + 1 < x.count {
                name = x[index + 1]
                guard ClientCommands.isValidName(x[index + 1]) else {
                    throw ClientCommands.badName
                }
                index += 2
            } else {
                throw CommandError.text("ERR Syntax error in HELLO option '\(x[index].text)'")
            }
        }
        guard x.client.access != nil || !x.environment.needsPassword.load(ordering: .relaxed) else {
            throw CommandError.text(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    + "the HELLO <proto> AUTH <user> <pass> option can be used to authenticate "
                    + "the client and select the RESP protocol version at the same time")
        }
        if let name { x.client.record.name = name.text }
        x.client.version = version
        x.client.record.protocolVersion.store(version.rawValue, ordering: .relaxed)
        x.reply.version = version
        describe(&x)
    }

    private static func describe(_ x: inout Execution) {
        x.reply.map(7)
        x.reply.bulk("server")
        x.reply.bulk("redis")
        x.reply.bulk("version")
        x.reply.bulk(redisVersion)
        x.reply.bulk("proto")
        x.reply.integer(Int(x.client.version.rawValue))
        x.reply.bulk("id")
        x.reply.integer(Int64(x.client.record.id))
        x.reply.bulk("mode")
        x.reply.bulk("standalone")
        x.reply.bulk("role")
        switch x.environment.services.role {
        case .master: x.reply.bulk("master")
        case .replica, .both: x.reply.bulk("replica")
        }
        x.reply.bulk("modules")
        x.reply.array(0)
    }

    static func reset(_ x: inout Execution) throws {
        x.client.database = 0
        x.client.record.database.store(0, ordering: .relaxed)
        x.client.version = .resp2
        x.client.record.protocolVersion.store(2, ordering: .relaxed)
        x.client.record.name = ""
        x.client.access = nil
        x.client.endTransaction()
        x.client.endListening()
        x.client.replyMode = .on
        x.reply.simple("RESET")
    }
}
