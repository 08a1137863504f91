internal import PikaStorage

/// Splits the content of an item, one RESP array of bulk strings, in place.
///
/// Reused from item to item; the slices are valid as long as the content is.
struct ItemArguments: ~Copyable {
    private var storage: UnsafeMutableBufferPointer<Bytes>
    private(set) var count = 0

    init() { storage = .allocate(capacity: 64) }

    deinit { storage.deallocate() }

    /// The strings of the last content; `[0]` is the word.
    var all: UnsafeBufferPointer<Bytes> { UnsafeBufferPointer(rebasing: storage[..<count]) }

    mutating func append(_ bytes: Bytes) {
        if count == storage.count { grow() }
        storage.initializeElement(at: count, to: bytes)
        count += 1
    }

    mutating func removeAll() { count = 0 }

    private mutating func grow() {
        let larger = UnsafeMutableBufferPointer<Bytes>.allocate(capacity: storage.count * 2)
        _ = larger.initialize(from: storage[..<count])
        storage.deallocate()
        storage = larger
    }

    /// Splits a content; throws if it is not exactly one array of at least one string.
    mutating func parse(_ content: Bytes) throws(ApplyError) {
        count = 0
        var index = 0
        let wanted = try Self.number(content, &index, mark: UInt8(ascii: "*"))
        // Each string takes at least five bytes: a hostile count does not make us allocate.
        guard wanted > 0, wanted <= content.count / 5 else { throw .malformedContent }
        for _ in 0..<wanted {
            let length = try Self.number(content, &index, mark: UInt8(ascii: "$"))
            guard length <= content.count - index - 2 else { throw .malformedContent }
            append(Bytes(rebasing: content[index..<index + length]))
            index += length
            guard content[index] == UInt8(ascii: "\r"), content[index + 1] == UInt8(ascii: "\n")
            else { throw .malformedContent }
            index += 2
        }
        guard index == content.count else { throw .malformedContent }
    }

    /// Reads `<mark><digits>\r\n`.
    private static func number(
        _ content: Bytes, _ index: inout Int, mark: UInt8
    ) throws(ApplyError) -> Int {
        guard index < content.count, content[index] == mark else { throw .malformedContent }
        index += 1
        var value = 0
        let start = index
        while index < content.count, index - start < 11 {
            let byte = content[index]
            if byte == UInt8(ascii: "\r") { break }
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else {
                throw .malformedContent
            }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
            index += 1
        }
        guard index > start, index + 1 < content.count, content[index] == UInt8(ascii: "\r"),
            content[index + 1] == UInt8(ascii: "\n")
        else { throw .malformedContent }
        index += 2
        return value
    }
}
