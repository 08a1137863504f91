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

extension ResumeError: CustomStringConvertible {
    /// Text for an operator.
    public var description: String {
        switch self {
        case .file(let error): error.description
        case .sealed(let path, let error): "resume point \(path): \(error)"
        case .content(let path, let error): "resume point \(path): \(error)"
        }
    }
}

extension ResumeContentError: CustomStringConvertible {
    /// Text for an operator.
    public var description: String {
        switch self {
        case .truncated(let field, let expected, let actual):
            "\(field) needs \(expected) bytes, \(actual) are left"
        case .trailingBytes(let count): "\(count) bytes too many"
        case .badValue(let field, let actual): "\(field) is \(actual)"
        case .badText(let field): "\(field) is not a valid text"
        case .tooMany(let field, let count, let limit):
            "\(field): \(count), the limit is \(limit)"
        case .inconsistent(let text): text
        }
    }
}

/// The resume point of one database in the file `resume`.
///
/// ``save(_:)`` replaces the file atomically: whenever the machine stops, the old or the new point
/// is there. What a point promises (verified bytes) MUST be durable before it is saved.
public struct ResumeStore: Sendable {
    /// The file's name.
    public static let fileName = "resume"

    /// The file.
    public let path: String

    private let fileSystem: any FileSystem
    private let frame = SealedFile(
        kind: "PKRESUME", version: ResumeCodec.version, limitBytes: ResumeLimits.maxPayloadBytes)

    /// Works on `directory/resume`; the directory must exist.
    public init(directory: String, fileSystem: any FileSystem) {
        path = Path.join(directory, Self.fileName)
        self.fileSystem = fileSystem
    }

    /// The stored point; `ResumePoint.none` if there is no file.
    ///
    /// A file that fails a check is left as it is.
    public func load() throws(ResumeError) -> ResumePoint {
        let bytes: [UInt8]?
        do throws(FileError) {
            bytes = try fileSystem.readFile(
                path, limitBytes: ResumeLimits.maxPayloadBytes + SealedFile.overheadBytes)
        } catch {
            throw .file(error)
        }
        guard let bytes else { return .none }
        let payload: [UInt8]
        do throws(SealedFileError) {
            payload = try frame.decode(bytes).payload
        } catch {
            throw .sealed(path: path, error)
        }
        do throws(ResumeContentError) {
            return try ResumeCodec.decode(payload)
        } catch {
            throw .content(path: path, error)
        }
    }

    /// Replaces the stored point; durable when it returns, blocks for an fsync.
    public func save(_ point: ResumePoint) throws(ResumeError) {
        let payload: [UInt8]
        do throws(ResumeContentError) {
            payload = try ResumeCodec.encode(point)
        } catch {
            throw .content(path: path, error)
        }
        let bytes: [UInt8]
        do throws(SealedFileError) {
            bytes = try frame.encode(payload)
        } catch {
            throw .sealed(path: path, error)
        }
        do throws(FileError) {
            try fileSystem.writeAtomically(path, bytes)
        } catch {
            throw .file(error)
        }
    }

    /// Forgets the point, durably; nothing happens where there never was one.
    public func remove() throws(ResumeError) {
        do throws(FileError) {
            guard try fileSystem.exists(Path.directory(of: path)) else { return }
            try fileSystem.unlinkIfPresent(path)
            try fileSystem.syncDirectory(Path.directory(of: path))
        } catch {
            throw .file(error)
        }
    }
}
