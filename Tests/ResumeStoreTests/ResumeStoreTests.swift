import FileIO
import ResumeStore
import SyncProtocol
import TestKit
import Testing

@Suite("Resume point")
struct ResumeStoreTests {
    private func id(_ letter: Character) throws -> ReplicationID {
        try #require(ReplicationID(String(repeating: letter, count: 50)))
    }

    private func sample() throws -> ResumePoint {
        let master = MasterIdentity(
            address: ReplicaAddress(host: "10.0.0.1", port: 9_221),
            runID: RunID(String(repeating: "a", count: 40)), replicationID: try id("b"),
            isOurs: true)
        let history = HistoryEntry(
            id: try id("c"), previousEnd: BinlogPosition(fileNumber: 1, offset: 2),
            previousDigest: 3, start: BinlogPosition(fileNumber: 2, offset: 0))
        let snapshot = SnapshotProgress(
            snapshotID: "snap-1", position: BinlogPosition(fileNumber: 7, offset: 1_000),
            runningDigest: 0x0102_0304_0506_0708, history: [history], totalBytes: 300,
            files: [
                FileProgress(
                    name: "strings/000012.sst", sizeBytes: 200, verifiedBytes: 100, digest: 5,
                    hashState: [1, 2, 3]),
                FileProgress(name: "info"),
            ])
        return ResumePoint(
            phase: .copying, master: master, snapshot: snapshot, bytesReceivedTwice: 17)
    }

    private func store() throws -> (MemoryFileSystem, ResumeStore) {
        let disk = MemoryFileSystem()
        try disk.makeDirectory("db0")
        try disk.syncDirectory("")
        _ = disk.takeOperations()
        return (disk, ResumeStore(directory: "db0", fileSystem: disk))
    }

    @Test("What is saved is loaded, in every phase")
    func roundTrip() throws {
        let (disk, store) = try store()
        #expect(try store.load() == .none)
        var point = try sample()
        try store.save(point)
        #expect(try store.load() == point)
        var begun = point
        begun.snapshot = nil
        try store.save(begun)
        #expect(try store.load() == begun)
        point.phase = .switching
        point.snapshot?.files = [
            FileProgress(name: "a", sizeBytes: 5, verifiedBytes: 5),
            FileProgress(name: "b", sizeBytes: 0),
        ]
        try store.save(point)
        #expect(try store.load() == point)
        point.phase = .following
        point.snapshot = nil
        point.master?.runID = nil
        point.master?.replicationID = nil
        try store.save(point)
        #expect(try store.load() == point)
        try store.save(.none)
        #expect(try store.load() == .none)
        try store.remove()
        disk.crash()
        #expect(try store.load() == .none)
    }

    @Test("Golden bytes of a following replica's point")
    func golden() throws {
        let (disk, store) = try store()
        try store.save(
            ResumePoint(
                phase: .following,
                master: MasterIdentity(
                    address: ReplicaAddress(host: "m", port: 9_221), runID: nil,
                    replicationID: nil, isOurs: true), bytesReceivedTwice: 2))
        let bytes = disk.contents("db0/resume") ?? []
        #expect(
            Array(bytes.dropLast(8)) == Array("PKRESUME".utf8) + [
                1, 0, 0, 0, 18, 0, 0, 0, 3, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x6D, 0x05, 0x24, 0, 0,
                4,
            ])
    }

    @Test("Golden: how a point reaches the disk")
    func durability() throws {
        let (disk, store) = try store()
        try store.save(try sample())
        let size = disk.contents("db0/resume")?.count ?? 0
        #expect(
            disk.takeOperations() == [
                "create db0/resume.tmp", "write db0/resume.tmp 0+\(size)", "sync db0/resume.tmp",
                "rename db0/resume.tmp -> db0/resume", "syncdir db0",
            ])
        try store.remove()
        #expect(disk.takeOperations() == ["unlink db0/resume", "syncdir db0"])
    }

    @Test("A power loss or a full disk while saving leaves the old point or the new one")
    func crashWhileSaving() throws {
        let old = try sample()
        var new = old
        new.bytesReceivedTwice = 99
        for operation in [FileOperation.create, .write, .sync, .rename, .syncDirectory] {
            for seed in 0..<10 {
                let (disk, store) = try store()
                try store.save(old)
                disk.inject(InjectedFault(operation, code: 28, bytesWrittenBefore: 30))
                #expect(throws: ResumeError.self) { try store.save(new) }
                disk.crash(.tornPowerLoss(seed: UInt64(seed)))
                let found = try store.load()
                #expect(found == old || found == new)
            }
        }
    }

    @Test("No prefix and no flipped bit of the file is believed, and the file stays")
    func damage() throws {
        let (disk, store) = try store()
        try store.save(try sample())
        let bytes = disk.contents("db0/resume") ?? []
        for count in 0..<bytes.count {
            disk.setContents("db0/resume", Array(bytes[..<count]))
            #expect(throws: ResumeError.self) { try store.load() }
            #expect(disk.contents("db0/resume")?.count == count)
        }
        for index in bytes.indices {
            var flipped = bytes
            flipped[index] ^= 0x04
            disk.setContents("db0/resume", flipped)
            let error = #expect(throws: ResumeError.self) { try store.load() }
            #expect(error?.description.contains("db0/resume") == true)
        }
    }

    @Test("A well-framed point with wrong content is refused: prefixes, flags, phases, names")
    func content() throws {
        let (disk, store) = try store()
        let frame = SealedFile(kind: "PKRESUME", version: 1, limitBytes: 1 << 20)
        try store.save(try sample())
        let payload = try frame.decode(disk.contents("db0/resume") ?? []).payload
        for count in 0..<payload.count {
            disk.setContents("db0/resume", try frame.encode(Array(payload[..<count])))
            let error = #expect(throws: ResumeError.self) { try store.load() }
            guard case .content = error else {
                Issue.record("prefix of \(count): \(String(describing: error))")
                return
            }
        }
        disk.setContents("db0/resume", try frame.encode(payload + [0]))
        #expect(throws: ResumeError.content(path: "db0/resume", .trailingBytes(1))) {
            try store.load()
        }
        for index in payload.indices {
            var flipped = payload
            flipped[index] ^= 0x80
            disk.setContents("db0/resume", try frame.encode(flipped))
            do throws(ResumeError) {
                _ = try store.load()
            } catch {
                guard case .content = error else {
                    Issue.record("flip at \(index): \(error)")
                    return
                }
            }
        }
    }

    @Test("Points that contradict themselves are not saved")
    func contradictions() throws {
        let (disk, store) = try store()
        let good = try sample()
        func refused(_ change: (inout ResumePoint) -> Void) {
            var point = good
            change(&point)
            #expect(throws: ResumeError.self) { try store.save(point) }
        }
        refused { $0.phase = .none }
        refused { $0.phase = .following }
        refused { $0.phase = .switching }
        refused { $0.master = nil }
        refused {
            $0.phase = .switching
            $0.snapshot = nil
        }
        refused { $0.snapshot?.files[0].verifiedBytes = 201 }
        refused { $0.snapshot?.files[1].name = "strings/000012.sst" }
        for name in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\u{0}b"] {
            refused { $0.snapshot?.files[1].name = name }
        }
        refused {
            $0.snapshot?.files[0].hashState = [UInt8](
                repeating: 0, count: ResumeLimits.maxHashStateBytes + 1)
        }
        refused {
            $0.snapshot?.files = (0...ResumeLimits.maxFiles).map { FileProgress(name: "\($0)") }
        }
        #expect(disk.contents("db0/resume") == nil)
    }
}
