import Synchronization

/// Elements at an end of a list, read before they are asked for.
///
/// Only for a group that has locked the list, and until somebody writes elements of a list: what is
/// in the store under an index is what was put there last, and deletions only take indexes from a
/// list's ends. So it may outlive the group that read it. What the group itself writes is looked up
/// in its overlay first.
struct ListAhead {
    /// Elements that a look ahead reads at most.
    static let elementLimit = 1024
    /// Elements that the first look ahead of a list reads.
    static let firstElementLimit = 16
    /// A look ahead ends with the element that reaches so many bytes.
    static let byteLimit = 64 << 10

    private var prefix: [UInt8] = []
    private var end = ListEnd.left
    /// Index of the first element that was read ahead.
    private var first: UInt64 = 0
    /// Index of the element that was asked for last.
    private var last: UInt64 = 0
    /// Elements that the next look ahead reads at most.
    private var limit = ListAhead.firstElementLimit
    /// What the store's count of element writes was when the list was last asked for.
    private var writes: UInt64 = 0
    /// The group that asked last, and holds the list's lock, goes on.
    private var isHeld = false
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
    ///
    /// - Parameter writes: the store's count of element writes.
    mutating func ask(
        _ prefix: Bytes, _ index: UInt64, _ end: ListEnd, writes: UInt64
    ) -> Bool {
        guard isOf(prefix), self.end == end else {
            self.prefix.removeAll(keepingCapacity: true)
            self.prefix.append(contentsOf: prefix)
            self.end = end
            return start(index, writes)
        }
        // Those between were taken by another loop.
        let passed = end == .left ? index &- last : last &- index
        guard isHeld || self.writes == writes else { return start(index, writes) }
        isHeld = true
        last = index
        guard slot(of: index) == nil else { return false }
        guard passed > 0, passed <= UInt64(Self.elementLimit) else { return start(index, writes) }
        limit = elements.isEmpty ? Self.firstElementLimit : min(2 * limit, Self.elementLimit)
        self.writes = writes
        drop()
        first = index
        return true
    }

    /// The list's lock is given back: from here on others may write.
    mutating func release() { isHeld = false }

    private mutating func start(_ index: UInt64, _ writes: UInt64) -> Bool {
        isHeld = true
        last = index
        self.writes = writes
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
        return elements.count < limit && bytes.count < Self.byteLimit
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
    /// When one element is taken after the other, the following ones are read along.
    public func withEnd<R>(
        _ key: Bytes, _ end: ListEnd, now: Int64, _ body: (Bytes?) throws(StorageError) -> R
    ) throws(StorageError) -> R {
        guard let meta = try liveMeta(key, now: now), meta.right &- meta.left > 1 else {
            return try body(nil)
        }
        let index = end == .left ? meta.left &+ 1 : meta.right &- 1
        let core = transaction.core
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        let writes = transaction.store.elementWrites.load(ordering: .acquiring)
        if core.pointee.ahead.ask(keys.prefix, index, end, writes: writes) {
            _ = try scan(key, meta, from: index, reverse: end == .right) { at, element in
                core.pointee.ahead.append(element, at: at)
            }
        }
        if !core.pointee.overlay.writesElements
            || core.pointee.overlay.find(.data, keys.key(index: index)) == nil
        {
            let result = try core.pointee.ahead.withElement { element throws(StorageError) in
                try body(element)
            }
            if let result { return result }
        }
        return try transaction.withRow(.data, keys.key(index: index), body)
    }
}
