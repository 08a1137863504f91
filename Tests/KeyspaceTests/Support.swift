import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import Synchronization
import TestKit
import Testing

@testable import Keyspace

/// A directory that goes with its last reference.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        let base = FileManager.default.temporaryDirectory.path
        path = base + "/keyspace-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// A keyspace in a directory of its own, with a clock that stands still.
final class Rig: Sendable {
    static let environment = StoreEnvironment(
        blockCacheBytes: 4 << 20, writeBufferBytes: 64 << 20)

    let directory: TemporaryDirectory
    let clock: ManualClock
    let fileSystem: any FileSystem
    let notes = NoteList()
    private let settings: Mutex<Settings>

    struct Settings {
        var bootID = "boot-1"
        var databaseCount = 1
        var fileSizeLimitBytes: UInt64 = 100 << 20
        var syncPolicy = SyncPolicy.everySecond
        var writesBinlog = true
        var memtableBytes = 1 << 20
        var memtableCount = 4
        var replayLimitBytes: UInt64 = 512 << 20
        var idleRowDistanceBytes: UInt64 = 64 << 20
        var compacts = false
    }

    init(
        copying source: String? = nil, clock: ManualClock = ManualClock(),
        fileSystem: any FileSystem = RealFileSystem(),
        _ change: (inout Settings) -> Void = { _ in }
    ) throws {
        directory = try TemporaryDirectory()
        self.clock = clock
        self.fileSystem = fileSystem
        var initial = Settings()
        change(&initial)
        settings = Mutex(initial)
        if let source {
            for name in ["db", "log"] {
                try Self.copy(source + "/" + name, to: directory.path + "/" + name)
            }
        }
    }

    /// Copies a directory that is in use: RocksDB may delete an old file while it is being copied,
    /// and then the copy is made anew.
    private static func copy(_ source: String, to target: String) throws {
        let attempts = 20
        for attempt in 1...attempts {
            do {
                return try FileManager.default.copyItem(atPath: source, toPath: target)
            } catch CocoaError.fileNoSuchFile where attempt < attempts {
                try FileManager.default.removeItem(atPath: target)
            }
        }
    }

    var currentSettings: Settings { settings.withLock { $0 } }

    func change(_ body: (inout Settings) -> Void) { settings.withLock { body(&$0) } }

    var configuration: KeyspaceConfiguration {
        let settings = settings.withLock { $0 }
        var configuration = KeyspaceConfiguration(
            databasePath: directory.path + "/db", logPath: directory.path + "/log",
            fileSystem: fileSystem, environment: Self.environment)
        configuration.bootID = settings.bootID
        configuration.databaseCount = settings.databaseCount
        configuration.binlog = BinlogConfiguration(
            fileSizeLimitBytes: settings.fileSizeLimitBytes)
        configuration.syncPolicy = settings.syncPolicy
        configuration.writesBinlog = settings.writesBinlog
        configuration.store.memtableBytes = settings.memtableBytes
        configuration.store.memtableCount = settings.memtableCount
        configuration.store.disableAutoCompactions = !settings.compacts
        configuration.replayLimitBytes = settings.replayLimitBytes
        configuration.idleRowDistanceBytes = settings.idleRowDistanceBytes
        configuration.cleanStopLimitMilliseconds = 60_000
        let clock = self.clock
        configuration.wallClock = { clock.unixSeconds }
        configuration.note = { [self] note in
            // Holds the rig, and so the directory, as long as the keyspace lives.
            notes.append(note.text)
        }
        configuration.stopProcess = { reason in preconditionFailure(reason) }
        return configuration
    }

    func open() throws -> Keyspace { try Keyspace.open(configuration) }

    /// What kill -9 leaves: all bytes that were written to files, nothing of the memory.
    ///
    /// No write may be under way.
    func killed(_ change: (inout Settings) -> Void = { _ in }) throws -> Rig {
        let copy = try Rig(copying: directory.path, clock: clock) { settings in
            settings = self.settings.withLock { $0 }
            change(&settings)
        }
        return copy
    }
}

final class NoteList: Sendable {
    private let texts = Mutex<[String]>([])
    func append(_ text: String) { texts.withLock { $0.append(text) } }
    var all: [String] { texts.withLock { $0 } }
}

/// Calls `body` with slices of the strings' bytes.
func withBytes<R>(_ strings: [String], _ body: (UnsafeBufferPointer<Bytes>) throws -> R) rethrows
    -> R
{
    try withBytes(strings.map { Array($0.utf8) }, body)
}

