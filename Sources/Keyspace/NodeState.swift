internal import FileIO
internal import SyncProtocol
internal import Synchronization

/// The node file, kept in memory and written through.
final class NodeState: Sendable {
    private let file: Mutex<NodeFile>
    private let directory: String
    private let fileSystem: any FileSystem

    init(_ file: NodeFile, directory: String, fileSystem: any FileSystem) {
        self.file = Mutex(file)
        self.directory = directory
        self.fileSystem = fileSystem
    }

    var current: NodeFile { file.withLock { $0 } }

    /// Changes the file durably; in memory only when that succeeded.
    func update(_ change: (inout NodeFile) -> Void) throws(KeyspaceError) {
        try file.withLock { file throws(KeyspaceError) in
            var changed = file
            change(&changed)
            try changed.write(in: directory, fileSystem: fileSystem)
            file = changed
        }
    }
}
