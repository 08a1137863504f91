public import NIOCore

/// Writes BinlogSync responses straight from the log's bytes: the hot path of a master.
///
/// One encoder per session, so one database per frame. Use: ``begin(in:durableEnd:)``, then
/// ``append(item:end:logicID:in:)`` for each item, then ``finish(in:)``; all on the same buffer,
/// with nothing else written in between.
public struct BinlogSyncEncoder: Sendable {
    /// Items in the frame that is open.
    public private(set) var count = 0

    /// Creates an encoder for a session.
    public init(database: String, session: SessionID) {
        fatalError("skeleton")
    }

    /// Opens a frame.
    ///
    /// - Parameter durableEnd: Extension, only to a replica of ours.
    public mutating func begin(in buffer: inout ByteBuffer, durableEnd: BinlogPosition? = nil) {
        fatalError("skeleton")
    }

    /// Adds an item, header included.
    ///
    /// - Parameters:
    ///   - item: The bytes as they lie in the log, without record headers.
    ///   - end: Where the item ends in the master's log.
    ///   - logicID: From the item's header.
    public mutating func append(
        item: UnsafeRawBufferPointer, end: BinlogPosition, logicID: LogicID,
        in buffer: inout ByteBuffer
    ) {
        fatalError("skeleton")
    }

    /// Bytes of the open frame's body so far.
    public func bodyBytes(in buffer: ByteBuffer) -> Int {
        fatalError("skeleton")
    }

    /// Closes the frame: its length is filled in.
    public mutating func finish(in buffer: inout ByteBuffer) {
        fatalError("skeleton")
    }

    /// Appends a keep-alive as one frame.
    public func encodeKeepAlive(into buffer: inout ByteBuffer) {
        fatalError("skeleton")
    }
}
