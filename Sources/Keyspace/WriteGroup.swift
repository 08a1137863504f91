internal import Binlog
public import PikaStorage
public import SyncProtocol
internal import Synchronization

/// Result of ``WriteGroup/lock(_:)-(UnsafeBufferPointer<Bytes>)``.
public enum LockOutcome: Sendable {
    /// The group owns the keys.
    case acquired
    /// Another owner has a key and this group holds writes or other keys: commit, then lock again.
    case commitFirst
    /// A key belongs to work of the pool: run this command on the pool, with a group of its own.
    ///
    /// A group of the pool waits instead.
    case busy
}

/// Result of ``WriteGroup/commit()``.
public enum CommitOutcome: Sendable {
    /// Nothing was written.
    case nothing
    /// The group is in the log and in the stores; replies may go out (policy `always`: once the
    /// position is durable, ``Database/whenDurable(_:_:)``).
    case committed(BinlogPosition)
    /// Nothing was appended since the pool holds the commit lock or a group waits for a store:
    /// `discard` the group, cut back its replies, and run its commands on the pool, with a group
    /// of the pool.
    ///
    /// A group of the pool waits instead.
    case busy
    /// The group is in the log, and a store would stall: the connection is busy until
    /// ``WriteGroup/finishStalled()`` (on the pool) has returned. Do not touch the group until
    /// then; other connections use another one.
    case stalled
    /// Time moved on: the group is empty again with a newer ``WriteGroup/now`` and keeps its keys
    /// and the commit lock.
    ///
    /// Cut back its replies, run its commands again and commit, at once, on this thread. Happens
    /// at most once per group.
    case prepareAgain
    /// Nothing was written, or writes are refused from now on: each command of the group gets this
    /// error.
    case failed(KeyspaceError)
}

/// The writes of one read burst of one connection on one database.
///
/// A group belongs to one thread at a time. It is made once (``Database/makeGroup(onPool:)``) and
/// used for burst after burst: `lock`, read through ``transactions``, `perform`, … , `commit`.
/// `commit` (or `discard`) ends every burst, also one that only read. Whoever uses a group is
/// inside the ``TransactionGate``.
///
/// Nothing here allocates in the steady state.
public final class WriteGroup: @unchecked Sendable {
    // SAFETY: used by one thread at a time; a stalled group is handed over under the stall monitor.

    /// The database.
    public let database: Database

    let onPool: Bool
    let owner: UInt32
    let set: TransactionSet
    var items = BinlogItems()

    private var heldStripes = ContiguousArray<UInt32>()
    private var wantedStripes = ContiguousArray<UInt32>()
    private var scratch = ItemArguments()
    private var hasBegun = false
    private var storesGeneration: UInt64
    private var atomicDepth = 0
    private var poison: ApplyError?
    /// Bytes of what is written without a binlog.
    private var unloggedBytes = 0
    /// Rows are in a store that nobody sees before the commit.
    private var hasUnseen = false
    /// A commit leaves the locks of the keys where they are: for a command that commits slice by slice.
    public var keepsKeys = false
    /// Called when the group is in its stores, while its keys are still locked, so that whoever
    /// writes them next is heard of later; dropped with a group that is given up, fails or is
    /// prepared again.
    ///
    /// Must not wait. Runs on another thread if the group was stalled.
    public var whenCommitted: (@Sendable () -> Void)?
    /// Keys that got elements for which somebody may wait.
    private var signals: [KeySignal] = []

    var execTimeSeconds: Int64 = 0
    var effectiveNow: Int64 = 0
    var isAtomic = false
    /// What the group does is the same at any later second, so that it need not be prepared again.
    public private(set) var isTimeless = false
    var holdsCommitLock = false
    /// What a stalled group came to; under the stall monitor.
    var stallOutcome: CommitOutcome?
    /// The row and the end of a stalled group.
    var stallApplied: AppliedPosition?
    var stallEnd = BinlogMark.zero
    /// The stores that it is to be put into; under the stall monitor.
    var stallKinds: UInt8 = 0

