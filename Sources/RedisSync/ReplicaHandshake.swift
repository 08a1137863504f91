/// What a replica says about itself, and what it asks for.
public struct ReplicaRequest: Sendable, Equatable {
    /// The user of `AUTH`; nil = the password alone, as servers before 6.0 want it.
    public var user: String?
    /// The password; nil = no `AUTH`.
    public var password: [UInt8]?
    /// What `INFO` and Sentinel are told; 0 = nothing listens.
    public var listeningPort: Int
    /// Whose history is wanted; nil = a full copy.
    public var replicationID: String?
    /// Offset of the last byte that is here; `PSYNC` asks for the one behind it.
    public var lastOffset: UInt64
    /// Whether a server without `PSYNC` is asked for a copy by `SYNC`: no offsets, no resumption.
    public var allowsSync: Bool

    /// A request for a full copy, or for what is behind `lastOffset`.
    public init(
        user: String? = nil, password: [UInt8]? = nil, listeningPort: Int = 0,
        replicationID: String? = nil, lastOffset: UInt64 = 0, allowsSync: Bool = false
    ) {
        self.user = user
        self.password = password
        self.listeningPort = listeningPort
        self.replicationID = replicationID
        self.lastOffset = lastOffset
        self.allowsSync = allowsSync
    }
}

/// Why a master does not serve.
public enum HandshakeError: Error, Sendable, Equatable {
    /// It will later: loading, without its own master, failing over. Try again with back-off.
    case transient(reply: String)
    /// Name or password is wrong or missing, or the user lacks a right: do not try again in a loop.
    case authentication(reply: String)
    /// It has no `PSYNC`, and `SYNC` was not allowed.
    case unsupported(reply: String)
    /// What it sent is no reply.
    case malformed(line: String)
    /// A line does not end within `ReplicaHandshake.maxLineBytes`.
    case lineTooLong
}

/// What a shell has to do, or may know.
public enum HandshakeEvent: Sendable, Equatable {
    /// Send these bytes.
    case send([UInt8])
    /// A snapshot follows, which holds everything up to `offset` of `replicationID`'s history; by
    /// `SYNC` neither is known.
    case fullSync(replicationID: String?, offset: UInt64)
    /// How the snapshot ends: after so many bytes, or (nil) before the mark.
    case snapshotStart(sizeBytes: UInt64?)
    /// Bytes of the snapshot.
    case snapshot([UInt8])
    /// The snapshot is complete.
    case snapshotEnd
    /// What follows is the stream behind `lastOffset`; a new ID is to be kept before anything else.
    case continued(newReplicationID: String?)
    /// Bytes of the stream, exactly: the first is at the offset after the snapshot's or `lastOffset`.
    case stream([UInt8])
}

/// A replica's side of Redis's replication, from the first byte to the stream, without I/O.
///
///     var machine = ReplicaHandshake(ReplicaRequest(…))
///     perform(machine.start())
///     for bytes in socket { perform(try machine.received(bytes)) }      // events in order
///     every second, whatever comes: send(ReplicaHandshake.acknowledgement(offset))
///
/// The acknowledgement each second matters: after a snapshot with a mark the stream begins only
/// with one that comes later than the end of the master's child.
public struct ReplicaHandshake: Sendable {
    /// Longest line of a reply, in bytes.
    public static let maxLineBytes = 64 * 1024
    /// Length of the mark behind a snapshot of unknown size, in bytes.
    public static let markBytes = 40

    private enum State: Sendable {
        case ping, authenticate, port, capabilities, synchronize
        case snapshotHead
        case sized(left: UInt64)
        case marked(MarkSearch)
        case stream
        case failed(HandshakeError)
    }

    private let request: ReplicaRequest
    private var state = State.ping
    private var input: [UInt8] = []
    private var triedSync = false

    /// A machine that has not begun.
    public init(_ request: ReplicaRequest) { self.request = request }

    /// What is to be sent first.
    public func start() -> [HandshakeEvent] { [.send(Self.encode(["PING"]))] }

