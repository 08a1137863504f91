/// Finds a mark in bytes that come piece by piece; most of them are never looked at (Horspool).
struct MarkSearch: Sendable {
    private let mark: [UInt8]
    /// How far the mark may be moved on where its last place meets a byte.
    private let steps: [Int]

    /// - Parameter mark: MUST NOT be empty.
    init(_ mark: [UInt8]) {
        precondition(!mark.isEmpty, "there is nothing to find")
        self.mark = mark
        var steps = [Int](repeating: mark.count, count: 256)
        for (index, byte) in mark.dropLast().enumerated() {
            steps[Int(byte)] = mark.count - 1 - index
        }
        self.steps = steps
    }

    /// Where the mark begins (`isThere`), or up to where it certainly does not.
    func run(_ bytes: [UInt8]) -> (at: Int, isThere: Bool) {
        bytes.withUnsafeBufferPointer { bytes in
            self.mark.withUnsafeBufferPointer { mark in
                self.steps.withUnsafeBufferPointer { Self.run(bytes, mark, $0) }
            }
        }
    }

    private static func run(
        _ bytes: UnsafeBufferPointer<UInt8>, _ mark: UnsafeBufferPointer<UInt8>,
        _ steps: UnsafeBufferPointer<Int>
    ) -> (at: Int, isThere: Bool) {
        let end = mark.count - 1
        var at = 0
        while at + end < bytes.count {
            let byte = bytes[at + end]
            if byte == mark[end],
                UnsafeBufferPointer(rebasing: bytes[at..<(at + end)])
                    .elementsEqual(UnsafeBufferPointer(rebasing: mark[..<end]))
            {
                return (at, true)
            }
            at += steps[Int(byte)]
        }
        return (min(at, bytes.count), false)
    }
}
