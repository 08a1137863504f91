internal import Keyspace
internal import Logging
internal import NIOCore
internal import ReplicationCore

/// Keeps the replicas' leases on the disk; used on the replication loop only.
///
/// Persist, then acknowledge: a replica is answered when its lease is there.
///
// SAFETY: all variables are touched on `context.loop` only.
final class LeaseKeeper: @unchecked Sendable {
    private let context: ReplicationContext
    private let file: LeaseFile
    /// One write after the other: an older state must not replace a newer one.
    private let queue: WorkQueue
    /// What the last write that was begun holds.
    private var saved: [PurgeLeases.Remembered] = []
    /// Writes that are not done yet.
    private var underWay = 0

    init(context: ReplicationContext) {
        self.context = context
        self.queue = WorkQueue(pool: context.pool)
        self.file = LeaseFile(
            databasePath: context.keyspaceConfiguration.databasePath,
            fileSystem: context.configuration.fileSystem)
    }

    /// Whether a write is due: a replica came, went, or passed into another file.
    private func isDue(_ leases: [PurgeLeases.Remembered]) -> Bool {
        leases.count != self.saved.count
            || !zip(leases, self.saved).allSatisfy { $0.holdsTheSame(as: $1) }
    }

    /// Writes the leases if they changed; `then` is called on the loop when they are on the disk.
    ///
    /// A write that fails is logged and made again at the next occasion; `then` is called all the
    /// same: without its lease a replica still follows, and at worst copies anew.
    func keep(_ leases: [PurgeLeases.Remembered], then: @escaping @Sendable () -> Void) {
        guard self.isDue(leases) else {
            // What is saved may still be under way.
            let loop = self.context.loop
            if self.underWay == 0 { then() } else { self.queue.enqueue { loop.execute(then) } }
            return
        }
        self.saved = leases
        self.underWay += 1
        let (file, logger, loop) = (self.file, self.context.logger, self.context.loop)
        self.queue.enqueue {
            let failure = Self.write(leases, file, logger)
            loop.execute {
                self.underWay -= 1
                if failure { self.saved = [] }
                then()
            }
        }
    }

    /// The last write of the process; blocks.
    func keepAtEnd(_ leases: [PurgeLeases.Remembered]) {
        guard self.isDue(leases) else { return }
        _ = Self.write(leases, self.file, self.context.logger)
    }

    /// True if it failed.
    private static func write(
        _ leases: [PurgeLeases.Remembered], _ file: LeaseFile, _ logger: Logger
    ) -> Bool {
        do {
            try file.save(leases, wallSeconds: SnapshotStorage.wallSeconds())
            return false
        } catch {
            logger.error("leases not saved", metadata: ["error": "\(error)"])
            return true
        }
    }
}
