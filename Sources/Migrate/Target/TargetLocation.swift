internal import FileIO

/// Files that a URL may name as a target.
///
/// | URL | what is written |
/// |---|---|
/// | `rdb:PATH` | the snapshot, as an RDB that Redis 5 and later load |
/// | `aof:PATH` | the snapshot and the stream, as commands that Redis 6.2 and later load |
enum TargetLocation: Equatable {
    case rdb(path: String)
    case aof(path: String)

    /// nil = a URL of another kind.
    static func parse(_ url: String) throws(RunError) -> TargetLocation? {
        guard let colon = url.firstIndex(of: ":") else { return nil }
        let scheme = url[..<colon]
        guard scheme == "rdb" || scheme == "aof" else { return nil }
        var path = url[url.index(after: colon)...]
        if path.hasPrefix("//") { path = path.dropFirst(2) }
        guard !path.isEmpty, !path.hasSuffix("/") else { throw .usage("\(url) names no file") }
        return scheme == "rdb" ? .rdb(path: String(path)) : .aof(path: String(path))
    }
}

extension RunError {
    /// What came of writing a target's file.
    static func writing(_ path: String, _ error: FileError) -> RunError {
        error.isOutOfSpace
            ? .outOfSpace("\(path) can't be written: \(error)")
            : .io("\(path) can't be written: \(error)")
    }
}
