import Glibc

/// The formats that pack many elements into one string.
enum PackedFormat: Sendable {
    case ziplist
    case listpack
    case intset
    case zipmap
}

/// What the entries of a packed string are to the key.
enum PackedShape: Sendable {
    /// Elements or members.
    case single
    /// Fields and values.
    case pair
    /// Members and scores.
    case scored
    /// Fields, values and deadlines.
    case withDeadline
}

/// Walks through a packed string, entry by entry, and can pause anywhere between two elements.
///
///     ziplist   total(4) tail(4) count(2) | before(1|5) form data | … ff
///     listpack  total(4)         count(2) | form data backlen(1-5) | … ff
///     intset    width(4) count(4) | integers
///     zipmap    count(1) | length(1|5) field length(1|5) free(1) value free bytes | … ff
struct PackedReader: Sendable {
    private(set) var bytes: ContiguousArray<UInt8>
    let format: PackedFormat
    let shape: PackedShape
    /// For errors: where the string's record is in the file.
    private let offset: UInt64
    private var at = 0
    /// Entries so far; compared with the header's count at the end.
    private var seen = 0
    private var width = 0
    private var isHeaderRead = false

    init(
        bytes: ContiguousArray<UInt8>, format: PackedFormat, shape: PackedShape, offset: UInt64
    ) {
        self.bytes = bytes
        self.format = format
        self.shape = shape
        self.offset = offset
    }

    private enum Entry {
        case text(start: Int, count: Int)
        case number(Int64)
    }

    private var fault: RDBError {
        switch self.format {
        case .ziplist: .corrupt(.ziplist, offset: self.offset)
        case .listpack: .corrupt(.listpack, offset: self.offset)
        case .intset: .corrupt(.intset, offset: self.offset)
        case .zipmap: .corrupt(.zipmap, offset: self.offset)
        }
    }

    /// Moves elements to `chunk` until it is full; true once there are no more.
    mutating func drain(
        into chunk: inout RDBChunk, _ limits: RDBLimits
    ) throws(RDBError) -> Bool {
        let bytes = self.bytes
        return try bytes.withUnsafeBufferPointer { buffer throws(RDBError) -> Bool in
            guard let base = buffer.baseAddress else { throw self.fault }
            if !self.isHeaderRead { try self.readHeader(base) }
            while chunk.elementCount < limits.maxChunkElements,
                chunk.bytes.count < limits.maxChunkBytes
            {
                guard let first = try self.next(base) else { return true }
                self.append(first, base, to: &chunk)
                switch self.shape {
                case .single: break
                case .pair: self.append(try self.partner(base), base, to: &chunk)
                case .scored:
                    chunk.scores.append(try self.score(try self.partner(base), base))
                case .withDeadline:
                    self.append(try self.partner(base), base, to: &chunk)
                    guard case .number(let deadline) = try self.partner(base) else {
                        throw .corrupt(.fieldDeadline, offset: self.offset)
                    }
                    chunk.deadlines.append(deadline)
                }
                chunk.elementCount += 1
            }
            return false
        }
    }

    @inline(__always)
    private func append(
        _ entry: Entry, _ base: UnsafePointer<UInt8>, to chunk: inout RDBChunk
    ) {
        switch entry {
        case .text(let start, let count):
            chunk.append(UnsafeBufferPointer(start: base + start, count: count))
        case .number(let number): chunk.append(number)
        }
    }

    private mutating func partner(_ base: UnsafePointer<UInt8>) throws(RDBError) -> Entry {
        guard let entry = try self.next(base) else {
            throw .corrupt(.oddEntries, offset: self.offset)
        }
        return entry
    }

    private func score(_ entry: Entry, _ base: UnsafePointer<UInt8>) throws(RDBError) -> Double {
        switch entry {
        case .number(let number): return Double(number)
        case .text(let start, let count):
            guard
                let score = ScoreText.parse(UnsafeBufferPointer(start: base + start, count: count))
            else { throw .corrupt(.score, offset: self.offset) }
            return score
        }
    }

    // MARK: - Headers

