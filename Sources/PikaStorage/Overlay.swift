import CPikaShim
import CXXHash

/// The rows written by one group, newest value per row: an open-addressing table over an arena.
///
/// Keys and values never move and are never overwritten in place before `reset`, so that a reader
/// may hold on to a row while the group goes on writing.
struct Overlay {
    /// Rows in the order of their first write; what `pk_write` takes.
    private(set) var rows: UnsafeMutablePointer<pk_row>
    private(set) var rowCount = 0
    /// Whether the group wrote values of other families than the meta one, or deleted a range.
    private(set) var writesElements = false
    /// As `writesElements`, or the group deleted rows of these families.
    private(set) var touchesElements = false
    private var rowCapacity: Int

    /// Slots: high half = tag of the hash, low half = row index + 1; 0 is free.
    private var slots: UnsafeMutablePointer<UInt64>
    private var slotMask: Int

    private var arena = Arena()
    private let seed: UInt64

    /// Bytes of arena in use: what the group costs in memory.
    var byteCount: Int { arena.usedBytes }

    /// Tables larger than this are given back at `reset`.
    private static let slotsKept = 1 << 14
    private static let initialSlots = 64

    init() {
        rowCapacity = Self.initialSlots / 2
        rows = .allocate(capacity: rowCapacity)
        slots = .allocate(capacity: Self.initialSlots)
        slots.initialize(repeating: 0, count: Self.initialSlots)
        slotMask = Self.initialSlots - 1
        // Names chosen by a client must not meet in one slot.
        seed = UInt64.random(in: .min ... .max)
    }

    mutating func deallocate() {
        rows.deallocate()
        slots.deallocate()
        arena.deallocate()
    }

    /// The row of a key; nil if the group has not written it.
    func find(_ family: Family, _ key: Bytes) -> UnsafeMutablePointer<pk_row>? {
        find(family, key, hash: hash(family, key))
    }

    private func hash(_ family: Family, _ key: Bytes) -> UInt64 {
        XXH3_64bits_withSeed(key.baseAddress, key.count, seed &+ UInt64(family.rawValue))
    }

    private func find(
        _ family: Family, _ key: Bytes, hash: UInt64
    ) -> UnsafeMutablePointer<pk_row>? {
        let tag = hash >> 32
        var at = Int(truncatingIfNeeded: hash) & slotMask
        while true {
            let slot = slots[at]
            if slot == 0 { return nil }
            if slot >> 32 == tag {
                let row = rows + Int(slot & 0xFFFF_FFFF) - 1
                if row.pointee.key_length == key.count, row.pointee.family == family.rawValue,
                    key.equals(Bytes(start: row.pointee.key, count: key.count))
                {
                    return row
                }
            }
            at = (at + 1) & slotMask
        }
    }

    private mutating func findOrInsert(
        _ family: Family, _ key: Bytes
    ) -> UnsafeMutablePointer<pk_row> {
        let hash = hash(family, key)
        if let row = find(family, key, hash: hash) { return row }
        if rowCount == rowCapacity { grow() }
        let stored = arena.allocate(key.count)
        if let start = key.baseAddress { stored.copyMemory(from: start, byteCount: key.count) }
        let row = rows + rowCount
        row.initialize(
            to: pk_row(
                key: stored, value: nil, key_length: UInt32(key.count), value_length: 0,
                value_capacity: 0, family: UInt32(family.rawValue)))
        rowCount += 1
        place(hash: hash, row: rowCount)
        return row
    }

    private func place(hash: UInt64, row: Int) {
        var at = Int(truncatingIfNeeded: hash) & slotMask
        while slots[at] != 0 { at = (at + 1) & slotMask }
        slots[at] = (hash >> 32) << 32 | UInt64(row)
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<pk_row>.allocate(capacity: rowCapacity * 2)
        larger.moveInitialize(from: rows, count: rowCount)
        rows.deallocate()
        rows = larger
        rowCapacity *= 2
        resizeSlots(to: rowCapacity * 2)
        for index in 0..<rowCount {
            let row = rows[index]
            let key = Bytes(start: row.key, count: Int(row.key_length))
            let hash = XXH3_64bits_withSeed(
                key.baseAddress, key.count, seed &+ UInt64(row.family))
            place(hash: hash, row: index + 1)
        }
    }

    private mutating func resizeSlots(to count: Int) {
        slots.deallocate()
        slots = .allocate(capacity: count)
        slots.initialize(repeating: 0, count: count)
        slotMask = count - 1
    }

    /// Makes room for a row's value, which the caller fills in.
    mutating func reserve(
        _ family: Family, _ key: Bytes, valueLength: Int
    ) -> UnsafeMutableRawPointer {
        if family != .meta { noteElements() }
        let row = findOrInsert(family, key)
        let value = arena.allocate(valueLength)
        row.pointee.value = value
        row.pointee.value_length = UInt32(valueLength)
        return value
    }

