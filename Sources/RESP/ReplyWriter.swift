import Glibc

/// Protocol that a connection speaks; RESP2 until `HELLO 3`.
public enum ProtocolVersion: UInt8, Sendable {
    /// RESP2: no maps, sets, doubles or nulls of their own.
    case resp2 = 2
    /// RESP3.
    case resp3 = 3
}

/// Appends replies to a growable byte buffer that an event loop owns and reuses.
///
/// What RESP2 has no type for is written as Redis writes it there: maps and sets as arrays,
/// doubles, big numbers and verbatim text as bulk strings, booleans as integers.
public struct ReplyWriter: ~Copyable {
    @usableFromInline var base: UnsafeMutablePointer<UInt8>
    @usableFromInline var capacity: Int
    @usableFromInline var length: Int
    /// Protocol of the connection that is being answered.
    public var version: ProtocolVersion
    /// Longest reply, in bytes, that is kept (`beginReply()`).
    public var replyLimitBytes = Int.max
    /// Where the reply begins that is being written.
    @usableFromInline var replyStart = 0
    /// True when the buffer did not grow for a reply beyond its limit.
    @usableFromInline var hasDropped = false
    /// True when a reply came to more than its limit: what was written of it may be lost, and what
    /// follows is worth nothing.
    @inlinable public var hasOverflowed: Bool {
        self.hasDropped || self.length - self.replyStart > self.replyLimitBytes
    }

    /// Bytes that a new writer has room for.
    private static let initialCapacity = 16 * 1024
    /// A larger buffer than this is given back by `clear`.
    private static let keptCapacity = 1024 * 1024

    /// Makes an empty writer.
    public init(version: ProtocolVersion = .resp2) {
        self.base = .allocate(capacity: Self.initialCapacity)
        self.capacity = Self.initialCapacity
        self.length = 0
        self.version = version
    }

    deinit { self.base.deallocate() }

    /// Number of bytes written since the last `clear`.
    @inlinable public var count: Int { self.length }

