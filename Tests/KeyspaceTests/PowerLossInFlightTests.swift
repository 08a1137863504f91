import Binlog
import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import Synchronization
import TestKit
import Testing

@testable import Keyspace

/// Power loss in the middle of what moves whole stores: FLUSHDB and a replica's switch; several
/// databases, each with a log of its own.
///
/// The image of the disk is made between two operations on files, by the thread that is about to
/// do the second one; the others wait with theirs. RocksDB's own operations go on meanwhile.
/// Directories whose move was not synced may be where they were.
@Suite("Power loss in flight")
struct PowerLossInFlightTests {
    /// Takes one image, before the operation of a given number after it was armed.
    final class Camera: Sendable {
        struct State {
            var left: Int?
            /// Another thread makes the image.
            var isShooting = false
            var random: SeededGenerator
            var shot: Shot?
            var failure: (any Error)?
        }

        /// An image and what was promised then.
        struct Shot: Sendable {
            var rig: Rig
            var fileSystem: FaultyFileSystem
            var durable: [BinlogPosition]
            /// What the resume point said.
            var phase: Int
        }

        private let state: Mutex<State>
        private let rig: Rig
        private let fileSystem: FaultyFileSystem
        private let acknowledged: [Acknowledged]
        let phase = Counter()

        init(
            _ rig: Rig, _ fileSystem: FaultyFileSystem, _ acknowledged: [Acknowledged],
            _ random: SeededGenerator
        ) {
            state = Mutex(State(random: random))
            self.rig = rig
            self.fileSystem = fileSystem
            self.acknowledged = acknowledged
        }

        /// Operations that move or remove files; of the others the writers do most.
        static let moves: Set<FileOperation> = [
            .removeTree, .exchange, .rename, .unlink, .syncDirectory,
        ]
        /// Operations that change something.
        static let changes = Set(FileOperation.allCases).subtracting([.read, .open])

        func arm(after count: Int, _ counted: Set<FileOperation> = changes) {
            state.withLock { $0.left = count }
            fileSystem.setFault { [unowned self] operation, _ in
                if counted.contains(operation) { self.passed() }
                return nil
            }
        }

        private func passed() {
            let isDue = state.withLock { state in
                guard let left = state.left else { return false }
                state.left = left == 0 ? nil : left - 1
                state.isShooting = left == 0
                return left == 0
            }
            if isDue { shoot() }
        }

        /// The image; one of now if none was made.
        func develop() throws -> Shot {
            fileSystem.setFault(nil)
            let isMissing = state.withLock { state in
                defer { state.left = nil }
                return !state.isShooting && state.shot == nil && state.failure == nil
            }
            if isMissing { shoot() }
            while state.withLock({ $0.isShooting }) { pause(microseconds: 100) }
            return try state.withLock { state in
                if let failure = state.failure { throw failure }
                return try #require(state.shot)
            }
        }

        private func shoot() {
            var random = state.withLock { $0.random }
            do {
                let shot = try fileSystem.atOneMoment { try image(&random) }
                state.withLock { $0.shot = shot }
            } catch {
                state.withLock { $0.failure = Unexpected(text: "no image was made: \(error)") }
            }
            state.withLock { $0.isShooting = false }
        }

