import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import Synchronization
import TestKit
import Testing

@testable import Keyspace

/// Power loss in process.
///
/// What may be left of the log and of our own small files is built from what was synced (pages and names that were not synced are old, new or zeros, at random); RocksDB's
/// files are copied as they are, since RocksDB syncs its tables and manifests itself and keeps no
/// log here. The directory is copied before the log's image is made: a store that is older than its
/// log is a legal state, the other way round is what the test looks for.
@Suite("Power loss")
struct PowerLossTests {
    static var rounds: Int {
        ProcessInfo.processInfo.environment["PIKA_CRASH_ROUNDS"].flatMap { Int($0) } ?? 4
    }

    static var seed: UInt64 {
        ProcessInfo.processInfo.environment["PIKA_TEST_SEED"].flatMap { UInt64($0) }
            ?? 20_261_126
    }

    @Test(
        "Nothing that was durable is lost, nothing is doubled, no position is used twice",
        arguments: [SyncPolicy.always, .everySecond])
    func powerLoss(policy: SyncPolicy) throws {
        print("SEED=\(Self.seed)")
        var random = SeededGenerator(seed: Self.seed)
        var fileSystem = FaultyFileSystem()
        var rig = try Rig(fileSystem: fileSystem) { settings in
            settings.syncPolicy = policy
            settings.memtableBytes = 64 << 10
            settings.fileSizeLimitBytes = 20_000
        }
        var keyspace = try rig.open()
        var model = PowerLossModel()
        for round in 0..<Self.rounds {
            let database = keyspace.databases[0]
            let before = keyspace.runID
            let acknowledged = Acknowledged(durable: database.published)
            let writers = (0..<3).map { index in
                Self.startWriter(index, round: round, database, keyspace.gate, acknowledged)
            }
            pause(microseconds: Int.random(in: 20_000...150_000, using: &random))
            if Bool.random(using: &random) { database.requestSync() }
            if Bool.random(using: &random) { try? database.flush() }
            pause(microseconds: Int.random(in: 0...60_000, using: &random))

            let image = try Self.image(of: rig, fileSystem, database, acknowledged, &random)
            acknowledged.stop()
            for writer in writers { writer.join() }
            try model.note(try database.logItems(from: model.end), history: database.history)
            keyspace.close()

            fileSystem = image.fileSystem
            rig = image.rig
            keyspace = try rig.open()
            let recovered = keyspace.databases[0]
            #expect(keyspace.runID != before)
            try model.check(recovered, durable: image.durable)
            try Self.checkRows(recovered, model)
        }
        keyspace.close()
        print("power losses: \(Self.rounds), items kept \(model.items.count), lost \(model.lost)")
        // A test that never loses anything tests nothing.
        #expect(policy == .always || model.lost > 0)
    }

    struct Image {
        var rig: Rig
        var fileSystem: FaultyFileSystem
        var durable: BinlogPosition
    }

    private static func image(
        of rig: Rig, _ fileSystem: FaultyFileSystem, _ database: Database,
        _ acknowledged: Acknowledged, _ random: inout SeededGenerator
    ) throws -> Image {
        let next = FaultyFileSystem()
        let copy = try Rig(clock: rig.clock, fileSystem: next) { settings in
            settings = rig.currentSettings
            settings.bootID += "+"
        }
        let target = copy.directory.path
        let source = rig.directory.path
        try FileManager.default.createDirectory(
            atPath: target + "/db/db0", withIntermediateDirectories: true)
        database.maintenance.lock()
        defer { database.maintenance.unlock() }
        for kind in StoreKind.allCases {
            try copyStore(
                source + "/db/db0/" + kind.directoryName, target + "/db/db0/" + kind.directoryName)
        }
        // What is durable now was synced before the image is made.
        let durable = acknowledged.durable
        // Nobody writes while the image is made; a sync may run.
        database.lockCommitOnPool()
        defer { database.commitLock.unlock() }
        let directories = ["/db", "/db/db0", "/log/log_db0"].map { (source + $0, target + $0) }
        try fileSystem.copyAfterPowerLoss(directories, &random)
        try next.noteDurable(directories.map(\.1))
        return Image(rig: copy, fileSystem: next, durable: durable)
    }

    /// Copies a store that may be in use, or being opened, as it was at one time.
    ///
    /// RocksDB may begin another manifest, and delete the one that was current, between two files
    /// that are copied: then the copy is made anew.
    static func copyStore(_ source: String, _ target: String) throws {
        let attempts = 50
        for _ in 0..<attempts {
            if try copyFiles(source, target) { return }
            try FileManager.default.removeItem(atPath: target)
        }
        throw Unexpected(text: "\(source) is never as it was: copied \(attempts) times")
    }

