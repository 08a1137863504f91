internal import FileIO
internal import SyncProtocol

/// Builds the payload of a small file of ours.
///
/// Integers are little-endian; strings are a u32 length and their bytes.
struct RecordWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append<Integer: FixedWidthInteger>(_ value: Integer) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ text: String) {
        append(UInt32(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }

    mutating func append(_ position: BinlogPosition) {
        append(position.fileNumber)
        append(position.offset)
    }

    mutating func append(_ entries: [HistoryEntry]) {
        append(UInt32(entries.count))
        for entry in entries {
            append(entry.id.description)
            append(entry.previousEnd)
            append(entry.previousDigest)
            append(entry.start)
        }
    }
}

/// Reads what ``RecordWriter`` wrote; every length and count is checked.
struct RecordReader {
    /// Why a file can't be read.
    struct Failure: Error {
        var reason: String
    }

    /// Largest number of history entries that a file may hold.
    static let historyLimitCount = 4096

    private var rest: ArraySlice<UInt8>

    /// Opens the envelope and starts at the payload's first byte.
    init(_ bytes: [UInt8], _ envelope: SealedFile) throws(Failure) {
        do throws(SealedFileError) {
            rest = try envelope.decode(bytes).payload[...]
        } catch {
            throw Failure(reason: error.description)
        }
    }

    mutating func integer<Integer: FixedWidthInteger>() throws(Failure) -> Integer {
        let size = MemoryLayout<Integer>.size
        guard rest.count >= size else { throw Failure(reason: "ends inside a number") }
        var value: Integer = 0
        for (shift, byte) in rest.prefix(size).enumerated() {
            value |= Integer(truncatingIfNeeded: byte) << Integer(shift * 8)
        }
        rest = rest.dropFirst(size)
        return value
    }

    mutating func text() throws(Failure) -> String {
        let count: UInt32 = try integer()
        guard rest.count >= Int(count) else { throw Failure(reason: "ends inside a text") }
        let bytes = rest.prefix(Int(count))
        rest = rest.dropFirst(Int(count))
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(reason: "a text is not UTF-8")
        }
        return text
    }

    mutating func position() throws(Failure) -> BinlogPosition {
        let fileNumber: UInt32 = try integer()
        let offset: UInt64 = try integer()
        return BinlogPosition(fileNumber: fileNumber, offset: offset)
    }

    mutating func history() throws(Failure) -> [HistoryEntry] {
        let count: UInt32 = try integer()
        guard count <= Self.historyLimitCount else {
            throw Failure(reason: "\(count) history entries, at most \(Self.historyLimitCount)")
        }
        var entries: [HistoryEntry] = []
        for _ in 0..<count {
            let text = try text()
            guard let id = ReplicationID(text) else {
                throw Failure(reason: "history id \(text)")
            }
            let previousEnd = try position()
            let previousDigest: UInt64 = try integer()
            let start = try position()
            entries.append(
                HistoryEntry(
                    id: id, previousEnd: previousEnd, previousDigest: previousDigest, start: start))
        }
        return entries
    }

    func finish() throws(Failure) {
        guard rest.isEmpty else { throw Failure(reason: "\(rest.count) bytes too many") }
    }
}
