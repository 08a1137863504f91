private import Glibc

/// What was asked of a file or a directory.
public enum FileOperation: String, Sendable, Equatable, CaseIterable {
    case open
    case create
    case read
    case write
    case truncate
    case sync
    case size
    case advise
    case close
    case rename
    case exchange
    case unlink
    case list
    case makeDirectory
    case syncDirectory
    case status
    case hardLink
    case removeTree
    case lock
    case diskSpace
}

/// A call of the operating system that failed: which, on what, and why.
public struct FileError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What was tried.
    public var operation: FileOperation

    /// The file or directory.
    public var path: String

    /// The number that the operating system gave.
    public var code: Int32

    /// Creates an error.
    public init(_ operation: FileOperation, _ path: String, code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    /// Whether the device (or the quota) is full.
    public var isOutOfSpace: Bool { code == ENOSPC || code == EDQUOT }

    /// Whether the file does not exist.
    public var isNotFound: Bool { code == ENOENT }

    /// Text for an operator.
    public var description: String {
        "\(operation.rawValue) \(path): \(String(cString: strerror(code))) (errno \(code))"
    }
}
