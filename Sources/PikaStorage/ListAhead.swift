/// Elements at an end of a list, read before they are asked for.
///
/// Only for the group that has locked the list, and until it ends: nobody else can change the list
/// meanwhile, and what the group itself writes is looked up in its overlay first.
struct ListAhead {
    /// Elements that one look ahead reads.
    static let elementLimit = 16
    /// A look ahead ends with the element that reaches so many bytes.
    static let byteLimit = 16 << 10

    private var prefix: [UInt8] = []
    private var end = ListEnd.left
    /// Index of the first element that was read ahead.
    private var first: UInt64 = 0
    /// Index of the element that was asked for last.
    private var last: UInt64 = 0
    private var bytes: [UInt8] = []
    private var elements: [Range<Int>] = []

    mutating func clear() {
        guard !prefix.isEmpty else { return }
        prefix.removeAll(keepingCapacity: true)
        drop()
    }

    private mutating func drop() {
        bytes.removeAll(keepingCapacity: bytes.capacity <= 2 * Self.byteLimit)
        elements.removeAll(keepingCapacity: true)
    }

    /// Notes that an element is asked for; whether its successors are worth reading, too.
    mutating func ask(_ prefix: Bytes, _ index: UInt64, _ end: ListEnd) -> Bool {
        let step: UInt64 = end == .left ? 1 : .max
        if isOf(prefix), self.end == end, index == last &+ step {
            last = index
            guard slot(of: index) == nil else { return false }
            drop()
            first = index
            return true
        }
        self.prefix.removeAll(keepingCapacity: true)
        self.prefix.append(contentsOf: prefix)
        self.end = end
        last = index
        drop()
        return false
    }

    private func isOf(_ prefix: Bytes) -> Bool {
        self.prefix.withUnsafeBytes { $0.equals(prefix) }
    }

    private func slot(of index: UInt64) -> Int? {
        let distance = end == .left ? index &- first : first &- index
        return distance < UInt64(elements.count) ? Int(distance) : nil
    }

    /// Takes the next element; whether there is room for more.
    mutating func append(_ element: Bytes, at index: UInt64) -> Bool {
        let expected = UInt64(elements.count)
        guard (end == .left ? index &- first : first &- index) == expected else { return false }
        let start = bytes.count
        bytes.append(contentsOf: element)
        elements.append(start..<bytes.count)
        return elements.count < Self.elementLimit && bytes.count < Self.byteLimit
    }

    /// Calls `body` with the element of the index last asked for; nil if it was not read ahead.
    func withElement<R>(_ body: (Bytes) throws(StorageError) -> R) throws(StorageError) -> R? {
        guard let slot = slot(of: last) else { return nil }
        let range = elements[slot]
        let span = bytes.span.bytes.extracting(range)
        return try span.withUnsafeBytes { bytes throws(StorageError) in try body(bytes) }
    }
}

extension Lists {
    /// LPOP, RPOP: the element at an end of a list that this group has locked; nil if there is none.
    ///
    /// When a group takes one element after the other, the following ones are read along.
    public func withEnd<R>(
        _ key: Bytes, _ end: ListEnd, now: Int64, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        guard let meta = try liveMeta(key, now: now), meta.right &- meta.left > 1 else {
            return try body(nil)
        }
        let index = end == .left ? meta.left &+ 1 : meta.right &- 1
        let core = transaction.core
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        if core.pointee.ahead.ask(keys.prefix, index, end) {
            _ = try scan(key, meta, from: index, reverse: end == .right) { at, element in
                core.pointee.ahead.append(element, at: at)
            }
        }
        if core.pointee.overlay.find(.data, keys.key(index: index)) == nil {
            let result = try core.pointee.ahead.withElement { element throws(StorageError) in
                try body(element)
            }
            if let result { return result }
        }
        return try transaction.withRow(.data, keys.key(index: index), body)
    }
}
