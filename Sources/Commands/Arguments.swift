import PikaStorage
import RESP

/// A borrowed run of bytes.
typealias Bytes = UnsafeRawBufferPointer

extension StaticString {
    /// The bytes of the literal, which live for ever.
    @inline(__always)
    var bytes: Bytes { Bytes(start: self.utf8Start, count: self.utf8CodeUnitCount) }
}

extension UnsafeRawBufferPointer {
    /// True when the bytes, letters in lower case, are the literal's (which must be lower case).
    func isWord(_ word: StaticString) -> Bool {
        guard self.count == word.utf8CodeUnitCount else { return false }
        for index in 0..<self.count where lowercase(self[index]) != word.utf8Start[index] {
            return false
        }
        return true
    }

    /// The bytes as text; broken UTF-8 is replaced.
    var text: String { String(decoding: self, as: UTF8.self) }

    /// The bytes as text in lower case.
    var lowercasedText: String {
        String(decoding: self.map { lowercase($0) }, as: UTF8.self)
    }
}

/// The letter in lower case; other bytes as they are.
@inline(__always)
func lowercase(_ byte: UInt8) -> UInt8 {
    byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
}

extension Execution {
    /// Number of arguments with the command word.
    @inline(__always) var count: Int { self.arguments.count }

    /// The first argument: the key of most commands.
    @inline(__always) var key: Bytes { self.arguments[1] }

    /// An argument; 0 is the command word.
    @inline(__always)
    subscript(index: Int) -> Bytes { self.arguments[index] }

    /// The arguments from `index` on.
    func rest(from index: Int) -> UnsafeBufferPointer<Bytes> {
        UnsafeBufferPointer(rebasing: self.arguments[index...])
    }

    /// An integer argument.
    func integer(_ index: Int) throws(CommandError) -> Int64 {
        guard let value = Decimal.parseInteger(self.arguments[index]) else {
            throw .notInteger
        }
        return value
    }

    /// A count that must not be negative (LPOP, SPOP …).
    func positive(_ index: Int) throws(CommandError) -> Int {
        guard let value = Decimal.parseInteger(self.arguments[index]), value >= 0 else {
            throw .notPositive
        }
        return Int(value)
    }

    /// A floating point argument; infinities yes, NaN no.
    func double(_ index: Int) throws(CommandError) -> Double {
        guard let value = parseDouble(self.arguments[index]) else { throw .notFloat }
        return value
    }
}

/// Reads a double as Redis does: strtod over the whole text, no leading blank, no NaN.
func parseDouble(_ text: Bytes) -> Double? {
    guard let first = text.first, first != 0x20, !(0x09...0x0d).contains(first) else { return nil }
    guard let value = Numbers.double(text), !value.isNaN else { return nil }
    // A number too large for a double is an error; the word for infinity is not.
    guard value.isFinite || text.last.map({ lowercase($0) >= UInt8(ascii: "f") }) == true else {
        return nil
    }
    return value
}

/// Reads one bound of a score range: a number, or `(` and a number.
func parseScoreBound(_ text: Bytes) throws(CommandError) -> ScoreBound {
    if text.first == UInt8(ascii: "(") {
        guard let value = parseDouble(text.dropping(1)) else { throw .badScoreRange }
        return ScoreBound(value, isExclusive: true)
    }
    guard let value = parseDouble(text) else { throw .badScoreRange }
    return ScoreBound(value)
}

/// Reads one bound of a lexicographic range: `-`, `+`, `[text` or `(text`.
func parseLexBound(_ text: Bytes) throws(CommandError) -> LexBound {
    switch text.first {
    case UInt8(ascii: "[")?: return .inclusive(text.dropping(1))
    case UInt8(ascii: "(")?: return .exclusive(text.dropping(1))
    case UInt8(ascii: "-")? where text.count == 1: return .lowest
    case UInt8(ascii: "+")? where text.count == 1: return .highest
    default: throw .badLex
    }
}

/// Pika's words for the types: string, hash, list, set, zset.
func parseKind(_ text: Bytes) -> StoreKind? {
    if text.isWord("string") { return .strings }
    if text.isWord("hash") { return .hashes }
    if text.isWord("list") { return .lists }
    if text.isWord("set") { return .sets }
    if text.isWord("zset") { return .zsets }
    return nil
}
