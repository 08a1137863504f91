import Foundation
import PikaStorage
import Synchronization
import Testing

@Suite("Pauses of flushes and compactions")
struct PausesTests {
    private static let memtableBytes = 2 << 20
    private static let rowBytes = 100
    /// Rows that fill a memtable, and some of the next one.
    private static let rowsPerMemtable = memtableBytes / rowBytes

    private static func options(level0Trigger: Int = 100) -> StoreOptions {
        var options = smallOptions(memtableBytes: memtableBytes)
        options.level0CompactionTrigger = level0Trigger
        options.levelBaseBytes = 1 << 20
        return options
    }

    private static func write(_ store: Store, _ range: Range<Int>) throws {
        let transaction = store.makeTransaction()
        for start in stride(from: range.lowerBound, to: range.upperBound, by: 100) {
            for number in start..<min(start + 100, range.upperBound) {
                // In no order, so that sorting has something to do.
                let name = Array("key:\(number &* 7919 % 1_000_003)".utf8)
                let value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: rowBytes)
                name.withUnsafeBytes { name in
                    value.withUnsafeBytes { transaction.put(.meta, name, $0) }
                }
            }
            #expect(try transaction.commit(applied: nil, mode: .waiting) == .done)
        }
    }

    private static func waitUntil(_ condition: () -> Bool) throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while !condition() {
            try #require(ContinuousClock.now < deadline)
            usleep(2000)
        }
    }

    @Test("A flush that a full memtable began pauses, and loses no row")
    func fullMemtable() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .strings, options: Self.options())
        try Self.write(store, 0..<Self.rowsPerMemtable)
        try Self.waitUntil { store.tableFileBytes > 0 }
        #expect(store.pauseCount > 0)
        try store.flush()
        let reader = store.makeTransaction()
        var found = 0
        try [].withUnsafeBytes { prefix in
            try reader.scan(.meta, prefix: prefix, from: nil) { key, _ in
                if key.starts(with: Array("key:".utf8)) { found += 1 }
                return true
            }
        }
        #expect(found == Self.rowsPerMemtable)
        store.close(flush: false)
    }

    @Test("A flush that somebody waits for does not pause")
    func askedFor() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .strings, options: Self.options())
        try Self.write(store, 0..<(Self.rowsPerMemtable / 4))
        try store.flush()
        #expect(store.tableFileBytes > 0)
        #expect(store.pauseCount == 0)
        store.close(flush: false)
    }

    @Test("A flush that is behind the writers does not pause")
    func writersAhead() throws {
        struct State {
            var store: Store?
            var areBothFull = false
            var flushes = 0
            var pausesOfFirst: Int?
        }
        let directory = try TemporaryDirectory()
        let state = Mutex(State())
        let hooks = StoreHooks(onFlushBegin: {
            let isFirst = state.withLock { state in
                state.flushes += 1
                if state.flushes == 2 { state.pausesOfFirst = state.store?.pauseCount }
                return state.flushes == 1
            }
            while isFirst, !state.withLock({ $0.areBothFull }) { usleep(2000) }
        })
        let store = try openStore(directory("s"), .strings, options: Self.options(), hooks: hooks)
        state.withLock { $0.store = store }
        try Self.write(store, 0..<(2 * Self.rowsPerMemtable))
        state.withLock { $0.areBothFull = true }
        // The second memtable's flush, which nobody is ahead of.
        try Self.waitUntil { state.withLock { $0.flushes > 1 } }
        #expect(state.withLock { $0.pausesOfFirst } == 0)
        state.withLock { $0.store = nil }
        store.close(flush: false)
    }

    @Test("A compaction pauses until the writers get ahead, one that is asked for does not")
    func compactions() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(
            directory("s"), .strings, options: Self.options(level0Trigger: 2))
        for round in 0..<2 {
            let start = round * Self.rowsPerMemtable / 4
            try Self.write(store, start..<(start + Self.rowsPerMemtable / 4))
            // Flushes that are waited for make none: what is counted are the compaction's.
            try store.flush()
        }
        try Self.waitUntil { store.pauseCount > 0 }
        let before = store.pauseCount
        try Self.waitUntil { store.property("rocksdb.num-running-compactions") == "0" }
        let automatic = store.pauseCount
        #expect(automatic >= before)
        try store.compact()
        #expect(store.pauseCount == automatic)
        store.close(flush: false)
    }
}
