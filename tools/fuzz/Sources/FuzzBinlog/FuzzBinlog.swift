import Binlog
import FileIO
import SyncProtocol
import TestKit

/// Any bytes as a log file: opened, or refused with an error; never a trap, never a log that is
/// longer than the file, and a log that opened opens again with the same end.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    for recovery in [BinlogRecovery.sameBoot, .foreignWriter] {
        let disk = MemoryFileSystem()
        try? disk.makeDirectory("log")
        disk.setContents("log/write2file0", bytes)
        guard let log = open(disk, recovery) else { continue }
        let end = log.end
        precondition(end.position.offset <= UInt64(count))
        if let cursor = try? log.makeCursor(at: log.start) {
            _ = try? cursor.next(upTo: end.position) { _, _, _ in .next }
        }
        disk.crash(.kill)
        precondition(open(disk, .sameBoot)?.end == end)
    }
    return 0
}

private func open(_ disk: MemoryFileSystem, _ recovery: BinlogRecovery) -> BinlogLog? {
    try? BinlogLog.open(
        directory: "log", fileSystem: disk, configuration: BinlogConfiguration(),
        origin: .own, recovery: recovery)
}

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzBinlog_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
