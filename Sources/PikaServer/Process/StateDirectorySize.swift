import FileIO

/// Sizes of directory trees, for INFO.
enum DirectorySize {
    /// Directories below each other that are followed; the server's own are three deep.
    private static let depthLimit = 8

    /// Bytes of all files below a directory; what vanishes meanwhile counts nothing.
    static func bytes(of path: String, _ fileSystem: any FileSystem, depth: Int = 0) -> Int {
        guard depth < depthLimit, let names = try? fileSystem.list(path) else { return 0 }
        var sum = 0
        for name in names {
            let inner = Path.join(path, name)
            guard let status = try? fileSystem.status(inner) else { continue }
            switch status.kind {
            case .directory: sum += bytes(of: inner, fileSystem, depth: depth + 1)
            default: sum += Int(clamping: status.sizeBytes)
            }
        }
        return sum
    }
}
