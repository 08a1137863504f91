internal import Binlog
public import FileIO
public import MigrateCore
internal import PikaStorage
internal import SyncProtocol

/// A directory that a Pika dumped (`db0/strings` and so on) as a source.
public actor DumpSource: Source {
    private let path: String
    private let fileSystem = RealFileSystem()
    private let wallClockMilliseconds: @Sendable () -> Int64
    private var walk: StoreWalk?
    private var opening: [SourceEvent] = []
    private var identity = ""
    private var phase = 0
    private var stopped = false

    /// - Parameter path: holds `db0`, `db1` and so on.
    public init(
        path: String, wallClockMilliseconds: @escaping @Sendable () -> Int64 = systemMilliseconds
    ) {
        self.path = path
        self.wallClockMilliseconds = wallClockMilliseconds
    }

    /// Looks at the directory, and begins where it is told.
    public func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        var databases: [Int] = []
        var bytes: UInt64 = 0
        do throws(FileError) {
            for index in 0..<8 {
                let directory = Path.join(self.path, "db\(index)")
                guard try self.fileSystem.exists(Path.join(directory, "strings")) else { continue }
                databases.append(index)
                for kind in StoreKind.allCases {
                    let store = Path.join(directory, kind.directoryName)
                    for name in try self.fileSystem.list(store) {
                        bytes += try self.fileSystem.status(Path.join(store, name))?.sizeBytes ?? 0
                    }
                }
            }
        } catch { throw .io("\(error)") }
        guard !databases.isEmpty else {
            throw .unsupported("\(self.path) has no db0/strings: it is no dump of a Pika")
        }
        self.identity = "dump-\(bytes)"
        let position = SourcePosition.file(
            FilePosition(identity: self.identity, offset: 0, database: 0))
        var point: StoreWalkPoint?
        switch from {
        case .fresh: break
        case .snapshot(let found):
            guard found.position == position else {
                throw .stranger("\(self.path) is not the dump that the checkpoint speaks of")
            }
            point = StoreWalkPoint(found.token)
        case .stream(let found):
            guard found == position else {
                throw .stranger("\(self.path) is not the dump that the checkpoint speaks of")
            }
            self.phase = 2
        }
        self.walk = StoreWalk(
            directory: self.path, databases: databases,
            now: self.wallClockMilliseconds() / 1_000,
            environment: StoreEnvironment(blockCacheBytes: 16 << 20, writeBufferBytes: 1 << 20),
            resumingAt: point)
        self.opening = [
            .snapshotStart(
                SnapshotStart(
                    reason: .firstCopy, position: position, totalBytes: bytes,
                    isResumed: point != nil))
        ]
        return SourceOpening(
            description: "dump \(Path.name(of: self.path))", identity: self.identity,
            canRefresh: false)
    }

    /// The next events; the last is `.end`.
    public func next() async throws(SourceError) -> [SourceEvent] {
        if self.stopped || Task.isCancelled { throw .stopped }
        let position = SourcePosition.file(
            FilePosition(identity: self.identity, offset: 0, database: 0))
        switch self.phase {
        case 0:
            self.phase = 1
            return self.opening
        case 1:
            guard var walk = self.walk else { throw .stopped }
            self.walk = nil
            let events = try walk.next(position: position)
            self.walk = walk
            guard events.isEmpty else { return events }
            self.phase = 2
            return [.snapshotEnd(position)]
        case 2:
            self.phase = 3
            return [.end(position)]
        default: throw .stopped
        }
    }

    /// Files are not told.
    public func acknowledge(_ position: SourcePosition) async {}

    /// Files can't be asked for single keys.
    public func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        throw .unsupported("a dump can't be asked for a single key")
    }

    /// Numbers of the walk.
    public func status() async -> SourceStatus {
        var status = SourceStatus()
        status.phase = .streaming
        status.receivedBytes = self.walk?.readBytes ?? 0
        return status
    }

    /// Ends reading.
    public func stop() async { self.stopped = true }
}

