public import FileIO

/// Why a resume point cannot be read or written.
public enum ResumeError: Error, Sendable, Equatable {
    case file(FileError)

    /// The file is there but its frame is wrong; it is left as it is.
    case sealed(path: String, SealedFileError)

    /// The frame is right but its content is not; it is left as it is.
    case content(path: String, ResumeContentError)
}

/// What is wrong inside a resume point.
public enum ResumeContentError: Error, Sendable, Equatable {
    case truncated(field: String, expectedBytes: Int, actualBytes: Int)
    case trailingBytes(Int)
    case badValue(field: String, actual: UInt64)
    case badText(field: String)
    case tooMany(field: String, count: Int, limit: Int)
    case inconsistent(String)
}

/// The resume point of one database in the file `resume`.
public struct ResumeStore: Sendable {
    /// The file's name.
    public static let fileName = "resume"

    /// The file.
    public let path: String

    /// Works on `directory/resume`.
    public init(directory: String, fileSystem: any FileSystem) {
        path = Path.join(directory, Self.fileName)
    }

    /// The stored point; `ResumePoint.none` if there is no file.
    public func load() throws(ResumeError) -> ResumePoint {
        fatalError("skeleton")
    }

    /// Replaces the stored point; durable when it returns, blocks for an fsync.
    public func save(_ point: ResumePoint) throws(ResumeError) {
        fatalError("skeleton")
    }

    /// Forgets the point, durably.
    public func remove() throws(ResumeError) {
        fatalError("skeleton")
    }
}
