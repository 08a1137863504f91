import FileIO
import Synchronization

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

/// The sizes of directory trees as they were lately: whoever asks never waits for the disk.
///
/// Walking a directory of some ten thousand files takes longer than an event loop may be held up, so a
/// thread of a pool walks. An answer older than ``ageLimitMilliseconds`` begins the next walk.
final class DirectorySizes: Sendable {
    /// An answer of this age is not asked for anew.
    static let ageLimitMilliseconds: Int64 = 1000
    /// While nobody asks a walk is made this often.
    static let idleMilliseconds: Int64 = 30_000

    private struct State {
        var bytes: [Int]
        var walkedMilliseconds: Int64
        var isWalking = false
    }

    private let paths: [String]
    private let fileSystem: any FileSystem
    private let submit: @Sendable (@escaping @Sendable () -> Void) -> Void
    private let state: Mutex<State>

    /// Walks once, on this thread.
    ///
    /// - Parameters:
    ///   - paths: the directories.
    ///   - fileSystem: where they are.
    ///   - nowMilliseconds: the present, monotonic.
    ///   - submit: runs a walk on another thread, soon.
    init(
        of paths: [String], _ fileSystem: any FileSystem, nowMilliseconds: Int64,
        submit: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) {
        self.paths = paths
        self.fileSystem = fileSystem
        self.submit = submit
        let bytes = paths.map { DirectorySize.bytes(of: $0, fileSystem) }
        state = Mutex(State(bytes: bytes, walkedMilliseconds: nowMilliseconds))
    }

    /// Bytes below each directory, by the last walk that has ended.
    ///
    /// - Parameters:
    ///   - nowMilliseconds: the present, monotonic.
    ///   - ageLimit: an older answer begins the next walk.
    @discardableResult
    func bytes(
        nowMilliseconds: Int64, ageLimitMilliseconds ageLimit: Int64 = ageLimitMilliseconds
    ) -> [Int] {
        let (bytes, walks) = state.withLock { state -> ([Int], Bool) in
            let isOld = nowMilliseconds - state.walkedMilliseconds > ageLimit
            guard isOld, !state.isWalking else { return (state.bytes, false) }
            state.isWalking = true
            return (state.bytes, true)
        }
        if walks { submit { [self] in walk(nowMilliseconds: nowMilliseconds) } }
        return bytes
    }

    private func walk(nowMilliseconds: Int64) {
        let bytes = paths.map { DirectorySize.bytes(of: $0, fileSystem) }
        state.withLock {
            $0 = State(bytes: bytes, walkedMilliseconds: nowMilliseconds)
        }
    }
}
