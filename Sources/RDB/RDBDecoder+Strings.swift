/// Whole keys with short strings, packed: what most files are full of.
///
/// Texts lie behind each other in `bytes`: a name, its value, the next name…
public struct RDBStrings: Sendable {
    /// Longest value, in bytes; longer ones come as events of their own.
    public static let maxValueBytes = 4_096
    /// Most keys at once.
    public static let maxKeys = 4_096
    /// No key is added once there are so many bytes.
    public static let maxBytes = 256 * 1_024

    /// All names and values.
    public fileprivate(set) var bytes = ContiguousArray<UInt8>()
    /// End of each text in `bytes`: two a key.
    public fileprivate(set) var ends = ContiguousArray<Int>()
    /// Deadlines in milliseconds since 1970, one a key; 0 = none, past ones are at least 1.
    public fileprivate(set) var deadlines = ContiguousArray<Int64>()
    /// The database of all.
    public fileprivate(set) var database: UInt64 = 0

    /// None.
    public init() {}

    /// Number of keys.
    public var count: Int { self.deadlines.count }
}

extension RDBDecoder {
    /// The keys that come next, as far as they are short strings and their bytes are there.
    ///
    /// None is no news: `next` tells what comes, and whether bytes are missing.
    public mutating func nextStrings() -> RDBStrings {
        var strings = RDBStrings()
        guard case .record = self.state, self.failure == nil, self.deadline == nil,
            self.idle == nil, self.frequency == nil
        else { return strings }
        strings.database = self.database
        let input = self.input
        input.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            var cursor = ByteCursor(base: base, count: buffer.count, origin: self.origin)
            cursor.at = self.consumed
            while strings.count < RDBStrings.maxKeys, strings.bytes.count < RDBStrings.maxBytes {
                guard Self.takeString(&cursor, &strings) else { break }
                self.consumed = cursor.at
                // Once, not by doubling; what is packed may need more.
                if strings.count == 1 {
                    strings.bytes.reserveCapacity(
                        min(RDBStrings.maxBytes, buffer.count - cursor.at) + strings.bytes.count)
                }
            }
        }
        return strings
    }

    /// One key; false, and nothing added, if the next record is anything else or incomplete.
    private static func takeString(_ cursor: inout ByteCursor, _ strings: inout RDBStrings) -> Bool
    {
        let start = strings.bytes.count
        do throws(RDBError) {
            var deadline: Int64 = 0
            var number = try cursor.byte()
            while number != 0 {
                switch number {
                case 253: deadline = max(1, Int64(try cursor.little(Int32.self)) * 1000)
                case 252: deadline = max(1, try cursor.little(Int64.self))
                case 249: _ = try cursor.byte()
                case 248: _ = try cursor.length()
                default: return false
                }
                number = try cursor.byte()
            }
            try cursor.string(into: &strings.bytes, limit: RDBStrings.maxValueBytes)
            let name = strings.bytes.count
            try cursor.string(into: &strings.bytes, limit: RDBStrings.maxValueBytes)
            strings.ends.append(name)
            strings.ends.append(strings.bytes.count)
            strings.deadlines.append(deadline)
            return true
        } catch {
            strings.bytes.removeLast(strings.bytes.count - start)
            return false
        }
    }
}
