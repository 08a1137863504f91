import Binlog
import FileIO
import SyncProtocol
import TestKit

/// An item as a cursor showed it, copied.
struct SeenItem: Equatable {
    var bytes: [UInt8]
    var header: BinlogItemHeader
    var end: BinlogPosition

    var content: [UInt8] { Array(bytes[BinlogItemHeader.encodedSize...]) }
    var text: String { String(decoding: content, as: UTF8.self) }
}

func position(_ fileNumber: UInt32, _ offset: UInt64) -> BinlogPosition {
    BinlogPosition(fileNumber: fileNumber, offset: offset)
}

/// A write group of commands given as words.
func group(_ commands: [[String]]) -> BinlogItems {
    var items = BinlogItems()
    for command in commands {
        items.beginItem(argumentCount: command.count)
        for word in command {
            Array(word.utf8).withUnsafeBytes { items.appendArgument($0) }
        }
        items.endItem()
    }
    return items
}

/// A write group with one item whose content has exactly that many bytes.
func group(contentBytes: Int, fill: UInt8 = 0x61) -> BinlogItems {
    var items = BinlogItems()
    [UInt8](repeating: fill, count: contentBytes).withUnsafeBytes {
        items.appendItem(content: $0)
    }
    return items
}

extension BinlogLog {
    /// All items from a position to the end.
    func seen(from start: BinlogPosition? = nil) throws -> [SeenItem] {
        let cursor = try makeCursor(at: start ?? self.start)
        var items: [SeenItem] = []
        try cursor.next(upTo: end.position) { bytes, header, end in
            items.append(SeenItem(bytes: Array(bytes), header: header, end: end))
            return .next
        }
        return items
    }

    /// Appends items of another log as a replica does.
    @discardableResult
    func appendCopies(_ items: [SeenItem]) throws(BinlogError) -> BinlogMark {
        let total = items.reduce(0) { $0 + $1.bytes.count }
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(total, 1), alignment: 8)
        defer { memory.deallocate() }
        var received: [ReceivedItem] = []
        var at = 0
        for item in items {
            let slice = UnsafeMutableRawBufferPointer(
                rebasing: memory[at..<(at + item.bytes.count)])
            slice.copyBytes(from: item.bytes)
            received.append(ReceivedItem(bytes: UnsafeRawBufferPointer(slice), end: item.end))
            at += item.bytes.count
        }
        let result = received.withUnsafeBufferPointer {
            buffer -> Result<BinlogMark, BinlogError> in
            do throws(BinlogError) {
                return .success(try appendReceived(buffer))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Syncs with everything published.
    @discardableResult
    func syncAll() throws(BinlogError) -> BinlogSyncOutcome { try sync(published: end) }
}

/// A log directory in memory.
struct Bench {
    let disk: MemoryFileSystem
    var configuration: BinlogConfiguration
    let directory = "log/log_db0"

    init(
        fileSizeLimitBytes: UInt64 = 104_857_600, disk: MemoryFileSystem = MemoryFileSystem()
    ) {
        self.disk = disk
        configuration = BinlogConfiguration(fileSizeLimitBytes: fileSizeLimitBytes)
        try? disk.makeDirectory("log")
        try? disk.syncDirectory("")
    }

    func open(
        _ recovery: BinlogRecovery = .sameBoot, _ origin: BinlogOrigin = .own,
        requiredEnd: BinlogPosition = .zero
    ) throws(BinlogError) -> BinlogLog {
        try BinlogLog.open(
            directory: directory, fileSystem: disk, configuration: configuration,
            origin: origin, recovery: recovery, requiredEnd: requiredEnd)
    }

    func create(at mark: BinlogMark) throws(BinlogError) -> BinlogLog {
        try BinlogLog.create(
            directory: directory, fileSystem: disk, configuration: configuration, at: mark)
    }

    func path(_ name: String) -> String { Path.join(directory, name) }

    func bytes(_ name: String) -> [UInt8] { disk.contents(path(name)) ?? [] }

    /// Compares without printing kilobytes when it fails.
    func holds(_ name: String, _ expected: [UInt8]) -> Bool { bytes(name) == expected }

    func flip(_ name: String, at offset: Int, mask: UInt8 = 0x01) {
        var content = bytes(name)
        content[offset] ^= mask
        disk.setContents(path(name), content)
    }

    func cut(_ name: String, to size: Int) {
        disk.setContents(path(name), Array(bytes(name)[..<size]))
    }

    /// A directory of the test target's fixtures.
    static func fixture(_ name: String, file: String = #filePath) -> String {
        Path.join(Path.join(Path.directory(of: file), "Fixtures"), name)
    }
}

/// Bytes of a hex text with blanks.
func hex(_ text: String) -> [UInt8] {
    text.split(whereSeparator: \.isWhitespace).compactMap { UInt8($0, radix: 16) }
}

extension BinlogError {
    /// Whether it says that the content of files is not what it must be.
    var isAboutContent: Bool {
        switch self {
        case .damaged, .digestMismatch, .endsTooEarly, .sidecarDamaged,
            .manifestNamesMissingFile:
            true
        default:
            false
        }
    }
}
