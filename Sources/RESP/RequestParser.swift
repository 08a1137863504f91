import Glibc

/// What the parser found at the start of its input.
public enum ParseOutcome: Equatable, Sendable {
    /// One request; its arguments are in `RequestParser.arguments`; `end` is the offset behind it.
    case request(end: Int)
    /// An empty line or an empty array: nothing to execute; `end` is the offset behind it.
    case nothing(end: Int)
    /// The request is not complete; it can't be before the input is `needed` bytes long.
    case incomplete(needed: Int)
    /// Not a request; the connection must be closed after an error reply.
    case failure(RequestError)
}

/// Finds requests (multibulk or inline) in a byte buffer, without copying arguments.
///
/// One parser serves all connections of an event loop: it keeps only the argument array and the
/// scratch space for unquoted inline arguments, nothing about a connection. An incomplete request
/// is parsed again from its start when more bytes are there; `needed` keeps that from being
/// quadratic.
public struct RequestParser: ~Copyable {
    /// The limits of requests.
    public var limits: RequestLimits
    private var slots: UnsafeMutablePointer<UnsafeRawBufferPointer>
    private var capacity: Int
    private var count: Int
    private var scratch: UnsafeMutableRawBufferPointer

    /// Argument slots that a new parser has, and shrinks back to.
    private static let initialCapacity = 64
    /// A larger argument array than this is given back when the next request is small.
    private static let keptCapacity = 16_384
    /// From this many missing arguments on, `needed` counts their least size too.
    private static let manyArguments = 1_024
    /// `$0\r\n\r\n`: no argument is shorter on the wire.
    private static let leastArgumentBytes = 6

    /// Makes a parser with room for a few arguments.
    public init(limits: RequestLimits = RequestLimits()) {
        self.limits = limits
        self.slots = .allocate(capacity: Self.initialCapacity)
        self.capacity = Self.initialCapacity
        self.count = 0
        self.scratch = .allocate(byteCount: 0, alignment: 1)
    }

    deinit {
        self.slots.deallocate()
        self.scratch.deallocate()
    }

    /// The arguments of the last request; valid as long as its input, and until the next `parse`.
    @inlinable public var arguments: UnsafeBufferPointer<UnsafeRawBufferPointer> {
        self.argumentSlots
    }

    @usableFromInline var argumentSlots: UnsafeBufferPointer<UnsafeRawBufferPointer> {
        UnsafeBufferPointer(start: self.slots, count: self.count)
    }

    /// Parses one request that starts at `offset` of `input`.
    ///
    /// - Parameters:
    ///   - input: the connection's unread bytes.
    ///   - offset: where the request starts.
    ///   - authenticated: false applies the tighter limits of clients without a password.
    public mutating func parse(
        _ input: UnsafeRawBufferPointer, from offset: Int, authenticated: Bool
    ) -> ParseOutcome {
        guard offset < input.count else { return .incomplete(needed: offset + 1) }
        if input[offset] == UInt8(ascii: "*") {
            return self.parseMultibulk(input, from: offset, authenticated: authenticated)
        }
        return self.parseInline(input, from: offset)
    }

    private mutating func parseMultibulk(
        _ input: UnsafeRawBufferPointer, from offset: Int, authenticated: Bool
    ) -> ParseOutcome {
        guard let base = input.baseAddress else { return .incomplete(needed: offset + 1) }
        let end = input.count
        var position = offset + 1
        var total = 0
        switch Self.readCount(base, from: &position, end: end) {
        case .value(let value): total = value
        case .incomplete:
            return end - offset > self.limits.maxInlineBytes
                ? .failure(.multibulkCountTooLong) : .incomplete(needed: end + 1)
        case .bad: return .failure(.invalidMultibulkLength)
        }
        guard total > 0 else { return .nothing(end: position) }
        guard total <= self.limits.maxArguments else { return .failure(.invalidMultibulkLength) }
        var maxBulk = self.limits.maxBulkBytes
        if !authenticated {
            guard total <= self.limits.maxArgumentsBeforeAuthentication else {
                return .failure(.unauthenticatedMultibulkLength)
            }
            maxBulk = min(maxBulk, self.limits.maxBulkBytesBeforeAuthentication)
        }
        self.shrinkIfLarge(total)
        var index = 0
        while index < total {
            guard position < end else {
                return .incomplete(needed: self.needed(end: end, missing: total - index))
            }
            guard base.load(fromByteOffset: position, as: UInt8.self) == UInt8(ascii: "$") else {
                return .failure(
                    .expectedBulk(found: base.load(fromByteOffset: position, as: UInt8.self)))
            }
            let lineStart = position
            position += 1
            var length = 0
            switch Self.readCount(base, from: &position, end: end) {
            case .value(let value): length = value
            case .incomplete:
                return end - lineStart > self.limits.maxInlineBytes
                    ? .failure(.bulkCountTooLong)
                    : .incomplete(needed: self.needed(end: end, missing: total - index))
            case .bad: return .failure(.invalidBulkLength)
            }
            guard length >= 0, length <= maxBulk else {
                return .failure(
                    length > 0 && length <= self.limits.maxBulkBytes
                        ? .unauthenticatedBulkLength : .invalidBulkLength)
            }
            guard end - position >= length + 2 else {
                let least = position + length + 2
                return .incomplete(needed: self.needed(end: least, missing: total - index - 1))
            }
            if index == self.capacity { self.grow(filled: index, to: total) }
            self.slots[index] = UnsafeRawBufferPointer(start: base + position, count: length)
            index += 1
            position += length + 2
        }
        self.count = total
        return .request(end: position)
    }

