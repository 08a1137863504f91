/// Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
///
/// Matching takes time proportional to the product of the lengths at most: a `*` goes back to the
/// last one only.
public struct GlobPattern {
    /// The pattern.
    public let pattern: Bytes

    /// Makes a pattern over bytes that must outlive it.
    @inlinable
    public init(_ pattern: Bytes) { self.pattern = pattern }

    /// Whether all of `text` matches.
    public func matches(_ text: Bytes) -> Bool {
        var at = 0
        var index = 0
        // Where to go on when what follows the last star does not match.
        var afterStar: Int?
        var starIndex = 0
        while index < text.count {
            if at < pattern.count, pattern[at] == UInt8(ascii: "*") {
                while at < pattern.count, pattern[at] == UInt8(ascii: "*") { at += 1 }
                if at == pattern.count { return true }
                afterStar = at
                starIndex = index
                continue
            }
            if at < pattern.count, let next = matchOne(at, text[index]) {
                at = next
                index += 1
                continue
            }
            guard let back = afterStar else { return false }
            starIndex += 1
            at = back
            index = starIndex
        }
        while at < pattern.count, pattern[at] == UInt8(ascii: "*") { at += 1 }
        return at == pattern.count
    }

    /// Matches one byte with the element at `at`; returns where the next element begins.
    private func matchOne(_ at: Int, _ byte: UInt8) -> Int? {
        switch pattern[at] {
        case UInt8(ascii: "?"): return at + 1
        case UInt8(ascii: "["): return matchSet(at + 1, byte)
        case UInt8(ascii: "\\") where at + 1 < pattern.count:
            return pattern[at + 1] == byte ? at + 2 : nil
        case byte: return at + 1
        default: return nil
        }
    }

    /// Matches a set whose first byte is at `start`; one without an end reaches to the end.
    private func matchSet(_ start: Int, _ byte: UInt8) -> Int? {
        var at = start
        let isNegated = at < pattern.count && pattern[at] == UInt8(ascii: "^")
        if isNegated { at += 1 }
        var isInside = false
        while at < pattern.count, pattern[at] != UInt8(ascii: "]") {
            if pattern[at] == UInt8(ascii: "\\"), at + 1 < pattern.count {
                at += 1
                if pattern[at] == byte { isInside = true }
            } else if at + 2 < pattern.count, pattern[at + 1] == UInt8(ascii: "-") {
                let low = min(pattern[at], pattern[at + 2])
                let high = max(pattern[at], pattern[at + 2])
                if (low...high).contains(byte) { isInside = true }
                at += 2
            } else if pattern[at] == byte {
                isInside = true
            }
            at += 1
        }
        return isInside != isNegated ? min(at + 1, pattern.count) : nil
    }

    /// The bytes that every match begins with.
    public var literalPrefix: [UInt8] {
        var prefix: [UInt8] = []
        var at = 0
        while at < pattern.count {
            switch pattern[at] {
            case UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["): return prefix
            case UInt8(ascii: "\\") where at + 1 < pattern.count:
                prefix.append(pattern[at + 1])
                at += 2
            default:
                prefix.append(pattern[at])
                at += 1
            }
        }
        return prefix
    }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes` with a typed error.
    func withUnsafeBytesOfArray<R>(
        _ body: (Bytes) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        var result: Result<R, StorageError>?
        withUnsafeBytes { bytes in
            do throws(StorageError) {
                result = .success(try body(bytes))
            } catch {
                result = .failure(error)
            }
        }
        guard let result else { preconditionFailure("withUnsafeBytes did not call its closure") }
        return try result.get()
    }
}
