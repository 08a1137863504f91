import Binlog
import Commands
import FileIO
import Foundation
import Glibc
import Keyspace
import PikaStorage
import RESP
import SyncProtocol
import Synchronization

/// A server without a server: a keyspace in a temporary directory, and one command processor.
final class Harness {
    let directory: String
    let keyspace: Keyspace
    let services: StubServices
    let environment: CommandEnvironment
    let processor: CommandProcessor
    let client: ClientState
    let clock: TestClock

    /// The clock of the recorded load.
    static let fixtureSeconds: Int64 = 1_795_399_803

    init(
        databases: Int = 2, now: Int64 = Harness.fixtureSeconds, limits: RequestLimits = .init(),
        fileSystem: any FileSystem = RealFileSystem(), readAheadNanoseconds: Int? = nil,
        _ change: (inout KeyspaceConfiguration) -> Void = { _ in }
    ) throws {
        self.directory = try Self.makeDirectory()
        self.clock = TestClock(now)
        var configuration = KeyspaceConfiguration(
            databasePath: self.directory + "/db", logPath: self.directory + "/log",
            fileSystem: fileSystem,
            environment: StoreEnvironment(
                blockCacheBytes: 8 << 20, writeBufferBytes: 32 << 20))
        configuration.databaseCount = databases
        configuration.syncPolicy = .never
        let clock = self.clock
        configuration.wallClock = { clock.now }
        change(&configuration)
        self.keyspace = try Keyspace.open(configuration)
        self.services = StubServices()
        self.environment = CommandEnvironment(
            keyspace: self.keyspace, services: self.services, limits: limits,
            readAheadNanoseconds: readAheadNanoseconds)
        self.processor = CommandProcessor(environment: self.environment)
        self.client = Self.makeClient(id: 1)
        self.services.add(self.client.record)
    }

