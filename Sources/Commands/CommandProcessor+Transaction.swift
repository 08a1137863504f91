import Keyspace
import PikaStorage
import RESP
import Synchronization

// MARK: - Between MULTI and EXEC

extension CommandProcessor {
    /// MULTI outside a transaction.
    func beginTransaction(_ client: ClientState) -> Step {
        self.statistics.count(self.environment.table.transactionRows.multi)
        let transaction = self.spareTransaction ?? Transaction(database: client.database)
        self.spareTransaction = nil
        transaction.reset(database: client.database)
        client.transaction = transaction
        self.execution.pointee.rowIndex = self.environment.table.transactionRows.multi
        self.execution.pointee.reply.ok()
        self.noteExecuted(client)
        return .next
    }

    /// What becomes of a request while a transaction is open; nil = it is executed as always.
    func transact(
        _ row: UnsafePointer<HotRow>, _ index: Int, _ client: ClientState,
        _ transaction: Transaction
    ) -> Step? {
        let x = self.execution
        let known = self.environment.table.transactionRows
        if index == known.exec {
            let step = self.executeTransaction(client, transaction)
            x.pointee.arguments = self.parser.arguments
            x.pointee.rowIndex = index
            switch step {
            case .next, .close: self.noteExecuted(client)
            default: break
            }
            return step
        }
        if known.immediate.contains(index) { return nil }
        if index == known.multi {
            x.pointee.reply.error("ERR MULTI calls can not be nested")
            return .next
        }
        if index == known.watch {
            x.pointee.reply.error("ERR WATCH inside MULTI is not allowed")
            return .next
        }
        let flags = row.pointee.flags
        let isFlush = known.flushes.contains(index)
        guard flags.isDisjoint(with: .noMulti), isFlush || flags.isDisjoint(with: .suspend) else {
            transaction.hasFailed = true
            x.pointee.reply.error("ERR Command not allowed inside a transaction")
            return .next
        }
        guard transaction.append(index, x.pointee.arguments, row.pointee.keys) else {
            transaction.hasFailed = true
            x.pointee.replyError(.reply("ERR too many or too large commands in a transaction"))
            return .next
        }
        client.record.queuedCommands.store(transaction.requests.count, ordering: .relaxed)
        client.record.queuedBytes.store(transaction.bytes.count, ordering: .relaxed)
        if flags.contains(.write) { transaction.writes = true }
        if flags.contains(.growsData) { transaction.growsData = true }
        if flags.contains(.slow) || transaction.isLong
            || !self.largeNames.isEmpty && self.namesLargeValue(row)
        {
            transaction.needsPool = true
        }
        if isFlush { transaction.isSegmented = true }
        if index == known.select { self.noteSelect(transaction) }
        x.pointee.rowIndex = index
        x.pointee.reply.simple("QUEUED")
        return .next
    }

    private func noteSelect(_ transaction: Transaction) {
        let count = Int64(self.environment.keyspace.databases.count)
        guard let number = Decimal.parseInteger(self.execution.pointee.arguments[1]),
            number >= 0, number < count, Int(number) != transaction.database
        else { return }
        transaction.database = Int(number)
        transaction.isSegmented = true
    }
}

// MARK: - EXEC

extension CommandProcessor {
    /// How far the queued requests came.
    private enum Run {
        /// Behind the last of a segment.
        case done
        /// One of them is too much for a loop.
        case tooMuch
        /// One of them failed half-way: nothing of the group may remain.
        case failed(String)
    }

    /// Executes the queued requests as one group of the log, with all their keys locked.
    ///
    /// The group may stay uncommitted like that of any command: what is behind EXEC in the input
    /// joins it.
    func executeTransaction(_ client: ClientState, _ transaction: Transaction) -> Step {
        let x = self.execution
        self.statistics.count(self.environment.table.transactionRows.exec)
        guard !transaction.hasFailed else {
            x.pointee.reply.error(
                "EXECABORT Transaction discarded because of previous errors.")
            client.endTransaction()
            return .next
        }
        if let reason = self.refusal(of: transaction) {
            x.pointee.reply.error("EXECABORT Transaction discarded because of: \(reason)")
            client.endTransaction()
            return .next
        }
        // Executing again from the start of the batch must find the watches as they were there.
        if !client.watches.isEmpty || transaction.isSegmented, x.pointee.group.hasWrites {
            return .commitFirst
        }
        if self.place == .loop, transaction.needsPool || transaction.isSegmented {
            return x.pointee.group.hasWrites ? .commitFirst : .pool
        }
        if transaction.isSegmented { return self.executeSegments(client, transaction) }
        switch self.lock(transaction, transaction.requests.indices) {
        case .acquired: break
        case .commitFirst: return .commitFirst
        case .busy: return x.pointee.group.hasWrites ? .commitFirst : .pool
        }
        guard !self.watchesAreTouched(client) else {
            x.pointee.reply.nullArray()
            client.endTransaction()
            return .next
        }
        if !x.pointee.group.hasWrites { client.keepTransactionForBatch() }
        return self.executeWhole(client, transaction)
    }

