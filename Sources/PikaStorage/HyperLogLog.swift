import Glibc

/// Pika's HyperLogLog: 131,072 registers of one byte, without a header (spec: storage-format 7).
public struct HyperLogLog {
    /// Number of registers, and bytes of the value.
    public static let registerCount = 1 << precision

    private static let precision: UInt32 = 17
    private static let seed: UInt32 = 313

    private var registers: [UInt8]
    /// How many registers have each value, once that was asked for.
    private var numbers: [Int]?

    /// Takes the registers from a value; what is missing counts as zero.
    public init(registers value: Bytes) {
        registers = [UInt8](repeating: 0, count: Self.registerCount)
        registers.withUnsafeMutableBytes { buffer in
            buffer.copyMemory(from: Bytes(rebasing: value.prefix(Self.registerCount)))
        }
    }

    /// Adds an element.
    public mutating func add(_ element: Bytes) { _ = raise(element) }

    /// Adds elements; returns whether a register rose, and whether the estimate is another one now.
    mutating func add(
        _ elements: UnsafeBufferPointer<Bytes>
    ) -> (hasRisen: Bool, isOtherEstimate: Bool) {
        var changes: [(from: UInt8, to: UInt8)] = []
        let known = numbers
        numbers = nil
        for element in elements {
            if let change = raise(element) { changes.append(change) }
        }
        guard !changes.isEmpty else {
            numbers = known
            return (false, false)
        }
        var before: [Int]
        var after: [Int]
        if let known {
            (before, after) = (known, known)
            for (from, to) in changes {
                after[Int(from)] -= 1
                after[Int(to)] += 1
            }
        } else {
            after = histogram
            before = after
            for (from, to) in changes {
                before[Int(from)] += 1
                before[Int(to)] -= 1
            }
        }
        numbers = after
        return (true, Self.estimate(before) != Self.estimate(after))
    }

    /// Whether these are the registers of a value.
    func isStored(as value: Bytes) -> Bool {
        registers.withUnsafeBytes { value.count == $0.count && value.equals($0) }
    }

    /// Adds an element; nil when its register stays.
    private mutating func raise(_ element: Bytes) -> (from: UInt8, to: UInt8)? {
        let hash = murmur3(element, seed: Self.seed)
        let index = Int(hash & (1 << Self.precision - 1))
        let rest = hash >> Self.precision
        // Undefined in Pika's source for rest = 0, where the processor counts 32.
        let zeros = rest == 0 ? 32 : rest.trailingZeroBitCount
        let rank = UInt8(min(32 - Int(Self.precision), zeros) + 1)
        let old = registers[index]
        guard old < rank else { return nil }
        registers[index] = rank
        numbers = nil
        return (old, rank)
    }

    /// Takes over the higher registers of another one.
    public mutating func merge(_ value: Bytes) {
        numbers = nil
        registers.withUnsafeMutableBytes { own in
            let count = min(own.count, value.count)
            for index in 0..<count where own[index] < value[index] { own[index] = value[index] }
        }
    }

    /// The estimated number of elements, rounded down as Pika does.
    public var estimate: Int64 { Self.estimate(numbers ?? histogram) }

    /// The estimate of so many registers of each value.
    private static func estimate(_ numbers: [Int]) -> Int64 {
        let count = Double(registerCount)
        let alpha = 0.7213 / (1 + 1.079 / count)
        var sum = 0.0
        for (register, number) in numbers.enumerated() where number > 0 {
            sum += scalbn(Double(number), -Int32(register))
        }
        let zeros = numbers[0]
        var estimate = alpha * count * count / sum
        let range = 4_294_967_296.0
        if estimate <= 2.5 * count {
            if zeros != 0 { estimate = count * log(count / Double(zeros)) }
        } else if estimate > range / 30 {
            estimate = -range * log(1 - estimate / range)
        }
        return Int64(estimate)
    }

    /// How many registers have each value.
    ///
    /// Eight in one go: most registers of a young one are 0. Four tables, since counting one value
    /// twice in a row waits for itself.
    private var histogram: [Int] {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 4 * 256) { tables in
            tables.initialize(repeating: 0)
            var zeroWords = 0
            registers.withUnsafeBytes { registers in
                for offset in stride(from: 0, to: registers.count, by: 8) {
                    var word = registers.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                    guard word != 0 else {
                        zeroWords += 1
                        continue
                    }
                    for _ in 0..<2 {
                        tables[Int(word & 0xFF)] += 1
                        tables[256 + Int(word >> 8 & 0xFF)] += 1
                        tables[512 + Int(word >> 16 & 0xFF)] += 1
                        tables[768 + Int(word >> 24 & 0xFF)] += 1
                        word >>= 32
                    }
                }
            }
            tables[0] += 8 * zeroWords
            return (0..<256).map {
                tables[$0] + tables[256 + $0] + tables[512 + $0] + tables[768 + $0]
            }
        }
    }

    /// Calls `body` with the registers.
    public func withBytes<R>(_ body: (Bytes) -> R) -> R { registers.withUnsafeBytes(body) }
}

/// Registers that one thread's transaction wrote lately: the next PFADD on one of these keys neither
/// copies them nor counts their values.
struct RecentRegisters {
    /// Keys whose registers are kept, 128 KiB each.
    static let limit = 4

    /// The latest last.
    private var kept: [HyperLogLog] = []

    /// Gives away the registers of a value, if they are here.
    mutating func take(_ value: Bytes) -> HyperLogLog? {
        guard let index = kept.lastIndex(where: { $0.isStored(as: value) }) else { return nil }
        return kept.remove(at: index)
    }

    /// Keeps registers; the oldest make room.
    mutating func keep(_ registers: HyperLogLog) {
        if kept.count == Self.limit { kept.removeFirst() }
        kept.append(registers)
    }
}

/// MurmurHash3, x86, 32 bits.
func murmur3(_ bytes: Bytes, seed: UInt32) -> UInt32 {
    func rotated(_ value: UInt32, _ bits: UInt32) -> UInt32 {
        value << bits | value >> (32 - bits)
    }
    func mixed(_ word: UInt32) -> UInt32 {
        rotated(word &* 0xcc9e_2d51, 15) &* 0x1b87_3593
    }
    var hash = seed
    let blocks = bytes.count / 4
    for block in 0..<blocks {
        hash ^= mixed(bytes.number(UInt32.self, at: block * 4))
        hash = rotated(hash, 13) &* 5 &+ 0xe654_6b64
    }
    var tail: UInt32 = 0
    for index in stride(from: bytes.count - 1, through: blocks * 4, by: -1) {
        tail = tail << 8 | UInt32(bytes[index])
    }
    if bytes.count % 4 != 0 { hash ^= mixed(tail) }
    hash ^= UInt32(truncatingIfNeeded: bytes.count)
    hash = (hash ^ hash >> 16) &* 0x85eb_ca6b
    hash = (hash ^ hash >> 13) &* 0xc2b2_ae35
    return hash ^ hash >> 16
}
