import Binlog
import FileIO
import SyncProtocol
import TestKit

/// Any bytes as the sidecar of a good log: opened or refused, never a trap.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
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
@_cdecl("FuzzSidecar_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
