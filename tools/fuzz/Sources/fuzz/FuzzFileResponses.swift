import NIOCore
import SyncProtocol

/// Responses of port+10001.
func fuzzFileResponses(_ input: UnsafeBufferPointer<UInt8>) {
    let body = ByteBuffer(bytes: input)
    guard let decoded = try? FileServiceCodec.decodeResponse(body) else { return }
    if case .read(let response) = decoded.response, let chunk = response.chunk {
        precondition(UInt64(decoded.data.readableBytes) == chunk.count)
    }
}
