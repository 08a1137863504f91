internal import MigrateCore

// MARK: - The stream

extension Engine {
    func apply(_ unit: SourceUnit) async throws(RunError) {
        let plan = try Self.refusal { () throws(PlanRefusal) in try self.planner.plan(unit) }
        self.meter.note(plan.notes)
        self.meter.update { $0.units += 1 }
        let database = unit.commands.first?.database ?? 0
        if case .flush(let databases) = plan.action {
            if let slots = unit.emptiedSlots {
                try await self.flush(databases, unit, slots)
            } else {
                try await self.flush(databases, unit)
            }
            return
        }
        self.lastEnd = unit.end
        switch plan.action {
        case .refresh:
            let places = Dictionary(grouping: plan.keys) {
                self.planner.filter.target($0)?.database
            }
            for (place, keys) in places.sorted(by: { $0.key ?? -1 < $1.key ?? -1 })
            where place != nil {
                try await self.carryOut(
                    self.router.route(
                        keys, end: unit.end, database: database, mustRefresh: true), nil, unit)
            }
        case .execute(let parts):
            for part in parts where !part.commands.isEmpty {
                guard part.database < self.planner.target.databases else {
                    throw .preflight("the target has no db\(part.database); see [map] databases")
                }
                try await self.carryOut(
                    self.router.route(
                        part.sources, end: unit.end, database: database, mustRefresh: false),
                    part, unit)
            }
        case .flush: break
        }
        self.router.passed(unit.end)
    }

    private func carryOut(
        _ route: UnitRoute, _ part: UnitPart?, _ unit: SourceUnit
    ) async throws(RunError) {
        let time = unit.sourceTimeMilliseconds
        switch route {
        case .done: self.meter.update { $0.skippedUnits += 1 }
        case .refresh(let keys, let executor, let workers):
            if part != nil { self.meter.update { $0.suspects += UInt64(keys.count) } }
            try await self.refresh(
                keys, executor: executor, workers: workers, end: unit.end, time: time)
        case .execute(let executor, let workers):
            guard let part else { return }
            if workers.count > 1 {
                let meeting = Meeting(executor: executor, workers: workers)
                for worker in workers { await self.push(worker, .meet(meeting), time: time) }
            }
            let work = WorkUnit(
                commands: part.commands, database: part.database, end: unit.end,
                sources: part.sources)
            await self.give(executor, work, time: time)
        }
    }

    /// Reads keys from the source as they are now, and puts them into their workers' order.
    ///
    /// Units of these keys up to the position of the reading are left out from here on. The
    /// executor's marker is written when all is in the target: until then a crash repeats it.
    func refresh(
        _ keys: [DatabaseKey], executor: Int, workers: Set<Int>, end: SourcePosition, time: Int64
    ) async throws(RunError) {
        guard self.opening.canRefresh else {
            throw .corrupt(
                "a command of the source can't be carried over, and the source can't be asked for the"
                    + " key: it is a file")
        }
        let isAlone = workers == [executor]
        if !isAlone { try await self.rest(workers) }
        var own: WorkUnit?
        for key in Set(keys) {
            guard let target = self.planner.filter.target(key) else { continue }
            let read = try await self.read(key)
            let commands = try self.rebuild(target.key, read)
            let worker = self.router.lane(target)
            let horizon = self.router.read(key, worker: worker, at: read.position)
            self.meter.update { $0.refreshedKeys += 1 }
            var work = WorkUnit(
                commands: commands, database: target.database, end: end, horizon: horizon,
                sources: [key], isRefresh: true)
            guard worker == executor else {
                await self.give(worker, work, time: time)
                continue
            }
            if let before = own {
                work.commands = before.commands
                work.commands.append(commands)
                work.sources += before.sources
            }
            own = work
        }
        if !isAlone { try await self.rest(workers) }
        let mark = WorkUnit(
            commands: CommandBuffer(), database: own?.database ?? self.place(keys), end: end,
            sources: [], isRefresh: true)
        await self.give(executor, own ?? mark, time: time)
    }

    private func place(_ keys: [DatabaseKey]) -> Int {
        keys.lazy.compactMap { self.planner.filter.target($0)?.database }.first ?? 0
    }

    /// Hands a unit to the worker of a lane.
    private func give(_ lane: Int, _ unit: WorkUnit, time: Int64) async {
        var unit = unit
        unit.end = self.router.mark(unit.end, place: unit.database, lane: lane)
        guard self.planner.target.isSharded else {
            return await self.push(lane, .unit(unit), time: time)
        }
        let keys = unit.sources.compactMap { self.planner.filter.target($0)?.key }
        var units = SlotUnits(slot: lane, end: unit.end)
        units.append(unit.commands, keys: keys, end: unit.end, horizon: unit.horizon)
        await self.push(self.router.worker(lane: lane), .slot(units), time: time)
    }

