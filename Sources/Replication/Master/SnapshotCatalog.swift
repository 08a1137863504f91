internal import Binlog
internal import FileIO
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ReplicationCore
internal import SyncProtocol

/// The snapshots that replicas may read: made on demand, shared, leased, deleted.
///
/// Used on the replication loop only.
final class SnapshotCatalog {
    /// Who asked for a snapshot with DBSync.
    struct Requester: Hashable, Sendable {
        var connection: UInt64
        var database: Int
    }

    private final class Entry {
        var stored: StoredSnapshot
        let files: SnapshotFiles
        let since: MonotonicInstant
        var expires: MonotonicInstant
        var lastPersisted: MonotonicInstant
        var isBeingDigested = false

        init(
            _ stored: StoredSnapshot, files: SnapshotFiles, now: MonotonicInstant,
            expires: MonotonicInstant
        ) {
            self.stored = stored
            self.files = files
            self.since = now
            self.expires = expires
            self.lastPersisted = now
        }
    }

    private struct Cut {
        var since: MonotonicInstant
        var requesters: Set<Requester>
    }

    /// How often a moving lease is written down.
    static let leasePersistence: Duration = .seconds(20)
    /// How long a database is left alone after a cut that failed.
    static let cutBackoff: Duration = .seconds(5)
    /// How often it is looked at how much of the disk snapshots hold.
    static let ceilingInterval: Duration = .seconds(5)
    /// When a replica of ours shall ask again while a snapshot is made.
    static let retryMilliseconds: UInt32 = 100

    private let storage: SnapshotStorage
    weak var core: MasterCore?
    var settings = ReplicationSettings()
    private var entries: [SnapshotID: Entry] = [:]
    private var cuts: [Int: Cut] = [:]
    private var failedAt: [Int: MonotonicInstant] = [:]
    private var lastCutDuration: Duration = .milliseconds(300)
    private var lastCeilingCheck = MonotonicInstant(nanoseconds: 0)
    private var isCheckingCeiling = false

    init(storage: SnapshotStorage) {
        self.storage = storage
    }

    private var context: ReplicationContext { self.storage.context }

    // MARK: Asking

    /// A replica sent DBSync: finds the snapshot that it shall read, or begins to make one.
    ///
    /// F6: whoever comes while one is made, or within the join window, shares it.
    func request(
        database: Int, wanted: SnapshotID?, now: MonotonicInstant, for requester: Requester
    ) -> SnapshotStatus {
        if let wanted, let entry = self.entries[wanted], entry.stored.databaseIndex == database,
            self.canBeFollowed(entry)
        {
            return self.choose(entry, requester, now: now)
        }
        if let newest = self.newestEntry(database), self.canBeFollowed(newest) {
            let age = now.since(newest.since)
            let isFresh = age <= .seconds(self.settings.snapshotJoinSeconds)
            let count = self.entries.values.count { $0.stored.databaseIndex == database }
            if isFresh || count >= self.settings.snapshotCountLimit {
                return self.choose(newest, requester, now: now)
            }
        }
        if self.cuts[database] != nil {
            self.cuts[database]?.requesters.insert(requester)
        } else if let failed = self.failedAt[database],
            now.since(failed) < Self.cutBackoff
        {
            // Waiting is a state, not an error (F9); its next question tries again.
        } else {
            self.beginCut(database, requester, now: now)
        }
        return self.preparing(database, now: now)
    }

    /// Whether the log still reaches back to the snapshot.
    ///
    /// Its lease may have been dropped since it held too much; a copy of it would end in the next
    /// full copy (F27).
    private func canBeFollowed(_ entry: Entry) -> Bool {
        let database = self.context.keyspace.databases[entry.stored.databaseIndex]
        return database.log.start <= entry.stored.manifest.position
    }

    private func choose(
        _ entry: Entry, _ requester: Requester, now: MonotonicInstant
    ) -> SnapshotStatus {
        self.renew(entry, now: now)
        self.core?.connections[requester.connection]?.snapshotChosen(
            entry.stored, database: requester.database)
        return SnapshotStatus(
            id: entry.stored.manifest.id, isReady: true, percent: 100, retryAfterMilliseconds: 0)
    }

    private func preparing(_ database: Int, now: MonotonicInstant) -> SnapshotStatus {
        var percent: UInt32 = 0
        if let cut = self.cuts[database] {
            let elapsed = now.since(cut.since)
            percent = UInt32(min(99, 100 * (elapsed / max(self.lastCutDuration, elapsed))))
        }
        return SnapshotStatus(
            id: nil, isReady: false, percent: percent,
            retryAfterMilliseconds: Self.retryMilliseconds)
    }

