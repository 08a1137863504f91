import SyncProtocol

/// The limits of a resume point.
public enum ResumeLimits {
    /// Files of one snapshot.
    public static let maxFiles = 100_000

    /// Bytes of a saved hash state.
    public static let maxHashStateBytes = 255

    /// Bytes of the file's payload.
    public static let maxPayloadBytes = 32 << 20
}

/// The payload of a `resume` file, layout version 1.
///
/// ```text
/// u8   phase (0 none, 1 copying, 2 switching, 3 following)
/// u8   parts: 1 master, 2 snapshot
/// u64  bytes received twice
/// master:    text host | u32 port | u8 (1 run id, 2 replication id, 4 ours) |
///            40 bytes run id | 50 bytes replication id
/// snapshot:  text id | position | u8 (1 digest, 2 total) | u64 digest | u64 total |
///            u16 n | n x { 50 bytes id | position previous end | u64 digest | position start } |
///            u32 n | n x { text name | u8 (1 size, 2 digest) | u64 size | u64 verified |
///                          u64 digest | u8 length | hash state }
/// ```
/// text = u16 length + UTF-8; position = u32 file number + u64 offset; parts whose flag is not set
/// are left out; all little-endian.
enum ResumeCodec {
    static let version: UInt32 = 1

    static func encode(_ point: ResumePoint) throws(ResumeContentError) -> [UInt8] {
        try check(point)
        var out = Output()
        out.integer(point.phase.rawValue)
        out.integer(UInt8((point.master == nil ? 0 : 1) | (point.snapshot == nil ? 0 : 2)))
        out.integer(point.bytesReceivedTwice)
        if let master = point.master { encode(master, &out) }
        if let snapshot = point.snapshot { encode(snapshot, &out) }
        return out.bytes
    }

    private static func encode(_ master: MasterIdentity, _ out: inout Output) {
        out.text(master.address.host)
        out.integer(UInt32(master.address.port))
        out.integer(
            UInt8(
                (master.runID == nil ? 0 : 1) | (master.replicationID == nil ? 0 : 2)
                    | (master.isOurs ? 4 : 0)))
        if let id = master.runID { out.bytes += Array(id.description.utf8) }
        if let id = master.replicationID { out.bytes += Array(id.description.utf8) }
    }

    private static func encode(_ snapshot: SnapshotProgress, _ out: inout Output) {
        out.text(snapshot.snapshotID)
        out.position(snapshot.position)
        out.integer(
            UInt8(
                (snapshot.runningDigest == nil ? 0 : 1) | (snapshot.totalBytes == nil ? 0 : 2)))
        if let digest = snapshot.runningDigest { out.integer(digest) }
        if let total = snapshot.totalBytes { out.integer(total) }
        out.integer(UInt16(snapshot.history.count))
        for entry in snapshot.history {
            out.bytes += Array(entry.id.description.utf8)
            out.position(entry.previousEnd)
            out.integer(entry.previousDigest)
            out.position(entry.start)
        }
        out.integer(UInt32(snapshot.files.count))
        for file in snapshot.files {
            out.text(file.name)
            out.integer(UInt8((file.sizeBytes == nil ? 0 : 1) | (file.digest == nil ? 0 : 2)))
            if let size = file.sizeBytes { out.integer(size) }
            out.integer(file.verifiedBytes)
            if let digest = file.digest { out.integer(digest) }
            out.integer(UInt8(file.hashState.count))
            out.bytes += file.hashState
        }
    }

    static func decode(_ bytes: [UInt8]) throws(ResumeContentError) -> ResumePoint {
        var input = Input(bytes: bytes[...])
        let rawPhase = try input.integer("phase", UInt8.self)
        guard let phase = ResumePoint.Phase(rawValue: rawPhase) else {
            throw .badValue(field: "phase", actual: UInt64(rawPhase))
        }
        let parts = try input.flags("parts", known: 3)
        var point = ResumePoint(phase: phase)
        point.bytesReceivedTwice = try input.integer("bytes received twice", UInt64.self)
        if parts & 1 != 0 { point.master = try master(&input) }
        if parts & 2 != 0 { point.snapshot = try snapshot(&input) }
        guard input.bytes.isEmpty else { throw .trailingBytes(input.bytes.count) }
        try check(point)
        return point
    }

