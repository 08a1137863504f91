public import NIOCore

/// Writes BinlogSync responses straight from the log's bytes: the hot path of a master.
///
/// One encoder per session, so one database per frame. Use: ``begin(in:durableEnd:)``, then
/// ``append(item:end:logicID:in:)`` for each item, then ``finish(in:)``; all on the same buffer,
/// with nothing else written in between.
///
/// ```
/// frame:  length BE | 08 04 type | 10 01 ok | chip … | c2 3e durable_end (extension)
/// chip:   3a len | 0a n database | 12 n end{08 file 10 offset 18 term 20 index} | 1a n item
///                | 20 session
/// ```
public struct BinlogSyncEncoder: Sendable {
    /// Items in the frame that is open.
    public private(set) var count = 0

    private let database: [UInt8]
    private let session: [UInt8]
    private var frameStart = 0
    private var durableEnd: BinlogPosition?

    /// Most bytes that a chip needs beyond its item, but for the database's name.
    private static let maxChipOverheadBytes = 96
    private static let frameHead: [UInt8] = [0, 0, 0, 0, 0x08, 0x04, 0x10, 0x01]

    /// Creates an encoder for a session.
    public init(database: String, session: SessionID) {
        let name = Array(database.utf8)
        var field: [UInt8] = [0x0A]
        appendVarint(UInt64(name.count), to: &field)
        field += name + [0x10, 0x00]
        self.database = [0x0A] + encodedVarint(UInt64(field.count)) + field
        self.session =
            [0x20] + encodedVarint(UInt64(bitPattern: Int64(session.rawValue)))
    }

    /// Opens a frame.
    ///
    /// - Parameter durableEnd: Extension, only to a replica of ours.
    public mutating func begin(in buffer: inout ByteBuffer, durableEnd: BinlogPosition? = nil) {
        frameStart = buffer.writerIndex
        count = 0
        self.durableEnd = durableEnd
        buffer.writeBytes(Self.frameHead)
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
        writeChip(item: item, end: end, logicID: logicID, in: &buffer)
        count += 1
    }

    private func writeChip(
        item: UnsafeRawBufferPointer, end: BinlogPosition, logicID: LogicID,
        in buffer: inout ByteBuffer
    ) {
        let endBytes =
            4 + varintBytes(UInt64(end.fileNumber)) + varintBytes(end.offset)
            + varintBytes(UInt64(logicID.term)) + varintBytes(logicID.index)
        let itemBytes = 1 + varintBytes(UInt64(item.count)) + item.count
        let chipBytes = database.count + 2 + endBytes + itemBytes + session.count
        buffer.writeWithUnsafeMutableBytes(
            minimumWritableBytes: chipBytes + Self.maxChipOverheadBytes
        ) { memory in
            var writer = WireWriter(memory)
            writer.byte(0x3A)
            writer.varint(UInt64(chipBytes))
            writer.bytes(database)
            writer.byte(0x12)
            writer.byte(UInt8(endBytes))
            writer.byte(0x08)
            writer.varint(UInt64(end.fileNumber))
            writer.byte(0x10)
            writer.varint(end.offset)
            writer.byte(0x18)
            writer.varint(UInt64(logicID.term))
            writer.byte(0x20)
            writer.varint(logicID.index)
            writer.byte(0x1A)
            writer.varint(UInt64(item.count))
            writer.bytes(item)
            writer.bytes(session)
            return writer.count
        }
    }

    /// Bytes of the open frame's body so far.
    public func bodyBytes(in buffer: ByteBuffer) -> Int {
        buffer.writerIndex - frameStart - WireLimits.frameHeaderBytes
    }

    /// Closes the frame: its length is filled in.
    public mutating func finish(in buffer: inout ByteBuffer) {
        if let durableEnd {
            let position =
                [0x08] + encodedVarint(UInt64(durableEnd.fileNumber))
                + [0x10] + encodedVarint(durableEnd.offset)
            buffer.writeBytes([0xC2, 0x3E, UInt8(position.count)] + position)
        }
        buffer.setInteger(
            UInt32(bodyBytes(in: buffer)), at: frameStart, endianness: .big, as: UInt32.self)
        count = 0
    }

    /// Appends a keep-alive as one frame.
    public func encodeKeepAlive(into buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        buffer.writeBytes(Self.frameHead)
        writeChip(
            item: UnsafeRawBufferPointer(start: nil, count: 0), end: .zero,
            logicID: LogicID(term: 0, index: 0), in: &buffer)
        buffer.setInteger(
            UInt32(buffer.writerIndex - start - WireLimits.frameHeaderBytes), at: start,
            endianness: .big, as: UInt32.self)
    }
}

func encodedVarint(_ value: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    appendVarint(value, to: &bytes)
    return bytes
}

func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
        bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
        rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
}
