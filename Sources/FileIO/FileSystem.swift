/// How a file is opened.
public enum OpenMode: Sendable, Equatable {
    /// Reading only; the file must exist.
    case readOnly

    /// Reading and writing; the file must exist.
    case readWrite

    /// Reading and writing; an existing file is kept as it is, a missing one is made.
    case openOrCreate

    /// Reading and writing; an existing file is an error.
    case createNew

    /// Reading and writing; an existing file is emptied, a missing one is made.
    case createEmpty
}

/// What will be done with a range of a file soon.
public enum FileAdvice: Sendable, Equatable {
    case sequential
    case willNeed
    case doNotNeed
}

/// What a path names.
public enum FileKind: Sendable, Equatable {
    case regular
    case directory
    case other
}

/// What is known of a file without opening it.
public struct FileStatus: Sendable, Equatable {
    /// File or directory.
    public var kind: FileKind

    /// Length of a regular file.
    public var sizeBytes: UInt64

    /// Time of the last change of the content, in Unix seconds.
    public var modifiedSeconds: Int64

    /// The device that holds it.
    public var deviceID: UInt64

    /// The file's identity on that device; two hard links of one file have the same.
    public var inode: UInt64

    /// Creates a status.
    public init(
        kind: FileKind, sizeBytes: UInt64, modifiedSeconds: Int64, deviceID: UInt64, inode: UInt64
    ) {
        self.kind = kind
        self.sizeBytes = sizeBytes
        self.modifiedSeconds = modifiedSeconds
        self.deviceID = deviceID
        self.inode = inode
    }
}

/// Room on the device of a path.
public struct DiskSpace: Sendable, Equatable {
    /// Bytes that this user may still write.
    public var availableBytes: UInt64

    /// Size of the whole file system.
    public var totalBytes: UInt64

    /// Creates a value.
    public init(availableBytes: UInt64, totalBytes: UInt64) {
        self.availableBytes = availableBytes
        self.totalBytes = totalBytes
    }
}

/// An open file.
///
/// Offsets are always explicit: there is no shared file position, so readers and the writer of one
/// file do not disturb each other. All calls may come from any thread.
public protocol File: AnyObject, Sendable {
    /// The path at the time of opening.
    var path: String { get }

    /// Reads up to `buffer.count` bytes; fewer only at the end of the file.
    ///
    /// - Returns: the number of bytes read; 0 at or behind the end.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError)
        -> Int

    /// Writes all of `bytes`, in one system call unless the device takes less.
    ///
    /// A failed call may leave a part of `bytes` in the file.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError)

    /// Sets the length; a longer file gets zeros.
    func truncate(to sizeBytes: UInt64) throws(FileError)

    /// Makes content and length durable (`fdatasync`); a failed call MUST NOT be repeated.
    func synchronize() throws(FileError)

    /// The current length.
    func size() throws(FileError) -> UInt64

    /// Tells the page cache what to expect; never fails for the caller.
    func advise(_ advice: FileAdvice, offset: UInt64, count: UInt64)

    /// Starts writing dirty pages of the range to the device without waiting; never fails.
    func startWriteback(offset: UInt64, count: UInt64)

    /// Closes the file; no other call may be under way or follow.
    ///
    /// A file that is not closed is closed when its last reference goes.
    func close() throws(FileError)
}

/// A lock that keeps other processes out; released by ``release()`` or with its last reference.
public protocol FileLock: AnyObject, Sendable {
    /// Lets others in.
    func release()
}

/// The operations on files and directories that the project uses.
///
/// Nothing is durable until `File.synchronize()` (content) or `syncDirectory` (names) returned.
public protocol FileSystem: Sendable {
    /// Opens or creates a file.
    func open(_ path: String, _ mode: OpenMode) throws(FileError) -> any File

    /// The status of a path, or nil if there is nothing.
    func status(_ path: String) throws(FileError) -> FileStatus?

    /// The names in a directory, sorted by bytes, without `.` and `..`.
    func list(_ directory: String) throws(FileError) -> [String]

    /// Makes a directory and, if missing, those above it; an existing one is fine.
    func makeDirectory(_ path: String) throws(FileError)

    /// Renames; replaces an existing file at the new name.
    func rename(_ oldPath: String, to newPath: String) throws(FileError)

    /// Exchanges two names in one atomic step.
    func exchange(_ left: String, _ right: String) throws(FileError)

    /// Gives a file a second name.
    func hardLink(_ existing: String, to newPath: String) throws(FileError)

    /// Removes a file's name.
    func unlink(_ path: String) throws(FileError)

    /// Removes a file or a directory with all that is in it; nothing there is fine.
    func removeTree(_ path: String) throws(FileError)

    /// Makes the names in a directory durable.
    func syncDirectory(_ path: String) throws(FileError)

    /// Room on the device that holds `path`.
    func diskSpace(_ path: String) throws(FileError) -> DiskSpace

    /// Takes the exclusive lock of a file (made if missing), or returns nil if another has it.
    func tryLock(_ path: String) throws(FileError) -> (any FileLock)?

    /// The identity of this boot of the machine: differs after every restart of the kernel.
    func bootID() throws(FileError) -> String
}

extension FileSystem {
    /// Whether something is at `path`.
    public func exists(_ path: String) throws(FileError) -> Bool {
        try status(path) != nil
    }

    /// Removes a file's name; a missing file is fine.
    public func unlinkIfPresent(_ path: String) throws(FileError) {
        do {
            try unlink(path)
        } catch  where error.isNotFound {
            return
        }
    }
}

/// Path arithmetic on plain strings.
public enum Path {
    /// `directory/name`.
    public static func join(_ directory: String, _ name: String) -> String {
        directory.hasSuffix("/") ? directory + name : directory + "/" + name
    }

    /// The directory part; "." if there is none.
    public static func directory(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The last component.
    public static func name(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
        return String(path[path.utf8.index(after: slash)...])
    }
}