    /// Manifest first: tables that it names are there already and stay (no compaction runs).
    ///
    /// False if the manifest was replaced meanwhile.
    private static func copyFiles(_ source: String, _ target: String) throws -> Bool {
        let manager = FileManager.default
        try manager.createDirectory(atPath: target, withIntermediateDirectories: true)
        let current = manager.contents(atPath: source + "/CURRENT")
        let names = try manager.contentsOfDirectory(atPath: source)
        let ordered = names.sorted { left, right in
            rank(left) != rank(right) ? rank(left) < rank(right) : left < right
        }
        for name in ordered where name != "LOCK" {
            guard let data = manager.contents(atPath: source + "/" + name) else { continue }
            try data.write(to: URL(fileURLWithPath: target + "/" + name))
        }
        for name in try manager.contentsOfDirectory(atPath: source)
        where name.hasSuffix(".sst") && !names.contains(name) {
            let data = try Data(contentsOf: URL(fileURLWithPath: source + "/" + name))
            try data.write(to: URL(fileURLWithPath: target + "/" + name))
        }
        guard let current, current == manager.contents(atPath: target + "/CURRENT"),
            current == manager.contents(atPath: source + "/CURRENT")
        else { return false }
        let manifest = String(decoding: current, as: UTF8.self).trimmingCharacters(in: .newlines)
        return manager.fileExists(atPath: target + "/" + manifest)
    }

    private static func rank(_ name: String) -> Int {
        name == "CURRENT" ? 0 : name.hasPrefix("MANIFEST") ? 1 : 2
    }

    private static func startWriter(
        _ index: Int, round: Int, _ database: Database, _ gate: TransactionGate,
        _ acknowledged: Acknowledged
    ) -> WorkerThread {
        WorkerThread {
            let entrance = gate.makeEntrance()
            let group = database.makeGroup(onPool: true)
            var count = 0
            while !acknowledged.isStopped {
                entrance.enterBlocking()
                defer { entrance.leave() }
                count += 1
                do {
                    if count % 5 == 0 { group.beginAtomic() }
                    try group.run("rpush", "l\(index)", "\(round)-\(count)")
                    try group.run("set", "s\(index)", "\(round)-\(count)")
                    try group.run("zadd", "z\(index)", "\(count)", "m\(count % 11)")
                    if count % 5 == 0 { group.endAtomic() }
                    if case .committed(let position) = group.commit() {
                        database.whenDurable(position) { isDurable in
                            if isDurable { acknowledged.note(position) }
                        }
                    }
                } catch {
                    group.discard()
                }
            }
        }
    }

    /// The rows against an independent replay of the whole model's items.
    static func checkRows(_ database: Database, _ model: PowerLossModel) throws {
        let rig = try Rig()
        let keyspace = try rig.open()
        let replay = keyspace.databases[0]
        try replay.becomeReplica()
        try deliver(model.items[...], to: replay)
        let expected = try replay.rawRows()
        #expect(try database.rawRows() == expected)
        keyspace.close()
    }
}

/// All items that the log ever kept, over its histories.
struct PowerLossModel {
    var items: [LoggedItem] = []
    var lost = 0
    var end: BinlogPosition { items.last?.end ?? .zero }

    /// Items that were written before the power loss.
    mutating func note(_ new: [LoggedItem], history: [HistoryEntry]) throws {
        items += new
    }

    /// What the recovered log holds must be a prefix that reaches at least `durable`.
    mutating func check(_ database: Database, durable: BinlogPosition) throws {
        let kept = try database.logItems(from: .zero)
        #expect(kept.count <= items.count)
        for (old, new) in zip(items, kept) {
            #expect(old.end == new.end)
            #expect(old.bytes == new.bytes)
        }
        lost += items.count - kept.count
        items = kept
        #expect(end >= durable, "durable \(durable), kept \(end)")
        // New items get positions that nobody saw: a new file.
        #expect(database.published.offset == 0)
        #expect(database.history.last?.start == database.published)
        #expect(database.history.last?.previousEnd == end)
        #expect(items.last.map { $0.header.itemsLeftInGroup == 0 } ?? true)
    }
}

/// What the clients were told.
final class Acknowledged: Sendable {
    private let highest: Mutex<BinlogPosition>
    private let flag = Flag()

    init(durable: BinlogPosition) { highest = Mutex(durable) }

    func note(_ position: BinlogPosition) {
        highest.withLock { $0 = max($0, position) }
    }

    var durable: BinlogPosition { highest.withLock { $0 } }
    func stop() { flag.set() }
    var isStopped: Bool { flag.isSet }
}
