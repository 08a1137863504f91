import NIOCore
import SyncProtocol

/// A byte stream cut into frames: never more comes out than went in.
func fuzzFrames(_ input: UnsafeBufferPointer<UInt8>) {
    let body = ByteBuffer(bytes: input)
    var stream = body
    var decoder = FrameDecoder(limits: .fileRequest)
    var bytes = 0
    while let frame = try? decoder.next(from: &stream) {
        precondition(frame.readableBytes > 0)
        bytes += frame.readableBytes + WireLimits.frameHeaderBytes
    }
    precondition(bytes + stream.readableBytes <= input.count)
}