    /// The least input length at which `missing` more arguments behind `end` can be there.
    private func needed(end: Int, missing: Int) -> Int {
        guard missing > Self.manyArguments else { return max(end, 1) }
        return end + missing * Self.leastArgumentBytes
    }

    private enum Count { case value(Int), incomplete, bad }

    /// Reads a decimal number and its CRLF; leaves `position` behind the line.
    @inline(__always)
    private static func readCount(
        _ base: UnsafeRawPointer, from position: inout Int, end: Int
    ) -> Count {
        // The usual count is one to three digits: no scan for the line end.
        var cursor = position
        var value = 0
        while cursor < end {
            let digit = base.load(fromByteOffset: cursor, as: UInt8.self) &- UInt8(ascii: "0")
            guard digit <= 9, cursor - position < 9 else { break }
            value = value &* 10 &+ Int(digit)
            cursor += 1
        }
        if cursor > position, cursor + 1 < end,
            base.load(fromByteOffset: cursor, as: UInt8.self) == UInt8(ascii: "\r"),
            cursor - position == 1
                || base.load(fromByteOffset: position, as: UInt8.self) != UInt8(ascii: "0")
        {
            position = cursor + 2
            return .value(value)
        }
        return self.readUnusualCount(base, from: &position, end: end)
    }

    @inline(never)
    private static func readUnusualCount(
        _ base: UnsafeRawPointer, from position: inout Int, end: Int
    ) -> Count {
        guard let found = memchr(base + position, Int32(UInt8(ascii: "\r")), end - position) else {
            return .incomplete
        }
        let lineEnd = UnsafeRawPointer(found) - base
        guard lineEnd + 1 < end else { return .incomplete }
        let text = UnsafeRawBufferPointer(start: base + position, count: lineEnd - position)
        guard let value = Decimal.parseInteger(text), let narrow = Int32(exactly: value) else {
            return .bad
        }
        position = lineEnd + 2
        return .value(Int(narrow))
    }

    @inline(never)
    private mutating func grow(filled: Int, to wanted: Int) {
        // Doubling keeps a hostile count from reserving memory that its arguments never fill.
        let bigger = max(filled + 1, min(wanted, self.capacity * 2))
        let slots = UnsafeMutablePointer<UnsafeRawBufferPointer>.allocate(capacity: bigger)
        slots.initialize(from: self.slots, count: filled)
        self.slots.deallocate()
        self.slots = slots
        self.capacity = bigger
    }

    @inline(__always)
    private mutating func shrinkIfLarge(_ wanted: Int) {
        guard self.capacity > Self.keptCapacity, wanted <= Self.initialCapacity else { return }
        self.slots.deallocate()
        self.slots = .allocate(capacity: Self.initialCapacity)
        self.capacity = Self.initialCapacity
        self.count = 0
    }
}

// MARK: - Inline requests

extension RequestParser {
    private mutating func parseInline(
        _ input: UnsafeRawBufferPointer, from offset: Int
    ) -> ParseOutcome {
        let rest = UnsafeRawBufferPointer(rebasing: input[offset...])
        guard let base = rest.baseAddress,
            let found = memchr(base, Int32(UInt8(ascii: "\n")), rest.count)
        else {
            return rest.count > self.limits.maxInlineBytes
                ? .failure(.inlineTooLong) : .incomplete(needed: input.count + 1)
        }
        let newline = UnsafeRawPointer(found) - base
        guard newline <= self.limits.maxInlineBytes else { return .failure(.inlineTooLong) }
        var length = newline
        if length > 0, rest[length - 1] == UInt8(ascii: "\r") { length -= 1 }
        let line = UnsafeRawBufferPointer(start: base, count: length)
        guard self.split(line) else { return .failure(.unbalancedQuotes) }
        let end = offset + newline + 1
        return self.count == 0 ? .nothing(end: end) : .request(end: end)
    }

