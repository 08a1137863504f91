internal import FileIO
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ReplicationCore
internal import ResumeStore
internal import SyncProtocol
internal import Synchronization

/// One database of a replica: its apply queue, its copy, its resume point.
///
// SAFETY: all variables are touched on the core's loop only.
final class ReplicaDatabase: @unchecked Sendable {
    let database: Database
    private(set) var queue: ApplyQueue
    private(set) var copy: CopyDriver?
    /// Figures of the last copy that was finished, for INFO.
    private var lastCopy: ReplicaStatus.Copy?
    private unowned let core: ReplicaCore
    private let observer: ProgressObserver
    /// Number of the look at the local state that is awaited.
    private var localNumber = 0
    private var hasUnfinishedCopy = false
    private var isBlockedBy: String?
    /// What a session did with the staged files must end before the next one begins.
    private var stopping: EventLoopFuture<Void>?

    init(_ database: Database, core: ReplicaCore) {
        self.database = database
        self.core = core
        let observer = ProgressObserver(loop: core.loop)
        self.observer = observer
        let name = database.name
        self.queue = ApplyQueue(
            database: database, pool: core.environment.pool,
            onFailure: { failure in observer.failed(failure, database: name) },
            onTaken: { observer.runTaken() })
        observer.attach(core: core, database: database)
        database.addObserver(observer)
    }

    // MARK: Beginning

    /// Lets everything that is queued end, then tells what is here.
    func readLocal() {
        // stopCopy() voids the looks before this one, so it comes first.
        let stopped = self.stopCopy()
        self.localNumber += 1
        let number = self.localNumber
        self.queue.poison()
        let (records, database, queue) = (self.core.records, self.database, self.queue)
        let loop = self.core.loop
        stopped.whenComplete { _ in
            queue.perform {
                queue.renew()
                let result = Self.look(database, records)
                loop.execute {
                    guard number == self.localNumber else { return }
                    self.take(result)
                }
            }
        }
    }

    private func take(_ result: Result<LocalDatabase, ReplicaLinkError>) {
        switch result {
        case .success(let local):
            self.isBlockedBy = nil
            self.hasUnfinishedCopy = local.unfinishedCopy != nil
            self.core.handle(.local(database: self.database.name, local))
        case .failure(let error):
            // Nothing is done on a guess: the operator reads why (bad resume point).
            self.isBlockedBy = error.description
            self.core.handle(.applyFailed(database: self.database.name, error.description))
        }
    }

    /// Blocks for the disk.
    private static func look(
        _ database: Database, _ records: ResumeRecords
    ) -> Result<LocalDatabase, ReplicaLinkError> {
        let point: ResumePoint
        do throws(ResumeError) {
            point = try records.load(database.name)
        } catch {
            return .failure(.persistence("the resume point of \(database.name): \(error)"))
        }
        let origin: LocalDatabase.Origin
        switch point.phase {
        // First: a copy of a master that holds nothing is pristine too, and would be copied for ever.
        case .following: origin = .received(from: point.master?.known)
        case _ where database.isPristine: origin = .pristine
        // What a copy was begun for may be replaced: it was received, or that was forced.
        case .copying, .switching: origin = .received(from: nil)
        case .none: origin = .own
        }
        return .success(
            LocalDatabase(
                end: database.received, digest: database.receivedDigest,
                history: database.history, endsInsideGroup: database.hasIncompleteGroup,
                origin: origin, unfinishedCopy: point.unfinishedCopy))
    }

    /// The first items of a session come next: remember whom they are from.
    func beginFollowing(
        _ master: KnownMaster, history: [HistoryEntry], typedFlush: [TypedFlushRule]
    ) {
        let (records, database, logger) = (self.core.records, self.database, self.core.logger)
        let (keyspace, queue, loop) = (self.core.environment.keyspace, self.queue, self.core.loop)
        let core = self.core
        queue.perform {
            do {
                let point = ResumePoint(phase: .following, master: MasterIdentity(master))
                if try records.load(database.name) != point {
                    try records.save(point, for: database.name)
                }
                if master.isPeer {
                    try database.adoptTypedFlush(typedFlush)
                } else {
                    try database.setTypedFlush(emptiesAll: master.replicationID != nil)
                }
                if !history.isEmpty, history != database.history {
                    try database.setHistory(history)
                }
                if let id = master.replicationID, keyspace.replicationID != id {
                    try keyspace.setReplicationID(id)
                }
            } catch {
                logger.error("what is followed can't be remembered: \(error)")
                queue.poison()
                let text = "what is followed can't be remembered: \(error)"
                loop.execute { core.handle(.sessionFailed(database: database.name, text)) }
            }
        }
        self.hasUnfinishedCopy = false
        self.observer.wake()
    }