    private mutating func readHeader(_ base: UnsafePointer<UInt8>) throws(RDBError) {
        let count = self.bytes.count
        switch self.format {
        case .ziplist:
            guard count >= 11, Int(self.load(base, 0, UInt32.self)) == count,
                base[count - 1] == 0xff
            else { throw self.fault }
            self.at = 10
        case .listpack:
            guard count >= 7, Int(self.load(base, 0, UInt32.self)) == count,
                base[count - 1] == 0xff
            else { throw self.fault }
            self.at = 6
        case .intset:
            guard count >= 8 else { throw self.fault }
            self.width = Int(self.load(base, 0, UInt32.self))
            guard [2, 4, 8].contains(self.width),
                8 + self.width * Int(self.load(base, 4, UInt32.self)) == count
            else { throw self.fault }
            self.at = 8
        case .zipmap:
            guard count >= 2, base[count - 1] == 0xff else { throw self.fault }
            self.at = 1
        }
        self.isHeaderRead = true
    }

    @inline(__always)
    private func load<Value: FixedWidthInteger>(
        _ base: UnsafePointer<UInt8>, _ at: Int, _ type: Value.Type
    ) -> Value {
        Value(littleEndian: UnsafeRawPointer(base + at).loadUnaligned(as: Value.self))
    }

    // MARK: - Entries

    @inline(__always)
    private mutating func next(_ base: UnsafePointer<UInt8>) throws(RDBError) -> Entry? {
        switch self.format {
        case .listpack: return try self.nextOfListpack(base)
        case .ziplist: return try self.nextOfZiplist(base)
        case .intset: return self.nextOfIntset(base)
        case .zipmap: return try self.nextOfZipmap(base)
        }
    }

    /// The end byte is the last one; 65535 means that the writer did not count.
    private func checkEnd(_ base: UnsafePointer<UInt8>, countAt: Int) throws(RDBError) {
        let counted = Int(self.load(base, countAt, UInt16.self))
        guard self.at == self.bytes.count - 1, counted == 65535 || counted == self.seen else {
            throw self.fault
        }
    }

    /// That `size` bytes from `at` are there, the end byte apart.
    @inline(__always)
    private func need(_ size: Int) throws(RDBError) {
        guard size < self.bytes.count - self.at else { throw self.fault }
    }

    private mutating func text(header: Int, count: Int) throws(RDBError) -> Entry {
        guard count < self.bytes.count else { throw self.fault }
        try self.need(header + count)
        let start = self.at + header
        self.at = start + count
        return .text(start: start, count: count)
    }

    private mutating func number<Value: FixedWidthInteger>(
        _ base: UnsafePointer<UInt8>, _ type: Value.Type
    ) throws(RDBError) -> Entry {
        let size = 1 + Value.bitWidth / 8
        try self.need(size)
        let value = self.load(base, self.at + 1, type)
        self.at += size
        return .number(Int64(value))
    }

    /// Three bytes, signed.
    private mutating func number24(_ base: UnsafePointer<UInt8>) throws(RDBError) -> Entry {
        try self.need(4)
        let low = Int32(self.load(base, self.at + 1, UInt16.self))
        let high = Int32(Int8(bitPattern: base[self.at + 3]))
        self.at += 4
        return .number(Int64(high << 16 | low))
    }

    private mutating func nextOfListpack(
        _ base: UnsafePointer<UInt8>
    ) throws(RDBError) -> Entry? {
        let start = self.at
        guard start < self.bytes.count else { throw self.fault }
        let form = base[start]
        let entry: Entry
        switch form {
        case 0..<0x80:
            entry = .number(Int64(form))
            self.at += 1
        case 0x80..<0xc0: entry = try self.text(header: 1, count: Int(form & 0x3f))
        case 0xc0..<0xe0:
            try self.need(2)
            let raw = Int64(form & 0x1f) << 8 | Int64(base[start + 1])
            entry = .number(raw >= 4096 ? raw - 8192 : raw)
            self.at += 2
        case 0xe0..<0xf0:
            try self.need(2)
            entry = try self.text(
                header: 2, count: Int(form & 0x0f) << 8 | Int(base[start + 1]))
        case 0xf0:
            try self.need(5)
            entry = try self.text(header: 5, count: Int(self.load(base, start + 1, UInt32.self)))
        case 0xf1: entry = try self.number(base, Int16.self)
        case 0xf2: entry = try self.number24(base)
        case 0xf3: entry = try self.number(base, Int32.self)
        case 0xf4: entry = try self.number(base, Int64.self)
        case 0xff:
            try self.checkEnd(base, countAt: 4)
            return nil
        default: throw self.fault
        }
        self.at += Self.backLength(self.at - start)
        guard self.at < self.bytes.count else { throw self.fault }
        self.seen += 1
        return entry
    }

