/// Finds where commands and annotations of an AOF end, without looking into them.
///
/// Annotations (`#TS:1700000000`) stand between commands, so their places are known only to one who
/// has followed all lengths before.
public enum AppendOnlySplitter {
    /// What comes next.
    public enum Piece: Equatable, Sendable {
        /// A command of so many bytes.
        case command(Int)
        /// An annotation of so many bytes; Unix seconds if it tells the time.
        case annotation(Int, seconds: Int64?)
        /// More bytes are needed.
        case incomplete
        /// Neither.
        case malformed
    }

    /// Longest line of a length, in bytes.
    public static let maxLineBytes = 1_024

    /// What the bytes begin with.
    public static func next(_ bytes: ArraySlice<UInt8>) -> Piece {
        guard let first = bytes.first else { return .incomplete }
        guard let (line, start) = Self.line(bytes, bytes.startIndex) else {
            return bytes.count > Self.maxLineBytes ? .malformed : .incomplete
        }
        if first == UInt8(ascii: "#") {
            let text = String(decoding: line, as: UTF8.self)
            let seconds = text.hasPrefix("#TS:") ? Int64(text.dropFirst(4)) : nil
            return .annotation(start - bytes.startIndex, seconds: seconds)
        }
        guard first == UInt8(ascii: "*"), let count = Self.number(line), count > 0 else {
            return .malformed
        }
        var at = start
        for _ in 0..<count {
            guard at < bytes.endIndex else { return .incomplete }
            guard bytes[at] == UInt8(ascii: "$") else { return .malformed }
            guard let (line, start) = Self.line(bytes, at) else {
                return bytes.endIndex - at > Self.maxLineBytes ? .malformed : .incomplete
            }
            guard let size = Self.number(line) else { return .malformed }
            guard bytes.endIndex - start >= size + 2 else { return .incomplete }
            at = start + size + 2
        }
        return .command(at - bytes.startIndex)
    }

    /// The line without its end, and the index behind it.
    private static func line(
        _ bytes: ArraySlice<UInt8>, _ start: Int
    ) -> (ArraySlice<UInt8>, Int)? {
        let limit = min(bytes.endIndex, start + Self.maxLineBytes)
        guard let end = bytes[start..<limit].firstIndex(of: 10) else { return nil }
        let isLong = end > start && bytes[end - 1] == 13
        return (bytes[start..<(isLong ? end - 1 : end)], end + 1)
    }

    private static func number(_ line: ArraySlice<UInt8>) -> Int? {
        let digits = line.dropFirst()
        guard (1...10).contains(digits.count) else { return nil }
        var value = 0
        for byte in digits {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return value
    }
}
