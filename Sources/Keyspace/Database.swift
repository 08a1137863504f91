public import PikaStorage
public import SyncProtocol

/// One database: five stores and one log.
public final class Database: Sendable {
    /// 0 … 7.
    public let index: Int
    /// "db0" … "db7".
    public let name: String

    init(index: Int) {
        self.index = index
        self.name = "db\(index)"
    }

    // MARK: Writing as a master

    /// Makes a group for one command loop, or for one task of the pool.
    ///
    /// A group of the pool waits for keys and locks where a loop's group would be busy.
    public func makeGroup(onPool: Bool = false) -> WriteGroup { fatalError("skeleton") }

    /// Calls `body` once, on any thread, when the log is durable up to `position` (at once if it
    /// is already), with false if that can't happen any more; wakes the syncer.
    public func whenDurable(
        _ position: BinlogPosition, _ body: @escaping @Sendable (Bool) -> Void
    ) { fatalError("skeleton") }

    /// Why writes are refused, or `nil`; the text is for the client.
    public var writeRefusal: String? { fatalError("skeleton") }

    // MARK: Positions

    /// The stores hold everything up to here.
    public var published: BinlogPosition { fatalError("skeleton") }
    /// End of the last whole group in the log.
    public var written: BinlogPosition { fatalError("skeleton") }
    /// The log is on the disk up to here, and the stores have it.
    public var durable: BinlogPosition { fatalError("skeleton") }
    /// A master sends up to here.
    public var sendable: BinlogPosition { fatalError("skeleton") }
    /// End of the log's last item, whole group or not: what a replica has received.
    public var received: BinlogPosition { fatalError("skeleton") }
    /// What a replica may acknowledge: its log is on the disk up to here, whole group or not.
    public var receivedDurable: BinlogPosition { fatalError("skeleton") }
    /// True if nothing was ever logged and the stores are empty.
    public var isPristine: Bool { fatalError("skeleton") }
    /// Running digest at ``received``.
    public var receivedDigest: UInt64 { fatalError("skeleton") }
    /// True if the log ends inside an atomic group (replicas only).
    public var hasIncompleteGroup: Bool { fatalError("skeleton") }
    /// Running digest at a position of the log; `nil` if there is no such boundary.
    public func digest(at position: BinlogPosition) throws(KeyspaceError) -> UInt64? {
        fatalError("skeleton")
    }
    /// Ids of this log with the positions where they began.
    public var history: [HistoryEntry] { fatalError("skeleton") }
    /// Replaces the history durably (a replica that follows takes over its master's entries).
    public func setHistory(_ entries: [HistoryEntry]) throws(KeyspaceError) {
        fatalError("skeleton")
    }
    /// Master or replica.
    public var role: LogRole { fatalError("skeleton") }

    /// Adds an observer; it is held weakly.
    public func addObserver(_ observer: any DatabaseObserver) { fatalError("skeleton") }
    /// Removes an observer.
    public func removeObserver(_ observer: any DatabaseObserver) { fatalError("skeleton") }

    /// While replicas are attached, appends wake the syncer.
    public func setAttachedReplicas(count: Int) { fatalError("skeleton") }
    /// Asks the syncer for a sync now (an acknowledgement is owed).
    public func requestSync() { fatalError("skeleton") }

    // MARK: Replica

    /// From now on the log is received: writes of clients are refused.
    public func becomeReplica() throws(KeyspaceError) { fatalError("skeleton") }

    /// From now on this process writes the log: cuts an incomplete group, opens a new file and a
    /// history entry.
    public func promote() throws(KeyspaceError) { fatalError("skeleton") }

    /// Items of a real master that were stored without effect.
    public var ignoredItemCount: UInt64 { fatalError("skeleton") }

    /// Why applying stopped, or `nil` (a replica met an item that is not known here).
    public var applyFailure: KeyspaceError? { fatalError("skeleton") }

    // MARK: Stores

    /// A transaction set to read with, for one thread (replication, key scan); writes are not
    /// possible through it.
    public func makeReader() -> TransactionSet { fatalError("skeleton") }

    /// Flushes all stores and verifies it.
    public func flush() throws(KeyspaceError) { fatalError("skeleton") }

    /// Compacts stores; blocks for long.
    public func compact(_ kinds: StoreKinds) throws(KeyspaceError) { fatalError("skeleton") }

    /// Reopens stores and log after an error and replays; clears ``writeRefusal``.
    public func recoverDisk() throws(KeyspaceError) { fatalError("skeleton") }

    /// FLUSHDB: removes everything, here and on replicas; blocks, closes the gate itself.
    ///
    /// On the pool, outside the gate, with no group open. Returns the item's end.
    @discardableResult
    public func removeAll(
        _ kinds: StoreKinds = .all
    ) throws(KeyspaceError) -> BinlogPosition { fatalError("skeleton") }

    /// Counts keys of one kind (INFO keyspace 1, DBSIZE); blocks for long.
    public func countKeys(
        _ kind: StoreKind
    ) throws(KeyspaceError) -> KeyStatistics { fatalError("skeleton") }

    /// A numeric property of a store, summed over its families.
    public func storeProperty(_ kind: StoreKind, _ name: String) -> UInt64? {
        fatalError("skeleton")
    }

    /// The last background error of a store, or `nil`.
    public func backgroundError(of kind: StoreKind) -> String? { fatalError("skeleton") }

    /// Groups that had to wait because a store would have stalled.
    public var stalledGroupCount: UInt64 { fatalError("skeleton") }

    /// The lowest file that recovery needs: files from it on are never purged.
    public var oldestNeededFile: UInt32 { fatalError("skeleton") }

    /// Deletes files of the log by the purge plan, honouring recovery's need and the leases.
    ///
    /// - Parameters:
    ///   - manualUpTo: PURGELOGSTO's file number, if it was asked for.
    ///   - lowestLeased: the lowest file that a replica or a snapshot still needs.
    /// - Returns: the numbers of the files deleted.
    @discardableResult
    public func purgeLog(
        manualUpTo: UInt32?, lowestLeased: UInt32?
    ) throws(KeyspaceError) -> [UInt32] { fatalError("skeleton") }
}