    /// How many bytes repeat an entry's length behind it.
    @inline(__always)
    private static func backLength(_ size: Int) -> Int {
        if size < 128 { return 1 }
        if size < 16_384 { return 2 }
        if size < 2_097_152 { return 3 }
        return size < 268_435_456 ? 4 : 5
    }

    private mutating func nextOfZiplist(_ base: UnsafePointer<UInt8>) throws(RDBError) -> Entry? {
        guard self.at < self.bytes.count else { throw self.fault }
        if base[self.at] == 0xff {
            try self.checkEnd(base, countAt: 8)
            return nil
        }
        let before = base[self.at] == 0xfe ? 5 : 1
        try self.need(before + 1)
        self.at += before
        self.seen += 1
        let form = base[self.at]
        switch form {
        case 0..<0x40: return try self.text(header: 1, count: Int(form & 0x3f))
        case 0x40..<0x80:
            try self.need(2)
            return try self.text(
                header: 2, count: Int(form & 0x3f) << 8 | Int(base[self.at + 1]))
        case 0x80..<0xc0:
            try self.need(5)
            return try self.text(
                header: 5,
                count: Int(
                    UInt32(bigEndian: self.load(base, self.at + 1, UInt32.self).littleEndian)))
        case 0xc0: return try self.number(base, Int16.self)
        case 0xd0: return try self.number(base, Int32.self)
        case 0xe0: return try self.number(base, Int64.self)
        case 0xf0: return try self.number24(base)
        case 0xf1...0xfd:
            self.at += 1
            return .number(Int64(form & 0x0f) - 1)
        case 0xfe: return try self.number(base, Int8.self)
        default: throw self.fault
        }
    }

    private mutating func nextOfIntset(_ base: UnsafePointer<UInt8>) -> Entry? {
        guard self.at < self.bytes.count else { return nil }
        defer { self.at += self.width }
        switch self.width {
        case 2: return .number(Int64(self.load(base, self.at, Int16.self)))
        case 4: return .number(Int64(self.load(base, self.at, Int32.self)))
        default: return .number(self.load(base, self.at, Int64.self))
        }
    }

    private mutating func nextOfZipmap(_ base: UnsafePointer<UInt8>) throws(RDBError) -> Entry? {
        guard self.at < self.bytes.count else { throw self.fault }
        let first = base[self.at]
        let isValue = self.seen % 2 == 1
        if first == 0xff, !isValue {
            guard self.at == self.bytes.count - 1 else { throw self.fault }
            return nil
        }
        var header = 1
        var count = Int(first)
        if first == 0xfe {
            try self.need(5)
            count = Int(self.load(base, self.at + 1, UInt32.self))
            header = 5
        } else if first == 0xff {
            throw self.fault
        }
        try self.need(header + (isValue ? 1 : 0))
        let free = isValue ? Int(base[self.at + header]) : 0
        let entry = try self.text(header: header + (isValue ? 1 : 0), count: count)
        if free > 0 {
            try self.need(free)
            self.at += free
        }
        self.seen += 1
        return entry
    }
}

/// Scores as text.
enum ScoreText {
    /// Longest text that is tried; 17 digits, signs and an exponent need 24.
    static let maxBytes = 320

    static func parse(_ text: UnsafeBufferPointer<UInt8>) -> Double? {
        guard text.count > 0, text.count <= Self.maxBytes else { return nil }
        // `strtod` would skip blanks before the number.
        guard text[0] > 0x20 else { return nil }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: text.count + 1) { copy in
            for index in 0..<text.count { copy[index] = CChar(bitPattern: text[index]) }
            copy[text.count] = 0
            guard let start = copy.baseAddress else { return nil }
            var end: UnsafeMutablePointer<CChar>?
            let value = strtod(start, &end)
            return end == start + text.count ? value : nil
        }
    }
}
