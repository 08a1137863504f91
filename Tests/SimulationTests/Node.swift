import NIOCore
import ReplicationCore
import SyncProtocol

/// A snapshot of one database: immutable files with their position.
struct SimulatedSnapshot {
    var manifest: SnapshotManifest
    var files: [String: [UInt8]]
}

/// A file that is being copied.
struct StagedFile {
    var bytes: [UInt8] = []
    /// Digests of the ranges written since the process started.
    var ranges: [(Range<UInt64>, UInt64)] = []
}

/// What a replica has on its disk about a copy.
struct SimulatedResume {
    enum Phase { case none, copying, switching, following }

    var phase = Phase.none
    var master: KnownMaster?
    var manifest: SnapshotManifest?
    var position: BinlogPosition?
    /// Durable bytes from the start, by file.
    var prefixes: [String: UInt64] = [:]
    var bytesSentTwice: UInt64 = 0
}

/// One database of one node: everything here survives a kill.
final class DatabaseDisk {
    var log: SimulatedLog
    var resume = SimulatedResume()
    var staged: [String: StagedFile] = [:]
    var snapshots: [SimulatedSnapshot] = []
    /// Whether this node wrote items itself.
    var hasOwnItems = false
    /// Whole copies that took the old data's place.
    var copies = 0
    var bytesSentTwice: UInt64 = 0

    init(_ log: SimulatedLog) { self.log = log }
}

/// A server: its disk, and while it is up, its two roles.
final class Node {
    unowned let world: World
    let name: String
    let address: ReplicaAddress
    private(set) var isUp = false
    /// Its network is stalled: nothing gets lost, nothing moves.
    private(set) var isIsolated = false
    /// Counts starts: actions of a former life do nothing.
    private(set) var generation = 0
    var links: [Link] = []

    // Disk.
    var databases: [String: DatabaseDisk] = [:]
    var runID: RunID
    var replicationID: ReplicationID?
    /// Whom to follow after a start.
    var masterName: String?
    private var ids = 0

    // Memory.
    private(set) var master: MasterShell?
    private(set) var replica: ReplicaShell?
    private var logicIndex: UInt64 = 0

    init(name: String, index: Int, world: World) {
        self.world = world
        self.name = name
        address = ReplicaAddress(host: "10.0.0.\(index + 1)", port: 9221)
        runID = Node.makeRunID(name, 0)
        replicationID = Node.makeReplicationID(name, 0)
        for database in World.databases {
            let id = Node.makeReplicationID(name + database, 0)
            let first = HistoryEntry(
                id: id, previousEnd: .zero, previousDigest: 0, start: .zero)
            databases[database] = DatabaseDisk(
                SimulatedLog(start: .zero, base: StoreState(), history: [first]))
        }
        world.reference[0] = StoreState().hash
    }

    private static func makeRunID(_ name: String, _ count: Int) -> RunID {
        let text = (name + "\(count)" + String(repeating: "0", count: RunID.byteCount))
            .prefix(RunID.byteCount)
        guard let id = RunID(String(text)) else { preconditionFailure("run id \(text)") }
        return id
    }

    private static func makeReplicationID(_ name: String, _ count: Int) -> ReplicationID {
        let text = (name + "\(count)" + String(repeating: "0", count: ReplicationID.byteCount))
            .prefix(ReplicationID.byteCount)
        guard let id = ReplicationID(String(text)) else { preconditionFailure("id \(text)") }
        return id
    }

    func disk(_ database: String) -> DatabaseDisk {
        guard let disk = databases[database] else { preconditionFailure("no \(database)") }
        return disk
    }

    var isReplica: Bool { masterName != nil }

    // MARK: Life

    func start() {
        guard !isUp else { return }
        isUp = true
        generation += 1
        links = []
        for database in World.databases { finishSwitch(disk(database)) }
        master = MasterShell(self)
        if let masterName { follow(masterName, force: false) }
        heartbeat(generation)
    }

    private func heartbeat(_ generation: Int) {
        world.after(.milliseconds(100)) { [self] in
            guard isUp, self.generation == generation else { return }
            master?.tick()
            replica?.tick()
            heartbeat(generation)
        }
    }

    /// The process ends; with the power, what was not synced goes too.
    func crash(isPowerLoss: Bool) {
        guard isUp else { return }
        isUp = false
        generation += 1
        let open = links
        links = []
        for link in open { link.lose(self, isPowerLoss: isPowerLoss) }
        master = nil
        replica = nil
        guard isPowerLoss else { return }
        var hasLostItems = false
        for database in World.databases {
            let disk = disk(database)
            let before = disk.log.end
            let isOwn = !isReplica
            disk.log.forgetUnsynced(isOwn: isOwn)
            if isOwn, disk.log.end != before || disk.hasOwnItems {
                hasLostItems = true
                disk.log.beginHistory(makeID(database))
            }
            for name in disk.staged.keys.sorted() { tear(disk, name) }
        }
        if hasLostItems { runID = Node.makeRunID(name, nextNumber()) }
    }