    /// A snapshot by its id.
    func manifest(_ id: SnapshotID, database: Int) -> SnapshotManifest? {
        guard let entry = self.entries[id], entry.stored.databaseIndex == database else {
            return nil
        }
        return entry.stored.manifest
    }

    /// The newest snapshot of a database.
    func newest(_ database: Int) -> SnapshotManifest? {
        self.newestEntry(database)?.stored.manifest
    }

    private func newestEntry(_ database: Int) -> Entry? {
        self.entries.values.filter { $0.stored.databaseIndex == database }
            .max { $0.since < $1.since }
    }

    /// The files of a snapshot that a connection has attached.
    func files(_ id: SnapshotID) -> SnapshotFiles? { self.entries[id]?.files }

    // MARK: Making

    private func beginCut(_ database: Int, _ requester: Requester, now: MonotonicInstant) {
        self.cuts[database] = Cut(since: now, requesters: [requester])
        let storage = self.storage
        let core = self.core
        self.context.pool.submit { _ in
            let result = Result { () throws(ReplicationError) -> StoredSnapshot in
                try storage.cut(databaseIndex: database)
            }
            storage.context.loop.execute {
                core?.catalog.finishCut(database, result, now: storage.context.loop.instant)
            }
        }
    }

    private func finishCut(
        _ database: Int, _ result: Result<StoredSnapshot, ReplicationError>,
        now: MonotonicInstant
    ) {
        guard let cut = self.cuts.removeValue(forKey: database) else { return }
        switch result {
        case .success(let stored):
            self.lastCutDuration = now.since(cut.since)
            self.failedAt[database] = nil
            self.context.logger.info(
                "snapshot cut",
                metadata: [
                    "db": "db\(database)", "id": "\(stored.manifest.id)",
                    "position": "\(stored.manifest.position)",
                    "bytes": "\(stored.manifest.totalBytes)",
                    "gate_us": "\(stored.gateHeldMicroseconds)",
                ])
            self.install(stored, now: now)
            for requester in cut.requesters {
                self.core?.connections[requester.connection]?.snapshotChosen(
                    stored, database: database)
            }
            self.core?.fileConnections.values.forEach { $0.snapshotsChanged() }
        case .failure(let error):
            self.failedAt[database] = now
            self.context.logger.error(
                "snapshot failed",
                metadata: [
                    "db": "db\(database)", "error": "\(error)",
                ])
        }
    }

    /// Takes up a snapshot, new or from a former process.
    func install(_ stored: StoredSnapshot, now: MonotonicInstant) {
        let left = stored.leaseEndSeconds - SnapshotStorage.wallSeconds()
        let lease = min(max(left, 0), Int64(self.settings.snapshotLeaseSeconds))
        let entry = Entry(
            stored,
            files: SnapshotFiles(stored, fileSystem: self.context.configuration.fileSystem),
            now: now, expires: now + .seconds(lease))
        self.entries[stored.manifest.id] = entry
        self.core?.leases.hold(
            .snapshot(stored.manifest.id.description), database: self.name(stored),
            from: stored.manifest.position)
        self.digestNextFile(of: stored.manifest.id, from: 0)
    }

    private func name(_ stored: StoredSnapshot) -> String {
        self.context.keyspace.databases[stored.databaseIndex].name
    }

    /// Computes whole-file digests one file after the other, each a task of its own, so that
    /// readers get their turns on the pool.
    private func digestNextFile(of id: SnapshotID, from index: Int) {
        guard let entry = self.entries[id], index < entry.stored.manifest.files.count else {
            return
        }
        let path = Path.join(entry.stored.directory, entry.stored.manifest.files[index].name)
        let storage = self.storage
        let core = self.core
        self.context.pool.submit { _ in
            let digest = try? storage.digest(path)
            storage.context.loop.execute {
                core?.catalog.install(digest: digest, of: id, fileIndex: index)
            }
        }
    }

    private func install(digest: UInt64?, of id: SnapshotID, fileIndex: Int) {
        guard let entry = self.entries[id] else { return }
        entry.stored.manifest.files[fileIndex].digest = digest
        self.digestNextFile(of: id, from: fileIndex + 1)
    }

    // MARK: Leases

    /// The snapshot is read, or its replica lives.
    func renew(_ id: SnapshotID, now: MonotonicInstant) {
        if let entry = self.entries[id] { self.renew(entry, now: now) }
    }

