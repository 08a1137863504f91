/// Writes an RDB file in plain encodings, piece by piece.
///
///     var writer = RDBWriter(version: 9)
///     writer.auxiliary("redis-bits", "64")
///     writer.selectDatabase(0)
///     writer.beginKey(name, kind: .hash, elementCount: 2, deadlineMilliseconds: nil)
///     writer.append(field: f, value: v); writer.append(field: g, value: w)
///     file.write(writer.takeBytes())          // as often as one likes
///     writer.end()
///     file.write(writer.takeBytes())
///
/// The element count stands before the elements. Where it is not known, `beginOpenKey` leaves room for
/// it, and `endOpenKey` fills it in, or tells which bytes of the file are to be written anew.
/// Redis 5 and newer load version 9, Redis 7.2 and Valkey version 11; the encodings are the same.
public struct RDBWriter: Sendable {
    private var bytes = ContiguousArray<UInt8>()
    private var crc = CRC64()
    /// Elements that the key under way still needs.
    private var missing: UInt64 = 0
    /// The key whose length is filled in at its end.
    private var open: OpenLength?
    /// Bytes that were handed out.
    private var takenCount: UInt64 = 0

    private struct OpenLength {
        /// Where its eight bytes stand in the file.
        var offset: UInt64
        var value: UInt64 = 0
        var isText: Bool
    }

    /// A writer that has written the header; `version` is 5 to 12.
    public init(version: Int = 9) {
        precondition((5...12).contains(version), "this version is not written")
        let digits = version < 10 ? "000\(version)" : "00\(version)"
        self.bytes.append(contentsOf: "REDIS\(digits)".utf8)
    }

    /// Bytes that wait to be taken.
    public var pendingCount: Int { self.bytes.count }

    /// Hands out what was written since the last call.
    public mutating func takeBytes() -> ContiguousArray<UInt8> {
        self.bytes.withUnsafeBytes { self.crc.update($0) }
        self.takenCount += UInt64(self.bytes.count)
        defer { self.bytes = ContiguousArray() }
        return self.bytes
    }

    /// A note for readers.
    public mutating func auxiliary(_ name: String, _ value: String) {
        self.bytes.append(250)
        self.append(text: Array(name.utf8))
        self.append(text: Array(value.utf8))
    }

    /// The database of the keys that follow.
    public mutating func selectDatabase(_ database: UInt64) {
        precondition(self.missing == 0 && self.open == nil, "the key before is incomplete")
        self.bytes.append(254)
        RDBEncoding.append(length: database, to: &self.bytes)
    }

    /// How many keys will come: a hint.
    public mutating func resizeDatabase(keys: UInt64, expiring: UInt64) {
        self.bytes.append(251)
        RDBEncoding.append(length: keys, to: &self.bytes)
        RDBEncoding.append(length: expiring, to: &self.bytes)
    }

    /// Begins a key; exactly `elementCount` elements must follow (one for a string).
    ///
    /// Servers refuse collections without elements; streams and modules can't be written.
    public mutating func beginKey(
        _ name: [UInt8], kind: RDBKind, elementCount: UInt64, deadlineMilliseconds: Int64?
    ) {
        self.beginKey(name, kind, deadlineMilliseconds)
        if kind != .string { RDBEncoding.append(length: elementCount, to: &self.bytes) }
        self.missing = kind == .string ? 1 : elementCount
    }

    /// Begins a key whose number of elements is not known, or a string whose length is not; at least one
    /// element, or the pieces of the string, must follow, then ``endOpenKey()``.
    public mutating func beginOpenKey(
        _ name: [UInt8], kind: RDBKind, deadlineMilliseconds: Int64?
    ) {
        self.beginKey(name, kind, deadlineMilliseconds)
        // A length of 64 bits, of whatever value.
        self.bytes.append(0x81)
        self.open = OpenLength(
            offset: self.takenCount + UInt64(self.bytes.count), isText: kind == .string)
        RDBEncoding.appendBig(UInt64(0), to: &self.bytes)
    }

