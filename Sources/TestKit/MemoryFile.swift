import FileIO

final class MemoryLock: FileLock {
    private let fileSystem: MemoryFileSystem
    private let path: String
    private let id: Int

    init(fileSystem: MemoryFileSystem, path: String, id: Int) {
        self.fileSystem = fileSystem
        self.path = path
        self.id = id
    }

    deinit { release() }

    func release() { fileSystem.releaseLock(path, id) }
}

/// A node that crosses threads.
struct NodeReference: @unchecked Sendable {
    // SAFETY: the node is only used under the file system's lock.
    let value: MemoryNode
}

final class MemoryFile: File {
    let path: String
    let epoch: Int
    let isWritable: Bool
    let node: NodeReference
    private let fileSystem: MemoryFileSystem

    init(
        path: String, node: MemoryNode, epoch: Int, isWritable: Bool,
        fileSystem: MemoryFileSystem
    ) {
        self.path = path
        self.node = NodeReference(value: node)
        self.epoch = epoch
        self.isWritable = isWritable
        self.fileSystem = fileSystem
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(FileError) -> Int {
        try fileSystem.withNode(self, .read) { node in
            guard offset < UInt64(node.data.count) else { return 0 }
            let start = Int(offset)
            let count = min(buffer.count, node.data.count - start)
            node.data.withUnsafeBytes { bytes in
                buffer.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + count)]))
            }
            return count
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        try fileSystem.write(self, bytes, at: Int(offset))
    }

    func truncate(to sizeBytes: UInt64) throws(FileError) {
        try fileSystem.withNode(self, .truncate, log: "truncate \(path) \(sizeBytes)") { node in
            node.truncate(to: Int(sizeBytes))
        }
    }

    func synchronize() throws(FileError) {
        fileSystem.runSyncHook()
        try fileSystem.withNode(self, .sync, log: "sync \(path)") { node in node.synchronize() }
    }

    func size() throws(FileError) -> UInt64 {
        try fileSystem.withNode(self, .size) { node in UInt64(node.data.count) }
    }

    func advise(_ advice: FileAdvice, offset: UInt64, count: UInt64) {}

    func startWriteback(offset: UInt64, count: UInt64) {}

    func close() throws(FileError) {}
}
