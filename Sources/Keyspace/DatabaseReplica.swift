public import Binlog
internal import PikaStorage
internal import SyncProtocol
internal import Synchronization

extension Database {
    /// Appends items of the master byte for byte and applies whole groups.
    ///
    /// Blocks while stores stall and for FLUSHDB: call it from one thread of its own, never from a
    /// loop, outside the gate. On success the log's end is the end of the last item.
    ///
    /// - Throws: `.notContiguous` if the items do not continue the log (nothing changed);
    ///   `.stoppedAtUnknownItem` if an item is not known here: it is in the log, nothing is applied
    ///   from it on, and no more is taken.
    public func appendReceived(
        _ items: UnsafeBufferPointer<ReceivedItem>
    ) throws(KeyspaceError) {
        guard !items.isEmpty else { return }
        guard role == .replica else { throw .wrongRole(expected: .replica, actual: role) }
        if let failure = applyFailure { throw failure }
        guard mayFlush || items.contains(where: Self.isFlush) else {
            return try appendAndApply(items)
        }
        maintenance.lock()
        defer { maintenance.unlock() }
        try files.removeReplacedStores()
        try gate.withClosed { () throws(KeyspaceError) in try appendAndApply(items) }
        hasLeftovers.store(true, ordering: .relaxed)
    }

    /// Whether an item empties stores, by the first bytes of its content.
    private static func isFlush(_ item: ReceivedItem) -> Bool {
        let wordStart = BinlogItemHeader.encodedSize + 8
        guard item.bytes.count >= wordStart + 7 else { return false }
        let word = Bytes(rebasing: item.bytes[wordStart..<wordStart + 7])
        return word.isWord("flushdb")
    }

    private func appendAndApply(
        _ items: UnsafeBufferPointer<ReceivedItem>
    ) throws(KeyspaceError) {
        lockCommitOnPool()
        defer { commitLock.unlock() }
        if let error = reasonToStop() { throw error }
        let state = logState
        let start = state.log.end.position
        let isPending = tracker.isInsideGroup
        do throws(BinlogError) {
            try state.log.appendReceived(items)
        } catch .receivedPosition(let expected, let actual) {
            throw .notContiguous(expected: expected, actual: actual)
        } catch {
            setLogError(true)
            throw .binlog(error)
        }
        setLogError(false)
        if syncer.policy == .never { announceDurable() } else { requestSync() }

        let boundary = takeGroupMarks(items, from: start)
        let published = state.published.position
        if let boundary, boundary > published {
            // The beginning of a group that spans batches is in the log only.
            let source = isPending ? nil : items
            try applyReceived(from: published, to: boundary, source, in: state)
        }
        mayFlush = tracker.isInsideGroup && (mayFlush || items.contains(where: Self.isFlush))
    }

    private func reasonToStop() -> KeyspaceError? {
        notes.withLock { notes in
            if notes.isClosed { return .closed }
            return notes.refusal.map { .writesRefused($0) }
        }
    }

    /// Follows the group marks; returns the end of the last whole group, if one ended here.
    private func takeGroupMarks(
        _ items: UnsafeBufferPointer<ReceivedItem>, from start: BinlogPosition
    ) -> BinlogPosition? {
        var boundary: BinlogPosition?
        var previous = start
        for item in items {
            let left = item.bytes.loadUnaligned(fromByteOffset: 6, as: UInt32.self)
            switch tracker.take(itemsLeftInGroup: UInt32(littleEndian: left)) {
            case .complete: boundary = item.end
            case .begins: boundary = previous
            case .continues: break
            }
            previous = item.end
        }
        return boundary
    }

    /// Applies the items of the log between two ends of whole groups; under the commit lock.
    private func applyReceived(
        from start: BinlogPosition, to end: BinlogPosition,
        _ items: UnsafeBufferPointer<ReceivedItem>?, in state: LogState
    ) throws(KeyspaceError) {
        let replayer = ItemReplayer(
            stores: live.stores, clock: clock, historyID: currentHistoryID, events: events,
            flushRules: notes.withLock { $0.flushRules })
        let pass = ReplayPass(replayer: replayer, from: start)
        do throws(KeyspaceError) {
            if let items {
                try applyFromMemory(items, to: end, pass)
            } else {
                try applyFromLog(from: start, to: end, pass, state.log)
            }
            let applied = pass.failure == nil ? end : pass.boundary
            if pass.failure != nil && pass.isInsideGroup {
                replayer.reset()
            } else {
                try replayer.commit(at: applied)
                clock = replayer.clock
                try publishReceived(applied, in: state)
                replayer.reportTouched()
            }
        } catch {
            // Stores may differ in what they hold: only opening them again sorts that out.
            refuseWrites("applying the master's items failed: \(error)")
            throw error
        }
        notes.withLock { $0.ignoredItemCount += replayer.ignoredItemCount }
        guard let failure = pass.failure else { return }
        if pass.isInsideGroup, pass.boundary > start {
            // Whole groups before the one with the unknown item count.
            try applyReceived(from: start, to: pass.boundary, items, in: state)
        }
        notes.withLock { $0.applyFailure = failure }
        files.note(.error, "replication stopped: \(failure)")
        throw failure
    }

