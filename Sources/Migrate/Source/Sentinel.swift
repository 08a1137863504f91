public import MigrateCore
internal import NIOCore
internal import NIOPosix
internal import RedisSync

/// Asks Sentinels where a master is.
public struct SentinelResolver: Sendable {
    /// How long one Sentinel, and the master that it names, may take to answer.
    static let timeoutMilliseconds: Int64 = 2_000

    private let sentinels: [RedisAddress]
    private let name: String
    private let user: String?
    private let password: @Sendable () -> [UInt8]?
    private let sentinelPassword: @Sendable () -> [UInt8]?
    private let tls: RedisTLS?

    /// - Parameters:
    ///   - sentinels: asked in this order; the first that names a true master counts.
    ///   - name: the master's name.
    ///   - user: the user at the master.
    ///   - password: the password at the master.
    ///   - sentinelPassword: the password at the Sentinels.
    ///   - tls: for Sentinels and master.
    public init(
        sentinels: [RedisAddress], name: String, user: String? = nil,
        password: @escaping @Sendable () -> [UInt8]? = { nil },
        sentinelPassword: @escaping @Sendable () -> [UInt8]? = { nil }, tls: RedisTLS? = nil
    ) {
        self.sentinels = sentinels
        self.name = name
        self.user = user
        self.password = password
        self.sentinelPassword = sentinelPassword
        self.tls = tls
    }

    /// The master that a Sentinel names and that says itself that it is one.
    public func resolve() async throws(SourceError) -> RedisAddress {
        var troubles: [String] = []
        for sentinel in self.sentinels {
            do throws(RedisConnectionError) {
                guard let address = try await self.ask(sentinel) else {
                    troubles.append("\(sentinel) does not know \(self.name)")
                    continue
                }
                if try await self.isMaster(address) { return address }
                troubles.append("\(address), named by \(sentinel), is no master")
            } catch { troubles.append("\(sentinel): \(error)") }
        }
        throw .io("no Sentinel names a master: \(troubles.joined(separator: "; "))")
    }

    private func ask(_ sentinel: RedisAddress) async throws(RedisConnectionError) -> RedisAddress? {
        let connection = try await RedisConnection.connect(
            to: sentinel, password: self.sentinelPassword(), tls: self.tls,
            timeoutMilliseconds: Self.timeoutMilliseconds,
            group: MultiThreadedEventLoopGroup.singleton)
        defer { connection.close() }
        let reply = try await connection.send("SENTINEL", "get-master-addr-by-name", self.name)
        if let failure = reply.failure { throw .lost(failure) }
        guard let parts = reply.elements, parts.count == 2, let host = parts[0].text,
            let port = parts[1].number, (1...65_535).contains(port)
        else { return nil }
        return RedisAddress(host: host, port: Int(port))
    }

    private func isMaster(_ address: RedisAddress) async throws(RedisConnectionError) -> Bool {
        let connection = try await RedisConnection.connect(
            to: address, user: self.user, password: self.password(), tls: self.tls,
            timeoutMilliseconds: Self.timeoutMilliseconds,
            group: MultiThreadedEventLoopGroup.singleton)
        defer { connection.close() }
        let reply = try await connection.send("ROLE")
        // A server that may not be asked is taken at the Sentinel's word.
        guard reply.failure == nil else { return true }
        return reply.elements?.first?.text == "master"
    }
}
