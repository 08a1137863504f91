import Binlog
import FileIO
import SyncProtocol
import TestKit

/// Any bytes as a log file: opened, or refused with an error; never a trap, never a log that is
/// longer than the file, and a log that opened opens again with the same end.
func fuzzBinlog(_ input: UnsafeBufferPointer<UInt8>) {
    let bytes = [UInt8](input)
    for recovery in [BinlogRecovery.sameBoot, .foreignWriter] {
        let disk = MemoryFileSystem()
        try? disk.makeDirectory("log")
        disk.setContents("log/write2file0", bytes)
        guard let log = open(disk, recovery) else { continue }
        let end = log.end
        precondition(end.position.offset <= UInt64(input.count))
        if let cursor = try? log.makeCursor(at: log.start) {
            _ = try? cursor.next(upTo: end.position) { _, _, _ in .next }
        }
        disk.crash(.kill)
        precondition(open(disk, .sameBoot)?.end == end)
    }
}

private func open(_ disk: MemoryFileSystem, _ recovery: BinlogRecovery) -> BinlogLog? {
    try? BinlogLog.open(
        directory: "log", fileSystem: disk, configuration: BinlogConfiguration(),
        origin: .own, recovery: recovery)
}
