import NIOCore
import SyncProtocol

/// A byte stream cut into frames: never more comes out than went in.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let body = ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
    var stream = body
    var decoder = FrameDecoder(limits: .fileRequest)
    var bytes = 0
    while let frame = try? decoder.next(from: &stream) {
        precondition(frame.readableBytes > 0)
        bytes += frame.readableBytes + WireLimits.frameHeaderBytes
    }
    precondition(bytes + stream.readableBytes <= count)
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
@_cdecl("FuzzFrames_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
