import Binlog
import FileIO
import SyncProtocol
import TestKit
import Testing

@Suite("Binlog recovery on the same boot")
struct RecoveryTests {
    /// A log of five items, the last one over two blocks; ends of all items.
    private func sample(_ bench: Bench) throws -> [BinlogPosition] {
        let log = try bench.open()
        for index in 0..<4 {
            try log.append(
                group([["set", "key\(index)", "value"]]), execTimeSeconds: 10,
                atomicGroup: false)
        }
        try log.append(
            group(contentBytes: 70_000), execTimeSeconds: 11, atomicGroup: false)
        return try log.seen().map(\.end)
    }

    @Test("Whatever prefix of the file a kill leaves, the whole items stay and the rest is cut")
    func prefixes() throws {
        let bench = Bench()
        let ends = try sample(bench)
        let whole = bench.bytes("write2file0")
        let interesting =
            Array(0...180) + Array((65_536 - 9)...(65_536 + 9)) + [whole.count - 1, whole.count]
        for size in interesting {
            bench.disk.setContents(bench.path("write2file0"), Array(whole[..<size]))
            bench.disk.setContents(bench.path("manifest"), [])
            let log = try bench.open()
            let expected = ends.last { $0.offset <= UInt64(size) } ?? .zero
            #expect(log.end.position == expected, "prefix of \(size) bytes")
            #expect(bench.bytes("write2file0").count == Int(expected.offset))
            #expect(log.openReport.cutBytes == UInt64(size) - expected.offset)
        }
    }

    @Test("An item torn by a kill is cut, and the next append takes its place")
    func tornThenAppend() throws {
        let bench = Bench()
        let ends = try sample(bench)
        bench.cut("write2file0", to: bench.bytes("write2file0").count - 5)
        bench.disk.setContents(bench.path("manifest"), [])
        let log = try bench.open()
        #expect(log.end.position == ends[3])
        try log.append(group([["del", "x"]]), execTimeSeconds: 12, atomicGroup: false)
        let items = try bench.open().seen()
        #expect(items.count == 5)
        #expect(items[4].header.logicIndex == 5)
    }

    @Test("Any flipped bit in synced items is an error that leaves the log as it is")
    func flips() throws {
        let bench = Bench()
        let log = try bench.open()
        for index in 0..<3 {
            try log.append(
                group([["set", "key\(index)", "value"]]), execTimeSeconds: 10,
                atomicGroup: false)
        }
        try log.syncAll()
        let end = log.end
        let whole = bench.bytes("write2file0")
        for recovery in [BinlogRecovery.sameBoot, .powerLoss] {
            for offset in whole.indices {
                bench.disk.setContents(bench.path("write2file0"), whole)
                bench.flip("write2file0", at: offset, mask: 0x40)
                do throws(BinlogError) {
                    let opened = try bench.open(recovery)
                    Issue.record("flip at \(offset) went unnoticed")
                    #expect(opened.end == end)
                } catch {
                    #expect(error.isAboutContent, "flip at \(offset): \(error)")
                }
                #expect(bench.bytes("write2file0").count == whole.count)
            }
        }
        bench.disk.setContents(bench.path("write2file0"), whole)
        #expect(try bench.open(.powerLoss).end == end)
    }

    @Test("A torn head of a new file's sidecar is nothing after a power loss, and damage otherwise")
    func tornHead() throws {
        for size in [1, 31, 32, 55, 63, 64, 100] {
            let bench = Bench()
            let end = try sample(bench)[4]
            let log = try bench.open()
            _ = try log.startNewFile()
            try log.syncAll()
            // As if the sync of the new file had not come to its end.
            let head = Array(bench.bytes("write2file1.sum").prefix(size))
            bench.disk.setContents(bench.path("write2file1.sum"), head)
            if size < 64 {
                #expect(throws: BinlogError.self) { try bench.open(.sameBoot) }
            }
            #expect(try bench.open(.powerLoss).end.position >= end)
            // A sidecar that names a durable end must be whole.
            var damaged = bench.bytes("write2file0.sum")
            damaged[40] ^= 1
            bench.disk.setContents(bench.path("write2file0.sum"), damaged)
            #expect(throws: BinlogError.self) { try bench.open(.powerLoss) }
        }
    }

