import FileIO
import ResumeStore
import SyncProtocol
import TestKit

/// Any payload in a right frame as a resume point: what loads is saved and loads the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let payload = [UInt8](UnsafeBufferPointer(start: start, count: count))
    let frame = SealedFile(kind: "PKRESUME", version: 1, limitBytes: 1 << 20)
    guard let bytes = try? frame.encode(payload) else { return 0 }
    let disk = MemoryFileSystem()
    try? disk.makeDirectory("db")
    disk.setContents("db/resume", bytes)
    let store = ResumeStore(directory: "db", fileSystem: disk)
    guard let point = try? store.load() else { return 0 }
    do {
        try store.save(point)
    } catch {
        preconditionFailure("loaded, but not saved: \(error)")
    }
    precondition((try? store.load()) == point)
    precondition(disk.contents("db/resume") == bytes)
    return 0
}

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzResume_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
