/// The 34 bytes in front of an item's content.
///
/// ```text
/// 0   u16  type, always 1
/// 2   u32  exec_time: Unix seconds of the group; the log's clock
/// 6   u32  term: items left in the atomic group, 0 for the last one and for single items
/// 10  u64  logic id
/// 18  u32  file number of the log's end before the item was put
/// 22  u64  offset of the log's end before the item was put
/// 30  u32  length of the content
/// 34  content: one RESP array of bulk strings
/// ```
/// All little-endian. Only type and length decide anything for a real Pika.
/// (spec: binlog-format 3)
public struct BinlogItemHeader: Hashable, Sendable {
    /// Bytes of an encoded header.
    public static let encodedSize = 34

    /// Unix seconds when the item was logged by its master.
    public var execTimeSeconds: UInt32

    /// The header's `term`: how many items of the atomic group follow.
    public var itemsLeftInGroup: UInt32

    /// The header's `logic_id`.
    public var logicIndex: UInt64

    /// End of the log before the item: file.
    public var fileNumber: UInt32

    /// End of the log before the item: offset in that file.
    public var offset: UInt64

    /// Bytes of the content.
    public var contentLength: UInt32

    /// Creates a header.
    public init(
        execTimeSeconds: UInt32, itemsLeftInGroup: UInt32, logicIndex: UInt64, fileNumber: UInt32,
        offset: UInt64, contentLength: UInt32
    ) {
        self.execTimeSeconds = execTimeSeconds
        self.itemsLeftInGroup = itemsLeftInGroup
        self.logicIndex = logicIndex
        self.fileNumber = fileNumber
        self.offset = offset
        self.contentLength = contentLength
    }

    /// Reads the header of a whole item and checks type and length.
    public init(item: UnsafeRawBufferPointer) throws(BinlogItemError) {
        guard item.count >= Self.encodedSize else {
            throw .tooShort(expectedBytes: Self.encodedSize, actualBytes: item.count)
        }
        let type = UInt16(littleEndian: item.loadUnaligned(as: UInt16.self))
        guard type == Self.itemType else { throw .unknownType(expected: 1, actual: type) }
        self.init(uncheckedItem: item)
        guard Int(contentLength) == item.count - Self.encodedSize else {
            throw .wrongLength(
                expectedBytes: item.count - Self.encodedSize, actualBytes: Int(contentLength))
        }
    }

    /// Writes the 34 bytes.
    ///
    /// `destination` MUST have room for them.
    public func encode(to destination: UnsafeMutableRawPointer) {
        func store<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
            destination.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
        }
        store(Self.itemType, 0)
        store(execTimeSeconds, 2)
        store(itemsLeftInGroup, 6)
        store(logicIndex, 10)
        store(fileNumber, 18)
        store(offset, 22)
        store(contentLength, 30)
    }

    static let itemType: UInt16 = 1

    init(uncheckedItem item: UnsafeRawBufferPointer) {
        func load<T: FixedWidthInteger>(_ offset: Int, _ type: T.Type) -> T {
            T(littleEndian: item.loadUnaligned(fromByteOffset: offset, as: T.self))
        }
        self.init(
            execTimeSeconds: load(2, UInt32.self), itemsLeftInGroup: load(6, UInt32.self),
            logicIndex: load(10, UInt64.self), fileNumber: load(18, UInt32.self),
            offset: load(22, UInt64.self), contentLength: load(30, UInt32.self))
    }
}

/// Why bytes are not a binlog item.
public enum BinlogItemError: Error, Sendable, Equatable {
    case tooShort(expectedBytes: Int, actualBytes: Int)
    case unknownType(expected: UInt16, actual: UInt16)
    case wrongLength(expectedBytes: Int, actualBytes: Int)
}

/// The limits of the log, by name.
public enum BinlogLimits {
    /// Largest item: a file at its size limit plus one item stays below the 2 GiB that a real Pika
    /// can address.
    public static let maxItemBytes = 1_072_693_248

    /// Items in one atomic group, as many as a request may have arguments; a longer countdown is
    /// not taken for a group.
    public static let maxGroupItems = 1_048_576

    /// Smallest and largest `binlog-file-size`.
    public static let fileSizeLimitRange: ClosedRange<UInt64> = 1_024...1_073_741_824

    /// Files that a received item may skip: a master that lost power several times without a write
    /// in between leaves empty files.
    public static let maxFilesSkippedByReceivedItem: UInt32 = 1_024

    /// Files in one log directory.
    public static let maxFiles = 100_000

    /// Longest sidecar that is read.
    public static let maxSidecarBytes = 64 << 20
}
