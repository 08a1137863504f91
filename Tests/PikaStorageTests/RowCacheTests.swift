import Foundation
import Synchronization
import TestKit
import Testing

@testable import PikaStorage

@Suite("Row cache")
struct RowCacheTests {
    /// So small that rows are evicted all the time.
    private static func options(cacheBytes: Int) -> StoreOptions {
        var options = smallOptions()
        options.rowCacheBytes = cacheBytes
        return options
    }

    private static func key(_ number: Int) -> [UInt8] { Array("key\(number)".utf8) }

    private static func write(_ number: UInt64, to key: Int, in transaction: StoreTransaction) {
        withUnsafeBytes(of: number) { value in
            Self.key(key).withUnsafeBytes { transaction.put(.meta, $0, value) }
        }
    }

    private static func read(_ key: Int, in transaction: StoreTransaction) throws -> UInt64? {
        try Self.key(key).withUnsafeBytes { key in
            try transaction.withRow(.meta, key) { row in
                row.map { $0.loadUnaligned(as: UInt64.self) }
            }
        }
    }

    @Test("A row is what was written last, whatever was read, grown, deleted or evicted between")
    func agreesWithModel() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(
            directory("strings"), .strings, options: Self.options(cacheBytes: 128 << 10))
        defer { store.close(flush: false) }
        let transaction = store.makeTransaction()
        var random = SeededRandom(seed: 11)
        var model: [Int: [UInt8]] = [:]
        for step in 0..<5000 {
            let number = Int(random.next() % 300)
            switch random.next() % 8 {
            case 0...1:
                let length = Int(random.next() % 6000)
                let value = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: length)
                Self.key(number).withUnsafeBytes { key in
                    value.withUnsafeBytes { transaction.put(.meta, key, $0) }
                }
                model[number] = value
            case 2:
                Self.key(number).withUnsafeBytes { transaction.delete(.meta, $0) }
                model[number] = nil
            default:
                let found = try Self.key(number).withUnsafeBytes { key in
                    try transaction.withRow(.meta, key) { row in row.map { Array($0) } }
                }
                try #require(found == model[number], "step \(step)")
            }
            if step % 3 == 0 { #expect(try transaction.commit(applied: nil) == .done) }
        }
        #expect(store.rowCacheUsageBytes > 0)
        #expect(store.rowCacheUsageBytes <= 64 << 10)
    }

    @Test("With a limit of 0 nothing is kept")
    func off() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(
            directory("strings"), .strings, options: Self.options(cacheBytes: 0))
        defer { store.close(flush: false) }
        let transaction = store.makeTransaction()
        Self.write(1, to: 1, in: transaction)
        #expect(try transaction.commit(applied: nil) == .done)
        #expect(try Self.read(1, in: transaction) == 1)
        #expect(store.rowCacheUsageBytes == 0)
    }

    @Test("Who saw one row of a batch sees no older row of it afterwards", arguments: [1, 2])
    func batchesAreSeenWhole(seed: UInt64) throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(
            directory("strings"), .strings, options: Self.options(cacheBytes: 64 << 10))
        defer { store.close(flush: false) }
        let keys = 400
        let isDone = Atomic<Bool>(false)
        let faults = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 3) { thread in
            let transaction = store.makeTransaction()
            var random = SeededRandom(seed: seed &* 31 &+ UInt64(thread))
            do {
                guard thread == 0 else {
                    while !isDone.load(ordering: .acquiring) {
                        // Keys 2n and 2n+1 are always written together, with rising numbers.
                        let pair = Int(random.next() % UInt64(keys / 2)) * 2
                        let isReversed = random.next() % 2 == 0
                        let (one, other) = isReversed ? (pair + 1, pair) : (pair, pair + 1)
                        let first = try Self.read(one, in: transaction) ?? 0
                        let second = try Self.read(other, in: transaction) ?? 0
                        guard second < first else { continue }
                        faults.withLock { $0.append("pair \(pair): \(first), then \(second)") }
                    }
                    return
                }
                for round in 1...30_000 as ClosedRange<UInt64> {
                    let pair = Int(random.next() % UInt64(keys / 2)) * 2
                    Self.write(round, to: pair, in: transaction)
                    Self.write(round, to: pair + 1, in: transaction)
                    _ = try transaction.commit(applied: nil, mode: .waiting)
                    let own = try Self.read(pair, in: transaction)
                    if own != round { faults.withLock { $0.append("own write \(round) lost") } }
                }
            } catch {
                faults.withLock { $0.append("\(error)") }
            }
            isDone.store(true, ordering: .releasing)
        }
        #expect(faults.withLock { $0 }.isEmpty)
    }
}

@Suite("Time of reads that miss the row cache")
struct ReadTimeTests {
    @Test("The mean follows what reads take, and rows that the cache does not keep count as none")
    func mean() {
        var time = ReadTime()
        for _ in 0..<200 { time.note(nanoseconds: 10_000, rowBytes: 1_000) }
        #expect((9_000...10_000).contains(time.meanNanoseconds))
        for _ in 0..<200 { time.note(nanoseconds: 10_000, rowBytes: RowCache.rowLimitBytes + 1) }
        #expect(time.meanNanoseconds < 1_000)
    }

    @Test("One read that waited for something else does not move the mean far")
    func outlier() {
        var time = ReadTime()
        time.note(nanoseconds: 60_000_000_000, rowBytes: 10)
        #expect(time.meanNanoseconds <= 62_500)
    }

    @Test("One read in eight is timed")
    func sample() {
        var time = ReadTime()
        #expect((0..<800).filter { _ in time.isDue() }.count == 100)
    }
}
