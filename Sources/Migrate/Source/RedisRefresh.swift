internal import MigrateCore
internal import NIOCore
internal import RedisSync

/// Reads one key of a Redis at one instant: values, deadline and offset in one transaction.
///
/// Nothing of it is propagated. One connection, one request at a time.
actor RedisRefresh {
    /// The largest value that is read at once, in elements or bytes of a string.
    static let maxElements = 1_000_000
    static let maxStringBytes = 512 << 20
    /// Tries while the key's type changes.
    static let maxTries = 8

    private let connect: @Sendable () async throws(RedisConnectionError) -> RedisConnection
    private var connection: RedisConnection?

    init(
        connect: @escaping @Sendable () async throws(RedisConnectionError) -> RedisConnection
    ) {
        self.connect = connect
    }

    func close() {
        self.connection?.close()
        self.connection = nil
    }

    /// The server's INFO, of one section.
    func info(_ section: String) async throws(RedisConnectionError) -> RedisInfo {
        let reply = try await self.send([["INFO", section].map { Array($0.utf8) }])
        guard let text = reply.first?.text else {
            throw .lost(reply.first?.failure ?? "INFO has no reply")
        }
        return RedisInfo(text)
    }

    /// The key with everything up to the position, and nothing behind it.
    func read(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        for _ in 0..<Self.maxTries {
            let kind = try await self.kind(database, key)
            if let found = try await self.read(database, key, kind) { return found }
        }
        throw .io("the type of a key changed with each try to read it")
    }

    private func kind(_ database: Int, _ key: [UInt8]) async throws(SourceError) -> String {
        let replies = try await self.exchange([
            Self.words("SELECT", String(database)), [Array("TYPE".utf8), key],
        ])
        try Self.check(replies)
        let kind = replies[1].text ?? "none"
        let counter: String? =
            switch kind {
            case "string": "STRLEN"
            case "list": "LLEN"
            case "set": "SCARD"
            case "zset": "ZCARD"
            case "hash": "HLEN"
            default: nil
            }
        guard let counter else { return kind }
        let size = try await self.exchange([[Array(counter.utf8), key]])
        let limit = kind == "string" ? Self.maxStringBytes : Self.maxElements
        if let count = size[0].number, count > limit {
            throw .keyTooLarge(database: database, key: key, limitBytes: limit)
        }
        return kind
    }

    /// nil = the type is another one by now.
    private func read(
        _ database: Int, _ key: [UInt8], _ kind: String
    ) async throws(SourceError) -> RefreshedKey? {
        let reading: [[UInt8]] =
            switch kind {
            case "string": [Array("GET".utf8), key]
            case "list": [Array("LRANGE".utf8), key] + Self.words("0", "-1")
            case "set": [Array("SMEMBERS".utf8), key]
            case "zset": [Array("ZRANGE".utf8), key] + Self.words("0", "-1", "WITHSCORES")
            case "hash": [Array("HGETALL".utf8), key]
            default: [Array("EXISTS".utf8), key]
            }
        let replies = try await self.exchange([
            Self.words("SELECT", String(database)), Self.words("MULTI"),
            [Array("TYPE".utf8), key], [Array("PTTL".utf8), key], Self.words("TIME"), reading,
            Self.words("INFO", "replication"), Self.words("EXEC"),
        ])
        try Self.check(replies)
        guard let results = replies.last?.elements, results.count == 5,
            let info = results[4].text.map({ RedisInfo($0) }),
            let offset = info["master_repl_offset"].flatMap({ UInt64($0) })
        else { throw .corrupt("the source's answer to a transaction makes no sense") }
        guard results[0].text == kind else { return nil }
        let position = RedisPosition(
            replicationID: info["master_replid"] ?? "", offset: offset, database: database)
        var values: [RefreshedValue] = []
        if kind != "none" {
            var deadline: Int64?
            if let left = results[1].number, left >= 0, let time = results[2].elements,
                let seconds = time.first?.number, let micros = time.last?.number
            {
                deadline = seconds * 1_000 + micros / 1_000 + left
            }
            values = [try Self.value(database, key, kind, results[3], deadline)]
        }
        return RefreshedKey(position: .redis(position), values: values)
    }

    static func value(
        _ database: Int, _ key: [UInt8], _ kind: String, _ reply: RedisReply, _ deadline: Int64?
    ) throws(SourceError) -> RefreshedValue {
        let kinds: [String: KeyKind] = [
            "string": .string, "list": .list, "set": .set, "zset": .sortedSet, "hash": .hash,
            "stream": .stream,
        ]
        let head = KeyHead(
            database: database, name: key, kind: kinds[kind] ?? .module,
            deadlineMilliseconds: deadline, moduleName: kinds[kind] == nil ? kind : "")
        guard head.kind != .stream, head.kind != .module else {
            return RefreshedValue(head: head, chunks: [])
        }
        if let failure = reply.failure { throw .refused(failure) }
        let texts = (reply.elements ?? [reply]).map { $0.bytes ?? [] }
        return RefreshedValue(head: head, chunks: try ChunkBuilder.chunks(texts, head.kind))
    }

    // MARK: - Exchange

    private func exchange(_ requests: [[[UInt8]]]) async throws(SourceError) -> [RedisReply] {
        do throws(RedisConnectionError) {
            return try await self.send(requests)
        } catch {
            throw .unreachable("reading failed: \(error)")
        }
    }

    /// Sends; once more over a new connection if the old one is gone.
    private func send(_ requests: [[[UInt8]]]) async throws(RedisConnectionError) -> [RedisReply] {
        if let connection = self.connection {
            do throws(RedisConnectionError) {
                return try await connection.send(requests: requests)
            } catch { self.connection = nil }
        }
        let connection = try await self.connect()
        self.connection = connection
        return try await connection.send(requests: requests)
    }

    private static func check(_ replies: [RedisReply]) throws(SourceError) {
        for reply in replies {
            guard let failure = reply.failure else { continue }
            let isRight = ["NOAUTH", "NOPERM", "WRONGPASS"].contains { failure.hasPrefix($0) }
            throw isRight ? .refused(failure) : .io("the source refused a read: \(failure)")
        }
    }

    static func words(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }
}

/// Packs texts into chunks of limited size.
enum ChunkBuilder {
    /// - Parameter texts: as `GET`, `LRANGE`, `SMEMBERS`, `HGETALL`, `ZRANGE … WITHSCORES` answer.
    static func chunks(
        _ texts: [[UInt8]], _ kind: KeyKind
    ) throws(SourceError) -> [ElementChunk] {
        var chunks: [ElementChunk] = []
        var chunk = ElementChunk()
        var elements = 0
        let step = kind == .sortedSet || kind == .hash ? 2 : 1
        for index in stride(from: 0, to: texts.count - step + 1, by: step) {
            chunk.append(texts[index])
            if kind == .hash { chunk.append(texts[index + 1]) }
            if kind == .sortedSet {
                guard let score = Self.score(texts[index + 1]) else {
                    throw .corrupt("a score of the source is no number")
                }
                chunk.scores.append(score)
            }
            elements += 1
            if elements == ElementChunk.maxElements || chunk.bytes.count >= ElementChunk.maxBytes {
                chunks.append(chunk)
                chunk = ElementChunk()
                elements = 0
            }
        }
        if elements > 0 { chunks.append(chunk) }
        return chunks
    }

    static func score(_ text: [UInt8]) -> Double? { Double(String(decoding: text, as: UTF8.self)) }
}
