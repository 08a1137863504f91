public import FileIO
public import SyncProtocol

/// Looks at log files without opening the log or changing anything: for tools.
public struct BinlogInspector: Sendable {
    /// One file to look at.
    public struct LogFileReference: Sendable, Equatable {
        /// Path of `write2file<N>`.
        public var path: String

        /// N.
        public var number: UInt32
    }

    /// What the comparison of a file with its sidecar gave.
    public struct Verification: Sendable, Equatable {
        /// The file.
        public var file: LogFileReference

        /// Whole items found.
        public var itemCount: Int

        /// End of the last whole item and the digest computed for it.
        public var end: BinlogMark

        /// The last end that an entry of the sidecar confirmed; nil without a sidecar.
        public var verifiedEnd: BinlogPosition?

        /// Blocks with a checksum.
        public var blocksChecked: Int

        /// What is wrong; nil if nothing is.
        public var problem: String?
    }

    /// EINVAL: the name is not that of a log file.
    private static let invalidCode: Int32 = 22

    private let fileSystem: any FileSystem

    /// Creates an inspector.
    public init(fileSystem: any FileSystem) {
        self.fileSystem = fileSystem
    }

    /// The log files at a path: those of a directory in ascending order, or the one file.
    public func files(at path: String) throws(BinlogError) -> [LogFileReference] {
        try io { () throws(FileError) in
            if try fileSystem.status(path)?.kind != .directory {
                guard let number = LogNames.dataNumber(Path.name(of: path)) else {
                    throw FileError(.open, path, code: Self.invalidCode)
                }
                return [LogFileReference(path: path, number: number)]
            }
            return try fileSystem.list(path).compactMap(LogNames.dataNumber).sorted().map {
                LogFileReference(path: Path.join(path, LogNames.data($0)), number: $0)
            }
        }
    }

    /// Shows all whole items of a file, then what stopped the reading if it was not the end.
    public func forEachItem(
        in file: LogFileReference,
        _ body: (UnsafeRawBufferPointer, BinlogItemHeader, BinlogPosition) -> Void,
        onProblem: (String) -> Void
    ) throws(BinlogError) {
        let data = try io { () throws(FileError) in try fileSystem.open(file.path, .readOnly) }
        let size = try io { () throws(FileError) in try data.size() }
        let reader = ItemReader(file: data, offset: 0)
        while true {
            let before = reader.offset
            do throws(BinlogError) {
                switch try reader.next(limit: size) {
                case .item(let bytes, let end):
                    do throws(BinlogItemError) {
                        let header = try BinlogItemHeader(item: bytes)
                        body(
                            bytes, header,
                            BinlogPosition(fileNumber: file.number, offset: end))
                    } catch {
                        onProblem("at \(before): \(error)")
                    }
                case .end:
                    return
                case .torn:
                    return onProblem("torn item at \(before), file ends at \(size)")
                case .zeros:
                    return onProblem("zeros at \(reader.zerosOffset), file ends at \(size)")
                }
            } catch {
                guard case .damaged = error else { throw error }
                return onProblem(error.description)
            }
        }
    }

    /// Reads a whole file and compares every entry and block checksum of its sidecar.
    public func verify(_ file: LogFileReference) throws(BinlogError) -> Verification {
        let data = try io { () throws(FileError) in try fileSystem.open(file.path, .readOnly) }
        let size = try io { () throws(FileError) in try data.size() }
        let sidecar = try SidecarFile.read(
            path: file.path + ".sum", number: file.number, fileSystem: fileSystem)
        let start = BinlogPosition(
            fileNumber: file.number, offset: sidecar?.startOffset ?? 0)
        var scan = LogScan(
            from: BinlogMark(position: start, digest: sidecar?.startDigest ?? 0))
        let stop = try scan.read(data, limit: size, sidecar: sidecar)
        var problem: BinlogError? = scan.broken
        if problem == nil, case .damage(let error) = stop { problem = error }
        if problem == nil, let claim = sidecar?.lastEnd, claim.offset > scan.mark.position.offset {
            problem = .endsTooEarly(
                expected: BinlogPosition(fileNumber: file.number, offset: claim.offset),
                actual: scan.mark.position, source: .sidecar)
        }
        if problem == nil, let sidecar {
            do throws(BinlogError) {
                try scan.checkBegunBlock(data, sidecar)
            } catch {
                problem = error
            }
        }
        return Verification(
            file: file, itemCount: scan.itemCount, end: scan.mark,
            verifiedEnd: sidecar == nil ? nil : scan.verified.position,
            blocksChecked: sidecar?.blocks.known().count ?? 0, problem: problem?.description)
    }
}
