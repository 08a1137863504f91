import FileIO
import ResumeStore
import SyncProtocol
import TestKit

/// Any payload in a right frame as a resume point: what loads is saved and loads the same.
func fuzzResume(_ input: UnsafeBufferPointer<UInt8>) {
    let payload = [UInt8](input)
    let frame = SealedFile(kind: "PKRESUME", version: 1, limitBytes: 1 << 20)
    guard let bytes = try? frame.encode(payload) else { return }
    let disk = MemoryFileSystem()
    try? disk.makeDirectory("db")
    disk.setContents("db/resume", bytes)
    let store = ResumeStore(directory: "db", fileSystem: disk)
    guard let point = try? store.load() else { return }
    do {
        try store.save(point)
    } catch {
        preconditionFailure("loaded, but not saved: \(error)")
    }
    precondition((try? store.load()) == point)
    precondition(disk.contents("db/resume") == bytes)
}
