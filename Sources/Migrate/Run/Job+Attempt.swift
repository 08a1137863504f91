internal import FileIO
internal import MigrateCore
internal import Synchronization

// MARK: - One try

extension Job {
    /// What a try begins with.
    private struct Beginning {
        var server: TargetServer
        var state: any TargetMemory
        var keeperState: any TargetMemory
        var cluster: ClusterMemory?
        var log: CommandLog?
        var checkpoint: Checkpoint
        var from: SourceStart
        var resume: ResumeState
    }

    func tryOnce() async throws(RunError) {
        self.meter.update { $0.phase = .connecting }
        let location = try TargetLocation.parse(self.settings.text("target.url"))
        if case .rdb(let path) = location { return try await self.export(path) }
        let target = try await self.openTarget(location)
        defer { target.close() }
        if let client = target.cluster?.client {
            self.clusterNodes.withLock { $0 = client.addresses }
        }
        let capabilities = target.server.capabilities
        // On a cluster, markers do not stand beside all that they mark.
        guard
            !self.filter.origin.isActive
                || capabilities.hasTransactions && !capabilities.isSharded
        else {
            throw .preflight(
                "a two-way sync needs transactions, which \(capabilities.description) lacks")
        }
        let beginning = try await self.begin(target)
        try await self.refuseCluster()
        let (source, opening) = try await self.open(beginning.from)
        defer { _ = self.register(nil) }
        let result = await self.work(beginning, source, opening)
        if self.rests(source, result) {
            _ = self.rest(source)
        } else {
            await source.stop()
        }
        try result.get()
    }

    private func openTarget(_ location: TargetLocation?) async throws(RunError) -> OpenTarget {
        guard case .aof(let path) = location else {
            return try await OpenTarget.open(
                try self.settings.endpoint("target"), job: self.name,
                known: self.clusterNodes.withLock { $0 })
        }
        try self.checkFileTarget()
        return try OpenTarget.openLog(path, job: self.name)
    }

    /// What is asked for and can't be done with a file.
    func checkFileTarget() throws(RunError) {
        guard !self.filter.origin.isActive else {
            throw .preflight("a two-way sync can't have a file as an end")
        }
        guard ["require-empty", "flush"].contains(self.settings.text("target.on-nonempty")) else {
            throw .preflight(
                "a file is begun anew: [target] on-nonempty can be require-empty or flush")
        }
    }

    /// The source that rested since the target was lost, or a new one.
    private func open(
        _ from: SourceStart
    ) async throws(RunError) -> (any Source, SourceOpening) {
        if let rested = self.rest(nil) {
            guard self.register(rested) else {
                await rested.stop()
                throw .stopped
            }
            if let opening = try? await rested.restart(from) { return (rested, opening) }
            await rested.stop()
        }
        let source = try self.makeSource()
        guard self.register(source) else { throw .stopped }
        do throws(SourceError) { return (source, try await source.start(from)) } catch {
            await source.stop()
            _ = self.register(nil)
            throw RunError(error)
        }
    }

    /// A lost target is no reason to let the source wait: it is received on.
    private func rests(_ source: any Source, _ result: Result<Void, RunError>) -> Bool {
        guard case .failure(let error) = result else { return false }
        return error.isTransient && source.canRest && !self.isStopping
    }

    /// One node of a cluster would be a part of the data, taken for all of it.
    private func refuseCluster() async throws(RunError) {
        guard let endpoint = try? self.settings.endpoint("source"),
            ["redis", "rediss", "valkey"].contains(endpoint.scheme),
            let connection = try? await TargetServer.connect(endpoint)
        else { return }
        defer { connection.close() }
        let info = (try? await TargetServer.text(connection, ["INFO", "server"])) ?? ""
        guard RedisInfo(info)["redis_mode"] == "cluster" else { return }
        throw .preflight(
            "the source is one node of a Redis Cluster: redis-cluster://host:port reads all of it,"
                + " redis-shard://host:port this shard alone")
    }

