import Keyspace
import PikaStorage
import ReplicationCore
import SyncProtocol
import TestKit
import Testing

@testable import Replication

@Suite("Ceiling of what snapshots hold of the disk")
struct SnapshotCeilingTests {
    private func holder(
        _ number: Int, isRead: Bool = false, _ files: [UInt64: UInt64]
    ) throws -> SnapshotCeiling.Holder {
        let digits = String(repeating: "\(number)", count: 32)
        let id = try #require(SnapshotID(digits))
        var held: [SnapshotCeiling.FileIdentity: UInt64] = [:]
        for (inode, bytes) in files { held[.init(device: 1, inode: inode)] = bytes }
        return SnapshotCeiling.Holder(id: id, isRead: isRead, heldBytes: held)
    }

    @Test("A file that two snapshots hold counts once, and at the limit nothing goes")
    func counts() throws {
        let holders = [try holder(1, [1: 100, 2: 50]), try holder(2, [1: 100, 3: 10])]
        #expect(SnapshotCeiling.heldBytes(holders) == 160)
        #expect(SnapshotCeiling.victims(holders, limitBytes: 160).isEmpty)
        #expect(SnapshotCeiling.victims(holders, limitBytes: 159) == [holders[0].id])
        #expect(SnapshotCeiling.victims(holders, limitBytes: 0) == holders.map(\.id))
        #expect(SnapshotCeiling.victims([], limitBytes: 0).isEmpty)
    }

    @Test("The oldest that nobody reads goes first, one that is read last")
    func order() throws {
        let holders = [
            try holder(1, isRead: true, [1: 10]), try holder(2, [2: 10]), try holder(3, [3: 10]),
            try holder(4, [:]),
        ]
        #expect(SnapshotCeiling.victims(holders, limitBytes: 29) == [holders[1].id])
        #expect(
            SnapshotCeiling.victims(holders, limitBytes: 0)
                == [holders[1].id, holders[2].id, holders[0].id])
    }

    @Test("A snapshot that outlived its data is dropped at the ceiling; its reader copies anew")
    func dropped() async throws {
        let pair = try await VirtualPair(replicaRate: 200_000)
        try pair.write(bytes: 3_000_000, seed: 1)
        try await pair.slaveOf()
        try await pair.wait("the copy's first bytes") { pair.total(.received) > 200_000 }
        let first = try #require(pair.master.status().master.snapshots.first)
        #expect(first.readerCount == 1)
        var settings = pair.master.settings
        settings.snapshotSizeLimitBytes = 1_000_000
        pair.master.apply(settings)
        // All files are in the database, too: they cost nothing.
        await pair.advance(milliseconds: 5_100)
        await pair.advance(milliseconds: 200)
        #expect(pair.master.status().master.snapshots.map(\.id) == [first.id])

        try pair.masterKeyspace.databases[0].removeAll()
        await pair.advance(milliseconds: 5_100)
        await pair.advance(milliseconds: 200)
        #expect(!pair.master.status().master.snapshots.map(\.id).contains(first.id))
        try await pair.wait("following with a new copy") { pair.phase == .following }
        #expect(try pair.replicaKeyspace.databases[0].countKeys(.strings).keys == 0)
        await pair.stop()
    }
}
