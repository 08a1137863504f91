public import NIOCore

/// Cuts a byte stream into frames: a 32-bit big-endian length, then a body of that length.
///
/// ```
/// +--------------------+------------------+
/// | length, 4 bytes BE | body             |
/// +--------------------+------------------+
/// ```
/// A hostile length is refused as soon as its four bytes are there; nothing is allocated for it.
public struct FrameDecoder: Sendable {
    /// How long a body may be.
    public var limits: FrameLimits
    /// Bytes that the frame at hand still lacks, after ``next(from:)`` gave nil: a hint for how
    /// much to reserve (bounded by what the peer really sent, if the caller is careful).
    public private(set) var missingBytes = WireLimits.frameHeaderBytes

    /// Creates a decoder.
    public init(limits: FrameLimits) { self.limits = limits }

    /// Takes one frame off the front of `buffer`.
    ///
    /// Reads nothing when the frame is not complete. After an error the stream has no frame
    /// boundary any more: the connection must be closed.
    ///
    /// - Returns: The body, sharing the buffer's memory, or nil when bytes are missing.
    /// - Throws: ``WireError/emptyFrame`` or ``WireError/frameTooLong(bodyBytes:limitBytes:)``.
    public mutating func next(from buffer: inout ByteBuffer) throws(WireError) -> ByteBuffer? {
        guard
            let bodyBytes = buffer.getInteger(
                at: buffer.readerIndex, endianness: .big, as: UInt32.self)
        else {
            missingBytes = WireLimits.frameHeaderBytes - buffer.readableBytes
            return nil
        }
        guard bodyBytes > 0 else { throw .emptyFrame }
        guard Int(bodyBytes) <= limits.maxBodyBytes else {
            throw .frameTooLong(bodyBytes: bodyBytes, limitBytes: limits.maxBodyBytes)
        }
        let frameBytes = WireLimits.frameHeaderBytes + Int(bodyBytes)
        guard buffer.readableBytes >= frameBytes else {
            missingBytes = frameBytes - buffer.readableBytes
            return nil
        }
        missingBytes = WireLimits.frameHeaderBytes
        buffer.moveReaderIndex(forwardBy: WireLimits.frameHeaderBytes)
        return buffer.readSlice(length: Int(bodyBytes))
    }
}
