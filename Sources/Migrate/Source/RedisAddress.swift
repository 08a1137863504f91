/// Where a Redis server listens.
public struct RedisAddress: Sendable, Hashable, CustomStringConvertible {
    /// Name or address.
    public var host: String
    /// The port of its clients.
    public var port: Int

    /// An address from its parts.
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`, `[v6]:port`; nil for anything else.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            let port = Int(text[text.index(after: colon)...]), (1...65_535).contains(port)
        else { return nil }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { return nil }
        self.init(host: String(host), port: port)
    }

    /// `host:port`.
    public var description: String {
        self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}

/// How long to wait before the next try: twice as long each time, with some randomness.
struct LinkBackoff: Sendable {
    static let firstMilliseconds: Int64 = 100
    static let limitMilliseconds: Int64 = 30_000

    private var next = Self.firstMilliseconds

    /// The wait, and a longer one next time; `random` is any number.
    mutating func wait(random: UInt64) -> Int64 {
        let base = self.next
        self.next = min(base * 2, Self.limitMilliseconds)
        // Between half and all of it: many that were cut off together do not come back together.
        return base / 2 + Int64(random % UInt64(base / 2 + 1))
    }

    mutating func reset() { self.next = Self.firstMilliseconds }
}