    // MARK: Copying

    func startCopy(_ order: ReplicaSession.CopyOrder) {
        self.hasUnfinishedCopy = true
        let stopped = self.stopCopy()
        self.localNumber += 1
        let number = self.localNumber
        let core = self.core
        let (records, database) = (core.records, self.database)
        let environment = core.environment
        let configuration = core.configuration
        stopped.whenComplete { _ in
            environment.pool.submit { _ in
                let found = Result {
                    try CopyPreparation.make(
                        order, database: database.name, configuration: configuration,
                        records: records, fileSystem: environment.fileSystem)
                }
                core.loop.execute {
                    guard number == self.localNumber else { return }
                    self.begin(order, found)
                }
            }
        }
    }

    private func begin(
        _ order: ReplicaSession.CopyOrder, _ found: Result<CopyPreparation, any Error>
    ) {
        let name = self.database.name
        switch found {
        case .failure(let error):
            self.core.handle(.copyFailed(database: name, "\(error)", madeProgress: false))
        case .success(let preparation):
            if preparation.isFallback {
                self.core.logger.warning(
                    """
                    db-sync-path is on another device than db-path: copies are staged in \
                    \(preparation.stagingPath)
                    """)
            }
            let copy = CopyDriver(
                environment: self.core.environment, configuration: self.core.configuration,
                databaseIndex: self.database.index, order: order,
                staging: preparation.stagingPath, records: self.core.records,
                remainder: preparation.remainder, files: preparation.files
            ) { [unowned self] ending in
                self.copyEnded(ending)
            }
            self.copy = copy
            copy.begin()
        }
    }

    private func copyEnded(_ ending: CopyDriver.Ending) {
        let name = self.database.name
        switch ending {
        case .finished:
            self.lastCopy = self.copy?.status
            self.copy = nil
            self.hasUnfinishedCopy = false
            self.core.logger.info("the full copy is in use", metadata: ["database": "\(name)"])
            self.core.handle(.copyFinished(database: name))
        case .failed(let reason, let madeProgress):
            // Its pieces of work may still run: the next start waits for them.
            self.stopping = self.copy?.stop()
            self.copy = nil
            self.core.handle(
                .copyFailed(database: name, reason, madeProgress: madeProgress))
        case .stopped:
            break
        }
    }

    /// Stops a copy; the future succeeds when its files are not touched any more.
    @discardableResult
    func stopCopy() -> EventLoopFuture<Void> {
        self.localNumber += 1
        if let copy = self.copy {
            self.copy = nil
            self.stopping = copy.stop()
        }
        return self.stopping ?? self.core.loop.makeSucceededVoidFuture()
    }

    func discardCopy() {
        let (core, database) = (self.core, self.database)
        let stopped = self.stopCopy()
        guard let master = core.session?.master else { return }
        self.stopping = stopped.flatMap {
            core.environment.pool.runIfActive(eventLoop: core.loop) {
                let staging = try Staging.path(
                    configured: core.configuration.stagingPath,
                    databasePath: core.configuration.databasePath,
                    fileSystem: core.environment.fileSystem)
                try StagedFiles(
                    stagingPath: staging.path, database: database.name,
                    fileSystem: core.environment.fileSystem
                ).discard()
                try core.records.save(
                    ResumePoint(phase: .copying, master: MasterIdentity(master)),
                    for: database.name)
            }
        }
    }

    /// Ends everything that works on the database.
    func stop() -> EventLoopFuture<Void> {
        self.localNumber += 1
        let promise = self.core.loop.makePromise(of: Void.self)
        let queue = self.queue
        self.stopCopy().whenComplete { _ in
            queue.perform { promise.succeed(()) }
        }
        return promise.futureResult
    }

    // MARK: Status

