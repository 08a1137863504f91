internal import CXXHash
internal import FileIO
internal import Keyspace
internal import Logging
internal import SyncProtocol
internal import Synchronization

/// One snapshot of one database on the disk.
struct StoredSnapshot: Sendable {
    var manifest: SnapshotManifest
    var databaseIndex: Int
    /// `<snapshots>/<name>`; the lease lies beside it.
    var root: String
    /// `<root>/dbN`: the files.
    var directory: String
    var gateHeldMicroseconds: Int
    /// When the lease on disk ends, Unix seconds.
    var leaseEndSeconds: Int64
}

/// The snapshots' directories and leases; every call blocks, so: on the pool, or before the start.
///
/// ```text
/// <dump-path>/snapshots/<name>/dbN/{strings,hashes,lists,zsets,sets}/…   RocksDB files, hard links
/// <dump-path>/snapshots/<name>/dbN/info                                  as in a dump of real Pika
/// <dump-path>/snapshots/<name>.lease                                     sealed file, see below
/// ```
/// The lease is written last and removed first: a directory without one is rubbish.
struct SnapshotStorage: Sendable {
    let context: ReplicationContext

    /// Payload of a lease: i64 LE, Unix seconds of its end; u32 LE, index of the database; u32 LE,
    /// microseconds that writers had to wait for the cut.
    private static let leaseFile = SealedFile(kind: "PSLEASE", version: 1, limitBytes: 64)
    private static let leaseSuffix = ".lease"
    /// The longest `info` that is believed.
    private static let infoLimitBytes = 4_096
    /// The order in which real Pika lists its directories.
    private static let typeOrder = ["strings", "hashes", "lists", "zsets", "sets"]

    private var fileSystem: any FileSystem { self.context.configuration.fileSystem }

    /// Where snapshots for replicas lie.
    var directory: String { Path.join(self.context.configuration.dumpPath, "snapshots") }

    // MARK: Making

    /// Cuts one database and leases the snapshot.
    func cut(databaseIndex: Int) throws(ReplicationError) -> StoredSnapshot {
        let name = "\(Self.wallSeconds())-\(UInt32.random(in: 0...(.max)))-db\(databaseIndex)"
        let root = Path.join(self.directory, name)
        let settings = self.context.settings.current
        do {
            try self.fileSystem.makeDirectory(self.directory)
            let snapshot = try self.context.keyspace.cutSnapshot(
                databases: [databaseIndex], into: root, host: self.announcedHost,
                port: self.context.configuration.port)
            guard let database = snapshot.databases.first else {
                throw ReplicationError(.storage, "the cut has no database")
            }
            try self.makeInfoUnique(database)
            var stored = try self.describe(database, index: databaseIndex, root: root)
            stored.leaseEndSeconds = Self.wallSeconds() + Int64(settings.snapshotLeaseSeconds)
            try self.writeLease(stored)
            return stored
        } catch {
            self.delete(root: root)
            throw ReplicationError(
                .storage, "no snapshot of db\(databaseIndex)", cause: "\(error)")
        }
    }

    /// The address in `info`: what replicas know us by.
    var announcedHost: String { self.context.configuration.announceHost ?? "127.0.0.1" }

    /// Two cuts at one position must not have one id, which is the digest of `info`: the first
    /// line, a duration that nobody reads, gets a fraction that no other cut has.
    private func makeInfoUnique(_ database: DatabaseSnapshot) throws {
        let path = Path.join(database.directory, "info")
        let bytes = try self.fileSystem.readFile(path, limitBytes: Self.infoLimitBytes) ?? []
        let rest = bytes.drop { $0 != UInt8(ascii: "\n") }
        var fraction = String(UInt32.random(in: 0..<1_000_000_000))
        fraction = String(repeating: "0", count: 9 - fraction.count) + fraction
        let seconds = bytes.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        let first = String(decoding: seconds, as: UTF8.self) + ".\(fraction)s"
        try self.fileSystem.writeAtomically(path, Array(first.utf8) + rest)
    }

