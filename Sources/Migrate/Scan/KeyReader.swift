internal import MigrateCore
internal import RedisSync

/// Reads many keys of a Redis at one instant.
///
/// Sizes are asked for first, so that a transaction stays small; what is large is read by itself.
actor KeyReader {
    /// One transaction reads at most so many elements, or bytes of strings.
    static let maxElements = 8_192
    static let maxStringBytes = 4 << 20

    /// Keys as they were at one place of the stream.
    struct Page: Sendable {
        var values: [(key: [UInt8], values: [RefreshedValue])] = []
        /// The highest place that any of it was read at.
        var offset: UInt64 = 0
    }

    private let connect: @Sendable () async throws(RedisConnectionError) -> RedisConnection
    private let single: RedisRefresh
    private var connection: RedisConnection?

    init(
        connect: @escaping @Sendable () async throws(RedisConnectionError) -> RedisConnection
    ) {
        self.connect = connect
        self.single = RedisRefresh(connect: connect)
    }

    func close() async {
        self.connection?.close()
        self.connection = nil
        await self.single.close()
    }

    /// Sends requests and returns their replies; an error among them is thrown.
    func exchange(_ requests: [[[UInt8]]]) async throws(SourceError) -> [RedisReply] {
        do throws(RedisConnectionError) {
            let connection: RedisConnection
            if let open = self.connection {
                connection = open
            } else {
                connection = try await self.connect()
                self.connection = connection
            }
            let replies = try await connection.send(requests: requests)
            for reply in replies {
                guard let failure = reply.failure else { continue }
                let isRight = ["NOAUTH", "NOPERM", "WRONGPASS"].contains { failure.hasPrefix($0) }
                throw isRight ? RedisConnectionError.untrusted(failure) : .lost(failure)
            }
            return replies
        } catch {
            self.connection = nil
            if case .untrusted(let text) = error { throw .refused(text) }
            throw .io("reading of the source failed: \(error)")
        }
    }

    private static let counters: [String: String] = [
        "string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN",
    ]

    private static func reading(_ key: [UInt8], _ kind: String) -> [[UInt8]] {
        switch kind {
        case "string": [Array("GET".utf8), key]
        case "list": [Array("LRANGE".utf8), key] + RedisRefresh.words("0", "-1")
        case "set": [Array("SMEMBERS".utf8), key]
        case "zset": [Array("ZRANGE".utf8), key] + RedisRefresh.words("0", "-1", "WITHSCORES")
        case "hash": [Array("HGETALL".utf8), key]
        default: [Array("EXISTS".utf8), key]
        }
    }

    /// Reads keys of one database.
    func read(_ database: Int, _ keys: [[UInt8]]) async throws(SourceError) -> Page {
        let select = RedisRefresh.words("SELECT", String(database))
        let kinds = try await self.exchange([select] + keys.map { [Array("TYPE".utf8), $0] })
            .dropFirst().map { $0.text ?? "none" }
        let sizes = try await self.exchange(
            zip(keys, kinds).map { key, kind in
                [Array((Self.counters[kind] ?? "EXISTS").utf8), key]
            }
        ).map { Int($0.number ?? 0) }
        var page = Page()
        var group: [(key: [UInt8], kind: String)] = []
        var elements = 0
        var bytes = 0
        for (index, key) in keys.enumerated() {
            let isString = kinds[index] == "string"
            guard sizes[index] <= (isString ? Self.maxStringBytes : Self.maxElements) else {
                try await self.readAlone(database, key, into: &page)
                continue
            }
            elements += isString ? 1 : sizes[index]
            bytes += isString ? sizes[index] : 0
            group.append((key, kinds[index]))
            if elements >= Self.maxElements || bytes >= Self.maxStringBytes {
                try await self.read(database, group, into: &page)
                group = []
                elements = 0
                bytes = 0
            }
        }
        if !group.isEmpty { try await self.read(database, group, into: &page) }
        return page
    }

    private func readAlone(
        _ database: Int, _ key: [UInt8], into page: inout Page
    ) async throws(SourceError) {
        let read = try await self.single.read(database: database, key: key)
        page.values.append((key, read.values))
        if case .redis(let position) = read.position {
            page.offset = max(page.offset, position.offset)
        }
    }

    private func read(
        _ database: Int, _ group: [(key: [UInt8], kind: String)], into page: inout Page
    ) async throws(SourceError) {
        var requests = [
            RedisRefresh.words("SELECT", String(database)), RedisRefresh.words("MULTI"),
            RedisRefresh.words("TIME"), RedisRefresh.words("INFO", "replication"),
        ]
        for (key, kind) in group {
            requests.append([Array("TYPE".utf8), key])
            requests.append([Array("PTTL".utf8), key])
            requests.append(Self.reading(key, kind))
        }
        requests.append(RedisRefresh.words("EXEC"))
        let replies = try await self.exchange(requests)
        guard let results = replies.last?.elements, results.count == 2 + 3 * group.count,
            let time = results[0].elements, let seconds = time.first?.number,
            let micros = time.last?.number,
            let offset = results[1].text.flatMap({ RedisInfo($0)["master_repl_offset"] })
                .flatMap({ UInt64($0) })
        else { throw .corrupt("the source's answer to a transaction makes no sense") }
        page.offset = max(page.offset, offset)
        for (index, (key, kind)) in group.enumerated() {
            let at = 2 + 3 * index
            guard results[at].text == kind else {
                try await self.readAlone(database, key, into: &page)
                continue
            }
            guard kind != "none" else {
                page.values.append((key, []))
                continue
            }
            var deadline: Int64?
            if let left = results[at + 1].number, left >= 0 {
                deadline = seconds * 1_000 + micros / 1_000 + left
            }
            let value = try RedisRefresh.value(database, key, kind, results[at + 2], deadline)
            page.values.append((key, [value]))
        }
    }
}
