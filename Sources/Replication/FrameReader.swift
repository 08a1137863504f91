internal import NIOCore
internal import SyncProtocol

/// Gathers what a channel reads and cuts it into frames; of a connection, on its loop.
///
/// A byte is copied at most once, and only if its frame came in several reads: such a frame gets a
/// buffer of its own of the right size. Frames that came whole share the memory of their read.
struct FrameReader {
    /// Bytes reserved for a frame beyond those that are there, at most: a hostile length must not
    /// cost memory.
    static let reserveBytes = 1 << 20

    private var decoder: FrameDecoder
    /// The beginning of a frame that is not whole yet.
    private var partial: ByteBuffer?
    /// What was read and not looked at yet.
    private var rest = ByteBuffer()

    init(limits: FrameLimits) {
        self.decoder = FrameDecoder(limits: limits)
    }

    /// Adds what was read.
    mutating func append(_ bytes: inout ByteBuffer) {
        if self.rest.readableBytes == 0 {
            self.rest = bytes
        } else {
            self.rest.writeBuffer(&bytes)
        }
        bytes = ByteBuffer()
    }

    /// The body of the next whole frame, or nil.
    mutating func next() throws(WireError) -> ByteBuffer? {
        if var frame = self.partial.take() {
            while self.rest.readableBytes > 0 {
                let count = min(self.decoder.missingBytes, self.rest.readableBytes)
                if let piece = self.rest.readSlice(length: count) {
                    frame.writeImmutableBuffer(piece)
                }
                if let body = try self.decoder.next(from: &frame) { return body }
                self.reserve(&frame)
            }
            self.partial = frame
            return nil
        }
        if let body = try self.decoder.next(from: &self.rest) { return body }
        if self.rest.readableBytes > 0 {
            var frame = ByteBuffer()
            frame.reserveCapacity(
                self.rest.readableBytes + min(self.decoder.missingBytes, Self.reserveBytes))
            frame.writeBuffer(&self.rest)
            self.partial = frame
        }
        self.rest = ByteBuffer()
        return nil
    }

    private func reserve(_ frame: inout ByteBuffer) {
        guard frame.writableBytes < self.decoder.missingBytes else { return }
        // At least doubled, so that a large frame is not moved for every read.
        let more = max(Self.reserveBytes, frame.readableBytes)
        frame.reserveCapacity(frame.readableBytes + min(self.decoder.missingBytes, more))
    }

    /// Bytes that belong to a frame that is not whole yet.
    var pendingBytes: Int { (self.partial?.readableBytes ?? 0) + self.rest.readableBytes }
}