    private func describe(
        _ database: DatabaseSnapshot, index: Int, root: String
    ) throws -> StoredSnapshot {
        let info =
            try self.fileSystem.readFile(
                Path.join(database.directory, "info"), limitBytes: Self.infoLimitBytes) ?? []
        guard let id = SnapshotID(MD5.hex(info)), !info.isEmpty else {
            throw ReplicationError(.storage, "snapshot without info")
        }
        var files = database.files.map {
            SyncProtocol.SnapshotFile(name: $0.path, sizeBytes: $0.sizeBytes)
        }
        files.removeAll { Self.rank($0.name) == nil }
        files.sort { left, right in
            let ranks = (Self.rank(left.name) ?? 0, Self.rank(right.name) ?? 0)
            return ranks.0 != ranks.1 ? ranks.0 < ranks.1 : left.name < right.name
        }
        files.append(
            SyncProtocol.SnapshotFile(name: "info", sizeBytes: UInt64(info.count)))
        return StoredSnapshot(
            manifest: SnapshotManifest(
                id: id, files: files, position: database.position,
                digest: database.runningDigest, history: database.history,
                highestEffectiveNowSeconds: database.highestEffectiveNow),
            databaseIndex: index, root: root, directory: database.directory,
            gateHeldMicroseconds: database.gateHeldMicroseconds, leaseEndSeconds: 0)
    }

    /// The place of a file's directory in the list; nil = it is not listed.
    ///
    /// C12: `streams` never is, a 3.5.5 replica does not make that directory.
    private static func rank(_ name: String) -> Int? {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[1].isEmpty else { return nil }
        return Self.typeOrder.firstIndex(of: String(parts[0]))
    }

    // MARK: Leases

    /// Writes when the lease ends, durably.
    func writeLease(_ snapshot: StoredSnapshot) throws {
        var payload: [UInt8] = []
        withUnsafeBytes(of: snapshot.leaseEndSeconds.littleEndian) { payload += $0 }
        withUnsafeBytes(of: UInt32(snapshot.databaseIndex).littleEndian) { payload += $0 }
        withUnsafeBytes(of: UInt32(clamping: snapshot.gateHeldMicroseconds).littleEndian) {
            payload += $0
        }
        try self.fileSystem.writeAtomically(
            snapshot.root + Self.leaseSuffix, try Self.leaseFile.encode(payload))
    }

    private func readLease(root: String) throws -> (end: Int64, database: Int, held: Int)? {
        guard
            let bytes = try self.fileSystem.readFile(
                root + Self.leaseSuffix,
                limitBytes: Self.leaseFile.limitBytes + SealedFile.overheadBytes)
        else { return nil }
        let payload = try Self.leaseFile.decode(bytes).payload
        guard payload.count == 16 else { return nil }
        func load(_ range: Range<Int>) -> UInt64 {
            range.reversed().reduce(0) { $0 << 8 | UInt64(payload[$1]) }
        }
        return (
            Int64(bitPattern: load(0..<8)), Int(load(8..<12)), Int(load(12..<16))
        )
    }

    /// The snapshots that a former process left and whose leases last; all else is removed.
    ///
    /// F7: a copy goes on after the master was killed and started again.
    func restore() -> [StoredSnapshot] {
        guard let names = try? self.fileSystem.list(self.directory) else { return [] }
        var found: [StoredSnapshot] = []
        for name in names where !name.hasSuffix(Self.leaseSuffix) {
            let root = Path.join(self.directory, name)
            do {
                if let snapshot = try self.restore(root: root) {
                    found.append(snapshot)
                    continue
                }
                self.context.logger.info("old snapshot removed", metadata: ["path": "\(root)"])
            } catch {
                self.context.logger.warning(
                    "snapshot of a former process is not usable",
                    metadata: [
                        "path": "\(root)", "error": "\(error)",
                    ])
            }
            self.delete(root: root)
        }
        for name in names where name.hasSuffix(Self.leaseSuffix) {
            let root = String(name.dropLast(Self.leaseSuffix.count))
            if !names.contains(root) {
                try? self.fileSystem.unlinkIfPresent(Path.join(self.directory, name))
            }
        }
        return found
    }

