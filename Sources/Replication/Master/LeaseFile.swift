internal import FileIO
internal import NIOCore
internal import ReplicationCore
internal import SyncProtocol

/// What a start of the master takes over of its replicas' leases: `<db-path>/pika-swift.leases`.
///
/// ```text
/// u32  count
/// count x { u16 length, database | u16 length, host | u32 port | u32 file number |
///           u8 (1: the replica was connected) | i64 end of the lease in Unix seconds }
/// ```
/// All little-endian, inside a sealed file. A position is kept as its file: purging knows files
/// only, so the file is written when a replica comes, goes, or passes into another file.
struct LeaseFile: Sendable {
    static let name = "pika-swift.leases"
    /// Leases kept over a restart; of more, those that hold most of the log.
    static let maximumLeases = 1_024
    static let envelope = SealedFile(
        kind: "PKSWLEAS", version: 1, limitBytes: maximumLeases * 512)

    let path: String
    let fileSystem: any FileSystem

    init(databasePath: String, fileSystem: any FileSystem) {
        self.path = Path.join(databasePath, Self.name)
        self.fileSystem = fileSystem
    }

    /// Why a file of leases can't be used.
    enum Failure: Error, CustomStringConvertible {
        case content(String)

        var description: String {
            switch self {
            case .content(let text): text
            }
        }
    }

    /// Reads the leases, blocking; none where there is no file.
    ///
    /// - Parameter wallSeconds: now; what is left of a lost replica's lease counts from it.
    func load(wallSeconds: Int64) throws -> [PurgeLeases.Remembered] {
        guard
            let bytes = try self.fileSystem.readFile(
                self.path, limitBytes: Self.envelope.limitBytes + SealedFile.overheadBytes)
        else { return [] }
        return try Self.decode(try Self.envelope.decode(bytes).payload, wallSeconds: wallSeconds)
    }

    /// Replaces the file durably, blocking.
    func save(_ leases: [PurgeLeases.Remembered], wallSeconds: Int64) throws {
        let payload = Self.encode(leases, wallSeconds: wallSeconds)
        try self.fileSystem.writeAtomically(self.path, try Self.envelope.encode(payload))
    }

    static func encode(_ leases: [PurgeLeases.Remembered], wallSeconds: Int64) -> [UInt8] {
        let kept = leases.prefix(self.maximumLeases)
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt32(kept.count), endianness: .little)
        for lease in kept {
            for text in [lease.database, lease.replica.host] {
                buffer.writeInteger(UInt16(clamping: text.utf8.count), endianness: .little)
                buffer.writeBytes(text.utf8.prefix(Int(UInt16.max)))
            }
            buffer.writeInteger(UInt32(clamping: lease.replica.port), endianness: .little)
            buffer.writeInteger(lease.fileNumber, endianness: .little)
            buffer.writeInteger(lease.isConnected ? 1 : 0, as: UInt8.self)
            buffer.writeInteger(
                wallSeconds + Int64(clamping: lease.left.components.seconds),
                endianness: .little)
        }
        return Array(buffer.readableBytesView)
    }

    static func decode(
        _ payload: [UInt8], wallSeconds: Int64
    ) throws(Failure) -> [PurgeLeases.Remembered] {
        var buffer = ByteBuffer(bytes: payload)
        guard let count = buffer.readInteger(endianness: .little, as: UInt32.self),
            count <= UInt32(self.maximumLeases)
        else { throw .content("a count of leases that is missing or too large") }
        var leases: [PurgeLeases.Remembered] = []
        for _ in 0..<count {
            guard let database = self.text(&buffer, limit: WireLimits.maxDatabaseNameBytes),
                let host = self.text(&buffer, limit: WireLimits.maxHostBytes),
                let port = buffer.readInteger(endianness: .little, as: UInt32.self),
                port <= 65_535,
                let fileNumber = buffer.readInteger(endianness: .little, as: UInt32.self),
                let flag = buffer.readInteger(as: UInt8.self), flag <= 1,
                let end = buffer.readInteger(endianness: .little, as: Int64.self)
            else { throw .content("lease \(leases.count) of \(count) is no lease") }
            let left = max(0, end.subtractingReportingOverflow(wallSeconds).partialValue)
            leases.append(
                PurgeLeases.Remembered(
                    database: database, replica: ReplicaAddress(host: host, port: Int(port)),
                    fileNumber: fileNumber, isConnected: flag == 1,
                    left: .seconds(left)))
        }
        guard buffer.readableBytes == 0 else {
            throw .content("\(buffer.readableBytes) bytes behind the leases")
        }
        return leases
    }

    private static func text(_ buffer: inout ByteBuffer, limit: Int) -> String? {
        guard let count = buffer.readInteger(endianness: .little, as: UInt16.self),
            Int(count) <= limit, let bytes = buffer.readBytes(length: Int(count))
        else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
