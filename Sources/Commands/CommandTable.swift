/// All commands, found by length and bytes of the word without making a String.
public final class CommandTable: Sendable {
    /// The rows, by family.
    public let rows: [CommandRow]
    private let index: WordIndex
    private let hotRows: HotRows
    /// Rows that matter between MULTI and EXEC.
    let transactionRows: TransactionRows

    /// Makes the table of all commands.
    public init() {
        self.rows =
            KeyCommands.rows + ScanCommands.rows + StringCommands.rows + HashCommands.rows
            + ListCommands.rows + ListMoveCommands.rows + SetCommands.rows + SortedSetCommands.rows
            + SortedSetCombineCommands.rows + RandomCommands.rows + GeoCommands.rows
            + ConnectionCommands.rows
            + ServerCommands.rows
            + CommandCommands.rows + BitCommands.rows + HyperLogLogCommands.rows
            + StringValueCommands.rows + KeyspaceCommands.rows + ObjectCommands.rows
            + RangeCommands.rows + SortCommands.rows + PubSubCommands.rows + ReplicaWait.rows
            + ObservationCommands.rows + DumpCommands.rows
            + TransactionCommands.rows + BlockingCommands.rows + ScriptCommands.rows
        self.index = WordIndex(self.rows.map(\.name))
        self.hotRows = HotRows(self.rows)
        self.transactionRows = TransactionRows(self.index)
    }

    /// The part of a row that the command path reads.
    @inline(__always)
    func hotRow(_ index: Int) -> UnsafePointer<HotRow> { self.hotRows.pointer(index) }

    /// Index in `rows` of a command word, in any case of letters; nil when there is no such command.
    @inline(__always)
    public func find(_ word: UnsafeRawBufferPointer) -> Int? { self.index.find(word) }

    /// The row of a command word, in any case of letters; nil when there is no such command.
    public func row(_ word: UnsafeRawBufferPointer) -> CommandRow? {
        self.find(word).map { self.rows[$0] }
    }
}

/// Indexes of the rows that are not simply queued between MULTI and EXEC.
struct TransactionRows {
    let multi: Int
    let exec: Int
    let watch: Int?
    let select: Int?
    /// Executed at once.
    let immediate: [Int]
    let client: Int
    /// They empty databases.
    let flushes: [Int]

    fileprivate init(_ index: WordIndex) {
        func find(_ words: [StaticString]) -> [Int] { words.compactMap { index.find($0.bytes) } }
        self.multi = find(["multi"]).first ?? -1
        self.exec = find(["exec"]).first ?? -1
        self.watch = find(["watch"]).first
        self.select = find(["select"]).first
        self.immediate = find(["discard", "quit", "reset"])
        self.client = find(["client"]).first ?? -1
        self.flushes = find(["flushdb", "flushall"])
    }
}

/// What the command path reads of a row: one cache line.
struct HotRow {
    let handler: CommandRow.Handler
    let flags: CommandFlags
    let arity: Int
    let keys: KeyPositions
    let types: TypeRule
    let reads: ReadRule
}

/// The hot rows at a fixed place, so that reading one copies nothing.
private final class HotRows: @unchecked Sendable {
    // SAFETY: written in `init` only.
    private let rows: UnsafeMutableBufferPointer<HotRow>

    init(_ rows: [CommandRow]) {
        self.rows = .allocate(capacity: rows.count)
        for (index, row) in rows.enumerated() {
            self.rows.initializeElement(
                at: index,
                to: HotRow(
                    handler: row.handler, flags: row.flags, arity: row.arity, keys: row.keys,
                    types: TypeRule(row), reads: ReadRule(row)))
        }
    }

    deinit {
        self.rows.deinitialize()
        self.rows.deallocate()
    }

    @inline(__always)
    func pointer(_ index: Int) -> UnsafePointer<HotRow> {
        precondition(index < self.rows.count, "no row \(index)")
        return UnsafePointer(self.rows.baseAddress.unsafelyUnwrapped + index)
    }
}

/// A hash table from words of up to 24 bytes to their numbers.
///
/// A word is kept as three 64-bit numbers, letters in lower case, zeros behind its end.
private final class WordIndex: @unchecked Sendable {
    // SAFETY: written in `init` only.
    private struct Slot {
        var length = 0
        var first: UInt64 = 0
        var second: UInt64 = 0
        var third: UInt64 = 0
        var number = 0
    }

    private let slots: UnsafeMutableBufferPointer<Slot>
    private static let slotCount = 1024
    private static let longestWord = 24

    init(_ words: [StaticString]) {
        self.slots = .allocate(capacity: Self.slotCount)
        self.slots.initialize(repeating: Slot())
        for (number, word) in words.enumerated() {
            precondition(
                word.utf8CodeUnitCount <= Self.longestWord && self.find(word.bytes) == nil,
                "command \(word) is too long or there twice")
            var slot = Self.slot(word.bytes)
            slot.number = number
            var place = Self.place(slot)
            while self.slots[place].length != 0 { place = (place + 1) & (Self.slotCount - 1) }
            self.slots[place] = slot
        }
    }

    deinit { self.slots.deallocate() }

    @inline(__always)
    func find(_ word: Bytes) -> Int? {
        guard word.count > 0, word.count <= Self.longestWord else { return nil }
        let wanted = Self.slot(word)
        var place = Self.place(wanted)
        while true {
            let slot = self.slots[place]
            if slot.length == wanted.length, slot.first == wanted.first,
                slot.second == wanted.second, slot.third == wanted.third
            {
                return slot.number
            }
            if slot.length == 0 { return nil }
            place = (place + 1) & (Self.slotCount - 1)
        }
    }

    @inline(__always)
    private static func slot(_ word: Bytes) -> Slot {
        var slot = Slot()
        slot.length = word.count
        slot.first = self.load(word, 0)
        guard word.count > 8 else { return slot }
        slot.second = self.load(word, 8)
        if word.count > 16 { slot.third = self.load(word, 16) }
        return slot
    }

    /// Up to eight bytes from `offset` on, letters in lower case.
    @inline(__always)
    private static func load(_ word: Bytes, _ offset: Int) -> UInt64 {
        let rest = word.count - offset
        if rest >= 8 {
            return self.lowercase(word.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        var value: UInt64 = 0
        for index in 0..<rest {
            value |= UInt64(word[offset + index]) << UInt64(index * 8)
        }
        return self.lowercase(value)
    }

    /// Adds 0x20 to each byte from A to Z, eight at a time.
    @inline(__always)
    private static func lowercase(_ bytes: UInt64) -> UInt64 {
        let low = bytes & 0x7f7f_7f7f_7f7f_7f7f
        let aboveZ = low &+ 0x2525_2525_2525_2525
        let fromA = low &+ 0x3f3f_3f3f_3f3f_3f3f
        let letters = (fromA ^ aboveZ) & ~bytes & 0x8080_8080_8080_8080
        return bytes | (letters >> 2)
    }

    @inline(__always)
    private static func place(_ slot: Slot) -> Int {
        let mixed =
            (slot.first ^ (slot.second &* 3) ^ (slot.third &* 5) ^ UInt64(slot.length))
            &* 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: mixed >> 54)
    }
}
