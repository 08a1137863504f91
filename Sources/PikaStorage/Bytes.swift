public import Glibc

/// A borrowed run of bytes: valid only during the call that hands it out.
public typealias Bytes = UnsafeRawBufferPointer

extension UnsafeRawBufferPointer {
    /// No bytes at all.
    public static var none: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

    /// Whether both runs hold the same bytes.
    @inlinable
    public func equals(_ other: UnsafeRawBufferPointer) -> Bool {
        count == other.count && compareBytes(self, other, count: count) == 0
    }

    /// Whether the run begins with `prefix`.
    @inlinable
    public func hasPrefix(_ prefix: UnsafeRawBufferPointer) -> Bool {
        count >= prefix.count && compareBytes(self, prefix, count: prefix.count) == 0
    }

    /// The bytes behind the first `count` ones.
    @inlinable
    public func dropping(_ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[count...])
    }

    /// The order of two byte strings: memcmp, the shorter first.
    @inlinable
    public func isBefore(_ other: UnsafeRawBufferPointer) -> Bool {
        let order = compareBytes(self, other, count: Swift.min(count, other.count))
        return order == 0 ? count < other.count : order < 0
    }
}

/// memcmp that accepts empty runs without an address.
@inlinable
public func compareBytes(_ a: Bytes, _ b: Bytes, count: Int) -> Int32 {
    guard count > 0, let a = a.baseAddress, let b = b.baseAddress else { return 0 }
    return memcmp(a, b, count)
}
