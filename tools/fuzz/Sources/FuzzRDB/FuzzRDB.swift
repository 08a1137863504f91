import RDB

/// Any bytes as an RDB file, and as the value of a DUMP payload under a right checksum.
///
/// Whole and in small pieces the file gives the same keys, elements and error; never a trap.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    precondition(decode(bytes, pieceBytes: max(1, count)) == decode(bytes, pieceBytes: 7))
    var payload = bytes + [12, 0]
    let checksum = CRC64.checksum(payload)
    payload += withUnsafeBytes(of: checksum.littleEndian, Array.init)
    _ = try? DumpPayload.decode(payload)
    return 0
}

/// Keys, elements and what stopped it.
private struct Outcome: Equatable {
    var keys = 0
    var elements = 0
    var error: RDBError?
}

private func decode(_ bytes: [UInt8], pieceBytes: Int) -> Outcome {
    var decoder = RDBDecoder(limits: RDBLimits(maxElementBytes: 1 << 20))
    var outcome = Outcome()
    do throws(RDBError) {
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            decoder.feed(bytes[start..<min(bytes.count, start + pieceBytes)])
            while let event = try decoder.next() {
                if case .elements = event { outcome.elements += decoder.chunk.elementCount }
                if case .keyEnd = event { outcome.keys += 1 }
            }
        }
        try decoder.finish()
    } catch {
        outcome.error = error
    }
    return outcome
}

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzRDB_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
