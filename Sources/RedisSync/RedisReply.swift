/// A server's answer, RESP 2.
public enum RedisReply: Sendable, Equatable {
    /// A status.
    case simple(String)
    /// A refusal, with its class word first.
    case error(String)
    /// A number.
    case integer(Int64)
    /// Bytes.
    case bulk([UInt8])
    /// No value.
    case null
    /// Several.
    case array([RedisReply])

    /// The text of a status or of bytes.
    public var text: String? {
        switch self {
        case .simple(let text): text
        case .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
        case .integer(let number): String(number)
        case .error, .null, .array: nil
        }
    }

    /// The bytes of a bulk, or of a status.
    public var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes): bytes
        case .simple(let text): Array(text.utf8)
        case .error, .integer, .null, .array: nil
        }
    }

    /// The elements of an array.
    public var elements: [RedisReply]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The number, also if it came as text.
    public var number: Int64? {
        if case .integer(let number) = self { number } else { self.text.flatMap { Int64($0) } }
    }

    /// The text of an error.
    public var failure: String? {
        if case .error(let text) = self { text } else { nil }
    }
}

/// Why bytes are no replies.
public enum RedisReplyError: Error, Sendable, Equatable {
    /// A first byte or a number without a meaning.
    case malformed
    /// Longer than the parser's limit.
    case tooLarge
    /// Arrays in arrays in arrays…
    case tooDeep
}

/// Cuts bytes into replies.
public struct RedisReplyParser: Sendable {
    /// Longest bulk, in bytes.
    public static let maxBulkBytes = 512 << 20
    /// Most elements of one array.
    public static let maxElements = 16 << 20
    /// Arrays within arrays.
    public static let maxDepth = 8
    /// Longest status, error or number.
    public static let maxLineBytes = 64 << 10

    private var input: [UInt8] = []
    private var consumed = 0
    /// Elements that are whole, of arrays that are not.
    private var open: [(missing: Int, elements: [RedisReply])] = []

    /// A parser without bytes.
    public init() {}

    /// Adds bytes.
    public mutating func feed(_ bytes: some Collection<UInt8>) {
        if self.consumed > 0 {
            self.input.removeFirst(self.consumed)
            self.consumed = 0
        }
        self.input.append(contentsOf: bytes)
    }

    /// The next whole reply; nil if more bytes are needed.
    public mutating func next() throws(RedisReplyError) -> RedisReply? {
        while let step = try self.step() {
            guard var value = step else { continue }
            while let last = self.open.indices.last {
                self.open[last].elements.append(value)
                self.open[last].missing -= 1
                guard self.open[last].missing == 0 else { break }
                value = .array(self.open.removeLast().elements)
                if self.open.isEmpty { return value }
            }
            if self.open.isEmpty { return value }
        }
        return nil
    }

    /// nil = more bytes are needed; `.some(nil)` = an array was opened.
    private mutating func step() throws(RedisReplyError) -> RedisReply?? {
        guard let (line, end) = try self.line() else { return nil }
        guard let mark = line.first else { throw .malformed }
        let rest = line.dropFirst()
        switch mark {
        case UInt8(ascii: "+"):
            self.consumed = end
            return .some(.simple(String(decoding: rest, as: UTF8.self)))
        case UInt8(ascii: "-"):
            self.consumed = end
            return .some(.error(String(decoding: rest, as: UTF8.self)))
        case UInt8(ascii: ":"):
            let number = try Self.number(rest)
            self.consumed = end
            return .some(.integer(number))
        case UInt8(ascii: "$"):
            let count = try Self.number(rest)
            guard count >= 0 else {
                self.consumed = end
                return .some(.null)
            }
            guard count <= Self.maxBulkBytes else { throw .tooLarge }
            guard self.input.count - end >= Int(count) + 2 else { return nil }
            let bytes = Array(self.input[end..<(end + Int(count))])
            self.consumed = end + Int(count) + 2
            return .some(.bulk(bytes))
        case UInt8(ascii: "*"):
            let count = try Self.number(rest)
            guard count <= Self.maxElements else { throw .tooLarge }
            guard self.open.count < Self.maxDepth else { throw .tooDeep }
            self.consumed = end
            guard count >= 0 else { return .some(.null) }
            guard count > 0 else { return .some(.array([])) }
            self.open.append((Int(count), []))
            return .some(nil)
        default: throw .malformed
        }
    }

    private func line() throws(RedisReplyError) -> (ArraySlice<UInt8>, Int)? {
        var at = self.consumed
        while at < self.input.count {
            if self.input[at] == 10 {
                guard at > self.consumed, self.input[at - 1] == 13 else { throw .malformed }
                return (self.input[self.consumed..<(at - 1)], at + 1)
            }
            at += 1
            guard at - self.consumed <= Self.maxLineBytes else { throw .tooLarge }
        }
        return nil
    }

    private static func number(_ text: ArraySlice<UInt8>) throws(RedisReplyError) -> Int64 {
        guard let number = Int64(String(decoding: text, as: UTF8.self)) else { throw .malformed }
        return number
    }
}

/// Writes requests.
public enum RedisRequest {
    /// A command as an array of bulk strings.
    public static func encode(_ words: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(words.count)\r\n".utf8)
        bytes.reserveCapacity(words.reduce(16) { $0 + $1.count + 16 })
        for word in words {
            bytes += "$\(word.count)\r\n".utf8
            bytes += word
            bytes.append(13)
            bytes.append(10)
        }
        return bytes
    }
}
