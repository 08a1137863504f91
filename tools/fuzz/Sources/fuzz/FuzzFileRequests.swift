import NIOCore
import SyncProtocol

/// Requests of port+10001: whatever is read is written again, and reads the same.
func fuzzFileRequests(_ input: UnsafeBufferPointer<UInt8>) {
    let body = ByteBuffer(bytes: input)
    guard let request = try? FileServiceCodec.decodeRequest(body) else { return }
    var frame = ByteBuffer()
    FileServiceCodec.encode(request, into: &frame)
    frame.moveReaderIndex(forwardBy: WireLimits.frameHeaderBytes)
    precondition((try? FileServiceCodec.decodeRequest(frame)) == request)
}