    @Test("Behind a gap that a power loss left in the files nothing counts")
    func gap() throws {
        let bench = Bench()
        let end = try sample(bench)[4]
        let log = try bench.open()
        try log.syncAll()
        for _ in 0..<3 { _ = try log.startNewFile() }
        for name in ["write2file2", "write2file2.sum"] { try bench.disk.unlink(bench.path(name)) }
        let again = try bench.open(.powerLoss, .own, requiredEnd: end)
        #expect(again.end.position >= end)
        #expect(again.end.position.fileNumber < 2)
    }

    @Test("A synced log that became shorter is an error that names both ends")
    func truncatedBehindOurBack() throws {
        let bench = Bench()
        let ends = try sample(bench)
        let log = try bench.open()
        try log.syncAll()
        let size = bench.bytes("write2file0").count
        for recovery in [BinlogRecovery.sameBoot, .powerLoss] {
            bench.cut("write2file0", to: min(size - 10, bench.bytes("write2file0").count))
            let error = #expect(throws: BinlogError.self) { try bench.open(recovery) }
            #expect(
                error
                    == .endsTooEarly(
                        expected: ends[4], actual: ends[3], source: .sidecar))
            #expect(bench.bytes("write2file0").count == size - 10)
        }
    }

    @Test("An older file that became shorter is an error")
    func truncatedOldFile() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        for index in 0..<60 {
            try log.append(
                group([["set", "key\(index)", "value"]]), execTimeSeconds: 10,
                atomicGroup: false)
        }
        try log.syncAll()
        bench.cut("write2file1", to: 500)
        let error = #expect(throws: BinlogError.self) { try bench.open() }
        guard case .endsTooEarly(_, position(1, 500), .sidecar) = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
    }

    @Test("A store that holds more than the log is an error before anything is cut")
    func storeAheadOfLog() throws {
        let bench = Bench()
        let ends = try sample(bench)
        bench.cut("write2file0", to: Int(ends[2].offset) + 3)
        bench.disk.setContents(bench.path("manifest"), [])
        let error = #expect(throws: BinlogError.self) {
            try bench.open(.sameBoot, .own, requiredEnd: ends[3])
        }
        #expect(
            error == .endsTooEarly(expected: ends[3], actual: ends[2], source: .store))
        #expect(bench.bytes("write2file0").count == Int(ends[2].offset) + 3)
    }

    @Test("A damaged manifest: too short is ignored, one that names more than there is is an error")
    func manifestDamage() throws {
        let bench = Bench()
        let ends = try sample(bench)
        try bench.open().close()
        let good = bench.bytes("manifest")
        for size in 0..<24 {
            bench.disk.setContents(bench.path("manifest"), Array(good[..<size]))
            let log = try bench.open()
            #expect(log.end.position == ends[4])
            #expect(log.openReport.manifestIgnored)
        }
        var far = good
        far[0] = 9
        bench.disk.setContents(bench.path("manifest"), far)
        #expect(
            throws: BinlogError.manifestNamesMissingFile(
                path: bench.path("manifest"), named: 9, newest: 0)
        ) { try bench.open() }
        var long = good
        long[7] = 1
        bench.disk.setContents(bench.path("manifest"), long)
        let error = #expect(throws: BinlogError.self) { try bench.open() }
        guard case .endsTooEarly(_, let actual, .manifest) = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
        #expect(actual == ends[4])
        var short = good
        short[4] = 0
        bench.disk.setContents(bench.path("manifest"), short)
        #expect(try bench.open().end.position == ends[4])
    }

    @Test("All files gone while the manifest names one is an error, not a new log")
    func filesGone() throws {
        let bench = Bench()
        _ = try sample(bench)
        try bench.open().close()
        try bench.disk.unlink(bench.path("write2file0"))
        let error = #expect(throws: BinlogError.self) { try bench.open() }
        guard case .manifestNamesMissingFile(_, 0, nil) = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
    }

    @Test("A zero page in the middle of a log is an error on the same boot")
    func zeroPage() throws {
        let bench = Bench()
        let log = try bench.open()
        for index in 0..<200 {
            try log.append(
                group([["set", "key\(index)", "value"]]), execTimeSeconds: 10,
                atomicGroup: false)
        }
        var bytes = bench.bytes("write2file0")
        bytes.replaceSubrange(4_096..<8_192, with: [UInt8](repeating: 0, count: 4_096))
        bench.disk.setContents(bench.path("write2file0"), bytes)
        bench.disk.setContents(bench.path("manifest"), [])
        let error = #expect(throws: BinlogError.self) { try bench.open() }
        #expect(error?.isAboutContent == true)
        let isSame = bench.holds("write2file0", bytes)
        #expect(isSame)
    }

    @Test("A kill between making a file and writing to it loses nothing")
    func killDuringRoll() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        while log.end.position.offset <= 1_024 {
            try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        }
        let end = log.end
        bench.disk.setContents(bench.path("write2file1"), [])
        let again = try bench.open()
        #expect(again.end == end)
        try again.append(group([["del", "b"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(again.end.position.fileNumber == 1)
        #expect(try bench.open().end == again.end)
    }

    @Test("Golden: what a first append, a sync and a roll do to the disk, in order")
    func goldenOperations() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        _ = bench.disk.takeOperations()
        try log.append(
            group(contentBytes: 1_100), execTimeSeconds: 1, atomicGroup: false)
        #expect(bench.disk.takeOperations() == ["write log/log_db0/write2file0 0+1142"])
        try log.syncAll()
        #expect(
            bench.disk.takeOperations() == [
                "syncdir log/log_db0",
                "sync log/log_db0/write2file0",
                "write log/log_db0/write2file0.sum 64+64",
                "sync log/log_db0/write2file0.sum",
                "write log/log_db0/manifest 0+24",
            ])
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(
            bench.disk.takeOperations() == [
                "create log/log_db0/write2file1",
                "create log/log_db0/write2file1.sum",
                "write log/log_db0/write2file1.sum 0+4096",
                "write log/log_db0/write2file1 0+62",
                "write log/log_db0/manifest 0+24",
            ])
        try log.syncAll()
        #expect(
            bench.disk.takeOperations() == [
                "syncdir log/log_db0",
                "sync log/log_db0/write2file0",
                "sync log/log_db0/write2file1",
                "write log/log_db0/write2file0.sum 4096+64",
                "write log/log_db0/write2file1.sum 64+64",
                "sync log/log_db0/write2file0.sum",
                "sync log/log_db0/write2file1.sum",
                "write log/log_db0/manifest 0+24",
            ])
    }
}

