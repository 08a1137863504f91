/// What stands beside a command log that a job writes: how much of it is whole, and what is in it.
///
/// It is replaced at once, so log and markers never disagree: behind a crash the log is cut to
/// `sizeBytes`, and has exactly what the markers say.
public struct LogMark: Sendable, Equatable {
    /// Layout of the payload.
    public static let version: UInt32 = 1
    /// Longest payload, in bytes.
    public static let maxBytes = 8 << 20
    /// How much of the log's end tells whether it is still the same, in bytes.
    public static let tailBytes = 4_096

    /// The job's name.
    public var job: String
    /// Number of the run that wrote it.
    public var epoch: UInt64
    /// Length of the log up to here, in bytes.
    public var sizeBytes: UInt64 = 0
    /// Hash of its last `tailBytes`.
    public var tailHash: UInt64 = 0
    /// Databases that the log has commands for.
    public var databases: Set<Int> = []
    /// What is in the log of the stream, by the target's database.
    public var markers: [Int: Marker] = [:]
    /// The checkpoint's position.
    public var low: SourcePosition?

    /// A mark of an empty log.
    public init(job: String, epoch: UInt64) {
        self.job = job
        self.epoch = epoch
    }

    /// The payload of its file.
    public func encode() -> [UInt8] {
        var writer = ByteWriter()
        writer.text(self.job)
        writer.number(self.epoch)
        writer.number(self.sizeBytes)
        writer.number(self.tailHash)
        writer.number(self.databases.count)
        for database in self.databases.sorted() { writer.number(database) }
        writer.number(self.markers.count)
        for (database, marker) in self.markers.sorted(by: { $0.key < $1.key }) {
            writer.number(database)
            writer.text(marker.encode())
        }
        writer.byte(self.low == nil ? 0 : 1)
        if let low { writer.position(low) }
        return writer.bytes
    }

    /// Reads a payload.
    public init(decoding bytes: [UInt8]) throws(StateCodecError) {
        var reader = ByteReader(bytes)
        self.job = try reader.text("job")
        self.epoch = try reader.number("epoch")
        self.sizeBytes = try reader.number("size")
        self.tailHash = try reader.number("hash of the end")
        for _ in 0..<(try Self.count(&reader)) {
            self.databases.insert(try reader.integer("database"))
        }
        for _ in 0..<(try Self.count(&reader)) {
            let database = try reader.integer("database")
            self.markers[database] = try Marker(decoding: try reader.bytes("marker"))
        }
        if try reader.byte("low") != 0 { self.low = try reader.position() }
        guard reader.isAtEnd else { throw StateCodecError(expected: "end") }
    }

    private static func count(_ reader: inout ByteReader) throws(StateCodecError) -> Int {
        let count = try reader.integer("count")
        guard (0...TargetCapabilities.fileDatabases).contains(count) else {
            throw StateCodecError(expected: "count")
        }
        return count
    }
}
