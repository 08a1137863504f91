public import FileIO
internal import Glibc
internal import RDB

/// Reads an RDB file to its end, and says what is in it and how fast it was read.
public struct Inspect {
    /// Read at once, in bytes.
    private static let blockBytes = 1 << 20

    /// Decodes a file; the answer is one JSON object.
    public static func file(
        _ path: String, fileSystem: any FileSystem = RealFileSystem()
    ) throws(RunError) -> String {
        let file: any File
        do throws(FileError) { file = try fileSystem.open(path, .readOnly) } catch {
            throw .io("\(error)")
        }
        var decoder = RDBDecoder()
        var block = [UInt8](repeating: 0, count: Self.blockBytes)
        var offset: UInt64 = 0
        var counts: [RDBKind: UInt64] = [:]
        var elements: UInt64 = 0
        var version = ""
        let began = Self.cpuSeconds()
        do {
            reading: while true {
                let count = try block.withUnsafeMutableBytes { try file.read(into: $0, at: offset) }
                if count == 0 {
                    try decoder.finish()
                    break
                }
                offset += UInt64(count)
                block.withUnsafeBytes { bytes in
                    decoder.feed(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                }
                while let event = try decoder.next() {
                    switch event {
                    case .header(let dialect, let number): version = "\(dialect) \(number)"
                    case .keyStart(let key): counts[key.kind, default: 0] += 1
                    case .elements: elements += UInt64(decoder.chunk.elementCount)
                    case .end: break reading
                    default: break
                    }
                }
            }
        } catch let error as RDBError {
            throw .corrupt("\(path): \(error)")
        } catch { throw .io("\(error)") }
        let seconds = max(Self.cpuSeconds() - began, 1e-6)
        let kinds = RDBKind.allCases.map { "\"\($0)\":\(counts[$0] ?? 0)" }
        return "{\"version\":\"\(version)\",\"bytes\":\(offset),\"seconds\":\(seconds),"
            + "\"elements\":\(elements),\"keys\":{\(kinds.joined(separator: ","))}}\n"
    }

    private static func cpuSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
