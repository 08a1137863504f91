import MigrateCore
import Testing

@Suite("Which keys go where")
struct FilterTests {
    private func key(_ text: String, _ database: Int = 0) -> DatabaseKey {
        DatabaseKey(database, Array(text.utf8))
    }

    @Test("A name may come twice from a Pika, and where names or databases are joined")
    func twins() {
        let redis = SourcePosition.redis(
            RedisPosition(replicationID: "a", offset: 1, database: 0))
        let pika = SourcePosition.pika(
            PikaPosition(replicationID: "", runID: "", databases: [:]))
        var filter = KeyFilter()
        #expect(!filter.mayRepeatNames(redis) && filter.mayRepeatNames(pika))
        filter.kinds = [.hash]
        #expect(!filter.mayRepeatNames(pika))
        filter.databases = [0: 0, 1: 0]
        #expect(filter.mayRepeatNames(redis))
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
        filter.renaming.strip = Array("p:".utf8)
        filter.renaming.add = Array("new/".utf8)
        #expect(filter.target(self.key("p:a")) == self.key("new/a"))
        #expect(filter.target(self.key("p:tmp")) == nil)
        #expect(filter.target(self.key("q:a")) == nil)
        var slots = KeyFilter()
        slots.slots = [12_739...12_739]
        #expect(slots.target(self.key("123456789")) != nil)
        #expect(slots.target(self.key("12345678")) == nil)
    }

    @Test("Lists are asked in their order: database, denied, allowed, slot, name")
    func table() throws {
        var filter = KeyFilter()
        filter.databases = [0: 2, 3: 3]
        filter.include = KeyPatterns(
            globs: ["user:*"], prefixes: ["cart/"], regexes: [try ByteRegex("^s[0-9]+$")])
        filter.exclude = KeyPatterns(
            globs: ["*:tmp"], prefixes: ["cart/old"], regexes: [try ByteRegex("00$")])
        let cases: [(String, Int, String?)] = [
            ("user:1", 0, "user:1"), ("user:1", 1, nil), ("user:1", 3, "user:1"),
            ("user:tmp", 0, nil), ("cart/1", 0, "cart/1"), ("cart/old1", 0, nil),
            ("s17", 0, "s17"), ("s100", 0, nil), ("s", 0, nil), ("other", 0, nil),
            ("__pika_migrate:j:0", 0, nil),
        ]
        for (name, database, expected) in cases {
            let found = filter.target(self.key(name, database))
            #expect(found?.key == expected.map { Array($0.utf8) }, "\(name) of db\(database)")
            #expect(found == nil || found?.database == filter.databases[database])
        }
    }

    @Test("Names change in their order: beginning, strip, template, add")
    func renaming() {
        typealias Change = KeyRenaming.PrefixChange
        func name(_ change: (inout KeyRenaming) -> Void, _ key: String) -> String {
            var renaming = KeyRenaming()
            change(&renaming)
            return String(decoding: renaming.name(Array(key.utf8), database: 7), as: UTF8.self)
        }
        let prefixes = [
            Change(from: Array("a:".utf8), to: Array("b:".utf8)),
            Change(from: Array("a".utf8), to: []),
        ]
        #expect(name({ _ in }, "a:1") == "a:1")
        #expect(name({ $0.prefixes = prefixes }, "a:1") == "b:1")
        #expect(name({ $0.prefixes = prefixes }, "ax") == "x")
        #expect(name({ $0.prefixes = prefixes }, "b:a:1") == "b:a:1")
        #expect(name({ $0.template = KeyTemplate("db{db}/{key}/{db}") }, "k") == "db7/k/7")
        #expect(
            name(
                {
                    $0.prefixes = prefixes
                    $0.strip = Array("b:".utf8)
                    $0.template = KeyTemplate("<{key}>")
                    $0.add = Array("new/".utf8)
                }, "a:1") == "new/<1>")
        #expect(KeyTemplate("no name") == nil)
        #expect(KeyTemplate("{key}{key}") == nil)
        // What it holds is no template.
        #expect(name({ $0.template = KeyTemplate("{key}") }, "{db}") == "{db}")
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
        var fourth = KeyFilter()
        fourth.include = KeyPatterns(prefixes: ["a"])
        var fifth = KeyFilter()
        fifth.renaming.add = [1]
        let digests = [KeyFilter(), other, third, fourth, fifth].map(\.digest)
        #expect(Set(digests).count == digests.count)
    }
}
