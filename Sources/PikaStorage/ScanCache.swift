import CXXHash
import Glibc

/// What a scan of one key's elements visits.
struct ScanName {
    var family: Family
    var prefix: Bytes
    var from: Bytes?
    var isReverse: Bool
    /// Rows at most.
    var limit: Int

    fileprivate var byteCount: Int { prefix.count + (from?.count ?? 0) }

    /// All but the bytes.
    fileprivate var traits: UInt64 {
        UInt64(truncatingIfNeeded: limit) << 4 | UInt64(family.rawValue) << 2
            | (isReverse ? 2 : 0) | (from == nil ? 0 : 1)
    }

    fileprivate var hash: UInt64 {
        let first = XXH3_64bits_withSeed(prefix.baseAddress, prefix.count, traits)
        guard let from else { return first }
        return XXH3_64bits_withSeed(from.baseAddress, from.count, first)
    }
}

/// The rows of scans that were asked for twice: the third time they cost no iterator.
///
/// For small hashes, sets, lists and sorted sets that are read often and written now and then. Part
/// of one transaction, so of one thread. Rows are good as long as `ElementVersions` says that no
/// batch has begun to change them.
struct ScanCache {
    /// The rows of one scan may take this many bytes.
    static let entryLimitBytes = 32 << 10
    /// All rows together.
    static let limitBytes = 2 << 20
    /// Scans that are known.
    private static let slotCount = 512
    /// In front of each row: length of key and value.
    fileprivate static let headSize = 8

    private struct Slot {
        /// Of the scan that was asked for last.
        var hash: UInt64 = 0
        /// Of its elements.
        var version: UInt64 = 0
        /// Name and rows; nil: it was asked for once.
        var bytes: UnsafeMutableRawPointer?
        var byteCount = 0
        var nameCount = 0
        var traits: UInt64 = 0
    }

    enum Lookup {
        /// `forEachRow` has the rows.
        case hit(Int)
        /// They are worth keeping.
        case record(Int)
    }

    /// Nil: nothing is kept.
    private var slots: UnsafeMutablePointer<Slot>?
    private(set) var usedBytes = 0
    private var hand = 0
    /// Rows are being visited: nothing may move.
    private var visits = 0

