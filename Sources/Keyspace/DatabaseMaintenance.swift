public import Binlog
internal import FileIO
public import PikaStorage
public import SyncProtocol
internal import Synchronization

extension Database {
    // MARK: Stores

    /// Flushes all stores and verifies it.
    public func flush() throws(KeyspaceError) {
        maintenance.lock()
        defer { maintenance.unlock() }
        try live.stores.flush(allowStall: false)
    }

    /// Compacts stores, one after the other; blocks for long.
    public func compact(_ kinds: StoreKinds) throws(KeyspaceError) {
        for kind in StoreKind.allCases where kinds.has(kind) {
            maintenance.lock()
            defer { maintenance.unlock() }
            let store = live.stores[kind]
            try onStores { () throws(StorageError) in try store.compact() }
        }
    }

    /// Counts keys of one kind (INFO keyspace 1, DBSIZE); blocks for long.
    ///
    /// Outside the gate: a FLUSHDB waits until it is done.
    public func countKeys(_ kind: StoreKind) throws(KeyspaceError) -> KeyStatistics {
        maintenance.lock()
        defer { maintenance.unlock() }
        let transaction = live.stores[kind].makeTransaction()
        let now = self.now
        return try onStores { () throws(StorageError) in try transaction.keyStatistics(now: now) }
    }

    /// DISKRECOVERY: opens log and stores again, replays, and takes writes again.
    ///
    /// Blocks; on the pool, outside the gate.
    public func recoverDisk() throws(KeyspaceError) {
        maintenance.lock()
        defer { maintenance.unlock() }
        try gate.withClosed { () throws(KeyspaceError) in
            lockCommitOnPool()
            defer { commitLock.unlock() }
            try closeFiles(flush: false)
            try reopen()
        }
    }

    /// Closes stores and log; the old positions are over.
    func closeFiles(flush: Bool) throws(KeyspaceError) {
        let live = self.live
        live.stores.close(flush: flush)
        live.logState.finish()
        do throws(BinlogError) {
            try live.logState.log.close()
        } catch {
            // A log that failed can't be closed in order; opening it again finds its end.
            files.note(.warning, "the log could not be closed in order: \(error)")
        }
    }

    /// Opens stores and log of a database that was closed; the machine has been running.
    func reopen() throws(KeyspaceError) {
        do throws(KeyspaceError) {
            let opened = try DatabaseOpener(files: files, role: role, isSameBoot: true).open()
            files.backgroundErrors.clearAll()
            install(opened)
        } catch {
            refuseWrites("the database could not be opened again: \(error)")
            throw error
        }
    }

    // MARK: FLUSHDB

    /// FLUSHDB: removes everything, here and on replicas; blocks, closes the gate itself.
    ///
    /// On the pool, outside the gate, with no group open. Returns the item's end.
    @discardableResult
    public func removeAll() throws(KeyspaceError) -> BinlogPosition {
        maintenance.lock()
        defer { maintenance.unlock() }
        // What the last one replaced must not be deleted behind the gate.
        try files.removeReplacedStores()
        if let error = reasonToRefuse() { throw error }
        let empty = try files.makeEmpty(.all, hooks: live.hooks)
        let end = try gate.withClosed { () throws(KeyspaceError) in
            lockCommitOnPool()
            defer { commitLock.unlock() }
            if let error = reasonToRefuse() {
                for store in empty { store.close(flush: false) }
                throw error
            }
            touchExistingWatches()
            events.forgetDeadlines()
            return try removeAllLocked(empty)
        }
        hasLeftovers.store(true, ordering: .relaxed)
        return end
    }

    /// `empty` are the new stores, still without their row; closes them, whatever happens.
    private func removeAllLocked(_ empty: [Store]) throws(KeyspaceError) -> BinlogPosition {
        let live = self.live
        guard writesBinlog else {
            try files.sealEmpty(empty, applied: nil)
            install(try files.exchangeEmpty(.all, of: live.stores, hooks: live.hooks))
            return published
        }
        let log = live.logState.log
        let before = log.end
        let clockBefore = clock
        let end: BinlogMark
        do throws(KeyspaceError) {
            end = try appendFlush(to: log)
        } catch {
            for store in empty { store.close(flush: false) }
            throw error
        }
        let row = AppliedPosition(
            historyID: currentHistoryID, position: end.position,
            highestEffectiveNow: clock.highest)
        do throws(KeyspaceError) {
            try files.sealEmpty(empty, applied: row)
        } catch {
            // Nothing was exchanged: the item goes again.
            do throws(BinlogError) {
                try log.truncate(to: before)
                clock = clockBefore
            } catch {
                refuseWrites("the log can't be cut after FLUSHDB failed: \(error)")
            }
            throw error
        }
        do throws(KeyspaceError) {
            install(try files.exchangeEmpty(.all, of: live.stores, hooks: live.hooks))
        } catch {
            refuseWrites("FLUSHDB stopped half-way: \(error)")
            throw error
        }
        live.logState.publish(end)
        announcePublished(end.position)
        return end.position
    }

    private func appendFlush(to log: BinlogLog) throws(KeyspaceError) -> BinlogMark {
        let seconds = wallSeconds()
        var items = BinlogItems(reservingBytes: 64, items: 4)
        let word = Effect.flushdb.word
        items.beginItem(argumentCount: 1)
        items.appendArgument(Bytes(start: word.utf8Start, count: word.utf8CodeUnitCount))
        items.endItem()
        do throws(BinlogError) {
            let end = try log.append(
                items, execTimeSeconds: UInt32(truncatingIfNeeded: seconds), atomicGroup: false)
            clock.advance(execTimeSeconds: seconds)
            return end
        } catch {
            setLogError(true)
            throw .binlog(error)
        }
    }

