import Binlog
import FileIO
import SyncProtocol
import TestKit
import Testing

@Suite("Logs of a real Pika 3.5.0")
struct RealLogTests {
    private func load(_ fixture: String) throws -> Bench {
        let bench = Bench()
        try bench.disk.load(directory: Bench.fixture(fixture), to: bench.directory)
        return bench
    }

    @Test("A master's log decodes to its last byte, and our encoding gives the same bytes")
    func masterLog() throws {
        for (name, end, count) in [
            ("A-loaded/log_db0", UInt64(26_521), 126), ("A-loaded/log_db1", 415, 5),
        ] {
            let bench = try load(name)
            let original = bench.bytes("write2file0")
            let manifest = bench.bytes("manifest")
            let log = try bench.open(.foreignWriter)
            #expect(log.end.position == position(0, end))
            #expect(log.openReport.cutBytes == 0)
            let items = try log.seen()
            #expect(items.count == count)
            #expect(items.last?.header.logicIndex == UInt64(count))

            let other = Bench()
            let copy = try other.open()
            for item in items {
                var content = BinlogItems()
                item.content.withUnsafeBytes { content.appendItem(content: $0) }
                try copy.append(
                    content, execTimeSeconds: item.header.execTimeSeconds, atomicGroup: false)
            }
            let isSame1 = other.holds("write2file0", original)
            #expect(isSame1)
            try copy.close()
            let isSame2 = other.holds("manifest", manifest)
            #expect(isSame2)
            #expect(copy.end == log.end)
        }
    }

    @Test("A replica's rotated log decodes, and receiving its items gives the same files")
    func rotatedLog() throws {
        let bench = try load("D-rotated/log_db0")
        try bench.disk.unlink(bench.path("manifest"))
        try bench.disk.unlink(bench.path("write2file56"))
        let log = try bench.open(.foreignWriter, .received)
        #expect(log.files().map(\.number) == [1, 2, 3, 4, 5])
        let items = try log.seen()
        #expect(items.count == 241)
        #expect(items[0].text.contains("rot:0060"))
        #expect(items[239].text.contains("rot:0299"))
        #expect(items[240].content.count == 40_000 + 32)

        let other = Bench()
        let copy = try other.create(at: BinlogMark(position: position(1, 0), digest: 0))
        try copy.appendCopies(items)
        for number in 1...5 {
            #expect(other.bytes("write2file\(number)") == bench.bytes("write2file\(number)"))
        }
        // Without sidecars the digest counts from the start of the newest file.
        #expect(copy.end.position == log.end.position)
    }

    @Test("A log after a real full sync: padding is passed, left-over files are stale")
    func afterFullSync() throws {
        let bench = try load("D-rotated/log_db0")
        let padding = bench.bytes("write2file56")
        let log = try bench.open(.foreignWriter, .received)
        #expect(log.end.position == position(56, 14_000))
        #expect(log.start == position(56, 14_000))
        #expect(log.openReport.staleFiles == [1, 2, 3, 4, 5])
        #expect(try log.verdict(at: position(56, 14_000)) == .ok)
        #expect(try log.verdict(at: position(56, 0)) == .purged)
        #expect(try log.verdict(at: position(56, 13_000)) == .purged)
        #expect(try log.verdict(at: position(5, 0)) == .purged)
        try log.append(group([["set", "a", "b"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(try log.seen().count == 1)
        try log.purge([])
        #expect(
            try bench.disk.list(bench.directory) == [
                "manifest", "write2file56", "write2file56.sum",
            ])

        // Our own reset writes the same file but for the time in the record's header.
        let other = Bench()
        let reset = try other.open()
        try reset.append(group([["set", "a", "b"]]), execTimeSeconds: 1, atomicGroup: false)
        try reset.reset(to: BinlogMark(position: position(56, 14_000), digest: 77))
        var written = other.bytes("write2file56")
        written.replaceSubrange(3..<7, with: padding[3..<7])
        #expect(written == padding)
        #expect(
            Array(other.bytes("manifest")[..<24]) == Array(bench.bytes("manifest")[..<4])
                + hex("b0 36 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"))
        #expect(reset.end.digest == 77)
        #expect(try other.open(.powerLoss).end == reset.end)
    }

    @Test("The log of a killed real Pika: preallocated zeros behind the manifest's end go")
    func preallocatedTail() throws {
        let bench = try load("A-loaded/log_db0")
        let original = bench.bytes("write2file0")
        bench.disk.setContents(
            bench.path("write2file0"), original + [UInt8](repeating: 0, count: 4 << 20))
        let log = try bench.open(.foreignWriter)
        #expect(log.end.position == position(0, 26_521))
        #expect(log.openReport.cutBytes == 4 << 20)
        let isSame3 = bench.holds("write2file0", original)
        #expect(isSame3)
    }

    @Test("A real log that is shorter than its manifest says is an error, and stays as it is")
    func shorterThanManifest() throws {
        let bench = try load("A-loaded/log_db0")
        bench.cut("write2file0", to: 20_000)
        let error = #expect(throws: BinlogError.self) { try bench.open(.foreignWriter) }
        guard case .endsTooEarly(let expected, let actual, .manifest) = error else {
            Issue.record("wrong error: \(String(describing: error))")
            return
        }
        #expect(expected == position(0, 26_521))
        #expect(actual < position(0, 20_000))
        #expect(bench.bytes("write2file0").count == 20_000)
        #expect(bench.disk.contents(bench.path("write2file0.sum")) == nil)
    }
}
