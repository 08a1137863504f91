internal import FileIO
internal import PikaStorage
internal import SyncProtocol

/// What the process remembers about itself: `<db-path>/pika-swift.node`.
///
/// The boot id tells a killed process from a machine that lost power; it is written when a start
/// has cut and synced its logs. A role is written before the first item of that role.
struct NodeFile: Equatable, Sendable {
    static let fileName = "pika-swift.node"
    static let envelope = SealedFile(kind: "PKSWNODE", version: 1, limitBytes: 4096)

    var bootID: String
    var runID: RunID
    var replicationID: ReplicationID?
    /// By database index.
    var roles: [LogRole]

    var payload: [UInt8] {
        var writer = RecordWriter()
        writer.append(bootID)
        writer.append(runID.description)
        writer.append(replicationID?.description ?? "")
        writer.append(UInt32(roles.count))
        for role in roles { writer.append(role.rawValue) }
        return writer.bytes
    }
}

extension NodeFile {
    init(decoding bytes: [UInt8]) throws(RecordReader.Failure) {
        var reader = try RecordReader(bytes, Self.envelope)
        bootID = try reader.text()
        let runText = try reader.text()
        guard let run = RunID(runText) else {
            throw RecordReader.Failure(reason: "run id \(runText)")
        }
        runID = run
        let replicationText = try reader.text()
        replicationID = ReplicationID(replicationText)
        guard replicationText.isEmpty || replicationID != nil else {
            throw RecordReader.Failure(reason: "replication id \(replicationText)")
        }
        let count: UInt32 = try reader.integer()
        guard count <= 8 else { throw RecordReader.Failure(reason: "\(count) databases") }
        roles = []
        for _ in 0..<count {
            let raw: UInt8 = try reader.integer()
            guard let role = LogRole(rawValue: raw) else {
                throw RecordReader.Failure(reason: "role \(raw)")
            }
            roles.append(role)
        }
        try reader.finish()
    }
}

/// The clean mark of one database: `<db-path>/db<N>/pika-swift.state`.
///
/// It exists only while nothing is written: it is unlinked before the first write.
struct StateFile: Equatable, Sendable {
    struct StoreMark: Equatable, Sendable {
        /// RocksDB's sequence number.
        var sequenceNumber: UInt64
        /// RocksDB's IDENTITY file.
        var identity: String
    }

    static let fileName = "pika-swift.state"
    static let envelope = SealedFile(kind: "PKSWSTAT", version: 1, limitBytes: 4096)

    /// Every store holds exactly the log up to here.
    var applied: BinlogPosition
    /// End of the log; behind ``applied`` if it ends inside a received group.
    var logEnd: BinlogPosition
    /// Running digest at ``logEnd``.
    var logDigest: UInt64
    var highestEffectiveNow: Int64
    /// In the order of ``StoreKind``.
    var stores: [StoreMark]

    var payload: [UInt8] {
        var writer = RecordWriter()
        writer.append(applied)
        writer.append(logEnd)
        writer.append(logDigest)
        writer.append(highestEffectiveNow)
        writer.append(UInt32(stores.count))
        for store in stores {
            writer.append(store.sequenceNumber)
            writer.append(store.identity)
        }
        return writer.bytes
    }
}

extension StateFile {
    init(decoding bytes: [UInt8]) throws(RecordReader.Failure) {
        var reader = try RecordReader(bytes, Self.envelope)
        applied = try reader.position()
        logEnd = try reader.position()
        logDigest = try reader.integer()
        highestEffectiveNow = try reader.integer()
        let count: UInt32 = try reader.integer()
        guard count == UInt32(StoreKind.allCases.count) else {
            throw RecordReader.Failure(reason: "\(count) stores")
        }
        stores = []
        for _ in 0..<count {
            let sequenceNumber: UInt64 = try reader.integer()
            let identity = try reader.text()
            stores.append(StoreMark(sequenceNumber: sequenceNumber, identity: identity))
        }
        try reader.finish()
    }
}

