internal import Binlog
internal import PikaStorage
internal import SyncProtocol
internal import Synchronization

/// How far writing the stores came.
private enum StoreWrite {
    case done
    case stalled
    case failed(StorageError, mayHaveWritten: Bool)
}

extension Database {
    // MARK: The commit lock

    /// Takes the commit lock with no group behind it that is stalled by one of these stores; on the
    /// pool.
    func lockCommitOnPool(_ kinds: StoreKinds = .all) {
        while true {
            commitLock.lockOnPool()
            guard stalls.blocks(kinds) else { return }
            commitLock.unlock()
            stalls.waitUntilEmpty(kinds)
        }
    }

    private func lockCommit(for group: WriteGroup) -> Bool {
        if group.holdsCommitLock { return true }
        if group.onPool {
            lockCommitOnPool(group.set.touched)
            return true
        }
        guard commitLock.lockOnLoop() else { return false }
        guard stalls.isOccupied, stalls.blocks(group.set.touched) else { return true }
        commitLock.unlock()
        return false
    }

    func releaseCommitLock(of group: WriteGroup) {
        group.holdsCommitLock = false
        commitLock.unlock()
    }

    // MARK: Commit

    func commit(_ group: WriteGroup) -> CommitOutcome {
        if group.onPool { for kind in StoreKind.allCases { group.set[kind].prepareCommit() } }
        guard lockCommit(for: group) else { return .busy }
        group.holdsCommitLock = true
        if let error = reasonToRefuse() { return fail(group, error) }
        guard writesBinlog else { return commitWithoutLog(group) }
        if !group.isTimeless,
            clock.effective(execTimeSeconds: group.execTimeSeconds) != group.effectiveNow
        {
            // It can't move again while we hold the lock.
            group.beginAgain()
            return .prepareAgain
        }
        let log = logState.log
        let before = log.end
        let clockBefore = clock
        let end: BinlogMark
        do throws(BinlogError) {
            end = try log.append(
                group.items,
                execTimeSeconds: UInt32(truncatingIfNeeded: group.execTimeSeconds),
                atomicGroup: group.isAtomic)
        } catch {
            return appendFailed(group, error)
        }
        clock.advance(execTimeSeconds: group.execTimeSeconds)
        let applied = AppliedPosition(
            historyID: currentHistoryID, position: end.position,
            highestEffectiveNow: clock.highest)
        switch writeStores(group, applied, mode: .withoutStall) {
        case .done:
            let isPublished = stalls.publish(end) { logState.publish($0) }
            releaseCommitLock(of: group)
            group.finish(at: end.position)
            if isPublished { announcePublished(end.position) }
            return .committed(end.position)
        case .stalled:
            return stall(group, applied, end)
        case .failed(let error, let mayHaveWritten):
            return storeFailed(
                group, error, mayHaveWritten: mayHaveWritten, before: before,
                clockBefore: clockBefore)
        }
    }

    private func fail(_ group: WriteGroup, _ error: KeyspaceError) -> CommitOutcome {
        group.discard()
        return .failed(error)
    }

    /// Writes the touched stores, the applied row in the same batch.
    private func writeStores(
        _ group: WriteGroup, _ applied: AppliedPosition?, mode: CommitMode
    ) -> StoreWrite {
        var hasWritten = false
        for kind in StoreKind.allCases where group.set[kind].needsCommit {
            do throws(StorageError) {
                guard try group.set[kind].commit(applied: applied, mode: mode) == .done else {
                    return .stalled
                }
                hasWritten = true
            } catch {
                let tookIt = hasWritten || mayHold(kind, applied)
                return .failed(error, mayHaveWritten: tookIt)
            }
        }
        return .done
    }

    /// Whether a store that failed has the row of the batch nevertheless, or can't tell.
    private func mayHold(_ kind: StoreKind, _ applied: AppliedPosition?) -> Bool {
        do throws(StorageError) {
            return try live.stores[kind].appliedPosition() == applied
        } catch {
            return true
        }
    }

    /// Position and readers of the log, once per group.
    func announcePublished(_ position: BinlogPosition) {
        if syncer.policy == .never {
            forEachObserver { $0.sendable(position, database: index) }
        } else if hasAttachedReplicas {
            requestSync()
        }
        setLogError(false)
    }

    private func commitWithoutLog(_ group: WriteGroup) -> CommitOutcome {
        let mode: CommitMode = group.onPool ? .waiting : .withoutStall
        switch writeStores(group, nil, mode: mode) {
        case .done:
            releaseCommitLock(of: group)
            group.finish(at: published)
            return .committed(published)
        case .stalled:
            return stall(group, nil, logState.published)
        case .failed(let error, _):
            return fail(group, .storage(error))
        }
    }

    // MARK: Failures

    /// Nothing was appended: the log cut its own traces.
    private func appendFailed(_ group: WriteGroup, _ error: BinlogError) -> CommitOutcome {
        setLogError(true)
        if logState.log.failure != nil {
            refuseWrites("the binlog takes no writes: \(error)")
            logState.finish()
        } else {
            files.note(.error, "append failed: \(error)")
        }
        return fail(group, .binlog(error))
    }

    /// A store failed behind the append.
    private func storeFailed(
        _ group: WriteGroup, _ error: StorageError, mayHaveWritten: Bool, before: BinlogMark,
        clockBefore: LogClock
    ) -> CommitOutcome {
        if mayHaveWritten {
            refuseWrites("a store failed behind the append: \(error)")
        } else {
            do throws(BinlogError) {
                try logState.log.truncate(to: before)
                clock = clockBefore
            } catch {
                refuseWrites("the log can't be cut after a store failed: \(error)")
            }
        }
        return fail(group, .storage(error))
    }

    // MARK: Stalls

    private func stall(
        _ group: WriteGroup, _ applied: AppliedPosition?, _ end: BinlogMark
    ) -> CommitOutcome {
        group.stallApplied = applied
        group.stallEnd = end
        group.markStripesBusy()
        gate.groupQueued()
        stalls.put(group) { [self] group in
            finishStalled(group)
        } publish: { [self] end in
            publishOvertaking(end)
        }
        releaseCommitLock(of: group)
        return group.onPool ? waitForStalled(group) : .stalled
    }

    /// On the stall thread: nobody else writes these stores meanwhile.
    private func finishStalled(_ group: WriteGroup) -> CommitOutcome {
        let outcome: CommitOutcome
        switch writeStores(group, group.stallApplied, mode: .waiting) {
        case .done:
            // One before it may have failed: then a restart completes this one, too.
            if writesBinlog, !isRefusing { logState.publish(group.stallEnd) }
            outcome = .committed(group.stallEnd.position)
        case .stalled:
            preconditionFailure("a store stalled although the group waits for it")
        case .failed(let error, _):
            // Other stores may hold the group: the log keeps it, a restart completes it.
            refuseWrites("a store failed behind the append: \(error)")
            outcome = .failed(.storage(error))
            // Its commands are answered with an error: nobody hears of them.
            group.whenCommitted = nil
        }
        group.finish(at: group.stallEnd.position)
        if case .committed(let position) = outcome, writesBinlog { announcePublished(position) }
        gate.groupFinished()
        return outcome
    }

    /// The end of a group that was finished while others were stalled, which are in their stores now.
    private func publishOvertaking(_ end: BinlogMark) {
        guard !isRefusing, end.position > published else { return }
        logState.publish(end)
        announcePublished(end.position)
    }

    func waitForStalled(_ group: WriteGroup) -> CommitOutcome { stalls.wait(for: group) }
}
