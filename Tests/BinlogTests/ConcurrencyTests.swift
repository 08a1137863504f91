import Binlog
import FileIO
import Foundation
import SyncProtocol
import Synchronization
import TestKit
import Testing

/// A writer, a syncer and a reader on one log, as in the server.
private final class Traffic: Sendable {
    let log: BinlogLog
    let published = Mutex(BinlogMark.zero)
    let isOver = Atomic<Bool>(false)
    let problems = Mutex<[String]>([])
    let readerEnd = Mutex(BinlogMark.zero)
    private let running = DispatchSemaphore(value: 0)

    init(_ log: BinlogLog) { self.log = log }

    func report(_ text: String) {
        problems.withLock { $0.append(text) }
    }

    func start(_ body: @escaping @Sendable (Traffic) throws -> Void) {
        Thread.detachNewThread { [self] in
            do {
                try body(self)
            } catch {
                report("\(error)")
            }
            running.signal()
        }
    }

    func wait(threads: Int) {
        for _ in 0..<threads { running.wait() }
    }

    func sync() throws {
        while !isOver.load(ordering: .acquiring) {
            let mark = published.withLock { $0 }
            let outcome = try log.sync(published: mark)
            if outcome.durable < mark.position {
                report("durable \(outcome.durable) is behind published \(mark.position)")
            }
        }
    }

    func read() throws {
        let cursor = try log.makeCursor(at: .zero)
        var digest: UInt64 = 0
        var isLast = false
        while true {
            let isOver = isOver.load(ordering: .acquiring)
            let limit = min(log.durable, published.withLock { $0.position })
            try cursor.next(upTo: limit, maxBytes: 20_000) { item, _, end in
                let content = UnsafeRawBufferPointer(
                    rebasing: item[BinlogItemHeader.encodedSize...])
                digest = RunningDigest.after(digest, content: content, end: end)
                return .next
            }
            readerEnd.withLock { $0 = BinlogMark(position: cursor.position, digest: digest) }
            if isLast, cursor.position >= limit { return }
            isLast = isOver
        }
    }
}

@Suite("Binlog under several threads")
struct ConcurrencyTests {
    @Test("Appends, cuts, rolls, syncs and reads at the same time agree in the end")
    func traffic() throws {
        let base = "/tmp/pika-binlog-\(UInt64.random(in: 0...UInt64.max))"
        let disk = RealFileSystem()
        defer { try? disk.removeTree(base) }
        try disk.makeDirectory(base)
        func open(_ recovery: BinlogRecovery) throws -> BinlogLog {
            try BinlogLog.open(
                directory: base + "/log_db0", fileSystem: disk,
                configuration: BinlogConfiguration(fileSizeLimitBytes: 60_000), origin: .own,
                recovery: recovery)
        }
        let log = try open(.sameBoot)
        let traffic = Traffic(log)
        traffic.start { try $0.sync() }
        traffic.start { try $0.read() }
        var random = SeededRandom(seed: 5)
        for round in 0..<1_500 {
            let before = log.end
            let end = try log.append(
                group(contentBytes: Int.random(in: 1...900, using: &random)),
                execTimeSeconds: UInt32(round), atomicGroup: true)
            if random.chance(0.05) {
                try log.truncate(to: before)
            } else {
                traffic.published.withLock { $0 = end }
            }
            if round % 400 == 399 {
                let start = try log.startNewFile()
                traffic.published.withLock { $0 = start }
            }
        }
        try log.sync(published: log.end)
        traffic.isOver.store(true, ordering: .releasing)
        traffic.wait(threads: 2)
        #expect(traffic.problems.withLock { $0 } == [])
        let readerEnd = traffic.readerEnd.withLock { $0 }
        #expect(readerEnd.digest == log.end.digest)
        #expect(log.durable == log.end.position)
        #expect(try open(.powerLoss).end == log.end)
        for file in try BinlogInspector(fileSystem: disk).files(at: base + "/log_db0") {
            #expect(try BinlogInspector(fileSystem: disk).verify(file).problem == nil)
        }
    }
}