    init(database: Database, owner: UInt32, onPool: Bool) {
        self.database = database
        self.owner = owner
        self.onPool = onPool
        (set, storesGeneration) = database.makeTransactions()
        if !onPool { set.keepScans() }
        heldStripes.reserveCapacity(64)
        wantedStripes.reserveCapacity(64)
    }

    // MARK: Time and reading

    /// Effective now in Unix seconds (log clock), the same for the whole group.
    public var now: Int64 {
        if !hasBegun { begin() }
        return effectiveNow
    }

    /// Reads go here too: first the rows that this group wrote, then the store.
    public var transactions: TransactionSet {
        if !hasBegun { begin() }
        return set
    }

    /// What a read of a string takes that the row cache does not have, in nanoseconds.
    public var readNanoseconds: Int { self.set.strings.readNanoseconds }

    private func begin() {
        hasBegun = true
        let generation = database.storesGeneration
        if generation != storesGeneration {
            storesGeneration = database.rebind(set)
        }
        sampleTime()
    }

    private func sampleTime() {
        execTimeSeconds = database.wallSeconds()
        effectiveNow = database.effectiveNow(execTimeSeconds: execTimeSeconds)
    }

    /// True if the group holds items.
    public var hasWrites: Bool {
        // Without a binlog the stores alone know.
        database.writesBinlog ? !items.isEmpty : !set.touched.isEmpty
    }

    /// True if the group wrote to that store: commands that iterate commit the group first.
    public func hasWrites(to kind: StoreKind) -> Bool { !set[kind].isEmpty }

    // MARK: Key locks

    /// Takes the locks of the keys that a command is going to write.
    ///
    /// MUST be called before the command reads what its write depends on.
    public func lock(_ keys: UnsafeBufferPointer<Bytes>) -> LockOutcome {
        let held = heldStripes.count
        for key in keys {
            let stripe = database.keyLocks.stripe(of: key)
            switch database.keyLocks.tryAcquire(stripe, owner: owner, busy: onPool) {
            case .acquired: heldStripes.append(stripe)
            case .alreadyOwned: break
            case .heldByLoop, .heldByBusy: return lockInOrder(keys, heldBefore: held)
            }
        }
        return .acquired
    }

    /// As above for one key.
    public func lock(_ key: Bytes) -> LockOutcome {
        let stripe = database.keyLocks.stripe(of: key)
        switch database.keyLocks.tryAcquire(stripe, owner: owner, busy: onPool) {
        case .acquired:
            heldStripes.append(stripe)
            return .acquired
        case .alreadyOwned: return .acquired
        case .heldByLoop, .heldByBusy:
            return withUnsafePointer(to: key) { pointer in
                lockInOrder(
                    UnsafeBufferPointer(start: pointer, count: 1), heldBefore: heldStripes.count)
            }
        }
    }

    /// Somebody has one of the keys: whoever waits holds nothing but lower stripes.
    private func lockInOrder(
        _ keys: UnsafeBufferPointer<Bytes>, heldBefore held: Int
    ) -> LockOutcome {
        releaseStripes(keeping: held)
        guard held == 0, items.isEmpty, !holdsCommitLock else { return .commitFirst }
        wantedStripes.removeAll(keepingCapacity: true)
        for key in keys { wantedStripes.append(database.keyLocks.stripe(of: key)) }
        wantedStripes.sort()
        for stripe in wantedStripes where heldStripes.last != stripe {
            guard waitFor(stripe) else {
                releaseStripes(keeping: 0)
                return .busy
            }
            heldStripes.append(stripe)
        }
        // What was sampled before the wait is old.
        hasBegun = false
        return .acquired
    }

    /// Takes the locks of keys that the group has written already, without a look at what was there.
    ///
    /// On the pool, with no other key locked; waits. Whoever watches one of the keys since it was
    /// written is told now.
    public func lockLate(_ keys: UnsafeBufferPointer<Bytes>) {
        precondition(onPool && heldStripes.isEmpty, "keys can't be locked behind others")
        wantedStripes.removeAll(keepingCapacity: true)
        for key in keys { wantedStripes.append(database.keyLocks.stripe(of: key)) }
        wantedStripes.sort()
        for stripe in wantedStripes where heldStripes.last != stripe {
            // On the pool it never gives up.
            _ = waitFor(stripe)
            heldStripes.append(stripe)
        }
        if wantedStripes.count > database.keyLocks.count { wantedStripes = [] }
        guard database.events.isActive else { return }
        for key in keys { database.events.touch(key) }
    }

