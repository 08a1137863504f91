import PikaStorage
import Synchronization

/// What a cursor number of the SCAN family stands for.
struct ScanPosition: Sendable, Equatable {
    /// What is scanned: one of the collection types, or the key names of all five stores.
    enum Subject: Sendable, Equatable {
        /// SCAN; the store it has come to.
        case keys(StoreKind)
        /// HSCAN, SSCAN or ZSCAN of a key.
        case elements(StoreKind, key: [UInt8])
    }

    /// Database.
    var database: Int
    /// What is scanned.
    var subject: Subject
    /// The first name not yet visited.
    var next: [UInt8]
}

/// Positions of unfinished scans, shared by all connections.
///
/// Bounded in number and bytes: the oldest positions go first, and a scan whose position is gone
/// gets an error, never a silent end. The position before the current one is kept, so that a
/// client may repeat a step whose reply it lost.
final class ScanCursors: Sendable {
    /// Most positions.
    static let maxPositions = 8192
    /// Most bytes of names in them.
    static let maxBytes = 16 * 1024 * 1024

    private struct Entry {
        var position: ScanPosition
        var previous: UInt64
    }

    private struct State {
        var entries: [UInt64: Entry] = [:]
        /// Numbers in the order of their making; those of removed entries are skipped.
        var order: [UInt64] = []
        var oldest = 0
        var bytes = 0
        var counter: UInt64 = 0
    }

    private let state = Mutex(State())
    /// High bits of all numbers, so that a number from before a restart is not taken for ours.
    private let epoch: UInt64

    init() {
        // 20 bits above a counter of 32: numbers stay below 2^53, exact in every client language.
        self.epoch = UInt64.random(in: 1..<(1 << 20)) << 32
    }

    /// Keeps a position; `continuing` is the number that the step came with, 0 for the first.
    func save(_ position: ScanPosition, continuing: UInt64) -> UInt64 {
        self.state.withLock { state in
            if let current = state.entries[continuing] {
                Self.remove(current.previous, &state)
            }
            state.counter = (state.counter + 1) & 0xffff_ffff
            let number = self.epoch | state.counter
            Self.remove(number, &state)
            state.entries[number] = Entry(position: position, previous: continuing)
            state.order.append(number)
            state.bytes += Self.size(position)
            while state.entries.count > Self.maxPositions || state.bytes > Self.maxBytes {
                Self.remove(state.order[state.oldest], &state)
                state.oldest += 1
            }
            Self.compact(&state)
            return number
        }
    }

    /// The position of a number; nil when it was lost or never given.
    func position(_ number: UInt64) -> ScanPosition? {
        self.state.withLock { $0.entries[number]?.position }
    }

    /// Number of positions kept.
    var count: Int { self.state.withLock { $0.entries.count } }

    private static func size(_ position: ScanPosition) -> Int {
        switch position.subject {
        case .keys: position.next.count
        case .elements(_, let key): position.next.count + key.count
        }
    }

    private static func remove(_ number: UInt64, _ state: inout State) {
        guard let entry = state.entries.removeValue(forKey: number) else { return }
        state.bytes -= self.size(entry.position)
    }

    private static func compact(_ state: inout State) {
        guard state.order.count > 2 * self.maxPositions + state.entries.count else { return }
        state.order = state.order[state.oldest...].filter { state.entries[$0] != nil }
        state.oldest = 0
    }
}
