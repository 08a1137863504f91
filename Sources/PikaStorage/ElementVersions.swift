import CPikaShim
import CXXHash
import Synchronization

/// Counts the batches that write elements of a store's keys, for those who remember elements.
///
/// Keys share the places; a place has two counts. A batch adds to the first before RocksDB takes it
/// and to the second afterwards. While both are the same no batch is on its way, and as long as the
/// first stays what it was nobody has seen another state of these elements.
final class ElementVersions: @unchecked Sendable {
    // SAFETY: the counts are atomic; the pointer is constant.

    private static let placeCount = 1024

    private let begun: UnsafeMutablePointer<Atomic<UInt64>>
    private let ended: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        begun = .allocate(capacity: Self.placeCount)
        ended = .allocate(capacity: Self.placeCount)
        for place in 0..<Self.placeCount {
            (begun + place).initialize(to: Atomic(0))
            (ended + place).initialize(to: Atomic(0))
        }
    }

    deinit {
        for counts in [begun, ended] {
            counts.deinitialize(count: Self.placeCount)
            counts.deallocate()
        }
    }

    /// The place of the key whose elements begin like `row`: size, name and version; nil if it is
    /// shorter than that.
    @inline(__always)
    static func place(_ row: Bytes) -> Int? {
        guard row.count >= 8 else { return nil }
        let count = Int(row.number(UInt32.self, at: 0)) + 8
        guard row.count >= count else { return nil }
        return Int(truncatingIfNeeded: XXH3_64bits(row.baseAddress, count)) & (placeCount - 1)
    }

    /// The version of a place's elements; nil while a batch is on its way.
    @inline(__always)
    func current(_ place: Int) -> UInt64? {
        let last = ended[place].load(ordering: .sequentiallyConsistent)
        return begun[place].load(ordering: .sequentiallyConsistent) == last ? last : nil
    }

    /// Whether no batch has begun since a version was current.
    @inline(__always)
    func isCurrent(_ version: UInt64, _ place: Int) -> Bool {
        begun[place].load(ordering: .sequentiallyConsistent) == version
    }

    /// A batch is about to be written; `endWrite` with the same rows and ranges MUST follow.
    @inline(__always)
    func beginWrite(
        _ rows: UnsafeMutablePointer<pk_row>, count: Int, _ ranges: [DeletedRange]
    ) {
        forEachPlace(rows, count, ranges) { begun[$0].add(1, ordering: .sequentiallyConsistent) }
    }

    /// The store took the batch, or not.
    @inline(__always)
    func endWrite(_ rows: UnsafeMutablePointer<pk_row>, count: Int, _ ranges: [DeletedRange]) {
        forEachPlace(rows, count, ranges) { ended[$0].add(1, ordering: .sequentiallyConsistent) }
    }

    @inline(__always)
    private func forEachPlace(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, _ ranges: [DeletedRange],
        _ body: (Int) -> Void
    ) {
        // A range lies within one key's elements.
        for range in ranges {
            if let place = range.start.withUnsafeBytes({ Self.place($0) }) { body(place) }
        }
        pk_row.forEachElement(rows, count) { _, key in
            if let place = Self.place(key) { body(place) }
        }
    }
}
