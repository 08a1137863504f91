import NIOCore
import SyncProtocol

/// Responses of port+2000, items in place included.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let body = ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
    switch try? ReplicationCodec.decodeResponse(body) {
    case .control(let response):
        var frame = ByteBuffer()
        ReplicationCodec.encode(response, into: &frame)
    case .batch(let batch):
        // Every range lies inside the body.
        precondition(batch.owned.chips.count == batch.chips.count)
    case nil: break
    }
    return 0
}
