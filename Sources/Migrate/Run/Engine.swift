internal import MigrateCore

/// What the engine knows of what an earlier run did.
struct ResumeState: Sendable {
    /// The workers' markers, by the target's database and worker.
    var markers: [Int: [Int: Marker]] = [:]
    /// Units of each worker, the first behind its marker, that may be in the target or not.
    var doubtfulUnits = 0
    /// Something may be in the target under the names of the snapshot's keys.
    var replaces = false
    /// What the snapshot does not have must go at its end.
    var isReconciling = false
    /// Some keys of a copy that was interrupted are in the target: a new copy must remove those that
    /// it does not have.
    var hasPartOfCopy = false
    /// Keys that the source does not know are left alone.
    var merges = false
    /// Both ends of a two-way sync can't have keys at its beginning: a key of the copy ends the run.
    var refusesKeys = false
    /// The job has followed the stream before: no copy of a two-way sync may follow.
    var hasStreamed = false
}

extension ResumeState {
    /// The target's keys are not ours: nothing of them is touched.
    mutating func keepTarget() {
        self.replaces = true
        self.merges = true
        self.refusesKeys = true
    }
}

/// Turns a source's events into the workers' work: the one place that decides order.
///
/// Lives in one task; the workers are fed through their queues.
final class Engine {
    /// Most keys that a reconciling copy remembers: 8 bytes each.
    static let maxReconciledKeys = 12_000_000
    /// A worker's commands of a snapshot are handed over at this size, in bytes.
    static let bulkBytes = 64 * 1_024

    let source: any Source
    let opening: SourceOpening
    let planner: Planner
    let queues: [WorkQueue]
    let keeper: CheckpointKeeper
    let state: any TargetMemory
    let meter: RunMeter
    let throttle: Throttle
    /// Ends once nothing more is in the stream.
    let stopsWhenCaughtUp: Bool
    /// An operator wants the run to end: what is begun is brought to its end, nothing more is begun.
    let isStopping: @Sendable () -> Bool
    var resume: ResumeState
    var writer: ValueWriter
    /// The snapshot's commands, not handed over yet, by worker.
    var bulk: [WorkerBulk]
    /// Where the key of the snapshot under way goes; nil = it is left out.
    var current: (worker: Int, kind: KeyKind)?
    /// The key under way is a string that goes in pieces: nothing may come in between at its worker.
    var isWithinString = false
    var hashes: ContiguousArray<UInt64>?
    /// Decides what is done about units.
    var router: UnitRouter
    /// What the target rejected.
    let suspects: SuspectKeys
    /// The end of the last unit.
    var lastEnd: SourcePosition?

    init(
        source: any Source, opening: SourceOpening, planner: Planner, queues: [WorkQueue],
        keeper: CheckpointKeeper, state: any TargetMemory, meter: RunMeter, throttle: Throttle,
        resume: ResumeState, suspects: SuspectKeys, stopsWhenCaughtUp: Bool,
        isStopping: @escaping @Sendable () -> Bool
    ) {
        self.source = source
        self.opening = opening
        self.planner = planner
        self.queues = queues
        self.keeper = keeper
        self.state = state
        self.meter = meter
        self.throttle = throttle
        self.resume = resume
        self.stopsWhenCaughtUp = stopsWhenCaughtUp
        self.isStopping = isStopping
        self.writer = ValueWriter(planner.target, planner.policy)
        self.bulk = queues.map { _ in WorkerBulk() }
        self.suspects = suspects
        self.router = UnitRouter(
            filter: planner.filter, workers: queues.count, markers: resume.markers,
            doubtfulUnits: resume.doubtfulUnits, isSharded: planner.target.isSharded)
    }

    /// Runs until the source ends or is stopped; then all work is handed over and done.
    func run() async throws(RunError) {
        while true {
            let events: [SourceEvent]
            do throws(SourceError) { events = try await self.source.next() } catch {
                guard error == .stopped else { throw RunError(error) }
                try await self.flushBulk()
                await self.drain()
                try await self.keeper.commitIfReady()
                throw .stopped
            }
            var place: Checkpoint.Phase?
            for event in events {
                // The rest of many units that have to be read one by one may take minutes.
                if self.isStopping() { break }
                if case .end(let position) = event {
                    try await self.finish(position)
                    return
                }
                try await self.handle(event, &place)
            }
            if !self.isWithinString { try await self.healSuspects() }
            if let place { await self.keeper.offer(place) }
        }
    }

    private func finish(_ position: SourcePosition) async throws(RunError) {
        try await self.flushBulk()
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        try await self.keeper.commit(.done(position))
        self.meter.update { $0.phase = .done }
    }

    /// Waits until the workers have nothing left to do.
    func drain() async {
        for queue in self.queues { await queue.waitUntilFinished() }
    }

    private func handle(
        _ event: SourceEvent, _ place: inout Checkpoint.Phase?
    ) async throws(RunError) {
        switch event {
        case .phase(let phase): self.note(phase)
        case .snapshotStart(let start):
            place = nil
            try await self.begin(start)
        case .keyStart(let head): try await self.begin(head)
        case .elements(let chunk): try await self.append(chunk)
        case .keyEnd: try await self.endKey()
        case .strings(let batch): try await self.append(batch)
        case .snapshotPoint(let point, let readBytes):
            self.meter.update { $0.snapshotReadBytes = readBytes }
            guard self.hashes == nil else { return }
            try await self.flushBulk()
            await self.keeper.offer(.snapshot(point))
        case .snapshotEnd(let position): try await self.endSnapshot(position)
        case .unit(let unit):
            try await self.apply(unit)
            place = .stream(unit.end)
        case .idle(let position, let time):
            self.meter.update { $0.appliedTimeMilliseconds = max($0.appliedTimeMilliseconds, time) }
            place = .stream(position)
            if self.stopsWhenCaughtUp {
                await self.drain()
                try await self.keeper.commit(.stream(position))
                throw .stopped
            }
        case .identityChange(let change):
            try await self.take(change)
            place = .stream(change.new)
        case .notice(let notice): self.meter.note([PlanNote(notice.kind)])
        case .end: break
        }
    }

    private func note(_ phase: SourcePhase) {
        self.meter.update {
            switch phase {
            case .connecting: $0.phase = .connecting
            case .waitingSnapshot: $0.phase = .waitingSnapshot
            case .spooling: if !$0.phase.isCopying { $0.phase = .spooling }
            case .scanning: $0.phase = .scanning
            case .streaming: if !$0.phase.isCopying { $0.phase = .streaming }
            case .reconnecting: $0.phase = .reconnecting
            }
        }
    }

    /// Hands work over; waits for the limits and for room.
    func push(_ worker: Int, _ item: WorkItem, time: Int64) async {
        switch item {
        case .unit(let work):
            await self.throttle.take(
                isSnapshot: false, bytes: item.cost, commands: work.commands.commandCount,
                keys: max(1, work.sources.count))
        case .slot(let units):
            await self.throttle.take(
                isSnapshot: false, bytes: item.cost, commands: units.commands.commandCount,
                keys: max(1, units.keys.count))
        case .bulk(let commands, _, let keys):
            await self.throttle.take(
                isSnapshot: true, bytes: item.cost, commands: commands.commandCount, keys: keys)
        case .meet, .watch: break
        }
        await self.queues[worker].push(item, time: time)
    }

    static func refusal<Value>(
        _ body: () throws(PlanRefusal) -> Value
    ) throws(RunError) -> Value {
        do throws(PlanRefusal) { return try body() } catch { throw .corrupt(error.reason) }
    }
}
