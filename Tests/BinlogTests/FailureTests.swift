import Binlog
import FileIO
import SyncProtocol
import TestKit
import Testing

@Suite("Binlog on a failing disk")
struct FailureTests {
    static let noSpace: Int32 = 28
    static let inputOutput: Int32 = 5

    private func filled(_ bench: Bench) throws -> (BinlogLog, BinlogMark) {
        let log = try bench.open()
        try log.append(group([["set", "a", "b"]]), execTimeSeconds: 1, atomicGroup: false)
        try log.syncAll()
        return (log, log.end)
    }

    @Test("A write that the disk refuses leaves the log as it was", arguments: [0, 1, 40, 61])
    func appendFails(bytesWritten: Int) throws {
        let bench = Bench()
        let (log, end) = try filled(bench)
        let size = bench.bytes("write2file0").count
        bench.disk.inject(
            InjectedFault(.write, code: Self.noSpace, bytesWrittenBefore: bytesWritten))
        let error = #expect(throws: BinlogError.self) {
            try log.append(group([["del", "a"]]), execTimeSeconds: 2, atomicGroup: false)
        }
        guard case .file(let cause) = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
        #expect(cause.isOutOfSpace)
        #expect(log.end == end)
        #expect(bench.bytes("write2file0").count == size)
        // The cut is durable: the refused item is not back after a power loss.
        bench.disk.crash(.tornPowerLoss(seed: UInt64(bytesWritten)))
        let again = try bench.open(.powerLoss)
        #expect(again.end == end)
        try again.append(group([["del", "b"]]), execTimeSeconds: 3, atomicGroup: false)
        #expect(try again.seen().last?.header.logicIndex == 2)
    }

    @Test("If the cut after a failed append fails too, the log takes nothing more")
    func cutFails() throws {
        let bench = Bench()
        let (log, end) = try filled(bench)
        bench.disk.inject(
            InjectedFault(.write, code: Self.noSpace, bytesWrittenBefore: 10))
        bench.disk.inject(InjectedFault(.truncate, code: Self.inputOutput))
        let error = #expect(throws: BinlogError.self) {
            try log.append(group([["del", "a"]]), execTimeSeconds: 2, atomicGroup: false)
        }
        guard case .closedByFailure = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
        #expect(throws: BinlogError.self) {
            try log.append(group([["del", "a"]]), execTimeSeconds: 2, atomicGroup: false)
        }
        #expect(throws: BinlogError.self) { try log.syncAll() }
        #expect(log.end == end)
        bench.disk.crash(.kill)
        #expect(try bench.open().end == end)
    }

    @Test("A group that fails after it rolled leaves neither bytes nor new files")
    func rollFails() throws {
        let commands = (0..<60).map { ["set", "key\($0)", "v"] }
        for call in 1...8 {
            for operation in [FileOperation.write, .create] {
                let bench = Bench(fileSizeLimitBytes: 1_024)
                let (log, end) = try filled(bench)
                let before = bench.bytes("write2file0")
                bench.disk.inject(
                    InjectedFault(operation, onCall: call, code: Self.noSpace))
                do throws(BinlogError) {
                    try log.append(group(commands), execTimeSeconds: 1, atomicGroup: true)
                } catch {
                    #expect(log.end == end)
                    let samebench = bench.holds("write2file0", before)
                    #expect(samebench)
                    #expect(bench.disk.contents(bench.path("write2file1")) == nil)
                    #expect(bench.disk.contents(bench.path("write2file1.sum")) == nil)
                    bench.disk.clearFaults()
                    try log.append(group(commands), execTimeSeconds: 1, atomicGroup: true)
                }
                #expect(try log.seen().count == 61)
                bench.disk.clearFaults()
                #expect(try bench.open().end == log.end)
            }
        }
    }

    @Test("A full disk refuses appends and takes them again when there is room")
    func fullDisk() throws {
        let bench = Bench()
        let (log, _) = try filled(bench)
        bench.disk.setCapacity(90_000)
        var refusals = 0
        for _ in 0..<100 {
            do throws(BinlogError) {
                try log.append(
                    group(contentBytes: 1_000), execTimeSeconds: 1, atomicGroup: false)
            } catch {
                refusals += 1
            }
        }
        #expect(refusals > 0 && refusals < 100)
        bench.disk.setCapacity(nil)
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(try log.seen().count == 102 - refusals)
        #expect(try bench.open().end == log.end)
    }

    @Test("A failed fdatasync is not repeated: nothing is durable, and the log takes no more")
    func syncFails() throws {
        for path in ["write2file0", "write2file0.sum"] {
            let bench = Bench()
            let (log, end) = try filled(bench)
            try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
            bench.disk.inject(InjectedFault(.sync, pathSuffix: path, code: Self.inputOutput))
            #expect(throws: BinlogError.self) { try log.syncAll() }
            #expect(log.durable == end.position)
            _ = bench.disk.takeOperations()
            let error = #expect(throws: BinlogError.self) { try log.syncAll() }
            guard case .closedByFailure = error else {
                Issue.record("wrong error \(String(describing: error))")
                return
            }
            #expect(bench.disk.takeOperations().isEmpty)
            #expect(throws: BinlogError.self) {
                try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
            }
        }
    }

    @Test("A store that failed after the append: the log goes back, digest and end included")
    func truncateAfterStoreFailure() throws {
        let bench = Bench()
        let (log, end) = try filled(bench)
        try log.append(group([["set", "x", "y"]]), execTimeSeconds: 1, atomicGroup: false)
        // The syncer saw the group as written, not as published.
        let outcome = try log.sync(published: end)
        #expect(outcome.durable > end.position)
        try log.truncate(to: end)
        #expect(log.end == end)
        #expect(log.durable == end.position)
        #expect(log.generation == 1)
        bench.disk.crash(.powerLoss)
        #expect(try bench.open(.powerLoss).end == end)
    }

    @Test("A sync that a cut overtakes counts only its published end")
    func overtaken() throws {
        let bench = Bench()
        let (log, end) = try filled(bench)
        try log.append(group([["set", "x", "y"]]), execTimeSeconds: 1, atomicGroup: false)
        let stall = StallingFile.stall(in: bench) {
            try? log.truncate(to: end)
        }
        let outcome = try stall.sync(log, published: end)
        #expect(outcome == BinlogSyncOutcome(durable: end.position, overtaken: true))
        try log.append(group([["set", "z", "z"]]), execTimeSeconds: 1, atomicGroup: false)
        let last = log.end
        #expect(try log.syncAll().durable == last.position)
        bench.disk.crash(.powerLoss)
        #expect(try bench.open(.powerLoss).end == last)
    }

    /// Runs something in the middle of a sync: between its start and the sidecar's entries.
    private struct StallingFile {
        let bench: Bench
        let body: () -> Void

        static func stall(in bench: Bench, _ body: @escaping () -> Void) -> StallingFile {
            StallingFile(bench: bench, body: body)
        }

        func sync(
            _ log: BinlogLog, published: BinlogMark
        ) throws(BinlogError) -> BinlogSyncOutcome {
            bench.disk.onNextSync { body() }
            return try log.sync(published: published)
        }
    }
}

