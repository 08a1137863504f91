import Binlog
import Foundation
import Keyspace
import NIOCore
import SyncProtocol
import Synchronization
import Testing

@testable import Replication

/// Port+10001 over real sockets: spec replication-protocol 8, and what ours adds.
@Suite("Snapshot service", .serialized)
struct SnapshotServiceTests {
    /// Reads a whole file as a real Pika does, one request after the other.
    func read(_ files: RawSocket, _ name: String, uuid: String) throws -> ByteBuffer {
        var content = ByteBuffer()
        while true {
            files.send(
                .read(
                    FileReadRequest(
                        database: "db0", readerIndex: 1, filename: name,
                        offset: UInt64(content.readableBytes), count: 4 << 20)))
            let decoded = try files.file()
            guard case .read(let response) = decoded.response, let chunk = response.chunk else {
                Issue.record("no chunk of \(name)")
                throw RawSocket.Failure.closed
            }
            #expect(response.snapshotID == uuid)
            #expect(chunk.offset == UInt64(content.readableBytes))
            #expect(chunk.count == UInt64(decoded.data.readableBytes))
            #expect(chunk.checksum == "")
            content.writeImmutableBuffer(decoded.data)
            if chunk.isEnd { return content }
        }
    }

    /// BGSAVE: afterwards the stores hold all of the log.
    func save(_ harness: MasterHarness) throws {
        try harness.service.backgroundSave(databases: [])
        for _ in 0..<200 where harness.service.status().backgroundSave.isRunning {
            Thread.sleep(forTimeInterval: 0.05)
        }
        #expect(harness.service.status().backgroundSave.lastFailure == nil)
    }

    @Test("C1, C12: a real Pika gets the whole list, info last, and every file as it lies there")
    func realPika() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(200)
        let replica = try FakeReplica(harness)
        let grant = try replica.dbSync()
        #expect(grant.session.rawValue >= 0)
        let files = try RawSocket(port: harness.port + 10_001)
        let list = try replica.list(files)
        let names = try #require(list.filenames)
        #expect(list.status == .ok)
        #expect(names.last == "info")
        let types = names.dropLast().map { String($0.prefix { $0 != "/" }) }
        let order = ["strings", "hashes", "lists", "zsets", "sets"]
        let ranks = types.map { order.firstIndex(of: $0) ?? 99 }
        #expect(ranks == ranks.sorted())
        #expect(Set(types) == Set(order))
        #expect(names.contains("strings/CURRENT"))

