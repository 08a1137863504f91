/// Texts of numbers, read and written as Pika does.
public enum Numbers {
    /// The most bytes that any of the texts written here takes.
    public static let textCapacity = 5200

    /// Reads a decimal 64-bit integer: an optional minus, leading zeros allowed, nothing else.
    public static func integer(_ text: Bytes) -> Int64? { fatalError("skeleton") }

    /// Writes a decimal integer; returns its length (at most 20).
    public static func write(_ value: Int64, into text: UnsafeMutableRawBufferPointer) -> Int {
        fatalError("skeleton")
    }

    /// Reads a double as strtod does, the whole text; infinities yes, NaN no.
    public static func double(_ text: Bytes) -> Double? { fatalError("skeleton") }

    /// Writes a score with 17 significant digits (`%.17g`, `inf`, `-inf`): the form of binlog items.
    public static func write17(_ value: Double, into text: UnsafeMutableRawBufferPointer) -> Int {
        fatalError("skeleton")
    }

    /// Writes a score as replies show it: the shortest text that reads back the same.
    public static func writeShortest(
        _ value: Double, into text: UnsafeMutableRawBufferPointer
    ) -> Int { fatalError("skeleton") }

    /// INCRBYFLOAT, HINCRBYFLOAT: adds two texts as long doubles and writes the sum with up to 17
    /// decimals; returns its length. `text` must hold `textCapacity` bytes.
    public static func addFloat(
        _ value: Bytes, _ delta: Bytes, into text: UnsafeMutableRawBufferPointer
    ) throws(StorageError) -> Int { fatalError("skeleton") }
}