    /// `REPLCONF ACK`: every byte up to `offset` is here.
    public static func acknowledgement(_ offset: UInt64) -> [UInt8] {
        Self.encode(["REPLCONF", "ACK", String(offset)])
    }

    /// Takes bytes of the master; after an error every call throws it again.
    public mutating func received(
        _ bytes: some Collection<UInt8>
    ) throws(HandshakeError) -> [HandshakeEvent] {
        if case .failed(let error) = self.state { throw error }
        var events: [HandshakeEvent] = []
        if self.input.isEmpty { self.input = Array(bytes) } else { self.input += bytes }
        do throws(HandshakeError) {
            while try self.step(&events) {}
        } catch {
            self.state = .failed(error)
            // What came before the error counts; the error comes with the next call.
            guard events.isEmpty else { return events }
            throw error
        }
        return events
    }

    /// One reply, or one piece; false if more bytes are needed.
    private mutating func step(_ events: inout [HandshakeEvent]) throws(HandshakeError) -> Bool {
        switch self.state {
        case .failed: return false
        case .stream: return self.passStream(&events)
        case .sized(let left): return self.passSized(left, &events)
        case .marked(let search): return self.passMarked(search, &events)
        case .ping, .authenticate, .port, .capabilities, .synchronize, .snapshotHead:
            guard let line = try self.takeLine() else { return false }
            // Bare line ends keep the link alive.
            if !line.isEmpty { try self.reply(line, &events) }
            return true
        }
    }

    private mutating func passStream(_ events: inout [HandshakeEvent]) -> Bool {
        guard !self.input.isEmpty else { return false }
        events.append(.stream(self.input))
        self.input = []
        return false
    }

    private mutating func passSized(_ left: UInt64, _ events: inout [HandshakeEvent]) -> Bool {
        let count = Int(min(left, UInt64(self.input.count)))
        if count > 0 { events.append(.snapshot(self.take(count))) }
        guard left == UInt64(count) else {
            self.state = .sized(left: left - UInt64(count))
            return false
        }
        events.append(.snapshotEnd)
        self.state = .stream
        return true
    }

    /// Passes on what can't be the mark's beginning.
    private mutating func passMarked(
        _ search: MarkSearch, _ events: inout [HandshakeEvent]
    ) -> Bool {
        let (at, isThere) = search.run(self.input)
        if at > 0 { events.append(.snapshot(self.take(at))) }
        guard isThere else { return false }
        events.append(.snapshotEnd)
        self.input.removeFirst(Self.markBytes)
        self.state = .stream
        return true
    }

    /// The first bytes of the input; only the rest, which is short mostly, is copied.
    private mutating func take(_ count: Int) -> [UInt8] {
        let rest = Array(self.input[count...])
        var taken = self.input
        self.input = rest
        taken.removeLast(taken.count - count)
        return taken
    }

    private mutating func takeLine() throws(HandshakeError) -> String? {
        guard let end = self.input.firstIndex(of: 10) else {
            guard self.input.count <= Self.maxLineBytes else { throw .lineTooLong }
            return nil
        }
        guard end <= Self.maxLineBytes else { throw .lineTooLong }
        var line = self.input[..<end]
        if line.last == 13 { line.removeLast() }
        let text = String(decoding: line, as: UTF8.self)
        self.input.removeFirst(end + 1)
        return text
    }

    // MARK: - Replies

    private mutating func reply(
        _ line: String, _ events: inout [HandshakeEvent]
    ) throws(HandshakeError) {
        switch self.state {
        case .ping:
            try Self.checkTransient(line)
            let isRefusal = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"]
                .contains { line.hasPrefix($0) }
            guard line.hasPrefix("+") || isRefusal else { throw .malformed(line: line) }
            guard let password = self.request.password else {
                return self.sendPort(&events)
            }
            self.state = .authenticate
            let user = self.request.user.map { [Array($0.utf8)] } ?? []
            events.append(.send(Self.encode(bytes: [Array("AUTH".utf8)] + user + [password])))
        case .authenticate:
            let isNeedless =
                line.contains("no password is set") || line.contains("without any pass")
            guard line.hasPrefix("+") || isNeedless else { throw .authentication(reply: line) }
            self.sendPort(&events)
        case .port:
            try Self.checkRight(line)
            self.state = .capabilities
            events.append(.send(Self.encode(["REPLCONF", "capa", "eof", "capa", "psync2"])))
        case .capabilities:
            try Self.checkRight(line)
            self.state = .synchronize
            var words = ["PSYNC", "?", "-1"]
            if let id = self.request.replicationID {
                words = ["PSYNC", id, String(self.request.lastOffset + 1)]
            }
            events.append(.send(Self.encode(words)))
        case .synchronize: try self.synchronized(line, &events)
        case .snapshotHead: try self.snapshotHead(line, &events)
        case .sized, .marked, .stream, .failed: break
        }
    }