    /// Adds a piece of a string that was begun by ``beginOpenKey(_:kind:deadlineMilliseconds:)``.
    public mutating func append(piece: some Collection<UInt8>) {
        precondition(self.open?.isText == true, "no string is under way")
        self.bytes.append(contentsOf: piece)
        self.open?.value += UInt64(piece.count)
    }

    /// Ends a key that was begun open.
    ///
    /// - Returns: What must replace bytes that were handed out already; nil = nothing.
    public mutating func endOpenKey() -> RDBPatch? {
        guard let open = self.open else { preconditionFailure("no key is open") }
        precondition(open.isText || open.value > 0, "a collection without elements")
        self.open = nil
        let length = withUnsafeBytes(of: open.value.bigEndian) { Array($0) }
        guard open.offset < self.takenCount else {
            let at = Int(open.offset - self.takenCount)
            for (index, byte) in length.enumerated() { self.bytes[at + index] = byte }
            return nil
        }
        // There were zeros: the difference is the length itself.
        let change = CRC64(value: CRC64.checksum(length)).followedByZeros(
            self.takenCount - open.offset - UInt64(length.count))
        self.crc = CRC64(value: self.crc.value ^ change.value)
        return RDBPatch(offset: open.offset, bytes: length)
    }

    private mutating func beginKey(_ name: [UInt8], _ kind: RDBKind, _ deadline: Int64?) {
        precondition(self.missing == 0 && self.open == nil, "the key before is incomplete")
        guard let encoding = RDBEncoding.number(of: kind) else {
            preconditionFailure("no \(kind) is written")
        }
        if let deadline {
            self.bytes.append(252)
            RDBEncoding.appendLittle(deadline, to: &self.bytes)
        }
        self.bytes.append(encoding)
        self.append(text: name)
    }

    /// Adds the string, an element of a list or a member of a set.
    public mutating func append(_ text: UnsafeRawBufferPointer) {
        self.countElement()
        RDBEncoding.append(text: text, to: &self.bytes)
    }

    /// Adds the string, an element of a list or a member of a set.
    public mutating func append(_ text: [UInt8]) {
        text.withUnsafeBytes { self.append($0) }
    }

    /// Adds a field of a hash.
    public mutating func append(field: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        self.countElement()
        RDBEncoding.append(text: field, to: &self.bytes)
        RDBEncoding.append(text: value, to: &self.bytes)
    }

    /// Adds a field of a hash.
    public mutating func append(field: [UInt8], value: [UInt8]) {
        field.withUnsafeBytes { field in
            value.withUnsafeBytes { self.append(field: field, value: $0) }
        }
    }

    /// Adds a member of a sorted set; servers refuse NaN.
    public mutating func append(member: UnsafeRawBufferPointer, score: Double) {
        self.countElement()
        RDBEncoding.append(text: member, to: &self.bytes)
        RDBEncoding.appendLittle(score.bitPattern, to: &self.bytes)
    }

    /// Adds a member of a sorted set; servers refuse NaN.
    public mutating func append(member: [UInt8], score: Double) {
        member.withUnsafeBytes { self.append(member: $0, score: score) }
    }

    /// The end record and the checksum of everything.
    public mutating func end() {
        precondition(self.missing == 0 && self.open == nil, "the key before is incomplete")
        self.bytes.append(255)
        var crc = self.crc
        self.bytes.withUnsafeBytes { crc.update($0) }
        RDBEncoding.appendLittle(crc.value, to: &self.bytes)
    }

    private mutating func countElement() {
        if self.open?.isText == false {
            self.open?.value += 1
            return
        }
        precondition(self.missing > 0, "more elements than were announced")
        self.missing -= 1
    }

    private mutating func append(text: [UInt8]) {
        text.withUnsafeBytes { RDBEncoding.append(text: $0, to: &self.bytes) }
    }
}

/// Bytes of a file that are to be written over those that stand there.
public struct RDBPatch: Sendable, Equatable {
    /// Where, in bytes from the file's beginning.
    public var offset: UInt64
    /// What.
    public var bytes: [UInt8]
}
