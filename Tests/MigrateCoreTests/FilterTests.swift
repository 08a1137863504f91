import MigrateCore
import Testing

@Suite("Which keys go where")
struct FilterTests {
    private func key(_ text: String, _ database: Int = 0) -> DatabaseKey {
        DatabaseKey(database, Array(text.utf8))
    }

    @Test("Globs match as Redis's do")
    func globs() {
        let cases: [(String, String, Bool)] = [
            ("*", "", true), ("a*", "abc", true), ("a*c", "abc", true), ("a*d", "abc", false),
            ("a?c", "abc", true), ("a?c", "ac", false), ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false), ("[^a-c]x", "dx", true), ("\\*", "*", true),
            ("\\*", "a", false), ("*a*b*", "xxaxxbxx", true), ("*a*b*", "xxbxxaxx", false),
            ("", "", true), ("", "a", false), ("a[", "a[", true),
        ]
        for (pattern, text, expected) in cases {
            #expect(Glob.matches(pattern, Array(text.utf8)) == expected, "\(pattern) \(text)")
        }
    }

    @Test("M6: databases are mapped, and those without a place are left out")
    func databases() {
        var filter = KeyFilter()
        #expect(filter.target(self.key("a", 9)) == self.key("a", 9))
        filter.databases = [0: 3]
        #expect(filter.target(self.key("a", 0)) == self.key("a", 3))
        #expect(filter.target(self.key("a", 1)) == nil)
    }

    @Test("Keys are chosen by globs and slots, and renamed")
    func choice() {
        var filter = KeyFilter()
        filter.include = ["p:*"]
        filter.exclude = ["*:tmp"]
        filter.stripPrefix = Array("p:".utf8)
        filter.addPrefix = Array("new/".utf8)
        #expect(filter.target(self.key("p:a")) == self.key("new/a"))
        #expect(filter.target(self.key("p:tmp")) == nil)
        #expect(filter.target(self.key("q:a")) == nil)
        var slots = KeyFilter()
        slots.slots = [12_739...12_739]
        #expect(slots.target(self.key("123456789")) != nil)
        #expect(slots.target(self.key("12345678")) == nil)
    }

    @Test("The tool's own names are never copied")
    func reserved() {
        #expect(KeyFilter().target(self.key("__pika_migrate:job:0")) == nil)
    }

    @Test("Another filter has another digest")
    func digest() {
        var other = KeyFilter()
        other.include = ["a"]
        var third = KeyFilter()
        third.exclude = ["a"]
        #expect(Set([KeyFilter().digest, other.digest, third.digest]).count == 3)
    }
}
