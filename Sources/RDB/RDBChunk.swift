/// Where a text lies in `RDBChunk.bytes`.
public struct RDBSlice: Sendable, Equatable {
    /// Its first byte.
    public var start: Int
    /// Its length, in bytes.
    public var count: Int
}

/// Some elements of one key, as slices of one buffer.
///
/// | kind | slices | scores | deadlines |
/// |---|---|---|---|
/// | string | one: the next piece of the value | - | - |
/// | list, set | one an element | - | - |
/// | sortedSet | one a member | one a member | - |
/// | hash | two an element: field, value | - | one a field if the key has field deadlines |
public struct RDBChunk: Sendable {
    /// All texts, one behind the other.
    public internal(set) var bytes = ContiguousArray<UInt8>()
    /// Where they lie.
    public internal(set) var slices = ContiguousArray<RDBSlice>()
    /// The scores of a sorted set; NaN and the infinities are possible.
    public internal(set) var scores = ContiguousArray<Double>()
    /// Deadlines of a hash's fields in milliseconds since 1970; 0 = none.
    public internal(set) var deadlines = ContiguousArray<Int64>()
    /// Number of elements: pairs count once.
    public internal(set) var elementCount = 0
    /// Length of the whole string that this is a piece of, in bytes; nil if the string came whole.
    public internal(set) var wholeBytes: UInt64?

    init() {}

    /// Copies the text at `index` of `slices`.
    public func text(_ index: Int) -> [UInt8] {
        let slice = self.slices[index]
        return Array(self.bytes[slice.start..<(slice.start + slice.count)])
    }

    /// Lends the text at `index` of `slices`, for the duration of `body`.
    @inlinable
    public func withText<Result>(
        _ index: Int, _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        let slice = self.slices[index]
        return self.bytes.withUnsafeBytes { bytes in
            body(UnsafeRawBufferPointer(rebasing: bytes[slice.start..<(slice.start + slice.count)]))
        }
    }

    mutating func removeAll() {
        self.bytes.removeAll(keepingCapacity: true)
        self.slices.removeAll(keepingCapacity: true)
        self.scores.removeAll(keepingCapacity: true)
        self.deadlines.removeAll(keepingCapacity: true)
        self.elementCount = 0
        self.wholeBytes = nil
    }

    /// Forgets texts that an incomplete element left behind.
    mutating func truncate(toBytes bytes: Int, slices: Int) {
        if self.bytes.count > bytes { self.bytes.removeLast(self.bytes.count - bytes) }
        if self.slices.count > slices { self.slices.removeLast(self.slices.count - slices) }
    }

    /// Names what was appended to `bytes` since `start`.
    mutating func closeSlice(from start: Int) {
        self.slices.append(RDBSlice(start: start, count: self.bytes.count - start))
    }

    mutating func append(_ text: UnsafeBufferPointer<UInt8>) {
        let start = self.bytes.count
        self.bytes.append(contentsOf: text)
        self.closeSlice(from: start)
    }

    mutating func append(_ number: Int64) {
        let start = self.bytes.count
        DecimalText.append(number, to: &self.bytes)
        self.closeSlice(from: start)
    }
}

/// Decimal text of integers.
enum DecimalText {
    /// Sign and 19 digits.
    static let maxBytes = 20

    static func append(_ number: Int64, to bytes: inout ContiguousArray<UInt8>) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.maxBytes) { scratch in
            var at = Self.maxBytes
            var rest = number.magnitude
            repeat {
                at -= 1
                scratch[at] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            if number < 0 {
                at -= 1
                scratch[at] = UInt8(ascii: "-")
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: scratch[at..<Self.maxBytes]))
        }
    }
}
