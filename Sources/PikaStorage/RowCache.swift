import CPikaShim
import CXXHash
import Glibc
import Synchronization

/// Rows of a store's meta family that were read lately, so that reading them again costs no call of
/// RocksDB; also that there is none of a name: a counter that begins, a key that is asked for in vain.
///
/// Always what a read of the store would give. A batch goes through three steps: `beginWrite` makes
/// its rows unreadable here, RocksDB takes the batch, `endWrite` puts the new rows in their places.
/// Between the first and the last step readers go to the store, which shows the batch whole or not
/// at all; so nobody can see one new row here and then an old one. A reader that missed installs
/// what it read only when no batch touched the shard since its miss.
///
/// Compaction drops only rows that are stale for every reader; one that is still here is stale, too.
final class RowCache: @unchecked Sendable {
    // SAFETY: what lies in a shard is read and written under its lock; the pointers here are
    // constant.

    /// Key and value together may have this many bytes; longer rows are not kept.
    static let rowLimitBytes = 4096

    private static let shardCount = 64
    private static let shardShift: UInt64 = 58

    private let shards: UnsafeMutablePointer<Shard>
    private let seed: UInt64

    /// Makes an empty cache.
    ///
    /// - Parameter limitBytes: keys, values and their bookkeeping together.
    init(limitBytes: Int) {
        shards = .allocate(capacity: Self.shardCount)
        for index in 0..<Self.shardCount {
            (shards + index).initialize(to: Shard(limitBytes: limitBytes / Self.shardCount))
        }
        // Names chosen by a client must not meet in one bucket.
        seed = UInt64.random(in: .min ... .max)
    }

    deinit {
        for index in 0..<Self.shardCount { shards[index].deallocate() }
        shards.deinitialize(count: Self.shardCount)
        shards.deallocate()
    }

    /// Bytes in use.
    var usedBytes: Int {
        var sum = 0
        for index in 0..<Self.shardCount {
            shards[index].acquire()
            sum += shards[index].usedBytes
            shards[index].release()
        }
        return sum
    }

    // MARK: Reading

    /// What a miss leaves behind for `install`.
    struct Ticket {
        let hash: UInt64
        fileprivate let version: UInt64
    }

    /// What a look-up came to.
    enum Lookup {
        /// The value has this many bytes and lies in the buffer.
        case hit(Int)
        /// The store has no such row.
        case absent
        /// The store must be asked.
        case miss(Ticket)
    }

    /// Copies a row's value into `buffer`, which has room for `rowLimitBytes`.
    @inline(__always)
    func copy(_ key: Bytes, to buffer: UnsafeMutableRawPointer) -> Lookup {
        let hash = hash(key)
        let shard = shard(hash)
        shard.pointee.acquire()
        defer { shard.pointee.release() }
        guard let entry = shard.pointee.find(key, hash: hash), !entry.pointee.isBusy else {
            return .miss(Ticket(hash: hash, version: shard.pointee.version))
        }
        entry.pointee.isHot = true
        if entry.pointee.isAbsent { return .absent }
        let length = Int(entry.pointee.valueLength)
        buffer.copyMemory(from: entry.value, byteCount: length)
        return .hit(length)
    }

    /// Keeps a row that was read from the store after a miss; nil: there is none.
    func install(_ key: Bytes, _ value: Bytes?, _ ticket: Ticket) {
        guard key.count + (value?.count ?? 0) <= Self.rowLimitBytes, !AppliedRow.isReserved(key)
        else { return }
        let shard = shard(ticket.hash)
        shard.pointee.acquire()
        defer { shard.pointee.release() }
        guard shard.pointee.version == ticket.version, shard.pointee.writers == 0,
            shard.pointee.find(key, hash: ticket.hash) == nil
        else { return }
        shard.pointee.insert(key, value, hash: ticket.hash)
    }

    // MARK: Writing

    /// Makes the rows of a batch unreadable here; `endWrite` with the same rows MUST follow.
    func beginWrite(_ rows: UnsafeMutablePointer<pk_row>, count: Int) {
        forEachMetaRow(rows, count) { row, key in
            let hash = hash(key)
            let shard = shard(hash)
            shard.pointee.acquire()
            shard.pointee.version &+= 1
            shard.pointee.writers += 1
            shard.pointee.find(key, hash: hash)?.pointee.isBusy = true
            shard.pointee.release()
        }
    }

