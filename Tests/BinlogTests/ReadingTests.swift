import Binlog
import FileIO
import SyncProtocol
import TestKit
import Testing

@Suite("Binlog cursors")
struct CursorTests {
    private func filled(
        _ bench: Bench, _ count: Int = 300, bytes: ClosedRange<Int> = 10...3_000
    ) throws -> BinlogLog {
        let log = try bench.open()
        var random = SeededRandom(seed: 7)
        for index in 0..<count {
            try log.append(
                group(contentBytes: .random(in: bytes, using: &random), fill: UInt8(index & 0xFF)),
                execTimeSeconds: UInt32(index), atomicGroup: false)
        }
        return log
    }

    @Test("Every item end is a place to start from, and gives the rest of the log")
    func startAnywhere() throws {
        let log = try filled(Bench(fileSizeLimitBytes: 100_000), 120)
        let items = try log.seen()
        #expect(items.count == 120)
        for (index, item) in items.enumerated() {
            #expect(try log.verdict(at: item.end) == .ok)
            #expect(try log.seen(from: item.end) == Array(items[(index + 1)...]))
        }
    }

    @Test("A position inside an item, behind the end or in a file that is gone has its verdict")
    func verdicts() throws {
        let log = try filled(Bench(fileSizeLimitBytes: 100_000), 120, bytes: 2_000...3_000)
        let items = try log.seen()
        let ends = Set(items.map(\.end))
        for offset in stride(from: UInt64(1), to: 70_000, by: 997) {
            let place = position(0, offset)
            if ends.contains(place) { continue }
            #expect(try log.verdict(at: place) == .notABoundary, "offset \(offset)")
            #expect(throws: BinlogError.position(place, .notABoundary)) {
                _ = try log.makeCursor(at: place)
            }
        }
        // A block's start is an item end only if an item ends there.
        #expect(try log.verdict(at: position(0, 65_536)) == .notABoundary)
        #expect(try log.verdict(at: position(0, 900_000)) == .notABoundary)
        #expect(try log.verdict(at: position(1, 0)) == .ok)
        let end = log.end.position
        #expect(try log.verdict(at: end) == .ok)
        #expect(
            try log.verdict(at: position(end.fileNumber, end.offset + 1)) == .larger)
        #expect(try log.verdict(at: position(end.fileNumber + 1, 0)) == .larger)
        #expect(try log.purge([0, 1]) == [0, 1])
        #expect(try log.verdict(at: position(0, 0)) == .purged)
        #expect(try log.verdict(at: position(2, 0)) == .ok)
        #expect(log.start == position(2, 0))
    }

    @Test("A cursor never passes its limit and goes on when the limit moves")
    func limits() throws {
        let log = try filled(Bench(fileSizeLimitBytes: 50_000), 100)
        let items = try log.seen()
        let cursor = try log.makeCursor(at: .zero)
        for item in items {
            var seen: [BinlogPosition] = []
            let count = try cursor.next(upTo: item.end) { _, _, end in
                seen.append(end)
                return .next
            }
            #expect(count == 1)
            #expect(seen == [item.end])
            #expect(try cursor.next(upTo: item.end) { _, _, _ in .next } == 0)
        }
    }

    @Test("Stopping before an item shows it again; stopping after does not; bytes are bounded")
    func steps() throws {
        let log = try filled(Bench(fileSizeLimitBytes: 50_000), 100)
        let items = try log.seen()
        let end = log.end.position
        let cursor = try log.makeCursor(at: .zero)
        var seen: [BinlogPosition] = []
        var round = 0
        while cursor.position < end {
            round += 1
            let isBefore = round.isMultiple(of: 2)
            var shown = 0
            try cursor.next(upTo: end, maxBytes: 5_000) { _, _, end in
                shown += 1
                if shown == 3 {
                    if !isBefore { seen.append(end) }
                    return isBefore ? .stopBefore : .stopAfter
                }
                seen.append(end)
                return .next
            }
        }
        #expect(seen == items.map(\.end))
        let small = try log.makeCursor(at: .zero)
        #expect(try small.next(upTo: end, maxBytes: 1) { _, _, _ in .next } == 1)
    }

    @Test("A cursor follows a log that grows and rolls")
    func follows() throws {
        let log = try Bench(fileSizeLimitBytes: 2_000).open()
        let cursor = try log.makeCursor(at: .zero)
        var seen = 0
        for index in 0..<200 {
            try log.append(
                group([["set", "key\(index)", "value"]]), execTimeSeconds: 1,
                atomicGroup: false)
            if index % 3 == 0 {
                seen += try cursor.next(upTo: log.end.position) { _, _, _ in .next }
            }
        }
        seen += try cursor.next(upTo: log.end.position) { _, _, _ in .next }
        #expect(seen == 200)
        #expect(cursor.position == log.end.position)
    }

    @Test("A wrong byte in a finished block is noticed before an item of it is shown")
    func wrongByteInBlock() throws {
        let bench = Bench()
        let log = try filled(bench, 300, bytes: 1_000...1_001)
        try log.syncAll()
        bench.flip("write2file0", at: 70_000, mask: 0x20)
        let cursor = try log.makeCursor(at: .zero)
        var last = BinlogPosition.zero
        let error = #expect(throws: BinlogError.self) {
            try cursor.next(upTo: log.end.position) { _, _, end in
                last = end
                return .next
            }
        }
        guard case .damaged(_, 65_536, .blockChecksum(1, _, _)) = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
        #expect(last.offset <= 70_000)
        // Whoever starts behind it is served.
        let items = try log.makeCursor(at: last)
        #expect(throws: BinlogError.self) {
            try items.next(upTo: log.end.position) { _, _, _ in .next }
        }
    }

    @Test("After a cut a cursor inside the log goes on, one behind the end says so")
    func cuts() throws {
        let bench = Bench()
        let log = try filled(bench, 10)
        let items = try log.seen()
        let inside = try log.makeCursor(at: items[3].end)
        let behind = try log.makeCursor(at: items[8].end)
        try log.truncate(to: try log.mark(at: items[6].end))
        #expect(try inside.next(upTo: log.end.position) { _, _, _ in .next } == 3)
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.append(group(contentBytes: 60_000), execTimeSeconds: 1, atomicGroup: false)
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(try inside.next(upTo: log.end.position) { _, _, _ in .next } == 3)
        _ = behind
        try log.reset(to: BinlogMark(position: position(9, 0), digest: 0))
        #expect(throws: BinlogError.cursorOvertaken(inside.position)) {
            try inside.next(upTo: position(9, 100)) { _, _, _ in .next }
        }
    }

    @Test("The digest at a position is the same from any sidecar entry, and on every holder")
    func digests() throws {
        let bench = Bench(fileSizeLimitBytes: 100_000)
        let log = try bench.open()
        var marks: [BinlogMark] = []
        for index in 0..<150 {
            marks.append(
                try log.append(
                    group(contentBytes: 1_500 + index), execTimeSeconds: 1, atomicGroup: false))
            if index % 7 == 0 { try log.syncAll() }
        }
        for mark in marks { #expect(try log.mark(at: mark.position) == mark) }
        let again = try bench.open()
        #expect(again.end == marks.last)
        for mark in marks { #expect(try again.mark(at: mark.position) == mark) }
        #expect(throws: BinlogError.self) { try again.mark(at: position(0, 1_001)) }
        let whole = log.distanceBytes(from: .zero, to: log.end.position)
        let sizes = log.files().map { Int($0.endOffset ?? log.end.position.offset) }
        #expect(Int(whole) == sizes.reduce(0, +))
    }
}

@Suite("Binlog sidecar")
struct SidecarTests {
    @Test("Golden: header, start, slots and appended records")
    func golden() throws {
        let bench = Bench(fileSizeLimitBytes: 70_000)
        let log = try bench.open()
        try log.append(
            group(contentBytes: 66_000, fill: 0x61), execTimeSeconds: 1, atomicGroup: false)
        let published = log.end
        try log.append(
            group(contentBytes: 5_000, fill: 0x62), execTimeSeconds: 1, atomicGroup: false)
        try log.sync(published: published)
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.syncAll()
        let bytes = bench.bytes("write2file0.sum")
        #expect(bytes.count == 4_096 + 4 * 32)
        #expect(Array(bytes[..<8]) == Array("PIKASUM1".utf8))
        #expect(Array(bytes[8..<24]) == hex("01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"))
        func kinds(_ range: Range<Int>) -> [UInt8] {
            stride(from: range.lowerBound, to: range.upperBound, by: 32).map { bytes[$0] }
        }
        #expect(kinds(32..<192) == [1, 2, 3, 7, 0])
        #expect(kinds(4_096..<bytes.count) == [6, 4, 5, 7])
        func number(_ at: Int) -> UInt64 {
            (0..<8).reduce(0) { $0 | UInt64(bytes[at + $1]) << UInt64(8 * $1) }
        }
        #expect(number(64 + 8) == published.position.offset)
        #expect(number(64 + 16) == published.digest)
        // The digest of these very bytes; it must never change.
        #expect(published.digest == 8_672_218_644_864_765_137)
    }

    @Test("Every cut and every flip of a sidecar is an error or leaves the log as it is")
    func damage() throws {
        let bench = Bench(fileSizeLimitBytes: 200_000)
        let log = try bench.open()
        for _ in 0..<5 {
            try log.append(
                group(contentBytes: 17_000), execTimeSeconds: 1, atomicGroup: false)
            try log.syncAll()
        }
        let end = log.end
        let whole = bench.bytes("write2file0.sum")
        let data = bench.bytes("write2file0")
        func check(_ what: String) {
            for recovery in [BinlogRecovery.sameBoot, .powerLoss] {
                do throws(BinlogError) {
                    let opened = try bench.open(recovery)
                    #expect(opened.end == end, "\(what)")
                } catch {
                    #expect(error.isAboutContent, "\(what): \(error)")
                }
                let isSame = bench.holds("write2file0", data)
                #expect(isSame, "\(what)")
            }
        }
        for size in Array(1..<64) + [64, 100, 4_096, 4_100, whole.count - 1] {
            bench.disk.setContents(bench.path("write2file0.sum"), Array(whole[..<size]))
            // With nothing but the start left, the power loss has taken what no entry proves.
            if size >= 64, size < 600 { continue }
            check("sidecar of \(size) bytes")
        }
        for offset in whole.indices where whole[offset] != 0 && offset % 7 == 3 {
            bench.disk.setContents(bench.path("write2file0.sum"), whole)
            bench.flip("write2file0.sum", at: offset)
            check("flip at \(offset)")
        }
        bench.disk.setContents(bench.path("write2file0.sum"), whole)
        bench.flip("write2file0.sum", at: 70)
        #expect(try bench.open().openReport.skippedSidecarRecords == 1)
        bench.disk.setContents(bench.path("write2file0.sum"), whole)
        bench.flip("write2file0.sum", at: 3)
        #expect(
            throws: BinlogError.sidecarDamaged(path: bench.path("write2file0.sum"), .wrongKind)
        ) { try bench.open() }
    }

    @Test("A log whose sidecars are gone gets new ones")
    func rebuilt() throws {
        let bench = Bench(fileSizeLimitBytes: 20_000)
        let log = try bench.open()
        for _ in 0..<50 {
            try log.append(group(contentBytes: 1_000), execTimeSeconds: 1, atomicGroup: false)
        }
        try log.syncAll()
        for file in log.files() {
            try bench.disk.unlink(bench.path("write2file\(file.number).sum"))
        }
        let again = try bench.open()
        #expect(again.end.position == log.end.position)
        #expect(again.openReport.filesWithoutSidecar == [0, 1, 2])
        #expect(try again.seen().count == 50)
        try again.syncAll()
        #expect(try bench.open(.powerLoss).end == again.end)
    }

    @Test("After a power loss without any sidecar nothing is guessed")
    func noSidecarAfterPowerLoss() throws {
        let bench = Bench()
        let log = try bench.open()
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.syncAll()
        let data = bench.bytes("write2file0")
        try bench.disk.unlink(bench.path("write2file0.sum"))
        #expect(
            throws: BinlogError.sidecarDamaged(path: bench.path("write2file0.sum"), .missing)
        ) { try bench.open(.powerLoss) }
        let samebench = bench.holds("write2file0", data)
        #expect(samebench)
    }
}

