import NIOCore
import SyncProtocol

/// Responses of port+10001.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let body = ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
    guard let decoded = try? FileServiceCodec.decodeResponse(body) else { return 0 }
    if case .read(let response) = decoded.response, let chunk = response.chunk {
        precondition(UInt64(decoded.data.readableBytes) == chunk.count)
    }
    return 0
}
