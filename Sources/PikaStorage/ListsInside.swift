extension Lists {
    /// LINSERT: moves the shorter side by one.
    ///
    /// - Returns: the new length, 0 if there is no such key, -1 if there is no such pivot.
    public func insert(
        _ key: Bytes, before: Bool, pivot: Bytes, _ element: Bytes, now: Int64
    ) throws(StorageError) -> Int {
        guard var meta = try liveMeta(key, now: now) else { return 0 }
        guard let pivotIndex = try firstIndex(key, meta, of: pivot) else { return -1 }
        let middle = meta.left &+ (meta.right &- meta.left) / 2
        let target: UInt64
        if pivotIndex <= middle {
            target = before ? pivotIndex &- 1 : pivotIndex
            try shift(key, meta, meta.left &+ 1..<target &+ 1, down: true)
            meta.left &-= 1
        } else {
            target = before ? pivotIndex : pivotIndex &+ 1
            try shift(key, meta, target..<meta.right, down: false)
            meta.right &+= 1
        }
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        transaction.put(.data, keys.key(index: target), element)
        meta.count += 1
        putMeta(key, meta)
        return Int(clamping: meta.count)
    }

    private func firstIndex(
        _ key: Bytes, _ meta: ListMeta, of element: Bytes
    ) throws(StorageError) -> UInt64? {
        var found: UInt64?
        try visit(key, meta, from: meta.left &+ 1, reverse: false) { index, candidate in
            guard candidate.equals(element) else { return true }
            found = index
            return false
        }
        return found
    }

    /// Writes the elements of `range` one index lower or higher.
    private func shift(
        _ key: Bytes, _ meta: ListMeta, _ range: Range<UInt64>, down: Bool
    ) throws(StorageError) {
        guard !range.isEmpty else { return }
        // The scan shows the rows as they were when it began, whatever is written meanwhile.
        try visit(key, meta, from: range.lowerBound, reverse: false) { index, element in
            guard index < range.upperBound else { return false }
            let keys = ElementKeys(transaction, .element, key, version: meta.version)
            transaction.put(.data, keys.key(index: down ? index &- 1 : index &+ 1), element)
            return true
        }
    }

    /// LREM: removes `count` elements equal to `element` from the left.
    ///
    /// The shorter side is moved up, as Pika does. A negative count removes from the right, 0 all.
    ///
    /// - Returns: how many were removed.
    public func remove(
        _ key: Bytes, count: Int64, _ element: Bytes, now: Int64
    ) throws(StorageError) -> Int {
        guard var meta = try liveMeta(key, now: now) else { return 0 }
        let first = meta.left &+ 1
        let last = meta.right &- 1
        var lowest = UInt64.max
        var highest: UInt64 = 0
        var found: UInt64 = 0
        let limit = count == 0 ? UInt64.max : count.magnitude
        try visit(key, meta, from: count >= 0 ? first : last, reverse: count < 0) {
            index, candidate in
            if candidate.equals(element) {
                lowest = min(lowest, index)
                highest = max(highest, index)
                found += 1
            }
            return found < limit
        }
        guard found > 0 else { return 0 }
        if highest - first <= last - lowest {
            try compact(key, meta, element, from: highest, matches: found, down: true)
            meta.left &+= found
            delete(key, meta, first..<first &+ found)
        } else {
            try compact(key, meta, element, from: lowest, matches: found, down: false)
            meta.right &-= found
            delete(key, meta, meta.right..<last &+ 1)
        }
        meta.count -= min(found, meta.count)
        putMeta(key, meta)
        return Int(found)
    }

    private func delete(_ key: Bytes, _ meta: ListMeta, _ range: Range<UInt64>) {
        let keys = ElementKeys(transaction, .element, key, version: meta.version)
        for index in range { transaction.delete(.data, keys.key(index: index)) }
    }

    /// Writes the elements that stay, from `start` to the left or right end, closing the gaps.
    private func compact(
        _ key: Bytes, _ meta: ListMeta, _ element: Bytes, from start: UInt64, matches: UInt64,
        down: Bool
    ) throws(StorageError) {
        var rest = matches
        var target = start
        try visit(key, meta, from: start, reverse: down) { _, candidate in
            if rest > 0, candidate.equals(element) {
                rest -= 1
                return true
            }
            let keys = ElementKeys(transaction, .element, key, version: meta.version)
            transaction.put(.data, keys.key(index: target), candidate)
            target = down ? target &- 1 : target &+ 1
            return true
        }
    }

    /// Visits elements with their storage index.
    private func visit(
        _ key: Bytes, _ meta: ListMeta, from index: UInt64, reverse: Bool,
        _ body: (UInt64, Bytes) throws(StorageError) -> Bool
    ) throws(StorageError) {
        _ = try scan(key, meta, from: index, reverse: reverse, body)
    }
}
