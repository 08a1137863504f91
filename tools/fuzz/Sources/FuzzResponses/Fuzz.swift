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

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzResponses_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