    private mutating func sendPort(_ events: inout [HandshakeEvent]) {
        self.state = .port
        let port = String(self.request.listeningPort)
        events.append(.send(Self.encode(["REPLCONF", "listening-port", port])))
    }

    /// Errors of `REPLCONF` do not matter: old servers and proxies do not know all of it.
    private static func checkRight(_ line: String) throws(HandshakeError) {
        if line.hasPrefix("-NOAUTH") { throw .authentication(reply: line) }
        guard line.hasPrefix("+") || line.hasPrefix("-") else { throw .malformed(line: line) }
    }

    private static func checkTransient(_ line: String) throws(HandshakeError) {
        let words = [
            "-LOADING", "-NOMASTERLINK", "-MASTERDOWN", "-BUSY", "-TRYAGAIN",
            "while not connected with my master", "while failing over", "BGSAVE failed",
            "pending output",
        ]
        if line.hasPrefix("-"), words.contains(where: line.contains) {
            throw .transient(reply: line)
        }
    }

    private mutating func synchronized(
        _ line: String, _ events: inout [HandshakeEvent]
    ) throws(HandshakeError) {
        let words = line.split(separator: " ")
        if words.first == "+FULLRESYNC" {
            guard words.count == 3, let offset = UInt64(words[2]) else {
                throw .malformed(line: line)
            }
            events.append(.fullSync(replicationID: String(words[1]), offset: offset))
            self.state = .snapshotHead
        } else if words.first == "+CONTINUE" {
            events.append(.continued(newReplicationID: words.count > 1 ? String(words[1]) : nil))
            self.state = .stream
        } else if self.triedSync, line.hasPrefix("$") {
            try self.snapshotHead(line, &events)
        } else {
            try Self.checkTransient(line)
            if line.hasPrefix("-NOAUTH") || line.hasPrefix("-NOPERM") {
                throw .authentication(reply: line)
            }
            guard line.hasPrefix("-") else { throw .malformed(line: line) }
            guard self.request.allowsSync, !self.triedSync else { throw .unsupported(reply: line) }
            self.triedSync = true
            events.append(.send(Self.encode(["SYNC"])))
        }
    }

    private mutating func snapshotHead(
        _ line: String, _ events: inout [HandshakeEvent]
    ) throws(HandshakeError) {
        try Self.checkTransient(line)
        if self.triedSync { events.append(.fullSync(replicationID: nil, offset: 0)) }
        if line.hasPrefix("$EOF:") {
            let mark = Array(line.utf8.dropFirst(5))
            guard mark.count == Self.markBytes else { throw .malformed(line: line) }
            events.append(.snapshotStart(sizeBytes: nil))
            self.state = .marked(MarkSearch(mark))
        } else {
            guard line.hasPrefix("$"), let size = UInt64(line.dropFirst()) else {
                throw .malformed(line: line)
            }
            events.append(.snapshotStart(sizeBytes: size))
            self.state = .sized(left: size)
        }
    }

    // MARK: - Requests

    private static func encode(_ words: [String]) -> [UInt8] {
        Self.encode(bytes: words.map { Array($0.utf8) })
    }

    private static func encode(bytes words: [[UInt8]]) -> [UInt8] {
        var request = Array("*\(words.count)\r\n".utf8)
        for word in words { request += Array("$\(word.count)\r\n".utf8) + word + [13, 10] }
        return request
    }
}
