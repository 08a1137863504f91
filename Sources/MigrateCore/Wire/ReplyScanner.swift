/// An error that a target answered.
public struct ReplyFault: Sendable, Equatable {
    /// Which reply of the window, from 0.
    public var index: Int
    /// Which element of that reply when it is an array (an `EXEC`'s), from 0; nil = the reply itself.
    public var element: Int?
    /// The text without the mark.
    public var text: String

    /// A fault from its parts.
    public init(index: Int, element: Int?, text: String) {
        self.index = index
        self.element = element
        self.text = text
    }
}

/// Why bytes are no replies.
public enum ReplyScanError: Error, Sendable, Equatable {
    /// A first byte without a meaning, or a length that is none.
    case malformed
    /// A line longer than ``ReplyScanner/maxLineBytes``.
    case lineTooLong
}

/// Counts replies and picks the errors out of them; values are passed over without being kept.
///
/// Every reply of a target is read, but hardly any has to be looked at.
public struct ReplyScanner: Sendable {
    /// Longest status, error, number or header, in bytes.
    public static let maxLineBytes = 64 * 1_024
    /// Most errors kept of one window, which has fewer commands; more are only counted.
    public static let maxFaults = 32_768

    /// Complete top-level replies so far.
    public private(set) var replyCount = 0
    /// Errors so far, in order.
    public private(set) var faults: [ReplyFault] = []
    /// All errors, kept or not.
    public private(set) var faultCount = 0
    /// The last value that was a reply of its own, if not longer than ``maxLineBytes``.
    public private(set) var lastValue = ContiguousArray<UInt8>()
    /// A nil came as a whole reply: an `EXEC` that was not carried out.
    public private(set) var nullReplies = 0

    private var line = ContiguousArray<UInt8>()
    /// Bytes of a value that are still to be passed over, with its line end.
    private var skip = 0
    /// How many of them are kept in `lastValue`.
    private var keeps = 0
    /// Elements missing in the open arrays, outermost first.
    private var open: [Int] = []
    /// Number of the element of the outermost array.
    private var element = 0

    /// A scanner that has seen nothing.
    public init() {}

    /// Starts counting from zero; an incomplete reply stays.
    public mutating func beginWindow() {
        self.replyCount = 0
        self.faults = []
        self.faultCount = 0
        self.nullReplies = 0
        self.lastValue.removeAll(keepingCapacity: true)
    }

    /// Reads bytes.
    public mutating func feed(_ bytes: UnsafeRawBufferPointer) throws(ReplyScanError) {
        var at = 0
        while at < bytes.count {
            if self.skip > 0 {
                let step = min(self.skip, bytes.count - at)
                if self.keeps > 0 {
                    let kept = min(step, self.keeps)
                    self.lastValue.append(contentsOf: bytes[at..<(at + kept)])
                    self.keeps -= kept
                }
                self.skip -= step
                at += step
                if self.skip == 0 { self.closed() }
                continue
            }
            let byte = bytes[at]
            at += 1
            guard byte == 10 else {
                self.line.append(byte)
                guard self.line.count <= Self.maxLineBytes else { throw .lineTooLong }
                continue
            }
            if self.line.last == 13 { self.line.removeLast() }
            try self.finishLine()
            self.line.removeAll(keepingCapacity: true)
        }
    }

    private mutating func finishLine() throws(ReplyScanError) {
        switch self.line.first {
        case UInt8(ascii: "+"), UInt8(ascii: ":"): self.closed()
        case UInt8(ascii: "-"):
            self.faultCount += 1
            if self.faults.count < Self.maxFaults {
                self.faults.append(
                    ReplyFault(
                        index: self.replyCount, element: self.open.isEmpty ? nil : self.element,
                        text: String(decoding: self.line.dropFirst(), as: UTF8.self)))
            }
            self.closed()
        case UInt8(ascii: "$"):
            let count = try self.length()
            if count < 0 { return self.closedNull() }
            self.skip = count + 2
            if self.open.isEmpty, count <= Self.maxLineBytes {
                self.lastValue.removeAll(keepingCapacity: true)
                self.keeps = count
            }
        case UInt8(ascii: "*"):
            let count = try self.length()
            if count < 0 {
                self.closedNull()
            } else if count == 0 {
                self.closed()
            } else {
                if self.open.isEmpty { self.element = 0 }
                self.open.append(count)
            }
        default: throw .malformed
        }
    }

    private func length() throws(ReplyScanError) -> Int {
        guard let count = Int(String(decoding: self.line.dropFirst(), as: UTF8.self)) else {
            throw .malformed
        }
        return count
    }

    private mutating func closedNull() {
        if self.open.isEmpty { self.nullReplies += 1 }
        self.closed()
    }

    private mutating func closed() {
        while let missing = self.open.last {
            if self.open.count == 1 { self.element += 1 }
            if missing > 1 {
                self.open[self.open.count - 1] = missing - 1
                return
            }
            self.open.removeLast()
        }
        self.replyCount += 1
    }
}
