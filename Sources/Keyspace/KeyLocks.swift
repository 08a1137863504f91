internal import PikaStorage
internal import Synchronization

/// The striped key locks of one database.
///
/// A stripe's word is 0 when free, else `owner << 2` with two marks: someone waits for its release;
/// its owner is busy (waits for the pool), so that nobody spins for it.
final class KeyLocks: @unchecked Sendable {
    // SAFETY: the words are atomics; the table of waiters is under its mutex.
    enum Attempt { case acquired, alreadyOwned, heldByLoop, heldByBusy }

    let count: Int
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    private let waiters = Mutex<[UInt32: [@Sendable () -> Void]]>([:])

    private static let waitMark: UInt64 = 1
    private static let busyMark: UInt64 = 2

    init(count: Int) {
        precondition(count > 0 && count & (count - 1) == 0, "stripes: \(count)")
        self.count = count
        words = .allocate(capacity: count)
        for index in 0..<count { (words + index).initialize(to: Atomic(0)) }
    }

    deinit {
        words.deinitialize(count: count)
        words.deallocate()
    }

    /// The stripe of a key.
    func stripe(of key: Bytes) -> UInt32 {
        var hash: UInt64 = 0x9E37_79B9_7F4A_7C15 ^ UInt64(truncatingIfNeeded: key.count)
        var index = 0
        while index + 8 <= key.count {
            let word = key.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            hash = Self.mix(hash ^ word)
            index += 8
        }
        var rest: UInt64 = 0
        while index < key.count {
            rest = rest << 8 | UInt64(key[index])
            index += 1
        }
        hash = Self.mix(hash ^ rest)
        return UInt32(truncatingIfNeeded: hash >> 32) & UInt32(count - 1)
    }

    @inline(__always)
    private static func mix(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
        return product.high ^ product.low
    }

    func tryAcquire(_ stripe: UInt32, owner: UInt32, busy: Bool) -> Attempt {
        let wanted = UInt64(owner) << 2 | (busy ? Self.busyMark : 0)
        let (exchanged, found) = words[Int(stripe)].compareExchange(
            expected: 0, desired: wanted, ordering: .acquiringAndReleasing)
        if exchanged { return .acquired }
        if found >> 2 == UInt64(owner) { return .alreadyOwned }
        return found & Self.busyMark != 0 ? .heldByBusy : .heldByLoop
    }

    /// The owner of this stripe now waits for the pool.
    func markBusy(_ stripe: UInt32) {
        words[Int(stripe)].bitwiseOr(Self.busyMark, ordering: .acquiringAndReleasing)
    }

    /// The owner of this stripe runs on its loop again.
    func clearBusy(_ stripe: UInt32) {
        words[Int(stripe)].bitwiseAnd(~Self.busyMark, ordering: .acquiringAndReleasing)
    }

    func release(_ stripe: UInt32) {
        let old = words[Int(stripe)].exchange(0, ordering: .acquiringAndReleasing)
        guard old & Self.waitMark != 0 else { return }
        let bodies = waiters.withLock { $0.removeValue(forKey: stripe) } ?? []
        for body in bodies { body() }
    }

    /// Calls `body` once when the stripe is released (at once if it is free).
    func whenFree(_ stripe: UInt32, _ body: @escaping @Sendable () -> Void) {
        let registered = waiters.withLock { table -> Bool in
            var current = words[Int(stripe)].load(ordering: .acquiring)
            while current != 0 {
                let (exchanged, found) = words[Int(stripe)].compareExchange(
                    expected: current, desired: current | Self.waitMark,
                    ordering: .acquiringAndReleasing)
                if exchanged {
                    table[stripe, default: []].append(body)
                    return true
                }
                current = found
            }
            return false
        }
        if !registered { body() }
    }

    /// True if no stripe is held; for checks.
    var isEmpty: Bool {
        for index in 0..<count where words[index].load(ordering: .acquiring) != 0 { return false }
        return true
    }
}
