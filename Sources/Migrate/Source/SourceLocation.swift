public import MigrateCore

/// Files and groups of servers that a URL may name as a source.
///
/// | URL | source |
/// |---|---|
/// | `rdb:PATH`, `aof:PATH` | an RDB, an AOF, a manifest or its directory |
/// | `pika-dump:PATH` | the directory that a Pika dumped |
/// | `binlog:PATH?db=N` | the log files of one database of a Pika |
/// | `sentinel://host:port,host:port/NAME` | the master that Sentinels call NAME |
///
/// `aof` and `binlog` take `until=UNIXSECONDS`, `binlog` also `file=N&offset=N`.
public enum SourceLocation: Sendable, Equatable {
    /// Read as ``FileSource``.
    case file(path: String, untilSeconds: Int64?)
    /// Read as ``DumpSource``.
    case dump(path: String)
    /// Read as ``BinlogSource``.
    case binlog(path: String, database: Int, limits: BinlogSource.Limits)
    /// Followed as ``RedisSource``.
    case sentinel(addresses: [RedisAddress], name: String)

    /// nil = a URL of another kind; throws if it is one of these and makes no sense.
    public static func parse(_ url: String) throws(SourceError) -> SourceLocation? {
        guard let colon = url.firstIndex(of: ":") else { return nil }
        let scheme = url[..<colon]
        var rest = url[url.index(after: colon)...]
        if rest.hasPrefix("//") { rest = rest.dropFirst(2) }
        guard ["rdb", "aof", "pika-dump", "binlog", "sentinel"].contains(scheme) else {
            return nil
        }
        if scheme == "sentinel" { return try Self.sentinel(rest, url) }
        let parts = rest.split(separator: "?", maxSplits: 1)
        guard let path = parts.first.map({ String($0) }) else {
            throw .unsupported("\(url) names no file")
        }
        var numbers: [Substring: Int64] = [:]
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let words = pair.split(separator: "=")
            guard words.count == 2, ["db", "until", "file", "offset"].contains(words[0]),
                let number = Int64(words[1]), number >= 0
            else { throw .unsupported("\(url): \(pair) is not known") }
            numbers[words[0]] = number
        }
        switch scheme {
        case "pika-dump": return .dump(path: path)
        case "binlog":
            var limits = BinlogSource.Limits(untilSeconds: numbers["until"])
            if let file = numbers["file"].flatMap({ UInt32(exactly: $0) }) {
                limits.position = PikaLogPosition(
                    fileNumber: file, offset: UInt64(numbers["offset"] ?? .max), digest: 0)
            }
            return .binlog(path: path, database: Int(numbers["db"] ?? 0), limits: limits)
        default: return .file(path: path, untilSeconds: numbers["until"])
        }
    }

    private static func sentinel(
        _ rest: Substring, _ url: String
    ) throws(SourceError) -> SourceLocation {
        let parts = rest.split(separator: "/")
        guard parts.count == 2 else {
            throw .unsupported("\(url): expected sentinel://host:port,host:port/NAME")
        }
        var addresses: [RedisAddress] = []
        for text in parts[0].split(separator: ",") {
            guard let address = RedisAddress(text.contains(":") ? String(text) : "\(text):26379")
            else { throw .unsupported("\(url): \(text) is no address") }
            addresses.append(address)
        }
        return .sentinel(addresses: addresses, name: String(parts[1]))
    }

    /// The source, unless it is a group of servers.
    public func makeFileSource() -> (any Source)? {
        switch self {
        case .file(let path, let until): FileSource(path: path, untilSeconds: until)
        case .dump(let path): DumpSource(path: path)
        case .binlog(let path, let database, let limits):
            BinlogSource(path: path, database: database, limits: limits)
        case .sentinel: nil
        }
    }
}
