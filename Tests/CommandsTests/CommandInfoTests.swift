import Commands
import Testing

/// What COMMAND tells about keys, as Redis 7 shows it.
@Suite("Key specifications")
struct CommandInfoTests {
    private func specifications(_ command: String) throws -> [String] {
        let harness = try Harness()
        defer { harness.close() }
        let fields = harness.run("COMMAND INFO \(command)").elements.first?.elements ?? []
        try #require(fields.count == 10)
        return fields[8].elements.map { "\($0)" }
    }

    private func range(_ flags: String, _ index: Int, _ last: Int, _ step: Int) -> String {
        "[\"flags\", [\(flags)], \"begin_search\", [\"type\", \"index\", \"spec\", [\"index\", "
            + ":\(index)]], \"find_keys\", [\"type\", \"range\", \"spec\", [\"lastkey\", :\(last), "
            + "\"keystep\", :\(step), \"limit\", :0]]]"
    }

    @Test("One key, several keys, pairs")
    func ranges() throws {
        #expect(try specifications("GET") == [range("+RO, +access", 1, 0, 1)])
        #expect(try specifications("DEL") == [range("+RM, +delete", 1, -1, 1)])
        #expect(try specifications("MSET") == [range("+OW, +update", 1, -1, 2)])
        #expect(try specifications("LPUSH") == [range("+RW, +access, +update", 1, 0, 1)])
        #expect(try specifications("BLPOP") == [range("+RW, +access, +update", 1, -2, 1)])
        #expect(try specifications("PING").isEmpty)
    }

    @Test("A destination and its sources")
    func destinations() throws {
        #expect(
            try specifications("SUNIONSTORE")
                == [range("+OW, +update", 1, 0, 1), range("+RO, +access", 2, -1, 1)])
        #expect(
            try specifications("BITOP")
                == [range("+OW, +update", 2, 0, 1), range("+RO, +access", 3, -1, 1)])
        let union = try specifications("ZUNIONSTORE")
        #expect(union.first == range("+OW, +update", 1, 0, 1))
        #expect(
            union.last
                == "[\"flags\", [+RO, +access], \"begin_search\", [\"type\", \"index\", \"spec\", "
                + "[\"index\", :2]], \"find_keys\", [\"type\", \"keynum\", \"spec\", "
                + "[\"keynumidx\", :0, \"firstkey\", :1, \"keystep\", :1]]]")
    }

    @Test("A key behind a word")
    func keywords() throws {
        let found = try specifications("GEORADIUS")
        #expect(found.count == 3)
        #expect(found.first == range("+RO, +access", 1, 0, 1))
        #expect(found[1].contains("[\"keyword\", \"STORE\", \"startfrom\", :6]"))
        #expect(found[2].contains("[\"keyword\", \"STOREDIST\", \"startfrom\", :6]"))
    }

    @Test("GETKEYSANDFLAGS names the keys and what becomes of them")
    func keysAndFlags() throws {
        let harness = try Harness()
        defer { harness.close() }
        #expect(
            "\(harness.run("COMMAND GETKEYSANDFLAGS SUNIONSTORE d a b"))"
                == "[[\"d\", [+OW, +update]], [\"a\", [+RO, +access]], [\"b\", [+RO, +access]]]")
        #expect(
            "\(harness.run("COMMAND GETKEYSANDFLAGS SORT a STORE b"))"
                == "[[\"a\", [+RO, +access]], [\"b\", [+OW, +update]]]")
    }

    @Test("CLIENT LIST shows what is queued")
    func clientList() throws {
        let harness = try Harness()
        defer { harness.close() }
        let other = Harness.makeClient(id: 2)
        harness.services.add(other.record)
        func line() -> String {
            let reply = harness.run("CLIENT LIST ID 2")
            return String(decoding: reply.bulkBytes ?? [], as: UTF8.self)
        }
        #expect(line().contains(" multi=-1 "))
        _ = harness.replies("MULTI\r\nPING\r\nPING", as: other)
        #expect(line().contains(" multi=2 "))
        #expect(line().contains(" multi-mem=8 "))
        _ = harness.run("DISCARD", as: other)
        #expect(line().contains(" multi=-1 "))
        #expect(line().contains(" multi-mem=0 "))
    }
}