    /// What was not synced of a staged file is gone or zero.
    private func tear(_ disk: DatabaseDisk, _ name: String) {
        guard var file = disk.staged[name] else { return }
        let durable = Int(disk.resume.prefixes[name] ?? 0)
        file.ranges = []
        if file.bytes.count > durable {
            if world.random.oneIn(2) {
                file.bytes.removeLast(file.bytes.count - durable)
            } else {
                for index in durable..<file.bytes.count { file.bytes[index] = 0 }
            }
        }
        disk.staged[name] = file
    }

    func setIsolated(_ isolated: Bool) {
        isIsolated = isolated
        if !isolated { for link in links { link.release() } }
    }

    private func nextNumber() -> Int {
        ids += 1
        return ids
    }

    func makeID(_ database: String) -> ReplicationID {
        Node.makeReplicationID(name + database, nextNumber())
    }

    // MARK: Roles

    func follow(_ name: String, force: Bool) {
        masterName = name
        if let replica, replica.masterName == name {
            replica.start(force: force)
            return
        }
        replica?.stop()
        guard isUp, let target = world.node(name) else { return }
        let shell = ReplicaShell(self, master: target)
        replica = shell
        shell.start(force: force)
    }

    /// SLAVEOF NO ONE.
    func promote() {
        replica?.stop()
        replica = nil
        masterName = nil
        for database in World.databases {
            let disk = disk(database)
            disk.resume.phase = .none
            disk.log.sync(count: disk.log.items.count)
            disk.log.cutIncompleteGroup()
            disk.log.beginHistory(makeID(database))
        }
        master?.dropAll("promotion")
    }

    /// Writes a group; durable some milliseconds later, or never.
    func write(_ database: String, items: Int) {
        guard isUp, !isReplica else { return }
        let disk = disk(database)
        disk.hasOwnItems = true
        for index in 0..<items {
            logicIndex += 1
            let item = SimulatedItem(
                key: Int.random(in: 0..<16, using: &world.random), value: world.random.next(),
                filler: Int.random(in: 0...200, using: &world.random),
                itemsLeft: UInt32(items - 1 - index), index: logicIndex)
            guard disk.log.append(item.bytes, endingAt: disk.log.place(item.bytes.count)) else {
                preconditionFailure("an own item fits where it is placed")
            }
        }
        world.reference[disk.log.end.digest] = disk.log.state.hash
        sync(database) { [self] in master?.logMoved(database) }
    }

    /// Makes the log durable as it is now, and says so.
    func sync(_ database: String, then done: @escaping () -> Void) {
        let disk = disk(database)
        let count = disk.log.items.count
        let end = disk.log.end
        let generation = generation
        world.after(world.random.milliseconds(1...20)) { [self] in
            guard isUp, self.generation == generation else { return }
            // The log may have been emptied, or purged at its start, meanwhile.
            if disk.log.items.count >= count, disk.log.items[..<count].last?.end ?? end == end {
                disk.log.sync(count: count)
            } else {
                disk.log.sync(
                    count: disk.log.firstIndex(endingAtOrAfter: end.position)
                        + (disk.log.evidence(at: end.position) == .boundary(digest: end.digest)
                            ? 1 : 0))
            }
            done()
        }
    }

    // MARK: The switch

    /// The copy takes the old data's place; a start in `switching` repeats it.
    func finishSwitch(_ disk: DatabaseDisk) {
        guard disk.resume.phase == .switching, let manifest = disk.resume.manifest else { return }
        guard let state = SnapshotFiles.state(disk.staged.mapValues(\.bytes)) else {
            world.fault("\(name): a copy that can't be read was put in place")
            return
        }
        if world.reference[manifest.digest] != state.hash {
            world.fault("\(name): a copy with other content was put in place")
        }
        disk.log = SimulatedLog(
            start: Mark(position: manifest.position, digest: manifest.digest), base: state,
            history: manifest.history)
        disk.hasOwnItems = false
        disk.staged = [:]
        disk.copies += 1
        disk.bytesSentTwice = disk.resume.bytesSentTwice
        disk.resume = SimulatedResume(phase: .following, master: disk.resume.master)
    }
}

/// The files of a snapshot: the stores' content and filler, in the five directories.
enum SnapshotFiles {
    static func make(_ state: StoreState, random: inout SplitMix) -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        for store in SnapshotPlan.stores {
            files["\(store)/CURRENT"] = Array("MANIFEST-000001\n".utf8)
            files["\(store)/000002.log"] = []
            let count = Int.random(in: 1...60_000, using: &random)
            let seed = random.next()
            files["\(store)/000001.sst"] = (0..<count).map {
                UInt8(truncatingIfNeeded: seed >> UInt64($0 % 57) ^ UInt64($0))
            }
        }
        files["strings/000001.sst"] = state.bytes
        files["info"] = Array("0s\n".utf8)
        return files
    }

    static func state(_ files: [String: [UInt8]]) -> StoreState? {
        files["strings/000001.sst"].flatMap(StoreState.init(bytes:))
    }
}
