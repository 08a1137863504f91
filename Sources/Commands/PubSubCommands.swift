import Keyspace
import PikaStorage
import RESP

/// Publishing and subscribing.
enum PubSubCommands {
    private static let subscribing: CommandFlags = [.subscribed, .commitsFirst]

    static let rows: [CommandRow] = [
        CommandRow(
            "subscribe", arity: -2, flags: subscribing, keys: .none, group: .pubsub,
            since: "2.0.0", summary: "Listens to channels.",
            handler: { try subscribe(&$0, .channel, "subscribe") }),
        CommandRow(
            "psubscribe", arity: -2, flags: subscribing, keys: .none, group: .pubsub,
            since: "2.0.0", summary: "Listens to the channels that match patterns.",
            handler: { try subscribe(&$0, .pattern, "psubscribe") }),
        CommandRow(
            "ssubscribe", arity: -2, flags: subscribing, keys: .none, group: .pubsub,
            since: "7.0.0", summary: "Listens to shard channels.",
            handler: { try subscribe(&$0, .shard, "ssubscribe") }),
        CommandRow(
            "unsubscribe", arity: -1, flags: subscribing, keys: .none, group: .pubsub,
            since: "2.0.0", summary: "Stops listening to channels.",
            handler: { unsubscribe(&$0, .channel, "unsubscribe") }),
        CommandRow(
            "punsubscribe", arity: -1, flags: subscribing, keys: .none, group: .pubsub,
            since: "2.0.0", summary: "Stops listening to patterns.",
            handler: { unsubscribe(&$0, .pattern, "punsubscribe") }),
        CommandRow(
            "sunsubscribe", arity: -1, flags: subscribing, keys: .none, group: .pubsub,
            since: "7.0.0", summary: "Stops listening to shard channels.",
            handler: { unsubscribe(&$0, .shard, "sunsubscribe") }),
        CommandRow(
            "publish", arity: 3, flags: [.fast, .pausedWithWrites], keys: .none, group: .pubsub,
            since: "2.0.0",
            summary: "Sends a message to a channel.", handler: { publish(&$0, .channel) }),
        CommandRow(
            "spublish", arity: 3, flags: [.fast, .pausedWithWrites], keys: .none, group: .pubsub,
            since: "7.0.0",
            summary: "Sends a message to a shard channel.", handler: { publish(&$0, .shard) }),
        CommandRow(
            "pubsub", arity: -2, flags: [.container], keys: .none, group: .pubsub,
            since: "2.8.0", summary: "Tells which channels and subscribers there are.",
            handler: pubsub),
    ]
}

extension PubSubCommands {
    private static func subscribe(
        _ x: inout Execution, _ kind: TopicKind, _ word: StaticString
    ) throws {
        let client = x.client
        guard client.record.outlet != nil else {
            throw CommandError.reply("ERR this connection can't take messages")
        }
        let subscriptions =
            client.subscriptions
            ?? Subscriptions(broker: x.environment.broker, record: client.record)
        guard subscriptions.count + x.count - 1 <= Subscriptions.limit else {
            throw CommandError.reply("ERR too many subscriptions of one connection")
        }
        client.subscriptions = subscriptions
        for name in x.rest(from: 1) {
            subscriptions.add(kind, Array(name))
            confirm(&x, word, name, subscriptions.shownCount(kind))
        }
    }

    private static func unsubscribe(
        _ x: inout Execution, _ kind: TopicKind, _ word: StaticString
    ) {
        let subscriptions = x.client.subscriptions
        let names = x.count > 1 ? x.rest(from: 1).map { Array($0) } : subscriptions?.names(kind)
        for name in names ?? [] {
            subscriptions?.remove(kind, name)
            let count = subscriptions?.shownCount(kind) ?? 0
            name.withUnsafeBytes { confirm(&x, word, $0, count) }
        }
        if names?.isEmpty ?? true {
            confirm(&x, word, nil, subscriptions?.shownCount(kind) ?? 0)
        }
        if subscriptions?.count == 0 { x.client.subscriptions = nil }
    }

    private static func confirm(
        _ x: inout Execution, _ word: StaticString, _ name: Bytes?, _ count: Int
    ) {
        x.reply.push(3)
        x.reply.bulk(word)
        x.bulkOrNull(name)
        x.reply.integer(count)
    }

    /// Behind uncommitted writes the message waits for their commit: nobody hears of what is not
    /// there, and a transaction that is executed twice is heard of once.
    private static func publish(_ x: inout Execution, _ kind: TopicKind) {
        let broker = x.environment.broker
        if x.isInTransaction || x.group.hasWrites {
            x.reply.integer(broker.receiverCount(kind, x[1]))
            x.messages.append(
                .published(kind, channel: Array(x[1]), message: Array(x[2])))
        } else {
            x.reply.integer(broker.publish(kind, x[1], x[2]))
        }
    }

    private static func pubsub(_ x: inout Execution) throws {
        let broker = x.environment.broker
        if x[1].isWord("channels") || x[1].isWord("shardchannels") {
            try x.requireCount(2...3, "pubsub", "channels")
            let kind = x[1].isWord("channels") ? TopicKind.channel : .shard
            let names = broker.names(kind, matching: x.count == 3 ? x[2] : nil)
            x.reply.array(names.count)
            for name in names { name.withUnsafeBytes { x.reply.bulk($0) } }
        } else if x[1].isWord("numsub") || x[1].isWord("shardnumsub") {
            let kind = x[1].isWord("numsub") ? TopicKind.channel : .shard
            x.reply.array((x.count - 2) * 2)
            for index in 2..<max(2, x.count) {
                x.reply.bulk(x[index])
                x.reply.integer(broker.subscriberCount(kind, x[index]))
            }
        } else if x[1].isWord("numpat") {
            try x.requireCount(2...2, "pubsub", "numpat")
            x.reply.integer(broker.topicCount(.pattern))
        } else if x[1].isWord("help") {
            x.help([
                "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "CHANNELS [<pattern>]", "NUMPAT", "NUMSUB [<channel> ...]",
                "SHARDCHANNELS [<pattern>]", "SHARDNUMSUB [<channel> ...]", "HELP",
            ])
        } else {
            throw x.unknownSubcommand("PUBSUB")
        }
    }
}
