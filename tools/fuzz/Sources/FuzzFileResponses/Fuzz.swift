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

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzFileResponses_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