@Suite("Purging binlog files")
struct PurgeTests {
    private func files(_ numbers: Range<UInt32>, agesInDays: Int64 = 0) -> [BinlogFileInfo] {
        numbers.map {
            BinlogFileInfo(
                number: $0, startOffset: 0, endOffset: $0 == numbers.upperBound - 1 ? nil : 100,
                modifiedSeconds: 1_000_000 - agesInDays * 86_400)
        }
    }

    private func plan(
        _ files: [BinlogFileInfo], keep: Int = 10, days: Int = 7, manual: UInt32? = nil,
        protected: BinlogPosition? = nil
    ) -> [UInt32] {
        PurgePlan.files(
            toRemoveFrom: files, policy: PurgePolicy(keepFileCount: keep, keepDays: days),
            manualUpTo: manual, protectedFrom: protected, nowSeconds: 1_000_000)
    }

    @Test("By count: the newest ones stay, never less than 10")
    func byCount() {
        #expect(plan(files(0..<10)) == [])
        #expect(plan(files(0..<13)) == [0, 1, 2])
        #expect(plan(files(0..<13), keep: 1) == [0, 1, 2])
        #expect(plan(files(5..<35), keep: 20) == Array(5..<15))
    }

    @Test("By age: old ones go while more than 10 remain")
    func byAge() {
        #expect(plan(files(0..<15, agesInDays: 8), keep: 100) == [0, 1, 2, 3, 4])
        #expect(plan(files(0..<15, agesInDays: 7), keep: 100) == [])
        #expect(plan(files(0..<10, agesInDays: 100), keep: 100) == [])
    }

