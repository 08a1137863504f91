import FileIO

/// The 8 bytes in front of a record, and the 65,536-byte blocks that records live in.
///
/// ```text
/// 0  3 bytes LE  length of the data after the header
/// 3  u32 LE      Unix time; here always the item's exec_time
/// 7  u8          type
/// ```
/// A record never crosses a block. (spec: binlog-format 2)
enum Record {
    static let blockSize = 65_536
    static let headerSize = 8
    static let maxDataBytes = blockSize - headerSize

    enum Kind: UInt8 {
        case zero = 0
        case full = 1
        case first = 2
        case middle = 3
        case last = 4
        case padding = 6
    }

    /// Bytes from `offset` to the end of its block: 1...65,536.
    @inline(__always)
    static func roomInBlock(_ offset: UInt64) -> Int {
        blockSize - Int(truncatingIfNeeded: offset & UInt64(blockSize - 1))
    }

    @inline(__always)
    static func storeHeader(
        to destination: UnsafeMutableRawPointer, dataBytes: Int, timeSeconds: UInt32, kind: Kind
    ) {
        // Length and time share the first 8 bytes with the type: one store.
        let word =
            UInt64(truncatingIfNeeded: dataBytes) | UInt64(timeSeconds) << 24
            | UInt64(kind.rawValue) << 56
        destination.storeBytes(of: word.littleEndian, as: UInt64.self)
    }

    @inline(__always)
    static func loadHeader(_ source: UnsafeRawPointer) -> (dataBytes: Int, type: UInt8) {
        let word = UInt64(littleEndian: source.loadUnaligned(as: UInt64.self))
        return (Int(word & 0xFF_FFFF), UInt8(truncatingIfNeeded: word >> 56))
    }
}

/// Turns a file error into the log's.
@inline(__always)
func io<T>(_ body: () throws(FileError) -> T) throws(BinlogError) -> T {
    do throws(FileError) {
        return try body()
    } catch {
        throw .file(error)
    }
}

/// The names in a log directory.
enum LogNames {
    static let manifest = "manifest"

    static func data(_ number: UInt32) -> String { "write2file\(number)" }
    static func sidecar(_ number: UInt32) -> String { "write2file\(number).sum" }

    /// N of `write2file<N>` in its one spelling, or nil.
    static func dataNumber(_ name: String) -> UInt32? {
        guard name.hasPrefix("write2file"), let number = UInt32(name.dropFirst(10)),
            data(number) == name
        else { return nil }
        return number
    }

    /// N of `write2file<N>.sum`, or nil.
    static func sidecarNumber(_ name: String) -> UInt32? {
        guard name.hasSuffix(".sum") else { return nil }
        return dataNumber(String(name.dropLast(4)))
    }
}

/// The producer status that a real Pika keeps: 24 bytes in a file of 65,536.
///
/// A hint to us, the truth to a real Pika. (spec: binlog-format 1.1)
struct Manifest: Equatable {
    static let fileSize: UInt64 = 65_536
    static let encodedSize = 24

    var fileNumber: UInt32
    var offset: UInt64
    var logicIndex: UInt64

    init(fileNumber: UInt32, offset: UInt64, logicIndex: UInt64) {
        self.fileNumber = fileNumber
        self.offset = offset
        self.logicIndex = logicIndex
    }

    /// Reads the fields; nil if there are less than 24 bytes.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.encodedSize else { return nil }
        self = bytes.withUnsafeBytes { raw in
            Manifest(
                fileNumber: UInt32(littleEndian: raw.loadUnaligned(as: UInt32.self)),
                offset: UInt64(
                    littleEndian: raw.loadUnaligned(fromByteOffset: 4, as: UInt64.self)),
                logicIndex: UInt64(
                    littleEndian: raw.loadUnaligned(fromByteOffset: 12, as: UInt64.self)))
        }
    }

    func encoded() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.encodedSize)
        bytes.withUnsafeMutableBytes { raw in
            raw.storeBytes(of: fileNumber.littleEndian, toByteOffset: 0, as: UInt32.self)
            raw.storeBytes(of: offset.littleEndian, toByteOffset: 4, as: UInt64.self)
            raw.storeBytes(of: logicIndex.littleEndian, toByteOffset: 12, as: UInt64.self)
        }
        return bytes
    }
}
