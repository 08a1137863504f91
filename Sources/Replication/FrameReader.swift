internal import NIOCore
internal import SyncProtocol

/// Gathers what a channel reads and cuts it into frames; of a connection, on its loop.
struct FrameReader {
    private var decoder: FrameDecoder
    private var buffer = ByteBuffer()

    init(limits: FrameLimits) {
        self.decoder = FrameDecoder(limits: limits)
    }

    /// Adds what was read.
    mutating func append(_ bytes: inout ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            // Usually a read holds whole frames: no copy then.
            self.buffer = bytes
        } else {
            self.buffer.writeBuffer(&bytes)
        }
        bytes.clear()
    }

    /// The body of the next whole frame, or nil.
    mutating func next() throws(WireError) -> ByteBuffer? {
        let body = try self.decoder.next(from: &self.buffer)
        if body == nil, self.buffer.readableBytes == 0 {
            self.buffer = ByteBuffer()
        }
        return body
    }

    /// Bytes that belong to a frame that is not whole yet.
    var pendingBytes: Int { self.buffer.readableBytes }
}