    /// What was written; valid until the next call that changes the writer.
    @inlinable public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.base, count: self.length)
    }

    /// Forgets everything written; gives back an unusually large buffer.
    public mutating func clear() {
        self.length = 0
        guard self.capacity > Self.keptCapacity else { return }
        self.base.deallocate()
        self.base = .allocate(capacity: Self.initialCapacity)
        self.capacity = Self.initialCapacity
    }

    /// Hands out everything written, without a copy, and begins anew with an empty buffer.
    public mutating func takeBuffer() -> ReplyBuffer {
        let taken = ReplyBuffer(base: self.base, count: self.length)
        self.base = .allocate(capacity: Self.initialCapacity)
        self.capacity = Self.initialCapacity
        self.length = 0
        return taken
    }

    /// Cuts the output back to `count` bytes: replies of commands that failed to commit.
    @inlinable
    public mutating func truncate(to count: Int) {
        if self.hasOverflowed, count > self.length { return }
        precondition(count <= self.length, "reply output holds \(self.length), not \(count)")
        self.length = count
    }

    // MARK: A limited reply

    /// A reply begins: with `replyLimitBytes` it may not come to more than that.
    ///
    /// Beyond the limit the buffer does not grow, so that writing on costs next to nothing.
    @inlinable @inline(__always)
    public mutating func beginReply() { self.replyStart = self.length }

    /// Goes on behind a reply that overflowed, of which nothing is kept.
    public mutating func dropOverflow() {
        self.hasDropped = false
        self.length = min(self.length, self.replyStart)
    }

    // MARK: Room

    @inlinable @inline(__always)
    mutating func reserve(_ bytes: Int) {
        if self.capacity - self.length < bytes { self.grow(by: bytes) }
    }

    @inline(never) @usableFromInline
    mutating func grow(by bytes: Int) {
        if self.length - self.replyStart + bytes > self.replyLimitBytes {
            self.hasDropped = true
            self.length = self.replyStart
            guard self.capacity - self.length < bytes else { return }
        }
        let wanted = max(self.capacity * 2, self.length + bytes)
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: wanted)
        memcpy(larger, self.base, self.length)
        self.base.deallocate()
        self.base = larger
        self.capacity = wanted
    }

    @inlinable @inline(__always)
    mutating func put(_ byte: UInt8) {
        self.base[self.length] = byte
        self.length &+= 1
    }

    @inlinable @inline(__always)
    mutating func putLineEnd() {
        self.base[self.length] = 0x0d
        self.base[self.length &+ 1] = 0x0a
        self.length &+= 2
    }

    /// Type byte, number, line end; at most 1 + 20 + 2 bytes.
    @inlinable @inline(__always)
    mutating func putHeader(_ type: UInt8, _ value: Int64) {
        self.put(type)
        if value >= 0, value < 10 {
            self.put(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value))
        } else {
            self.length += Decimal.write(value, to: self.base + self.length)
        }
        self.putLineEnd()
    }

    /// Room for the longest header.
    @inlinable static var headerBytes: Int { Decimal.maxBytes + 4 }

    // MARK: Replies

    /// Bytes that are already a reply, such as one kept from elsewhere.
    public mutating func raw(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        self.reserve(bytes.count)
        memcpy(self.base + self.length, start, bytes.count)
        self.length += bytes.count
    }

    /// Literal bytes that are already a reply.
    @inlinable @inline(__always)
    public mutating func raw(_ text: StaticString) {
        let count = text.utf8CodeUnitCount
        self.reserve(count)
        (self.base + self.length).update(from: text.utf8Start, count: count)
        self.length &+= count
    }

    /// `+OK`.
    @inlinable @inline(__always)
    public mutating func ok() { self.raw("+OK\r\n") }

    /// A simple string.
    public mutating func simple(_ text: StaticString) {
        self.raw("+")
        self.raw(text)
        self.raw("\r\n")
    }

    /// A simple string made at run time; line ends in it become blanks.
    public mutating func simple(_ text: String) {
        self.line(UInt8(ascii: "+"), text)
    }

    /// An error: code word and text, without the leading `-`.
    public mutating func error(_ text: StaticString) {
        self.raw("-")
        self.raw(text)
        self.raw("\r\n")
    }

    /// An error made at run time; line ends in it become blanks.
    public mutating func error(_ text: String) {
        self.line(UInt8(ascii: "-"), text)
    }

    private mutating func line(_ type: UInt8, _ text: String) {
        var text = text
        text.withUTF8 { utf8 in
            self.reserve(utf8.count + 3)
            self.put(type)
            for byte in utf8 { self.put(byte == 0x0d || byte == 0x0a ? 0x20 : byte) }
            self.putLineEnd()
        }
    }

    /// An integer.
    @inlinable @inline(__always)
    public mutating func integer(_ value: Int64) {
        self.reserve(Self.headerBytes)
        self.putHeader(UInt8(ascii: ":"), value)
    }

    /// An integer.
    @inlinable @inline(__always)
    public mutating func integer(_ value: Int) { self.integer(Int64(value)) }

    /// A bulk string.
    @inlinable @inline(__always)
    public mutating func bulk(_ bytes: UnsafeRawBufferPointer) {
        let count = bytes.count
        self.reserve(Self.headerBytes + count + 2)
        self.putHeader(UInt8(ascii: "$"), Int64(count))
        if let start = bytes.baseAddress, count > 0 {
            UnsafeMutableRawPointer(self.base + self.length).copyMemory(
                from: start, byteCount: count)
            self.length &+= count
        }
        self.putLineEnd()
    }

    /// A bulk string of a literal.
    public mutating func bulk(_ text: StaticString) {
        self.bulk(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// A bulk string of text made at run time.
    public mutating func bulk(_ text: String) {
        var text = text
        text.withUTF8 { self.bulk(UnsafeRawBufferPointer($0)) }
    }

    /// A bulk string that holds a number.
    @inlinable
    public mutating func bulk(integer value: Int64) {
        self.reserve(2 * Self.headerBytes)
        let width = Decimal.width(value.magnitude) + (value < 0 ? 1 : 0)
        self.putHeader(UInt8(ascii: "$"), Int64(width))
        self.length += Decimal.write(value, to: self.base + self.length)
        self.putLineEnd()
    }

    /// The null of a missing value.
    @inlinable @inline(__always)
    public mutating func null() {
        if self.version == .resp2 { self.raw("$-1\r\n") } else { self.raw("_\r\n") }
    }

    /// The null of a missing array.
    @inlinable @inline(__always)
    public mutating func nullArray() {
        if self.version == .resp2 { self.raw("*-1\r\n") } else { self.raw("_\r\n") }
    }

    /// Announces an array of `count` elements, which must follow.
    @inlinable @inline(__always)
    public mutating func array(_ count: Int) {
        self.reserve(Self.headerBytes)
        self.putHeader(UInt8(ascii: "*"), Int64(count))
    }

    /// Announces a message of `count` elements that is no reply, which must follow.
    public mutating func push(_ count: Int) {
        self.reserve(Self.headerBytes)
        self.putHeader(self.version == .resp2 ? UInt8(ascii: "*") : UInt8(ascii: ">"), Int64(count))
    }

    /// Announces a map of `count` pairs, which must follow.
    @inlinable
    public mutating func map(_ count: Int) {
        self.reserve(Self.headerBytes)
        if self.version == .resp2 {
            self.putHeader(UInt8(ascii: "*"), Int64(count * 2))
        } else {
            self.putHeader(UInt8(ascii: "%"), Int64(count))
        }
    }

    /// Announces a set of `count` elements, which must follow.
    @inlinable
    public mutating func set(_ count: Int) {
        self.reserve(Self.headerBytes)
        self.putHeader(self.version == .resp2 ? UInt8(ascii: "*") : UInt8(ascii: "~"), Int64(count))
    }

    /// A truth value.
    public mutating func boolean(_ value: Bool) {
        if self.version == .resp2 {
            self.integer(value ? 1 : 0)
        } else if value {
            self.raw("#t\r\n")
        } else {
            self.raw("#f\r\n")
        }
    }

    /// A double whose text is given, as Redis formats it.
    public mutating func double(text: UnsafeRawBufferPointer) {
        guard self.version == .resp3 else { return self.bulk(text) }
        self.raw(",")
        self.raw(text)
        self.raw("\r\n")
    }

    /// A large integer whose decimal text is given.
    public mutating func bigNumber(text: UnsafeRawBufferPointer) {
        guard self.version == .resp3 else { return self.bulk(text) }
        self.raw("(")
        self.raw(text)
        self.raw("\r\n")
    }

    /// Text for people, with a three-letter format; a bulk string for RESP2.
    public mutating func verbatim(_ text: UnsafeRawBufferPointer, format: StaticString = "txt") {
        guard self.version == .resp3 else { return self.bulk(text) }
        precondition(format.utf8CodeUnitCount == 3, "verbatim formats have three letters")
        self.reserve(Self.headerBytes + text.count + 6)
        self.putHeader(UInt8(ascii: "="), Int64(text.count + 4))
        self.raw(format)
        self.raw(":")
        self.raw(text)
        self.raw("\r\n")
    }

    // MARK: Aggregates of unknown size

    /// Kind of an aggregate whose size is known only at its end.
    public enum Aggregate: Sendable {
        /// An array.
        case array
        /// A set.
        case set
        /// A map; its size counts pairs.
        case map
    }

    /// Inserts the header of an aggregate in front of what was written since `start`.
    ///
    /// - Parameters:
    ///   - kind: array, set or map.
    ///   - count: elements (pairs of a map) written since `start`.
    ///   - start: `self.count` before the first element.
    public mutating func insertHeader(_ kind: Aggregate, count: Int, at start: Int) {
        self.insert(at: start) { writer in
            switch kind {
            case .array: writer.array(count)
            case .set: writer.set(count)
            case .map: writer.map(count)
            }
        }
    }

    /// Moves what `write` appends in front of what was written since `start`.
    public mutating func insert(at start: Int, _ write: (inout ReplyWriter) -> Void) {
        let bodyEnd = self.length
        write(&self)
        if self.hasOverflowed { return }
        let inserted = self.length - bodyEnd
        let bodyBytes = bodyEnd - start
        guard inserted > 0, bodyBytes > 0 else { return }
        withUnsafeTemporaryAllocation(byteCount: inserted, alignment: 1) { saved in
            guard let copy = saved.baseAddress else { return }
            memcpy(copy, self.base + bodyEnd, inserted)
            memmove(self.base + start + inserted, self.base + start, bodyBytes)
            memcpy(self.base + start, copy, inserted)
        }
    }
}

/// Replies that a writer gave away; the memory goes with the last reference.
public final class ReplyBuffer: @unchecked Sendable {
    // SAFETY: nothing changes after `init`.
    private let base: UnsafeMutablePointer<UInt8>
    /// Number of bytes.
    public let count: Int

    fileprivate init(base: UnsafeMutablePointer<UInt8>, count: Int) {
        self.base = base
        self.count = count
    }

    deinit { self.base.deallocate() }

    /// The bytes; valid as long as the buffer.
    public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.base, count: self.count)
    }
}
