import NIOCore
import SyncProtocol

/// A byte stream cut into frames: never more comes out than went in.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let body = ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
    var stream = body
    var decoder = FrameDecoder(limits: .fileRequest)
    var bytes = 0
    while let frame = try? decoder.next(from: &stream) {
        precondition(frame.readableBytes > 0)
        bytes += frame.readableBytes + WireLimits.frameHeaderBytes
    }
    precondition(bytes + stream.readableBytes <= count)
    return 0
}
