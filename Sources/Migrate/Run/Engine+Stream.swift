internal import MigrateCore

// MARK: - The stream

extension Engine {
    func apply(_ unit: SourceUnit) async throws(RunError) {
        let plan = try Self.refusal { () throws(PlanRefusal) in try self.planner.plan(unit) }
        self.meter.note(plan.notes)
        self.meter.update { $0.units += 1 }
        let database = unit.commands.first?.database ?? 0
        if case .flush(let databases) = plan.action {
            return try await self.flush(databases, unit)
        }
        guard !plan.keys.isEmpty else { return }
        // Keys that were read from the source behind this unit have it already.
        let uncovered = self.uncovered(plan.keys, unit.end, database)
        if uncovered.isEmpty {
            self.meter.update { $0.skippedUnits += 1 }
            return
        }
        if uncovered.count < plan.keys.count {
            return try await self.refresh(
                uncovered, end: unit.end, time: unit.sourceTimeMilliseconds)
        }
        switch plan.action {
        case .refresh:
            try await self.refreshUnlessCovered(plan.keys, unit, database)
        case .execute(let parts):
            for part in parts where !part.commands.isEmpty {
                try await self.execute(part, unit, database, plan.keys)
            }
        case .flush: break
        }
    }

    private func uncovered(
        _ keys: [DatabaseKey], _ end: SourcePosition, _ database: Int
    ) -> [DatabaseKey] {
        guard !self.skips.isEmpty else { return keys }
        return keys.filter { key in
            guard let read = self.skips[key] else { return true }
            return !read.covers(end, database: database)
        }
    }

    /// All workers of a part's keys, and the one that executes it: the same in every run.
    private func place(_ keys: [DatabaseKey]) -> (executor: Int, workers: Set<Int>) {
        let workers = Set(keys.map { self.worker($0) })
        return (workers.min() ?? 0, workers)
    }

    private func execute(
        _ part: UnitPart, _ unit: SourceUnit, _ database: Int, _ sources: [DatabaseKey]
    ) async throws(RunError) {
        guard part.database < self.planner.target.databases else {
            throw .preflight("the target has no db\(part.database); see [map] databases")
        }
        let (executor, workers) = self.place(part.keys)
        if let marker = self.resume.markers[part.database]?[executor],
            marker.position.covers(unit.end, database: database)
        {
            self.meter.update { $0.skippedUnits += 1 }
            return
        }
        if self.isDoubtful(executor, workers, unit.end, database, part.database) {
            self.meter.update { $0.suspects += UInt64(sources.count) }
            return try await self.refresh(
                sources, end: unit.end, time: unit.sourceTimeMilliseconds)
        }
        let time = unit.sourceTimeMilliseconds
        if workers.count > 1 {
            let meeting = Meeting(executor: executor, workers: workers)
            for worker in workers { await self.push(worker, .meet(meeting), time: time) }
        }
        await self.push(
            executor,
            .unit(part.commands, database: part.database, end: unit.end, horizon: nil), time: time)
    }

    /// Whether a unit of an earlier run may be in the target without its marker telling.
    private func isDoubtful(
        _ executor: Int, _ workers: Set<Int>, _ end: SourcePosition, _ database: Int,
        _ targetDatabase: Int
    ) -> Bool {
        if self.doubts[executor] > 0 {
            self.doubts[executor] -= 1
            return true
        }
        guard !self.resume.markers.isEmpty else { return false }
        return workers.contains { worker in
            self.resume.markers.values.contains { markers in
                markers[worker]?.horizon?.covers(end, database: database) ?? false
            }
        }
    }

    private func refreshUnlessCovered(
        _ keys: [DatabaseKey], _ unit: SourceUnit, _ database: Int
    ) async throws(RunError) {
        var wanted: [DatabaseKey] = []
        for key in keys {
            guard let target = self.planner.filter.target(key) else { continue }
            let marker = self.resume.markers[target.database]?[self.worker(target)]
            if marker?.position.covers(unit.end, database: database) != true { wanted.append(key) }
        }
        guard !wanted.isEmpty else { return }
        try await self.refresh(wanted, end: unit.end, time: unit.sourceTimeMilliseconds)
    }

    /// Reads keys from the source as they are now, and puts them into their workers' order.
    ///
    /// Units of these keys up to the position of the reading are left out from here on.
    func refresh(_ keys: [DatabaseKey], end: SourcePosition, time: Int64) async throws(RunError) {
        guard self.opening.canRefresh else {
            throw .corrupt(
                "a command of the source can't be carried over, and the source can't be asked for the"
                    + " key: it is a file")
        }
        for key in Set(keys) {
            guard let target = self.planner.filter.target(key) else { continue }
            let read: RefreshedKey
            do throws(SourceError) {
                read = try await self.source.refresh(database: key.database, key: key.key)
            } catch { throw RunError(error) }
            var commands = CommandBuffer()
            commands.append([Array("DEL".utf8), target.key])
            for value in read.values where self.planner.filter.takes(value.head.kind) {
                try Self.refusal { () throws(PlanRefusal) in
                    var writer = ValueWriter(self.planner.target, self.planner.policy)
                    try writer.begin(
                        value.head, key: target.key, replaces: false, now: systemMilliseconds(),
                        into: &commands)
                    for chunk in value.chunks { try writer.append(chunk, into: &commands) }
                    try writer.end(into: &commands)
                }
            }
            let worker = self.worker(target)
            self.remember(key, worker, read.position)
            self.meter.update { $0.refreshedKeys += 1 }
            await self.push(
                worker,
                .unit(
                    commands, database: target.database, end: end,
                    horizon: self.horizons[worker]), time: time)
        }
        self.prune(end)
    }

    private func remember(_ key: DatabaseKey, _ worker: Int, _ position: SourcePosition) {
        self.skips[key] = position
        // Positions of one source only grow.
        self.horizons[worker] = position
    }

    /// Forgets what the stream has passed.
    private func prune(_ end: SourcePosition) {
        guard self.skips.count > Self.maxSkips else { return }
        self.skips = self.skips.filter { key, read in
            !end.covers(read, database: key.database)
        }
    }

    // MARK: - Emptying

    private func flush(_ databases: [Int], _ unit: SourceUnit) async throws(RunError) {
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        self.skips = [:]
        for database in databases where database < self.planner.target.databases {
            let markers = self.resume.markers[database] ?? [:]
            let source = unit.commands.first?.database ?? 0
            if !markers.isEmpty,
                markers.values.allSatisfy({ $0.position.covers(unit.end, database: source) })
            {
                continue
            }
            try await self.state.empty(
                database: database, workers: self.queues.count, end: unit.end)
            // What the markers said before is over.
            self.resume.markers[database] = nil
        }
        try await self.keeper.commit(.stream(unit.end))
        for worker in self.queues.indices { await self.push(worker, .watch, time: 0) }
    }
}
