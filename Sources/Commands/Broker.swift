import PikaStorage
import RESP
import Synchronization

/// Takes bytes for a connection that none of its requests asked for: messages, lines of MONITOR.
public protocol ClientOutlet: AnyObject, Sendable {
    /// Appends bytes to what the connection gets; any thread, never blocks, keeps the order.
    func push(_ bytes: [UInt8])

    /// Bytes that were pushed and that the connection has not begun to write; any thread.
    var waitingBytes: Int { get }
}

/// What a subscription names.
enum TopicKind: Int, CaseIterable {
    /// A channel.
    case channel
    /// A glob pattern of channels.
    case pattern
    /// A channel of SSUBSCRIBE, apart from the others.
    case shard

    /// The first word of a message.
    var messageWord: StaticString {
        switch self {
        case .channel: "message"
        case .pattern: "pmessage"
        case .shard: "smessage"
        }
    }
}

/// Who hears which channel, on all loops.
///
/// A publisher holds the lock while it hands a message to all outlets, so that every subscriber
/// gets the messages of all publishers in one order.
final class Broker: Sendable {
    private typealias Subscribers = [UInt64: ClientRecord]

    private struct State {
        var topics: [[[UInt8]: Subscribers]] = TopicKind.allCases.map { _ in [:] }
    }

    private let state = Mutex(State())
    /// Subscriptions of all clients; none is the usual case, and costs a publisher nothing.
    private let total = Atomic<Int>(0)

    /// True while anybody subscribes to anything.
    var hasSubscribers: Bool { self.total.load(ordering: .relaxed) > 0 }

    func add(_ kind: TopicKind, _ name: [UInt8], _ client: ClientRecord) {
        self.state.withLock { $0.topics[kind.rawValue][name, default: [:]][client.id] = client }
        self.total.add(1, ordering: .relaxed)
    }

    func remove(_ kind: TopicKind, _ name: [UInt8], _ client: ClientRecord) {
        self.state.withLock { state in
            guard var subscribers = state.topics[kind.rawValue].removeValue(forKey: name) else {
                return
            }
            subscribers[client.id] = nil
            if !subscribers.isEmpty { state.topics[kind.rawValue][name] = subscribers }
        }
        self.total.subtract(1, ordering: .relaxed)
    }

    /// Names of a kind that a pattern matches, in their order.
    func names(_ kind: TopicKind, matching pattern: Bytes?) -> [[UInt8]] {
        let glob = pattern.map { GlobPattern($0) }
        let names = self.state.withLock { Array($0.topics[kind.rawValue].keys) }
        return names.filter { name in
            glob.map { glob in name.withUnsafeBytes { glob.matches($0) } } ?? true
        }
        .sorted { $0.lexicographicallyPrecedes($1) }
    }

    func subscriberCount(_ kind: TopicKind, _ name: Bytes) -> Int {
        self.state.withLock { $0.topics[kind.rawValue][Array(name)]?.count ?? 0 }
    }

    func topicCount(_ kind: TopicKind) -> Int {
        self.state.withLock { $0.topics[kind.rawValue].count }
    }

    /// How many subscriptions a message to the channel would reach.
    func receiverCount(_ kind: TopicKind, _ channel: Bytes) -> Int {
        guard self.total.load(ordering: .acquiring) > 0 else { return 0 }
        return self.state.withLock { state in
            var count = state.topics[kind.rawValue][Array(channel)]?.count ?? 0
            guard kind == .channel else { return count }
            for (pattern, subscribers) in state.topics[TopicKind.pattern.rawValue]
            where pattern.withUnsafeBytes({ GlobPattern($0).matches(channel) }) {
                count += subscribers.count
            }
            return count
        }
    }

    /// Hands a message to everybody who hears the channel; returns how many subscriptions that are.
    @discardableResult
    func publish(_ kind: TopicKind, _ channel: Bytes, _ message: Bytes) -> Int {
        guard self.total.load(ordering: .acquiring) > 0 else { return 0 }
        return self.state.withLock { state in
            var count = 0
            if let subscribers = state.topics[kind.rawValue][Array(channel)] {
                let word = kind.messageWord.bytes
                var push = Push([word, channel, message])
                for client in subscribers.values { push.send(to: client) }
                count += subscribers.count
            }
            guard kind == .channel else { return count }
            for (pattern, subscribers) in state.topics[TopicKind.pattern.rawValue] {
                pattern.withUnsafeBytes { pattern in
                    guard GlobPattern(pattern).matches(channel) else { return }
                    let word = TopicKind.pattern.messageWord.bytes
                    var push = Push([word, pattern, channel, message])
                    for client in subscribers.values { push.send(to: client) }
                    count += subscribers.count
                }
            }
            return count
        }
    }
}

/// A message in the form of each protocol, made when first needed.
private struct Push {
    private let parts: [Bytes]
    private var encoded: [[UInt8]] = [[], []]

    init(_ parts: [Bytes]) { self.parts = parts }

    mutating func send(to client: ClientRecord) {
        let isThree = client.protocolVersion.load(ordering: .relaxed) == 3
        let place = isThree ? 1 : 0
        if self.encoded[place].isEmpty {
            var writer = ReplyWriter(version: isThree ? .resp3 : .resp2)
            writer.push(self.parts.count)
            for part in self.parts { writer.bulk(part) }
            self.encoded[place] = Array(writer.bytes)
        }
        client.outlet?.push(self.encoded[place])
    }
}

/// The subscriptions of one connection; used like its ``ClientState``.
final class Subscriptions {
    private let broker: Broker
    private let record: ClientRecord
    private var names: [Set<[UInt8]>] = TopicKind.allCases.map { _ in [] }

    /// Subscriptions that one connection may have.
    static let limit = 1_000_000

    init(broker: Broker, record: ClientRecord) {
        self.broker = broker
        self.record = record
    }

    var count: Int { self.names.reduce(0) { $0 + $1.count } }

    /// The number that a reply tells: channels and patterns count together, shard channels apart.
    func shownCount(_ kind: TopicKind) -> Int {
        kind == .shard
            ? self.names[kind.rawValue].count
            : self.names[TopicKind.channel.rawValue].count
                + self.names[TopicKind.pattern.rawValue].count
    }

    func names(_ kind: TopicKind) -> [[UInt8]] {
        self.names[kind.rawValue].sorted { $0.lexicographicallyPrecedes($1) }
    }

    func add(_ kind: TopicKind, _ name: [UInt8]) {
        guard self.names[kind.rawValue].insert(name).inserted else { return }
        self.broker.add(kind, name, self.record)
        self.publishCounts()
    }

    func remove(_ kind: TopicKind, _ name: [UInt8]) {
        guard self.names[kind.rawValue].remove(name) != nil else { return }
        self.broker.remove(kind, name, self.record)
        self.publishCounts()
    }

    func removeAll() {
        for kind in TopicKind.allCases {
            for name in self.names[kind.rawValue] { self.broker.remove(kind, name, self.record) }
            self.names[kind.rawValue] = []
        }
        self.publishCounts()
    }

    private func publishCounts() {
        self.record.setSubscriptionCounts(self.names.map(\.count))
    }
}

/// What is sent when the writes in front of it are committed.
enum DeferredMessage: Sendable {
    /// A message of PUBLISH.
    case published(TopicKind, channel: [UInt8], message: [UInt8])
    /// A keyspace event.
    case event(KeyspaceEvent, database: Int, key: [UInt8])
}
