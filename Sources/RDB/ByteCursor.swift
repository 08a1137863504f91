/// Reads forward over bytes that are in memory; `truncated` means that more must come.
struct ByteCursor {
    let base: UnsafePointer<UInt8>
    let count: Int
    /// The file's offset of `base`.
    let origin: UInt64
    var at = 0

    /// Where `at` is in the file.
    var offset: UInt64 { self.origin + UInt64(self.at) }

    @inline(__always)
    func need(_ bytes: Int) throws(RDBError) {
        guard bytes <= self.count - self.at else { throw .truncated(offset: self.offset) }
    }

    @inline(__always)
    mutating func byte() throws(RDBError) -> UInt8 {
        try self.need(1)
        let byte = self.base[self.at]
        self.at += 1
        return byte
    }

    /// An integer in the file's usual order, lowest byte first.
    @inline(__always)
    mutating func little<Value: FixedWidthInteger>(_ type: Value.Type) throws(RDBError) -> Value {
        let size = Value.bitWidth / 8
        try self.need(size)
        let value = UnsafeRawPointer(self.base + self.at).loadUnaligned(as: Value.self)
        self.at += size
        return Value(littleEndian: value)
    }

    @inline(__always)
    mutating func big<Value: FixedWidthInteger>(_ type: Value.Type) throws(RDBError) -> Value {
        Value(bigEndian: Value(littleEndian: try self.little(type)))
    }

    mutating func skip(_ bytes: Int) throws(RDBError) {
        try self.need(bytes)
        self.at += bytes
    }

    /// What the first bytes of a string say about it.
    enum StringForm {
        case plain(count: UInt64)
        case integer(Int64)
        case compressed(packed: UInt64, unpacked: UInt64)
    }

    /// A length; the string forms are errors here.
    @inline(__always)
    mutating func length() throws(RDBError) -> UInt64 {
        let first = try self.byte()
        if first < 0x40 { return UInt64(first) }
        return try self.longLength(first)
    }

    private mutating func longLength(_ first: UInt8) throws(RDBError) -> UInt64 {
        switch first {
        case 0x40...0x7f: return UInt64(first & 0x3f) << 8 | UInt64(try self.byte())
        case 0x80: return UInt64(try self.big(UInt32.self))
        case 0x81: return try self.big(UInt64.self)
        case 0xc0...0xff: throw .corrupt(.encodedLength, offset: self.offset - 1)
        default: throw .corrupt(.lengthByte, offset: self.offset - 1)
        }
    }

    @inline(__always)
    mutating func stringForm() throws(RDBError) -> StringForm {
        try self.need(1)
        if self.base[self.at] < 0xc0 { return .plain(count: try self.length()) }
        let form = try self.byte()
        switch form {
        case 0xc0: return .integer(Int64(try self.little(Int8.self)))
        case 0xc1: return .integer(Int64(try self.little(Int16.self)))
        case 0xc2: return .integer(Int64(try self.little(Int32.self)))
        case 0xc3:
            let packed = try self.length()
            let unpacked = try self.length()
            // Three bytes give at most 264: what claims more than that can't be true.
            guard unpacked > 0, packed > 0, packed <= UInt64.max / 128, unpacked / 88 <= packed
            else {
                throw .corrupt(.compressedString, offset: self.offset)
            }
            return .compressed(packed: packed, unpacked: unpacked)
        default: throw .corrupt(.stringForm, offset: self.offset - 1)
        }
    }

    /// Appends a string, unpacked; nothing is appended before all of its bytes are there.
    mutating func string(
        into bytes: inout ContiguousArray<UInt8>, limit: Int
    ) throws(RDBError) {
        switch try self.stringForm() {
        case .plain(let count):
            let count = try self.bounded(count, limit)
            try self.need(count)
            bytes.append(contentsOf: UnsafeBufferPointer(start: self.base + self.at, count: count))
            self.at += count
        case .integer(let number): DecimalText.append(number, to: &bytes)
        case .compressed(let packed, let unpacked):
            let packed = try self.bounded(packed, limit)
            let unpacked = try self.bounded(unpacked, limit)
            try self.need(packed)
            let input = UnsafeBufferPointer(start: self.base + self.at, count: packed)
            guard LZF.unpack(input, count: unpacked, appendingTo: &bytes) else {
                throw .corrupt(.compressedString, offset: self.offset)
            }
            self.at += packed
        }
    }

    mutating func string(limit: Int) throws(RDBError) -> [UInt8] {
        var bytes = ContiguousArray<UInt8>()
        try self.string(into: &bytes, limit: limit)
        return Array(bytes)
    }

    mutating func skipString(limit: Int) throws(RDBError) {
        switch try self.stringForm() {
        case .plain(let count): try self.skip(try self.bounded(count, limit))
        case .integer: break
        case .compressed(let packed, _): try self.skip(try self.bounded(packed, limit))
        }
    }

    func bounded(_ size: UInt64, _ limit: Int) throws(RDBError) -> Int {
        guard size <= UInt64(limit) else {
            throw .elementTooLarge(sizeBytes: size, limitBytes: limit, offset: self.offset)
        }
        return Int(size)
    }
}
