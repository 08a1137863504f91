import MigrateCore
import Testing

@Suite("Regular expressions over bytes")
struct RegexTests {
    @Test("Patterns match what they say")
    func table() throws {
        let cases: [(String, String, Bool)] = [
            ("", "anything", true), ("b", "abc", true), ("^b", "abc", false), ("c$", "abc", true),
            ("^abc$", "abc", true), ("^ab$", "abc", false), ("^$", "", true), ("^$", "a", false),
            ("a.c", "axc", true), ("a.c", "ac", false), ("^a*$", "", true), ("^a+$", "", false),
            ("^ab?c$", "ac", true), ("^ab?c$", "abbc", false), ("^(ab)+$", "ababab", true),
            ("^(ab)+$", "aba", false), ("^(a|bc|)d$", "bcd", true), ("^(a|bc|)d$", "d", true),
            ("^(a|bc|)d$", "abd", false), ("^a{2,3}$", "a", false), ("^a{2,3}$", "aaa", true),
            ("^a{2,3}$", "aaaa", false), ("^a{2}$", "aa", true), ("^a{2,}$", "aaaaa", true),
            ("^[a-c0]+$", "ab0c", true), ("^[^a-c]+$", "xyz", true), ("^[^a-c]+$", "xaz", false),
            ("^[]a]+$", "a]", true), ("^[a-]+$", "a-", true), ("^user:\\d+$", "user:42", true),
            ("^user:\\d+$", "user:4x", false), ("^\\w+\\.\\w+$", "a_1.b", true),
            ("^\\x41\\t$", "A\t", true), ("^(?:a|b)$", "b", true), ("^[\\d:]+$", "1:2", true),
            ("^é+$", "éé", true), ("^(a*)*$", "aaaa", true), ("(a|b)*c|d", "ababd", true),
            ("^(session|cart):[0-9a-f]{8}$", "cart:00ff00ff", true),
        ]
        for (pattern, text, expected) in cases {
            #expect(
                try ByteRegex(pattern).matches(Array(text.utf8)) == expected, "\(pattern) \(text)")
        }
        #expect(try ByteRegex("^.\\xff$").matches([0, 0xff]))
    }

    @Test("Patterns without sense, and those that are too large, are refused")
    func refused() {
        let patterns = [
            "(", ")", "[", "[b-a]", "*", "a**", "a{", "a{3,2}", "a{257}", "\\", "\\q", "\\x4",
            "(?=a)", "(?i)a", "[é]", "((a{256}){256})", String(repeating: "a", count: 1_025),
            String(repeating: "(", count: 33) + String(repeating: ")", count: 33),
            "((((){256}){256}){256}){256}",
        ]
        for pattern in patterns {
            #expect(throws: RegexError.self, "\(pattern.prefix(40))") { try ByteRegex(pattern) }
        }
        #expect(throws: Never.self) { try ByteRegex(String(repeating: "a", count: 1_024)) }
        #expect(throws: Never.self) { try ByteRegex("a{256}") }
    }

    @Test("What makes others go back for ever is done in one pass")
    func linear() throws {
        let regex = try ByteRegex("^(a+)+$|^(a|a)*b$|(a*a*a*a*)*c")
        let key = [UInt8](repeating: UInt8(ascii: "a"), count: 20_000) + [0]
        #expect(!regex.matches(key))
    }
}
