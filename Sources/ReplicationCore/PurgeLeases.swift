public import SyncProtocol

/// Who keeps a part of the binlog from being purged, and until when.
///
/// A live session holds its lease; a replica that was lost keeps it for a while, so that a short
/// outage does not end in a full copy; a snapshot holds one from its position on. A ceiling bounds
/// the disk that all of it may cost (F27).
public struct PurgeLeases: Equatable, Sendable {
    /// The limits.
    public struct Configuration: Hashable, Sendable {
        /// How long a lost replica's lease lasts.
        public var lostReplica: Duration = .seconds(1_800)
        /// Bytes of binlog per database that leases may hold; beyond, the oldest give way.
        public var ceilingBytes: UInt64 = 50 << 30

        /// The usual limits.
        public init() {}
    }

    /// Who holds a lease.
    public enum Holder: Hashable, Sendable {
        /// A replica, by the address that it told.
        case replica(ReplicaAddress)
        /// A snapshot, by its id.
        case snapshot(String)
    }

    /// One lease.
    public struct Lease: Hashable, Sendable {
        /// Who.
        public var holder: Holder
        /// The first position needed.
        public var position: BinlogPosition
        /// When it lapses; nil while its holder lives.
        public var expires: MonotonicInstant?
    }

    /// The limits.
    public var configuration: Configuration
    private var leases: [String: [Holder: Lease]] = [:]

    /// Creates an empty table.
    public init(configuration: Configuration = Configuration()) {
        self.configuration = configuration
    }

    /// Takes or moves a lease; a lease that had been lost is live again.
    public mutating func hold(_ holder: Holder, database: String, from position: BinlogPosition) {
        self.leases[database, default: [:]][holder] = Lease(
            holder: holder, position: position, expires: nil)
    }

    /// The holder went away without saying goodbye: its lease lasts for a while.
    public mutating func lose(_ holder: Holder, database: String, now: MonotonicInstant) {
        guard self.leases[database]?[holder]?.expires == nil else { return }
        self.leases[database]?[holder]?.expires = now + self.configuration.lostReplica
    }

    /// Ends a lease.
    public mutating func release(_ holder: Holder, database: String) {
        self.leases[database]?[holder] = nil
    }

    /// Drops what has lapsed.
    public mutating func expire(now: MonotonicInstant) {
        for (database, table) in self.leases {
            self.leases[database] = table.filter { entry in
                entry.value.expires.map { $0 > now } ?? true
            }
        }
    }

    /// Drops the leases that hold more than the ceiling, lost ones and live ones alike.
    ///
    /// `bytesFrom` tells how many bytes of log lie from a position on. Returns what was dropped, for
    /// the log and the alarm in INFO.
    public mutating func enforceCeiling(
        database: String, bytesFrom: (BinlogPosition) -> UInt64
    ) -> [Lease] {
        let ceiling = self.configuration.ceilingBytes
        let dropped = self.all(database: database).filter { bytesFrom($0.position) > ceiling }
        for lease in dropped { self.leases[database]?[lease.holder] = nil }
        return dropped
    }

    /// The first position of a database that somebody still needs.
    public func floor(database: String) -> BinlogPosition? {
        self.leases[database]?.values.map(\.position).min()
    }

    /// All leases of a database, those that hold most first.
    public func all(database: String) -> [Lease] {
        (self.leases[database].map { Array($0.values) } ?? []).sorted {
            $0.position < $1.position
        }
    }
}

extension PurgeLeases {
    /// A replica's lease as it outlives the master's process; snapshots have leases of their own.
    public struct Remembered: Hashable, Sendable {
        /// `db0`…`db7`.
        public var database: String
        /// The holder.
        public var replica: ReplicaAddress
        /// The log file from which on it needs the log.
        public var fileNumber: UInt32
        /// Whether it was connected; then the whole time of a lost replica is left.
        public var isConnected: Bool
        /// How long the lease lasts if the replica stays away.
        public var left: Duration

        /// Creates a description.
        public init(
            database: String, replica: ReplicaAddress, fileNumber: UInt32, isConnected: Bool,
            left: Duration
        ) {
            self.database = database
            self.replica = replica
            self.fileNumber = fileNumber
            self.isConnected = isConnected
            self.left = left
        }

        /// Whether only the time that is left differs.
        public func holdsTheSame(as other: Remembered) -> Bool {
            var mine = self
            mine.left = other.left
            return mine == other
        }
    }

    /// The leases of replicas, those that hold most first.
    public func remembered(now: MonotonicInstant) -> [Remembered] {
        var found: [Remembered] = []
        for (database, table) in self.leases {
            for lease in table.values {
                guard case .replica(let address) = lease.holder else { continue }
                found.append(
                    Remembered(
                        database: database, replica: address,
                        fileNumber: lease.position.fileNumber, isConnected: lease.expires == nil,
                        left: lease.expires.map { $0.since(now) }
                            ?? self.configuration.lostReplica))
            }
        }
        return found.sorted {
            ($0.fileNumber, $0.database, $0.replica.host, $0.replica.port)
                < ($1.fileNumber, $1.database, $1.replica.host, $1.replica.port)
        }
    }

    /// Takes over what a former process remembered: all of them are lost replicas until they
    /// come back.
    public mutating func restore(_ remembered: [Remembered], now: MonotonicInstant) {
        for lease in remembered {
            let left =
                lease.isConnected
                ? self.configuration.lostReplica
                : min(lease.left, self.configuration.lostReplica)
            guard left > .zero else { continue }
            let holder = Holder.replica(lease.replica)
            self.leases[lease.database, default: [:]][holder] = Lease(
                holder: holder,
                position: BinlogPosition(fileNumber: lease.fileNumber, offset: 0),
                expires: now + left)
        }
    }
}