    @Test("By hand: up to the number given, but never the file being written")
    func byHand() {
        #expect(plan(files(0..<4), manual: 1) == [0, 1])
        #expect(plan(files(0..<1), manual: 0) == [])
        #expect(plan(files(0..<4), manual: 99) == [0, 1, 2])
    }

    @Test("F8: files from a protected position on stay, whatever asks for them")
    func protection() {
        #expect(plan(files(0..<20), protected: position(3, 50)) == [0, 1, 2])
        #expect(plan(files(0..<20), protected: position(0, 0)) == [])
        #expect(plan(files(0..<4), manual: 99, protected: position(2, 0)) == [0, 1])
    }

    @Test("Purging removes files and sidecars from the oldest on, and never the current one")
    func execution() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        for index in 0..<100 {
            try log.append(
                group([["set", "key\(index)", "value"]]), execTimeSeconds: 1,
                atomicGroup: false)
        }
        let numbers = log.files().map(\.number)
        #expect(numbers.count > 4)
        #expect(try log.purge([1, 2]) == [])
        #expect(try log.purge([0, 2]) == [0])
        #expect(try log.purge(numbers) == Array(numbers[1..<(numbers.count - 1)]))
        #expect(log.files().count == 1)
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.syncAll()
        #expect(try bench.open().end == log.end)
        #expect(
            try bench.disk.list(bench.directory).filter { $0.hasPrefix("write") }.count == 2)
    }
}
