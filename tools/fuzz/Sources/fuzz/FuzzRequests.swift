import NIOCore
import SyncProtocol

/// Requests of port+2000: whatever is read is written again, and reads the same.
func fuzzRequests(_ input: UnsafeBufferPointer<UInt8>) {
    let body = ByteBuffer(bytes: input)
    guard let request = try? ReplicationCodec.decodeRequest(body) else { return }
    var frame = ByteBuffer()
    ReplicationCodec.encode(request, into: &frame)
    frame.moveReaderIndex(forwardBy: WireLimits.frameHeaderBytes)
    precondition((try? ReplicationCodec.decodeRequest(frame)) == request)
}
