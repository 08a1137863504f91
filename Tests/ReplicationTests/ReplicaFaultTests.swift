import CXXHash
import FileIO
import Foundation
import Keyspace
import NIOCore
import PikaStorage
import ReplicationCore
import ResumeStore
import SyncProtocol
import Testing

@testable import Replication

/// What goes wrong around a full copy, and following; rows of the list of known faults.
@Suite("Replica faults", .serialized)
struct ReplicaFaultTests {
    /// One database of a recorded 3.5.0 dump, and a script around it.
    static func script(peer: Bool = false) throws -> FakeMaster.State {
        var state = try RecordedMaster.state(["01/c02"])
        var dump = try RecordedMaster.dump(
            try RecordedMaster.database("01/c05") == "db0" ? "01/c05" : "01/c06")
        for index in state.metaSync.indices {
            state.metaSync[index].master?.databases = [DatabaseInfo(name: "db0")]
            if peer {
                state.metaSync[index].master?.peer = PeerInfo()
                state.metaSync[index].master?.fileToken = [1, 2, 3]
            }
        }
        if peer, let id = SnapshotID(dump.snapshotID) {
            let position = SnapshotInfo.position(in: dump.files["info"] ?? []) ?? .zero
            dump.manifest = SnapshotManifest(
                id: id,
                files: dump.names.map { name in
                    let bytes = dump.files[name] ?? []
                    return SnapshotFile(
                        name: name, sizeBytes: UInt64(bytes.count),
                        digest: XXH64(bytes, bytes.count, 0))
                },
                position: position, digest: 0,
                history: [
                    HistoryEntry(
                        id: try #require(
                            ReplicationID(String(repeating: "b", count: 50))),
                        previousEnd: .zero, previousDigest: 0, start: .zero)
                ])
        }
        state.dumps = ["db0": dump]
        return state
    }

    private func start(
        _ master: FakeMaster, directory: String? = nil, bytesPerSecond: UInt64 = 0
    ) throws -> ReplicaHarness {
        let replica = try ReplicaHarness(
            directory: directory, port: 9_321, bytesPerSecond: bytesPerSecond)
        try replica.link.slaveOf(host: "127.0.0.1", port: master.port)
        return replica
    }

    private func totalBytes(_ master: FakeMaster) -> Int {
        master.with { $0.dumps["db0"]?.totalBytes ?? 0 }
    }

    private func servedBytes(_ master: FakeMaster) -> Int {
        master.with { $0.servedBytes["db0"] ?? 0 }
    }

    @Test("C1: a wrong byte of a chunk is fetched again; the copy is right")
    func damagedChunk() throws {
        var script = try Self.script(peer: true)
        script.dumps["db0"]?.damaged = "strings/CURRENT"
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        #expect(replica.waitForPhase(.following))
        #expect(try replica.keyCount(.strings) > 0)
        #expect(replica.status()?.copy?.bytesSentTwice == 16)
    }

    @Test("C1: what can't be told wrong by a digest is told by opening it: nothing is switched in")
    func damagedStore() throws {
        var script = try Self.script()
        let name = "strings/CURRENT"
        script.dumps["db0"]?.files[name] = Array("MANIFEST-999999\n".utf8)
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        let failed = replica.wait {
            replica.status()?.reason?.contains("damaged") == true
        }
        #expect(failed, "\(String(describing: replica.status()))")
        #expect(replica.databases[0].isPristine)
        #expect(replica.link.status().isEligibleForMaster == false)
        // The next dump is sound.
        let sound = try Self.script().dumps
        master.with { $0.dumps = sound }
        #expect(replica.waitForPhase(.following))
    }

    @Test("F3, F9: a master that is silent, then says no, is waited for")
    func unready() throws {
        var script = try Self.script()
        script.dumps["db0"]?.silentLists = 1
        script.dumps["db0"]?.refusedLists = 1
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        #expect(replica.waitForPhase(.following))
    }

    @Test("F5: a dump that is replaced in the middle is never switched in")
    func replaced() throws {
        var script = try Self.script()
        script.dumps["db0"]?.replacedAfterBytes = 20_000
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        #expect(
            replica.wait { replica.status()?.reason?.contains("replaced") == true },
            "\(String(describing: replica.status()))")
        #expect(replica.databases[0].isPristine)
        master.with {
            $0.dumps["db0"]?.replacedAfterBytes = nil
        }
        #expect(replica.waitForPhase(.following))
        #expect(try replica.keyCount(.strings) > 0)
    }

    @Test("C2: a cut connection costs no byte twice", arguments: [false, true])
    func cut(peer: Bool) throws {
        var script = try Self.script(peer: peer)
        script.dumps["db0"]?.cutAfterBytes = 30_000
        script.dumps["db0"]?.replyLimit = 4_096
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        #expect(replica.waitForPhase(.following))
        #expect(replica.status()?.copy?.bytesSentTwice == 0)
        #expect(self.servedBytes(master) <= self.totalBytes(master) + 4 * 4_096)
    }

    @Test(
        "C2, C3: a replica that is stopped half-way goes on where it was", arguments: [false, true])
    func restarted(peer: Bool) throws {
        var script = try Self.script(peer: peer)
        script.dumps["db0"]?.replyLimit = 4_096
        let master = try FakeMaster(script)
        defer { master.stop() }
        let directory = ReplicaHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let total = self.totalBytes(master)
        let first = try self.start(
            master, directory: directory, bytesPerSecond: UInt64(total / 4))
        let half = first.wait {
            Int(first.status()?.copy?.bytesDone ?? 0) > total / 3
        }
        #expect(half, "\(String(describing: first.status()))")
        // F17: half a copy is no master.
        #expect(throws: ReplicaLinkError.self) { try first.link.slaveOfNoOne() }
        #expect(!first.link.status().isEligibleForMaster)
        first.stop()
        let second = try self.start(master, directory: directory)
        defer { second.stop() }
        #expect(try second.link.rememberedMaster()?.port == master.port)
        #expect(second.waitForPhase(.following), "\(String(describing: second.status()))")
        #expect(second.status()?.copy?.bytesResumed ?? 0 > UInt64(total / 5))
        #expect(self.servedBytes(master) < total + total / 3)
        #expect(try second.keyCount(.strings) > 0)
    }

    @Test("A bad resume point: a clear error, nothing is lost, nothing is guessed")
    func badResumePoint() throws {
        let master = try FakeMaster(try Self.script())
        defer { master.stop() }
        let directory = ReplicaHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let first = try self.start(master, directory: directory)
        #expect(first.waitForPhase(.following))
        let end = master.with { $0.chips["db0"]?.last?.end.position } ?? .zero
        #expect(first.waitUntilApplied(end))
        first.stop()
        let path = "\(directory)/db/\(ResumeRecords.directoryName)/db0/resume"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
        #expect(throws: ReplicaStartupError.self) {
            _ = try ReplicaHarness(directory: directory)
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
    }

    @Test(
        "Frames of hostile length close the connection; the replica lives and comes back",
        arguments: [[0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 3, 0xFF, 0xFF, 0xFF]]
            as [[UInt8]])
    func hostileFrames(bytes: [UInt8]) throws {
        var script = try Self.script()
        script.rawAnswer = bytes
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        #expect(replica.wait { replica.link.status().lastFailure != nil })
        master.with { $0.rawAnswer = nil }
        #expect(replica.waitForPhase(.following))
    }

    @Test("B13: a missing item is noticed, and asked for again from the own end")
    func missingItem() throws {
        var script = try Self.script()
        let more = try RecordedMaster.state(["02/c02"])
        script.chips["db0", default: []] += more.chips["db0"] ?? []
        let whole = script.chips["db0"] ?? []
        script.chips["db0"]?.remove(at: whole.count / 2)
        script.chipsPerFrame = 1
        let master = try FakeMaster(script)
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        let noticed = replica.wait {
            replica.databases[0].received == whole[whole.count / 2 - 1].end.position
        }
        #expect(noticed, "\(String(describing: replica.status()))")
        master.with { $0.chips["db0"] = whole }
        let end = whole.last?.end.position ?? .zero
        #expect(replica.waitUntilApplied(end), "\(String(describing: replica.status()))")
    }

    @Test("F23: SLAVEOF of this very server is refused")
    func ownAddress() throws {
        let replica = try ReplicaHarness(port: 9_777)
        defer { replica.stop() }
        for host in ["127.0.0.1", "localhost"] {
            #expect(throws: ReplicaLinkError.ownAddress(host: host, port: 9_777)) {
                try replica.link.slaveOf(host: host, port: 9_777)
            }
        }
        #expect(throws: ReplicaLinkError.portOutOfRange(60_000)) {
            try replica.link.slaveOf(host: "127.0.0.1", port: 60_000)
        }
    }

    @Test("F24: SLAVEOF NO ONE after following: a master with a history of its own")
    func promotion() throws {
        let master = try FakeMaster(try Self.script())
        defer { master.stop() }
        let replica = try self.start(master)
        defer { replica.stop() }
        #expect(replica.waitForPhase(.following))
        try replica.link.slaveOfNoOne()
        #expect(replica.databases[0].role == .master)
        #expect(replica.link.status().master == nil)
        #expect(try replica.link.rememberedMaster() == nil)
    }
}

