import Glibc
import PikaStorage

/// Byte strings kept together in one growable block: copies of members and values that outlive the
/// callback which handed them out.
///
/// Reused by an `Execution`; a large block is given back when it is cleared.
struct Collector: ~Copyable {
    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    private var used = 0
    private var lengths: [Int] = []
    private var views: UnsafeMutableBufferPointer<Bytes>

    private static let initialCapacity = 4096
    private static let keptCapacity = 1024 * 1024

    init() {
        self.base = .allocate(byteCount: Self.initialCapacity, alignment: 8)
        self.capacity = Self.initialCapacity
        self.views = .allocate(capacity: 0)
    }

    deinit {
        self.base.deallocate()
        self.views.deallocate()
    }

    /// Number of byte strings.
    var count: Int { self.lengths.count }

    /// Bytes of all of them.
    var byteCount: Int { self.used }

    mutating func clear() {
        self.used = 0
        self.lengths.removeAll(keepingCapacity: true)
        guard self.capacity > Self.keptCapacity else { return }
        self.base.deallocate()
        self.base = .allocate(byteCount: Self.initialCapacity, alignment: 8)
        self.capacity = Self.initialCapacity
        self.lengths = []
    }

    /// Adds a copy.
    mutating func append(_ bytes: Bytes) {
        self.reserve(bytes.count)
        if let start = bytes.baseAddress, bytes.count > 0 {
            memcpy(self.base + self.used, start, bytes.count)
        }
        self.used += bytes.count
        self.lengths.append(bytes.count)
    }

    /// Adds what `write` puts into a buffer of `capacity` bytes; it returns the length.
    mutating func append(
        capacity: Int, _ write: (UnsafeMutableRawBufferPointer) -> Int
    ) {
        self.reserve(capacity)
        let length = write(
            UnsafeMutableRawBufferPointer(start: self.base + self.used, count: capacity))
        self.used += length
        self.lengths.append(length)
    }

    private mutating func reserve(_ bytes: Int) {
        guard self.capacity - self.used < bytes else { return }
        let wanted = max(self.capacity * 2, self.used + bytes)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 8)
        memcpy(larger, self.base, self.used)
        self.base.deallocate()
        self.base = larger
        self.capacity = wanted
    }

    /// The byte strings, behind `leading` ones that the caller names; valid until the next change.
    mutating func list(after leading: Bytes...) -> UnsafeBufferPointer<Bytes> {
        let total = leading.count + self.lengths.count
        if self.views.count < total {
            self.views.deallocate()
            self.views = .allocate(capacity: max(total, self.views.count * 2))
        }
        var offset = 0
        for (index, bytes) in leading.enumerated() {
            self.views.initializeElement(at: index, to: bytes)
        }
        for (index, length) in self.lengths.enumerated() {
            let view = Bytes(start: self.base + offset, count: length)
            self.views.initializeElement(at: leading.count + index, to: view)
            offset += length
        }
        return UnsafeBufferPointer(rebasing: UnsafeBufferPointer(self.views)[..<total])
    }
}
