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

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzFileRequests_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
