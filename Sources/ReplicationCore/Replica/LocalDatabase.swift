public import SyncProtocol

/// A master as a replica knows it again.
public struct KnownMaster: Hashable, Sendable {
    /// Host and base port, as given to SLAVEOF.
    public var address: ReplicaAddress
    /// By this a 3.5.0 tells whether its log is still the one that it was.
    public var runID: RunID?
    /// By this a 3.5.5 names its data set.
    public var replicationID: ReplicationID?
    /// Whether it is one of ours.
    public var isPeer: Bool

    /// Creates a description.
    public init(
        address: ReplicaAddress, runID: RunID? = nil, replicationID: ReplicationID? = nil,
        isPeer: Bool = false
    ) {
        self.address = address
        self.runID = runID
        self.replicationID = replicationID
        self.isPeer = isPeer
    }

    /// Whether `other` certainly holds the same data set: an equal id that its kind is known by.
    public func hasSameData(as other: KnownMaster) -> Bool {
        if let mine = self.replicationID, let theirs = other.replicationID {
            return mine == theirs
        }
        guard let mine = self.runID, let theirs = other.runID else { return false }
        return mine == theirs
    }
}

/// What one database of the replica holds when it is about to ask its master.
public struct LocalDatabase: Hashable, Sendable {
    /// Where its items came from.
    public enum Origin: Hashable, Sendable {
        /// Nothing was ever written to it.
        case pristine
        /// This process wrote items that no master gave it.
        case own
        /// Every item came from a master; nil when it is not remembered which.
        case received(from: KnownMaster?)
    }

    /// A full copy that was begun.
    public struct UnfinishedCopy: Hashable, Sendable {
        /// Whose data it is.
        public var master: KnownMaster
        /// The snapshot that the files are of; nil if there is no list yet.
        public var snapshotID: SnapshotID?
        /// Its position; nil if not known yet.
        public var position: BinlogPosition?

        /// Creates a description.
        public init(master: KnownMaster, snapshotID: SnapshotID?, position: BinlogPosition?) {
            self.master = master
            self.snapshotID = snapshotID
            self.position = position
        }
    }

    /// End of the log, whole group or not.
    public var end: BinlogPosition
    /// Running digest there.
    public var digest: UInt64
    /// Ids that the log went through, oldest first.
    public var history: [HistoryEntry]
    /// Whether the log ends inside an atomic group.
    public var endsInsideGroup: Bool
    /// Where the items came from.
    public var origin: Origin
    /// A full copy that was begun and is not in use yet.
    public var unfinishedCopy: UnfinishedCopy?

    /// Creates a description.
    public init(
        end: BinlogPosition, digest: UInt64 = 0, history: [HistoryEntry] = [],
        endsInsideGroup: Bool = false, origin: Origin, unfinishedCopy: UnfinishedCopy? = nil
    ) {
        self.end = end
        self.digest = digest
        self.history = history
        self.endsInsideGroup = endsInsideGroup
        self.origin = origin
        self.unfinishedCopy = unfinishedCopy
    }
}

/// How a replica goes on with one database, once it knows its master and itself.
public enum ContinuationPlan: Hashable, Sendable {
    /// Ask to follow from the own end.
    case follow
    /// Ask for a full copy; a copy of that snapshot may be here in part.
    case copy(resuming: LocalDatabase.UnfinishedCopy?)
    /// Do nothing: an operator has to decide.
    case refuse(ReplicaSession.BrokenReason)

    /// The rules of 3.5.0 (run_id), 3.5.5 (replication_id) and ours (histories).
    ///
    /// Data that no master gave us is never dropped or mixed with another history: that takes
    /// `force`. Data that a master gave us may be replaced by a whole copy of a 3.5.0 whose run id
    /// is another, as every 3.5.0 replica does; a 3.5.5 of another data set is refused.
    /// Source: pika v3.5.0 src/pika_repl_client_thread.cc HandleMetaSyncResponse.
    public static func make(
        for local: LocalDatabase, master: KnownMaster, force: Bool
    ) -> ContinuationPlan {
        if force { return .copy(resuming: nil) }
        if let copy = local.unfinishedCopy, copy.master.hasSameData(as: master) {
            return .copy(resuming: copy)
        }
        switch local.origin {
        case .pristine:
            return .copy(resuming: nil)
        case .own:
            // One of ours compares histories and digests: only a log that it has in full goes on.
            return master.isPeer ? .follow : .refuse(.ownData(ours: local.end, theirs: nil))
        case .received(let source):
            if master.isPeer { return .follow }
            guard let source else { return .copy(resuming: nil) }
            if source.hasSameData(as: master) { return .follow }
            if master.replicationID != nil {
                return source.replicationID == nil
                    ? .copy(resuming: nil) : .refuse(.otherHistory(ours: local.end, theirs: nil))
            }
            return .copy(resuming: nil)
        }
    }
}