    private func applyFromMemory(
        _ items: UnsafeBufferPointer<ReceivedItem>, to end: BinlogPosition, _ pass: ReplayPass
    ) throws(KeyspaceError) {
        for item in items where item.end > pass.end && item.end <= end {
            let header: BinlogItemHeader
            do throws(BinlogItemError) {
                header = try BinlogItemHeader(item: item.bytes)
            } catch {
                throw .binlog(.receivedItem(end: item.end, error))
            }
            if pass.take(item.bytes, header, end: item.end, only: .all) == .stopBefore { return }
            if let flush = pass.flush { try replaceStores(flush, pass) }
        }
    }

    private func applyFromLog(
        from start: BinlogPosition, to end: BinlogPosition, _ pass: ReplayPass, _ log: BinlogLog
    ) throws(KeyspaceError) {
        let cursor = try onLog { () throws(BinlogError) in try log.makeCursor(at: start) }
        while pass.failure == nil && pass.end < end {
            let count = try onLog { () throws(BinlogError) in
                try cursor.next(upTo: end, maxBytes: LogReplay.batchLimitBytes) {
                    item, header, itemEnd in
                    pass.take(item, header, end: itemEnd, only: .all)
                }
            }
            if let flush = pass.flush {
                try replaceStores(flush, pass)
            } else if count == 0 {
                return
            }
        }
    }

    /// FLUSHDB of the master; the gate is closed.
    private func replaceStores(
        _ flush: ReplayPass.Flush, _ pass: ReplayPass
    ) throws(KeyspaceError) {
        pass.flush = nil
        try pass.replayer.commit(at: flush.previousEnd)
        let live = self.live
        let stores = try files.replaceByEmpty(
            flush.kinds, of: live.stores, hooks: live.hooks,
            applied: pass.replayer.applied(at: flush.end))
        install(stores)
        events.touchAll()
        pass.replayer.rebind(to: stores)
    }

    private func publishReceived(
        _ position: BinlogPosition, in state: LogState
    ) throws(KeyspaceError) {
        let end = state.log.end
        let mark: BinlogMark
        if end.position == position {
            mark = end
        } else {
            mark = try onLog { () throws(BinlogError) in try state.log.mark(at: position) }
        }
        state.publish(mark)
        // The sync may have been done before this: its news said less than may be sent now.
        let sendable = self.sendable
        forEachObserver { observer in
            observer.applied(position, database: index)
            observer.sendable(sendable, database: index)
        }
    }

    // MARK: Roles

    /// From now on the log is received: writes of clients are refused.
    ///
    /// A history of our own in which nothing was written is given up, and the log ends where it
    /// ended before the promotion: SLAVEOF NO ONE and back goes on where it was.
    ///
    /// Blocks; on the pool, outside the gate. Nothing happens if it is a replica already.
    public func becomeReplica() throws(KeyspaceError) {
        maintenance.lock()
        defer { maintenance.unlock() }
        try gate.withClosed { () throws(KeyspaceError) in
            lockCommitOnPool()
            defer { commitLock.unlock() }
            if role == .master { try giveUpEmptyHistories() }
            try storeRole(.replica)
        }
    }

    /// From now on this process writes the log: cuts an incomplete group, drops history entries
    /// behind the end, opens a new file and a history entry.
    ///
    /// Blocks; on the pool, outside the gate. Nothing happens if it is a master already.
    public func promote() throws(KeyspaceError) {
        maintenance.lock()
        defer { maintenance.unlock() }
        try gate.withClosed { () throws(KeyspaceError) in
            lockCommitOnPool()
            defer { commitLock.unlock() }
            guard role == .replica else { return }
            if let failure = applyFailure { throw failure }
            try beginOwnHistory()
            try storeRole(.master)
        }
        requestSync()
        forEachObserver { $0.logReplaced(database: index) }
    }

    /// The log first: entries behind its end are dropped when the database is opened.
    private func giveUpEmptyHistories() throws(KeyspaceError) {
        let state = logState
        var entries = history
        while entries.count > 1, let last = entries.last, state.log.end.position == last.start {
            let mark: BinlogMark
            do throws(BinlogError) {
                mark = try state.log.mark(at: last.previousEnd)
            } catch .position {
                // The log begins here: what was before is in a snapshot or purged.
                break
            } catch {
                throw .binlog(error)
            }
            try onLog { () throws(BinlogError) in try state.log.truncate(to: mark) }
            state.publish(mark)
            entries.removeLast()
        }
        guard entries != history else { return }
        try storeHistory(entries)
        forEachObserver { $0.logReplaced(database: index) }
    }

    private func beginOwnHistory() throws(KeyspaceError) {
        let state = logState
        let log = state.log
        let end = state.published
        try onLog { () throws(BinlogError) in
            try state.sync()
            if log.end != end { try log.truncate(to: end) }
        }
        tracker = GroupTracker()
        var entries = history.filter { $0.start <= end.position }
        let previousEnd = log.lastItemEnd
        let start = try onLog { () throws(BinlogError) in try log.startNewFile() }
        entries.append(
            HistoryEntry(
                id: newReplicationID(), previousEnd: previousEnd, previousDigest: end.digest,
                start: start.position))
        try storeHistory(entries)
        state.publish(start)
    }
}
