/// Where a source's stream of changes stands.
///
/// A position names the end of a complete unit: what lies before it is inside, what follows is not.
public enum SourcePosition: Sendable, Equatable {
    /// Redis or Valkey: one stream for all databases.
    case redis(RedisPosition)
    /// Pika or our server: one log a database.
    case pika(PikaPosition)
    /// A Redis Cluster: one stream a shard.
    case cluster(ClusterPosition)
    /// A file: RDB, AOF, binlog files.
    case file(FilePosition)

    /// Whether everything up to `other` in the log that `other` speaks of lies before this.
    ///
    /// Offsets of two histories of a Redis, or of a cluster's shard, say nothing about each other.
    ///
    /// - Parameter database: The database of the unit that ends at `other`; only Pika's logs need it.
    public func covers(_ other: SourcePosition, database: Int) -> Bool {
        switch (self, other) {
        case (.redis(let mine), .redis(let theirs)):
            mine.isHistory(of: theirs) && mine.offset >= theirs.offset
        case (.pika(let mine), .pika(let theirs)):
            if let end = mine.databases[database], let wanted = theirs.databases[database] {
                end >= wanted
            } else {
                false
            }
        case (.cluster(let mine), .cluster(let theirs)):
            if let end = mine.shards[theirs.shard], let wanted = theirs.shards[theirs.shard] {
                end.isHistory(of: wanted) && end.offset >= wanted.offset
            } else {
                false
            }
        case (.file(let mine), .file(let theirs)):
            mine.identity == theirs.identity && mine.offset >= theirs.offset
        default: false
        }
    }
}

extension SourcePosition {
    /// Whether everything that `other` has, in all logs, lies before this.
    public func coversAll(_ other: SourcePosition) -> Bool {
        if case .cluster(let mine) = self, case .cluster(let theirs) = other {
            return theirs.shards.allSatisfy { shard, wanted in
                guard let end = mine.shards[shard] else { return wanted.offset == 0 }
                return end.isHistory(of: wanted) && end.offset >= wanted.offset
            }
        }
        guard case .pika(let theirs) = other else { return self.covers(other, database: 0) }
        return theirs.databases.keys.allSatisfy { self.covers(other, database: $0) }
    }

    /// Whether this is as far as `other` in all logs: as ``coversAll(_:)``, but a Redis that was renamed
    /// goes on counting, so the offsets alone decide.
    public func reaches(_ other: SourcePosition) -> Bool {
        switch (self, other) {
        case (.redis(let mine), .redis(let theirs)): mine.offset >= theirs.offset
        case (.cluster(let mine), .cluster(let theirs)):
            theirs.shards.allSatisfy { mine.shards[$0.key]?.offset ?? 0 >= $0.value.offset }
        default: self.coversAll(other)
        }
    }

    /// Whether what was read here may have what ends at `other`: as ``covers(_:database:)``, but a Redis
    /// that was renamed goes on counting, so the offset alone decides.
    public func mayHold(_ other: SourcePosition, database: Int) -> Bool {
        guard let mine = self.stream, let theirs = other.stream else {
            return self.covers(other, database: database)
        }
        if case .cluster(let all) = self, let place = all.shards[theirs.shard] {
            return place.offset >= theirs.place.offset
        }
        return mine.shard == theirs.shard && mine.place.offset >= theirs.place.offset
    }

    /// The place of a cluster's other shards: this one's begins with a copy.
    public var ofOtherShards: SourcePosition {
        guard case .cluster(var places) = self else { return self }
        places.shards[places.shard] = nil
        return .cluster(places)
    }

    /// The place in the stream of a Redis: in a cluster, of the shard whose unit ends here.
    var stream: (shard: Int, place: RedisPosition)? {
        switch self {
        case .redis(let place): (0, place)
        case .cluster(let places): places.shards[places.shard].map { (places.shard, $0) }
        case .pika, .file: nil
        }
    }

    /// The later of both, log by log; of a Redis the one with the higher offset.
    public func merged(_ other: SourcePosition) -> SourcePosition {
        if case .cluster(var mine) = self, case .cluster(let theirs) = other {
            for (shard, end) in theirs.shards
            where mine.shards[shard]?.offset ?? 0 <= end.offset { mine.shards[shard] = end }
            mine.shard = theirs.shard
            return .cluster(mine)
        }
        guard case .pika(var mine) = self, case .pika(let theirs) = other else {
            return self.coversAll(other) || self.mayHold(other, database: 0) ? self : other
        }
        mine.databases.merge(theirs.databases) { max($0, $1) }
        return .pika(mine)
    }
}

