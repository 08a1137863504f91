private import CXXHash

/// A small file of our own: kind, version, length and checksum around a payload.
///
/// ```text
/// 0   8 bytes  kind (ASCII, padded with spaces)
/// 8   u32 LE   version of the payload's layout
/// 12  u32 LE   length of the payload
/// 16  payload
/// ..  u64 LE   XXH64 (seed 0) of everything before
/// ```
/// Nothing may follow. A file that fails any check is never used in part.
public struct SealedFile: Sendable, Equatable {
    /// Eight ASCII characters that name the kind of file.
    public var kind: String

    /// The newest layout that this program knows; older ones are handed to the caller.
    public var version: UInt32

    /// The longest payload that is written or read.
    public var limitBytes: Int

    /// Describes a kind of file.
    ///
    /// `kind` MUST be at most eight ASCII characters.
    public init(kind: String, version: UInt32, limitBytes: Int) {
        precondition(kind.utf8.count <= 8, "kind of a sealed file is too long: \(kind)")
        self.kind = kind
        self.version = version
        self.limitBytes = limitBytes
    }

    /// Bytes around the payload.
    public static let overheadBytes = 24

    /// The file's bytes for a payload.
    public func encode(_ payload: [UInt8]) throws(SealedFileError) -> [UInt8] {
        guard payload.count <= limitBytes else {
            throw .tooLong(bytes: payload.count, limit: limitBytes)
        }
        var bytes = kindBytes
        bytes.reserveCapacity(payload.count + Self.overheadBytes)
        Self.append(UInt64(version), width: 4, to: &bytes)
        Self.append(UInt64(payload.count), width: 4, to: &bytes)
        bytes += payload
        Self.append(XXH64(bytes, bytes.count, 0), width: 8, to: &bytes)
        return bytes
    }

    /// The payload of a file's bytes and the version of its layout.
    public func decode(
        _ bytes: [UInt8]
    ) throws(SealedFileError) -> (version: UInt32, payload: [UInt8]) {
        guard bytes.count >= Self.overheadBytes else {
            throw .truncated(expectedBytes: Self.overheadBytes, actualBytes: bytes.count)
        }
        guard Array(bytes[..<8]) == kindBytes else {
            throw .wrongKind(
                expected: kind, actual: String(decoding: bytes[..<8], as: UTF8.self))
        }
        let length = Int(Self.load(bytes, at: 12, width: 4))
        guard length <= limitBytes else { throw .tooLong(bytes: length, limit: limitBytes) }
        guard bytes.count == length + Self.overheadBytes else {
            throw .truncated(
                expectedBytes: length + Self.overheadBytes, actualBytes: bytes.count)
        }
        let expected = Self.load(bytes, at: bytes.count - 8, width: 8)
        let actual = XXH64(bytes, bytes.count - 8, 0)
        guard expected == actual else {
            throw .checksumMismatch(expected: expected, actual: actual)
        }
        let found = UInt32(Self.load(bytes, at: 8, width: 4))
        guard found >= 1, found <= version else {
            throw .unknownVersion(newestKnown: version, actual: found)
        }
        return (found, Array(bytes[16..<(16 + length)]))
    }

    private var kindBytes: [UInt8] {
        let name = Array(kind.utf8)
        return name + [UInt8](repeating: UInt8(ascii: " "), count: 8 - name.count)
    }

    private static func append(_ value: UInt64, width: Int, to bytes: inout [UInt8]) {
        for index in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    private static func load(_ bytes: [UInt8], at offset: Int, width: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<width { value |= UInt64(bytes[offset + index]) << (8 * index) }
        return value
    }
}

/// Why the bytes of a sealed file are refused.
public enum SealedFileError: Error, Sendable, Equatable {
    case truncated(expectedBytes: Int, actualBytes: Int)
    case wrongKind(expected: String, actual: String)
    case tooLong(bytes: Int, limit: Int)
    case checksumMismatch(expected: UInt64, actual: UInt64)
    case unknownVersion(newestKnown: UInt32, actual: UInt32)
}

extension SealedFileError: CustomStringConvertible {
    /// Text for an operator.
    public var description: String {
        switch self {
        case .truncated(let expected, let actual):
            "file has \(actual) bytes, expected \(expected)"
        case .wrongKind(let expected, let actual):
            "file is of kind '\(actual)', expected '\(expected)'"
        case .tooLong(let bytes, let limit):
            "payload of \(bytes) bytes, the limit is \(limit)"
        case .checksumMismatch(let expected, let actual):
            "checksum in the file is \(String(expected, radix: 16)), "
                + "its content has \(String(actual, radix: 16))"
        case .unknownVersion(let newest, let actual):
            "layout version \(actual), this program knows 1...\(newest)"
        }
    }
}