        let info = try read(files, "info", uuid: list.snapshotID)
        #expect(MD5.hex(info.readableBytesView) == list.snapshotID)
        let lines = String(buffer: info).split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == 6)
        #expect(lines[0].hasSuffix("s"))
        #expect(lines[1] == "127.0.0.1")
        #expect(lines[2] == "\(harness.port)")
        let position = harness.keyspace.databases[0].published
        #expect(lines[3] == "\(position.fileNumber)")
        #expect(lines[4] == "\(position.offset)")
        for name in names {
            let content = try read(files, name, uuid: list.snapshotID)
            #expect(content.readableBytes > 0 || name.hasSuffix(".log"), "\(name)")
        }
    }

    @Test("One of ours gets sizes, position, history; chunks carry their digest and request id")
    func ours() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(200)
        let replica = try FakeReplica(harness, ours: true)
        _ = try replica.dbSync()
        let files = try RawSocket(port: harness.port + 10_001)
        let manifest = try #require(try replica.list(files).manifest)
        #expect(manifest.position == harness.keyspace.databases[0].published)
        #expect(manifest.history == harness.keyspace.databases[0].history)
        for (index, file) in manifest.files.enumerated() {
            files.send(
                .read(
                    FileReadRequest(
                        database: "db0", readerIndex: 0, filename: file.name, offset: 0,
                        count: 256 << 10, fileToken: replica.master?.fileToken,
                        requestID: UInt64(index), snapshot: manifest.id)))
        }
        var seen: Set<UInt64> = []
        for _ in manifest.files {
            let decoded = try files.file()
            guard case .read(let response) = decoded.response, let chunk = response.chunk else {
                Issue.record("no chunk")
                return
            }
            let number = try #require(response.requestID)
            seen.insert(number)
            let file = manifest.files[Int(number)]
            #expect(chunk.filename == file.name)
            #expect(chunk.digest == FileServiceCodec.digest(of: decoded.data))
            #expect(chunk.isEnd == (chunk.count == file.sizeBytes))
        }
        #expect(seen.count == manifest.files.count)
        // Whole-file digests are in the list as soon as they are known.
        for _ in 0..<100 {
            let again = try #require(try replica.list(files, wanted: manifest.id).manifest)
            if again.files.allSatisfy({ $0.digest != nil }) { return }
            Thread.sleep(forTimeInterval: 0.05)
        }
        Issue.record("digests never came")
    }

    @Test("F6: replicas that join at once share one snapshot")
    func shared() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(100)
        let replicas = try (1...4).map { try FakeReplica(harness, number: $0, ours: true) }
        for replica in replicas { _ = try replica.dbSync() }
        var ids: Set<String> = []
        for replica in replicas {
            let files = try RawSocket(port: harness.port + 10_001)
            ids.insert(try replica.list(files).snapshotID)
        }
        #expect(ids.count == 1)
        #expect(harness.service.status().snapshots.count <= 1)
    }

    @Test("F7: a snapshot that is copied survives the master's restart, id and bytes")
    func survivesRestart() throws {
        let directory = MasterHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var harness = try MasterHarness(directory: directory)
        try harness.set(100)
        var replica = try FakeReplica(harness, ours: true)
        _ = try replica.dbSync()
        var files = try RawSocket(port: harness.port + 10_001)
        let manifest = try #require(try replica.list(files).manifest)
        harness.stop()

        harness = try MasterHarness(directory: directory)
        defer { harness.stop() }
        try harness.set(100, prefix: "later")
        replica = try FakeReplica(harness, ours: true)
        let grant = try replica.dbSync(wanted: manifest.id)
        #expect(grant.snapshot?.isReady == true)
        #expect(grant.snapshot?.id == manifest.id)
        files = try RawSocket(port: harness.port + 10_001)
        let again = try #require(try replica.list(files, wanted: manifest.id).manifest)
        #expect(again.id == manifest.id)
        #expect(again.position == manifest.position)
        #expect(again.files.map(\.name) == manifest.files.map(\.name))
        #expect(again.files.map(\.sizeBytes) == manifest.files.map(\.sizeBytes))
    }

    @Test("A snapshot whose lease has expired is removed, also one of a former process")
    func expires() throws {
        let directory = MasterHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let harness = try MasterHarness(directory: directory) { $0.snapshotLeaseSeconds = 1 }
        try harness.set(10)
        let snapshots = "\(directory)/dump/snapshots"
        do {
            let replica = try FakeReplica(harness, ours: true)
            _ = try replica.dbSync()
            let files = try RawSocket(port: harness.port + 10_001)
            _ = try replica.list(files)
            #expect(try FileManager.default.contentsOfDirectory(atPath: snapshots).count == 2)
        }
        var left = 2
        for _ in 0..<100 where left > 0 {
            Thread.sleep(forTimeInterval: 0.1)
            left = try FileManager.default.contentsOfDirectory(atPath: snapshots).count
        }
        #expect(left == 0)
        harness.stop()
        // What a killed process may leave: a directory without a lease, a lease without one.
        try FileManager.default.createDirectory(
            atPath: "\(snapshots)/1-2-db0/db0", withIntermediateDirectories: true)
        _ = FileManager.default.createFile(
            atPath: "\(snapshots)/9-9-db0.lease", contents: Data([1]))
        let again = try MasterHarness(directory: directory)
        defer { again.stop() }
        #expect(try FileManager.default.contentsOfDirectory(atPath: snapshots).isEmpty)
    }

    @Test("C5: names outside the list, and hostile numbers, get an error; the master serves on")
    func hostile() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(10)
        let replica = try FakeReplica(harness)
        _ = try replica.dbSync()
        let files = try RawSocket(port: harness.port + 10_001)
        let list = try replica.list(files)
        let requests = [
            ("../../../pika.conf", 0, 100, 0), ("/etc/passwd", 0, 100, 0), ("info", 1 << 62, 1, 0),
            ("info", 0, 10, 77), ("info", 0, 10, -1), ("strings/../info", 0, 10, 0),
        ]
        for (name, offset, count, reader) in requests {
            let hostile = try RawSocket(port: harness.port + 10_001)
            hostile.send(
                .read(
                    FileReadRequest(
                        database: "db0", readerIndex: Int32(reader), filename: name,
                        offset: UInt64(offset), count: UInt64(count))))
            // What the codec refuses closes the connection, the rest is answered.
            guard case .read(let response) = try? hostile.file().response else { continue }
            #expect(response.status == .error)
            #expect(response.chunk == nil)
        }
        files.send(
            .read(
                FileReadRequest(
                    database: "db0", readerIndex: 0, filename: "info", offset: 0, count: 4 << 20)))
        guard case .read(let good) = try files.file().response else { return }
        #expect(good.chunk?.isEnd == true)
        #expect(good.snapshotID == list.snapshotID)
    }

    @Test("F8: the log behind the snapshot is there when the copy is done, whatever is purged")
    func pinned() throws {
        let harness = try MasterHarness(binlogFileBytes: 64 << 10)
        defer { harness.stop() }
        try harness.set(100)
        let replica = try FakeReplica(harness, ours: true)
        let grant = try replica.dbSync()
        let files = try RawSocket(port: harness.port + 10_001)
        let manifest = try #require(try replica.list(files).manifest)
        try harness.set(3_000, prefix: "later", valueBytes: 500)
        let database = harness.keyspace.databases[0]
        #expect(database.published.fileNumber > 12)
        try self.save(harness)
        try harness.service.purgeLogs(database: 0, upTo: .max)
        Thread.sleep(forTimeInterval: 0.3)
        let verdict = try replica.trySync(
            manifest.position,
            claim: HistoryClaim(
                entries: manifest.history, digest: manifest.digest, endsInsideGroup: false))
        #expect(verdict.code == .ok)
        #expect(verdict.session == grant.session)
        let chips = try replica.follow(
            from: manifest.position, session: grant.session, until: database.published)
        #expect(chips.count == 3_000)
    }

    @Test("Without leases PURGELOGSTO removes old files, never the current one")
    func purge() throws {
        let harness = try MasterHarness(binlogFileBytes: 64 << 10)
        defer { harness.stop() }
        try harness.set(3_000, valueBytes: 500)
        let database = harness.keyspace.databases[0]
        try self.save(harness)
        try harness.service.purgeLogs(database: 0, upTo: .max)
        for _ in 0..<100 where database.log.files().count > 1 {
            Thread.sleep(forTimeInterval: 0.05)
        }
        #expect(database.log.files().map(\.number) == [database.published.fileNumber])
        let replica = try FakeReplica(harness)
        #expect(try replica.trySync(.zero).code == .syncPointPurged)
        try harness.set(1)
    }

    @Test("BGSAVE writes Pika's layout; a second one the same day takes its place")
    func backgroundSave() throws {
        let harness = try MasterHarness(databases: 2)
        defer { harness.stop() }
        try harness.set(10)
        for _ in 0..<2 {
            try self.save(harness)
            let status = harness.service.status().backgroundSave
            #expect(status.lastFailure == nil)
            let directory = try #require(status.lastDirectory)
            #expect(directory.hasSuffix("/dump/" + DumpWriter.day(status.startedAtSeconds ?? 0)))
            for name in ["db0/info", "db1/info", "db0/strings/CURRENT", "db1/sets/CURRENT"] {
                #expect(FileManager.default.fileExists(atPath: "\(directory)/\(name)"), "\(name)")
            }
        }
        let dumps = try FileManager.default.contentsOfDirectory(
            atPath: "\(harness.directory)/dump")
        #expect(dumps.filter { $0 != "snapshots" }.count == 1)
    }

    @Test("SAVE returns with the whole dump in place, and is refused while another one runs")
    func save() throws {
        let harness = try MasterHarness()
        defer { harness.stop() }
        try harness.set(10)
        try harness.service.save(databases: [])
        var status = harness.service.status().backgroundSave
        #expect(!status.isRunning && status.lastFailure == nil)
        let directory = try #require(status.lastDirectory)
        #expect(FileManager.default.fileExists(atPath: "\(directory)/db0/info"))
        #expect(throws: ReplicationError(.badArgument, "no such database")) {
            try harness.service.save(databases: [7])
        }
        // Whoever comes second is refused, whichever that is.
        let outcomes = Mutex<[ReplicationError.Code?]>([])
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            do throws(ReplicationError) {
                try harness.service.save(databases: [])
                outcomes.withLock { $0.append(nil) }
            } catch {
                outcomes.withLock { $0.append(error.code) }
            }
        }
        let codes = outcomes.withLock { $0 }
        #expect(codes.contains(nil))
        #expect(codes.allSatisfy { $0 == nil || $0 == .busy })
        status = harness.service.status().backgroundSave
        #expect(!status.isRunning && status.lastFailure == nil)
    }
}