/// The log files of one database of a Pika as a source.
public actor BinlogSource: Source {
    /// Items that are given out at once.
    static let unitsAtOnce = 512

    private let path: String
    private let database: Int
    private let limits: Limits
    private let fileSystem: any FileSystem
    private var files: ArraySlice<BinlogInspector.LogFileReference> = []
    private var reader: BinlogFileReader?
    private var open: [SourceCommand] = []
    private var end = PikaLogPosition(fileNumber: 0, offset: 0, digest: 0)
    private var isOver = false
    private var stopped = false
    private var failure: SourceError?

    /// Where reading ends.
    public struct Limits: Sendable, Equatable {
        /// Items that end behind it are left out.
        public var position: PikaLogPosition?
        /// The first item of a later second ends the reading.
        public var untilSeconds: Int64?

        /// Limits; nil = none.
        public init(position: PikaLogPosition? = nil, untilSeconds: Int64? = nil) {
            self.position = position
            self.untilSeconds = untilSeconds
        }
    }

    /// - Parameters:
    ///   - path: a directory of `write2file…`, or one such file.
    ///   - database: whose log it is.
    ///   - limits: where reading ends.
    public init(
        path: String, database: Int, limits: Limits = Limits(),
        fileSystem: any FileSystem = RealFileSystem()
    ) {
        self.path = path
        self.database = database
        self.limits = limits
        self.fileSystem = fileSystem
    }

    /// Looks at the files, and begins where it is told.
    public func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening {
        do throws(BinlogError) {
            self.files = try BinlogInspector(fileSystem: self.fileSystem).files(at: self.path)[...]
        } catch { throw .io("\(error)") }
        guard let first = self.files.first else {
            throw .unsupported("\(self.path) holds no log files")
        }
        self.end.fileNumber = first.number
        if case .stream(.pika(let position)) = from, let place = position.databases[self.database] {
            self.files = self.files.drop { $0.number < place.fileNumber }
            guard self.files.first?.number == place.fileNumber else {
                throw .stranger("\(self.path) has no file \(place.fileNumber)")
            }
            self.end = place
        }
        var opening = SourceOpening(
            description: "binlog \(Path.name(of: self.path))", identity: self.path,
            canRefresh: false)
        opening.keepsTypesApart = true
        return opening
    }

    private func position(_ end: PikaLogPosition) -> SourcePosition {
        .pika(PikaPosition(replicationID: "", runID: "", databases: [self.database: end]))
    }

    /// The next units; the last event is `.end`.
    public func next() async throws(SourceError) -> [SourceEvent] {
        if self.stopped || self.isOver || Task.isCancelled { throw .stopped }
        if let failure = self.failure { throw failure }
        var events: [SourceEvent] = []
        do throws(BinlogError) {
            while events.count < Self.unitsAtOnce {
                guard let reader = try self.currentReader() else {
                    self.isOver = true
                    return events + [.end(self.position(self.end))]
                }
                switch try reader.next() {
                case .item(let bytes, let header, let itemEnd):
                    if self.isBehindLimit(header, itemEnd) {
                        self.files = []
                        self.reader = nil
                        continue
                    }
                    let content = UnsafeRawBufferPointer(
                        rebasing: bytes[BinlogItemHeader.encodedSize...])
                    guard let arguments = BinlogUnits.arguments(content) else {
                        return events + [self.stopNotice("no command before \(itemEnd)")]
                    }
                    if let unit = self.take(arguments, header, itemEnd) { events.append(unit) }
                case .end: self.reader = nil
                case .stopped(let what): return events + [self.stopNotice(what)]
                }
            }
        } catch { throw .io("\(error)") }
        return events
    }

    private func currentReader() throws(BinlogError) -> BinlogFileReader? {
        if let reader = self.reader { return reader }
        guard let file = self.files.popFirst() else { return nil }
        let offset = file.number == self.end.fileNumber ? self.end.offset : 0
        self.reader = try BinlogFileReader(file, from: offset, fileSystem: self.fileSystem)
        return self.reader
    }

    private func isBehindLimit(_ header: BinlogItemHeader, _ end: BinlogPosition) -> Bool {
        if let limit = self.limits.untilSeconds, Int64(header.execTimeSeconds) > limit {
            return true
        }
        guard let limit = self.limits.position else { return false }
        return (end.fileNumber, end.offset) > (limit.fileNumber, limit.offset)
    }

    private func take(
        _ arguments: [[UInt8]], _ header: BinlogItemHeader, _ itemEnd: BinlogPosition
    ) -> SourceEvent? {
        self.open.append(SourceCommand(database: self.database, arguments: arguments))
        let left = header.itemsLeftInGroup
        guard left == 0 || left > UInt32(BinlogLimits.maxGroupItems) else { return nil }
        let start = self.end
        self.end = PikaLogPosition(
            fileNumber: itemEnd.fileNumber, offset: itemEnd.offset, digest: 0)
        defer { self.open = [] }
        return .unit(
            SourceUnit(
                commands: self.open, isTransaction: self.open.count > 1,
                start: self.position(start), end: self.position(self.end),
                sourceTimeMilliseconds: Int64(header.execTimeSeconds) * 1_000))
    }

    /// What a killed process left at the end of the last file is its end; elsewhere it is damage.
    private func stopNotice(_ what: String) -> SourceEvent {
        if !self.files.isEmpty { self.failure = .corrupt("\(self.path): \(what)") }
        self.files = []
        self.reader = nil
        return .notice(SourceNotice(kind: "truncated", text: "\(self.path): \(what)"))
    }

    /// Files are not told.
    public func acknowledge(_ position: SourcePosition) async {}

    /// Files can't be asked for single keys.
    public func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey {
        throw .unsupported("a log can't be asked for a single key")
    }

    /// Nothing is received.
    public func status() async -> SourceStatus {
        var status = SourceStatus()
        status.phase = .streaming
        return status
    }

    /// Ends reading.
    public func stop() async { self.stopped = true }
}