    private func renew(_ entry: Entry, now: MonotonicInstant) {
        let lease = Duration.seconds(self.settings.snapshotLeaseSeconds)
        entry.expires = max(entry.expires, now + lease)
        guard now.since(entry.lastPersisted) >= Self.leasePersistence else { return }
        entry.lastPersisted = now
        var stored = entry.stored
        stored.leaseEndSeconds =
            SnapshotStorage.wallSeconds() + Int64(self.settings.snapshotLeaseSeconds)
        let storage = self.storage
        self.context.pool.submit { [stored] _ in storage.tryWriteLease(stored) }
    }

    /// Writes all leases down, at a stop.
    ///
    /// Blocks.
    func persistLeases(now: MonotonicInstant) {
        for entry in self.entries.values {
            var stored = entry.stored
            let left = entry.expires.since(now).components.seconds
            stored.leaseEndSeconds = SnapshotStorage.wallSeconds() + left
            self.storage.tryWriteLease(stored)
        }
    }

    func tick(now: MonotonicInstant) {
        for connection in self.core?.connections.values.map({ $0 }) ?? [] {
            for id in connection.copiedSnapshots { self.renew(id, now: now) }
        }
        for (id, entry) in self.entries where entry.expires <= now && self.readerCount(id) == 0 {
            self.remove(id, entry)
        }
        self.checkCeiling(now: now)
    }

    /// Removes snapshots that hold more of the disk than they may, even those that are read.
    private func checkCeiling(now: MonotonicInstant) {
        let limit = self.settings.snapshotSizeLimitBytes
        guard limit > 0, !self.entries.isEmpty, !self.isCheckingCeiling,
            now.since(self.lastCeilingCheck) >= Self.ceilingInterval
        else { return }
        self.lastCeilingCheck = now
        self.isCheckingCeiling = true
        let snapshots = self.entries.values.sorted { $0.since < $1.since }.map {
            (stored: $0.stored, isRead: self.readerCount($0.stored.manifest.id) > 0)
        }
        let storage = self.storage
        let core = self.core
        self.context.pool.submit { _ in
            let holders = snapshots.map { snapshot in
                // What can't be looked at is not removed for its size; its lease ends some time.
                SnapshotCeiling.Holder(
                    id: snapshot.stored.manifest.id, isRead: snapshot.isRead,
                    heldBytes: (try? storage.heldFiles(of: snapshot.stored)) ?? [:])
            }
            let victims = SnapshotCeiling.victims(holders, limitBytes: limit)
            let heldBytes = SnapshotCeiling.heldBytes(holders)
            storage.context.loop.execute {
                core?.catalog.removeGreedy(victims, heldBytes: heldBytes)
            }
        }
    }

    private func removeGreedy(_ victims: [SnapshotID], heldBytes: UInt64) {
        self.isCheckingCeiling = false
        for id in victims {
            guard let entry = self.entries[id] else { continue }
            self.context.logger.warning(
                "snapshots hold more of the disk than snapshot-size-limit: one is dropped",
                metadata: [
                    "id": "\(id)", "held_bytes": "\(heldBytes)",
                    "limit": "\(self.settings.snapshotSizeLimitBytes)",
                ])
            self.remove(id, entry)
        }
    }

    private func readerCount(_ id: SnapshotID) -> Int {
        self.core?.fileConnections.values.count { $0.isReading(id) } ?? 0
    }

    private func remove(_ id: SnapshotID, _ entry: Entry) {
        self.entries[id] = nil
        self.core?.leases.release(.snapshot(id.description), database: self.name(entry.stored))
        self.core?.fileConnections.values.forEach { $0.snapshotGone(id) }
        self.context.logger.info("snapshot removed", metadata: ["id": "\(id)"])
        let storage = self.storage
        let root = entry.stored.root
        self.context.pool.submit { _ in storage.delete(root: root) }
    }

    // MARK: Status

    func listing(now: MonotonicInstant) -> [SnapshotListing] {
        self.entries.values.sorted { $0.since < $1.since }.map { entry in
            SnapshotListing(
                id: entry.stored.manifest.id, database: self.name(entry.stored),
                position: entry.stored.manifest.position,
                totalBytes: entry.stored.manifest.totalBytes,
                readerCount: self.readerCount(entry.stored.manifest.id),
                leaseSecondsLeft: Int(entry.expires.since(now).components.seconds),
                gateHeldMicroseconds: entry.stored.gateHeldMicroseconds)
        }
    }
}

extension SnapshotStorage {
    /// Writes a lease; a failure only shortens its life over a restart.
    func tryWriteLease(_ snapshot: StoredSnapshot) {
        do {
            try self.writeLease(snapshot)
        } catch {
            self.context.logger.warning(
                "lease not written",
                metadata: [
                    "path": "\(snapshot.root)", "error": "\(error)",
                ])
        }
    }
}