    /// Spins for another loop's stripe, sleeps for anything on the pool; false if a loop would have
    /// to wait for the pool.
    private func waitFor(_ stripe: UInt32) -> Bool {
        var attempts = 0
        while true {
            switch database.keyLocks.tryAcquire(stripe, owner: owner, busy: onPool) {
            case .acquired, .alreadyOwned: return true
            case .heldByBusy where !onPool: return false
            case .heldByBusy, .heldByLoop: break
            }
            attempts += 1
            if onPool {
                pause(microseconds: min(20 * attempts, 1000))
            } else if attempts > Self.spinLimitCount {
                return false
            } else {
                yieldThread()
            }
        }
    }

    /// Yields of the processor that a loop gives another loop before it treats it as busy.
    static let spinLimitCount = 10_000

    private func releaseStripes(keeping count: Int) {
        while heldStripes.count > count {
            database.keyLocks.release(heldStripes.removeLast())
        }
    }

    func releaseAllStripes() { releaseStripes(keeping: 0) }

    func markStripesBusy() {
        for stripe in heldStripes { database.keyLocks.markBusy(stripe) }
    }

    // MARK: Writing

    /// Logs an item with the effect's canonical word and applies it; returns the effect's count.
    ///
    /// A command checks everything before its first `perform`: one that throws makes the whole
    /// group fail at its commit.
    @discardableResult
    public func perform(_ effect: Effect, _ arguments: UnsafeBufferPointer<Bytes>)
        throws(ApplyError) -> Int64
    {
        beginItem(effect)
        for argument in arguments { scratch.append(argument) }
        return try logAndApply(effect, scratch.all)
    }

