private import CFileShim
private import Glibc
private import Synchronization

/// The operating system's files.
public struct RealFileSystem: FileSystem {
    /// Creates the one way to the real disk.
    public init() {}

    /// Opens or creates a file; the descriptor is not inherited by child processes.
    public func open(_ path: String, _ mode: OpenMode) throws(FileError) -> any File {
        let (flags, operation): (Int32, FileOperation) =
            switch mode {
            case .readOnly: (O_RDONLY, .open)
            case .readWrite: (O_RDWR, .open)
            case .openOrCreate: (O_RDWR | O_CREAT, .create)
            case .createNew: (O_RDWR | O_CREAT | O_EXCL, .create)
            case .createEmpty: (O_RDWR | O_CREAT | O_TRUNC, .create)
            }
        let descriptor = retrying { Glibc.open(path, flags | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else { throw FileError(operation, path, code: errno) }
        return RealFile(path: path, descriptor: descriptor)
    }

    /// The status of a path, symbolic links followed.
    public func status(_ path: String) throws(FileError) -> FileStatus? {
        var info = stat()
        guard stat(path, &info) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw FileError(.status, path, code: errno)
        }
        let kind: FileKind =
            switch info.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            default: .other
            }
        return FileStatus(
            kind: kind, sizeBytes: UInt64(info.st_size),
            modifiedSeconds: Int64(info.st_mtim.tv_sec), deviceID: UInt64(info.st_dev),
            inode: UInt64(info.st_ino))
    }

    /// The names in a directory.
    public func list(_ directory: String) throws(FileError) -> [String] {
        guard let stream = opendir(directory) else {
            throw FileError(.list, directory, code: errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw FileError(.list, directory, code: errno) }
        return names.sorted()
    }

    /// Makes a directory and those above it.
    public func makeDirectory(_ path: String) throws(FileError) {
        if mkdir(path, 0o755) == 0 { return }
        if errno == EEXIST {
            if try status(path)?.kind == .directory { return }
            throw FileError(.makeDirectory, path, code: ENOTDIR)
        }
        let parent = Path.directory(of: path)
        guard errno == ENOENT, parent != path, parent != "." else {
            throw FileError(.makeDirectory, path, code: errno)
        }
        try makeDirectory(parent)
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            throw FileError(.makeDirectory, path, code: errno)
        }
    }

    /// Renames.
    public func rename(_ oldPath: String, to newPath: String) throws(FileError) {
        guard Glibc.rename(oldPath, newPath) == 0 else {
            throw FileError(.rename, oldPath, code: errno)
        }
    }

    /// Exchanges two names.
    public func exchange(_ left: String, _ right: String) throws(FileError) {
        guard pika_rename_exchange(left, right) == 0 else {
            throw FileError(.exchange, left, code: errno)
        }
    }

    /// Gives a file a second name.
    public func hardLink(_ existing: String, to newPath: String) throws(FileError) {
        guard link(existing, newPath) == 0 else {
            throw FileError(.hardLink, newPath, code: errno)
        }
    }

    /// Removes a file's name.
    public func unlink(_ path: String) throws(FileError) {
        guard Glibc.unlink(path) == 0 else { throw FileError(.unlink, path, code: errno) }
    }

    /// Removes a file or a directory with its content; symbolic links are not followed.
    public func removeTree(_ path: String) throws(FileError) {
        if Glibc.unlink(path) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM else {
            throw FileError(.removeTree, path, code: errno)
        }
        for name in try list(path) {
            try removeTree(Path.join(path, name))
        }
        guard rmdir(path) == 0 || errno == ENOENT else {
            throw FileError(.removeTree, path, code: errno)
        }
    }

    /// Makes the names in a directory durable.
    public func syncDirectory(_ path: String) throws(FileError) {
        let descriptor = retrying { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw FileError(.syncDirectory, path, code: errno) }
        defer { _ = Glibc.close(descriptor) }
        guard retrying({ fsync(descriptor) }) == 0 else {
            throw FileError(.syncDirectory, path, code: errno)
        }
    }