    /// Finds where to go on, and takes the target over.
    private func begin(
        _ target: OpenTarget
    ) async throws(RunError) -> Beginning {
        let server = target.server
        var state = target.state
        let held = try await state.lockEpoch()
        // One worker keeps the order of a file.
        let workers =
            target.log == nil ? self.settings.number("target.connections") : 1
        var checkpoint =
            try self.files.read()
            ?? Checkpoint(
                job: self.name, sequence: 0, epoch: 0, source: "", target: "",
                filterDigest: self.filter.digest, workers: workers, isReconciling: false,
                phase: .copying)
        guard checkpoint.job == self.name else {
            throw .history("\(self.directory) belongs to the job \(checkpoint.job)")
        }
        guard checkpoint.filterDigest == self.filter.digest else {
            throw .history(
                "the job in \(self.directory) was begun with another [map], or by a version that keeps"
                    + " it in another way: what was filtered out till now would stay out. Go on with"
                    + " the settings and the version of before; or begin a new job in another job.dir,"
                    + " with [target] on-nonempty = reconcile (rewrites what the target has and deletes"
                    + " what does not belong there) or flush")
        }
        let isFirst = checkpoint.sequence == 0
        var beginning = Beginning(
            server: server, state: state, keeperState: target.keeperState, cluster: target.cluster,
            log: target.log, checkpoint: checkpoint, from: .fresh, resume: ResumeState())
        if isFirst {
            try await self.prepareTarget(state, &beginning)
        } else {
            try await self.settle(state, workers: checkpoint.workers)
            try await self.resume(held, state, &beginning)
        }
        checkpoint = beginning.checkpoint
        checkpoint.epoch = max(held ?? 0, checkpoint.epoch) + 1
        checkpoint.target = server.capabilities.description
        checkpoint.sequence += 1
        state.epoch = checkpoint.epoch
        // The lock first: from here on no other run's batch is carried out.
        try await state.lock(epoch: checkpoint.epoch)
        if case .stream = checkpoint.phase {
            beginning.resume.markers = try await state.markers(
                workers: checkpoint.workers, databases: self.databases(server))
        }
        try self.files.write(checkpoint)
        beginning.checkpoint = checkpoint
        beginning.state = state
        beginning.keeperState.epoch = checkpoint.epoch
        return beginning
    }

    private func databases(_ server: TargetServer) -> [Int] {
        self.filter.databases.isEmpty
            ? Array(0..<server.capabilities.databases)
            : Array(Set(self.filter.databases.values)).sorted()
    }

    /// Waits until a target without transactions is done with what an earlier try sent.
    private func settle(_ state: any TargetMemory, workers: Int) async throws(RunError) {
        guard !state.server.capabilities.hasTransactions else { return }
        let databases = self.databases(state.server).filter {
            $0 < state.server.capabilities.databases
        }
        func now() -> Int64 { Int64(Throttle.now() / 1_000_000) }
        var settling = Settling(now: now())
        while true {
            let markers = try await state.markers(workers: workers, databases: databases)
            if settling.isOver(markers, now: now()) { return }
            try? await Task.sleep(for: .milliseconds(Self.settlingPauseMilliseconds))
            if Task.isCancelled { throw .stopped }
        }
    }

    /// How often the markers are looked at meanwhile.
    private static let settlingPauseMilliseconds = 100

    /// The target before the first copy.
    private func prepareTarget(
        _ state: any TargetMemory, _ beginning: inout Beginning
    ) async throws(RunError) {
        let policy = self.settings.text("target.on-nonempty")
        var filled: [Int] = []
        for database in self.databases(state.server)
        where database < state.server.capabilities.databases {
            if try await state.hasKeys(database: database) { filled.append(database) }
        }
        guard !filled.isEmpty else { return }
        if self.filter.origin.isActive { return beginning.resume.keepTarget() }
        switch policy {
        case "flush": for database in filled { try await state.flush(database: database) }
        case "reconcile":
            beginning.resume.isReconciling = true
            beginning.checkpoint.isReconciling = true
            beginning.resume.replaces = true
        case "merge":
            beginning.resume.replaces = true
            beginning.resume.merges = true
        default:
            guard !state.server.capabilities.isFile else {
                throw .preflight(
                    "the target's file has content that is not this job's;"
                        + " [target] on-nonempty = \"flush\" replaces it")
            }
            throw .preflight(
                "the target has keys in \(filled.map { "db\($0)" }.joined(separator: ", "));"
                    + " [target] on-nonempty can be flush, reconcile or merge")
        }
    }