    /// As above with one argument behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes) throws(ApplyError) -> Int64 {
        beginItem(effect)
        scratch.append(a1)
        return try logAndApply(effect, scratch.all)
    }

    /// As above with two arguments behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes, _ a2: Bytes) throws(ApplyError) -> Int64 {
        beginItem(effect)
        scratch.append(a1)
        scratch.append(a2)
        return try logAndApply(effect, scratch.all)
    }

    /// As above with three arguments behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes, _ a2: Bytes, _ a3: Bytes)
        throws(ApplyError) -> Int64
    {
        beginItem(effect)
        scratch.append(a1)
        scratch.append(a2)
        scratch.append(a3)
        return try logAndApply(effect, scratch.all)
    }

    /// As above with four arguments behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes, _ a2: Bytes, _ a3: Bytes, _ a4: Bytes)
        throws(ApplyError) -> Int64
    {
        beginItem(effect)
        scratch.append(a1)
        scratch.append(a2)
        scratch.append(a3)
        scratch.append(a4)
        return try logAndApply(effect, scratch.all)
    }

    /// Logs an item exactly as the client sent it (`arguments[0]` is the word) and applies it.
    @discardableResult
    public func perform(_ effect: Effect, raw arguments: UnsafeBufferPointer<Bytes>)
        throws(ApplyError) -> Int64
    {
        if !hasBegun { begin() }
        return try logAndApply(effect, arguments)
    }

    private func beginItem(_ effect: Effect) {
        if !hasBegun { begin() }
        scratch.removeAll()
        let word = effect.word
        scratch.append(Bytes(start: word.utf8Start, count: word.utf8CodeUnitCount))
    }

    private func logAndApply(
        _ effect: Effect, _ words: UnsafeBufferPointer<Bytes>
    ) throws(ApplyError) -> Int64 {
        precondition(effect != .flushdb, "flushdb goes through Database.removeAll")
        do throws(ApplyError) {
            let count = try ItemApplier.apply(
                effect, words, now: effectiveNow, position: .zero, to: set, only: .all)
            if database.writesBinlog {
                items.beginItem(argumentCount: words.count)
                for word in words { items.appendArgument(word) }
                items.endItem()
            } else {
                for word in words { unloggedBytes += word.count }
            }
            let limit = database.groupLimitBytes.load(ordering: .relaxed)
            if items.byteCount + unloggedBytes > limit { throw .groupTooLarge(limitBytes: limit) }
            if database.events.isActive {
                if let signal = database.events.note(effect, words, count: count) {
                    signals.append(signal)
                }
            }
            return count
        } catch {
            poison = error
            throw error
        }
    }

    /// The items up to ``endAtomic()`` are applied whole or not at all, here and on our replicas.
    ///
    /// Calls nest. The whole group is one atomic group then: what else is in it goes along.
    public func beginAtomic() {
        atomicDepth += 1
        isAtomic = true
    }

    /// What the group writes so far and will write replaces whole keys, so that applying it at a later
    /// second than ``now`` gives the same keys: it is committed as it is when time moved on.
    ///
    /// For what takes seconds to prepare: the second time would be under the commit lock.
    public func makeTimeless() { isTimeless = true }

    /// Lets go of the elements of a collection that the group makes anew: when they are many, they go
    /// into the store before the commit, where nobody sees them, so that nobody waits for them behind
    /// the commit lock.
    ///
    /// Between two `perform`s on that key; no row that was read may be held. Does nothing where it
    /// can't be done (a key with a deadline is there, a loop's group, one that may be prepared again).
    public func writeUnseen(_ key: Bytes, _ kind: StoreKind) throws(ApplyError) {
        guard onPool, isTimeless, database.writesBinlog, !database.isRefusing else { return }
        do throws(StorageError) {
            defer { if set[kind].holdsUnseen { hasUnseen = true } }
            try set[kind].writeUnseen(key)
        } catch {
            poison = .storage(error)
            throw .storage(error)
        }
    }

    private func endUnseen(at end: BinlogPosition) {
        for kind in StoreKind.allCases { set[kind].endUnseen(at: end) }
        hasUnseen = false
    }

    /// Nobody will see what was written ahead.
    private func dropUnseen() {
        hasUnseen = false
        for kind in StoreKind.allCases {
            do throws(StorageError) {
                try set[kind].dropUnseen()
            } catch {
                database.refuseWrites("elements of a dropped group can't be removed: \(error)")
            }
        }
    }

    /// Ends the atomic group.
    public func endAtomic() {
        precondition(atomicDepth > 0, "endAtomic without beginAtomic")
        atomicDepth -= 1
    }

    // MARK: End of the burst

    /// Appends the group to the log, writes the stores, publishes, releases the keys.
    public func commit() -> CommitOutcome {
        if let poison {
            discard()
            return .failed(.apply(poison))
        }
        if items.isEmpty && set.touched.isEmpty {
            discard()
            return .nothing
        }
        return database.commit(self)
    }

    /// Waits until the stores took a stalled group; it is empty and reusable then.
    public func finishStalled() -> CommitOutcome { database.waitForStalled(self) }

    /// Drops everything and releases the keys.
    public func discard() {
        if holdsCommitLock { database.releaseCommitLock(of: self) }
        clear()
        releaseAllStripes()
        hasBegun = false
    }

    /// Drops the writes, not the keys.
    func clear() {
        if hasUnseen { dropUnseen() }
        items.reset()
        set.reset()
        isAtomic = false
        isTimeless = false
        atomicDepth = 0
        poison = nil
        unloggedBytes = 0
        if !signals.isEmpty { signals = [] }
        if whenCommitted != nil { whenCommitted = nil }
    }

    /// Empties the group for its second preparation, under the commit lock.
    func beginAgain() {
        clear()
        sampleTime()
        hasBegun = true
    }

    /// The group is in the stores up to `end`: nothing is left of it, and whoever waited for it is
    /// woken.
    func finish(at end: BinlogPosition) {
        let signals = self.signals
        if hasUnseen { endUnseen(at: end) }
        whenCommitted?()
        clear()
        if !keepsKeys { releaseAllStripes() }
        hasBegun = false
        if !signals.isEmpty { database.events.signal(signals) }
    }
}