/// The ids that a log went through: `<log-path>/log_db<N>/pika-swift.history`.
struct HistoryFile: Equatable, Sendable {
    static let fileName = "pika-swift.history"
    static let envelope = SealedFile(kind: "PKSWHIST", version: 1, limitBytes: 1 << 20)

    var entries: [HistoryEntry]

    var payload: [UInt8] {
        var writer = RecordWriter()
        writer.append(entries)
        return writer.bytes
    }
}

extension HistoryFile {
    init(decoding bytes: [UInt8]) throws(RecordReader.Failure) {
        var reader = try RecordReader(bytes, Self.envelope)
        entries = try reader.history()
        try reader.finish()
    }
}

/// What lies beside a database's files in a dump of ours: `pika-swift.snapshot`.
struct SnapshotFileRecord: Equatable, Sendable {
    static let fileName = "pika-swift.snapshot"
    static let envelope = SealedFile(kind: "PKSWSNAP", version: 1, limitBytes: 64 << 20)

    var position: BinlogPosition
    var runningDigest: UInt64
    var highestEffectiveNow: Int64
    var cutAtSeconds: Int64
    var history: [HistoryEntry]
    var files: [SnapshotFile]

    var payload: [UInt8] {
        var writer = RecordWriter()
        writer.append(position)
        writer.append(runningDigest)
        writer.append(highestEffectiveNow)
        writer.append(cutAtSeconds)
        writer.append(history)
        writer.append(UInt32(files.count))
        for file in files {
            writer.append(file.path)
            writer.append(file.sizeBytes)
        }
        return writer.bytes
    }
}

extension SnapshotFileRecord {
    init(decoding bytes: [UInt8]) throws(RecordReader.Failure) {
        var reader = try RecordReader(bytes, Self.envelope)
        position = try reader.position()
        runningDigest = try reader.integer()
        highestEffectiveNow = try reader.integer()
        cutAtSeconds = try reader.integer()
        history = try reader.history()
        let count: UInt32 = try reader.integer()
        files = []
        for _ in 0..<count {
            let path = try reader.text()
            let sizeBytes: UInt64 = try reader.integer()
            files.append(SnapshotFile(path: path, sizeBytes: sizeBytes))
        }
        try reader.finish()
    }
}

/// A small file of ours: read whole, replaced atomically.
protocol MarkFile {
    static var fileName: String { get }
    static var envelope: SealedFile { get }
    var payload: [UInt8] { get }
    init(decoding bytes: [UInt8]) throws(RecordReader.Failure)
}

extension NodeFile: MarkFile {}
extension StateFile: MarkFile {}
extension HistoryFile: MarkFile {}
extension SnapshotFileRecord: MarkFile {}

extension MarkFile {
    /// Reads the file in a directory; nil if there is none.
    static func read(
        in directory: String, fileSystem: any FileSystem
    ) throws(KeyspaceError) -> Self? {
        let path = Path.join(directory, fileName)
        let bytes: [UInt8]?
        do throws(FileError) {
            bytes = try fileSystem.readFile(
                path, limitBytes: envelope.limitBytes + SealedFile.overheadBytes)
        } catch {
            throw .file(error)
        }
        guard let bytes else { return nil }
        do throws(RecordReader.Failure) {
            return try Self(decoding: bytes)
        } catch {
            throw .damaged(path: path, reason: error.reason)
        }
    }

    /// Replaces the file durably.
    func write(in directory: String, fileSystem: any FileSystem) throws(KeyspaceError) {
        let path = Path.join(directory, Self.fileName)
        let bytes: [UInt8]
        do throws(SealedFileError) {
            bytes = try Self.envelope.encode(payload)
        } catch {
            throw .damaged(path: path, reason: error.description)
        }
        do throws(FileError) {
            try fileSystem.writeAtomically(path, bytes)
        } catch {
            throw .file(error)
        }
    }

    /// Removes the file durably, if it is there.
    static func remove(in directory: String, fileSystem: any FileSystem) throws(KeyspaceError) {
        do throws(FileError) {
            let path = Path.join(directory, fileName)
            guard try fileSystem.exists(path) else { return }
            try fileSystem.unlink(path)
            try fileSystem.syncDirectory(directory)
        } catch {
            throw .file(error)
        }
    }
}