    /// Splits a line as Redis's `sdssplitargs` does; false when the quotes do not match.
    private mutating func split(_ line: UnsafeRawBufferPointer) -> Bool {
        self.count = 0
        if self.scratch.count < line.count {
            self.scratch.deallocate()
            self.scratch = .allocate(byteCount: max(line.count, 256), alignment: 1)
        }
        var splitter = InlineSplitter(line: line, output: self.scratch)
        while true {
            switch splitter.next() {
            case .end: return true
            case .unbalanced: return false
            case .argument(let start, let length):
                if self.count == self.capacity { self.grow(filled: self.count, to: .max) }
                self.slots[self.count] = UnsafeRawBufferPointer(
                    rebasing: self.scratch[start..<start + length])
                self.count += 1
            }
        }
    }
}

/// Takes the arguments out of one inline line; unescaped bytes are never longer than escaped ones.
private struct InlineSplitter {
    let line: UnsafeRawBufferPointer
    let output: UnsafeMutableRawBufferPointer
    var position = 0
    var written = 0

    enum Step { case argument(start: Int, length: Int), end, unbalanced }

    mutating func next() -> Step {
        while self.position < self.line.count, Self.isBlank(self.line[self.position]) {
            self.position += 1
        }
        guard self.position < self.line.count else { return .end }
        let start = self.written
        while self.position < self.line.count {
            let byte = self.line[self.position]
            switch byte {
            case UInt8(ascii: "\""):
                self.position += 1
                guard self.takeDoubleQuoted() else { return .unbalanced }
                return .argument(start: start, length: self.written - start)
            case UInt8(ascii: "'"):
                self.position += 1
                guard self.takeSingleQuoted() else { return .unbalanced }
                return .argument(start: start, length: self.written - start)
            case 0:
                // Redis's splitter works on C strings: a NUL ends the line.
                self.position = self.line.count
            default:
                if Self.isBlank(byte) {
                    return .argument(start: start, length: self.written - start)
                }
                self.put(byte)
                self.position += 1
            }
        }
        return .argument(start: start, length: self.written - start)
    }

    private mutating func takeDoubleQuoted() -> Bool {
        while self.position < self.line.count {
            let byte = self.line[self.position]
            if byte == UInt8(ascii: "\"") {
                self.position += 1
                return self.atBoundary
            }
            if byte == UInt8(ascii: "\\"), self.position + 1 < self.line.count {
                self.takeEscape()
            } else {
                self.put(byte)
                self.position += 1
            }
        }
        return false
    }

    private mutating func takeEscape() {
        let code = self.line[self.position + 1]
        if code == UInt8(ascii: "x"), self.position + 3 < self.line.count,
            let high = Self.hex(self.line[self.position + 2]),
            let low = Self.hex(self.line[self.position + 3])
        {
            self.put(high << 4 | low)
            self.position += 4
            return
        }
        switch code {
        case UInt8(ascii: "n"): self.put(0x0a)
        case UInt8(ascii: "r"): self.put(0x0d)
        case UInt8(ascii: "t"): self.put(0x09)
        case UInt8(ascii: "b"): self.put(0x08)
        case UInt8(ascii: "a"): self.put(0x07)
        default: self.put(code)
        }
        self.position += 2
    }

    private mutating func takeSingleQuoted() -> Bool {
        while self.position < self.line.count {
            let byte = self.line[self.position]
            if byte == UInt8(ascii: "'") {
                self.position += 1
                return self.atBoundary
            }
            if byte == UInt8(ascii: "\\"), self.position + 1 < self.line.count,
                self.line[self.position + 1] == UInt8(ascii: "'")
            {
                self.put(UInt8(ascii: "'"))
                self.position += 2
            } else {
                self.put(byte)
                self.position += 1
            }
        }
        return false
    }

    /// A closing quote must be followed by a blank or the end.
    private var atBoundary: Bool {
        self.position >= self.line.count || self.line[self.position] == 0
            || Self.isBlank(self.line[self.position])
    }

    private mutating func put(_ byte: UInt8) {
        self.output[self.written] = byte
        self.written += 1
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || (0x09...0x0d).contains(byte)
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
