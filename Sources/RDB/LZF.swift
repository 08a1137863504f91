/// LZF as RDB files use it.
///
///     0-31          n       n + 1 bytes follow as they are
///     LLLddddd      [more]  dddddddd: repeat L + 2 bytes from d + 1 bytes back; L = 7: add `more`
enum LZF {
    /// Farthest that a repetition reaches back, in bytes.
    static let windowBytes = 8192
    /// Most that one step gives, in bytes.
    static let maxStepBytes = 264

    /// Appends exactly `count` unpacked bytes; false, and nothing appended, if that is not what
    /// `input` gives.
    static func unpack(
        _ input: UnsafeBufferPointer<UInt8>, count: Int,
        appendingTo bytes: inout ContiguousArray<UInt8>
    ) -> Bool {
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: count))
        let done = bytes.withUnsafeMutableBufferPointer { output in
            Self.unpack(input, into: UnsafeMutableBufferPointer(rebasing: output[start...]))
        }
        if !done { bytes.removeLast(count) }
        return done
    }

    /// Fills `output` exactly.
    static func unpack(
        _ input: UnsafeBufferPointer<UInt8>, into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        guard let from = input.baseAddress, let to = output.baseAddress else { return false }
        var read = 0
        var written = 0
        while read < input.count {
            let control = Int(from[read])
            read += 1
            if control < 32 {
                let count = control + 1
                guard count <= input.count - read, count <= output.count - written else {
                    return false
                }
                (to + written).update(from: from + read, count: count)
                read += count
                written += count
                continue
            }
            var count = control >> 5
            if count == 7 {
                guard read < input.count else { return false }
                count += Int(from[read])
                read += 1
            }
            guard read < input.count else { return false }
            let distance = ((control & 31) << 8 | Int(from[read])) + 1
            read += 1
            count += 2
            guard distance <= written, count <= output.count - written else { return false }
            Self.repeatBytes(to + written, distance: distance, count: count)
            written += count
        }
        return written == output.count
    }

    /// Copies from `distance` bytes back; what is written may be what is read a moment later.
    @inline(__always)
    static func repeatBytes(_ target: UnsafeMutablePointer<UInt8>, distance: Int, count: Int) {
        let source = target - distance
        if distance >= count {
            target.update(from: source, count: count)
        } else if distance == 1 {
            target.update(repeating: source[0], count: count)
        } else {
            for index in 0..<count { target[index] = source[index] }
        }
    }
}

/// Unpacks a long string piece by piece, in bounded memory.
struct LZFStream: Sendable {
    /// Packed bytes that are still to come.
    var packedLeft: UInt64
    /// Unpacked bytes that are still to come.
    var unpackedLeft: UInt64
    /// The last `LZF.windowBytes` bytes given out, then the piece that grows.
    private var output = ContiguousArray<UInt8>()
    private var windowCount = 0

    init(packed: UInt64, unpacked: UInt64) {
        self.packedLeft = packed
        self.unpackedLeft = unpacked
    }

    /// Bytes of the piece that grows.
    var pieceCount: Int { self.output.count - self.windowCount }

    /// One step; `truncated` if its bytes are not all there.
    mutating func step(_ cursor: inout ByteCursor) throws(RDBError) {
        let start = cursor.at
        let control = Int(try cursor.byte())
        var produced = 0
        if control < 32 {
            produced = control + 1
            try cursor.need(produced)
            self.output.append(
                contentsOf: UnsafeBufferPointer(start: cursor.base + cursor.at, count: produced))
            cursor.at += produced
        } else {
            var count = control >> 5
            if count == 7 { count += Int(try cursor.byte()) }
            let distance = ((control & 31) << 8 | Int(try cursor.byte())) + 1
            produced = count + 2
            guard distance <= self.output.count else {
                throw .corrupt(.compressedString, offset: cursor.offset)
            }
            let from = self.output.count - distance
            for index in 0..<produced { self.output.append(self.output[from + index]) }
        }
        let consumed = UInt64(cursor.at - start)
        guard consumed <= self.packedLeft, UInt64(produced) <= self.unpackedLeft else {
            throw .corrupt(.compressedString, offset: cursor.offset)
        }
        self.packedLeft -= consumed
        self.unpackedLeft -= UInt64(produced)
    }

    /// Moves the piece to `bytes` and keeps the window.
    mutating func takePiece(into bytes: inout ContiguousArray<UInt8>) {
        bytes.append(contentsOf: self.output[self.windowCount...])
        if self.output.count > LZF.windowBytes {
            self.output.removeFirst(self.output.count - LZF.windowBytes)
        }
        self.windowCount = self.output.count
    }
}
