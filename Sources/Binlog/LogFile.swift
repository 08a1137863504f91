import FileIO
import SyncProtocol

/// An open file of the log with its sidecar.
final class LogFile: Sendable {
    let number: UInt32
    let startOffset: UInt64
    let data: any File
    let sidecar: SidecarFile

    init(number: UInt32, startOffset: UInt64, data: any File, sidecar: SidecarFile) {
        self.number = number
        self.startOffset = startOffset
        self.data = data
        self.sidecar = sidecar
    }

    /// Makes `write2file<N>` and its sidecar; neither name nor content is durable yet.
    static func create(
        number: UInt32, start: BinlogMark, directory: LogDirectory
    ) throws(FileError) -> LogFile {
        let fileSystem = directory.fileSystem
        let data = try fileSystem.open(directory.data(number), .createEmpty)
        let sidecar = try SidecarFile.create(
            path: directory.sidecar(number), number: number, start: start,
            fileSystem: fileSystem)
        return LogFile(
            number: number, startOffset: start.position.offset, data: data, sidecar: sidecar)
    }
}

/// The directory of a log and what is done to its names.
struct LogDirectory: Sendable {
    let path: String
    let fileSystem: any FileSystem

    func data(_ number: UInt32) -> String { Path.join(path, LogNames.data(number)) }
    func sidecar(_ number: UInt32) -> String { Path.join(path, LogNames.sidecar(number)) }
    var manifest: String { Path.join(path, LogNames.manifest) }

    /// Makes the directory's own name durable; the directory above it must exist durably.
    func syncParent() throws(FileError) {
        try fileSystem.syncDirectory(Path.directory(of: path))
    }

    /// Removes a file of the log and its sidecar.
    func remove(_ number: UInt32) throws(FileError) {
        try fileSystem.unlinkIfPresent(sidecar(number))
        try fileSystem.unlinkIfPresent(data(number))
    }

    func readManifest() throws(FileError) -> (exists: Bool, manifest: Manifest?) {
        let bytes = try fileSystem.readFile(manifest, limitBytes: Int(Manifest.fileSize) * 2)
        return (bytes != nil, bytes.flatMap { Manifest($0) })
    }
}

/// The manifest, kept open: one small write per sync, roll or cut.
final class ManifestFile: Sendable {
    private let file: any File

    /// Opens or makes it; it gets the length that a real Pika maps.
    init(_ directory: LogDirectory) throws(FileError) {
        file = try directory.fileSystem.open(directory.manifest, .openOrCreate)
        if try file.size() < Manifest.fileSize {
            try file.truncate(to: Manifest.fileSize)
        }
    }

    func write(_ manifest: Manifest) throws(FileError) {
        try file.write(manifest.encoded(), at: 0)
    }

    func synchronize() throws(FileError) {
        try file.synchronize()
    }
}
