import Binlog
import FileIO
import SyncProtocol
import TestKit

/// Any bytes as the sidecar of a good log: opened or refused, never a trap.
func fuzzSidecar(_ input: UnsafeBufferPointer<UInt8>) {
    let bytes = [UInt8](input)
    for recovery in [BinlogRecovery.sameBoot, .powerLoss] {
        let disk = MemoryFileSystem()
        guard let log = open(disk, .sameBoot) else { continue }
        var items = BinlogItems()
        for _ in 0..<3 {
            items.beginItem(argumentCount: 0)
            items.endItem()
        }
        guard let end = try? log.append(items, execTimeSeconds: 1, atomicGroup: false) else {
            continue
        }
        disk.crash(.kill)
        disk.setContents("log/write2file0.sum", bytes)
        if let again = open(disk, recovery) {
            precondition(again.end.position <= end.position)
        }
    }
}

private func open(_ disk: MemoryFileSystem, _ recovery: BinlogRecovery) -> BinlogLog? {
    try? BinlogLog.open(
        directory: "log", fileSystem: disk, configuration: BinlogConfiguration(),
        origin: .own, recovery: recovery)
}
