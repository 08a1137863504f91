import Binlog
import Foundation
import Keyspace
import NIOCore
import SyncProtocol
import Testing

@testable import Replication

/// Our master with a recorded master's log, and a socket that says what the recorded replica said.
final class RecordedMasterStand {
    private let conversation: RecordedVerdictTests.Conversation
    private var harness: MasterHarness
    private let directory: String
    private let socket: RawSocket
    private let requests: [ReplicationRequest]
    private var recorded: ArraySlice<DecodedReplicationResponse>
    private(set) var seenDeviations: Set<String> = []
    /// Our session for each recorded one.
    private var sessions: [String: SessionID] = [:]
    /// Items as the recording has them, and as ours sent them.
    private var expected: [String: [BinlogChip]] = [:]
    private var received: [String: [BinlogChip]] = [:]
    private var hellos = 0

    init(_ conversation: RecordedVerdictTests.Conversation) throws {
        self.conversation = conversation
        self.requests = try conversation.connections.flatMap { connection in
            // The recorder has one direction of some connections only.
            Traces.replicationConnections.contains(connection)
                ? try Traces.requests(connection) : []
        }
        let responses = try conversation.connections.flatMap { try Traces.responses($0) }
        self.recorded = responses[...]
        self.directory = MasterHarness.makeDirectory()
        var names: Set<String> = ["db0"]
        for case .control(.metaSync(let answer)) in responses {
            names.formUnion(answer.master?.databases.map(\.name) ?? [])
        }
        for case .batch(let batch) in responses { names.formUnion(batch.databases) }
        let (directory, password) = (self.directory, conversation.password)
        func makeHarness() throws -> MasterHarness {
            try MasterHarness(directory: directory, databases: names.count) {
                $0.requirePassword = password
            }
        }
        self.harness = try makeHarness()
        for name in names {
            let start =
                try conversation.start ?? Self.start(of: name, self.requests, responses)
            try Self.fill(self.harness.keyspace.databases[Self.index(of: name)], upTo: start)
        }
        if let first = conversation.purgedBefore {
            // Only what the stores have on their disk may be purged: a clean stop puts it there.
            self.harness.stop()
            self.harness = try makeHarness()
            let removed = try self.harness.keyspace.databases[0].purgeLog(
                policy: PurgePolicy(keepFileCount: 10, keepDays: 1), manualUpTo: first - 1,
                protectedFrom: nil)
            #expect(removed == Array(0..<first))
        }
        self.socket = try RawSocket(port: self.harness.port + 2_000)
    }

