import PikaStorage

/// Which keys a command reads rather than writes: of those that are missing, class m tells.
enum ReadRule: UInt8 {
    case nothing
    /// All keys.
    case all
    /// The first key: the source of COPY, what SORT sorts.
    case first
    /// The keys behind the first, which is the destination.
    case behindFirst
    /// The key, if the old value is asked for (`SET k v GET`).
    case old
    /// The key, if nothing is to be changed (`BITFIELD k GET ...`).
    case unlessChanged

    /// The rule of a row.
    init(_ row: CommandRow) {
        let name = row.name.bytes
        func isAmong(_ names: [StaticString]) -> Bool { names.contains { name.isWord($0) } }
        if row.keys == .none {
            self = .nothing
        } else if isAmong(Self.firstKey) {
            self = .first
        } else if isAmong(Self.sources) {
            self = .behindFirst
        } else if name.isWord("set") {
            self = .old
        } else if name.isWord("bitfield") {
            self = .unlessChanged
        } else if row.flags.contains(.readonly) || name.isWord("pfmerge") {
            self = .all
        } else {
            self = .nothing
        }
    }

    private static let firstKey: [StaticString] = [
        "getex", "getdel", "getset", "copy", "sort", "georadius", "georadiusbymember",
    ]
    private static let sources: [StaticString] = [
        "sinterstore", "sunionstore", "sdiffstore", "zunionstore", "zinterstore", "zdiffstore",
        "zrangestore", "geosearchstore", "bitop",
    ]

    /// The keys among a request's that it reads.
    func keys(
        _ positions: KeyPositions, _ arguments: UnsafeBufferPointer<Bytes>
    ) -> ArraySlice<Bytes> {
        func names(_ word: StaticString, _ other: StaticString) -> Bool {
            arguments.dropFirst(2).contains { $0.isWord(word) || $0.isWord(other) }
        }
        let keys = positions.list(in: arguments)
        switch self {
        case .nothing: return []
        case .all: return keys[...]
        case .first: return keys.prefix(1)
        case .behindFirst: return keys.dropFirst()
        case .old: return arguments.dropFirst(3).contains { $0.isWord("get") } ? keys[...] : []
        case .unlessChanged: return names("set", "incrby") ? [] : keys[...]
        }
    }
}