    // MARK: Purge

    /// The least position that a store has on the disk: recovery needs the log from there on.
    public func leastPersistedPosition() throws(KeyspaceError) -> BinlogPosition {
        var least = published
        let stores = live.stores
        for kind in StoreKind.allCases {
            let row = try onStores { () throws(StorageError) in
                try stores[kind].appliedPosition(persistedOnly: true)
            }
            least = min(least, row?.position ?? .zero)
        }
        return least
    }

    /// Deletes files of the log by the purge plan, honouring recovery's need and the leases.
    ///
    /// - Parameters:
    ///   - policy: `expire-logs-nums` and `expire-logs-days`.
    ///   - manualUpTo: PURGELOGSTO's file number, if it was asked for.
    ///   - protectedFrom: the least position that a replica or a snapshot still needs.
    /// - Returns: the numbers of the files deleted.
    @discardableResult
    public func purgeLog(
        policy: PurgePolicy, manualUpTo: UInt32?, protectedFrom: BinlogPosition?
    ) throws(KeyspaceError) -> [UInt32] {
        maintenance.lock()
        defer { maintenance.unlock() }
        let own = writesBinlog ? try leastPersistedPosition() : published
        let log = self.log
        let plan = PurgePlan.files(
            toRemoveFrom: log.files(), policy: policy, manualUpTo: manualUpTo,
            protectedFrom: protectedFrom.map { min($0, own) } ?? own, nowSeconds: wallSeconds())
        return try onLog { () throws(BinlogError) in try log.purge(plan) }
    }

    // MARK: Stop

    /// Syncs, flushes within the limit and leaves the clean mark if it could.
    ///
    /// If the limit is over the stores are still open (a flush is running): the process has to end
    /// without running destructors.
    func close(deadlineNanoseconds: UInt64) -> Bool {
        maintenance.lock()
        defer { maintenance.unlock() }
        lockCommitOnPool()
        defer { commitLock.unlock() }
        let wasRefusing = writeRefusal != nil
        refuseAsClosed()
        stalls.stop()
        let live = self.live
        guard writesBinlog else {
            try? closeFiles(flush: true)
            return true
        }
        do throws(KeyspaceError) {
            try onLog { () throws(BinlogError) in _ = try live.logState.sync() }
            guard !wasRefusing else {
                try closeFiles(flush: false)
                return false
            }
            try writeRows(fartherThan: 0)
            guard try flushUntil(deadlineNanoseconds) else {
                files.note(.warning, "no clean mark: the stores could not be flushed in time")
                return false
            }
            let mark = try cleanMark(live)
            live.stores.close(flush: false)
            live.logState.finish()
            try onLog { () throws(BinlogError) in try live.logState.log.close() }
            try mark.write(in: files.directory, fileSystem: files.fileSystem)
            return true
        } catch {
            files.note(.warning, "no clean mark: \(error)")
            try? closeFiles(flush: false)
            return false
        }
    }

    /// What the mark says, read back from the stores.
    private func cleanMark(_ live: LiveDatabase) throws(KeyspaceError) -> StateFile {
        let published = live.logState.published.position
        let logEnd = live.logState.log.end
        var marks: [StateFile.StoreMark] = []
        for kind in StoreKind.allCases {
            let store = live.stores[kind]
            try onStores { () throws(StorageError) in
                let row = try store.appliedPosition(persistedOnly: true)
                guard store.memtablesLeft == 0, row?.position == published else {
                    throw .flushIncomplete(memtables: store.memtablesLeft)
                }
                marks.append(
                    StateFile.StoreMark(
                        sequenceNumber: store.sequenceNumber, identity: try store.identity()))
            }
        }
        return StateFile(
            applied: published, logEnd: logEnd.position, logDigest: logEnd.digest,
            highestEffectiveNow: clock.highest, stores: marks)
    }

    private func flushUntil(_ deadlineNanoseconds: UInt64) throws(KeyspaceError) -> Bool {
        let flush = BackgroundFlush()
        let stores = live.stores
        let thread = WorkerThread {
            let result: Result<Void, KeyspaceError>
            do throws(KeyspaceError) {
                result = .success(try stores.flush(allowStall: true))
            } catch {
                result = .failure(error)
            }
            flush.finish(result)
        }
        guard let result = flush.wait(untilNanoseconds: deadlineNanoseconds) else { return false }
        thread.join()
        try result.get()
        return true
    }
}

private final class BackgroundFlush: @unchecked Sendable {
    // SAFETY: `result` is guarded by the monitor.
    private let monitor = Monitor()
    private var result: Result<Void, KeyspaceError>?

    func finish(_ result: Result<Void, KeyspaceError>) {
        monitor.withLock {
            self.result = result
            monitor.signalAll()
        }
    }

    func wait(untilNanoseconds deadline: UInt64) -> Result<Void, KeyspaceError>? {
        monitor.lock()
        defer { monitor.unlock() }
        while result == nil {
            guard monitor.wait(untilNanoseconds: deadline) || result != nil else { return nil }
        }
        return result
    }
}
