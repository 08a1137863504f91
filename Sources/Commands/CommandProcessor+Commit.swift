import Keyspace
import PikaStorage
import RESP
import SyncProtocol
import Synchronization

// MARK: - Key locks

extension CommandProcessor {
    /// Takes the locks of a write command's keys.
    @inline(__always)
    func lockKeys(_ row: UnsafePointer<HotRow>) -> LockOutcome {
        let keys = row.pointee.keys
        let group = self.execution.pointee.group
        let arguments = self.execution.pointee.arguments
        if keys.isMovable {
            return keys.list(in: arguments).withUnsafeBufferPointer { group.lock($0) }
        }
        guard keys.first > 0 else { return .acquired }
        // Locked slice by slice.
        if row.pointee.flags.contains(.sliced), arguments.count - 1 > ExecutionPlace.sliceLimit,
            self.execution.pointee.mayRunInSlices
        {
            return .acquired
        }
        guard keys.last != keys.first else {
            return group.lock(arguments[keys.first])
        }
        if row.pointee.flags.contains(.locksLate) {
            // Types are looked at under the locks.
            let locksLate =
                arguments.count - 1 > ExecutionPlace.sliceLimit
                && self.execution.pointee.mayRunInSlices
                && !self.environment.checksTypes.load(ordering: .relaxed)
            self.execution.pointee.locksLate = locksLate
            if locksLate { return .acquired }
        }
        return self.lockSeveral(keys, group, arguments)
    }

    private func lockSeveral(
        _ keys: KeyPositions, _ group: WriteGroup, _ arguments: UnsafeBufferPointer<Bytes>
    ) -> LockOutcome {
        let end = keys.last < 0 ? arguments.count + keys.last + 1 : keys.last + 1
        if keys.step == 1 {
            return group.lock(UnsafeBufferPointer(rebasing: arguments[keys.first..<end]))
        }
        let list = stride(from: keys.first, to: end, by: keys.step).map { arguments[$0] }
        return list.withUnsafeBufferPointer { group.lock($0) }
    }
}

// MARK: - Commit

extension CommandProcessor {
    /// Commits the uncommitted writes of the input in front of `end`.
    ///
    /// - Parameters:
    ///   - client: the connection.
    ///   - input: its bytes.
    ///   - end: the end of the last request that was executed.
    ///   - closes: the connection is to be closed behind it.
    /// - Returns: a value when the burst must stop here.
    func finishBatch(
        _ client: ClientState, _ input: UnsafeRawBufferPointer, _ end: Int, closes: Bool
    ) -> ProcessNext? {
        let x = self.execution
        var outcome = x.pointee.commitGroup()
        if case .prepareAgain = outcome {
            outcome = self.repeatBatch(client, input, end)
        }
        defer { self.batch = Batch(input: end, output: x.pointee.reply.count) }
        self.sendMessages(outcome)
        if let end = x.pointee.committedEnd {
            x.pointee.committedEnd = nil
            self.wait(for: end, of: x.pointee.group.database)
        }
        switch outcome {
        case .nothing: break
        case .committed(let position): self.wait(for: position, of: x.pointee.group.database)
        case .busy, .prepareAgain:
            return self.moveBatchToPool(client, input, end)
        case .stalled:
            return self.handOverStalledGroup(client, closes)
        case .failed(let error):
            self.failBatch(errorText(of: error), replies: self.batch.replies)
            // Some of its commands may be among the replies that are errors now.
            client.transaction?.hasFailed = true
        }
        if client.batchTransaction != nil { self.forgetBatchTransaction(client) }
        return nil
    }

    /// Replies wait for the disk (`binlog-sync always`).
    func wait(for position: BinlogPosition, of database: Database) {
        guard self.environment.keyspace.syncPolicy == .always else { return }
        self.waits.removeAll { $0.database == database.index }
        self.waits.append(DurableWait(database: database.index, position: position))
    }

    /// Executes the batch once more, with the newer clock of its group, and commits.
    private func repeatBatch(
        _ client: ClientState, _ input: UnsafeRawBufferPointer, _ end: Int
    ) -> CommitOutcome {
        let x = self.execution
        x.pointee.reply.truncate(to: self.batch.output)
        x.pointee.messages = []
        client.restoreTransaction()
        if self.batch.skipsFirst { client.replyMode = .skipsNext }
        let replies = self.batch.replies
        var position = self.batch.input
        self.batch.replies = 0
        while position < end {
            let authenticated =
                client.access != nil || !self.environment.needsPassword.load(ordering: .relaxed)
            switch self.parser.parse(input, from: position, authenticated: authenticated) {
            case .request(let next):
                let replyStart = x.pointee.reply.count
                switch self.execute(client, authenticated) {
                case .next, .close:
                    if client.replyMode != .on {
                        client.mute(&x.pointee.reply, from: replyStart)
                        self.batch.replies -= 1
                    }
                case .commitFirst, .pool, .block, .postpone, .batchToPool:
                    self.batch.replies = replies
                    return .busy
                }
                position = next
            case .nothing(let next):
                position = next
                continue
            case .failure(let error):
                x.pointee.reply.error("ERR " + error.text)
                position = end
            case .incomplete: preconditionFailure("a request of the batch became incomplete")
            }
            self.batch.replies += 1
        }
        return x.pointee.commitGroup()
    }

    /// The commit would have to wait: the requests are executed again on the pool.
    func moveBatchToPool(
        _ client: ClientState, _ input: UnsafeRawBufferPointer, _ end: Int
    ) -> ProcessNext {
        let x = self.execution
        precondition(self.place == .loop, "a group of the pool waits for its commit")
        x.pointee.group.discard()
        x.pointee.messages = []
        x.pointee.reply.truncate(to: self.batch.output)
        let requests = self.batch.input..<end
        client.closesAfterReply = false
        if self.batch.skipsFirst { client.replyMode = .skipsNext }
        client.restoreTransaction()
        return .busy(SlowWork(self.environment, client, input, requests))
    }

    /// The group is in the log, but a store would stall: the pool waits for it and keeps the replies.
    private func handOverStalledGroup(_ client: ClientState, _ closes: Bool) -> ProcessNext {
        let x = self.execution
        let group = x.pointee.group
        if client.batchTransaction != nil { self.forgetBatchTransaction(client) }
        let reply = Array(x.pointee.reply.bytes[self.batch.output...])
        x.pointee.reply.truncate(to: self.batch.output)
        self.groups[group.database.index] = nil
        let work = SlowWork(
            self.environment, client, stalled: group, reply: reply, replies: self.batch.replies)
        work.closes = closes
        // The group must not be touched any more by this loop.
        self.selectGroup(client.database)
        return .busy(work)
    }

    /// Gives up what is uncommitted: each of its requests gets the error.
    func failBatch(_ text: String, replies: Int) {
        let x = self.execution
        x.pointee.group.discard()
        x.pointee.messages = []
        x.pointee.reply.truncate(to: self.batch.output)
        for _ in 0..<replies { x.pointee.reply.error(text) }
    }
}
