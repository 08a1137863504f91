/// The encodings that are written: plain ones, which every server since Redis 4.0 reads.
enum RDBEncoding {
    static func number(of kind: RDBKind) -> UInt8? {
        switch kind {
        case .string: 0
        case .list: 1
        case .set: 2
        case .hash: 4
        case .sortedSet: 5
        case .stream, .module: nil
        }
    }

    static func append(length: UInt64, to bytes: inout ContiguousArray<UInt8>) {
        if length < 0x40 {
            bytes.append(UInt8(length))
        } else if length < 0x4000 {
            bytes.append(0x40 | UInt8(length >> 8))
            bytes.append(UInt8(truncatingIfNeeded: length))
        } else if length <= UInt64(UInt32.max) {
            bytes.append(0x80)
            Self.appendBig(UInt32(length), to: &bytes)
        } else {
            bytes.append(0x81)
            Self.appendBig(length, to: &bytes)
        }
    }

    static func append(
        text: UnsafeRawBufferPointer, to bytes: inout ContiguousArray<UInt8>
    ) {
        Self.append(length: UInt64(text.count), to: &bytes)
        bytes.append(contentsOf: text)
    }

    static func appendBig(_ value: some FixedWidthInteger, to bytes: inout ContiguousArray<UInt8>) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    static func appendLittle(
        _ value: some FixedWidthInteger, to bytes: inout ContiguousArray<UInt8>
    ) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
}