func withBytes<R>(
    _ arrays: [[UInt8]], _ body: (UnsafeBufferPointer<Bytes>) throws -> R
) rethrows -> R {
    var all: [UInt8] = []
    var ranges: [Range<Int>] = []
    for array in arrays {
        ranges.append(all.count..<all.count + array.count)
        all += array
    }
    return try all.withUnsafeBytes { buffer in
        let slices = ranges.map { Bytes(rebasing: buffer[$0]) }
        return try slices.withUnsafeBufferPointer { try body($0) }
    }
}

extension WriteGroup {
    /// Performs the effect of the first word with the words as they are.
    @discardableResult
    func run(_ words: String...) throws -> Int64 { try run(words) }

    @discardableResult
    func run(_ words: [String]) throws -> Int64 {
        try withBytes(words) { arguments in
            let effect = try #require(Effect(word: arguments[0]))
            if arguments.count > 1 {
                #expect(lockOutcomeIsAcquired(arguments[1]))
            }
            return try perform(effect, raw: arguments)
        }
    }

    private func lockOutcomeIsAcquired(_ key: Bytes) -> Bool {
        if case .acquired = lock(key) { return true }
        return false
    }

    /// Commits and expects success.
    @discardableResult
    func mustCommit() throws -> BinlogPosition {
        let outcome = commit()
        guard case .committed(let position) = outcome else {
            throw Unexpected(text: "\(outcome)")
        }
        return position
    }
}

struct Unexpected: Error { var text: String }

extension Database {
    /// One group with these commands.
    @discardableResult
    func write(_ commands: [String]...) throws -> BinlogPosition {
        let group = makeGroup()
        for command in commands { try group.run(command) }
        return try group.mustCommit()
    }

    func string(_ key: String) throws -> String? {
        let set = makeReader()
        let now = self.now
        return try withBytes([key]) { keys in
            try Strings(set.strings).withValue(keys[0], now: now) { value, _ in
                value.map { String(decoding: $0, as: UTF8.self) }
            }
        }
    }

    /// Every row of every store but the reserved one, by `store/family/key`.
    func rawRows() throws -> [String: [UInt8]] {
        var rows: [String: [UInt8]] = [:]
        let set = makeReader()
        for kind in StoreKind.allCases {
            for family in [Family.meta, .data, .score].prefix(kind.familyCount) {
                try set[kind].scan(family, prefix: .none, from: nil) { key, value in
                    if family == .meta && AppliedRow.isReserved(key) { return true }
                    let name = key.map { String(format: "%02x", $0) }.joined()
                    rows["\(kind)/\(family)/\(name)"] = Array(value)
                    return true
                }
            }
        }
        return rows
    }

    /// Where each store is.
    func rows() throws -> [StoreKind: BinlogPosition] {
        var rows: [StoreKind: BinlogPosition] = [:]
        for kind in StoreKind.allCases {
            rows[kind] = try live.stores[kind].appliedPosition()?.position
        }
        return rows
    }

    /// All items of the log: content, end, header.
    func logItems(from start: BinlogPosition? = nil) throws -> [LoggedItem] {
        var items: [LoggedItem] = []
        let log = self.log
        let cursor = try log.makeCursor(at: start ?? log.start)
        while try cursor.next(
            upTo: log.end.position, maxBytes: 1 << 20,
            { item, header, end in
                items.append(LoggedItem(bytes: Array(item), header: header, end: end))
                return .next
            }) > 0
        {}
        return items
    }
}

struct LoggedItem {
    var bytes: [UInt8]
    var header: BinlogItemHeader
    var end: BinlogPosition

    /// The words, joined by blanks.
    var text: String {
        var parser = ItemArguments()
        return bytes.withUnsafeBytes { buffer in
            let content = buffer.dropping(BinlogItemHeader.encodedSize)
            guard (try? parser.parse(content)) != nil else { return "?" }
            return parser.all.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
        }
    }
}

/// Hands items to a replica's database.
func deliver(_ items: ArraySlice<LoggedItem>, to database: Database) throws {
    var all: [UInt8] = []
    var ranges: [Range<Int>] = []
    for item in items {
        ranges.append(all.count..<all.count + item.bytes.count)
        all += item.bytes
    }
    try all.withUnsafeBytes { buffer in
        let received = zip(items, ranges).map { item, range in
            ReceivedItem(bytes: Bytes(rebasing: buffer[range]), end: item.end)
        }
        try received.withUnsafeBufferPointer { pointer in
            try database.appendReceived(pointer)
        }
    }
}

/// A generator with a seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
