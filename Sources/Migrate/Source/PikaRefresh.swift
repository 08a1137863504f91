internal import Binlog
internal import Keyspace
internal import MigrateCore
internal import NIOPosix
internal import RedisSync
internal import SyncProtocol

/// Reads of a Pika by client commands.
///
/// Its versions have no transactions that could tell value and position together: the log's end is
/// looked at before and after, and our copy of the log says whether the key was touched between.
actor PikaRefresh {
    static let maxElements = 1_000_000
    /// Tries before it is given up: only a key that is written all the time needs more than one.
    static let maxTries = 64
    /// How long our copy of the log may take to arrive where the source was.
    static let waitMilliseconds = 10_000

    /// What a server says about itself.
    struct Description {
        var description: String
        var replicationID: String
        var runID: String
        var databaseCount: Int
    }

    private let configuration: PikaSourceConfiguration
    private var connection: RedisConnection?

    init(_ configuration: PikaSourceConfiguration) { self.configuration = configuration }

    func close() {
        self.connection?.close()
        self.connection = nil
    }

    func describe() async throws(SourceError) -> Description {
        let replies = try await self.send([
            Self.words("INFO"), Self.words("CONFIG", "GET", "databases"),
        ])
        if let failure = replies[0].failure { throw .refused(failure) }
        let info = RedisInfo(replies[0].text ?? "")
        guard let version = info["pika_version"] else {
            throw .unsupported("the server does not say that it is a Pika")
        }
        let counted = info.names(with: "db").compactMap { name -> Int? in
            let digits = name.dropFirst(2).prefix { $0.isNumber }
            return Int(digits).map { $0 + 1 }
        }.max()
        let configured = replies[1].elements?.last?.number.map { Int(clamping: $0) }
        return Description(
            description: "pika \(version)", replicationID: info["replication_id"] ?? "",
            runID: info["run_id"] ?? "", databaseCount: configured ?? counted ?? 1)
    }

    func read(
        database: Int, key: [UInt8], in copy: Database, replicationID: String, runID: String
    ) async throws(SourceError) -> RefreshedKey {
        for _ in 0..<Self.maxTries {
            let before = try await self.logEnd(database)
            let values = try await self.values(database, key)
            let after = try await self.logEnd(database)
            guard try await self.isUntouched(key, in: copy, from: before, to: after) else {
                continue
            }
            let position = PikaLogPosition(
                fileNumber: after.fileNumber, offset: after.offset,
                digest: BinlogUnits.digest(of: copy.history, at: after))
            return RefreshedKey(
                position: .pika(
                    PikaPosition(
                        replicationID: replicationID, runID: runID,
                        databases: [database: position])),
                values: values)
        }
        throw .io("the key was written at each of \(Self.maxTries) tries to read it")
    }

    /// The end of a database's log, as INFO tells it: `db0 binlog_offset=3 4711,…`.
    private func logEnd(_ database: Int) async throws(SourceError) -> BinlogPosition {
        let reply = try await self.send([Self.words("INFO", "replication")])
        guard let position = Self.logEnd(reply[0].text ?? "", database: database) else {
            throw .corrupt("the source does not tell where the log of db\(database) ends")
        }
        return position
    }

    static func logEnd(_ info: String, database: Int) -> BinlogPosition? {
        for line in info.split(whereSeparator: \.isNewline) {
            guard line.hasPrefix("db\(database)"), let mark = line.firstRange(of: "binlog_offset=")
            else { continue }
            guard line.dropFirst("db\(database)".count).first?.isNumber != true else { continue }
            let numbers = line[mark.upperBound...].split { !$0.isNumber }
            guard numbers.count >= 2, let file = UInt32(numbers[0]), let offset = UInt64(numbers[1])
            else { return nil }
            return BinlogPosition(fileNumber: file, offset: offset)
        }
        return nil
    }

    /// Whether no item between the positions names the key; waits for our copy to have them.
    private func isUntouched(
        _ key: [UInt8], in copy: Database, from: BinlogPosition, to: BinlogPosition
    ) async throws(SourceError) -> Bool {
        var waited = 0
        while copy.received < to {
            guard waited < Self.waitMilliseconds else {
                throw .io("the copy of the log does not arrive at \(to)")
            }
            try? await Task.sleep(for: .milliseconds(5))
            waited += 5
        }
        guard from < to else { return true }
        var isTouched = false
        do throws(BinlogError) {
            let cursor = try copy.log.makeCursor(at: from)
            try cursor.next(upTo: to) { bytes, _, _ in
                let content = UnsafeRawBufferPointer(
                    rebasing: bytes[BinlogItemHeader.encodedSize...])
                guard let arguments = BinlogUnits.arguments(content) else {
                    isTouched = true
                    return .stopAfter
                }
                // Commands without arguments (FLUSHDB) touch every key.
                isTouched = arguments.count < 2 || arguments.dropFirst().contains(key)
                return isTouched ? .stopAfter : .next
            }
        } catch { return false }
        return !isTouched
    }

    /// All values under the name: up to five, in the order in which a copy brings them.
    private func values(
        _ database: Int, _ key: [UInt8]
    ) async throws(SourceError) -> [RefreshedValue] {
        let counters = ["GET", "LLEN", "SCARD", "ZCARD", "HLEN"]
        let heads = try await self.send(
            [Self.words("SELECT", String(database)), [Array("TTL".utf8), key]]
                + counters.map { [Array($0.utf8), key] })
        let now = self.configuration.wallClockMilliseconds()
        var deadline: Int64?
        if let left = heads[1].number, left >= 0 { deadline = now / 1_000 * 1_000 + left * 1_000 }
        var reads: [(String, [[UInt8]])] = []
        if heads[2].bytes != nil { reads.append(("string", [Array("GET".utf8), key])) }
        let readers: [(Int, String, [[UInt8]])] = [
            (6, "hash", [Array("HGETALL".utf8), key]),
            (3, "list", [Array("LRANGE".utf8), key] + Self.words("0", "-1")),
            (5, "zset", [Array("ZRANGE".utf8), key] + Self.words("0", "-1", "WITHSCORES")),
            (4, "set", [Array("SMEMBERS".utf8), key]),
        ]
        for (index, kind, request) in readers {
            guard let count = heads[index].number, count > 0 else { continue }
            guard count <= Self.maxElements else {
                throw .keyTooLarge(database: database, key: key, limitBytes: Self.maxElements)
            }
            reads.append((kind, request))
        }
        guard !reads.isEmpty else { return [] }
        let replies = try await self.send(reads.map(\.1))
        var values: [RefreshedValue] = []
        for (reply, read) in zip(replies, reads) {
            if case .null = reply { continue }
            values.append(try RedisRefresh.value(database, key, read.0, reply, deadline))
        }
        return values
    }

    private func send(_ requests: [[[UInt8]]]) async throws(SourceError) -> [RedisReply] {
        do throws(RedisConnectionError) {
            if let connection = self.connection {
                do throws(RedisConnectionError) {
                    return try await connection.send(requests: requests)
                } catch { self.connection = nil }
            }
            let connection = try await RedisConnection.connect(
                to: self.configuration.address, user: self.configuration.user,
                password: self.configuration.password(), tls: self.configuration.tls,
                group: MultiThreadedEventLoopGroup.singleton)
            self.connection = connection
            return try await connection.send(requests: requests)
        } catch { throw .unreachable("reading failed: \(error)") }
    }

    private static func words(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }
}
