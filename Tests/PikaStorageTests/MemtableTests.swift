import Foundation
import PikaStorage
import Synchronization
import TestKit
import Testing

@Suite("Memtables")
struct MemtableTests {
    /// A store of ours and one with RocksDB's memtable, written alike.
    private struct Pair {
        let stores: [Store]
        let transactions: [StoreTransaction]

        init(_ directory: TemporaryDirectory, _ kind: StoreKind) throws {
            stores = try [MemtableKind.hash, .skipList].map { memtable in
                var options = smallOptions(memtableBytes: 65536)
                options.memtableKind = memtable
                options.rowCacheBytes = 0
                // It would drop elements of keys that have no meta row, in either store at its time.
                options.disableAutoCompactions = true
                return try openStore(directory("\(memtable)"), kind, options: options)
            }
            transactions = stores.map { $0.makeTransaction() }
        }

        func close() { for store in stores { store.close(flush: false) } }

        func commit() throws {
            for transaction in transactions {
                #expect(try transaction.commit(applied: nil, mode: .waiting) == .done)
            }
        }
    }

    /// One of few row keys of a family, most of them of Pika's form.
    private static func row(_ kind: StoreKind, _ family: Family, _ random: inout SeededRandom)
        -> [UInt8]
    {
        if family == .meta {
            let start = random.next() % 2 == 0 ? "key:0000000" : "k"
            return Array((start + "\(random.next() % 200)").utf8)
        }
        var row = head(random.next() % 4, version: Int32(random.next() % 3))
        switch (kind, family) {
        case (.lists, _): row += bytes(random.next() % 300)
        case (_, .score):
            // Not zero: its two forms are one key, and either may be what a scan shows.
            row += bytes((Double(random.next() % 40) - 19.5).bitPattern)
            row += Array("m\(random.next() % 8)".utf8)
        default: row += [UInt8](repeating: UInt8(random.next() % 3), count: Int(random.next() % 20))
        }
        return row
    }

    private static func head(_ key: UInt64, version: Int32) -> [UInt8] {
        let name = Array("collection\(key)".utf8)
        return bytes(UInt32(name.count)) + name + bytes(version)
    }