        private func image(_ random: inout SeededGenerator) throws -> Shot {
            let next = FaultyFileSystem()
            let copy = try Rig(clock: rig.clock, fileSystem: next) { settings in
                settings = rig.currentSettings
                settings.bootID += "+"
            }
            let (source, target) = (rig.directory.path, copy.directory.path)
            // What was promised before the image must be in it.
            let durable = acknowledged.map(\.durable)
            let phase = self.phase.value
            var own = [(source + "/db", target + "/db")]
            for name in try FileManager.default.contentsOfDirectory(atPath: source + "/db") {
                let path = source + "/db/" + name
                var isDirectory: ObjCBool = false
                guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory),
                    isDirectory.boolValue
                else { continue }
                own.append((path, target + "/db/" + name))
                let stores = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
                for store in stores
                where FileManager.default.fileExists(atPath: path + "/" + store + "/CURRENT") {
                    do {
                        try PowerLossTests.copyStore(
                            path + "/" + store, target + "/db/" + name + "/" + store)
                    } catch  where store.hasSuffix(".new") {
                        // It is being removed, so it is not exchanged yet: nobody needs it.
                    }
                }
            }
            for index in 0..<PowerLossInFlightTests.databaseCount {
                own.append((source + "/log/log_db\(index)", target + "/log/log_db\(index)"))
            }
            try fileSystem.copyAfterPowerLoss(own, &random)
            try fileSystem.undoMoves(from: source, in: target, &random)
            let manager = FileManager.default
            try next.noteDurable(own.map(\.1).filter { manager.fileExists(atPath: $0) })
            return Shot(rig: copy, fileSystem: next, durable: durable, phase: phase)
        }
    }

    static let databaseCount = 2

    /// Writes strings and lists until it is told to stop; what is durable is noted.
    private static func startWriter(
        _ database: Database, _ gate: TransactionGate, _ acknowledged: Acknowledged, _ round: Int
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
                    if count % 3 == 0 { group.beginAtomic() }
                    try group.run("set", "s\(count % 7)", "\(round)-\(count)")
                    try group.run("rpush", "l", "\(round)-\(count)")
                    try group.run("sadd", "m", "\(round)-\(count)")
                    if count % 3 == 0 { group.endAtomic() }
                    if case .committed(let position) = group.commit() {
                        database.whenDurable(position) { isDurable in
                            if isDurable { acknowledged.note(position) }
                        }
                    }
                } catch {
                    group.discard()
                }
                // Few items are as good here as many, and are checked faster.
                pause(microseconds: 300)
            }
        }
    }

    /// Load, a FLUSHDB of one database, and an image somewhere in it.
    private static func flushRound(
        _ round: Int, _ rig: Rig, _ fileSystem: FaultyFileSystem, _ keyspace: Keyspace,
        ends: [BinlogPosition], _ random: inout SeededGenerator
    ) throws -> Camera.Shot {
        let acknowledged = ends.map { Acknowledged(durable: $0) }
        let camera = Camera(rig, fileSystem, acknowledged, SeededGenerator(seed: random.next()))
        let writers = zip(keyspace.databases, acknowledged).map {
            startWriter($0, keyspace.gate, $1, round)
        }
        defer {
            for each in acknowledged { each.stop() }
            for writer in writers { writer.join() }
        }
        pause(microseconds: Int.random(in: 5_000...40_000, using: &random))
        let counted = Bool.random(using: &random) ? Camera.moves : Camera.changes
        // A flush moves and removes about so often; a fourth image shows what was acknowledged.
        let isBehind = round % 4 == 3
        let count = Int.random(in: 0..<24, using: &random)
        if !isBehind { camera.arm(after: count, counted) }
        let flushed = keyspace.databases[round % databaseCount]
        let end = try flushed.removeAll()
        if isBehind {
            // Acknowledged as any other command.
            let note = acknowledged[round % databaseCount]
            flushed.whenDurable(end) { isDurable in if isDurable { note.note(end) } }
            let limit = ContinuousClock.now + .seconds(60)
            while note.durable < end, ContinuousClock.now < limit { pause(microseconds: 500) }
            #expect(note.durable >= end, "a flush never becomes durable")
        }
        pause(microseconds: Int.random(in: 0...20_000, using: &random))
        return try camera.develop()
    }

    /// Opens an image; a failure says what is in it.
    private static func open(_ rig: Rig, _ round: Int) throws -> Keyspace {
        do {
            return try rig.open()
        } catch {
            let files = FileManager.default.subpaths(atPath: rig.directory.path) ?? []
            throw Unexpected(
                text: "the image of round \(round) does not open: \(error); notes: "
                    + "\(rig.notes.all); files: \(files.sorted())")
        }
    }

    @Test(
        "FLUSHDB in flight, two databases: nothing durable is lost, no store is half empty",
        arguments: [SyncPolicy.always, .everySecond])
    func flush(policy: SyncPolicy) throws {
        print("SEED=\(PowerLossTests.seed)")
        var random = SeededGenerator(seed: PowerLossTests.seed)
        var fileSystem = FaultyFileSystem()
        var rig = try Rig(fileSystem: fileSystem) { settings in
            settings.databaseCount = Self.databaseCount
            settings.syncPolicy = policy
            settings.memtableBytes = 64 << 10
            settings.fileSizeLimitBytes = 20_000
        }
        var keyspace = try rig.open()
        var models = Array(repeating: PowerLossModel(), count: Self.databaseCount)
        for round in 0..<PowerLossTests.rounds * 2 {
            let shot = try Self.flushRound(
                round, rig, fileSystem, keyspace, ends: models.map(\.end), &random)
            for (index, database) in keyspace.databases.enumerated() {
                let items = try database.logItems(from: models[index].end)
                try models[index].note(items, history: database.history)
            }
            keyspace.close()
            fileSystem = shot.fileSystem
            rig = shot.rig
            keyspace = try Self.open(rig, round)
            for (index, database) in keyspace.databases.enumerated() {
                try models[index].check(database, durable: shot.durable[index])
                try PowerLossTests.checkRows(database, models[index])
            }
        }
        keyspace.close()
        let items = models.flatMap(\.items)
        #expect(items.contains { $0.text == "flushdb" })
        print("items kept \(items.count), lost \(models.map(\.lost).reduce(0, +))")
    }

    /// A replica with two databases: the first one switches to a copy, the second one follows.
    private struct Replica {
        var rig: Rig
        var fileSystem: FaultyFileSystem
        var keyspace: Keyspace
        var staged: StagedDatabase

        init(copyOf cut: DatabaseSnapshot, policy: SyncPolicy) throws {
            fileSystem = FaultyFileSystem()
            rig = try Rig(fileSystem: fileSystem) { settings in
                settings.databaseCount = PowerLossInFlightTests.databaseCount
                settings.syncPolicy = policy
            }
            keyspace = try rig.open()
            for database in keyspace.databases {
                try database.write(["set", "old", "1"], ["rpush", "l", "old"])
                try database.becomeReplica()
            }
            let directory = rig.directory.path + "/db/dbsync-db0"
            try FileManager.default.copyItem(atPath: cut.directory, toPath: directory)
            staged = try Keyspace.prepareStaged(
                StagedDatabase(
                    directory: directory, position: cut.position,
                    runningDigest: cut.runningDigest,
                    highestEffectiveNow: cut.highestEffectiveNow, history: cut.history),
                configuration: rig.configuration)
        }
    }

    @Test(
        "A switch in flight: the old data or the whole copy, and the other database as it was",
        arguments: [SyncPolicy.always, .everySecond])
    func switches(policy: SyncPolicy) throws {
        print("SEED=\(PowerLossTests.seed)")
        var random = SeededGenerator(seed: PowerLossTests.seed)
        let masterRig = try Rig { $0.fileSizeLimitBytes = 4096 }
        let master = try masterRig.open()
        let source = master.databases[0]
        try ReplicaTests.load(source, masterRig.clock)
        let cut = try master.cutSnapshot(
            databases: [0], into: masterRig.directory.path + "/dump", host: "h", port: 1
        ).databases[0]
        let cutRows = try source.rawRows()
        try source.write(["set", "after", "1"])
        let rest = try source.logItems(from: cut.position)
        var seen: Set<Int> = []
        let rounds = PowerLossTests.rounds * 3
        for round in 0..<rounds {
            let replica = try Replica(copyOf: cut, policy: policy)
            let old = replica.keyspace.databases.map(\.published)
            let oldRows = try replica.keyspace.databases.map { try $0.rawRows() }
            let acknowledged = replica.keyspace.databases.map { Acknowledged(durable: $0.durable) }
            let camera = Camera(
                replica.rig, replica.fileSystem, acknowledged, SeededGenerator(seed: random.next()))
            // About so many operations are there.
            camera.arm(after: round * 32 / rounds)
            try replica.keyspace.switchDatabase(
                0, to: replica.staged, beforeFirstRename: { camera.phase.add() },
                afterReset: { camera.phase.add() })
            let shot = try camera.develop()
            replica.keyspace.close()
            seen.insert(shot.phase)

            let moved = StagedDatabase(
                directory: shot.rig.directory.path + "/db/dbsync-db0",
                position: replica.staged.position, runningDigest: replica.staged.runningDigest,
                highestEffectiveNow: replica.staged.highestEffectiveNow,
                history: replica.staged.history)
            if shot.phase == 1 {
                try Keyspace.finishSwitch(
                    moved, databaseIndex: 0, configuration: shot.rig.configuration)
            }
            let again = try shot.rig.open()
            let other = again.databases[1]
            #expect(other.published >= shot.durable[1])
            if other.published == old[1] { #expect(try other.rawRows() == oldRows[1]) }
            let database = again.databases[0]
            if shot.phase == 0 {
                #expect(database.published >= shot.durable[0])
                if database.published == old[0] { #expect(try database.rawRows() == oldRows[0]) }
            } else {
                #expect(database.published == cut.position, "round \(round), phase \(shot.phase)")
                #expect(try database.rawRows() == cutRows)
                try deliver(rest[...], to: database)
                #expect(try database.rawRows() == source.rawRows())
            }
            again.close()
        }
        #expect(seen == [0, 1, 2], "images before, in and behind the switch: \(seen.sorted())")
        master.close()
    }
}
