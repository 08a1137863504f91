private import CXXHash
public import SyncProtocol

/// An item end and the running digest there: equal marks mean equal history.
public struct BinlogMark: Hashable, Sendable {
    /// The end of an item, or the start of a file.
    public var position: BinlogPosition

    /// The running digest of everything up to `position`.
    public var digest: UInt64

    /// The start of a log that never held anything.
    public static let zero = BinlogMark(position: .zero, digest: 0)

    /// Creates a mark.
    public init(position: BinlogPosition, digest: UInt64) {
        self.position = position
        self.digest = digest
    }
}

/// The running digest of a log: covers the content and the end position of every item in order.
///
/// `next = XXH64(fileNumber u32 LE | offset u64 LE, seed: XXH64(content, seed: previous))`.
/// It starts as 0. The item's header is left out because a real 3.5.5 replaces it on the way, so
/// the digest is the same on every holder of this history. Rolling to a new file does not change
/// it.
public enum RunningDigest {
    /// The digest after an item.
    @inline(__always)
    public static func after(
        _ previous: UInt64, content: UnsafeRawBufferPointer, end: BinlogPosition
    ) -> UInt64 {
        let inner = XXH64(content.baseAddress, content.count, previous)
        var place = (end.offset.littleEndian, UInt64(end.fileNumber).littleEndian)
        return withUnsafeBytes(of: &place) { XXH64($0.baseAddress, $0.count, inner) }
    }
}
