/// Hashes of keys: the same in every run, as checkpoints depend on them.
public enum KeyHash {
    /// FNV-1a of the database and the key, mixed.
    public static func hash(database: Int, key: some Sequence<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(truncatingIfNeeded: database)
        for byte in key {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
        }
        hash ^= hash >> 32
        hash = hash &* 0xd6e8_feb8_6659_fd93
        return hash ^ (hash >> 32)
    }

    /// The worker that alone writes a key.
    public static func worker(database: Int, key: [UInt8], workers: Int) -> Int {
        Int(Self.hash(database: database, key: key) % UInt64(max(1, workers)))
    }

    /// A cluster's slot: CRC16 (XMODEM) of the key or of what stands in its first braces.
    public static func slot(_ key: [UInt8]) -> Int {
        var part = key[...]
        if let open = key.firstIndex(of: UInt8(ascii: "{")),
            let close = key[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
        {
            part = key[(open + 1)..<close]
        }
        var crc: UInt16 = 0
        for byte in part {
            crc ^= UInt16(byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 != 0 ? (crc << 1) ^ 0x1021 : crc << 1 }
        }
        return Int(crc) % 16_384
    }
}
