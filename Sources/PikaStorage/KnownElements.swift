import CPikaShim
import CXXHash
import Glibc
import Synchronization

/// Elements of hashes and sets that are known to be in the store: HSET and SADD want to know no more.
///
/// Only their fingerprints are kept: 128 bits of XXH3 with a random seed. Two rows would have to meet
/// in all of them for an element to be taken for another; with 2^40 questions against a full table
/// that is less likely than 2^-60.
///
/// Who asks, notes or forgets an element holds the lock of its key, so nobody does two of these to
/// one element at a time. Different elements share the places of a cache line: there two writers can
/// mix the halves of two fingerprints. That forgets both, and is the fingerprint of nothing.
final class KnownElements: @unchecked Sendable {
    // SAFETY: the words are atomic; the pointer is constant.

    /// A cache line of places, two words each; both 0: free.
    private static let lineWords = 8

    /// Bytes of memory for the table; pages that were never written cost nothing.
    let sizeBytes: Int
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    private let lineMask: Int
    private let seed: UInt64

    /// Makes an empty table; nil if the limit is below one line, or there is no memory.
    ///
    /// - Parameter limitBytes: the table takes the largest power of two within.
    init?(limitBytes: Int) {
        let lineBytes = Self.lineWords * MemoryLayout<UInt64>.size
        guard limitBytes >= lineBytes else { return nil }
        sizeBytes = 1 << (Int.bitWidth - 1 - limitBytes.leadingZeroBitCount)
        // Fresh pages are zeros, which are valid atomics without any state beside their bits.
        guard
            let memory = mmap(
                nil, sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            memory != MAP_FAILED
        else { return nil }
        words = memory.bindMemory(
            to: Atomic<UInt64>.self, capacity: sizeBytes / MemoryLayout<UInt64>.size)
        lineMask = sizeBytes / lineBytes - 1
        // Names chosen by a client must not meet in one line.
        seed = UInt64.random(in: .min ... .max)
    }

    deinit { munmap(words, sizeBytes) }

    /// Whether the row of an element is in the store; false: ask the store.
    @inline(__always)
    func contains(_ row: Bytes) -> Bool {
        let print = fingerprint(row)
        let line = line(of: print)
        for place in stride(from: 0, to: Self.lineWords, by: 2) where isAt(line + place, print) {
            return true
        }
        return false
    }

    /// The row of an element is in the store.
    @inline(__always)
    func insert(_ row: Bytes) {
        let print = fingerprint(row)
        let line = line(of: print)
        // Where all places are taken, the one that the fingerprint names is taken over.
        var chosen = line + Int(print.high64 >> 62) * 2
        var hasFound = false
        for place in stride(from: 0, to: Self.lineWords, by: 2) {
            if isAt(line + place, print) { return }
            if !hasFound, line[place].load(ordering: .relaxed) == 0 {
                chosen = line + place
                hasFound = true
            }
        }
        chosen[0].store(print.low64, ordering: .relaxed)
        chosen[1].store(print.high64, ordering: .relaxed)
    }

    /// The row of an element may be gone soon.
    @inline(__always)
    func remove(_ row: Bytes) {
        let print = fingerprint(row)
        let line = line(of: print)
        for place in stride(from: 0, to: Self.lineWords, by: 2) where isAt(line + place, print) {
            line[place].store(0, ordering: .relaxed)
            line[place + 1].store(0, ordering: .relaxed)
        }
    }

    /// Before a batch goes into the store: what it deletes is not known any longer.
    func beginWrite(_ rows: UnsafeMutablePointer<pk_row>, count: Int) {
        pk_row.forEachElement(rows, count) { row, key in
            if !row.isValue { remove(key) }
        }
    }

    /// The store took the batch (`isWritten`), or it may or may not have taken it.
    func endWrite(_ rows: UnsafeMutablePointer<pk_row>, count: Int, isWritten: Bool) {
        pk_row.forEachElement(rows, count) { row, key in
            guard row.isValue else { return }
            if isWritten { insert(key) } else { remove(key) }
        }
    }

    @inline(__always)
    private func fingerprint(_ row: Bytes) -> XXH128_hash_t {
        var print = XXH3_128bits_withSeed(row.baseAddress, row.count, seed)
        // 0 is a free place.
        print.low64 |= 1
        return print
    }

    @inline(__always)
    private func line(of print: XXH128_hash_t) -> UnsafeMutablePointer<Atomic<UInt64>> {
        words + (Int(truncatingIfNeeded: print.high64) & lineMask) * Self.lineWords
    }

    @inline(__always)
    private func isAt(
        _ place: UnsafeMutablePointer<Atomic<UInt64>>, _ print: XXH128_hash_t
    ) -> Bool {
        place[0].load(ordering: .relaxed) == print.low64
            && place[1].load(ordering: .relaxed) == print.high64
    }
}