    /// Where a job goes on.
    private func resume(
        _ held: UInt64?, _ state: any TargetMemory, _ beginning: inout Beginning
    ) async throws(RunError) {
        let checkpoint = beginning.checkpoint
        beginning.resume.replaces = true
        beginning.resume.isReconciling = checkpoint.isReconciling
        beginning.resume.merges = self.settings.text("target.on-nonempty") == "merge"
        if let trouble = Self.lostTarget(held, checkpoint) {
            guard self.settings.text("target.on-lost") == "copy" else {
                throw .history("\(trouble); [target] on-lost = \"copy\" copies anew")
            }
            beginning.checkpoint.phase = .copying
            beginning.resume.isReconciling = true
            beginning.checkpoint.isReconciling = true
            return
        }
        if case .stream = checkpoint.phase { beginning.resume.hasStreamed = true }
        if self.filter.origin.isActive, !beginning.resume.hasStreamed {
            let isEmpty = try await self.isEmpty(state)
            // Keys that no copy of ours brought are the other end's.
            if !isEmpty, try await !state.hasCopyMark() { beginning.resume.keepTarget() }
        }
        switch checkpoint.phase {
        case .copying:
            beginning.from = .fresh
            let isEmpty = try await self.isEmpty(state)
            beginning.resume.replaces = !isEmpty
            beginning.resume.hasPartOfCopy = !isEmpty
        case .snapshot(let point):
            beginning.from = .snapshot(point)
            beginning.resume.hasPartOfCopy = true
        case .stream(let position), .done(let position):
            var place = position
            // A target that lost its last writes has an older place: from there.
            if let low = try await state.low(), !low.coversAll(position) { place = low }
            beginning.checkpoint.phase = .stream(place)
            beginning.from = .stream(place)
            beginning.resume.doubtfulUnits =
                state.server.capabilities.hasTransactions ? 0 : WorkerLimits.maxBatchUnits
        }
    }

    private func isEmpty(_ state: any TargetMemory) async throws(RunError) -> Bool {
        for database in self.databases(state.server)
        where database < state.server.capabilities.databases {
            if try await state.hasKeys(database: database) { return false }
        }
        return true
    }

    /// What is wrong with the target's lock; nil = nothing.
    private static func lostTarget(_ held: UInt64?, _ checkpoint: Checkpoint) -> String? {
        guard let held else { return "the target was emptied or is another one: its lock is gone" }
        guard held < checkpoint.epoch else { return nil }
        return "the target was set back: it knows run \(held), the job has had \(checkpoint.epoch)"
    }

    // MARK: - Tasks

    private enum Ended: Sendable {
        case engine(Result<Void, RunError>)
        case other(Result<Void, RunError>)
    }

    private func work(
        _ beginning: Beginning, _ source: any Source, _ opening: SourceOpening
    ) async -> Result<Void, RunError> {
        let suspects = SuspectKeys()
        let queues = (0..<beginning.checkpoint.workers).map { _ in WorkQueue() }
        let keeper = CheckpointKeeper(
            files: self.files, state: beginning.keeperState, queues: queues, source: source,
            meter: self.meter, checkpoint: beginning.checkpoint,
            quietMilliseconds: self.filter.origin.isActive
                ? CheckpointKeeper.twoWayQuietMilliseconds : 0)
        return await withTaskGroup(of: Ended.self) { group in
            for (index, queue) in queues.enumerated() {
                let work = self.worker(index, queue, beginning, suspects)
                group.addTask { .other(await work()) }
            }
            group.addTask { await self.keep(keeper) }
            group.addTask { await self.measure(source, queues) }
            if beginning.log == nil {
                group.addTask { await self.govern(beginning.server) }
            }
            group.addTask {
                var policy = self.policy
                policy.sourceKeepsTypesApart = opening.keepsTypesApart
                policy.canRead = opening.canRefresh
                let engine = Engine(
                    source: source, opening: opening,
                    planner: Planner(
                        target: beginning.server.capabilities, filter: self.filter,
                        policy: policy),
                    queues: queues, keeper: keeper, state: beginning.state, meter: self.meter,
                    throttle: self.throttle, resume: beginning.resume,
                    suspects: suspects,
                    stopsWhenCaughtUp: self.settings.flag("job.stop-when-caught-up"),
                    isStopping: { self.isStopping })
                do throws(RunError) { return .engine(.success(try await engine.run())) } catch {
                    return .engine(.failure(error))
                }
            }
            var result = Result<Void, RunError>.success(())
            for await ended in group {
                switch ended {
                case .engine(let outcome): result = outcome
                case .other(.success): continue
                case .other(.failure(let error)): result = .failure(error)
                }
                break
            }
            group.cancelAll()
            for queue in queues { queue.close() }
            if !self.rests(source, result) { await source.stop() }
            // What failed first tells why; the rest was cancelled.
            for await _ in group {}
            return result
        }
    }

