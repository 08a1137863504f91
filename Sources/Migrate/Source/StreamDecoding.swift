internal import MigrateCore
internal import RedisSync

/// Turns the bytes of a Redis stream (or AOF) into units.
struct StreamDecoding {
    private var cutter: CommandStreamCutter
    private var open: [SourceCommand] = []
    private(set) var sourceID: String
    /// The end of the last unit, or of what is none.
    private(set) var end: SourcePosition
    private let makesPosition: @Sendable (String, UInt64, Int) -> SourcePosition

    /// - Parameter makesPosition: takes the id, the offset and the database.
    init(
        id: String, offset: UInt64, database: Int,
        makesPosition: @escaping @Sendable (String, UInt64, Int) -> SourcePosition = {
            .redis(RedisPosition(replicationID: $0, offset: $1, database: $2))
        }
    ) {
        self.cutter = CommandStreamCutter(
            offset: offset, database: UInt64(clamping: database),
            limits: CommandLimits(maxCommandBytes: 512 << 20))
        self.sourceID = id
        self.makesPosition = makesPosition
        self.end = makesPosition(id, offset, database)
    }

    mutating func feed(_ bytes: [UInt8]) { self.cutter.feed(bytes) }

    /// Counts bytes that are no commands.
    mutating func skip(_ count: Int) {
        self.cutter.skip(UInt64(count))
        if !self.cutter.isInTransaction { self.end = self.position() }
    }

    /// Bytes that belong to no complete command.
    var unreadCount: Int { self.cutter.unreadCount }
    var isInTransaction: Bool { self.cutter.isInTransaction }
    /// Offset behind the last complete unit.
    var unitEnd: UInt64 { self.cutter.unitEnd }

    /// The history has another name from here on; nil if it has this one already.
    mutating func rename(_ id: String) -> SourceEvent? {
        guard id != self.sourceID, !id.isEmpty else { return nil }
        let old = self.end
        self.sourceID = id
        self.end = self.position()
        return .identityChange(IdentityChange(what: "replication id", old: old, new: self.end))
    }

    /// The next unit; nil if more bytes are needed.
    mutating func next(sourceTimeMilliseconds: Int64) throws(SourceError) -> SourceUnit? {
        while let command = try self.command() {
            switch command.kind {
            case .ping, .select, .acknowledgementRequest:
                if !self.cutter.isInTransaction { self.end = self.position() }
            case .multi:
                self.open = []
            case .write where command.isInTransaction:
                self.open.append(self.copy(command))
            case .write:
                return self.unit([self.copy(command)], false, sourceTimeMilliseconds)
            case .exec:
                guard !self.open.isEmpty else {
                    self.end = self.position()
                    continue
                }
                defer { self.open = [] }
                return self.unit(self.open, true, sourceTimeMilliseconds)
            }
        }
        return nil
    }

    private mutating func command() throws(SourceError) -> StreamCommand? {
        do throws(CommandStreamError) { return try self.cutter.next() } catch {
            throw .corrupt("the source's stream makes no sense: \(error)")
        }
    }

    private func copy(_ command: StreamCommand) -> SourceCommand {
        SourceCommand(
            database: Int(clamping: command.database),
            arguments: command.arguments.map { Array(self.cutter.buffer[$0]) })
    }

    private mutating func unit(
        _ commands: [SourceCommand], _ isTransaction: Bool, _ time: Int64
    ) -> SourceUnit {
        let start = self.end
        self.end = self.position()
        return SourceUnit(
            commands: commands, isTransaction: isTransaction, start: start, end: self.end,
            sourceTimeMilliseconds: time)
    }

    private func position() -> SourcePosition {
        self.makesPosition(
            self.sourceID, self.cutter.unitEnd, Int(clamping: self.cutter.unitDatabase))
    }
}