    func stop() {
        self.harness.stop()
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    static func index(of database: String) -> Int { Int(database.dropFirst(2)) ?? 0 }

    /// Where a database's log ends before the recording: the first position that is asked for or
    /// the start of the first item that is sent.
    private static func start(
        of name: String, _ requests: [ReplicationRequest], _ responses: [DecodedReplicationResponse]
    ) throws -> BinlogPosition {
        var positions: [BinlogPosition] = []
        for case .trySync(let request) in requests where request.database == name {
            positions.append(request.end.position)
        }
        for case .batch(let batch) in responses {
            for chip in batch.owned.chips where chip.database == name && !chip.isKeepAlive {
                let header = try chip.item.withUnsafeBytes { try BinlogItemHeader(item: $0) }
                positions.append(
                    BinlogPosition(fileNumber: header.fileNumber, offset: header.offset))
            }
        }
        return positions.min() ?? .zero
    }

    /// Brings an empty log to a position with items that mean nothing, one per file.
    private static func fill(_ database: Database, upTo end: BinlogPosition) throws {
        try database.becomeReplica()
        for number in 0..<(end.fileNumber + 1) {
            let size = number == end.fileNumber ? end.offset : 20_000
            if size > 0 { try self.append(self.filler(number, Int(size)), to: database) }
        }
    }

    /// An item that ends at `size` in a file, where it is the only one.
    private static func filler(_ number: UInt32, _ size: Int) -> BinlogChip {
        let recordHeaders = 8 * ((size + 65_535) / 65_536)
        var text = ""
        var padding = size
        while padding > 0 {
            text = "*2\r\n$7\r\nPADDING\r\n$\(padding)\r\n"
            let excess = 34 + text.utf8.count + padding + 2 + recordHeaders - size
            if excess <= 0 { break }
            padding -= excess
        }
        let content = Array(text.utf8) + [UInt8](repeating: 0x2E, count: padding) + [13, 10]
        var item: [UInt8] = []
        func put<Value: FixedWidthInteger>(_ value: Value) {
            withUnsafeBytes(of: value.littleEndian) { item += $0 }
        }
        put(UInt16(1))
        put(UInt32(1_795_000_000))
        put(UInt32(0))
        put(UInt64(number) + 1)
        put(number)
        put(UInt64(0))
        put(UInt32(content.count))
        return BinlogChip(
            database: "",
            end: BinlogOffset(BinlogPosition(fileNumber: number, offset: UInt64(size))),
            item: item + content, session: SessionID(rawValue: 0))
    }

    private static func append(_ chip: BinlogChip, to database: Database) throws {
        try chip.item.withUnsafeBytes { bytes in
            let item = ReceivedItem(bytes: bytes, end: chip.end.position)
            try withUnsafePointer(to: item) {
                try database.appendReceived(UnsafeBufferPointer(start: $0, count: 1))
            }
        }
    }

    // MARK: The conversation

    func play() throws {
        for request in self.requests { try self.take(request) }
        // What the replica did not live to acknowledge.
        while let response = self.recorded.popFirst() {
            if case .batch(let batch) = response { try self.expect(batch.owned) }
        }
        for (name, chips) in self.expected { try self.compare(chips, of: name) }
    }

    private func take(_ request: ReplicationRequest) throws {
        switch request {
        case .binlogSync(var ack):
            guard let session = self.sessions[Self.key(ack.database, ack.session)] else { return }
            if !ack.isFirst, !ack.isPing {
                try self.advance {
                    (self.expected[ack.database]?.last?.end.position ?? .zero) >= ack.end.position
                }
            }
            let recorded = ack.session
            ack.session = session
            self.socket.send(.binlogSync(ack))
            if ack.isFirst, let lost = self.conversation.lost, lost.session == recorded {
                try self.expectLost(lost)
            }
        case .metaSync, .trySync, .dbSync, .removeReplica:
            guard let answer = try self.advanceToAnswer(of: request) else { return }
            if case .trySync(let answer) = answer { try self.write(upTo: answer.verdict) }
            self.socket.send(request)
            try self.compare(answer, try self.control(), request)
        }
    }

    private static func key(_ database: String, _ session: SessionID) -> String {
        "\(database) \(session)"
    }

    /// Plays recorded items until a condition holds.
    private func advance(_ isThere: () -> Bool) throws {
        var passed: [DecodedReplicationResponse] = []
        while !isThere(), let response = self.recorded.popFirst() {
            switch response {
            case .batch(let batch): try self.expect(batch.owned)
            case .control: passed.append(response)
            }
        }
        self.recorded = (passed + Array(self.recorded))[...]
    }

    /// Plays recorded items up to the answer to a request; nil where the recording ends before it.
    private func advanceToAnswer(
        of request: ReplicationRequest
    ) throws -> ReplicationResponse? {
        var passed: [DecodedReplicationResponse] = []
        while let response = self.recorded.popFirst() {
            switch response {
            case .batch(let batch): try self.expect(batch.owned)
            case .control(let control):
                if Self.answers(control, request) {
                    // Answers may come in another order than the requests.
                    self.recorded = (passed + Array(self.recorded))[...]
                    return control
                }
                passed.append(response)
            }
        }
        return nil
    }

    private static func answers(
        _ response: ReplicationResponse, _ request: ReplicationRequest
    ) -> Bool {
        switch (request, response) {
        case (.metaSync, .metaSync): true
        case (.trySync(let request), .trySync(let answer)):
            answer.verdict?.database == request.database
        case (.dbSync(let request), .dbSync(let answer)):
            answer.grant?.database == request.database
        case (.removeReplica(let request), .removeReplica(let answer)):
            answer.database == request.database
        default: false
        }
    }

    /// The real master sent these items now: they are in our log, and ours sends them too.
    private func expect(_ batch: BinlogSyncResponse) throws {
        #expect(batch.status == .ok)
        for chip in batch.chips where !chip.isKeepAlive {
            let name = chip.database
            let database = self.harness.keyspace.databases[Self.index(of: name)]
            if chip.end.position > database.received { try Self.append(chip, to: database) }
            self.expected[name, default: []].append(chip)
        }
        for (name, chips) in self.expected where self.isStreaming(name) {
            while (self.received[name]?.count ?? 0) < chips.count {
                do {
                    try self.readItems()
                } catch {
                    Issue.record(
                        """
                        \(name): item \(self.received[name]?.count ?? 0) of \(chips.count), \
                        \(String(describing: chips.last?.end)), does not come: \(error)
                        """)
                    throw error
                }
            }
        }
    }

    /// The real master forgot an item that it had queued for this session; ours sends it.
    private func expectLost(_ lost: RecordedVerdictTests.LostItem) throws {
        for case .batch(let batch) in self.recorded {
            for chip in batch.owned.chips where chip.end.position == lost.end {
                self.seenDeviations.insert("lost item")
                return try self.expect(BinlogSyncResponse(chips: [chip]))
            }
        }
    }

    /// What the real master's log held when it answered, and sent later.
    private func write(upTo verdict: TrySyncVerdict?) throws {
        guard let verdict, let end = verdict.masterEnd?.position else { return }
        let database = self.harness.keyspace.databases[Self.index(of: verdict.database)]
        for case .batch(let batch) in self.recorded {
            for chip in batch.owned.chips
            where chip.database == verdict.database && chip.end.position > database.received
                && chip.end.position <= end
            {
                try Self.append(chip, to: database)
            }
        }
    }

    /// Whether the recorded replica has a session of which we know ours.
    private func isStreaming(_ database: String) -> Bool {
        self.sessions.keys.contains { $0.hasPrefix(database + " ") }
    }

    private func readItems() throws {
        guard case .batch(let batch) = try self.socket.replication() else {
            Issue.record("an answer that nobody asked for")
            return
        }
        self.note(batch.owned)
    }

    private func note(_ batch: BinlogSyncResponse) {
        // A real Pika's frames: at most 100 items, no extension.
        #expect(batch.status == .ok)
        #expect((1...100).contains(batch.chips.count))
        #expect(batch.reply == nil && batch.durableEnd == nil)
        for chip in batch.chips where !chip.isKeepAlive {
            self.received[chip.database, default: []].append(chip)
        }
    }

    private func control() throws -> ReplicationResponse {
        while true {
            switch try self.socket.replication() {
            case .control(let response): return response
            case .batch(let batch): self.note(batch.owned)
            }
        }
    }

    // MARK: Comparing

    private func compare(_ chips: [BinlogChip], of database: String) throws {
        guard self.isStreaming(database) else { return }
        let received = self.received[database] ?? []
        #expect(received.map(\.end) == chips.map(\.end), "\(database)")
        #expect(received.map(\.item) == chips.map(\.item), "\(database)")
    }

    private func compare(
        _ recorded: ReplicationResponse, _ ours: ReplicationResponse, _ request: ReplicationRequest
    ) throws {
        switch (recorded, ours) {
        case (.metaSync(let recorded), .metaSync(let ours)):
            self.compare(recorded, ours)
        case (.trySync(let recorded), .trySync(let ours)):
            #expect(ours.status == recorded.status)
            #expect(ours.reply == recorded.reply)
            self.remember(
                recorded.verdict?.session, ours.verdict?.session, recorded.verdict?.database)
            var verdict = ours.verdict
            verdict?.session = recorded.verdict?.session
            #expect(verdict == recorded.verdict, "\(request)")
            #expect((ours.verdict?.session == nil) == (recorded.verdict?.session == nil))
        case (.dbSync(let recorded), .dbSync(let ours)):
            #expect(ours.status == recorded.status)
            #expect(ours.reply == recorded.reply)
            self.remember(recorded.grant?.session, ours.grant?.session, recorded.grant?.database)
            var grant = try #require(ours.grant)
            grant.session = try #require(recorded.grant).session
            #expect(grant == recorded.grant)
        case (.removeReplica(let recorded), .removeReplica(let ours)):
            #expect(ours.status == recorded.status)
            #expect(ours.reply == recorded.reply)
            #expect(ours.database == recorded.database)
            #expect(ours.master?.port == self.harness.port)
            if ours.master != recorded.master { self.seenDeviations.insert("own address") }
        default:
            Issue.record("another kind of answer: \(ours) for \(recorded)")
        }
    }

    private func compare(_ recorded: MetaSyncResponse, _ ours: MetaSyncResponse) {
        self.hellos += 1
        if self.hellos > 1, recorded.status == .other {
            #expect(recorded.reply == "Slave AlreadyExist")
            #expect(ours.status == .ok)
            self.seenDeviations.insert("hello again")
            return
        }
        #expect(ours.status == recorded.status)
        #expect(ours.reply == recorded.reply)
        if recorded.master?.replicationID == nil, ours.master?.replicationID != nil {
            self.seenDeviations.insert("replication id")
        }
        // Ids are each master's own.
        #expect((ours.master?.runID == nil) == (recorded.master?.runID == nil))
        var master = ours.master
        master?.runID = recorded.master?.runID
        master?.replicationID = recorded.master?.replicationID
        #expect(master == recorded.master)
    }

    private func remember(_ recorded: SessionID?, _ ours: SessionID?, _ database: String?) {
        guard let recorded, let ours, let database else { return }
        self.sessions[Self.key(database, recorded)] = ours
    }
}