    /// Ends the keyspace; to be called at the end of each test.
    func close() {
        self.environment.shutDown()
        self.keyspace.close()
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    private static func makeDirectory() throws -> String {
        let path = NSTemporaryDirectory() + "commands-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    static func makeClient(id: UInt64) -> ClientState {
        ClientState(
            record: ClientRecord(
                id: id, address: "127.0.0.1:\(50_000 + id)", localAddress: "127.0.0.1:9221",
                descriptor: 8, createdSeconds: Self.fixtureSeconds))
    }

    // MARK: Running

    /// Sends bytes as one read burst, does what a connection's loop would, returns the output.
    ///
    /// What waits for elements stays in `waiting`, with the input behind it.
    func send(_ bytes: [UInt8], as client: ClientState? = nil) -> [UInt8] {
        let client = client ?? self.client
        var rest = bytes
        var output: [UInt8] = []
        while true {
            var result = rest.withUnsafeBytes { self.processor.process(client, $0) }
            if case .busy(let work) = result.next {
                self.poolCount += 1
                if let range = work.lentRange { work.lend(LentBytes(bytes: Array(rest[range]))) }
            }
            rest.removeFirst(result.consumed)
            output += Array(self.processor.output)
            self.processor.clearOutput()
            if case .busy(let work) = result.next {
                work.run()
                result = self.processor.finish(work, client)
                output += Array(self.processor.output)
                self.processor.clearOutput()
                if case .output(let long, let next) = result.next {
                    output += Array(long.bytes)
                    result.next = next
                }
                if case .readMore = result.next { continue }
            }
            switch result.next {
            case .readMore, .close: return output
            case .yield: self.yieldCount += 1
            case .gateClosed, .busy, .output: break
            case .postponed:
                self.postponed[client.record.id] = rest
                return output
            case .blocked(let blocked):
                self.waiting[client.record.id] = blocked.unread + rest
                self.woken.add(client.record.id, when: blocked.waiter)
                return output
            }
        }
    }

    /// How often work went to the slow pool.
    private(set) var poolCount = 0

    /// How often the loop let others have their turn.
    private(set) var yieldCount = 0

    /// Input of clients whose first request waits for its time.
    private(set) var postponed: [UInt64: [UInt8]] = [:]

    /// Lets a postponed client try again.
    func resume(_ client: ClientState? = nil) -> [Reply] {
        let client = client ?? self.client
        let input = self.postponed.removeValue(forKey: client.record.id) ?? []
        return Reply.parseAll(self.send(input, as: client))
    }

    /// Input of blocked clients, from the request that waits on.
    private(set) var waiting: [UInt64: [UInt8]] = [:]
    private let woken = WokenClients()

    /// Lets clients that were woken try again, in that order, until nobody is left; returns what
    /// each one got.
    func wake(_ clients: [ClientState]) -> [UInt64: [Reply]] {
        var replies: [UInt64: [Reply]] = [:]
        while let id = self.woken.next() {
            guard let client = clients.first(where: { $0.record.id == id }),
                let input = self.waiting.removeValue(forKey: id)
            else { continue }
            replies[id, default: []] += Reply.parseAll(self.send(input, as: client))
        }
        return replies
    }

    /// Sends inline requests, one a line, as one read burst; returns the replies.
    func replies(_ lines: String, as client: ClientState? = nil) -> [Reply] {
        Reply.parseAll(self.send(Array((lines + "\r\n").utf8), as: client))
    }

    /// Sends one request of any bytes.
    func run(_ words: [[UInt8]], as client: ClientState? = nil) -> Reply {
        Reply.parseAll(self.send(encode(words), as: client)).first ?? .none
    }

    /// Sends one inline request.
    func run(_ line: String, as client: ClientState? = nil) -> Reply {
        self.replies(line, as: client).first ?? .none
    }

    // MARK: Looking inside

    /// The contents of all items of a database's log, each as its strings.
    func items(_ database: Int = 0) throws -> [[[UInt8]]] {
        try self.rawItems(database).map(\.words)
    }

    struct Logged {
        var words: [[UInt8]]
        var itemsLeft: UInt32
    }

    func rawItems(_ database: Int = 0) throws -> [Logged] {
        var items: [Logged] = []
        let log = self.keyspace.databases[database].log
        let cursor = try log.makeCursor(at: .zero)
        let end = self.keyspace.databases[database].written
        while cursor.position < end {
            _ = try cursor.next(upTo: end, maxBytes: 1 << 20) { item, header, _ in
                let content = Array(item.dropFirst(BinlogItemHeader.encodedSize))
                items.append(
                    Logged(words: requests(content)[0], itemsLeft: header.itemsLeftInGroup))
                return .next
            }
        }
        return items
    }

    /// Items as text: words joined by blanks.
    func itemTexts(_ database: Int = 0) throws -> [String] {
        try self.items(database).map { words in
            words.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
        }
    }

    /// Every row of every family of every store, without the reserved one.
    func rows(_ database: Int = 0) throws -> [String: [UInt8]] {
        var rows: [String: [UInt8]] = [:]
        let reader = self.keyspace.databases[database].makeReader()
        for kind in StoreKind.allCases {
            for number in 0..<kind.familyCount {
                guard let family = Family(rawValue: UInt8(number)) else { continue }
                try reader[kind].scan(family, prefix: .none, from: nil) { key, value in
                    guard !AppliedRow.isReserved(key) else { return true }
                    rows["\(kind) \(family) \(Array(key))"] = Array(value)
                    return true
                }
            }
        }
        return rows
    }
}

/// Requests that a work reads where they are.
private struct LentBytes: LentRequests {
    let bytes: [UInt8]

    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) { bytes.withUnsafeBytes(body) }
}

/// Clients whose waiters were woken, in order.
final class WokenClients: Sendable {
    private let ids = Mutex<[UInt64]>([])

    func add(_ id: UInt64, when waiter: KeyWaiter) {
        waiter.whenWoken { [weak self] in self?.ids.withLock { $0.append(id) } }
    }

    func next() -> UInt64? { self.ids.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
}

/// A wall clock that tests move.
final class TestClock: Sendable {
    private let seconds: Atomic<Int64>

    init(_ now: Int64) { self.seconds = Atomic(now) }

    /// Seconds that pass between two readings.
    let jumpsPerRead = Atomic<Int64>(0)

    var now: Int64 {
        let jump = self.jumpsPerRead.load(ordering: .relaxed)
        return self.seconds.add(jump, ordering: .relaxed).newValue
    }

    func advance(_ by: Int64) { self.seconds.add(by, ordering: .relaxed) }
}

/// A server that remembers what it was asked for.
final class StubServices: ServerServices {
    private let state = Mutex(State())

