import NIOCore
import SyncProtocol

/// Requests of port+10001: whatever is read is written again, and reads the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let body = ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
    guard let request = try? FileServiceCodec.decodeRequest(body) else { return 0 }
    var frame = ByteBuffer()
    FileServiceCodec.encode(request, into: &frame)
    frame.moveReaderIndex(forwardBy: WireLimits.frameHeaderBytes)
    precondition((try? FileServiceCodec.decodeRequest(frame)) == request)
    return 0
}
