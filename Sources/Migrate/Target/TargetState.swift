internal import MigrateCore
internal import RedisSync

/// What the tool keeps in the target: the lock, the markers, the last checkpoint.
struct TargetState: Sendable {
    let server: TargetServer
    let connection: RedisConnection
    /// Number of this run.
    var epoch: UInt64 = 0

    private var lockKey: [UInt8] { Marker.lockKey(job: self.server.job) }
    private var lowKey: [UInt8] {
        KeyFilter.reservedPrefix + Array("\(self.server.job):low".utf8)
    }

    /// The number of the run that holds the target; nil = none ever did.
    func lockEpoch() async throws(RunError) -> UInt64? {
        try await TargetServer.select(self.connection, 0)
        let reply = try await TargetServer.send(self.connection, [Array("GET".utf8), self.lockKey])
        if case .null = reply { return nil }
        guard let text = reply.text else { throw TargetServer.error(reply, "GET") }
        return UInt64(text)
    }

    /// Takes the target over.
    func lock(epoch: UInt64) async throws(RunError) {
        try await self.set(self.lockKey, Array("\(epoch)".utf8))
    }

    /// Keeps the position that the file is about to have.
    func keepLow(_ position: SourcePosition, epoch: UInt64) async throws(RunError) {
        try await self.set(
            self.lowKey, Marker(epoch: epoch, position: position, horizon: nil).encode())
    }

    /// The position kept last.
    func low() async throws(RunError) -> SourcePosition? {
        try await TargetServer.select(self.connection, 0)
        let reply = try await TargetServer.send(self.connection, [Array("GET".utf8), self.lowKey])
        guard let bytes = reply.bytes else { return nil }
        return (try? Marker(decoding: bytes))?.position
    }

    private func set(_ key: [UInt8], _ value: [UInt8]) async throws(RunError) {
        try await TargetServer.select(self.connection, 0)
        let reply = try await TargetServer.send(self.connection, [Array("SET".utf8), key, value])
        if reply.failure != nil { throw TargetServer.error(reply, "SET") }
    }

    /// Whether a copy of a two-way job has brought keys.
    func hasCopyMark() async throws(RunError) -> Bool {
        let key = Marker.copyKey(job: self.server.job)
        for database in 0..<self.server.capabilities.databases {
            try await TargetServer.select(self.connection, database)
            let reply = try await TargetServer.send(self.connection, [Array("EXISTS".utf8), key])
            guard let count = reply.number else { throw TargetServer.error(reply, "EXISTS") }
            if count > 0 { return true }
        }
        return false
    }

    /// All workers' markers by database.
    func markers(
        workers: Int, databases: [Int]
    ) async throws(RunError) -> [Int: [Int: Marker]] {
        var found: [Int: [Int: Marker]] = [:]
        for database in databases {
            try await TargetServer.select(self.connection, database)
            for worker in 0..<workers {
                let key = Marker.key(job: self.server.job, worker: worker)
                let reply = try await TargetServer.send(
                    self.connection, [Array("GET".utf8), key])
                if let failure = reply.failure {
                    throw TargetServer.error(.error(failure), "GET")
                }
                guard let bytes = reply.bytes else { continue }
                guard let marker = try? Marker(decoding: bytes) else {
                    throw .history("the target's marker of worker \(worker) is damaged")
                }
                found[database, default: [:]][worker] = marker
            }
        }
        return found
    }

    /// Removes all markers: a new copy begins a new count.
    func removeMarkers(workers: Int, databases: [Int]) async throws(RunError) {
        for database in databases {
            try await TargetServer.select(self.connection, database)
            let keys = (0..<workers).map { Marker.key(job: self.server.job, worker: $0) }
            let reply = try await TargetServer.send(self.connection, [Array("DEL".utf8)] + keys)
            if reply.failure != nil { throw TargetServer.error(reply, "DEL") }
        }
    }

    /// Calls `body` with pages of the names in a database, without our own.
    func scan(
        database: Int, _ body: ([[UInt8]]) async throws(RunError) -> Bool
    ) async throws(RunError) {
        try await TargetServer.select(self.connection, database)
        let connection = self.connection
        if self.server.capabilities.product == .codis {
            return try await Self.scanSlots(connection, body)
        }
        _ = try await TargetServer.scan(body) { words async throws(RunError) in
            try await TargetServer.send(connection, words)
        }
    }

