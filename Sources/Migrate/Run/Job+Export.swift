internal import FileIO
internal import MigrateCore

// MARK: - A snapshot as a file

extension Job {
    /// Bytes of an RDB are written at this size, in bytes.
    private static let exportBytes = 256 * 1_024

    /// Writes the source's snapshot into an RDB, and ends: an RDB has no room for a stream.
    ///
    /// There is no place in it to go on from: a run that was interrupted begins again.
    func export(_ path: String) async throws(RunError) {
        try self.checkFileTarget()
        var checkpoint =
            try self.files.read()
            ?? Checkpoint(
                job: self.name, sequence: 0, epoch: 0, source: "", target: "",
                filterDigest: self.filter.digest, workers: 1, isReconciling: false,
                phase: .copying)
        guard checkpoint.job == self.name else {
            throw .history("\(self.directory) belongs to the job \(checkpoint.job)")
        }
        if case .done(let position) = checkpoint.phase,
            (try? self.files.fileSystem.exists(path)) == true
        {
            return self.exported(path, position)
        }
        let replaces = self.settings.text("target.on-nonempty") == "flush"
        let file = try SnapshotFile(path, replaces: replaces)
        let source = try self.makeSource()
        guard self.register(source) else { throw .stopped }
        let result: Result<SourcePosition, RunError>
        do throws(RunError) {
            result = .success(try await self.copy(source, file))
        } catch { result = .failure(error) }
        await source.stop()
        _ = self.register(nil)
        let position = try result.get()
        try file.complete()
        checkpoint.sequence += 1
        checkpoint.target = "file \(Path.name(of: path))"
        checkpoint.phase = .done(position)
        try self.files.write(checkpoint)
        self.exported(path, position)
    }

    private func exported(_ path: String, _ position: SourcePosition) {
        self.meter.update {
            $0.phase = .done
            $0.outcome = "\(path) has the source's data up to \(position)"
            $0.snapshotReadBytes = $0.snapshotBytes
            if case .redis(let place) = position { $0.appliedOffset = place.offset }
        }
    }

    private func makeWriter(_ position: SourcePosition) -> SnapshotWriter {
        SnapshotWriter(
            filter: self.filter, policy: self.policy,
            checksNames: self.filter.mayRepeatNames(position))
    }

    private func copy(
        _ source: any Source, _ file: SnapshotFile
    ) async throws(RunError) -> SourcePosition {
        do throws(SourceError) { _ = try await source.start(.fresh) } catch {
            throw RunError(error)
        }
        var writer: SnapshotWriter?
        var ended: SourcePosition?
        while true {
            let events: [SourceEvent]
            do throws(SourceError) { events = try await source.next() } catch {
                throw RunError(error)
            }
            for event in events {
                switch event {
                case .snapshotStart(let start):
                    guard !start.mayRepeat else {
                        throw .preflight(
                            "the source has no snapshot of one instant, as an RDB must be; aof: can be"
                                + " written, or an RDB of each shard")
                    }
                    try file.restart()
                    writer = self.makeWriter(start.position)
                    self.meter.update {
                        $0.phase = .loading
                        $0.keys = [:]
                        $0.snapshotBytes = start.totalBytes
                    }
                case .snapshotEnd(let position): ended = position
                case .unit:
                    throw .preflight(
                        "the source has commands, which an RDB has no room for; aof: has")
                case .end:
                    guard ended != nil else {
                        throw .preflight("the source has no snapshot to write into an RDB")
                    }
                default: try self.export(event, &writer)
                }
                guard let position = ended, try self.isLast(event) else { continue }
                try self.finish(&writer, file)
                return position
            }
            try await self.hand(&writer, to: file)
        }
    }

    /// Whether nothing follows that belongs to the snapshot: a file may have commands behind it.
    private func isLast(_ event: SourceEvent) throws(RunError) -> Bool {
        if case .end = event { return true }
        guard case .snapshotEnd = event else { return false }
        return try self.sourceLocation()?.makeFileSource() == nil
    }

    private func export(
        _ event: SourceEvent, _ writer: inout SnapshotWriter?
    ) throws(RunError) {
        switch event {
        case .keyStart(let head):
            try Engine.refusal { () throws(PlanRefusal) in
                try writer?.begin(head, now: systemMilliseconds())
            }
        case .elements(let chunk):
            try Engine.refusal { () throws(PlanRefusal) in try writer?.append(chunk) }
        case .keyEnd:
            if let kind = writer?.endKey() { self.meter.update { $0.keys[kind, default: 0] += 1 } }
        case .strings(let batch):
            var count: UInt64 = 0
            let now = systemMilliseconds()
            for index in 0..<batch.count {
                let (head, chunk) = batch.key(index)
                try Engine.refusal { () throws(PlanRefusal) in
                    try writer?.begin(head, now: now)
                    try writer?.append(chunk)
                }
                if writer?.endKey() != nil { count += 1 }
            }
            self.meter.update { $0.keys[.string, default: 0] += count }
        case .snapshotPoint(_, let readBytes):
            self.meter.update { $0.snapshotReadBytes = readBytes }
        case .notice(let notice): self.meter.note([PlanNote(notice.kind)])
        case .phase, .snapshotStart, .snapshotEnd, .unit, .idle, .identityChange, .end: break
        }
    }

    /// Writes what the writer has, as fast as the limits allow.
    private func hand(
        _ writer: inout SnapshotWriter?, to file: SnapshotFile
    ) async throws(RunError) {
        guard var full = writer, full.pendingCount >= Self.exportBytes else { return }
        writer = nil
        defer { writer = full }
        await self.throttle.take(isSnapshot: true, bytes: full.pendingCount, commands: 0, keys: 0)
        self.meter.sent(commands: 0, bytes: full.pendingCount)
        self.meter.note(full.takeNotes())
        try file.write(&full)
    }

    private func finish(
        _ writer: inout SnapshotWriter?, _ file: SnapshotFile
    ) throws(RunError) {
        guard var last = writer else { throw .preflight("the source has no snapshot") }
        writer = nil
        try Engine.refusal { () throws(PlanRefusal) in try last.end() }
        self.meter.sent(commands: 0, bytes: last.pendingCount)
        self.meter.note(last.takeNotes())
        try file.write(&last)
    }
}