    /// What a worker does until its queue is closed.
    private func worker(
        _ index: Int, _ queue: WorkQueue, _ beginning: Beginning, _ suspects: SuspectKeys
    ) -> @Sendable () async -> Result<Void, RunError> {
        let worker: any QueueWorker
        if let cluster = beginning.cluster {
            worker = ClusterWorker(
                index: index, queue: queue, client: cluster.client, ledger: cluster.ledger,
                server: beginning.server, epoch: beginning.checkpoint.epoch, meter: self.meter,
                letters: self.letters, throttle: self.throttle)
        } else if let log = beginning.log {
            worker = LogWorker(queue: queue, log: log, meter: self.meter)
        } else {
            worker = Worker(
                index: index, queue: queue, server: beginning.server,
                epoch: beginning.checkpoint.epoch, meter: self.meter, letters: self.letters,
                suspects: suspects, throttle: self.throttle,
                marksCopies: self.filter.origin.isActive)
        }
        return {
            do throws(RunError) { return .success(try await worker.run()) } catch {
                return .failure(error)
            }
        }
    }

    /// Writes checkpoints, looks after the lock.
    private func keep(_ keeper: CheckpointKeeper) async -> Ended {
        let interval = max(10, self.settings.number("checkpoint.interval"))
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(interval))
            if Task.isCancelled { break }
            do throws(RunError) {
                try await keeper.checkLock()
                try await keeper.commitIfReady()
            } catch { return .other(.failure(error)) }
        }
        return .other(.failure(.stopped))
    }

    /// Collects the source's numbers and the lag; by itself, as a target that hangs must not hide it.
    private func measure(_ source: any Source, _ queues: [WorkQueue]) async -> Ended {
        let interval = max(10, self.settings.number("checkpoint.interval"))
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(interval))
            if Task.isCancelled { break }
            let status = await source.status()
            let oldest = queues.compactMap(\.oldestTime).filter { $0 > 0 }.min()
            let now = systemMilliseconds()
            self.meter.update {
                $0.source = status
                // A snapshot that is still on its way grows.
                $0.snapshotBytes = max($0.snapshotBytes, status.snapshotReceivedBytes)
                if let oldest {
                    $0.lagMilliseconds = max(0, now - oldest)
                } else if status.backlogBytes == 0 {
                    $0.lagMilliseconds = 0
                }
            }
        }
        return .other(.failure(.stopped))
    }

    /// How often the target is asked how it does, in milliseconds.
    private static let askEveryMilliseconds = 200

    /// Measures the target: the governor slows the run down when it suffers.
    private func govern(_ server: TargetServer) async -> Ended {
        do throws(RunError) {
            let connection = try await TargetServer.connect(server.endpoint)
            defer { connection.close() }
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(Self.askEveryMilliseconds))
                let began = Throttle.now()
                _ = try await TargetServer.send(connection, [Array("PING".utf8)])
                let micros = Int64((Throttle.now() - began) / 1_000)
                self.meter.update { $0.targetLatencyMicroseconds = micros }
                self.throttle.sample(microseconds: micros)
            }
        } catch { return .other(.failure(error)) }
        return .other(.failure(.stopped))
    }
}
