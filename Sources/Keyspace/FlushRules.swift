internal import Binlog
internal import FileIO
public import SyncProtocol
internal import Synchronization

/// What `FLUSHDB <type>` in a log means, by who wrote that part of it.
///
/// A 3.5.0 empties that type; a 3.5.5 takes the type, logs it, and empties everything. The items
/// are the same bytes, so whose they are is kept beside the log, and a replay after a crash does
/// what was done when they came. Own logs never hold the form.
struct FlushRules: Equatable, Sendable {
    typealias Entry = TypedFlushRule

    /// Changes of writer that are remembered; the oldest are dropped beyond it.
    ///
    /// A replay never goes back that far: the stores hold all but the last 512 MB of log.
    static let maximumEntries = WireLimits.maxTypedFlushRules

    private(set) var entries: [Entry] = []

    init(entries: [Entry] = []) {
        self.entries = Array(entries.suffix(Self.maximumEntries))
    }

    /// Whether an item that ends at a position empties all stores whatever type it names.
    func emptiesAll(at end: BinlogPosition) -> Bool {
        entries.last { $0.from < end }?.emptiesAll ?? false
    }

    /// What follows a position was written by somebody of this kind.
    ///
    /// Entries behind it go: their items were cut off, or replaced by a copy.
    mutating func set(emptiesAll: Bool, from position: BinlogPosition) {
        entries.removeAll { $0.from >= position }
        guard (entries.last?.emptiesAll ?? false) != emptiesAll else { return }
        entries.append(Entry(from: position, emptiesAll: emptiesAll))
        if entries.count > Self.maximumEntries { entries.removeFirst() }
    }

    /// What follows a position is as a peer's log has it: the same items, so the same positions.
    mutating func adopt(_ theirs: FlushRules, from position: BinlogPosition) {
        set(
            emptiesAll: theirs.entries.last { $0.from <= position }?.emptiesAll ?? false,
            from: position)
        for entry in theirs.entries where entry.from > position {
            set(emptiesAll: entry.emptiesAll, from: entry.from)
        }
    }
}

/// The flush rules of a log: `<log-path>/log_db<N>/pika-swift.flush`; absent: as a 3.5.0.
struct FlushRulesFile: Equatable, Sendable {
    static let fileName = "pika-swift.flush"
    static let envelope = SealedFile(kind: "PKSWFLSH", version: 1, limitBytes: 4096)

    var rules: FlushRules

    var payload: [UInt8] {
        var writer = RecordWriter()
        writer.append(UInt32(rules.entries.count))
        for entry in rules.entries {
            writer.append(entry.from)
            writer.append(UInt8(entry.emptiesAll ? 1 : 0))
        }
        return writer.bytes
    }
}

extension FlushRulesFile: MarkFile {
    init(decoding bytes: [UInt8]) throws(RecordReader.Failure) {
        var reader = try RecordReader(bytes, Self.envelope)
        let count: UInt32 = try reader.integer()
        guard count <= UInt32(FlushRules.maximumEntries) else {
            throw RecordReader.Failure(reason: "\(count) flush rules")
        }
        var entries: [FlushRules.Entry] = []
        for _ in 0..<count {
            let from = try reader.position()
            let raw: UInt8 = try reader.integer()
            guard raw <= 1 else { throw RecordReader.Failure(reason: "flush rule \(raw)") }
            guard entries.last.map({ $0.from < from }) ?? true else {
                throw RecordReader.Failure(reason: "flush rules go back at \(from)")
            }
            entries.append(FlushRules.Entry(from: from, emptiesAll: raw == 1))
        }
        try reader.finish()
        rules = FlushRules(entries: entries)
    }
}

extension Database {
    /// What `FLUSHDB <type>` means in this log, in order of positions; before the first: the type.
    public var typedFlush: [TypedFlushRule] { notes.withLock { $0.flushRules.entries } }

    /// Remembers, durably and before the first of them is taken, whose items follow the log's end.
    ///
    /// Replicas of this node have to ask anew if that is a change. Blocks; on the pool, outside the
    /// gate.
    ///
    /// - Parameter emptiesAll: a 3.5.5, for which `FLUSHDB <type>` empties everything.
    public func setTypedFlush(emptiesAll: Bool) throws(KeyspaceError) {
        try updateTypedFlush { $0.set(emptiesAll: emptiesAll, from: $1) }
    }

    /// The same for items that come from a peer of ours, which has got them from others.
    public func adoptTypedFlush(_ theirs: [TypedFlushRule]) throws(KeyspaceError) {
        try updateTypedFlush { $0.adopt(FlushRules(entries: theirs), from: $1) }
    }

    private func updateTypedFlush(
        _ body: (inout FlushRules, BinlogPosition) -> Void
    ) throws(KeyspaceError) {
        commitLock.lockOnPool()
        defer { commitLock.unlock() }
        let before = notes.withLock { $0.flushRules }
        var rules = before
        body(&rules, received)
        guard rules != before else { return }
        try FlushRulesFile(rules: rules).write(
            in: files.logDirectory, fileSystem: files.fileSystem)
        notes.withLock { $0.flushRules = rules }
        forEachObserver { $0.logReplaced(database: index) }
    }
}