@Suite("Received binlog")
struct ReceivedTests {
    private func master(_ bench: Bench, _ count: Int = 60) throws -> BinlogLog {
        let log = try bench.open()
        for index in 0..<count {
            try log.append(
                group([["set", "key\(index)", "value\(index)"]]),
                execTimeSeconds: UInt32(100 + index), atomicGroup: false)
        }
        return log
    }

    @Test("A replica's files equal the master's byte for byte, whatever its own size limit")
    func identical() throws {
        let one = Bench(fileSizeLimitBytes: 1_024)
        let log = try master(one)
        let items = try log.seen()
        let two = Bench(fileSizeLimitBytes: 2_000)
        let copy = try two.open(.sameBoot, .received)
        var at = 0
        while at < items.count {
            try copy.appendCopies(Array(items[at..<min(at + 7, items.count)]))
            at += 7
        }
        #expect(copy.end == log.end)
        for file in log.files() {
            let name = "write2file\(file.number)"
            #expect(one.bytes(name) == two.bytes(name))
        }
        try copy.close()
        try log.close()
        #expect(one.bytes("manifest") == two.bytes("manifest"))
        // Promoted, it goes on counting.
        try copy.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(try copy.seen().last?.header.logicIndex == 61)
    }

    @Test("An item whose end does not fit is refused with both ends, and nothing is appended")
    func wrongEnd() throws {
        var items = try master(Bench(), 5).seen()
        let right = items[3].end
        items[3].end.offset += 1
        let bench = Bench()
        let copy = try bench.open(.sameBoot, .received)
        let error = #expect(throws: BinlogError.self) { try copy.appendCopies(items) }
        #expect(error == .receivedPosition(expected: items[3].end, actual: right))
        #expect(copy.end == .zero)
        #expect(bench.bytes("write2file0").isEmpty)
        items[3].end = right
        try copy.appendCopies(items)
        #expect(copy.end.position == items[4].end)
    }

    @Test("Bytes that are no item are refused")
    func noItem() throws {
        var items = try master(Bench(), 3).seen()
        items[1].bytes[0] = 2
        let copy = try Bench().open(.sameBoot, .received)
        let error = #expect(throws: BinlogError.self) { try copy.appendCopies(items) }
        guard case .receivedItem(items[1].end, .unknownType(1, 2)) = error else {
            Issue.record("wrong error \(String(describing: error))")
            return
        }
        #expect(copy.end == .zero)
    }

    @Test("Empty files that the master left are left here too; a jump beyond the limit is refused")
    func skippedFiles() throws {
        let one = Bench()
        let log = try master(one, 2)
        try log.startNewFile()
        try log.startNewFile()
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        let items = try log.seen()
        #expect(items.last?.end.fileNumber == 2)
        let two = Bench()
        let copy = try two.open(.sameBoot, .received)
        try copy.appendCopies(items)
        #expect(copy.end == log.end)
        #expect(copy.files().map(\.endOffset) == log.files().map(\.endOffset))
        #expect(log.lastEarlyEnd() == position(1, 0))
        var far = items[2]
        far.end.fileNumber = 2_000
        #expect(throws: BinlogError.self) { try copy.appendCopies([far]) }
        #expect(copy.end == log.end)
    }
}