    private static func bytes<T: FixedWidthInteger>(_ number: T) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }

    /// Up to `limit` rows of a scan.
    private static func scan(
        _ transaction: StoreTransaction, _ family: Family, prefix: [UInt8], from: [UInt8]?,
        reverse: Bool, limit: Int
    ) throws -> [[UInt8]] {
        var found: [[UInt8]] = []
        try prefix.withUnsafeBytes { prefix in
            let body = { (key: Bytes, value: Bytes) in
                found.append(Array(key) + [0xFF] + Array(value))
                return found.count < limit
            }
            let walk = { (from: Bytes?) in
                try transaction.scan(family, prefix: prefix, from: from, reverse: reverse) {
                    body($0, $1)
                }
            }
            guard let from else { return try walk(nil) }
            try from.withUnsafeBytes { try walk($0) }
        }
        return found
    }

    @Test(
        "Rows and scans are those of RocksDB's own memtable, whatever was written",
        arguments: [
            (StoreKind.strings, Family.meta), (.hashes, .data), (.lists, .data), (.zsets, .score),
        ])
    func agreesWithSkipList(kind: StoreKind, family: Family) throws {
        let directory = try TemporaryDirectory()
        let pair = try Pair(directory, kind)
        defer { pair.close() }
        var random = SeededRandom(seed: testSeed)
        for step in 0..<1500 {
            let row = Self.row(kind, family, &random)
            switch random.next() % 4 {
            case 0:
                for _ in 0..<random.next() % 40 {
                    let row = Self.row(kind, family, &random)
                    let value = Self.bytes(random.next())
                    let isDeleted = random.next() % 4 == 0
                    for transaction in pair.transactions {
                        with(row) { row in
                            if isDeleted { return transaction.delete(family, row) }
                            with(value) { transaction.put(family, row, $0) }
                        }
                    }
                }
                try pair.commit()
            case 1 where family != .score:
                let found = try pair.transactions.map { transaction in
                    try with(row) { row in
                        try transaction.withRow(family, row) { $0.map { Array($0) } }
                    }
                }
                try #require(found[0] == found[1], "step \(step), PIKA_TEST_SEED=\(testSeed)")
            default:
                let prefix = family == .meta ? [] : Array(row.prefix(19))
                let from = random.next() % 4 == 0 ? nil : row
                let reverse = random.next() % 2 == 0
                let limit = Int(random.next() % 50) + 1
                let found = try pair.transactions.map {
                    try Self.scan(
                        $0, family, prefix: prefix, from: from, reverse: reverse, limit: limit)
                }
                try #require(found[0] == found[1], "step \(step), PIKA_TEST_SEED=\(testSeed)")
            }
        }
    }

    @Test("A scan shows the state in which it began, and goes either way, while rows are written")
    func scansAreOneState() throws {
        let directory = try TemporaryDirectory()
        var options = smallOptions()
        options.memtableKind = .hash
        let store = try openStore(directory("s"), .strings, options: options)
        defer { store.close(flush: false) }
        let writer = store.makeTransaction()
        func write(_ numbers: some Sequence<Int>, _ value: String) throws {
            for number in numbers {
                with("key\(1000 + number)") { key in
                    with(value) { writer.put(.meta, key, $0) }
                }
            }
            _ = try writer.commit(applied: nil)
        }
        try write(stride(from: 0, to: 400, by: 2), "old")
        let reader = store.makeTransaction()
        for reverse in [false, true] {
            var keys: [String] = []
            try reader.scan(.meta, prefix: .none, from: nil, reverse: reverse) { key, value in
                // In front of the scan, behind it, and on it.
                do { try write(keys.count * 2..<keys.count * 2 + 3, "new") } catch {
                    Issue.record(error)
                }
                if !reverse { #expect(Array(value) == Array("old".utf8)) }
                keys.append(String(decoding: key, as: UTF8.self))
                return true
            }
            let count = reverse ? 401 : 200
            #expect(keys.count == count)
            #expect(keys == (reverse ? keys.sorted(by: >) : keys.sorted()))
        }
    }

    @Test("Readers see batches whole while a writer fills memtables")
    func batchesAreSeenWhole() throws {
        let directory = try TemporaryDirectory()
        var options = smallOptions(memtableBytes: 128 << 10)
        options.memtableKind = .hash
        let store = try openStore(directory("s"), .hashes, options: options)
        defer { store.close(flush: false) }
        let written = Atomic<UInt64>(0)
        let isDone = Atomic(false)
        let faults = Mutex<[String]>([])
        let members = 40
        DispatchQueue.concurrentPerform(iterations: 3) { thread in
            let transaction = store.makeTransaction()
            do {
                guard thread == 0 else {
                    while !isDone.load(ordering: .acquiring) {
                        let least = written.load(ordering: .acquiring)
                        var values: [UInt64] = []
                        try with("row") { prefix in
                            try transaction.scan(
                                .data, prefix: prefix, from: nil, reverse: thread == 1
                            ) { _, value in
                                values.append(value.loadUnaligned(as: UInt64.self))
                                return true
                            }
                        }
                        guard least > 0 else { continue }
                        if values.count == members, Set(values).count == 1, values[0] >= least {
                            continue
                        }
                        faults.withLock { $0.append("\(values) with \(least) written") }
                        return
                    }
                    return
                }
                for round in 1...4000 as ClosedRange<UInt64> {
                    for member in 0..<members {
                        with("row\(member)") { key in
                            withUnsafeBytes(of: round) { transaction.put(.data, key, $0) }
                        }
                    }
                    _ = try transaction.commit(applied: nil, mode: .waiting)
                    written.store(round, ordering: .releasing)
                    let own = try with("row7") { key in
                        try transaction.withRow(.data, key) { $0?.loadUnaligned(as: UInt64.self) }
                    }
                    if own != round { faults.withLock { $0.append("own write \(round) lost") } }
                }
            } catch {
                faults.withLock { $0.append("\(error)") }
            }
            isDone.store(true, ordering: .releasing)
        }
        #expect(faults.withLock { $0 }.isEmpty)
    }

    @Test("Files are the same: either memtable goes on with what the other one wrote")
    func filesAreTheSame() throws {
        let directory = try TemporaryDirectory()
        let now: Int64 = 1_700_000_000
        for (round, kind) in [MemtableKind.hash, .skipList, .hash].enumerated() {
            var options = smallOptions()
            options.memtableKind = kind
            let store = try openStore(directory("z"), .zsets, options: options)
            let sets = SortedSets(store.makeTransaction())
            for member in 0..<200 {
                try with("set") { key in
                    try with("m\(member)") { member in
                        _ = try sets.add(key, member, score: Double(round), now: now)
                    }
                }
            }
            _ = try sets.transaction.commit(applied: position(UInt64(round), now: now))
            #expect(try rows(sets.transaction, .score).count == 200)
            #expect(store.close() == nil)
        }
        let store = try Store.openReadOnly(
            path: directory("z"), kind: .zsets, environment: testEnvironment)
        defer { store.close() }
        #expect(try rows(store.makeTransaction(), .data).count == 200)
        try store.verifyChecksums()
    }
}
