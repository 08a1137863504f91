/// The commands of one request, encoded once; each use gets other numbers.
struct Script {
    /// How many replies the request gets.
    let replies: Int
    private let bytes: [UInt8]
    /// Where the digits of random numbers lie.
    private let holes: [Int]
    private let keys: UInt32

    /// Digits of a random number, as many as redis-benchmark writes.
    private static let digits = 12

    /// Encodes commands that are separated by `;`.
    ///
    /// - Parameters:
    ///   - text: words separated by spaces; `__rand_int__` is a number below `keys`, `__data__` is
    ///     `dataBytes` bytes.
    ///   - keys: numbers to choose from.
    ///   - dataBytes: length of a value.
    init(_ text: String, keys: UInt32, dataBytes: Int) throws(LoadError) {
        self.keys = keys
        var bytes: [UInt8] = []
        var holes: [Int] = []
        let commands = text.split(separator: ";")
        for command in commands {
            let words = command.split(separator: " ")
            guard !words.isEmpty else { throw LoadError("an empty command in '\(text)'") }
            bytes += Array("*\(words.count)\r\n".utf8)
            for word in words {
                let pieces = Self.pieces(of: String(word))
                let data = String(repeating: "x", count: dataBytes)
                let length = pieces.reduce(0) { sum, piece in
                    switch piece {
                    case .text(let text): sum + text.utf8.count
                    case .data: sum + dataBytes
                    case .number: sum + Self.digits
                    }
                }
                bytes += Array("$\(length)\r\n".utf8)
                for piece in pieces {
                    switch piece {
                    case .text(let text): bytes += Array(text.utf8)
                    case .data: bytes += Array(data.utf8)
                    case .number:
                        holes.append(bytes.count)
                        bytes += Array(repeating: UInt8(ascii: "0"), count: Self.digits)
                    }
                }
                bytes += Array("\r\n".utf8)
            }
        }
        replies = commands.count
        self.bytes = bytes
        self.holes = holes
    }

    private enum Piece {
        case text(String)
        case data
        case number
    }

    private static func pieces(of word: String) -> [Piece] {
        let names: [(String, Piece)] = [("__rand_int__", .number), ("__data__", .data)]
        for (name, piece) in names {
            guard let range = word.firstRange(of: name) else { continue }
            return pieces(of: String(word[..<range.lowerBound])) + [piece]
                + pieces(of: String(word[range.upperBound...]))
        }
        return word.isEmpty ? [] : [.text(word)]
    }

    /// Adds the request with new numbers.
    func append(to output: inout [UInt8]) {
        let start = output.count
        output.append(contentsOf: bytes)
        for hole in holes {
            var value = UInt32.random(in: 0..<keys)
            var index = start + hole + Self.digits - 1
            while value > 0 {
                output[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10)
                value /= 10
                index -= 1
            }
        }
    }
}