    /// From here on scans are kept.
    mutating func begin() {
        guard slots == nil else { return }
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: Self.slotCount)
        slots.initialize(repeating: Slot(), count: Self.slotCount)
        self.slots = slots
    }

    var isOn: Bool { slots != nil }

    mutating func clear() {
        guard let slots else { return }
        for index in 0..<Self.slotCount { drop(slots + index) }
    }

    mutating func deallocate() {
        clear()
        slots?.deallocate()
        slots = nil
    }

    /// What is known of a scan whose elements have a version now; nil: it is to be run as it is.
    mutating func find(_ name: ScanName, version: UInt64) -> Lookup? {
        guard let slots else { return nil }
        let hash = name.hash
        let index = Int(truncatingIfNeeded: hash) & (Self.slotCount - 1)
        let slot = slots + index
        if slot.pointee.hash == hash, slot.pointee.version == version {
            guard let bytes = slot.pointee.bytes else {
                return visits == 0 ? .record(index) : nil
            }
            let isNamed =
                slot.pointee.traits == name.traits
                && Self.isNamed(bytes, slot.pointee.nameCount, name)
            return isNamed ? .hit(index) : nil
        }
        guard visits == 0 else { return nil }
        drop(slot)
        slot.pointee = Slot(hash: hash, version: version)
        return nil
    }

    private static func isNamed(
        _ bytes: UnsafeMutableRawPointer, _ count: Int, _ name: ScanName
    ) -> Bool {
        guard count == name.byteCount else { return false }
        let kept = Bytes(start: bytes, count: count)
        guard Bytes(rebasing: kept[..<name.prefix.count]).equals(name.prefix) else { return false }
        guard let from = name.from else { return true }
        return Bytes(rebasing: kept[name.prefix.count...]).equals(from)
    }

    /// Keeps what was recorded after `find` said so, unless the slot was taken over meanwhile.
    mutating func keep(_ recording: inout ScanRecording, in index: Int, version: UInt64) {
        guard let slots, visits == 0, let bytes = recording.bytes else { return }
        let slot = slots + index
        guard slot.pointee.hash == recording.hash, slot.pointee.version == version,
            slot.pointee.bytes == nil
        else { return }
        slot.pointee.bytes = bytes
        slot.pointee.byteCount = recording.byteCount
        slot.pointee.nameCount = recording.nameCount
        slot.pointee.traits = recording.traits
        usedBytes += recording.byteCount
        recording.bytes = nil
        while usedBytes > Self.limitBytes {
            hand = (hand + 1) & (Self.slotCount - 1)
            if hand != index { drop(slots + hand) }
        }
    }

    private mutating func drop(_ slot: UnsafeMutablePointer<Slot>) {
        guard let bytes = slot.pointee.bytes else { return }
        usedBytes -= slot.pointee.byteCount
        free(bytes)
        slot.pointee = Slot()
    }

    /// The rows of a hit, one after the other; `endVisit` MUST follow.
    mutating func beginVisit(_ index: Int) -> KeptRows {
        visits += 1
        guard let slots, let bytes = slots[index].bytes else { return KeptRows(rest: .none) }
        let all = Bytes(start: bytes, count: slots[index].byteCount)
        return KeptRows(rest: Bytes(rebasing: all[slots[index].nameCount...]))
    }

    mutating func endVisit() { visits -= 1 }

    /// Rows of a scan in memory.
    struct KeptRows {
        fileprivate var rest: Bytes

        @inline(__always)
        mutating func next() -> (key: Bytes, value: Bytes)? {
            guard let start = rest.baseAddress, rest.count >= ScanCache.headSize else { return nil }
            let keyCount = Int(rest.number(UInt32.self, at: 0))
            let valueCount = Int(rest.number(UInt32.self, at: 4))
            let key = Bytes(start: start + ScanCache.headSize, count: keyCount)
            let value = Bytes(start: start + ScanCache.headSize + keyCount, count: valueCount)
            rest = rest.dropping(ScanCache.headSize + keyCount + valueCount)
            return (key, value)
        }
    }
}

/// Rows of a scan while it runs.
struct ScanRecording {
    fileprivate let hash: UInt64
    fileprivate let traits: UInt64
    fileprivate var bytes: UnsafeMutableRawPointer?
    fileprivate let nameCount: Int
    fileprivate var byteCount = 0
    private(set) var rowCount = 0
    private var capacity: Int

    private static let firstCapacity = 1024

    init(_ name: ScanName) {
        hash = name.hash
        traits = name.traits
        nameCount = name.byteCount
        capacity = max(Self.firstCapacity, nameCount)
        bytes = malloc(capacity)
        add(name.prefix)
        if let from = name.from { add(from) }
    }

    /// Adds a row; one too many ends the recording.
    mutating func append(_ key: Bytes, _ value: Bytes) {
        rowCount += 1
        guard bytes != nil else { return }
        let size = ScanCache.headSize + key.count + value.count
        guard byteCount + size <= ScanCache.entryLimitBytes, makeRoom(size) else { return end() }
        bytes?.put(UInt32(key.count), at: byteCount)
        bytes?.put(UInt32(value.count), at: byteCount + 4)
        byteCount += ScanCache.headSize
        add(key)
        add(value)
    }

    private mutating func add(_ part: Bytes) {
        bytes?.put(part, at: byteCount)
        byteCount += part.count
    }

    private mutating func makeRoom(_ size: Int) -> Bool {
        guard byteCount + size > capacity else { return true }
        capacity = max(2 * capacity, byteCount + size)
        guard let larger = realloc(bytes, capacity) else { return false }
        bytes = larger
        return true
    }

    /// Gives back its memory, unless a cache has taken it.
    mutating func end() {
        free(bytes)
        bytes = nil
    }
}