extension SourcePosition: CustomStringConvertible {
    /// For an operator.
    public var description: String {
        switch self {
        case .redis(let place): return "offset \(place.offset) of \(place.replicationID)"
        case .pika(let place):
            return place.databases.sorted { $0.key < $1.key }.map { database, end in
                "db\(database) file \(end.fileNumber) offset \(end.offset)"
            }.joined(separator: ", ")
        case .cluster(let place):
            return place.shards.sorted { $0.key < $1.key }.map { shard, end in
                "shard \(shard) offset \(end.offset) of \(end.replicationID)"
            }.joined(separator: ", ")
        case .file(let place): return "offset \(place.offset) of the file \(place.identity)"
        }
    }
}

/// A position in the stream of a Redis or Valkey.
public struct RedisPosition: Sendable, Equatable {
    /// Whose history the offset counts: 40 hexadecimal digits.
    public var replicationID: String
    /// Bytes of the stream up to the end of the unit; the next byte wanted is `offset + 1`.
    public var offset: UInt64
    /// The database that commands behind `offset` run in until the next `SELECT`.
    public var database: Int

    /// A position from its parts.
    public init(replicationID: String, offset: UInt64, database: Int) {
        self.replicationID = replicationID
        self.offset = offset
        self.database = database
    }

    /// Whether both count the same history; a server before 4.0 does not tell which one it has.
    public func isHistory(of other: RedisPosition) -> Bool {
        self.replicationID == other.replicationID || self.replicationID.isEmpty
            || other.replicationID.isEmpty
    }
}

/// A position in the streams of a Redis Cluster's shards.
public struct ClusterPosition: Sendable, Equatable {
    /// Whose unit ends here; what the others have had by then stands beside it.
    public var shard: Int
    /// One position a shard, by the number that the job gave it.
    public var shards: [Int: RedisPosition]

    /// A position from its parts.
    public init(shard: Int, shards: [Int: RedisPosition]) {
        self.shard = shard
        self.shards = shards
    }
}

/// A position in all logs of a Pika.
public struct PikaPosition: Sendable, Equatable {
    /// Names the history since 3.5.1; empty for a 3.5.0.
    public var replicationID: String
    /// Names the incarnation: changes with every restart of a real Pika.
    public var runID: String
    /// One position a database.
    public var databases: [Int: PikaLogPosition]

    /// A position from its parts.
    public init(replicationID: String, runID: String, databases: [Int: PikaLogPosition]) {
        self.replicationID = replicationID
        self.runID = runID
        self.databases = databases
    }
}

/// The end of an item in one database's log.
public struct PikaLogPosition: Sendable, Equatable, Comparable {
    /// The file's number.
    public var fileNumber: UInt32
    /// Offset of the next item in it, in bytes.
    public var offset: UInt64
    /// Digest of the log's bytes before `offset`: proves that a log still is the one we read.
    public var digest: UInt64

    /// A position from its parts.
    public init(fileNumber: UInt32, offset: UInt64, digest: UInt64) {
        self.fileNumber = fileNumber
        self.offset = offset
        self.digest = digest
    }

    /// By file, then by offset; the digest has no order.
    public static func < (left: PikaLogPosition, right: PikaLogPosition) -> Bool {
        (left.fileNumber, left.offset) < (right.fileNumber, right.offset)
    }
}

/// A position in a file or a list of files.
public struct FilePosition: Sendable, Equatable {
    /// Names the files: two runs over the same content have the same.
    public var identity: String
    /// Bytes of all files up to the end of the unit.
    public var offset: UInt64
    /// The database that commands behind `offset` run in until the next `SELECT`.
    public var database: Int

    /// A position from its parts.
    public init(identity: String, offset: UInt64, database: Int) {
        self.identity = identity
        self.offset = offset
        self.database = database
    }
}

/// Where a source goes on inside of a snapshot.
public struct SnapshotPoint: Sendable, Equatable {
    /// Position of the stream that the snapshot belongs to: what follows it is not in the snapshot.
    public var position: SourcePosition
    /// The source's own note, opaque to all others, at most ``maxTokenBytes``.
    public var token: [UInt8]

    /// The longest token that a checkpoint keeps, in bytes.
    public static let maxTokenBytes = 4_096

    /// A point from its parts.
    public init(position: SourcePosition, token: [UInt8]) {
        self.position = position
        self.token = token
    }
}