    struct State {
        var clients: [ClientRecord] = []
        var killed: [UInt64] = []
        var calls: [String] = []
        var replicas = 0
        var delayed: [@Sendable () -> Void] = []
        var settings = ["maxclients": "20000", "timeout": "60"]
        var passwords: [String: AccessLevel] = [:]
    }

    func add(_ record: ClientRecord) { self.state.withLock { $0.clients.append(record) } }
    func setPassword(_ password: String, _ access: AccessLevel) {
        self.state.withLock { $0.passwords[password] = access }
    }
    var killed: [UInt64] { self.state.withLock { $0.killed } }
    var calls: [String] { self.state.withLock { $0.calls } }

    private func note(_ call: String) -> AdminReply {
        self.state.withLock { $0.calls.append(call) }
        return .ok
    }

    var role: ServerRole { .master }
    func authenticate(user: String?, password: UnsafeRawBufferPointer) -> AccessLevel? {
        let text = String(decoding: password, as: UTF8.self)
        return self.state.withLock { $0.passwords[text] }
    }
    func clients() -> [ClientRecord] { self.state.withLock { $0.clients } }
    func kill(clientIDs: [UInt64]) { self.state.withLock { $0.killed += clientIDs } }
    func info(sections: [String]) -> AdminReply {
        .text("# \(sections.joined(separator: ","))\r\n")
    }
    func configGet(patterns: [String]) -> [(name: String, value: String)] {
        self.state.withLock { state in
            state.settings.keys.sorted().filter { patterns.contains($0) || patterns.contains("*") }
                .map { ($0, state.settings[$0] ?? "") }
        }
    }
    func configSet(_ pairs: [(name: String, value: String)]) -> AdminReply {
        self.state.withLock { state in for pair in pairs { state.settings[pair.name] = pair.value }
        }
        return .ok
    }
    func configRewrite() -> AdminReply { self.note("rewrite") }
    func configResetStatistics() -> AdminReply { self.note("resetstat") }
    func slaveOf(host: String, port: Int, force: Bool) -> AdminReply {
        self.note("slaveof \(host) \(port) \(force)")
    }
    func slaveOfNoOne(force: Bool) -> AdminReply { self.note("slaveof no one \(force)") }
    func dbSlaveOf(_ arguments: [String]) -> AdminReply {
        self.note("dbslaveof " + arguments.joined(separator: " "))
    }
    func backgroundSave(databases: [Int]) -> AdminReply {
        _ = self.note("bgsave \(databases)")
        return .simple("Background saving started")
    }
    func save(databases: [Int]) -> AdminReply { self.note("save \(databases)") }
    func compact(databases: [Int], kinds: StoreKinds) -> AdminReply {
        self.note("compact \(databases) \(kinds.rawValue)")
    }
    func purgeLogs(to fileNumber: UInt32, database: Int) -> AdminReply {
        self.note("purge \(fileNumber) \(database)")
    }
    func diskRecovery() -> AdminReply { self.note("recover") }
    func keyCount(database: Int) -> Int64 { 42 }
    func replicaCount(database: Int, having position: BinlogPosition) -> Int {
        self.state.withLock { $0.replicas }
    }
    func after(milliseconds: Int64, _ body: @escaping @Sendable () -> Void) {
        _ = self.note("after \(milliseconds)")
        self.state.withLock { $0.delayed.append(body) }
    }
    func setReplicas(_ count: Int) { self.state.withLock { $0.replicas = count } }
    /// Lets the time come for which bodies wait.
    func runDelayed() {
        let bodies = self.state.withLock { state in
            defer { state.delayed = [] }
            return state.delayed
        }
        for body in bodies { body() }
    }
    func noteSlow(command: String, microseconds: Int64, client: ClientRecord) {
        _ = self.note("slow \(command)")
    }
    func shutdown(client: ClientRecord) -> AdminReply? {
        _ = self.note("shutdown")
        return nil
    }
}

// MARK: - Requests and replies

func encode(_ words: [[UInt8]]) -> [UInt8] {
    var bytes = Array("*\(words.count)\r\n".utf8)
    for word in words { bytes += Array("$\(word.count)\r\n".utf8) + word + [0x0d, 0x0a] }
    return bytes
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Splits concatenated requests.
func requests(_ input: [UInt8]) -> [[[UInt8]]] {
    var parser = RequestParser()
    var all: [[[UInt8]]] = []
    input.withUnsafeBytes { raw in
        var position = 0
        while case .request(let end) = parser.parse(raw, from: position, authenticated: true) {
            all.append(parser.arguments.map { Array($0) })
            position = end
        }
    }
    return all
}

/// The requests of a fixture file.
func fixture(_ name: String) throws -> [[[UInt8]]] {
    guard let url = Bundle.module.url(forResource: "Fixtures/" + name, withExtension: nil) else {
        throw CocoaError(.fileNoSuchFile)
    }
    return requests([UInt8](try Data(contentsOf: url)))
}

/// A reply, with a short text form for expectations.
///
/// `+OK`, `-ERR …`, `:1`, `"bulk"`, `nil`, `[a, b]`, `{k: v}` (map), `~[a]` (set), `,1.5` (double),
/// `#t`, `=txt:…`.
indirect enum Reply: Equatable, CustomStringConvertible {
    case simple(String), error(String), integer(Int64), bulk([UInt8]), null
    case array([Reply]), map([Reply]), set([Reply]), double(String), boolean(Bool)
    case verbatim([UInt8])
    /// No reply at all.
    case none

    var description: String {
        switch self {
        case .simple(let text): "+\(text)"
        case .error(let text): "-\(text)"
        case .integer(let value): ":\(value)"
        case .bulk(let bytes): "\"\(String(decoding: bytes, as: UTF8.self))\""
        case .null: "nil"
        case .array(let list): "[" + list.map(\.description).joined(separator: ", ") + "]"
        case .set(let list): "~[" + list.map(\.description).joined(separator: ", ") + "]"
        case .map(let list):
            "{"
                + stride(from: 0, to: list.count, by: 2)
                .map { "\(list[$0]): \(list[$0 + 1])" }.joined(separator: ", ") + "}"
        case .double(let text): ",\(text)"
        case .boolean(let value): value ? "#t" : "#f"
        case .verbatim(let bytes): "=\(String(decoding: bytes, as: UTF8.self))"
        case .none: "(none)"
        }
    }

    var elements: [Reply] {
        switch self {
        case .array(let list), .set(let list), .map(let list): list
        default: []
        }
    }

    var bulkBytes: [UInt8]? { if case .bulk(let bytes) = self { bytes } else { nil } }

    static func parseAll(_ bytes: [UInt8]) -> [Reply] {
        var parser = ReplyParser(bytes: bytes)
        var replies: [Reply] = []
        while parser.position < bytes.count { replies.append(parser.next()) }
        return replies
    }
}

struct ReplyParser {
    let bytes: [UInt8]
    var position = 0

    private mutating func line() -> String {
        let start = self.position
        while self.bytes[self.position] != 0x0d { self.position += 1 }
        defer { self.position += 2 }
        return String(decoding: self.bytes[start..<self.position], as: UTF8.self)
    }

    private mutating func block(_ count: Int) -> [UInt8] {
        defer { self.position += count + 2 }
        return Array(self.bytes[self.position..<self.position + count])
    }

    private mutating func list(_ count: Int) -> [Reply] {
        (0..<max(0, count)).map { _ in self.next() }
    }

    mutating func next() -> Reply {
        let type = self.bytes[self.position]
        self.position += 1
        let text = self.line()
        let number = Int(text) ?? 0
        switch type {
        case UInt8(ascii: "+"): return .simple(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"): return .integer(Int64(number))
        case UInt8(ascii: "$"): return number < 0 ? .null : .bulk(self.block(number))
        case UInt8(ascii: "*"): return number < 0 ? .null : .array(self.list(number))
        case UInt8(ascii: "%"): return .map(self.list(number * 2))
        case UInt8(ascii: "~"): return .set(self.list(number))
        case UInt8(ascii: ","): return .double(text)
        case UInt8(ascii: "#"): return .boolean(text == "t")
        case UInt8(ascii: "_"): return .null
        case UInt8(ascii: "="): return .verbatim(self.block(number))
        default: return .error("unreadable reply type \(type)")
        }
    }
}
