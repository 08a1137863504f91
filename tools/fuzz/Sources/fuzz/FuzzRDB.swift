import RDB

/// Any bytes as an RDB file, and as the value of a DUMP payload under a right checksum.
///
/// Whole and in small pieces the file gives the same keys, elements and error; never a trap.
func fuzzRDB(_ input: UnsafeBufferPointer<UInt8>) {
    let bytes = [UInt8](input)
    precondition(decode(bytes, pieceBytes: max(1, input.count)) == decode(bytes, pieceBytes: 7))
    var payload = bytes + [12, 0]
    let checksum = CRC64.checksum(payload)
    payload += withUnsafeBytes(of: checksum.littleEndian, Array.init)
    _ = try? DumpPayload.decode(payload)
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
