internal import FileIO
internal import Glibc

/// A server that is connected to.
public struct Endpoint: Sendable {
    /// How long a connection may take to come about.
    static let connectLimitMilliseconds: Int64 = 10_000
    /// Longest file with a password, in bytes.
    static let maxPasswordBytes = 64 * 1_024

    /// `redis`, `pika` or what else the URL begins with.
    public var scheme: String
    /// Where it listens.
    public var address: RedisAddress
    /// More nodes of the same cluster.
    public var others: [RedisAddress] = []
    /// The user; nil = the password alone.
    public var user: String?
    /// The file with the password; read at each connection, as it may change.
    public var passwordFile: String?
    /// The variable of the environment with the password, if there is no file.
    public var passwordVariable: String
    /// Encrypts and verifies; nil = plain.
    public var tls: RedisTLS?

    /// Schemes with TLS.
    private static let encrypted: Set<String> = ["rediss", "pikas", "rediss-cluster", "scans"]

    /// All shards of a Redis Cluster, of which some nodes are named.
    public var isCluster: Bool { ["redis-cluster", "rediss-cluster"].contains(self.scheme) }

    /// Reads `redis://[user@]host:port`, `rediss://…`, `pika://…`, `host:port`, and
    /// `redis-cluster://host:port,host:port`.
    ///
    /// A URL with a password is refused: it would be seen by everyone on the machine.
    public init(url: String, passwordVariable: String) throws(RunError) {
        var rest = Substring(url)
        self.address = RedisAddress(host: "", port: 0)
        self.passwordVariable = passwordVariable
        self.scheme = "redis"
        if let mark = rest.range(of: "://") {
            self.scheme = rest[..<mark.lowerBound].lowercased()
            rest = rest[mark.upperBound...]
        }
        if let at = rest.lastIndex(of: "@") {
            let login = rest[..<at]
            guard !login.contains(":") else {
                throw .usage(
                    "a URL must not have a password: put it into a file (password-file) or into"
                        + " \(passwordVariable)")
            }
            self.user = login.isEmpty ? nil : String(login)
            rest = rest[rest.index(after: at)...]
        }
        while rest.last == "/" { rest = rest.dropLast() }
        let addresses = rest.split(separator: ",").map {
            RedisAddress($0.contains(":") ? String($0) : "\($0):6379")
        }
        guard let address = addresses.first ?? nil, !addresses.contains(nil),
            addresses.count == 1 || self.isCluster
        else { throw .usage("\(url) is no address: expected redis://host:port") }
        self.address = address
        self.others = addresses.dropFirst().compactMap { $0 }
        if Self.encrypted.contains(self.scheme) {
            do { self.tls = try RedisTLS() } catch {
                throw .usage("TLS can't be used: \(error)")
            }
        }
    }

    /// A file instead of a server: nothing connects to it.
    init(file path: String) {
        self.scheme = "file"
        self.address = RedisAddress(host: path, port: 0)
        self.passwordVariable = ""
    }

    /// The password as it is now; nil = none.
    public func password() throws(RunError) -> [UInt8]? {
        if let passwordFile {
            let bytes: [UInt8]?
            do throws(FileError) {
                bytes = try RealFileSystem().readFile(
                    passwordFile, limitBytes: Self.maxPasswordBytes)
            } catch { throw .usage("the password can't be read: \(error)") }
            guard let bytes else { throw .usage("there is no file \(passwordFile)") }
            return Array(bytes.prefix { $0 != 10 && $0 != 13 })
        }
        return getenv(self.passwordVariable).map { Array(String(cString: $0).utf8) }
    }
}

extension Substring {
    /// Where a text lies.
    fileprivate func range(of text: String) -> Range<Index>? {
        var at = self.startIndex
        while at < self.endIndex {
            if self[at...].hasPrefix(text) {
                return at..<self.index(at, offsetBy: text.count)
            }
            at = self.index(after: at)
        }
        return nil
    }
}