    /// Room on the device of `path`.
    public func diskSpace(_ path: String) throws(FileError) -> DiskSpace {
        var info = statvfs()
        guard retrying({ statvfs(path, &info) }) == 0 else {
            throw FileError(.diskSpace, path, code: errno)
        }
        let unit = UInt64(info.f_frsize)
        return DiskSpace(
            availableBytes: UInt64(info.f_bavail) * unit, totalBytes: UInt64(info.f_blocks) * unit)
    }

    /// Takes the exclusive `flock` of a file without waiting.
    public func tryLock(_ path: String) throws(FileError) -> (any FileLock)? {
        let descriptor = retrying { Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else { throw FileError(.lock, path, code: errno) }
        guard retrying({ flock(descriptor, LOCK_EX | LOCK_NB) }) == 0 else {
            let code = errno
            _ = Glibc.close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw FileError(.lock, path, code: code)
        }
        return RealFileLock(descriptor: descriptor)
    }

    /// What `/proc/sys/kernel/random/boot_id` says.
    public func bootID() throws(FileError) -> String {
        let file = try open("/proc/sys/kernel/random/boot_id", .readOnly)
        let bytes = try file.readAll(limitBytes: 256)
        let text = bytes.prefix { $0 != UInt8(ascii: "\n") }
        return String(decoding: text, as: UTF8.self)
    }
}

/// Repeats a call that a signal interrupted.
private func retrying<R: SignedInteger>(_ body: () -> R) -> R {
    while true {
        let result = body()
        if result == -1 && errno == EINTR { continue }
        return result
    }
}

private final class RealFileLock: FileLock {
    private let descriptor: Int32
    private let isHeld = Atomic<Bool>(true)

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { release() }

    func release() {
        guard isHeld.exchange(false, ordering: .acquiringAndReleasing) else { return }
        _ = Glibc.close(descriptor)
    }
}

private final class RealFile: File {
    let path: String
    private let descriptor: Int32
    private let isOpen = Atomic<Bool>(true)

    init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        if isOpen.load(ordering: .acquiring) { _ = Glibc.close(descriptor) }
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(FileError) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                throw FileError(.read, path, code: errno)
            }
            done += count
        }
        return done
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        guard let base = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, base + done, bytes.count - done, off_t(offset) + off_t(done))
            if count < 0 {
                if errno == EINTR { continue }
                throw FileError(.write, path, code: errno)
            }
            if count == 0 { throw FileError(.write, path, code: ENOSPC) }
            done += count
        }
    }

    func truncate(to sizeBytes: UInt64) throws(FileError) {
        guard retrying({ ftruncate(descriptor, off_t(sizeBytes)) }) == 0 else {
            throw FileError(.truncate, path, code: errno)
        }
    }

    func synchronize() throws(FileError) {
        // Not repeated after a failure: the kernel forgets the error with its first report.
        guard fdatasync(descriptor) == 0 else { throw FileError(.sync, path, code: errno) }
    }

    func size() throws(FileError) -> UInt64 {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw FileError(.size, path, code: errno) }
        return UInt64(info.st_size)
    }

    func advise(_ advice: FileAdvice, offset: UInt64, count: UInt64) {
        let value: Int32 =
            switch advice {
            case .sequential: POSIX_FADV_SEQUENTIAL
            case .willNeed: POSIX_FADV_WILLNEED
            case .doNotNeed: POSIX_FADV_DONTNEED
            }
        _ = posix_fadvise(descriptor, off_t(offset), off_t(count), value)
    }

    func startWriteback(offset: UInt64, count: UInt64) {
        _ = pika_start_writeback(descriptor, offset, count)
    }

    func close() throws(FileError) {
        guard isOpen.exchange(false, ordering: .acquiringAndReleasing) else { return }
        guard Glibc.close(descriptor) == 0 else { throw FileError(.close, path, code: errno) }
    }
}