    /// Waits until the workers of lanes have nothing left to do.
    private func rest(_ workers: Set<Int>) async throws(RunError) {
        for lane in workers {
            await self.queues[self.router.worker(lane: lane)].waitUntilFinished()
        }
        guard !Task.isCancelled else { throw .stopped }
    }

    private func read(_ key: DatabaseKey) async throws(RunError) -> RefreshedKey {
        do throws(SourceError) {
            return try await self.source.refresh(database: key.database, key: key.key)
        } catch { throw RunError(error) }
    }

    private func rebuild(_ name: [UInt8], _ read: RefreshedKey) throws(RunError) -> CommandBuffer {
        var commands = CommandBuffer()
        commands.append([Array("DEL".utf8), name])
        let values = read.values.filter { self.planner.filter.takes($0.head.kind) }
        for (index, value) in values.enumerated() {
            if index > 0, !self.planner.target.keepsTypesApart {
                guard self.planner.policy.sameName == .first else {
                    let refusal = PlanRefusal.severalTypes(values.map(\.head.kind), name: name)
                    throw .corrupt(refusal.reason)
                }
                break
            }
            try Self.refusal { () throws(PlanRefusal) in
                var writer = ValueWriter(self.planner.target, self.planner.policy)
                try writer.begin(
                    value.head, key: name, replaces: false, now: systemMilliseconds(),
                    into: &commands)
                for chunk in value.chunks { try writer.append(chunk, into: &commands) }
                try writer.end(into: &commands)
            }
        }
        return commands
    }

    /// Reads what the target rejected, if the run goes on behind that.
    func healSuspects() async throws(RunError) {
        guard let end = self.lastEnd else { return }
        try await self.readAnew(self.suspects.take(), end: end)
    }

    /// Reads keys whose values in the target are in doubt, if the source can be asked.
    func readAnew(
        _ keys: some Collection<DatabaseKey>, end: SourcePosition
    ) async throws(RunError) {
        guard self.opening.canRefresh else { return }
        for key in keys {
            guard let target = self.planner.filter.target(key) else { continue }
            let worker = self.router.lane(target)
            self.meter.update { $0.suspects += 1 }
            try await self.refresh([key], executor: worker, workers: [worker], end: end, time: 0)
        }
    }

    /// The source has another name from here on; that is written down before anything behind it is
    /// applied.
    func take(_ change: IdentityChange) async throws(RunError) {
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        self.meter.note([PlanNote("identity-change \(change.what)")])
        guard change.goesBack else {
            try await self.keeper.commit(.stream(change.new))
            return try await self.readAnew(self.router.renamed(change), end: change.new)
        }
        // The markers are ahead of what comes, and the target has all that they tell of: that is
        // written down first, as they go before the new place is. A key that was read is left as it
        // is: what the source has of it may be older by what it gets again.
        self.meter.note([PlanNote("source-set-back")])
        try await self.keeper.commit(.stream(change.old))
        try await self.state.removeMarkers(
            workers: self.queues.count, databases: self.targetDatabases())
        self.router.restart(change.new)
        try await self.keeper.commit(.stream(change.new))
    }

    // MARK: - Emptying

    private func flush(_ databases: [Int], _ unit: SourceUnit) async throws(RunError) {
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        let source = unit.commands.first?.database ?? 0
        for database in databases where database < self.planner.target.databases {
            if self.router.isEmptied(database, end: unit.end, database: source) { continue }
            try await self.state.empty(
                database: database, workers: self.queues.count, end: unit.end)
            self.router.emptied([database])
        }
        try await self.keeper.commit(.stream(unit.end))
        for worker in self.queues.indices { await self.push(worker, .watch, time: 0) }
    }
    /// A part of a Redis Cluster was emptied: what the target has of its slots is read anew, which
    /// leaves alone what the other parts have and what was written since.
    private func flush(
        _ databases: [Int], _ unit: SourceUnit, _ slots: Set<Int>
    ) async throws(RunError) {
        guard !self.planner.target.isFile else {
            throw .corrupt(
                "a shard of the source was emptied, and a file can't be asked which of its keys it has;"
                    + " a copy begins the file anew")
        }
        await self.drain()
        for database in databases where database < self.planner.target.databases {
            try await self.state.scan(database: database) { names throws(RunError) in
                for name in names where slots.contains(KeyHash.slot(name)) {
                    let key = DatabaseKey(0, name)
                    guard let lane = self.planner.filter.target(key).map(self.router.lane) else {
                        continue
                    }
                    // Not yet its end: that is reached with the last of them.
                    try await self.refresh(
                        [key], executor: lane, workers: [lane], end: unit.start,
                        time: unit.sourceTimeMilliseconds)
                }
                return !Task.isCancelled
            }
        }
        await self.drain()
        guard !Task.isCancelled else { throw .stopped }
        self.lastEnd = unit.end
        try await self.keeper.commit(.stream(unit.end))
    }
}