    /// The store took the batch (`isWritten`), or it may or may not have taken it.
    func endWrite(_ rows: UnsafeMutablePointer<pk_row>, count: Int, isWritten: Bool) {
        forEachMetaRow(rows, count) { row, key in
            let hash = hash(key)
            let shard = shard(hash)
            shard.pointee.acquire()
            shard.pointee.version &+= 1
            shard.pointee.writers -= 1
            if let entry = shard.pointee.find(key, hash: hash) {
                let length = Int(row.value_length)
                if isWritten, row.isValue, key.count + length <= Self.rowLimitBytes {
                    let value = Bytes(start: row.value, count: length)
                    shard.pointee.update(entry, value, hash: hash)
                } else {
                    shard.pointee.remove(entry, hash: hash)
                }
            }
            shard.pointee.release()
        }
    }

    @inline(__always)
    private func forEachMetaRow(
        _ rows: UnsafeMutablePointer<pk_row>, _ count: Int, _ body: (pk_row, Bytes) -> Void
    ) {
        for index in 0..<count {
            let row = rows[index]
            guard row.family == UInt32(Family.meta.rawValue), row.value_length != PK_ROW_VOID else {
                continue
            }
            let key = Bytes(start: row.key, count: Int(row.key_length))
            // In every batch, and never kept.
            if AppliedRow.isReserved(key) { continue }
            body(row, key)
        }
    }

    // MARK: Places

    @inline(__always)
    private func hash(_ key: Bytes) -> UInt64 {
        XXH3_64bits_withSeed(key.baseAddress, key.count, seed)
    }

    @inline(__always)
    private func shard(_ hash: UInt64) -> UnsafeMutablePointer<Shard> {
        shards + Int(truncatingIfNeeded: hash >> Self.shardShift)
    }
}

/// A row: this header, the key, the value.
private struct Entry {
    var next: UnsafeMutablePointer<Entry>?
    let hash: UInt64
    let keyLength: UInt32
    var valueLength: UInt32
    /// Room for the value.
    let valueCapacity: UInt32
    /// Read since the hand passed.
    var isHot = false
    /// A batch is writing the row.
    var isBusy = false
    /// There is no such row.
    var isAbsent = false
}

extension UnsafeMutablePointer<Entry> {
    fileprivate var key: UnsafeMutableRawPointer {
        UnsafeMutableRawPointer(self) + MemoryLayout<Entry>.size
    }
    fileprivate var value: UnsafeMutableRawPointer { key + Int(pointee.keyLength) }
    /// What the row costs, the allocator's own bookkeeping included.
    fileprivate var costBytes: Int {
        MemoryLayout<Entry>.size + Int(pointee.keyLength) + Int(pointee.valueCapacity) + 16
    }
}

/// A part of the cache with a lock of its own: a hash table with chains, and a clock's hand that
/// evicts what was not read since it last passed.
private struct Shard: ~Copyable {
    private let lock = Atomic<Bool>(false)
    /// Counts what batches did here.
    var version: UInt64 = 0
    /// Rows of batches that are being written.
    var writers = 0
    private(set) var usedBytes = 0
    private let limitBytes: Int
    private var buckets: UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
    private var mask = Shard.initialBuckets - 1
    private var entryCount = 0
    private var hand = 0

    private static let initialBuckets = 16
    /// Room for the value of a row that is not there: a number, or the head of a collection.
    private static let absentRoomBytes = 32
    /// Attempts to take the lock before the thread lets others run.
    private static let spinLimit = 200

    init(limitBytes: Int) {
        self.limitBytes = limitBytes
        buckets = .allocate(capacity: Self.initialBuckets)
        buckets.initialize(repeating: nil, count: Self.initialBuckets)
    }

    mutating func deallocate() {
        for index in 0...mask {
            while let entry = buckets[index] {
                buckets[index] = entry.pointee.next
                free(entry)
            }
        }
        buckets.deallocate()
    }

    @inline(__always)
    func acquire() {
        var attempts = 0
        while lock.exchange(true, ordering: .acquiring) {
            attempts += 1
            if attempts > Self.spinLimit { sched_yield() }
        }
    }

    @inline(__always)
    func release() { lock.store(false, ordering: .releasing) }