    private static func master(
        _ input: inout Input
    ) throws(ResumeContentError) -> MasterIdentity {
        let host = try input.text("host", limit: WireLimits.maxHostBytes)
        let port = try input.integer("port", UInt32.self)
        guard port <= 65_535 else { throw .badValue(field: "port", actual: UInt64(port)) }
        let flags = try input.flags("master flags", known: 7)
        var runID: RunID?
        if flags & 1 != 0 {
            runID = RunID(try input.ascii("run id", RunID.byteCount))
            guard runID != nil else { throw .badText(field: "run id") }
        }
        var replicationID: ReplicationID?
        if flags & 2 != 0 { replicationID = try input.replicationID("replication id") }
        return MasterIdentity(
            address: ReplicaAddress(host: host, port: Int(port)), runID: runID,
            replicationID: replicationID, isOurs: flags & 4 != 0)
    }

    private static func snapshot(
        _ input: inout Input
    ) throws(ResumeContentError) -> SnapshotProgress {
        let id = try input.text("snapshot id", limit: WireLimits.maxSnapshotIDBytes)
        var snapshot = SnapshotProgress(
            snapshotID: id, position: try input.position("position"))
        let flags = try input.flags("snapshot flags", known: 3)
        if flags & 1 != 0 { snapshot.runningDigest = try input.integer("digest", UInt64.self) }
        if flags & 2 != 0 { snapshot.totalBytes = try input.integer("total", UInt64.self) }
        let historyCount = Int(try input.integer("history count", UInt16.self))
        guard historyCount <= WireLimits.maxHistoryEntries else {
            throw .tooMany(
                field: "history", count: historyCount, limit: WireLimits.maxHistoryEntries)
        }
        for _ in 0..<historyCount {
            snapshot.history.append(
                HistoryEntry(
                    id: try input.replicationID("history id"),
                    previousEnd: try input.position("previous end"),
                    previousDigest: try input.integer("previous digest", UInt64.self),
                    start: try input.position("history start")))
        }
        let count = Int(try input.integer("file count", UInt32.self))
        guard count <= ResumeLimits.maxFiles else {
            throw .tooMany(field: "files", count: count, limit: ResumeLimits.maxFiles)
        }
        for _ in 0..<count { snapshot.files.append(try file(&input)) }
        return snapshot
    }

    private static func file(_ input: inout Input) throws(ResumeContentError) -> FileProgress {
        var file = FileProgress(
            name: try input.text("file name", limit: WireLimits.maxFileNameBytes))
        let flags = try input.flags("file flags", known: 3)
        if flags & 1 != 0 { file.sizeBytes = try input.integer("file size", UInt64.self) }
        file.verifiedBytes = try input.integer("verified bytes", UInt64.self)
        if flags & 2 != 0 { file.digest = try input.integer("file digest", UInt64.self) }
        let length = Int(try input.integer("hash state length", UInt8.self))
        file.hashState = Array(try input.take("hash state", length))
        return file
    }

    /// What must hold in every stored point, on the way in and on the way out.
    private static func check(_ point: ResumePoint) throws(ResumeContentError) {
        // A copy begins before the master has told its snapshot; a switch never does.
        let needsSnapshot = point.phase == .switching
        let mayHaveSnapshot = needsSnapshot || point.phase == .copying
        if (point.phase == .none) != (point.master == nil) {
            throw .inconsistent(
                "phase \(point.phase) with\(point.master == nil ? "out" : "") master")
        }
        if point.snapshot == nil ? needsSnapshot : !mayHaveSnapshot {
            throw .inconsistent(
                "phase \(point.phase) with\(point.snapshot == nil ? "out" : "") snapshot")
        }
        if let master = point.master {
            guard master.address.host.utf8.count <= WireLimits.maxHostBytes else {
                throw .badText(field: "host")
            }
            guard (0...65_535).contains(master.address.port) else {
                throw .badValue(
                    field: "port", actual: UInt64(bitPattern: Int64(master.address.port)))
            }
        }
        if let snapshot = point.snapshot { try check(snapshot, point.phase) }
    }

