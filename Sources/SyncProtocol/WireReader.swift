/// Walks the fields of one protobuf message in place.
///
/// Strict where it matters (bounds, varints, field number 0) and blind to groups, which nothing in
/// this protocol has: they are refused instead of skipped.
struct WireReader {
    enum Kind: UInt8 {
        case varint = 0
        case fixed64 = 1
        case bytes = 2
        case fixed32 = 5
    }

    struct Field {
        var number: UInt32
        var kind: Kind
    }

    private let base: UnsafeRawBufferPointer
    /// Index of the next byte, into the whole buffer that the reader was made for.
    private(set) var index: Int
    private let end: Int
    private let message: String

    /// - Parameter message: The message's name, for errors.
    init(_ base: UnsafeRawBufferPointer, _ range: Range<Int>, message: String) {
        self.base = base
        index = range.lowerBound
        end = range.upperBound
        self.message = message
    }

    private func malformed() -> WireError { .malformed(message: message) }

    /// The next field's tag, or nil at the end of the message.
    mutating func next() throws(WireError) -> Field? {
        guard index < end else { return nil }
        let tag = try varint()
        guard tag <= UInt64(UInt32.max), tag >> 3 > 0, let kind = Kind(rawValue: UInt8(tag & 7))
        else { throw malformed() }
        return Field(number: UInt32(tag >> 3), kind: kind)
    }

    mutating func varint() throws(WireError) -> UInt64 {
        if index < end, base[index] < 0x80 {
            index += 1
            return UInt64(base[index - 1])
        }
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while index < end {
            let byte = base[index]
            index += 1
            // The tenth byte may only hold the 64th bit.
            if shift == 63, byte > 1 { throw malformed() }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
            if shift > 63 { throw malformed() }
        }
        throw malformed()
    }

    mutating func fixed64() throws(WireError) -> UInt64 {
        guard end - index >= 8 else { throw malformed() }
        let value = base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        index += 8
        return UInt64(littleEndian: value)
    }

    /// A length-delimited field's content, as indexes into the whole buffer.
    mutating func bytes() throws(WireError) -> Range<Int> {
        let count = try varint()
        guard count <= UInt64(end - index) else { throw malformed() }
        let range = index..<(index + Int(count))
        index = range.upperBound
        return range
    }

    /// A reader for a message inside this one.
    mutating func nested(_ name: String) throws(WireError) -> WireReader {
        WireReader(base, try bytes(), message: name)
    }

    mutating func skip(_ kind: Kind) throws(WireError) {
        switch kind {
        case .varint: _ = try varint()
        case .fixed64: _ = try fixed64()
        case .bytes: _ = try bytes()
        case .fixed32:
            guard end - index >= 4 else { throw malformed() }
            index += 4
        }
    }

    /// A text field, checked for length and UTF-8.
    mutating func text(_ name: String, limitBytes: Int) throws(WireError) -> String {
        let range = try bytes()
        guard range.count <= limitBytes else {
            throw .tooLong(field: name, bytes: range.count, limitBytes: limitBytes)
        }
        return try decodeText(UnsafeRawBufferPointer(rebasing: base[range]), field: name)
    }
}

func decodeText(_ bytes: UnsafeRawBufferPointer, field: String) throws(WireError) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
        throw .invalidText(field: field)
    }
    return text
}

/// Finds the `type` of a message without decoding the rest; the last one counts, as in protobuf.
func peekType(_ bytes: UnsafeRawBufferPointer, message: String) throws(WireError) -> UInt64 {
    var reader = WireReader(bytes, bytes.indices, message: message)
    var type: UInt64?
    while let field = try reader.next() {
        if field.number == 1, field.kind == .varint {
            type = try reader.varint()
        } else {
            try reader.skip(field.kind)
        }
    }
    guard let type else { throw .missingField("type") }
    return type
}

/// Number of bytes of a value as a varint.
func varintBytes(_ value: UInt64) -> Int {
    (70 - (value | 1).leadingZeroBitCount) / 7
}

/// Writes protobuf fields into memory that has room for them.
struct WireWriter {
    private let base: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(_ base: UnsafeMutableRawBufferPointer) { self.base = base }

    mutating func byte(_ value: UInt8) {
        base[count] = value
        count += 1
    }

    mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            byte(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        byte(UInt8(truncatingIfNeeded: rest))
    }

    mutating func fixed64(_ value: UInt64) {
        base.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt64.self)
        count += 8
    }

    mutating func bytes(_ source: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(rebasing: base[count..<(count + source.count)])
            .copyMemory(from: source)
        count += source.count
    }

    mutating func bytes(_ source: [UInt8]) {
        source.withUnsafeBytes { bytes($0) }
    }

    /// Room that the caller fills.
    mutating func room(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
        count += byteCount
        return UnsafeMutableRawBufferPointer(rebasing: base[(count - byteCount)..<count])
    }
}
