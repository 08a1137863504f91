/// Decimal text of integers: Redis's rules for reading, no allocation for writing.
public enum Decimal {
    /// The longest text that `write` makes: sign and 19 digits.
    public static let maxBytes = 20

    /// Reads a signed 64-bit integer by Redis's strict rules.
    ///
    /// No blanks, no plus sign, no leading zeros but for `0` itself, no `-0`; nil otherwise and on
    /// overflow.
    @inlinable
    public static func parseInteger(_ text: UnsafeRawBufferPointer) -> Int64? {
        var index = 0
        let count = text.count
        guard count > 0, count <= Self.maxBytes else { return nil }
        let negative = text[0] == UInt8(ascii: "-")
        if negative {
            index = 1
            guard count > 1 else { return nil }
        }
        let first = text[index] &- UInt8(ascii: "0")
        if first == 0 { return count == 1 ? 0 : nil }
        guard first <= 9 else { return nil }
        var value = UInt64(first)
        index += 1
        while index < count {
            let digit = text[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            guard !overflow, !carry else { return nil }
            value = sum
            index += 1
        }
        if negative {
            guard value <= UInt64(Int64.max) + 1 else { return nil }
            return Int64(truncatingIfNeeded: 0 &- value)
        }
        return Int64(exactly: value)
    }

    /// Number of characters of `value` as decimal text.
    @inlinable
    public static func width(_ value: UInt64) -> Int {
        var width = 1
        var rest = value
        while rest >= 10_000 {
            rest /= 10_000
            width += 4
        }
        if rest >= 1000 { return width + 3 }
        if rest >= 100 { return width + 2 }
        return rest >= 10 ? width + 1 : width
    }

    /// Writes `value` to `target`, which has room for `maxBytes`; returns the number of bytes.
    @inlinable
    public static func write(_ value: Int64, to target: UnsafeMutablePointer<UInt8>) -> Int {
        guard value < 0 else { return self.write(UInt64(value), to: target) }
        target[0] = UInt8(ascii: "-")
        return 1 + self.write(value.magnitude, to: target + 1)
    }

    /// Writes `value` to `target`, which has room for `maxBytes`; returns the number of bytes.
    @inlinable
    public static func write(_ value: UInt64, to target: UnsafeMutablePointer<UInt8>) -> Int {
        let width = self.width(value)
        var rest = value
        var index = width
        repeat {
            index -= 1
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            target[index] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: digit)
            rest = quotient
        } while rest > 0
        return width
    }
}
