public import PikaStorage
public import SyncProtocol

/// Result of ``WriteGroup/lock(_:)``.
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
public final class WriteGroup: @unchecked Sendable {
    // SAFETY: used by one thread at a time; handed over under the stall monitor.

    /// The database.
    public let database: Database

    init(database: Database) { self.database = database }

    /// Effective now in Unix seconds (log clock), the same for the whole group.
    public var now: Int64 { fatalError("skeleton") }

    /// Reads go here too: first the rows that this group wrote, then the store.
    public var transactions: TransactionSet { fatalError("skeleton") }

    /// True if the group holds items.
    public var hasWrites: Bool { fatalError("skeleton") }

    /// True if the group wrote to that store: commands that iterate commit the group first.
    public func hasWrites(to kind: StoreKind) -> Bool { fatalError("skeleton") }

    /// Takes the locks of the keys that a command is going to write.
    ///
    /// MUST be called before the command reads what its write depends on.
    public func lock(_ keys: UnsafeBufferPointer<Bytes>) -> LockOutcome { fatalError("skeleton") }

    /// As ``lock(_:)`` for one key.
    public func lock(_ key: Bytes) -> LockOutcome { fatalError("skeleton") }

    /// Logs an item with the effect's canonical word and applies it; returns the effect's count.
    ///
    /// A command checks everything before its first `perform`: one that throws makes the whole
    /// group fail at its commit.
    @discardableResult
    public func perform(_ effect: Effect, _ arguments: UnsafeBufferPointer<Bytes>)
        throws(ApplyError) -> Int64
    { fatalError("skeleton") }

    /// As above with one argument behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes) throws(ApplyError) -> Int64 {
        fatalError("skeleton")
    }

    /// As above with two arguments behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes, _ a2: Bytes) throws(ApplyError) -> Int64 {
        fatalError("skeleton")
    }

    /// As above with three arguments behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes, _ a2: Bytes, _ a3: Bytes)
        throws(ApplyError) -> Int64
    { fatalError("skeleton") }

    /// As above with four arguments behind the word.
    @discardableResult
    public func perform(_ effect: Effect, _ a1: Bytes, _ a2: Bytes, _ a3: Bytes, _ a4: Bytes)
        throws(ApplyError) -> Int64
    { fatalError("skeleton") }

    /// Logs an item exactly as the client sent it (`arguments[0]` is the word) and applies it.
    @discardableResult
    public func perform(_ effect: Effect, raw arguments: UnsafeBufferPointer<Bytes>)
        throws(ApplyError) -> Int64
    { fatalError("skeleton") }

    /// The items up to ``endAtomic()`` are applied whole or not at all, here and on our replicas.
    ///
    /// Calls nest; only the outermost pair counts.
    public func beginAtomic() { fatalError("skeleton") }

    /// Ends the atomic group.
    public func endAtomic() { fatalError("skeleton") }

    /// Appends the group to the log, writes the stores, publishes, releases the keys.
    public func commit() -> CommitOutcome { fatalError("skeleton") }

    /// Waits until the stores took a stalled group; it is empty and reusable then.
    public func finishStalled() -> CommitOutcome { fatalError("skeleton") }

    /// Drops everything and releases the keys.
    public func discard() { fatalError("skeleton") }
}