    @inline(__always)
    func find(_ key: Bytes, hash: UInt64) -> UnsafeMutablePointer<Entry>? {
        var entry = buckets[Int(truncatingIfNeeded: hash) & mask]
        while let found = entry {
            if found.pointee.hash == hash, found.pointee.keyLength == UInt32(key.count),
                key.equals(Bytes(start: found.key, count: key.count))
            {
                return found
            }
            entry = found.pointee.next
        }
        return nil
    }

    mutating func insert(_ key: Bytes, _ value: Bytes?, hash: UInt64) {
        // Values often grow by a little: counters, metas.
        let capacity = value.map { ($0.count + 15) & ~15 } ?? Self.absentRoomBytes
        let size = MemoryLayout<Entry>.size + key.count + capacity
        // A row that would push out all others is not worth it.
        guard size + 16 <= limitBytes else { return }
        guard let memory = malloc(size) else { return }
        let bucket = Int(truncatingIfNeeded: hash) & mask
        let entry = memory.bindMemory(to: Entry.self, capacity: 1)
        entry.initialize(
            to: Entry(
                next: buckets[bucket], hash: hash, keyLength: UInt32(key.count),
                valueLength: UInt32(value?.count ?? 0), valueCapacity: UInt32(capacity),
                isAbsent: value == nil))
        entry.key.put(key, at: 0)
        if let value { entry.value.put(value, at: 0) }
        buckets[bucket] = entry
        entryCount += 1
        usedBytes += entry.costBytes
        if entryCount > mask { grow() }
        evict(sparing: entry)
    }

    /// Writes a new value into a row's place; the row is readable then.
    mutating func update(_ entry: UnsafeMutablePointer<Entry>, _ value: Bytes, hash: UInt64) {
        guard value.count <= Int(entry.pointee.valueCapacity) else {
            let copy = Bytes(start: entry.key, count: Int(entry.pointee.keyLength))
            insert(copy, value, hash: hash)
            // The older one is behind the new one in the chain.
            remove(entry, hash: hash)
            return
        }
        entry.value.put(value, at: 0)
        entry.pointee.valueLength = UInt32(value.count)
        entry.pointee.isBusy = false
        entry.pointee.isAbsent = false
    }

    mutating func remove(_ entry: UnsafeMutablePointer<Entry>, hash: UInt64) {
        var link = buckets + (Int(truncatingIfNeeded: hash) & mask)
        while let other = link.pointee {
            if other == entry {
                link.pointee = entry.pointee.next
                drop(entry)
                return
            }
            link = Self.link(of: other)
        }
    }

    private mutating func drop(_ entry: UnsafeMutablePointer<Entry>) {
        usedBytes -= entry.costBytes
        entryCount -= 1
        free(entry)
    }

    /// The place of the pointer to an entry's successor: `next` is the first field.
    private static func link(
        of entry: UnsafeMutablePointer<Entry>
    ) -> UnsafeMutablePointer<UnsafeMutablePointer<Entry>?> {
        UnsafeMutableRawPointer(entry).assumingMemoryBound(
            to: UnsafeMutablePointer<Entry>?.self)
    }

    /// Drops rows until the limit holds: those first that were not read since the hand last passed.
    private mutating func evict(sparing newest: UnsafeMutablePointer<Entry>) {
        // Twice round at most: the first round cools what is hot.
        var steps = 2 * (mask + 1)
        while usedBytes > limitBytes, steps > 0 {
            steps -= 1
            hand = (hand + 1) & mask
            var link = buckets + hand
            while let entry = link.pointee {
                if entry == newest || entry.pointee.isHot || entry.pointee.isBusy {
                    entry.pointee.isHot = false
                    link = Self.link(of: entry)
                } else {
                    link.pointee = entry.pointee.next
                    drop(entry)
                }
            }
        }
    }

    private mutating func grow() {
        let count = (mask + 1) * 2
        let larger = UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>.allocate(capacity: count)
        larger.initialize(repeating: nil, count: count)
        for index in 0...mask {
            while let entry = buckets[index] {
                buckets[index] = entry.pointee.next
                let bucket = Int(truncatingIfNeeded: entry.pointee.hash) & (count - 1)
                entry.pointee.next = larger[bucket]
                larger[bucket] = entry
            }
        }
        buckets.deallocate()
        buckets = larger
        mask = count - 1
    }
}
