import Binlog
import FileIO
import Foundation
import Keyspace
import ReplicationCore
import SyncProtocol
import Testing

@testable import Replication

/// A replica that is away keeps its part of the log, over a restart of the master too (F27, B13).
@Suite("Leases over a restart of the master", .serialized)
struct LeaseTests {
    /// A master that keeps 10 files of its own accord, and has 20.
    private func master(
        in directory: String, leaseSeconds: Int = 1_800, limitBytes: UInt64 = 50 << 30
    ) throws -> MasterHarness {
        try MasterHarness(directory: directory, binlogFileBytes: 64 << 10) {
            $0.keepLogFiles = 10
            $0.lostReplicaLeaseSeconds = leaseSeconds
            $0.leasedBinlogLimitBytes = limitBytes
        }
    }

    private func fill(_ harness: MasterHarness) throws {
        try harness.set(1_200, valueBytes: 1_000)
        try harness.keyspace.databases[0].flush()
    }

    private func firstFile(_ harness: MasterHarness) -> UInt32 {
        harness.keyspace.databases[0].log.start.fileNumber
    }

    /// Whether the master purges what nobody holds; waits a while for it.
    private func purges(_ harness: MasterHarness) -> Bool {
        let end = Date().addingTimeInterval(3)
        while self.firstFile(harness) == 0, Date() < end {
            try? harness.service.purgeLogs(database: 0, upTo: 5)
            usleep(50_000)
        }
        return self.firstFile(harness) > 0
    }

    @Test("What a replica needed when the master was stopped is not purged after its start")
    func restart() throws {
        let directory = MasterHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let first = try self.master(in: directory)
        let replica = try FakeReplica(first)
        #expect(try replica.trySync(.zero).code == .ok)
        // The answer came, so the lease is on the disk: as if the process were killed now.
        let file = LeaseFile(databasePath: "\(directory)/db", fileSystem: RealFileSystem())
        let kept = try file.load(wallSeconds: SnapshotStorage.wallSeconds())
        #expect(kept.map(\.replica) == [replica.address])
        #expect(kept.first?.isConnected == true)
        try self.fill(first)
        first.stop()

        let second = try self.master(in: directory)
        #expect(!self.purges(second))
        let back = try FakeReplica(second)
        #expect(try back.trySync(.zero).code == .ok, "it goes on without a copy")
        second.stop()

        let third = try self.master(in: directory, leaseSeconds: 0)
        #expect(self.purges(third), "within the time that a lost replica has")
        third.stop()
    }

    @Test("A remembered lease that holds more than the limit gives way")
    func limit() throws {
        let directory = MasterHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let first = try self.master(in: directory)
        _ = try FakeReplica(first).trySync(.zero)
        try self.fill(first)
        first.stop()
        let second = try self.master(in: directory, limitBytes: 200_000)
        defer { second.stop() }
        #expect(self.purges(second))
        // The status is renewed every 200 ms.
        for _ in 0..<100 where second.service.status().leasesDropped == 0 { usleep(20_000) }
        #expect(second.service.status().leasesDropped == 1)
    }

    @Test("A damaged file of leases is left aside, and the master serves")
    func damaged() throws {
        let directory = MasterHarness.makeDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let first = try self.master(in: directory)
        _ = try FakeReplica(first).trySync(.zero)
        first.stop()
        let path = "\(directory)/db/\(LeaseFile.name)"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[20] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
        let second = try self.master(in: directory)
        defer { second.stop() }
        #expect(try FakeReplica(second).trySync(.zero).code == .ok)
    }

    @Test(
        "Leases read back; prefixes and flipped bytes are refused, of too many the rest is left out"
    )
    func codec() throws {
        func lease(_ number: Int) -> PurgeLeases.Remembered {
            PurgeLeases.Remembered(
                database: "db\(number % 8)",
                replica: ReplicaAddress(host: "10.0.0.\(number)", port: 9_221),
                fileNumber: UInt32(number), isConnected: number % 2 == 0, left: .seconds(number))
        }
        let leases = (1...3).map(lease)
        let payload = LeaseFile.encode(leases, wallSeconds: 1_000)
        #expect(try LeaseFile.decode(payload, wallSeconds: 1_000) == leases)
        #expect(
            try LeaseFile.decode(payload, wallSeconds: 5_000).map(\.left) == [.zero, .zero, .zero])
        for count in 0..<payload.count {
            #expect(throws: LeaseFile.Failure.self) {
                try LeaseFile.decode(Array(payload[..<count]), wallSeconds: 0)
            }
        }
        let sealed = try LeaseFile.envelope.encode(payload)
        for index in sealed.indices {
            var damaged = sealed
            damaged[index] ^= 0x40
            #expect(throws: SealedFileError.self) { try LeaseFile.envelope.decode(damaged) }
        }
        let many = (0..<LeaseFile.maximumLeases + 1).map(lease)
        let read = try LeaseFile.decode(LeaseFile.encode(many, wallSeconds: 0), wallSeconds: 0)
        #expect(read.count == LeaseFile.maximumLeases)
    }
}