    /// What has changed since the commands were queued, so that they must not run.
    private func refusal(of transaction: Transaction) -> String? {
        if transaction.growsData, self.environment.refusesGrowth.load(ordering: .relaxed) {
            return "OOM command not allowed when used memory > 'maxmemory'."
        }
        if transaction.writes, self.environment.isReadOnlyReplica.load(ordering: .relaxed) {
            return "READONLY You can't write against a read only replica."
        }
        return nil
    }

    private func executeWhole(_ client: ClientState, _ transaction: Transaction) -> Step {
        let x = self.execution
        x.pointee.reply.beginReply()
        x.pointee.reply.array(transaction.requests.count)
        if transaction.writes { x.pointee.group.beginAtomic() }
        let run = transaction.withArguments {
            self.run(client, transaction, transaction.requests.indices, $0)
        }
        switch run {
        case .tooMuch:
            // What is uncommitted is executed again on the pool, this transaction included.
            transaction.needsPool = true
            return .batchToPool
        case .failed(let text):
            self.failBatch(text, replies: self.batch.replies + 1)
        case .done:
            if transaction.writes { x.pointee.group.endAtomic() }
        }
        client.transaction = nil
        // The batch has them, if it is to be executed again.
        if client.batchTransaction === transaction { client.watches = [] }
        if !x.pointee.group.hasWrites { self.forgetBatchTransaction(client) }
        return client.closesAfterReply ? .close : .next
    }

    /// The batch is final: its transaction is free for another MULTI.
    func forgetBatchTransaction(_ client: ClientState) {
        guard let transaction = client.forgetBatchTransaction(), transaction.isSmall else { return }
        self.spareTransaction = transaction
    }

    private func watchesAreTouched(_ client: ClientState) -> Bool {
        let now = self.execution.pointee.group.now
        for watch in client.watches {
            if watch.isTouched { return true }
            guard watch.existed else { continue }
            // Nobody writes when a key's time is over.
            let database = self.environment.keyspace.databases[watch.database]
            let isHere = database === self.execution.pointee.group.database
            let keys = isHere ? self.execution.pointee.keys : KeyOperations(database.makeReader())
            let isThere = watch.key.withUnsafeBytes { key in
                // What can't be read can't be told to be the same.
                (try? keys.type(key, now: now) != nil) ?? false
            }
            if !isThere { return true }
        }
        return false
    }

    /// The replies of a transaction are too long for a loop, or for anybody.
    private func overflow() -> Run {
        self.execution.pointee.reply.dropOverflow()
        return self.place == .loop ? .tooMuch : .failed(CommandError.replyTooLargeText)
    }

    /// Locks every key of some of the requests.
    private func lock(_ transaction: Transaction, _ requests: Range<Int>) -> LockOutcome {
        guard !transaction.keys.isEmpty, let first = requests.first, let last = requests.last else {
            return .acquired
        }
        let arguments =
            transaction.requests[first].firstArgument..<transaction.requests[last].endArgument
        return transaction.withArguments { all in
            let keys = transaction.keys
            return withUnsafeTemporaryAllocation(of: Bytes.self, capacity: keys.count) { views in
                var count = 0
                for key in keys where arguments.contains(key) {
                    views[count] = all[key]
                    count += 1
                }
                return self.execution.pointee.group.lock(
                    UnsafeBufferPointer(rebasing: views[..<count]))
            }
        }
    }

