import NIOCore
import ReplicationCore
import SyncProtocol

/// A position and the running digest there.
struct Mark: Hashable {
    var position: BinlogPosition
    var digest: UInt64

    static let zero = Mark(position: .zero, digest: 0)
}

/// What the stores of a database hold: order and number of the items matter for every key.
struct StoreState: Hashable {
    private(set) var registers = [UInt64](repeating: 0, count: 16)

    mutating func apply(key: Int, value: UInt64) {
        registers[key % 16] = (registers[key % 16] &* 0x100_0000_01B3) ^ value
    }

    var hash: UInt64 {
        registers.reduce(17) { ($0 &* 0x9E37_79B9_7F4A_7C15) ^ $1 }
    }

    var bytes: [UInt8] {
        registers.flatMap { register in (0..<8).map { UInt8(register >> (8 * $0) & 0xFF) } }
    }

    init() {}

    init?(bytes: [UInt8]) {
        guard bytes.count == 128 else { return nil }
        registers = (0..<16).map { index in
            (0..<8).reduce(0) { $0 | UInt64(bytes[index * 8 + $1]) << (8 * UInt64($1)) }
        }
    }
}

/// An item: header of 34 bytes, key, value, filler.
struct SimulatedItem {
    static let headerBytes = 34

    var bytes: [UInt8]
    var end = Mark.zero

    init(bytes: [UInt8]) { self.bytes = bytes }

    init(key: Int, value: UInt64, filler: Int, itemsLeft: UInt32, index: UInt64) {
        bytes = [UInt8](repeating: 0, count: Self.headerBytes)
        bytes[0] = 1
        for byte in 0..<4 { bytes[6 + byte] = UInt8(itemsLeft >> (8 * UInt32(byte)) & 0xFF) }
        for byte in 0..<8 { bytes[10 + byte] = UInt8(index >> (8 * UInt64(byte)) & 0xFF) }
        bytes.append(UInt8(key))
        for byte in 0..<8 { bytes.append(UInt8(value >> (8 * UInt64(byte)) & 0xFF)) }
        bytes += [UInt8](repeating: UInt8(truncatingIfNeeded: value), count: filler)
    }

    private func load(_ offset: Int, _ width: Int) -> UInt64 {
        (0..<width).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }

    var itemsLeft: UInt32 { UInt32(load(6, 4)) }
    var logicIndex: UInt64 { load(10, 8) }
    var key: Int { Int(bytes[Self.headerBytes]) }
    var value: UInt64 { load(Self.headerBytes + 1, 8) }

    /// The running digest behind this item if it ends at `position`.
    func digest(after previous: UInt64, position: BinlogPosition) -> UInt64 {
        var content = ByteBuffer(bytes: bytes[Self.headerBytes...])
        content.writeInteger(previous)
        content.writeInteger(position.offset)
        content.writeInteger(UInt64(position.fileNumber))
        return FileServiceCodec.digest(of: content)
    }
}

/// The log of one database, with what of it survives a power loss.
struct SimulatedLog {
    /// A file is at most this long plus one item.
    static let fileBytes: UInt64 = 20_000
    static let recordBytes: UInt64 = 8

    /// What is before the first item.
    private(set) var start: Mark
    private(set) var items: [SimulatedItem] = []
    /// Where the last file begins when it is still empty.
    private(set) var end: Mark
    /// Items that survive a power loss.
    private(set) var durableCount = 0
    /// State of the stores at `start`.
    private(set) var base: StoreState
    /// State after all whole groups.
    private(set) var state: StoreState
    /// Items applied: all but those of an incomplete group.
    private(set) var appliedCount = 0
    var history: History

    init(start: Mark, base: StoreState, history: [HistoryEntry]) {
        self.start = start
        self.end = start
        self.base = base
        state = base
        self.history = History(entries: history)
    }

    var durable: BinlogPosition {
        durableCount == 0 ? start.position : items[durableCount - 1].end.position
    }
    var applied: Mark { appliedCount == 0 ? start : items[appliedCount - 1].end }
    var endsInsideGroup: Bool { appliedCount < items.count }

    /// The entries that the items reached.
    var claimedHistory: [HistoryEntry] {
        history.entries.filter { $0.start <= end.position }
    }

    /// Where an item of a master ends: rolls before an item when the file is long.
    func place(_ byteCount: Int) -> BinlogPosition {
        let bytes = UInt64(byteCount) + Self.recordBytes
        if end.position.offset > Self.fileBytes {
            return BinlogPosition(fileNumber: end.position.fileNumber + 1, offset: bytes)
        }
        return BinlogPosition(
            fileNumber: end.position.fileNumber, offset: end.position.offset + bytes)
    }

