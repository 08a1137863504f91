import NIOCore
import SyncProtocol

/// Responses of port+2000, items in place included.
func fuzzResponses(_ input: UnsafeBufferPointer<UInt8>) {
    let body = ByteBuffer(bytes: input)
    switch try? ReplicationCodec.decodeResponse(body) {
    case .control(let response):
        var frame = ByteBuffer()
        ReplicationCodec.encode(response, into: &frame)
    case .batch(let batch):
        // Every range lies inside the body.
        precondition(batch.owned.chips.count == batch.chips.count)
    case nil: break
    }
}
