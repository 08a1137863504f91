/// The contents of one write group's items, gathered before the group gets its positions.
///
/// Reused from group to group: ``reset()`` keeps the memory, so gathering allocates nothing in the
/// steady state. Owned and used by one thread at a time.
public struct BinlogItems: ~Copyable {
    var bytes: UnsafeMutableRawPointer
    private(set) var capacity: Int

    /// Bytes of all contents.
    public private(set) var byteCount = 0

    /// Finished items.
    public private(set) var count = 0

    private var ends: UnsafeMutablePointer<Int>
    private var endsCapacity: Int

    /// Creates an empty buffer.
    public init(reservingBytes: Int = 4_096, items: Int = 64) {
        capacity = max(reservingBytes, 64)
        bytes = .allocate(byteCount: capacity, alignment: 16)
        endsCapacity = max(items, 4)
        ends = .allocate(capacity: endsCapacity)
    }

    deinit {
        bytes.deallocate()
        ends.deallocate()
    }

    /// Whether no item is finished.
    public var isEmpty: Bool { count == 0 }

    /// Forgets all items and keeps the memory; more than 1 MiB is given back.
    public mutating func reset() {
        byteCount = 0
        count = 0
        if capacity > 1 << 20 { reallocate(64 << 10) }
    }

    /// Begins an item of that many arguments, the command word included.
    ///
    /// MUST be followed by as many ``appendArgument(_:)`` and by ``endItem()``.
    @inline(__always)
    public mutating func beginItem(argumentCount: Int) {
        reserve(24)
        appendHeader(UInt8(ascii: "*"), argumentCount)
    }

    /// Appends one argument as a RESP bulk string.
    @inline(__always)
    public mutating func appendArgument(_ argument: UnsafeRawBufferPointer) {
        reserve(argument.count + 26)
        appendHeader(UInt8(ascii: "$"), argument.count)
        if let source = argument.baseAddress {
            (bytes + byteCount).copyMemory(from: source, byteCount: argument.count)
            byteCount += argument.count
        }
        bytes.storeBytes(of: 0x0A0D as UInt16, toByteOffset: byteCount, as: UInt16.self)
        byteCount += 2
    }

    /// Finishes the item begun last.
    @inline(__always)
    public mutating func endItem() {
        if count == endsCapacity { growEnds() }
        ends[count] = byteCount
        count += 1
    }

    /// Appends an item whose content is there already.
    public mutating func appendItem(content: UnsafeRawBufferPointer) {
        reserve(content.count)
        if let source = content.baseAddress {
            (bytes + byteCount).copyMemory(from: source, byteCount: content.count)
            byteCount += content.count
        }
        endItem()
    }

    /// Drops the items from `index` on: a command that failed after it had logged something.
    public mutating func removeItems(from index: Int) {
        precondition(index >= 0 && index <= count, "no item \(index) among \(count)")
        count = index
        byteCount = index == 0 ? 0 : ends[index - 1]
    }

    /// Drops what was appended since the last finished item.
    public mutating func cancelItem() {
        byteCount = count == 0 ? 0 : ends[count - 1]
    }

    /// The content of an item; valid until the buffer changes.
    @inline(__always)
    public func content(_ index: Int) -> UnsafeRawBufferPointer {
        let start = index == 0 ? 0 : ends[index - 1]
        return UnsafeRawBufferPointer(start: bytes + start, count: ends[index] - start)
    }

    @inline(__always)
    private mutating func appendHeader(_ mark: UInt8, _ value: Int) {
        bytes.storeBytes(of: mark, toByteOffset: byteCount, as: UInt8.self)
        byteCount += 1
        if value < 10 {
            append(digit: value)
        } else if value < 100 {
            append(digit: value / 10)
            append(digit: value % 10)
        } else {
            appendLong(value)
        }
        bytes.storeBytes(of: 0x0A0D as UInt16, toByteOffset: byteCount, as: UInt16.self)
        byteCount += 2
    }

    @inline(__always)
    private mutating func append(digit: Int) {
        bytes.storeBytes(
            of: UInt8(truncatingIfNeeded: 48 + digit), toByteOffset: byteCount, as: UInt8.self)
        byteCount += 1
    }

    private mutating func appendLong(_ value: Int) {
        var divisor = 100
        while value / divisor >= 10 { divisor *= 10 }
        var rest = value
        while divisor > 0 {
            append(digit: rest / divisor)
            rest %= divisor
            divisor /= 10
        }
    }

    @inline(__always)
    private mutating func reserve(_ extra: Int) {
        if byteCount + extra + 8 > capacity {
            reallocate(max(capacity * 2, byteCount + extra + 8))
        }
    }

    @inline(never)
    private mutating func reallocate(_ newCapacity: Int) {
        let new = UnsafeMutableRawPointer.allocate(byteCount: newCapacity, alignment: 16)
        new.copyMemory(from: bytes, byteCount: byteCount)
        bytes.deallocate()
        bytes = new
        capacity = newCapacity
    }

    @inline(never)
    private mutating func growEnds() {
        let new = UnsafeMutablePointer<Int>.allocate(capacity: endsCapacity * 2)
        new.moveInitialize(from: ends, count: count)
        ends.deallocate()
        ends = new
        endsCapacity *= 2
    }
}

// SAFETY: the buffer is uniquely owned (not copyable), so moving it to another thread moves all.
extension BinlogItems: @unchecked Sendable {}