    /// Slots of a Codis.
    private static let codisSlots = 1_024

    /// A proxy has no `SCAN`: slot by slot.
    private static func scanSlots(
        _ connection: RedisConnection, _ body: ([[UInt8]]) async throws(RunError) -> Bool
    ) async throws(RunError) {
        for slot in 0..<Self.codisSlots {
            let isWanted = try await TargetServer.scan(body) { words async throws(RunError) in
                let slotWords = [Array("SLOTSSCAN".utf8), Array("\(slot)".utf8)]
                return try await TargetServer.send(connection, slotWords + words.dropFirst())
            }
            guard isWanted else { return }
        }
    }

    /// A proxy has no `FLUSHDB`: page by page.
    private func removeAll() async throws(RunError) {
        let connection = self.connection
        try await self.scan(database: 0) { keys throws(RunError) in
            guard !keys.isEmpty else { return true }
            let reply = try await TargetServer.send(connection, [Array("DEL".utf8)] + keys)
            if reply.failure != nil { throw TargetServer.error(reply, "DEL") }
            return true
        }
    }

    /// Empties a database and waits until it is empty: a Pika does it in the background.
    func flush(database: Int) async throws(RunError) {
        if self.server.capabilities.product == .codis { return try await self.removeAll() }
        try await TargetServer.select(self.connection, database)
        let reply = try await TargetServer.send(self.connection, [Array("FLUSHDB".utf8)])
        if reply.failure != nil { throw TargetServer.error(reply, "FLUSHDB") }
        while try await self.hasKeys(database: database) {
            try? await Task.sleep(for: .milliseconds(50))
            if Task.isCancelled { throw .stopped }
        }
    }

    /// Empties a database for a `FLUSHDB` of the source, and leaves markers that say so.
    ///
    /// No worker may be at work.
    func empty(database: Int, workers: Int, end: SourcePosition) async throws(RunError) {
        var words: [[[UInt8]]] = []
        let marker = Marker(epoch: self.epoch, position: end, horizon: nil).encode()
        for worker in 0..<workers {
            words.append([
                Array("SET".utf8), Marker.key(job: self.server.job, worker: worker), marker,
            ])
        }
        if database == 0 {
            words.append([Array("SET".utf8), self.lockKey, Array("\(self.epoch)".utf8)])
            words.append([Array("SET".utf8), self.lowKey, marker])
        }
        if self.server.capabilities.product == .redis {
            // Both or neither, at once.
            words =
                [[Array("MULTI".utf8)], [Array("FLUSHDB".utf8)]] + words + [[Array("EXEC".utf8)]]
        } else {
            try await self.flush(database: database)
        }
        try await TargetServer.select(self.connection, database)
        for request in words {
            let reply = try await TargetServer.send(self.connection, request)
            if reply.failure != nil { throw TargetServer.error(reply, "FLUSHDB") }
        }
    }
}

extension TargetServer {
    /// Calls `body` with pages of a server's names, without our own, until it wants no more.
    ///
    /// - Parameter send: Carries out one `SCAN`.
    /// - Returns: Whether `body` wants more.
    static func scan(
        _ body: ([[UInt8]]) async throws(RunError) -> Bool,
        _ send: ([[UInt8]]) async throws(RunError) -> RedisReply
    ) async throws(RunError) -> Bool {
        var cursor = Array("0".utf8)
        repeat {
            let reply = try await send(
                [Array("SCAN".utf8), cursor, Array("COUNT".utf8), Array("1000".utf8)])
            guard let parts = reply.elements, parts.count == 2, let next = parts[0].bytes,
                let names = parts[1].elements
            else { throw TargetServer.error(reply, "SCAN") }
            let keys = names.compactMap(\.bytes)
                .filter { !$0.starts(with: KeyFilter.reservedPrefix) }
            guard try await body(keys) else { return false }
            cursor = next
        } while cursor != Array("0".utf8)
        return true
    }
}
