/// Why a directory could not be locked.
public enum DirectoryLockError: Error, Sendable, Equatable {
    /// Another process works on the directory.
    case heldByAnotherProcess(directory: String)
    case file(FileError)
}

extension DirectoryLockError: CustomStringConvertible {
    /// Text for an operator.
    public var description: String {
        switch self {
        case .heldByAnotherProcess(let directory):
            "\(directory) is in use by another process (its \(DirectoryLock.fileName) is locked)"
        case .file(let error):
            error.description
        }
    }
}

/// Keeps a second process out of a directory; held until released or let go.
///
/// The kernel releases it when the process ends in whatever way. The lock file stays.
public final class DirectoryLock: Sendable {
    /// The name of the lock file in the directory.
    public static let fileName = "pika-swift.lock"

    /// The locked directory.
    public let directory: String

    private let lock: any FileLock

    /// Makes the directory if needed and locks it.
    public init(
        _ directory: String, fileSystem: any FileSystem
    ) throws(DirectoryLockError) {
        let lock: (any FileLock)?
        do throws(FileError) {
            try fileSystem.makeDirectory(directory)
            lock = try fileSystem.tryLock(Path.join(directory, Self.fileName))
        } catch {
            throw .file(error)
        }
        guard let lock else { throw .heldByAnotherProcess(directory: directory) }
        self.directory = directory
        self.lock = lock
    }

    /// Lets others in.
    public func release() { lock.release() }
}
