import CPikaShim

/// A row that stands for element rows of a version that nobody sees yet, of a key that has elements
/// of another one: should the machine stop before the meta row with the new version is in files, the
/// element rows must go before that version can be used again.
///
/// ```
/// name    | 0 | pika-swift:unseen: | version i32 | key |
/// value   8 zeros: a collection's count
///         | 0 | 01000000 |      a list's version and deadline: second 1
///         8 zeros               a list's left index
///         | 0 | 01000000 |      a collection's version and deadline
/// ```
/// Empty and stale by every type's rules, as the row of ``AppliedRow`` is. It comes with the first of
/// the element rows, and goes with the batch that brings the meta row.
struct UnseenClaim {
    let key: [UInt8]
    let version: Int32
    /// The name of the row.
    let name: [UInt8]

    private static let start: [UInt8] = [0] + Array("pika-swift:unseen:".utf8)

    /// The value of the row.
    static let value: [UInt8] = {
        var value = [UInt8](repeating: 0, count: 32)
        value[12] = 1
        value[28] = 1
        return value
    }()

    init(_ key: Bytes, version: Int32) {
        self.key = Array(key)
        self.version = version
        name = Self.start + withUnsafeBytes(of: version.littleEndian) { Array($0) } + key
    }

    /// Reads a row; nil if it is something else.
    init?(name: Bytes, value: Bytes) {
        guard Self.isName(name), value.elementsEqual(Self.value) else { return nil }
        version = name.number(Int32.self, at: Self.start.count)
        key = Array(name[(Self.start.count + 4)...])
        self.name = Array(name)
    }

    /// Whether a row's name is that of a claim.
    static func isName(_ name: Bytes) -> Bool {
        name.count >= start.count + 4 && name.starts(with: start)
    }

    /// What all names begin with.
    static func withPrefix<R>(_ body: (Bytes) throws(StorageError) -> R) throws(StorageError) -> R {
        try start.withUnsafeBytesOfArray(body)
    }
}

// MARK: - Rows that nobody will see

extension StoreTransaction {
    /// Takes away the rows of all claims that this transaction holds, and the claims; it is empty
    /// then.
    func removeClaimed() throws(StorageError) {
        reset()
        let claims = core.pointee.claims
        core.pointee.claims = []
        for claim in claims { try remove(claim) }
    }

    private func remove(_ claim: UnseenClaim) throws(StorageError) {
        // A group of several stores may have failed behind this one's batch.
        let isSeen = try claim.key.withUnsafeBytesOfArray { key throws(StorageError) in
            try withStoredRow(.meta, key) { row throws(StorageError) -> Bool in
                guard let row else { return false }
                return try head(of: row).version == claim.version
            }
        }
        for raw in 1..<UInt8(kind.familyCount) {
            guard !isSeen, let family = Family(rawValue: raw) else { continue }
            try removeRows(of: claim, family)
        }
        claim.name.withUnsafeBytes { delete(.meta, $0) }
        _ = try commit(applied: nil, mode: .waiting)
    }

    /// In slices, as the rows have come: others write to the store, too.
    private func removeRows(of claim: UnseenClaim, _ family: Family) throws(StorageError) {
        let prefix = claim.key.withUnsafeBytes {
            Array(ElementKeys(self, .start, $0, version: claim.version).prefix)
        }
        var from = prefix
        var names: [[UInt8]] = []
        repeat {
            names.removeAll(keepingCapacity: true)
            try prefix.withUnsafeBytesOfArray { prefix throws(StorageError) in
                try from.withUnsafeBytesOfArray { from throws(StorageError) in
                    try scan(family, prefix: prefix, from: from, fillCache: false) { name, _ in
                        names.append(Array(name))
                        return names.count < Self.unseenRowsLimit
                    }
                }
            }
            for name in names { name.withUnsafeBytes { delete(family, $0) } }
            _ = try commit(applied: nil, mode: .waiting)
            if let last = names.last { from = last }
        } while names.count == Self.unseenRowsLimit
    }
}

extension Store {
    /// Takes away what groups left that were never committed: once, before anybody writes.
    ///
    /// - Returns: how many of them there were.
    @discardableResult
    public func removeUnseen() throws(StorageError) -> Int {
        guard kind != .strings else { return 0 }
        let transaction = makeTransaction()
        var claims: [UnseenClaim] = []
        try UnseenClaim.withPrefix { prefix throws(StorageError) in
            try transaction.scan(.meta, prefix: prefix, from: prefix) { name, value in
                if let claim = UnseenClaim(name: name, value: value) { claims.append(claim) }
                return true
            }
        }
        guard !claims.isEmpty else { return 0 }
        transaction.core.pointee.claims = claims
        try transaction.removeClaimed()
        return claims.count
    }
}