    private static func check(
        _ snapshot: SnapshotProgress, _ phase: ResumePoint.Phase
    ) throws(ResumeContentError) {
        guard snapshot.snapshotID.utf8.count <= WireLimits.maxSnapshotIDBytes else {
            throw .badText(field: "snapshot id")
        }
        guard snapshot.history.count <= WireLimits.maxHistoryEntries else {
            throw .tooMany(
                field: "history", count: snapshot.history.count,
                limit: WireLimits.maxHistoryEntries)
        }
        guard snapshot.files.count <= ResumeLimits.maxFiles else {
            throw .tooMany(
                field: "files", count: snapshot.files.count, limit: ResumeLimits.maxFiles)
        }
        var names: Set<String> = []
        for file in snapshot.files {
            guard isSafe(file.name) else { throw .badText(field: "file name") }
            guard names.insert(file.name).inserted else {
                throw .inconsistent("file \(file.name) twice")
            }
            if let size = file.sizeBytes, file.verifiedBytes > size {
                throw .inconsistent(
                    "file \(file.name): \(file.verifiedBytes) bytes verified of \(size)")
            }
            guard file.hashState.count <= ResumeLimits.maxHashStateBytes else {
                throw .tooMany(
                    field: "hash state", count: file.hashState.count,
                    limit: ResumeLimits.maxHashStateBytes)
            }
            if phase == .switching, !file.isComplete {
                throw .inconsistent("phase switching, but \(file.name) is not complete")
            }
        }
    }

    /// A relative path without `.`, `..`, empty parts and control characters.
    private static func isSafe(_ name: String) -> Bool {
        guard !name.isEmpty, name.utf8.count <= WireLimits.maxFileNameBytes,
            name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F })
        else { return false }
        return name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
            !$0.isEmpty && $0 != "." && $0 != ".."
        }
    }

    private struct Output {
        var bytes: [UInt8] = []

        mutating func integer<T: FixedWidthInteger>(_ value: T) {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }

        mutating func text(_ value: String) {
            integer(UInt16(value.utf8.count))
            bytes += Array(value.utf8)
        }

        mutating func position(_ value: BinlogPosition) {
            integer(value.fileNumber)
            integer(value.offset)
        }
    }

    private struct Input {
        var bytes: ArraySlice<UInt8>

        mutating func take(
            _ field: String, _ count: Int
        ) throws(ResumeContentError) -> ArraySlice<UInt8> {
            guard bytes.count >= count else {
                throw .truncated(
                    field: field, expectedBytes: count, actualBytes: bytes.count)
            }
            defer { bytes = bytes.dropFirst(count) }
            return bytes.prefix(count)
        }

        mutating func integer<T: FixedWidthInteger & UnsignedInteger>(
            _ field: String, _ type: T.Type
        ) throws(ResumeContentError) -> T {
            var value: T = 0
            for (index, byte) in try take(field, MemoryLayout<T>.size).enumerated() {
                value |= T(byte) << T(8 * index)
            }
            return value
        }

        mutating func flags(_ field: String, known: UInt8) throws(ResumeContentError) -> UInt8 {
            let value = try integer(field, UInt8.self)
            guard value & ~known == 0 else {
                throw .badValue(field: field, actual: UInt64(value))
            }
            return value
        }

        mutating func position(_ field: String) throws(ResumeContentError) -> BinlogPosition {
            BinlogPosition(
                fileNumber: try integer(field, UInt32.self),
                offset: try integer(field, UInt64.self))
        }

        mutating func text(
            _ field: String, limit: Int
        ) throws(ResumeContentError) -> String {
            let count = Int(try integer(field, UInt16.self))
            guard count <= limit else { throw .tooMany(field: field, count: count, limit: limit) }
            let raw = try take(field, count)
            guard let text = String(validating: raw, as: UTF8.self) else {
                throw .badText(field: field)
            }
            return text
        }

        mutating func ascii(_ field: String, _ count: Int) throws(ResumeContentError) -> String {
            String(decoding: try take(field, count), as: UTF8.self)
        }

        mutating func replicationID(
            _ field: String
        ) throws(ResumeContentError) -> ReplicationID {
            guard let id = ReplicationID(try ascii(field, ReplicationID.byteCount)) else {
                throw .badText(field: field)
            }
            return id
        }
    }
}
