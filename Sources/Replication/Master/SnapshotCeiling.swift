internal import FileIO
internal import Keyspace
internal import SyncProtocol

/// Which snapshots must go, so that they do not hold more of the disk than they may.
///
/// A snapshot's files are hard links: they cost nothing as long as the database has them, too. What
/// counts are the files that only snapshots hold any more, each once.
enum SnapshotCeiling {
    /// Which file a name stands for.
    struct FileIdentity: Hashable, Sendable {
        var device: UInt64
        var inode: UInt64
    }

    /// A snapshot, with the files that the database does not have any more.
    struct Holder: Sendable {
        var id: SnapshotID
        /// Whether a replica reads it now.
        var isRead: Bool
        var heldBytes: [FileIdentity: UInt64]
    }

    /// Bytes that go when all these snapshots go.
    static func heldBytes(_ holders: [Holder]) -> UInt64 {
        var all: [FileIdentity: UInt64] = [:]
        for holder in holders { all.merge(holder.heldBytes) { first, _ in first } }
        return all.values.reduce(0, +)
    }

    /// The snapshots to remove, until the others hold at most `limitBytes`.
    ///
    /// - Parameter holders: the oldest first. Those that nobody reads go before those that somebody
    ///   reads, the oldest first in each.
    static func victims(_ holders: [Holder], limitBytes: UInt64) -> [SnapshotID] {
        var rest = holders
        var victims: [SnapshotID] = []
        while self.heldBytes(rest) > limitBytes {
            let index = rest.firstIndex { !$0.isRead && !$0.heldBytes.isEmpty }
            guard let next = index ?? rest.firstIndex(where: { !$0.heldBytes.isEmpty }) else {
                break
            }
            victims.append(rest.remove(at: next).id)
        }
        return victims
    }
}

extension SnapshotStorage {
    /// The files of a snapshot that its database does not have any more.
    ///
    /// RocksDB never changes a file of a snapshot's under its name: the same name in the database is
    /// the same file, or another one after a switch or FLUSHDB. Blocks.
    func heldFiles(
        of snapshot: StoredSnapshot
    ) throws(FileError) -> [SnapshotCeiling.FileIdentity: UInt64] {
        let fileSystem = self.context.configuration.fileSystem
        let live = Path.join(
            self.context.keyspaceConfiguration.databasePath, "db\(snapshot.databaseIndex)")
        var held: [SnapshotCeiling.FileIdentity: UInt64] = [:]
        for file in snapshot.manifest.files {
            guard
                let status = try fileSystem.status(Path.join(snapshot.directory, file.name))
            else { continue }
            let other = try fileSystem.status(Path.join(live, file.name))
            let isShared = other.map {
                $0.inode == status.inode && $0.deviceID == status.deviceID
            }
            guard isShared != true else { continue }
            held[.init(device: status.deviceID, inode: status.inode)] = status.sizeBytes
        }
        return held
    }
}
