/// Patterns with `*`, `?`, `[a-z]`, `[^a]` and `\`, over bytes.
public enum Glob {
    /// Whether the whole of `text` matches.
    public static func matches(_ pattern: String, _ text: [UInt8]) -> Bool {
        Self.matches(Array(pattern.utf8), text)
    }

    static func matches(_ pattern: [UInt8], _ text: [UInt8]) -> Bool {
        Self.matches(pattern[...], text[...])
    }

    private static func matches(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        var pattern = pattern
        var text = text
        // Behind the last star: where to go on when something behind it does not match.
        var retry: (pattern: ArraySlice<UInt8>, text: ArraySlice<UInt8>)?
        while true {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                if pattern.isEmpty { return true }
                retry = (pattern, text)
                continue
            }
            if text.isEmpty && pattern.isEmpty { return true }
            if let byte = text.first, let rest = Self.one(pattern, byte) {
                pattern = rest
                text = text.dropFirst()
                continue
            }
            guard let last = retry, !last.text.isEmpty else { return false }
            retry = (last.pattern, last.text.dropFirst())
            pattern = last.pattern
            text = last.text.dropFirst()
        }
    }

    /// What is left of the pattern if its first element matches the byte.
    private static func one(_ pattern: ArraySlice<UInt8>, _ byte: UInt8) -> ArraySlice<UInt8>? {
        guard let first = pattern.first else { return nil }
        let rest = pattern.dropFirst()
        switch first {
        case UInt8(ascii: "?"): return rest
        case UInt8(ascii: "\\"):
            guard let literal = rest.first else { return byte == first ? rest : nil }
            return literal == byte ? rest.dropFirst() : nil
        case UInt8(ascii: "["):
            guard let close = rest.dropFirst().firstIndex(of: UInt8(ascii: "]")) else {
                return byte == first ? rest : nil
            }
            var set = rest[rest.startIndex..<close]
            let isNegated = set.first == UInt8(ascii: "^")
            if isNegated { set = set.dropFirst() }
            return Self.contains(set, byte) != isNegated ? rest[(close + 1)...] : nil
        default: return first == byte ? rest : nil
        }
    }

    private static func contains(_ set: ArraySlice<UInt8>, _ byte: UInt8) -> Bool {
        var at = set.startIndex
        while at < set.endIndex {
            if at + 2 < set.endIndex, set[at + 1] == UInt8(ascii: "-") {
                if set[at] <= byte && byte <= set[at + 2] { return true }
                at += 3
            } else {
                if set[at] == byte { return true }
                at += 1
            }
        }
        return false
    }
}