    func status(_ session: ReplicaSession?) -> ReplicaStatus.Database {
        let name = self.database.name
        var status = ReplicaStatus.Database(
            name: name, phase: self.phase(session), session: session?.session(of: name),
            received: self.database.received, durable: self.database.receivedDurable,
            applied: self.database.published, copy: self.copy?.status ?? self.lastCopy,
            hasUnfinishedCopy: self.hasUnfinishedCopy)
        status.reason = self.isBlockedBy ?? self.copy?.lastFailure
        if status.reason == nil, status.phase == .retrying || status.phase == .broken {
            status.reason = session?.lastFailure(of: name)
        }
        return status
    }

    private func phase(_ session: ReplicaSession?) -> ReplicaStatus.Phase {
        guard let session, let state = session.state(of: self.database.name) else {
            return .detached
        }
        switch state {
        case .detached: return .detached
        case .needsMeta:
            return session.link == .broken ? .broken : .connecting
        case .readingLocal, .waitingForTrySync, .probing, .waitingForDBSync: return .handshake
        case .copying: return self.copy?.phase ?? .waitingForSnapshot
        case .following: return .following
        case .retrying: return .retrying
        case .broken: return .broken
        }
    }
}

/// What has to be read from the disk before a copy begins or goes on.
struct CopyPreparation: Sendable {
    var stagingPath: String
    var isFallback: Bool
    var files: StagedFiles
    var remainder: SnapshotReceiver.Remainder?

    /// Blocks: reads what is beyond the resume point.
    static func make(
        _ order: ReplicaSession.CopyOrder, database: String, configuration: ReplicaConfiguration,
        records: ResumeRecords, fileSystem: any FileSystem
    ) throws -> CopyPreparation {
        let staging = try Staging.path(
            configured: configuration.stagingPath, databasePath: configuration.databasePath,
            fileSystem: fileSystem)
        let files = StagedFiles(
            stagingPath: staging.path, database: database, fileSystem: fileSystem)
        var preparation = CopyPreparation(
            stagingPath: staging.path, isFallback: staging.isFallback, files: files)
        let point = try records.load(database)
        guard order.resuming != nil, let snapshot = point.snapshot,
            let id = SnapshotID(snapshot.snapshotID)
        else {
            try files.discard()
            try records.save(
                ResumePoint(phase: .copying, master: MasterIdentity(order.master)), for: database)
            return preparation
        }
        let known = snapshot.files.map {
            SnapshotReceiver.Remainder.File(
                name: $0.name, sizeBytes: $0.sizeBytes, prefixBytes: $0.verifiedBytes)
        }
        let found = try files.survey(snapshotID: id, known: known)
        preparation.remainder = SnapshotReceiver.Remainder(
            snapshotID: id,
            position: snapshot.position == .zero && !order.master.isPeer
                ? nil : snapshot.position,
            files: found.files, bytesSentTwice: point.bytesReceivedTwice + found.droppedBytes)
        return preparation
    }
}

/// Takes a database's progress from its threads to the loop, at most one hop under way.
final class ProgressObserver: DatabaseObserver {
    private struct Target: Sendable {
        weak var core: ReplicaCore?
        var database: Database?
    }

    private let loop: any EventLoop
    private let target = Mutex(Target())
    private let isUnderWay = Atomic(false)

    init(loop: any EventLoop) {
        self.loop = loop
    }

    func attach(core: ReplicaCore, database: Database) {
        self.target.withLock {
            $0.core = core
            $0.database = database
        }
    }

    func sendable(_ position: BinlogPosition, database: Int) {}

    func durable(_ position: BinlogPosition, database: Int) { self.wake() }

    func applied(_ position: BinlogPosition, database: Int) { self.wake() }

    func logReplaced(database: Int) {}

    func runTaken() { self.wake() }

    func failed(_ failure: ApplyQueue.Failure, database: String) {
        self.loop.execute {
            let core = self.target.withLock { $0.core }
            switch failure {
            case .session(let text): core?.handle(.sessionFailed(database: database, text))
            case .apply(let text): core?.handle(.applyFailed(database: database, text))
            }
        }
    }

    func wake() {
        guard !self.isUnderWay.exchange(true, ordering: .acquiringAndReleasing) else { return }
        self.loop.execute {
            self.isUnderWay.store(false, ordering: .releasing)
            let target = self.target.withLock { $0 }
            guard let core = target.core, let database = target.database else { return }
            core.runTaken()
            let name = database.name
            core.handle(.received(database: name, database.received))
            core.handle(.applied(database: name, database.published))
            let durable =
                core.configuration.acknowledgesBeforeSync
                ? database.received : database.receivedDurable
            core.handle(.durable(database: name, durable))
        }
    }
}
