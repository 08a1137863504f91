/// Appends numbers and texts, little endian, lengths before texts.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func byte(_ value: UInt8) { self.bytes.append(value) }

    mutating func number(_ value: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) {
            self.bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
        }
    }

    mutating func number(_ value: Int) { self.number(UInt64(bitPattern: Int64(value))) }

    mutating func text(_ value: some Collection<UInt8>) {
        self.number(value.count)
        self.bytes.append(contentsOf: value)
    }

    mutating func text(_ value: String) { self.text(value.utf8) }
}

/// Bytes that are not what they should be.
public struct StateCodecError: Error, Sendable, Equatable {
    /// What was expected.
    public var expected: String
}

/// Reads what ``ByteWriter`` wrote.
struct ByteReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { self.rest = bytes[...] }

    var isAtEnd: Bool { self.rest.isEmpty }

    mutating func byte(_ what: String) throws(StateCodecError) -> UInt8 {
        guard let byte = self.rest.popFirst() else { throw StateCodecError(expected: what) }
        return byte
    }

    mutating func number(_ what: String) throws(StateCodecError) -> UInt64 {
        guard self.rest.count >= 8 else { throw StateCodecError(expected: what) }
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 8) {
            value |= UInt64(try self.byte(what)) << UInt64(shift)
        }
        return value
    }

    mutating func integer(_ what: String) throws(StateCodecError) -> Int {
        Int(Int64(bitPattern: try self.number(what)))
    }

    mutating func bytes(_ what: String) throws(StateCodecError) -> [UInt8] {
        let count = try self.integer(what)
        guard count >= 0, count <= self.rest.count else { throw StateCodecError(expected: what) }
        defer { self.rest = self.rest.dropFirst(count) }
        return Array(self.rest.prefix(count))
    }

    mutating func text(_ what: String) throws(StateCodecError) -> String {
        String(decoding: try self.bytes(what), as: UTF8.self)
    }
}

extension ByteWriter {
    mutating func position(_ position: SourcePosition) {
        switch position {
        case .redis(let redis):
            self.byte(1)
            self.text(redis.replicationID)
            self.number(redis.offset)
            self.number(redis.database)
        case .pika(let pika):
            self.byte(2)
            self.text(pika.replicationID)
            self.text(pika.runID)
            self.number(pika.databases.count)
            for (database, log) in pika.databases.sorted(by: { $0.key < $1.key }) {
                self.number(database)
                self.number(UInt64(log.fileNumber))
                self.number(log.offset)
                self.number(log.digest)
            }
        case .file(let file):
            self.byte(3)
            self.text(file.identity)
            self.number(file.offset)
            self.number(file.database)
        case .cluster(let cluster):
            self.byte(4)
            self.number(cluster.shard)
            self.number(cluster.shards.count)
            for (shard, position) in cluster.shards.sorted(by: { $0.key < $1.key }) {
                self.number(shard)
                self.text(position.replicationID)
                self.number(position.offset)
            }
        }
    }
}

extension ByteReader {
    /// Most databases of a position.
    private static let maxDatabases = 1_024

    mutating func position() throws(StateCodecError) -> SourcePosition {
        switch try self.byte("kind of a position") {
        case 1:
            return .redis(
                RedisPosition(
                    replicationID: try self.text("replication id"),
                    offset: try self.number("offset"), database: try self.integer("database")))
        case 2:
            let id = try self.text("replication id")
            let run = try self.text("run id")
            let count = try self.integer("number of databases")
            guard (0...Self.maxDatabases).contains(count) else {
                throw StateCodecError(expected: "number of databases")
            }
            var databases: [Int: PikaLogPosition] = [:]
            for _ in 0..<count {
                let database = try self.integer("database")
                databases[database] = PikaLogPosition(
                    fileNumber: UInt32(truncatingIfNeeded: try self.number("file number")),
                    offset: try self.number("offset"), digest: try self.number("digest"))
            }
            return .pika(PikaPosition(replicationID: id, runID: run, databases: databases))
        case 4: return .cluster(try self.clusterPosition())
        case 3:
            return .file(
                FilePosition(
                    identity: try self.text("identity"), offset: try self.number("offset"),
                    database: try self.integer("database")))
        default: throw StateCodecError(expected: "kind of a position")
        }
    }

    private mutating func clusterPosition() throws(StateCodecError) -> ClusterPosition {
        let shard = try self.integer("shard")
        let count = try self.integer("number of shards")
        guard (0...Self.maxDatabases).contains(count) else {
            throw StateCodecError(expected: "number of shards")
        }
        var shards: [Int: RedisPosition] = [:]
        for _ in 0..<count {
            let number = try self.integer("shard")
            shards[number] = RedisPosition(
                replicationID: try self.text("replication id"), offset: try self.number("offset"),
                database: 0)
        }
        return ClusterPosition(shard: shard, shards: shards)
    }
}
