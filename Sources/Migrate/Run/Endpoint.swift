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
    /// The user; nil = the password alone.
    public var user: String?
    /// The file with the password; read at each connection, as it may change.
    public var passwordFile: String?
    /// The variable of the environment with the password, if there is no file.
    public var passwordVariable: String
    /// Encrypts and verifies; nil = plain.
    public var tls: RedisTLS?

    /// Reads `redis://[user@]host:port`, `rediss://…`, `pika://…`, `host:port`.
    ///
    /// A URL with a password is refused: it would be seen by everyone on the machine.
    public init(url: String, passwordVariable: String) throws(RunError) {
        var rest = Substring(url)
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
        let withPort = rest.contains(":") ? String(rest) : "\(rest):6379"
        guard let address = RedisAddress(withPort) else {
            throw .usage("\(url) is no address: expected redis://host:port")
        }
        self.address = address
        self.passwordVariable = passwordVariable
        if self.scheme == "rediss" || self.scheme == "pikas" {
            do { self.tls = try RedisTLS() } catch {
                throw .usage("TLS can't be used: \(error)")
            }
        }
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