    /// Appends an item that ends at `position`; false if it can't end there.
    mutating func append(_ bytes: [UInt8], endingAt position: BinlogPosition) -> Bool {
        var item = SimulatedItem(bytes: bytes)
        let size = UInt64(bytes.count) + Self.recordBytes
        let fits =
            position.fileNumber == end.position.fileNumber
            ? position.offset == end.position.offset + size
            : position.fileNumber > end.position.fileNumber && position.offset == size
        guard fits else { return false }
        item.end = Mark(
            position: position, digest: item.digest(after: end.digest, position: position))
        items.append(item)
        end = item.end
        if item.itemsLeft == 0 {
            for index in appliedCount..<items.count {
                state.apply(key: items[index].key, value: items[index].value)
            }
            appliedCount = items.count
        }
        return true
    }

    mutating func sync(count: Int) { durableCount = max(durableCount, min(count, items.count)) }

    /// The power goes: what was not synced is gone.
    ///
    /// Own logs never end inside a group.
    mutating func forgetUnsynced(isOwn: Bool) {
        cut(to: durableCount, isOwn: isOwn)
        if isOwn { cut(to: appliedCount, isOwn: true) }
    }

    /// Cuts an incomplete group: before a promotion.
    mutating func cutIncompleteGroup() { cut(to: appliedCount, isOwn: false) }

    private mutating func cut(to count: Int, isOwn: Bool) {
        items.removeLast(items.count - count)
        end = items.last?.end ?? start
        if isOwn, let open = history.entries.last(where: { $0.previousEnd == end.position }),
            open.start > end.position
        {
            // The file that a history began with was durable before anything named it.
            end.position = open.start
        }
        durableCount = min(durableCount, count)
        history.cut(to: end.position)
        state = base
        appliedCount = 0
        var pending = 0
        for (index, item) in items.enumerated() where item.itemsLeft == 0 {
            for applied in pending...index {
                state.apply(key: items[applied].key, value: items[applied].value)
            }
            pending = index + 1
        }
        appliedCount = pending
    }

    /// Begins a new file and a new history there.
    mutating func beginHistory(_ id: ReplicationID) {
        let next = Mark(
            position: BinlogPosition(fileNumber: end.position.fileNumber + 1, offset: 0),
            digest: end.digest)
        history.begin(
            HistoryEntry(
                id: id, previousEnd: end.position, previousDigest: end.digest,
                start: next.position))
        end = next
    }

    /// What is known of a position.
    func evidence(at position: BinlogPosition) -> PositionEvidence {
        guard position >= start.position else { return .fileMissing }
        if position == start.position { return .boundary(digest: start.digest) }
        if position == end.position { return .boundary(digest: end.digest) }
        let index = firstIndex(endingAtOrAfter: position)
        if index < items.count, items[index].end.position == position {
            return .boundary(digest: items[index].end.digest)
        }
        guard position.offset == 0, position.fileNumber <= end.position.fileNumber else {
            return .notABoundary
        }
        return .boundary(digest: index == 0 ? start.digest : items[index - 1].end.digest)
    }

    func firstIndex(endingAtOrAfter position: BinlogPosition) -> Int {
        var low = 0
        var high = items.count
        while low < high {
            let middle = (low + high) / 2
            if items[middle].end.position < position { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The items behind a position, up to another one.
    func items(after position: BinlogPosition, upTo limit: BinlogPosition) -> ArraySlice<
        SimulatedItem
    > {
        var first = firstIndex(endingAtOrAfter: position)
        if first < items.count, items[first].end.position == position { first += 1 }
        var last = firstIndex(endingAtOrAfter: limit)
        if last < items.count, items[last].end.position == limit { last += 1 }
        return first < last ? items[first..<last] : []
    }

    /// Removes whole files before `fileNumber`, but nothing that is not durable and applied.
    mutating func purge(before fileNumber: UInt32) {
        let count = min(
            firstIndex(endingAtOrAfter: BinlogPosition(fileNumber: fileNumber, offset: 0)),
            min(durableCount, appliedCount))
        guard count > 0 else { return }
        // Never the last item: the log must know where it ends.
        let removed = items[..<count]
        for item in removed { base.apply(key: item.key, value: item.value) }
        start = removed[count - 1].end
        items.removeFirst(count)
        durableCount -= count
        appliedCount -= count
    }
}
