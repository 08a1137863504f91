internal import FileIO
internal import MigrateCore
internal import Synchronization

/// The two files that hold the last checkpoints; the newer one that is whole counts.
struct CheckpointFiles: Sendable {
    let directory: String
    let fileSystem: any FileSystem

    private static let format = SealedFile(
        kind: "PKMIGCKP", version: Checkpoint.version, limitBytes: Checkpoint.maxBytes)

    private func path(_ slot: UInt64) -> String {
        Path.join(self.directory, slot % 2 == 0 ? "checkpoint.a" : "checkpoint.b")
    }

    /// The newest whole checkpoint; nil = there is none.
    func read() throws(RunError) -> Checkpoint? {
        var newest: Checkpoint?
        var damage: [String] = []
        for slot in 0..<UInt64(2) {
            let bytes: [UInt8]?
            do throws(FileError) {
                bytes = try self.fileSystem.readFile(
                    self.path(slot), limitBytes: Checkpoint.maxBytes + SealedFile.overheadBytes)
            } catch { throw .io("the checkpoint can't be read: \(error)") }
            guard let bytes else { continue }
            guard let payload = try? Self.format.decode(bytes),
                payload.version == Checkpoint.version,
                let found = try? Checkpoint(decoding: payload.payload)
            else {
                damage.append(self.path(slot))
                continue
            }
            if found.sequence >= newest?.sequence ?? 0 { newest = found }
        }
        if newest == nil, !damage.isEmpty {
            throw .corrupt("no checkpoint is whole: \(damage.joined(separator: ", "))")
        }
        return newest
    }

    /// Writes a checkpoint: temporary file, fsync, rename, fsync of the directory.
    func write(_ checkpoint: Checkpoint) throws(RunError) {
        do {
            try self.fileSystem.writeAtomically(
                self.path(checkpoint.sequence), Self.format.encode(checkpoint.encode()))
        } catch let error as FileError where error.isOutOfSpace {
            throw .outOfSpace("the checkpoint can't be written: \(error)")
        } catch { throw .io("the checkpoint can't be written: \(error)") }
    }
}

/// Knows what is in the target, and writes it down.
actor CheckpointKeeper {
    private struct Candidate {
        var phase: Checkpoint.Phase
        /// What had been pushed to each worker by then.
        var pushed: [UInt64]
    }

    private let files: CheckpointFiles
    private let state: any TargetMemory
    private let queues: [WorkQueue]
    private let source: any Source
    private let meter: RunMeter
    private var checkpoint: Checkpoint
    private var candidate: Candidate?
    /// What had been pushed when the last one was written, and when that was.
    private var written: (pushed: [UInt64], milliseconds: Int64) = ([], 0)
    private let quietMilliseconds: Int64

    /// In a two-way sync a checkpoint without work waits so long: its own writes come out of the
    /// target's stream, and would make the other direction write one, and so on.
    static let twoWayQuietMilliseconds: Int64 = 10_000

    init(
        files: CheckpointFiles, state: any TargetMemory, queues: [WorkQueue], source: any Source,
        meter: RunMeter, checkpoint: Checkpoint, quietMilliseconds: Int64 = 0
    ) {
        self.quietMilliseconds = quietMilliseconds
        self.files = files
        self.state = state
        self.queues = queues
        self.source = source
        self.meter = meter
        self.checkpoint = checkpoint
    }

    /// Offers a place; taken unless an earlier one is still waiting for the workers.
    func offer(_ phase: Checkpoint.Phase) {
        guard self.candidate.map({ $0.pushed == self.written.pushed }) ?? true else { return }
        self.candidate = Candidate(phase: phase, pushed: self.queues.map(\.pushed))
    }

    /// Writes the offered place down if the workers are past it.
    func commitIfReady() async throws(RunError) {
        guard let candidate = self.candidate,
            zip(self.queues, candidate.pushed).allSatisfy({ $0.finished >= $1 })
        else { return }
        let quiet = systemMilliseconds() - self.written.milliseconds
        guard candidate.pushed != self.written.pushed || quiet >= self.quietMilliseconds else {
            return
        }
        self.written.pushed = candidate.pushed
        self.candidate = nil
        try await self.commit(candidate.phase)
    }

    /// Writes a place down now; all workers MUST be past it.
    func commit(_ phase: Checkpoint.Phase, isReconciling: Bool? = nil) async throws(RunError) {
        self.candidate = nil
        self.written.milliseconds = systemMilliseconds()
        self.checkpoint.phase = phase
        if let isReconciling { self.checkpoint.isReconciling = isReconciling }
        self.checkpoint.sequence += 1
        let next = self.checkpoint
        // The target first: what it has is never less than what the file says, unless it lost data.
        switch phase {
        case .stream(let position), .done(let position):
            try await self.state.keepLow(position, epoch: next.epoch)
        case .snapshot: try await self.state.keepCopied()
        case .copying: break
        }
        try self.files.write(next)
        self.meter.update { figures in
            figures.checkpointMilliseconds = systemMilliseconds()
            if case .stream(.redis(let position)) = phase {
                figures.appliedOffset = position.offset
            }
        }
        switch phase {
        case .stream(let position), .done(let position): await self.source.acknowledge(position)
        case .copying, .snapshot: break
        }
    }

    /// Fails if another run has taken over.
    func checkLock() async throws(RunError) {
        let epoch = try await self.state.lockEpoch()
        guard epoch == self.checkpoint.epoch else {
            // A database that is being emptied by this run has no lock for a moment.
            guard let epoch else { return }
            throw .fenced(
                "run \(epoch) has taken over the target; this is run \(self.checkpoint.epoch)")
        }
    }
}
