/// The checksum of RDB files and DUMP payloads: CRC64 with Jones's polynomial, reflected, from 0.
public struct CRC64: Sendable, Equatable {
    /// The checksum of the bytes so far.
    public private(set) var value: UInt64

    /// The checksum of no bytes, or that of a prefix to go on from.
    public init(value: UInt64 = 0) { self.value = value }

    /// Adds bytes.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        let start = self.value
        self.value = Self.tables.withUnsafeBufferPointer { tables in
            Self.run(start, bytes, tables)
        }
    }

    /// The checksum of `bytes`.
    public static func checksum(_ bytes: some Collection<UInt8>) -> UInt64 {
        var crc = CRC64()
        let done: Void? = bytes.withContiguousStorageIfAvailable {
            crc.update(UnsafeRawBufferPointer($0))
        }
        if done == nil { Array(bytes).withUnsafeBytes { crc.update($0) } }
        return crc.value
    }

    /// The checksum of the same bytes with `count` zero bytes behind them.
    ///
    /// The checksum begins with 0 and is linear, so this also tells how a change of some bytes changes
    /// the checksum of all that was written since: by the checksum of the difference, moved so far.
    public func followedByZeros(_ count: UInt64) -> CRC64 {
        var factor: UInt64 = 1 << 63
        // x to the 8th; the highest bit stands for 1, the next one for x.
        var power: UInt64 = 1 << 55
        var rest = count
        while rest > 0 {
            if rest & 1 == 1 { factor = Self.product(factor, power) }
            power = Self.product(power, power)
            rest >>= 1
        }
        return CRC64(value: Self.product(self.value, factor))
    }

    /// The product of two polynomials, modulo that of the checksum.
    private static func product(_ left: UInt64, _ right: UInt64) -> UInt64 {
        var sum: UInt64 = 0
        var shifted = right
        for bit in stride(from: 63, through: 0, by: -1) {
            if left >> UInt64(bit) & 1 == 1 { sum ^= shifted }
            shifted = shifted & 1 == 1 ? (shifted >> 1) ^ Self.reflected : shifted >> 1
        }
        return sum
    }

    private static let reflected: UInt64 = 0x95ac_9329_ac4b_c9b5

    /// Sixteen bytes a round: each table is the one before it, shifted by one byte more.
    private static func run(
        _ start: UInt64, _ bytes: UnsafeRawBufferPointer, _ tables: UnsafeBufferPointer<UInt64>
    ) -> UInt64 {
        guard let base = bytes.baseAddress, let table = tables.baseAddress else { return start }
        var crc = start
        var at = 0
        while at + 16 <= bytes.count {
            let first = base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let second = base.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self)
            // The second does not wait for the checksum so far.
            crc =
                Self.word(UInt64(littleEndian: second), table)
                ^ Self.word(crc ^ UInt64(littleEndian: first), table + 8 * 256)
            at += 16
        }
        while at < bytes.count {
            let byte = base.load(fromByteOffset: at, as: UInt8.self)
            crc = table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] ^ (crc >> 8)
            at += 1
        }
        return crc
    }

    /// What eight bytes give with as many tables.
    @inline(__always)
    private static func word(_ word: UInt64, _ table: UnsafePointer<UInt64>) -> UInt64 {
        let low =
            table[7 * 256 + Int(word & 0xff)] ^ table[6 * 256 + Int(word >> 8 & 0xff)]
            ^ table[5 * 256 + Int(word >> 16 & 0xff)] ^ table[4 * 256 + Int(word >> 24 & 0xff)]
        let high =
            table[3 * 256 + Int(word >> 32 & 0xff)] ^ table[2 * 256 + Int(word >> 40 & 0xff)]
            ^ table[256 + Int(word >> 48 & 0xff)] ^ table[Int(word >> 56)]
        return low ^ high
    }

    private static let tables: ContiguousArray<UInt64> = {
        var tables = ContiguousArray<UInt64>(repeating: 0, count: 16 * 256)
        for index in 0..<256 {
            var crc = UInt64(index)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ Self.reflected : crc >> 1 }
            tables[index] = crc
        }
        for index in 256..<(16 * 256) {
            let before = tables[index - 256]
            tables[index] = tables[Int(before & 0xff)] ^ (before >> 8)
        }
        return tables
    }()
}