@Suite("Binlog groups")
struct GroupTests {
    private let commands = (0..<5).map { ["set", "key\($0)", "value"] }

    @Test("An own log that ends inside a group is cut back to the group's start")
    func ownIsCut() throws {
        for kept in 1..<5 {
            let bench = Bench()
            let log = try bench.open()
            let before = try log.append(
                group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
            try log.append(group(commands), execTimeSeconds: 1, atomicGroup: true)
            let ends = try log.seen().map(\.end.offset)
            bench.cut("write2file0", to: Int(ends[kept]))
            bench.disk.setContents(bench.path("manifest"), [])
            let again = try bench.open()
            #expect(again.end == before)
            #expect(bench.bytes("write2file0").count == Int(before.position.offset))
        }
    }

    @Test("A received log keeps an incomplete group and says where it begins")
    func receivedIsKept() throws {
        let bench = Bench()
        let log = try bench.open()
        let before = try log.append(
            group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.append(group(commands), execTimeSeconds: 1, atomicGroup: true)
        let ends = try log.seen().map(\.end)
        bench.cut("write2file0", to: Int(ends[3].offset))
        bench.disk.setContents(bench.path("manifest"), [])
        let again = try bench.open(.sameBoot, .received)
        #expect(again.end.position == ends[3])
        #expect(again.openReport.incompleteGroupStart == before)
        // Promotion cuts it.
        try again.syncAll()
        try again.truncate(to: before)
        let start = try again.startNewFile()
        #expect(start == BinlogMark(position: position(1, 0), digest: before.digest))
        try again.syncAll()
        #expect(try bench.open(.powerLoss).end == start)
    }

    @Test("A group over a roll whose rest is missing is cut back into the file before")
    func groupOverRoll() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        let before = try log.append(
            group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.append(
            group((0..<40).map { ["set", "key\($0)", "v"] }), execTimeSeconds: 1,
            atomicGroup: true)
        let items = try log.seen()
        let inSecond = try #require(items.first { $0.end.fileNumber == 1 })
        try bench.disk.unlink(bench.path("write2file2"))
        bench.cut("write2file1", to: Int(inSecond.end.offset))
        bench.disk.setContents(bench.path("manifest"), [])
        let again = try bench.open()
        #expect(again.end == before)
        #expect(again.files().map(\.number) == [0])
        #expect(try bench.disk.list(bench.directory).contains("write2file1") == false)
    }

    @Test("Only a run that counts down by one to 0 is a group")
    func tracker() {
        func steps(_ terms: [UInt32]) -> [GroupTracker.Step] {
            var tracker = GroupTracker()
            return terms.map { tracker.take(itemsLeftInGroup: $0) }
        }
        #expect(steps([0, 0]) == [.complete, .complete])
        #expect(steps([2, 1, 0]) == [.begins, .continues, .complete])
        #expect(steps([3, 2, 0]) == [.begins, .continues, .complete])
        #expect(steps([3, 1, 0]) == [.begins, .begins, .complete])
        #expect(steps([5, 3, 2, 1, 0]) == [.begins, .begins, .continues, .continues, .complete])
        let limit = UInt32(BinlogLimits.maxGroupItems)
        #expect(steps([limit - 1, limit - 2]) == [.begins, .continues])
        #expect(steps([limit, 0]) == [.complete, .complete])
        #expect(steps([2_150_483_657]) == [.complete])
        var tracker = GroupTracker()
        _ = tracker.take(itemsLeftInGroup: 2)
        #expect(tracker.isInsideGroup && tracker.itemsInGroup == 1)
    }

    @Test("A run broken by a real Pika's promotion is not cut from a received log")
    func brokenRun() throws {
        let source = Bench()
        let log = try source.open()
        try log.append(group(commands), execTimeSeconds: 1, atomicGroup: true)
        var items = try log.seen()
        // 4, 3, then foreign items with 0.
        for index in 2..<5 { items[index].bytes.replaceSubrange(6..<10, with: [0, 0, 0, 0]) }
        let bench = Bench()
        let copy = try bench.open(.sameBoot, .received)
        try copy.appendCopies(items)
        let again = try bench.open(.sameBoot, .received)
        #expect(again.end.position == items[4].end)
        #expect(again.openReport.incompleteGroupStart == nil)
    }

    @Test("A group larger than the limit is refused")
    func groupLimit() throws {
        let log = try Bench().open()
        var items = BinlogItems()
        for _ in 0...BinlogLimits.maxGroupItems {
            items.beginItem(argumentCount: 1)
            items.endItem()
        }
        let error = #expect(throws: BinlogError.self) {
            try log.append(items, execTimeSeconds: 1, atomicGroup: true)
        }
        let limit = BinlogLimits.maxGroupItems
        #expect(error == .groupTooLarge(items: limit + 1, limit: limit))
        #expect(log.end == .zero)
    }
}
