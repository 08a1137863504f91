import FileIO
import Glibc
import Synchronization

/// The real file system, but for log files: writes to them fail while `failsWrites` is set, and who
/// syncs one waits while `holdsSyncs` is.
final class FailingFileSystem: FileSystem {
    private let real = RealFileSystem()
    let failsWrites = Atomic<Bool>(false)
    let holdsSyncs = Atomic<Bool>(false)

    func open(_ path: String, _ mode: OpenMode) throws(FileError) -> any File {
        FailingFile(try self.real.open(path, mode), self)
    }
    func status(_ path: String) throws(FileError) -> FileStatus? { try self.real.status(path) }
    func list(_ directory: String) throws(FileError) -> [String] { try self.real.list(directory) }
    func makeDirectory(_ path: String) throws(FileError) { try self.real.makeDirectory(path) }
    func rename(_ old: String, to new: String) throws(FileError) {
        try self.real.rename(old, to: new)
    }
    func exchange(_ left: String, _ right: String) throws(FileError) {
        try self.real.exchange(left, right)
    }
    func hardLink(_ existing: String, to path: String) throws(FileError) {
        try self.real.hardLink(existing, to: path)
    }
    func unlink(_ path: String) throws(FileError) { try self.real.unlink(path) }
    func removeTree(_ path: String) throws(FileError) { try self.real.removeTree(path) }
    func syncDirectory(_ path: String) throws(FileError) { try self.real.syncDirectory(path) }
    func diskSpace(_ path: String) throws(FileError) -> DiskSpace { try self.real.diskSpace(path) }
    func tryLock(_ path: String) throws(FileError) -> (any FileLock)? {
        try self.real.tryLock(path)
    }
    func bootID() throws(FileError) -> String { try self.real.bootID() }
}

private final class FailingFile: File {
    private let real: any File
    private let fileSystem: FailingFileSystem

    init(_ real: any File, _ fileSystem: FailingFileSystem) {
        self.real = real
        self.fileSystem = fileSystem
    }

    var path: String { self.real.path }
    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(FileError) -> Int { try self.real.read(into: buffer, at: offset) }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        if self.fileSystem.failsWrites.load(ordering: .relaxed), self.path.contains("write2file") {
            throw FileError(.write, self.path, code: 28)
        }
        try self.real.write(bytes, at: offset)
    }
    func truncate(to sizeBytes: UInt64) throws(FileError) { try self.real.truncate(to: sizeBytes) }
    func synchronize() throws(FileError) {
        while self.fileSystem.holdsSyncs.load(ordering: .acquiring),
            self.path.contains("write2file")
        {
            usleep(1000)
        }
        try self.real.synchronize()
    }
    func size() throws(FileError) -> UInt64 { try self.real.size() }
    func advise(_ advice: FileAdvice, offset: UInt64, count: UInt64) {
        self.real.advise(advice, offset: offset, count: count)
    }
    func startWriteback(offset: UInt64, count: UInt64) {
        self.real.startWriteback(offset: offset, count: count)
    }
    func close() throws(FileError) { try self.real.close() }
}