/// A crash at any step of the switch leaves the old or the new data, never less.
@Suite("Switch of a database", .serialized)
struct DatabaseSwitchTests {
    @Test("Every step may be the last one before a crash", arguments: DatabaseSwitch.Step.allCases)
    func crash(step: DatabaseSwitch.Step) throws {
        let directory = ReplicaHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let script = try ReplicaFaultTests.script()
        let dump = try #require(script.dumps["db0"])
        let position = try #require(SnapshotInfo.position(in: dump.files["info"] ?? []))
        let replica = try ReplicaHarness(directory: directory)
        try replica.databases[0].becomeReplica()
        let files = StagedFiles(
            stagingPath: "\(directory)/dbsync", database: "db0", fileSystem: RealFileSystem())
        for (name, bytes) in dump.files {
            let path = "\(files.directory)/\(name)"
            try FileManager.default.createDirectory(
                atPath: Path.directory(of: path), withIntermediateDirectories: true)
            try Data(bytes).write(to: URL(fileURLWithPath: path))
        }
        let master = KnownMaster(address: ReplicaAddress(host: "10.0.0.1", port: 1))
        let records = ResumeRecords(
            resumePath: "\(directory)/db", fileSystem: RealFileSystem())
        var change = DatabaseSwitch(
            keyspace: replica.keyspace, configuration: replica.keyspaceConfiguration,
            databaseIndex: 0, records: records, files: files, master: master)
        change.faults = { (reached) throws(DatabaseSwitch.Failure) in
            guard reached == step else { return }
            throw DatabaseSwitch.Failure(step: step, description: "crash", discards: false)
        }
        let outcome = SnapshotReceiver.Outcome(
            snapshotID: try #require(SnapshotID(dump.snapshotID)), position: position, digest: 0,
            history: [], highestEffectiveNowSeconds: 0, names: dump.names)
        #expect(throws: DatabaseSwitch.Failure.self) { try change.run(outcome) }
        replica.stop(keeps: true)

        let again = try ReplicaHarness(directory: directory)
        defer { again.stop() }
        let isNew = try again.keyCount(.strings) > 0
        switch step {
        case .seal, .prepareStaged, .saveSwitching:
            #expect(!isNew)
            #expect(FileManager.default.fileExists(atPath: "\(files.directory)/strings/CURRENT"))
        case .saveFollowing, .removeJournal, .removeLeftovers:
            #expect(isNew)
            #expect(again.databases[0].received == position)
            #expect(try records.load("db0").phase == .following)
        }
    }
}
