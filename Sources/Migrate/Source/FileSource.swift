internal import CXXHash
public import FileIO
public import MigrateCore
internal import RedisSync

/// Files of a Redis as a source: an RDB, an AOF with or without preamble, an append-only directory.
public actor FileSource: Source {
    /// How much of an AOF is read at once, in bytes.
    static let pieceBytes = 256 * 1024
    /// Longest manifest, in bytes.
    static let maxManifestBytes = 1 << 20
    /// How much of each file names the files, in bytes.
    static let identityBytes = 64 * 1024

    private struct Part {
        var path: String
        var start: UInt64
        var sizeBytes: UInt64
    }

    private enum Reading {
        case opening(part: Int)
        case snapshot(SnapshotDecoding, part: Int, start: SnapshotStart?)
        case commands(any File, part: Int)
        case ended
    }

    private let path: String
    private let untilSeconds: Int64?
    private let fileSystem: any FileSystem
    private let wallClockMilliseconds: @Sendable () -> Int64
    private var parts: [Part] = []
    private var identity = ""
    private var reading = Reading.opening(part: 0)
    private var decoding: StreamDecoding?
    private var pending: [UInt8] = []
    private var fileOffset: UInt64 = 0
    private var time: Int64 = 0
    private var stopped = false

    /// - Parameters:
    ///   - path: an RDB, an AOF, a manifest, or the directory that holds one.
    ///   - untilSeconds: commands annotated with a later time are left out, and what follows them.
    public init(
        path: String, untilSeconds: Int64? = nil, fileSystem: any FileSystem = RealFileSystem(),
        wallClockMilliseconds: @escaping @Sendable () -> Int64 = systemMilliseconds
    ) {
        self.path = path
        self.untilSeconds = untilSeconds
        self.fileSystem = fileSystem
        self.wallClockMilliseconds = wallClockMilliseconds
    }

    // MARK: - Start

    /// Looks at the files, and begins where it is told.
    public func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        try self.findParts()
        self.time = self.wallClockMilliseconds()
        switch from {
        case .fresh: break
        case .snapshot(let point):
            try self.check(point.position)
            guard let token = SnapshotToken(point.token),
                self.parts.indices.contains(Int(token.generation))
            else { break }
            let part = Int(token.generation)
            self.reading = .snapshot(
                SnapshotDecoding(
                    file: try self.open(self.parts[part].path), path: self.parts[part].path,
                    resumingAt: token), part: part,
                start: SnapshotStart(
                    reason: .firstCopy, position: point.position,
                    totalBytes: self.parts[part].sizeBytes, isResumed: true))
        case .stream(let position):
            try self.check(position)
            guard case .file(let place) = position else { break }
            guard let part = self.parts.lastIndex(where: { $0.start <= place.offset }) else {
                break
            }
            try self.beginCommands(part, at: place.offset, database: place.database)
        }
        return SourceOpening(
            description: "file \(Path.name(of: self.path))", identity: self.identity,
            canRefresh: false)
    }

    private func check(_ position: SourcePosition) throws(SourceError) {
        guard case .file(let place) = position, place.identity == self.identity else {
            throw .stranger("\(self.path) is not the file that the checkpoint speaks of")
        }
    }

    private func findParts() throws(SourceError) {
        do throws(FileError) {
            var paths = [self.path]
            var directory = Path.directory(of: self.path)
            var manifest = self.path.hasSuffix(".manifest") ? self.path : nil
            if try self.fileSystem.status(self.path)?.kind == .directory {
                directory = self.path
                let names = try self.fileSystem.list(directory).filter {
                    $0.hasSuffix(".manifest")
                }
                guard let name = names.first, names.count == 1 else {
                    throw FileError(.open, Path.join(directory, "*.manifest"), code: 2)
                }
                manifest = Path.join(directory, name)
            }
            if let manifest {
                let bytes = try self.fileSystem.open(manifest, .readOnly)
                    .readAll(limitBytes: Self.maxManifestBytes)
                let text = String(decoding: bytes, as: UTF8.self)
                do throws(AppendOnlyManifestError) {
                    paths = try AppendOnlyManifest.files(of: text).map {
                        Path.join(directory, $0.name)
                    }
                } catch { return try self.fail(.corrupt("\(manifest): \(error)")) }
            }
            var start: UInt64 = 0
            var head: [UInt8] = []
            for path in paths {
                let file = try self.fileSystem.open(path, .readOnly)
                let size = try file.size()
                var bytes = [UInt8](repeating: 0, count: Int(min(size, UInt64(Self.identityBytes))))
                let found = bytes.withUnsafeMutableBytes { try? file.read(into: $0, at: 0) }
                head += bytes.prefix(found ?? 0)
                self.parts.append(Part(path: path, start: start, sizeBytes: size))
                start += size
            }
            self.identity = String(XXH64(head, head.count, 0), radix: 16)
        } catch { throw .io("\(error)") }
        if let failure = self.failure { throw failure }
    }

    private var failure: SourceError?

    private func fail(_ error: SourceError) throws(FileError) { self.failure = error }

    private func open(_ path: String) throws(SourceError) -> any File {
        do throws(FileError) { return try self.fileSystem.open(path, .readOnly) } catch {
            throw .io("\(error)")
        }
    }

    private func position(_ offset: UInt64, _ database: Int) -> SourcePosition {
        .file(FilePosition(identity: self.identity, offset: offset, database: database))
    }

    // MARK: - Reading

    /// The next events; the last is `.end`.
    public func next() async throws(SourceError) -> [SourceEvent] {
        while true {
            if self.stopped || Task.isCancelled { throw .stopped }
            let events = try self.read()
            if !events.isEmpty { return events }
        }
    }

    private func read() throws(SourceError) -> [SourceEvent] {
        switch self.reading {
        case .opening(let part): return try self.openPart(part)
        case .snapshot(var decoding, let part, let start):
            if let start {
                self.reading = .snapshot(decoding, part: part, start: nil)
                return [.snapshotStart(start)]
            }
            self.reading = .opening(part: part)
            let events = try decoding.next(
                generation: UInt32(part), position: self.position(self.parts[part].start, 0))
            guard decoding.isDone else {
                self.reading = .snapshot(decoding, part: part, start: nil)
                return events
            }
            let end = self.parts[part].start + decoding.offset
            try self.beginCommands(part, at: end, database: 0)
            return events.filter {
                // What follows the snapshot is the AOF's commands.
                if case .notice(let notice) = $0 { notice.kind != "trailing-bytes" } else { true }
            } + [.snapshotEnd(self.position(end, 0))]
        case .commands(let file, let part): return try self.readCommands(file, part)
        case .ended: throw .stopped
        }
    }

    private func openPart(_ part: Int) throws(SourceError) -> [SourceEvent] {
        guard part < self.parts.count else {
            self.reading = .ended
            return [.end(self.decoding?.end ?? self.position(0, 0))]
        }
        let file = try self.open(self.parts[part].path)
        var magic = [UInt8](repeating: 0, count: 6)
        let count = magic.withUnsafeMutableBytes { try? file.read(into: $0, at: 0) } ?? 0
        let text = String(decoding: magic.prefix(count), as: UTF8.self)
        guard ["REDIS", "VALKEY", "VCS"].contains(where: text.hasPrefix) else {
            try self.beginCommands(
                part, at: self.parts[part].start, database: self.endDatabase)
            return []
        }
        guard part == 0 else {
            throw .corrupt("\(self.parts[part].path): a snapshot behind commands")
        }
        let start = SnapshotStart(
            reason: .firstCopy, position: self.position(self.parts[part].start, 0),
            totalBytes: self.parts[part].sizeBytes, isResumed: false)
        self.reading = .snapshot(
            SnapshotDecoding(file: file, path: self.parts[part].path), part: part, start: nil)
        return [.snapshotStart(start)]
    }

    private var endDatabase: Int {
        if case .file(let place) = self.decoding?.end { place.database } else { 0 }
    }

    private func beginCommands(
        _ part: Int, at offset: UInt64, database: Int
    ) throws(SourceError) {
        let identity = self.identity
        if self.decoding?.unitEnd != offset {
            self.decoding = StreamDecoding(id: "", offset: offset, database: database) {
                .file(FilePosition(identity: identity, offset: $1, database: $2))
            }
        }
        self.pending = []
        self.fileOffset = offset - self.parts[part].start
        self.reading = .commands(try self.open(self.parts[part].path), part: part)
    }

    private func readCommands(_ file: any File, _ part: Int) throws(SourceError) -> [SourceEvent] {
        var piece = [UInt8](repeating: 0, count: Self.pieceBytes)
        let offset = self.fileOffset
        let result = piece.withUnsafeMutableBytes { buffer -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(try file.read(into: buffer, at: offset))
            } catch { return .failure(error) }
        }
        let count: Int
        do { count = try result.get() } catch { throw .io("\(error)") }
        self.fileOffset += UInt64(count)
        self.pending.append(contentsOf: piece[..<count])
        var events = try self.cut(part)
        if count == 0, case .commands = self.reading {
            events += try self.endPart(part)
        }
        return events
    }

    private func cut(_ part: Int) throws(SourceError) -> [SourceEvent] {
        guard var decoding = self.decoding else { return [] }
        self.decoding = nil
        defer { self.decoding = decoding }
        var events: [SourceEvent] = []
        var at = 0
        defer { self.pending.removeFirst(at) }
        while true {
            switch AppendOnlySplitter.next(self.pending[at...]) {
            case .incomplete: return events
            case .malformed:
                throw .corrupt("\(self.parts[part].path): no command at \(decoding.unitEnd)")
            case .annotation(let length, let seconds):
                if let seconds {
                    if let limit = self.untilSeconds, seconds > limit {
                        self.reading = .opening(part: self.parts.count)
                        return events
                    }
                    self.time = seconds * 1_000
                }
                decoding.skip(length)
                at += length
            case .command(let length):
                decoding.feed(Array(self.pending[at..<(at + length)]))
                at += length
                while let unit = try decoding.next(sourceTimeMilliseconds: self.time) {
                    events.append(.unit(unit))
                }
            }
        }
    }

    /// A last command that is cut off, and a transaction without its end, never took place.
    private func endPart(_ part: Int) throws(SourceError) -> [SourceEvent] {
        let isLast = part == self.parts.count - 1
        let rest = self.pending.count
        let isOpen = self.decoding?.isInTransaction ?? false
        self.reading = .opening(part: part + 1)
        guard rest > 0 || isOpen else { return [] }
        guard isLast else {
            throw .corrupt("\(self.parts[part].path): cut off, and other files follow")
        }
        self.reading = .opening(part: self.parts.count)
        let what = isOpen ? "a transaction without its end" : "\(rest) bytes of a command"
        return [
            .notice(SourceNotice(kind: "truncated", text: "\(self.parts[part].path): \(what)"))
        ]
    }

    // MARK: - The other calls

    /// Files are not told.
    public func acknowledge(_ position: SourcePosition) async {}

    /// Files can't be asked for single keys.
    public func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        throw .unsupported("a file can't be asked for a single key")
    }

    /// Numbers of the files.
    public func status() async -> SourceStatus {
        var status = SourceStatus()
        status.phase = .streaming
        let total = self.parts.last.map { $0.start + $0.sizeBytes } ?? 0
        status.snapshotBytes = total
        status.snapshotReceivedBytes = total
        status.receivedBytes = total
        return status
    }

    /// Ends reading.
    public func stop() async { self.stopped = true }
}
