import CPikaShim
import Glibc

/// Texts of numbers, read and written as Pika does.
public enum Numbers {
    /// The most bytes that any of the texts written here takes.
    public static let textCapacity = 5200

    /// Reads a decimal 64-bit integer: an optional minus, leading zeros allowed, nothing else.
    @inlinable
    public static func integer(_ text: Bytes) -> Int64? {
        var index = 0
        let isNegative = text.count > 1 && text[0] == UInt8(ascii: "-")
        if isNegative { index = 1 }
        guard index < text.count else { return nil }
        var value: Int64 = 0
        while index < text.count {
            let digit = text[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            // Downwards: there is one more negative number than positive ones.
            let (sum, overflow2) = product.subtractingReportingOverflow(Int64(digit))
            if overflow || overflow2 { return nil }
            value = sum
            index += 1
        }
        if isNegative { return value }
        return value == .min ? nil : -value
    }

    /// Writes a decimal integer; returns its length (at most 20).
    @inlinable
    public static func write(_ value: Int64, into text: UnsafeMutableRawBufferPointer) -> Int {
        var rest = value.magnitude
        var length = value < 0 ? 1 : 0
        var bound = rest
        repeat {
            length += 1
            bound /= 10
        } while bound > 0
        var index = length
        repeat {
            index -= 1
            text[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        if value < 0 { text[0] = UInt8(ascii: "-") }
        return length
    }

    /// Reads a double as strtod does, the whole text; infinities yes, NaN no.
    public static func double(_ text: Bytes) -> Double? {
        var value = 0.0
        return pk_parse_double(text.baseAddress, text.count, &value) == 1 ? value : nil
    }

    /// Writes a score with 17 significant digits (`%.17g`, `inf`, `-inf`): the form of binlog items.
    ///
    /// - Returns: the length, at most 24.
    public static func write17(_ value: Double, into text: UnsafeMutableRawBufferPointer) -> Int {
        if let length = writeInteger(value, into: text) { return length }
        return print(value, digits: 17, into: text)
    }

    /// Writes a score with the fewest digits that read back the same.
    ///
    /// - Returns: the length, at most 24.
    public static func writeShortest(
        _ value: Double, into text: UnsafeMutableRawBufferPointer
    ) -> Int {
        if let length = writeInteger(value, into: text) { return length }
        for digits in 15..<17 as Range<Int32> {
            let length = print(value, digits: digits, into: text)
            if double(Bytes(rebasing: text[..<length])) == value { return length }
        }
        return print(value, digits: 17, into: text)
    }

    /// Whole numbers up to 2^53 are written as integers: all routes give the same digits.
    private static func writeInteger(
        _ value: Double, into text: UnsafeMutableRawBufferPointer
    ) -> Int? {
        guard let whole = Int64(exactly: value), whole.magnitude < 1 << 53,
            whole != 0 || value.sign == .plus
        else { return nil }
        return write(whole, into: text)
    }

    private static func print(
        _ value: Double, digits: Int32, into text: UnsafeMutableRawBufferPointer
    ) -> Int {
        guard let start = text.baseAddress else { return 0 }
        return pk_print_double(
            value, digits, start.assumingMemoryBound(to: CChar.self), text.count)
    }

    /// Room for any double with 17 decimals.
    public static let fixedCapacity = 400

    /// Writes a number with a fixed number of decimals; `isTrimmed` leaves out zeros at the end.
    ///
    /// - Returns: the length, at most `fixedCapacity` for up to 17 decimals.
    public static func writeFixed(
        _ value: Double, decimals: Int32, isTrimmed: Bool = false,
        into text: UnsafeMutableRawBufferPointer
    ) -> Int {
        guard let start = text.baseAddress else { return 0 }
        var length = pk_print_fixed(
            value, decimals, start.assumingMemoryBound(to: CChar.self), text.count)
        guard isTrimmed, decimals > 0, value.isFinite else { return length }
        while length > 1, text[length - 1] == UInt8(ascii: "0") { length -= 1 }
        if length > 1, text[length - 1] == UInt8(ascii: ".") { length -= 1 }
        return length
    }

    /// INCR and its kin: what a value (nil counts as 0) and a number come to.
    public static func add(_ value: Bytes?, _ delta: Int64) throws(StorageError) -> Int64 {
        var number: Int64 = 0
        if let value {
            guard let parsed = integer(value) else { throw .notAnInteger }
            number = parsed
        }
        let (sum, overflow) = number.addingReportingOverflow(delta)
        if overflow { throw .integerOverflow }
        return sum
    }

    /// INCRBYFLOAT, HINCRBYFLOAT: adds two texts as long doubles, up to 17 decimals.
    ///
    /// - Parameters:
    ///   - value: the present value; nil counts as 0.
    ///   - delta: what is added.
    ///   - text: takes the sum; `textCapacity` bytes.
    /// - Returns: the length of the sum.
    public static func addFloat(
        _ value: Bytes?, _ delta: Bytes, into text: UnsafeMutableRawBufferPointer
    ) throws(StorageError) -> Int {
        guard let start = text.baseAddress else { throw .notAFloat }
        let zero: StaticString = "0"
        let value = value ?? Bytes(start: zero.utf8Start, count: 1)
        let length = pk_add_long_double(
            value.baseAddress, value.count, delta.baseAddress, delta.count,
            start.assumingMemoryBound(to: CChar.self), text.count)
        switch length {
        case 0: throw .notAFloat
        case ..<0: throw .resultIsNaN
        default: return Int(length)
        }
    }
}

/// Calls `body` with the text of an integer.
@inline(__always)
func withNumberText<R>(_ value: Int64, _ body: (Bytes) -> R) -> R {
    withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { text in
        let length = Numbers.write(value, into: text)
        return body(Bytes(rebasing: text[..<length]))
    }
}

extension StoreTransaction {
    /// The sum of two texts as long doubles; lies in the scratch buffer `.value`.
    func addFloat(_ value: Bytes?, _ delta: Bytes) throws(StorageError) -> Bytes {
        let buffer = UnsafeMutableRawBufferPointer(
            start: core.pointee.scratch.buffer(.value, capacity: Numbers.textCapacity),
            count: Numbers.textCapacity)
        let length = try Numbers.addFloat(value, delta, into: buffer)
        return Bytes(rebasing: buffer[..<length])
    }
}