    private func restore(root: String) throws -> StoredSnapshot? {
        guard let lease = try self.readLease(root: root), lease.end > Self.wallSeconds(),
            self.context.keyspace.databases.indices.contains(lease.database)
        else { return nil }
        let snapshot = try self.context.readSnapshot(root)
        let name = self.context.keyspace.databases[lease.database].name
        guard let database = snapshot.databases.first(where: { $0.database == name }) else {
            return nil
        }
        for file in database.files {
            let status = try self.fileSystem.status(Path.join(database.directory, file.path))
            guard status?.sizeBytes == file.sizeBytes else {
                throw ReplicationError(
                    .storage, "\(file.path) has not its \(file.sizeBytes) bytes")
            }
        }
        var stored = try self.describe(database, index: lease.database, root: root)
        stored.leaseEndSeconds = lease.end
        stored.gateHeldMicroseconds = lease.held
        return stored
    }

    /// Removes a snapshot; what stays after a failure is removed at the next start.
    func delete(root: String) {
        do {
            try self.fileSystem.unlinkIfPresent(root + Self.leaseSuffix)
            try self.fileSystem.removeTree(root)
        } catch {
            self.context.logger.warning(
                "snapshot not removed",
                metadata: [
                    "path": "\(root)", "error": "\(error)",
                ])
        }
    }

    // MARK: Digests

    /// XXH64 of a whole file.
    func digest(_ path: String) throws(FileError) -> UInt64 {
        let file = try self.fileSystem.open(path, .readOnly)
        defer { try? file.close() }
        guard let state = XXH64_createState() else {
            preconditionFailure("no memory for a digest")
        }
        defer { XXH64_freeState(state) }
        _ = XXH64_reset(state, 0)
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { piece.deallocate() }
        var offset: UInt64 = 0
        while true {
            let count = try file.read(into: piece, at: offset)
            if count == 0 { return XXH64_digest(state) }
            _ = XXH64_update(state, piece.baseAddress, count)
            offset += UInt64(count)
        }
    }

    // MARK: Wall clock

    static func wallSeconds() -> Int64 { systemWallClock() }
}

/// The open files of one snapshot, shared by the pool's threads.
final class SnapshotFiles: Sendable {
    /// Open at once; beyond, one is let go (and closed when its last reader is done).
    static let openLimit = 64

    /// EIO: a file of a snapshot is shorter than its manifest says.
    static let endOfFileCode: Int32 = 5

    private let directory: String
    private let names: [String]
    private let fileSystem: any FileSystem
    private let open = Mutex<[Int: any File]>([:])

    init(_ snapshot: StoredSnapshot, fileSystem: any FileSystem) {
        self.directory = snapshot.directory
        self.names = snapshot.manifest.files.map(\.name)
        self.fileSystem = fileSystem
    }

    /// Reads exactly `buffer.count` bytes; a shorter file is an error.
    func read(
        fileIndex: Int, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(FileError) {
        let file = try self.file(fileIndex)
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = try file.read(into: rest, at: offset + UInt64(done))
            guard count > 0 else {
                throw FileError(.read, file.path, code: SnapshotFiles.endOfFileCode)
            }
            done += count
        }
    }

    private func file(_ index: Int) throws(FileError) -> any File {
        if let file = self.open.withLock({ $0[index] }) { return file }
        let file = try self.fileSystem.open(
            Path.join(self.directory, self.names[index]), .readOnly)
        file.advise(.sequential, offset: 0, count: 0)
        self.open.withLock { table in
            if table.count >= Self.openLimit, let victim = table.keys.first {
                table[victim] = nil
            }
            table[index] = file
        }
        return file
    }
}
