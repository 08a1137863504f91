internal import MigrateCore

// MARK: - Copies

extension Engine {
    func begin(_ start: SnapshotStart) async throws(RunError) {
        guard !(self.planner.filter.origin.isActive && self.resume.hasStreamed) else {
            throw .history(
                "the source no longer has the history from where we were, and in a two-way sync a new"
                    + " copy would undo what the other end wrote; stop both jobs, empty one end, and"
                    + " begin both anew")
        }
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        let isAnother = self.resume.hasPartOfCopy && !start.isResumed && !self.resume.merges
        let isNew = start.reason == .newShard
        if start.reason != .firstCopy || isAnother, !isNew { self.resume.isReconciling = true }
        if self.planner.target.isFile, start.isPart, !isNew { throw .corrupt(Self.partOfFile) }
        if self.planner.target.isFile, !start.isResumed, !start.isPart {
            // The file begins anew: nothing of what was there is left.
            self.resume.isReconciling = false
            self.resume.replaces = false
        }
        self.resume.hasPartOfCopy = true
        let reconciles = self.resume.isReconciling
        if start.isPart {
            // The others go on from where they are, whatever happens meanwhile; this one is copied
            // until its copy is whole. What markers tell of its old history covers nothing of the new.
            try await self.keeper.commit(
                .stream(start.position.ofOtherShards), isReconciling: reconciles)
        } else if !start.isResumed {
            // First of all: without markers, or a file's content, there is no stream to go on with.
            try await self.keeper.commit(.copying, isReconciling: reconciles)
            // Positions of another history would cover units that were never applied.
            try await self.state.removeMarkers(
                workers: self.queues.count, databases: self.targetDatabases())
        }
        self.router.restart(start.position)
        if start.isResumed || reconciles || start.mayRepeat { self.resume.replaces = true }
        // Nothing answers a file that a name has another type already.
        let checksNames =
            self.planner.target.isFile && self.planner.filter.mayRepeatNames(start.position)
        self.hashes = reconciles || checksNames ? [] : nil
        self.meter.update {
            $0.phase = reconciles ? .reconciling : .loading
            $0.snapshotBytes = start.totalBytes
        }
    }

    func begin(_ head: KeyHead) async throws(RunError) {
        self.current = nil
        self.isWithinString = false
        let source = DatabaseKey(head.database, head.name)
        guard self.planner.filter.takes(head.kind), let key = self.planner.filter.target(source)
        else { return }
        try self.checkKeys()
        try self.checkDatabase(key.database, of: head.database)
        let worker = self.router.worker(key)
        if let hashes = self.hashes {
            guard hashes.count < Self.maxReconciledKeys else {
                if self.planner.target.isFile { throw .corrupt(Self.tooManyNames) }
                throw .history(
                    "more than \(Self.maxReconciledKeys) keys can't be reconciled; empty the target"
                        + " and start anew")
            }
            self.hashes?.append(KeyHash.hash(database: key.database, key: key.key))
        }
        await self.select(key.database, worker)
        // What is written of a name later must stay later.
        self.bulk[worker].closePairs()
        let replaces = self.resume.replaces
        let now = systemMilliseconds()
        var head = head
        head.earlierKinds.removeAll { !self.planner.filter.takes($0) }
        try Self.refusal { () throws(PlanRefusal) in
            try self.writer.begin(
                head, key: key.key, replaces: replaces, now: now,
                into: &self.bulk[worker].commands)
        }
        self.current = (worker, head.kind)
    }

    private func checkKeys() throws(RunError) {
        guard !self.resume.refusesKeys else {
            throw .preflight(
                "both ends of the two-way sync have keys: one of them must be empty when it begins")
        }
    }

    private func checkDatabase(_ target: Int, of source: Int) throws(RunError) {
        guard target < self.planner.target.databases else {
            throw .preflight(
                "db\(source) goes to db\(target), which the target does not have; see"
                    + " [map] databases")
        }
    }

    /// What comes for a worker belongs to a database.
    private func select(_ database: Int, _ worker: Int) async {
        guard self.bulk[worker].database != database else { return }
        await self.handOver(worker)
        self.bulk[worker].database = database
    }

    /// Whole keys: those that need no care are joined, the others go as if they were long.
    func append(_ batch: StringBatch) async throws(RunError) {
        let filter = self.planner.filter
        let target = self.planner.target
        guard filter.takes(.string), let database = filter.target(database: batch.database) else {
            return
        }
        try self.checkDatabase(database, of: batch.database)
        var others = Array(0..<batch.count)
        let deletesFirst = self.resume.replaces && target.keepsTypesApart
        // Joined keys are handed over together: not where keys are limited.
        let isPlain =
            filter.keepsNames && !self.resume.refusesKeys && self.throttle.grant.keys == .max
        if target.joinsStrings, isPlain, self.hashes == nil, !deletesFirst {
            for worker in self.queues.indices { await self.select(database, worker) }
            let reserved = KeyFilter.reservedPrefix
            let mark = target.hasRedisHyperLogLog ? [] : ValueWriter.hyperLogLogMark
            others = batch.join(into: &self.bulk, database: database) { name, value in
                !name.starts(with: reserved) && (mark.isEmpty || !value.starts(with: mark))
            }
            let joined = UInt64(batch.count - others.count)
            self.meter.update { $0.keys[.string, default: 0] += joined }
            for worker in self.queues.indices { await self.handOverIfFull(worker) }
        }
        for index in others {
            let (head, chunk) = batch.key(index)
            try await self.begin(head)
            try await self.append(chunk)
            try await self.endKey()
        }
    }