    /// Elements are written elsewhere than in the rows.
    mutating func noteElements() {
        writesElements = true
        touchesElements = true
    }

    /// Notes a deletion.
    mutating func delete(_ family: Family, _ key: Bytes) {
        if family != .meta { touchesElements = true }
        findOrInsert(family, key).pointee.value_length = PK_ROW_DELETE
    }

    /// Takes back what the group wrote to this row; the store's own row counts again.
    mutating func forget(_ family: Family, _ key: Bytes) {
        find(family, key)?.pointee.value_length = PK_ROW_VOID
    }

    /// Forgets the rows of all families but one.
    mutating func keep(_ family: Family) {
        var kept: [(key: [UInt8], row: pk_row, value: [UInt8])] = []
        for index in 0..<rowCount {
            let row = rows[index]
            guard row.family == UInt32(family.rawValue), row.value_length != PK_ROW_VOID else {
                continue
            }
            let key = Bytes(start: row.key, count: Int(row.key_length))
            let value = row.isValue ? Bytes(start: row.value, count: Int(row.value_length)) : .none
            kept.append((Array(key), row, Array(value)))
        }
        reset()
        for (key, row, value) in kept {
            key.withUnsafeBytes { key in
                if row.isValue {
                    value.withUnsafeBytes {
                        reserve(family, key, valueLength: $0.count).put($0, at: 0)
                    }
                } else {
                    delete(family, key)
                }
            }
        }
    }

    /// Forgets all rows; keeps memory of a usual group.
    mutating func reset() {
        if rowCount == 0 { return }
        if slotMask + 1 > Self.slotsKept {
            rows.deallocate()
            rowCapacity = Self.initialSlots / 2
            rows = .allocate(capacity: rowCapacity)
            resizeSlots(to: Self.initialSlots)
        } else {
            slots.update(repeating: 0, count: slotMask + 1)
        }
        rowCount = 0
        writesElements = false
        touchesElements = false
        arena.reset()
    }
}

extension pk_row {
    /// Whether the row writes a value: no deletion, nothing taken back.
    var isValue: Bool { value_length < PK_ROW_VOID }

    /// Whether what was written to the row was taken back.
    var isVoid: Bool { value_length == PK_ROW_VOID }

    /// Calls `body` for the rows of a batch that write or delete elements, with their keys.
    @inline(__always)
    static func forEachElement(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, _ body: (pk_row, Bytes) -> Void
    ) {
        for index in 0..<count {
            let row = rows[index]
            if row.family == UInt32(Family.meta.rawValue) || row.isVoid { continue }
            body(row, Bytes(start: row.key, count: Int(row.key_length)))
        }
    }
}

/// Memory that is handed out in pieces and taken back all at once.
private struct Arena {
    private struct Chunk {
        var next: UnsafeMutablePointer<Chunk>?
        var capacity: Int
    }

    private static let chunkBytes = 64 << 10
    /// Larger pieces get a chunk of their own, so that little of a chunk is left unused.
    private static let ownChunkBytes = 16 << 10

    private var current: UnsafeMutablePointer<Chunk>?
    private var position = 0
    private(set) var usedBytes = 0

    mutating func allocate(_ count: Int) -> UnsafeMutableRawPointer {
        usedBytes += count
        if let current, position + count <= current.pointee.capacity {
            let piece = UnsafeMutableRawPointer(current) + MemoryLayout<Chunk>.size + position
            position += count
            return piece
        }
        return allocateFromNewChunk(count)
    }

    @inline(never)
    private mutating func allocateFromNewChunk(_ count: Int) -> UnsafeMutableRawPointer {
        let isOwn = count > Self.ownChunkBytes && current != nil
        let capacity = isOwn ? count : max(count, Self.chunkBytes)
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: MemoryLayout<Chunk>.size + capacity, alignment: 16)
        let chunk = memory.bindMemory(to: Chunk.self, capacity: 1)
        if isOwn, let current {
            chunk.initialize(to: Chunk(next: current.pointee.next, capacity: capacity))
            current.pointee.next = chunk
        } else {
            chunk.initialize(to: Chunk(next: current, capacity: capacity))
            current = chunk
            position = count
        }
        return memory + MemoryLayout<Chunk>.size
    }

    /// Takes everything back; one chunk of the usual size is kept.
    mutating func reset() {
        usedBytes = 0
        position = 0
        guard let current else { return }
        if current.pointee.next == nil, current.pointee.capacity <= Self.chunkBytes { return }
        deallocate()
    }

    mutating func deallocate() {
        while let chunk = current {
            current = chunk.pointee.next
            UnsafeMutableRawPointer(chunk).deallocate()
        }
        usedBytes = 0
        position = 0
    }
}
