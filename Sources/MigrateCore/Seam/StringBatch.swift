/// Whole keys of a snapshot that hold short strings, packed.
///
/// Texts lie behind each other in `bytes`: a name, its value, the next name…
public struct StringBatch: Sendable, Equatable {
    /// The source's database of all keys.
    public var database: Int
    /// All names and values.
    public var bytes: ContiguousArray<UInt8>
    /// End of each text in `bytes`: two a key.
    public var ends: ContiguousArray<Int>
    /// Deadlines in Unix milliseconds, one a key; 0 = none.
    public var deadlines: ContiguousArray<Int64>

    /// A batch from its parts.
    public init(
        database: Int, bytes: ContiguousArray<UInt8>, ends: ContiguousArray<Int>,
        deadlines: ContiguousArray<Int64>
    ) {
        self.database = database
        self.bytes = bytes
        self.ends = ends
        self.deadlines = deadlines
    }

    /// Number of keys.
    public var count: Int { self.deadlines.count }

    /// Adds a key; a deadline of 0 is none.
    public mutating func append(
        name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, deadlineMilliseconds: Int64
    ) {
        self.deadlines.append(deadlineMilliseconds)
        self.bytes.append(contentsOf: name)
        self.ends.append(self.bytes.count)
        self.bytes.append(contentsOf: value)
        self.ends.append(self.bytes.count)
    }

    /// Where a key's name lies in `bytes`.
    public func name(_ index: Int) -> Range<Int> {
        (index == 0 ? 0 : self.ends[2 * index - 1])..<self.ends[2 * index]
    }

    /// Where a key's value lies in `bytes`.
    public func value(_ index: Int) -> Range<Int> {
        self.ends[2 * index]..<self.ends[2 * index + 1]
    }

    /// A key as the events of longer values tell it.
    public func key(_ index: Int) -> (head: KeyHead, chunk: ElementChunk) {
        let deadline = self.deadlines[index]
        let head = KeyHead(
            database: self.database, name: Array(self.bytes[self.name(index)]), kind: .string,
            deadlineMilliseconds: deadline == 0 ? nil : deadline)
        var chunk = ElementChunk()
        chunk.append(self.bytes[self.value(index)])
        return (head, chunk)
    }
}