    /// Runs some of the requests; their replies follow each other.
    private func run(
        _ client: ClientState, _ transaction: Transaction, _ requests: Range<Int>,
        _ arguments: UnsafeBufferPointer<Bytes>
    ) -> Run {
        let x = self.execution
        x.pointee.isInTransaction = true
        defer { x.pointee.isInTransaction = false }
        for number in requests {
            let request = transaction.requests[number]
            x.pointee.arguments = UnsafeBufferPointer(
                rebasing: arguments[request.firstArgument..<request.endArgument])
            x.pointee.rowIndex = request.row
            self.statistics.count(request.row)
            let row = self.environment.table.hotRow(request.row)
            let replyStart = x.pointee.reply.count
            x.pointee.now = x.pointee.group.now
            do {
                if let refusal = self.refusal(row, request.row, client, true) { throw refusal }
                try self.beginNotices(row)
                try self.checkTypes(row)
                try row.pointee.handler(&x.pointee)
                if x.pointee.reply.hasOverflowed { return self.overflow() }
                if self.place == .loop, x.pointee.turn.isOver { return .tooMuch }
            } catch let error as CommandError {
                if x.pointee.reply.hasOverflowed { return self.overflow() }
                x.pointee.reply.truncate(to: replyStart)
                self.dropNotices()
                if case .deferToPool = error { return .tooMuch }
                x.pointee.replyError(error)
            } catch {
                x.pointee.reply.truncate(to: replyStart)
                return .failed(errorText(of: error))
            }
            self.noteExecuted(client)
            self.passTime(client)
            x.pointee.reply.version = client.version
        }
        return .done
    }
}

// MARK: - Several groups

extension CommandProcessor {
    /// A transaction that changes the database or empties one: a group for each stretch.
    ///
    /// Runs on the pool. Other clients may see the state between two of them.
    private func executeSegments(_ client: ClientState, _ transaction: Transaction) -> Step {
        let x = self.execution
        let replyStart = x.pointee.reply.count
        let count = transaction.requests.count
        defer { client.endTransaction() }
        let flushes = self.environment.table.transactionRows.flushes
        var start = 0
        x.pointee.reply.beginReply()
        x.pointee.reply.array(count)
        while start < count {
            var end = start
            while end < count, !self.endsSegment(transaction.requests[end].row) { end += 1 }
            guard case .acquired = self.lock(transaction, start..<end) else {
                preconditionFailure("a group of the pool that holds nothing waits for its keys")
            }
            if start == 0, self.watchesAreTouched(client) {
                x.pointee.reply.truncate(to: replyStart)
                x.pointee.reply.nullArray()
                return .next
            }
            if let text = self.executeSegment(client, transaction, start..<end) {
                x.pointee.reply.truncate(to: replyStart)
                x.pointee.reply.error(text)
                return .next
            }
            if end < count {
                let isFlush = flushes.contains(transaction.requests[end].row)
                transaction.withArguments { arguments in
                    if isFlush {
                        self.runFlush(transaction.requests[end], arguments)
                    } else {
                        _ = self.run(client, transaction, end..<end + 1, arguments)
                    }
                }
                self.selectGroup(client.database)
            }
            start = end + 1
        }
        return client.closesAfterReply ? .close : .next
    }

    /// A FLUSHDB or FLUSHALL, which closes the gate itself.
    private func runFlush(
        _ request: Transaction.Request, _ arguments: UnsafeBufferPointer<Bytes>
    ) {
        let x = self.execution
        x.pointee.arguments = UnsafeBufferPointer(
            rebasing: arguments[request.firstArgument..<request.endArgument])
        self.statistics.count(request.row)
        let replyStart = x.pointee.reply.count
        do {
            try self.outsideOfGate {
                try self.environment.table.hotRow(request.row).pointee.handler(&x.pointee)
            }
        } catch {
            x.pointee.reply.truncate(to: replyStart)
            if let error = error as? CommandError {
                x.pointee.replyError(error)
            } else {
                x.pointee.reply.error(errorText(of: error))
            }
        }
    }

    private func endsSegment(_ row: Int) -> Bool {
        let known = self.environment.table.transactionRows
        return row == known.select || known.flushes.contains(row)
    }

    /// Runs and commits a stretch; returns the error by which it ended without effect.
    private func executeSegment(
        _ client: ClientState, _ transaction: Transaction, _ requests: Range<Int>
    ) -> String? {
        let x = self.execution
        let replyStart = x.pointee.reply.count
        let group = x.pointee.group
        for _ in 0..<2 {
            if transaction.writes { group.beginAtomic() }
            let run = transaction.withArguments {
                self.run(client, transaction, requests, $0)
            }
            if case .failed(let text) = run {
                group.discard()
                x.pointee.messages = []
                return text
            }
            if transaction.writes { group.endAtomic() }
            let outcome = x.pointee.commitGroup()
            self.sendMessages(outcome)
            switch outcome {
            case .nothing: return nil
            case .committed(let position):
                self.wait(for: position, of: group.database)
                return nil
            case .prepareAgain: x.pointee.reply.truncate(to: replyStart)
            case .failed(let error): return errorText(of: error)
            case .busy, .stalled: preconditionFailure("a group of the pool waits for its commit")
            }
        }
        preconditionFailure("a group was to be prepared three times")
    }
}
