internal import FileIO
internal import MigrateCore
internal import RDB

/// An RDB that comes about under a temporary name: it has its own when it is whole and durable.
final class SnapshotFile {
    private let path: String
    private let temporary: String
    private let fileSystem: any FileSystem
    private let lock: any FileLock
    private var file: any File
    private var offset: UInt64 = 0
    private var isComplete = false

    /// Makes the temporary file; what an earlier run left there is lost.
    ///
    /// - Parameter replaces: A file of that name may be there.
    init(
        _ path: String, replaces: Bool, fileSystem: any FileSystem = RealFileSystem()
    ) throws(RunError) {
        self.path = path
        self.temporary = path + ".pika-migrate.tmp"
        self.fileSystem = fileSystem
        do {
            guard try replaces || !fileSystem.exists(path) else {
                throw RunError.preflight(
                    "\(path) is there already; [target] on-nonempty = \"flush\" replaces it")
            }
            guard let lock = try fileSystem.tryLock(self.temporary) else {
                throw RunError.fenced("\(path) is being written by another run")
            }
            self.lock = lock
            self.file = try fileSystem.open(self.temporary, .createEmpty)
        } catch let error as RunError {
            throw error
        } catch let error as FileError {
            throw .writing(path, error)
        } catch { throw .io("\(error)") }
    }

    deinit {
        if !self.isComplete { try? self.fileSystem.unlink(self.temporary) }
        self.lock.release()
    }

    /// Forgets what was written.
    func restart() throws(RunError) {
        try self.writing { () throws(FileError) in try self.file.truncate(to: 0) }
        self.offset = 0
    }

    /// Writes what the writer has.
    func write(_ writer: inout SnapshotWriter) throws(RunError) {
        let bytes = writer.takeBytes()
        let patches = writer.takePatches()
        try self.writing { () throws(FileError) in
            try Self.write(bytes, to: self.file, at: self.offset)
            for patch in patches { try self.file.write(patch.bytes, at: patch.offset) }
        }
        self.offset += UInt64(bytes.count)
    }

    private static func write(
        _ bytes: ContiguousArray<UInt8>, to file: any File, at offset: UInt64
    ) throws(FileError) {
        let result = bytes.withUnsafeBytes { buffer -> Result<Void, FileError> in
            do throws(FileError) { return .success(try file.write(buffer, at: offset)) } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    /// Gives the file its name, once its content is durable.
    func complete() throws(RunError) {
        try self.writing { () throws(FileError) in
            try self.file.synchronize()
            try self.fileSystem.rename(self.temporary, to: self.path)
            self.isComplete = true
            try self.fileSystem.syncDirectory(Path.directory(of: self.path))
        }
    }

    private func writing(_ body: () throws(FileError) -> Void) throws(RunError) {
        do throws(FileError) { try body() } catch { throw .writing(self.path, error) }
    }
}
