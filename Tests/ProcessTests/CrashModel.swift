import Testing

/// What one connection's keys hold, by a model that knows nothing of logs and stores.
struct CrashModel: Equatable {
    var number = 0
    var list: [String] = []
    var list2: [String] = []
    var appended = ""
    var hash: [String: Int] = [:]
    var scores: [String: Int] = [:]
    var expiring: String?
    var hasDeadline = false
    var pair: [String?] = [nil, nil]
}

/// One connection: its commands, what was acknowledged, and the states in between.
final class CrashWorker {
    let index: Int
    private let database: Int
    private let flushes: Bool
    private var random: CrashRandom
    private var count = 0
    /// The state behind the last acknowledged command, and behind each one sent since.
    private var states = [CrashModel()]
    private(set) var acknowledgedCount = 0

    /// Commands under way at most.
    private static let window = 16

    init(index: Int, seed: UInt64, database: Int = 0, flushes: Bool = false) {
        self.index = index
        self.database = database
        self.flushes = flushes
        random = CrashRandom(seed: seed)
    }

    private func key(_ name: String) -> String { "w\(index):\(name)" }

    // MARK: Load

    /// Sends commands until the connection breaks.
    func run(port: Int) {
        guard let client = BlockingClient(port: port), client.send(["SELECT", "\(database)"]),
            client.receive() == .text("OK")
        else { return }
        var underWay = 0
        while true {
            let burst = Int.random(in: 1...max(1, Self.window - underWay), using: &random)
            for _ in 0..<burst {
                for (command, state) in nextRequests() {
                    // From here on it may have happened.
                    states.append(state)
                    guard client.send(command) else { return }
                    underWay += 1
                }
            }
            let wanted = Int.random(in: 1...underWay, using: &random)
            for _ in 0..<wanted {
                guard let reply = client.receive() else { return }
                if case .error(let text) = reply {
                    Issue.record("worker \(index): \(text)")
                    return
                }
                states.removeFirst()
                acknowledgedCount += 1
                underWay -= 1
            }
            if underWay >= Self.window { return }
        }
    }

    /// One command, or a transaction, whose requests but EXEC change nothing.
    private func nextRequests() -> [(command: [String], state: CrashModel)] {
        let before = states[states.count - 1]
        var state = before
        guard Int.random(in: 0..<8, using: &random) == 0 else {
            let command = nextCommand(&state)
            return [(command, state)]
        }
        var requests = [(command: ["MULTI"], state: before)]
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            count += 1
            let value = "v\(count)"
            state.number += 1
            state.list.append(value)
            state.hash["f\(count % 3)", default: 0] += count
            requests.append((["INCR", key("n")], before))
            requests.append((["RPUSH", key("l"), value], before))
            requests.append((["HINCRBY", key("h"), "f\(count % 3)", "\(count)"], before))
        }
        requests.append((["EXEC"], state))
        return requests
    }

    private func nextCommand(_ state: inout CrashModel) -> [String] {
        count += 1
        let value = "v\(count)"
        switch Int.random(in: 0..<(flushes ? 16 : 15), using: &random) {
        case 0, 1:
            state.number += 1
            return ["INCR", key("n")]
        case 2, 3:
            state.list.append(value)
            return ["RPUSH", key("l"), value]
        case 4:
            if !state.list.isEmpty { state.list.removeFirst() }
            return ["LPOP", key("l")]
        case 5, 6:
            state.appended += value
            return ["APPEND", key("a"), value]
        case 7:
            state.hash["f\(count % 3)", default: 0] += count
            return ["HINCRBY", key("h"), "f\(count % 3)", "\(count)"]
        case 8:
            state.scores["m\(count % 3)", default: 0] += count
            return ["ZINCRBY", key("z"), "\(count)", "m\(count % 3)"]
        case 9: return deadlineCommand(value, &state)
        case 10:
            state.pair = [value, value]
            return ["MSET", key("p0"), value, key("p1"), value]
        case 11:
            state.pair = [nil, nil]
            state.list2 = []
            return ["DEL", key("p0"), key("l2"), key("p1")]
        case 12, 13:
            if let last = state.list.popLast() { state.list2.insert(last, at: 0) }
            return ["RPOPLPUSH", key("l"), key("l2")]
        case 14:
            if count % 7 == 0 {
                state.appended = ""
                state.list = []
                return ["DEL", key("a"), key("l")]
            }
            state.number += 5
            return ["INCRBY", key("n"), "5"]
        default:
            guard count % 20 == 0 else {
                state.number += 1
                return ["INCR", key("n")]
            }
            state = CrashModel()
            return ["FLUSHDB"]
        }
    }

    private func deadlineCommand(_ value: String, _ state: inout CrashModel) -> [String] {
        switch count % 4 {
        case 0, 1:
            state.expiring = value
            state.hasDeadline = false
            return ["SET", key("e"), value]
        case 2:
            if state.expiring != nil { state.hasDeadline = true }
            return ["EXPIRE", key("e"), "100000"]
        default:
            state.hasDeadline = false
            return ["PERSIST", key("e")]
        }
    }

    // MARK: Check

    /// The keys must show one of the states; the load goes on from it.
    func check(_ client: BlockingClient) throws {
        _ = client.call("SELECT", "\(database)")
        let found = try read(client)
        guard let place = states.firstIndex(of: found) else {
            Issue.record(
                """
                worker \(index): no state behind one of the last \(states.count) commands
                found:        \(found)
                acknowledged: \(states[0])
                sent:         \(states[states.count - 1])
                """)
            states = [found]
            return
        }
        states = [states[place]]
    }

    private func read(_ client: BlockingClient) throws -> CrashModel {
        var state = CrashModel()
        state.number = Int(try text(client.call("GET", key("n"))) ?? "0") ?? -1
        state.list = try texts(client.call("LRANGE", key("l"), "0", "-1"))
        state.list2 = try texts(client.call("LRANGE", key("l2"), "0", "-1"))
        state.appended = try text(client.call("GET", key("a"))) ?? ""
        state.expiring = try text(client.call("GET", key("e")))
        if case .integer(let seconds) = client.call("TTL", key("e")) {
            state.hasDeadline = seconds > 0
        }
        state.pair = try ["p0", "p1"].map { try text(client.call("GET", key($0))) }
        state.hash = pairs(try texts(client.call("HGETALL", key("h"))))
        state.scores = pairs(
            try texts(client.call("ZRANGE", key("z"), "0", "-1", "WITHSCORES")))
        // The counts must agree with what is there.
        #expect(client.call("LLEN", key("l")) == .integer(state.list.count))
        #expect(client.call("HLEN", key("h")) == .integer(state.hash.count))
        #expect(client.call("ZCARD", key("z")) == .integer(state.scores.count))
        return state
    }

    private func text(_ reply: BlockingClient.Reply?) throws -> String? {
        guard case .bulk(let text) = reply else {
            throw ProcessFailure(text: "unexpected reply \(String(describing: reply))")
        }
        return text
    }

    private func texts(_ reply: BlockingClient.Reply?) throws -> [String] {
        guard case .array(let elements?) = reply else {
            throw ProcessFailure(text: "unexpected reply \(String(describing: reply))")
        }
        return try elements.map { try text($0) ?? "" }
    }

    private func pairs(_ texts: [String]) -> [String: Int] {
        var pairs: [String: Int] = [:]
        for index in stride(from: 0, to: texts.count - 1, by: 2) {
            pairs[texts[index]] = Int(texts[index + 1]) ?? -1
        }
        return pairs
    }
}
