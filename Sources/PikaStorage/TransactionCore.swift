import CPikaShim
import Glibc

/// The mutable parts of a transaction, behind one pointer so that the hot path pays no exclusivity
/// checks and no reference counting.
struct TransactionCore {
    /// The `pk_store`.
    var handle: OpaquePointer
    /// The store's cache; the transaction holds the store.
    private(set) var cache: Unmanaged<RowCache>?
    private(set) var known: Unmanaged<KnownElements>?
    var overlay = Overlay()
    /// Elements that the next LPOPs will want.
    var ahead = ListAhead()
    /// The `pk_batch`.
    let batch: OpaquePointer
    /// The `pk_snapshot` of `withSnapshot`.
    var snapshot: OpaquePointer?
    var pins = Pins()
    var scratch = Scratch()
    /// Of the last HyperLogLogs written here.
    var recentRegisters = RecentRegisters()
    var readTime = ReadTime()
    var scans = ScanCache()
    /// Rows that `prepareCommit` put into the batch, and told those of who remember rows.
    var preparedCount = 0
    /// The store took what was prepared; it is still to be told.
    var isInStore = false
    /// Between the first `writeUnseen` and `endUnseen`.
    var holdsUnseen = false
    /// Versions of keys with elements whose rows are written.
    var claims: [UnseenClaim] = []
    /// What goes into the batch in front of all rows.
    var deletedRanges: [DeletedRange] = []

    init(_ store: Store) {
        handle = store.handle
        cache = store.rowCache.map { .passUnretained($0) }
        known = store.knownElements.map { .passUnretained($0) }
        batch = pk_batch_create()
    }

    mutating func bind(to store: Store) {
        ahead.clear()
        scans.clear()
        handle = store.handle
        cache = store.rowCache.map { .passUnretained($0) }
        known = store.knownElements.map { .passUnretained($0) }
    }

    /// Forgets what belongs to one group.
    mutating func reset() {
        // What was read ahead may have come from the overlay.
        if overlay.writesElements { ahead.clear() } else { ahead.release() }
        if preparedCount > 0 {
            pk_batch_clear(batch)
            preparedCount = 0
            isInStore = false
        }
        if !deletedRanges.isEmpty { deletedRanges = [] }
        overlay.reset()
    }

    mutating func deallocate() {
        overlay.deallocate()
        scans.deallocate()
        pk_batch_destroy(batch)
        pins.deallocate()
        scratch.deallocate()
    }
}

/// How long reads take that miss the row cache, from a sample of them.
struct ReadTime {
    /// One read in so many is timed.
    private static let sampleInterval: UInt32 = 8
    /// What one sample counts for in the mean.
    private static let weight = 16
    /// Above this a read waited for something else.
    private static let limitNanoseconds = 1_000_000

    private var reads: UInt32 = 0
    private(set) var meanNanoseconds = 0

    /// Counts a read; whether it is to be timed.
    mutating func isDue() -> Bool {
        reads &+= 1
        return reads % Self.sampleInterval == 0
    }

    /// Notes a read's time; that of a row that the row cache does not keep counts as none.
    mutating func note(nanoseconds: Int, rowBytes: Int) {
        let sample =
            rowBytes > RowCache.rowLimitBytes ? 0 : min(nanoseconds, Self.limitNanoseconds)
        meanNanoseconds += (sample - meanNanoseconds) / Self.weight
    }
}

/// Rows of a store that are deleted by their order.
struct DeletedRange {
    var family: Family
    var start: [UInt8]
    /// Is not deleted.
    var end: [UInt8]
}

/// The values held by reads that are in progress, one per level of nesting.
struct Pins {
    /// Reads inside of reads; a row's closure that reads a row is two.
    static let depthLimit = 16

    private let pins: UnsafeMutablePointer<OpaquePointer?>
    /// Copies of rows of the cache, one buffer per level.
    private let buffers: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private(set) var depth = 0
    private var pinned: UInt32 = 0

    init() {
        pins = .allocate(capacity: Self.depthLimit)
        pins.initialize(repeating: nil, count: Self.depthLimit)
        buffers = .allocate(capacity: Self.depthLimit)
        buffers.initialize(repeating: nil, count: Self.depthLimit)
    }

    mutating func deallocate() {
        for level in 0..<Self.depthLimit {
            if let pin = pins[level] { pk_pin_destroy(pin) }
            buffers[level]?.deallocate()
        }
        pins.deallocate()
        buffers.deallocate()
    }

    /// This level's room for a row of the cache.
    func buffer() -> UnsafeMutableRawPointer {
        if let buffer = buffers[depth - 1] { return buffer }
        let buffer = UnsafeMutableRawPointer.allocate(
            byteCount: RowCache.rowLimitBytes, alignment: 16)
        buffers[depth - 1] = buffer
        return buffer
    }

    /// Enters a level; its pin is handed out when the value comes from the store.
    mutating func enter() {
        precondition(depth < Self.depthLimit, "reads nested more than \(Self.depthLimit) deep")
        depth += 1
    }

    mutating func pin() -> OpaquePointer {
        let level = depth - 1
        pinned |= 1 << UInt32(level)
        if let pin = pins[level] { return pin }
        let pin: OpaquePointer = pk_pin_create()
        pins[level] = pin
        return pin
    }

    mutating func leave() {
        depth -= 1
        let bit = UInt32(1) << UInt32(depth)
        guard pinned & bit != 0, let pin = pins[depth] else { return }
        pinned &= ~bit
        pk_pin_release(pin)
    }
}

/// Buffers in which row keys are put together.
///
/// What lies in a buffer is good until the same buffer is used again: no operation relies on it
/// across a call of a closure that it was given.
struct Scratch {
    /// The buffers, by use.
    enum Slot: Int, CaseIterable {
        case element
        case score
        case start
        case value
    }

    private var buffers: UnsafeMutablePointer<UnsafeMutableRawBufferPointer>

    init() {
        buffers = .allocate(capacity: Slot.allCases.count)
        for slot in Slot.allCases {
            (buffers + slot.rawValue).initialize(
                to: .allocate(byteCount: 512, alignment: 16))
        }
    }

    mutating func deallocate() {
        for slot in Slot.allCases { buffers[slot.rawValue].deallocate() }
        buffers.deallocate()
    }

    /// The buffer with at least `capacity` bytes; the first `keeping` ones stay as they are.
    mutating func buffer(
        _ slot: Slot, capacity: Int, keeping: Int = 0
    ) -> UnsafeMutableRawPointer {
        let buffer = buffers[slot.rawValue]
        if let start = buffer.baseAddress, buffer.count >= capacity { return start }
        let larger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(capacity, buffer.count * 2), alignment: 16)
        larger.copyMemory(from: Bytes(rebasing: buffer[..<keeping]))
        buffer.deallocate()
        buffers[slot.rawValue] = larger
        // The buffer was allocated with more than zero bytes.
        return larger.baseAddress.unsafelyUnwrapped
    }
}

extension UnsafeMutableRawPointer {
    /// Copies bytes to an offset.
    @inline(__always)
    func put(_ bytes: Bytes, at offset: Int) {
        guard let start = bytes.baseAddress else { return }
        (self + offset).copyMemory(from: start, byteCount: bytes.count)
    }

    /// Stores a little-endian number at an offset.
    @inline(__always)
    func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
}

extension UnsafeRawBufferPointer {
    /// A little-endian number at an offset that has been checked.
    @inline(__always)
    func number<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
    }
}