    func append(_ chunk: ElementChunk) async throws(RunError) {
        guard let current = self.current else { return }
        // A string that goes in pieces has a window of its own.
        if chunk.wholeBytes != nil, !self.isWithinString {
            self.isWithinString = true
            await self.handOver(current.worker)
        }
        try Self.refusal { () throws(PlanRefusal) in
            try self.writer.append(chunk, into: &self.bulk[current.worker].commands)
        }
        await self.handOverIfFull(current.worker)
    }

    func endKey() async throws(RunError) {
        guard let current = self.current else { return }
        self.current = nil
        try Self.refusal { () throws(PlanRefusal) in
            try self.writer.end(into: &self.bulk[current.worker].commands)
        }
        self.bulk[current.worker].keys += 1
        self.meter.update { $0.keys[current.kind, default: 0] += 1 }
        self.meter.note(self.writer.takeNotes())
        if self.isWithinString {
            self.isWithinString = false
            return await self.handOver(current.worker)
        }
        await self.handOverIfFull(current.worker)
    }

    private func handOverIfFull(_ worker: Int) async {
        let grant = self.throttle.grant
        if self.bulk[worker].byteCount >= min(Self.bulkBytes, grant.bytes)
            || self.bulk[worker].keys >= grant.keys
        {
            await self.handOver(worker)
        }
    }

    private func handOver(_ worker: Int) async {
        let database = self.bulk[worker].database
        let (commands, keys) = self.bulk[worker].take()
        guard !commands.isEmpty else { return }
        await self.push(worker, .bulk(commands, database: database, keys: keys), time: 0)
    }

    func flushBulk() async throws(RunError) {
        for worker in self.queues.indices { await self.handOver(worker) }
    }

    func endSnapshot(_ position: SourcePosition) async throws(RunError) {
        try await self.flushBulk()
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        if self.planner.target.isFile {
            try self.refuseTwins()
        } else if self.hashes != nil {
            try await self.deleteWhatIsGone(position)
        }
        self.hashes = nil
        self.resume.isReconciling = false
        self.resume.hasStreamed = true
        try await self.keeper.commit(.stream(position), isReconciling: false)
        self.meter.update {
            $0.phase = .streaming
            $0.snapshotReadBytes = $0.snapshotBytes
        }
    }

    /// All databases of the target that this job writes.
    func targetDatabases() -> [Int] {
        let map = self.planner.filter.databases
        return map.isEmpty
            ? Array(0..<self.planner.target.databases) : Array(Set(map.values)).sorted()
    }

    static let tooManyNames =
        "more than \(Engine.maxReconciledKeys) names can't be told apart; [map] types copies one type"
        + " at a time, whose names are different ones"
    static let partOfFile =
        "a shard of the source lost its history, and a file can't be asked which of its keys it has; a"
        + " copy begins the file anew"
    static let nameTwice =
        "a name comes twice, as a Pika's with several types does, or one that is renamed; a server that"
        + " loads the file has one of them at most"

    /// A file can't hold one name in two types, and would not say so.
    private func refuseTwins() throws(RunError) {
        self.hashes?.sort()
        guard let names = self.hashes else { return }
        guard !zip(names, names.dropFirst()).contains(where: { $0 == $1 }) else {
            throw .corrupt(Self.nameTwice)
        }
    }

    /// After a copy over older data: what the target has and the copy has not is read from the
    /// source, and so deleted if it is gone there.
    private func deleteWhatIsGone(_ position: SourcePosition) async throws(RunError) {
        guard !self.resume.merges else { return }
        let filter = self.planner.filter
        guard filter.renaming.isEmpty, !filter.joinsDatabases else {
            throw .history("a job that renames keys or joins databases can't be reconciled")
        }
        self.hashes?.sort()
        guard let known = self.hashes else { return }
        for database in self.targetDatabases() {
            let source = filter.databases.first { $0.value == database }?.key ?? database
            var missing: [[UInt8]] = []
            try await self.state.scan(database: database) { keys throws(RunError) in
                for key in keys {
                    let wanted = filter.target(DatabaseKey(source, key)) != nil
                    let hash = KeyHash.hash(database: database, key: key)
                    if wanted, !Self.contains(known, hash) { missing.append(key) }
                }
                return !Task.isCancelled
            }
            for key in missing {
                let worker = self.router.lane(DatabaseKey(database, key))
                try await self.refresh(
                    [DatabaseKey(source, key)], executor: worker, workers: [worker],
                    end: position, time: 0)
                self.meter.update { $0.reconciledDeletes += 1 }
            }
        }
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
    }

    private static func contains(_ sorted: ContiguousArray<UInt64>, _ hash: UInt64) -> Bool {
        var low = 0
        var high = sorted.count
        while low < high {
            let middle = (low + high) / 2
            if sorted[middle] < hash { low = middle + 1 } else { high = middle }
        }
        return low < sorted.count && sorted[low] == hash
    }
}
