import CPikaShim
import CXXHash
import Synchronization

/// Names under which a value of a mebibyte or more was seen, so that an event loop can tell before it
/// reads: RocksDB hands out a row whole, and does not say how long it is first.
///
/// A name is noted when such a row is written, or read for the first time since the start. It is
/// forgotten when a string becomes short or goes; a collection's name stays, which costs its commands
/// the way to the pool and nothing else. Two names with one hash are one name here.
public final class LargeNames: Sendable {
    /// Values from this size on are large.
    public static let rowBytes = 1 << 20
    /// Names kept; beyond it any older one makes room, and is noted again when it is read.
    public static let limit = 65_536

    private let count = Atomic<Int>(0)
    private let hashes = Mutex<Set<UInt64>>([])
    // Names chosen by a client must not meet in one hash.
    private let seed = UInt64.random(in: .min ... .max)

    /// Knows no name.
    public init() {}

    /// True while no large value was seen: nobody needs to ask for a name.
    public var isEmpty: Bool { count.load(ordering: .relaxed) == 0 }

    /// Whether a key may have a large value, of a string or of an element.
    public func contains(_ key: Bytes) -> Bool {
        let hash = hash(key)
        return hashes.withLock { $0.contains(hash) }
    }

    private func hash(_ key: Bytes) -> UInt64 {
        XXH3_64bits_withSeed(key.baseAddress, key.count, seed)
    }

    /// Notes the key of a large row.
    func note(_ kind: StoreKind, _ family: Family, row key: Bytes) {
        guard let name = Self.name(kind, family, row: key) else { return }
        let hash = hash(name)
        hashes.withLock { hashes in
            guard !hashes.contains(hash) else { return }
            if hashes.count >= Self.limit { hashes.removeFirst() }
            hashes.insert(hash)
            count.store(hashes.count, ordering: .relaxed)
        }
    }

    /// The key that a row belongs to.
    private static func name(_ kind: StoreKind, _ family: Family, row key: Bytes) -> Bytes? {
        if kind == .strings { return key }
        guard family == .data, key.count >= 8 else { return nil }
        let length = Int(key.number(UInt32.self, at: 0))
        guard length <= key.count - 8 else { return nil }
        return Bytes(rebasing: key[4..<4 + length])
    }

    /// A batch is about to be written: notes what is large in it.
    func noteLarge(_ kind: StoreKind, _ rows: UnsafeMutablePointer<pk_row>, count: Int) {
        for index in 0..<count {
            let row = rows[index]
            guard row.isValue, Int(row.value_length) >= Self.rowBytes,
                let family = Family(rawValue: UInt8(truncatingIfNeeded: row.family))
            else { continue }
            note(kind, family, row: Bytes(start: row.key, count: Int(row.key_length)))
        }
    }

    /// A batch was written: forgets strings that are short now, or gone.
    func forgetShort(_ kind: StoreKind, _ rows: UnsafeMutablePointer<pk_row>, count: Int) {
        guard kind == .strings, !isEmpty else { return }
        hashes.withLock { hashes in
            for index in 0..<count {
                let row = rows[index]
                let isGone = row.value_length == PK_ROW_DELETE
                guard isGone || row.isValue && Int(row.value_length) < Self.rowBytes else {
                    continue
                }
                hashes.remove(hash(Bytes(start: row.key, count: Int(row.key_length))))
            }
            self.count.store(hashes.count, ordering: .relaxed)
        }
    }
}
