internal import Binlog
internal import CXXHash
internal import Keyspace
internal import MigrateCore
internal import RedisSync
internal import SyncProtocol

/// Turns the items of one database's log into units.
///
/// Owned by one task.
struct BinlogUnits {
    /// How many bytes of items are read at once.
    static let bytesAtOnce = 256 * 1024

    let database: Int
    private let cursor: BinlogCursor
    /// The log that the cursor reads: another one takes its place with a new copy.
    let log: BinlogLog
    private var open: [SourceCommand] = []
    private(set) var end: PikaLogPosition

    /// - Throws: if `position` is not in the log.
    init(database: Int, log: BinlogLog, at position: PikaLogPosition) throws(BinlogError) {
        self.database = database
        self.log = log
        self.cursor = try log.makeCursor(
            at: BinlogPosition(fileNumber: position.fileNumber, offset: position.offset))
        self.end = position
    }

    /// One unit without its positions in the other databases.
    struct Unit {
        var commands: [SourceCommand]
        var start: PikaLogPosition
        var end: PikaLogPosition
        var timeSeconds: UInt32
        var isGroup: Bool
    }

    /// The units up to `limit`, an item's end that is applied.
    mutating func next(upTo limit: BinlogPosition) throws(SourceError) -> [Unit] {
        var units: [Unit] = []
        var fault: SourceError?
        var open = self.open
        var end = self.end
        let database = self.database
        do throws(BinlogError) {
            try self.cursor.next(upTo: limit, maxBytes: Self.bytesAtOnce) {
                bytes, header, itemEnd in
                let content = UnsafeRawBufferPointer(
                    rebasing: bytes[BinlogItemHeader.encodedSize...])
                guard let arguments = Self.arguments(content) else {
                    fault = .corrupt("an item of db\(database) at \(itemEnd) is no command")
                    return .stopBefore
                }
                open.append(SourceCommand(database: database, arguments: arguments))
                let left = header.itemsLeftInGroup
                guard left == 0 || left > UInt32(BinlogLimits.maxGroupItems) else { return .next }
                let new = PikaLogPosition(
                    fileNumber: itemEnd.fileNumber, offset: itemEnd.offset, digest: end.digest)
                units.append(
                    Unit(
                        commands: open, start: end, end: new, timeSeconds: header.execTimeSeconds,
                        isGroup: open.count > 1))
                open = []
                end = new
                return .next
            }
        } catch { throw .corrupt("the log of db\(database): \(error)") }
        self.open = open
        self.end = end
        if let fault { throw fault }
        return units
    }

    static func arguments(_ content: UnsafeRawBufferPointer) -> [[UInt8]]? {
        var cutter = CommandStreamCutter(
            offset: 0, limits: CommandLimits(maxCommandBytes: BinlogLimits.maxItemBytes))
        cutter.feed(content)
        guard let command = try? cutter.next() else { return nil }
        return command.arguments.indices.map { cutter.argument(command, $0) }
    }

    /// Names the log's history at a position: a log of another history has another digest.
    static func digest(of history: [HistoryEntry], at position: BinlogPosition) -> UInt64 {
        let entry = history.last { $0.start <= position } ?? history.first
        guard let id = entry?.id.description else { return 0 }
        return Array(id.utf8).withUnsafeBytes { XXH64($0.baseAddress, $0.count, 0) }
    }
}
