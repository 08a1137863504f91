internal import FileIO
internal import MigrateCore
internal import RDB

/// Turns an RDB file into events, in bounded memory.
///
/// Owned by one task.
struct SnapshotDecoding {
    /// How much is read from the file at once, in bytes.
    static let pieceBytes = 256 * 1024
    /// A point to go on from is given at least this often, in bytes of the file.
    static let pointEveryBytes: UInt64 = 1 << 20
    private static let limits = RDBLimits(
        maxChunkElements: ElementChunk.maxElements, maxChunkBytes: ElementChunk.maxBytes)

    private let file: any File
    private let path: String
    private var decoder: RDBDecoder
    private var fileOffset: UInt64
    private var lastPoint: UInt64
    private var piece = [UInt8](repeating: 0, count: Self.pieceBytes)
    private(set) var isDone = false
    /// The database that the stream behind the snapshot begins in.
    private(set) var streamDatabase: Int = 0

    /// Begins at the start, or at a point of an earlier run.
    init(
        file: any File, path: String, resumingAt point: SnapshotToken? = nil
    ) {
        self.file = file
        self.path = path
        if let point {
            self.decoder = RDBDecoder(resumingAt: point.point, limits: Self.limits)
            self.streamDatabase = point.streamDatabase
            self.fileOffset = point.point.offset
        } else {
            self.decoder = RDBDecoder(limits: Self.limits)
            self.fileOffset = 0
        }
        self.lastPoint = self.fileOffset
    }

    /// The next events, about a chunk's worth; empty only at the end, or of what is there so far.
    ///
    /// - Parameter isWhole: The file is complete; read before the call.
    mutating func next(
        generation: UInt32, position: SourcePosition, isWhole: Bool = true
    ) throws(SourceError) -> [SourceEvent] {
        var events: [SourceEvent] = []
        var bytes = 0
        while !self.isDone, bytes < ElementChunk.maxBytes {
            let strings = self.decoder.nextStrings()
            if strings.count > 0 {
                bytes += strings.bytes.count
                events.append(.strings(Self.batch(strings)))
                if let point = self.point(generation, position) { events.append(point) }
                continue
            }
            guard let event = try self.step() else {
                guard try self.feed(isWhole: isWhole) else { return events }
                continue
            }
            bytes += 64
            switch event {
            case .keyStart(let key): events.append(.keyStart(Self.head(key)))
            case .elements:
                bytes += self.decoder.chunk.bytes.count
                events.append(.elements(Self.chunk(self.decoder.chunk)))
            case .keyEnd:
                events.append(.keyEnd)
                if let point = self.point(generation, position) { events.append(point) }
            case .end(let checksum):
                self.isDone = true
                if let notice = self.ending(checksum) { events.append(.notice(notice)) }
            case .auxiliary(let name, let value):
                if let notice = self.auxiliary(name, value) { events.append(.notice(notice)) }
            case .function:
                events.append(
                    .notice(SourceNotice(kind: "function", text: "a library of functions")))
            case .moduleAuxiliary(let name):
                events.append(
                    .notice(SourceNotice(kind: "module", text: "state of the module \(name)")))
            case .slotImport:
                events.append(
                    .notice(SourceNotice(kind: "slot-import", text: "a slot was being imported")))
            case .header, .selectDatabase, .resizeDatabase, .slotInfo: break
            }
        }
        return events
    }

    private mutating func step() throws(SourceError) -> RDBEvent? {
        do throws(RDBError) { return try self.decoder.next() } catch {
            throw Self.sourceError(error, path: self.path)
        }
    }

    /// Reads on; false if more is to come.
    private mutating func feed(isWhole: Bool) throws(SourceError) -> Bool {
        let offset = self.fileOffset
        let file = self.file
        let result = self.piece.withUnsafeMutableBytes { buffer -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(try file.read(into: buffer, at: offset))
            } catch { return .failure(error) }
        }
        let count: Int
        do { count = try result.get() } catch { throw .io("\(error)") }
        guard count > 0 else {
            guard isWhole else { return false }
            do throws(RDBError) { try self.decoder.finish() } catch {
                throw Self.sourceError(error, path: self.path)
            }
            self.isDone = true
            return true
        }
        self.fileOffset += UInt64(count)
        self.piece.withUnsafeBytes { buffer in
            self.decoder.feed(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        return true
    }

    private mutating func point(_ generation: UInt32, _ position: SourcePosition) -> SourceEvent? {
        guard self.decoder.offset >= self.lastPoint + Self.pointEveryBytes,
            let point = self.decoder.resumePoint()
        else { return nil }
        self.lastPoint = point.offset
        let token = SnapshotToken(
            generation: generation, streamDatabase: self.streamDatabase, point: point)
        return .snapshotPoint(
            SnapshotPoint(position: position, token: token.encode()), readBytes: point.offset)
    }

    private mutating func auxiliary(_ name: [UInt8], _ value: [UInt8]) -> SourceNotice? {
        let name = String(decoding: name, as: UTF8.self)
        let text = String(decoding: value.prefix(64), as: UTF8.self)
        if name == "repl-stream-db", let database = Int(text), database >= 0 {
            self.streamDatabase = database
        }
        guard name == "lua" else { return nil }
        return SourceNotice(kind: "lua-script", text: "a cached script of \(value.count) bytes")
    }

    private func ending(_ checksum: RDBChecksum) -> SourceNotice? {
        if self.decoder.unreadCount > 0 {
            return SourceNotice(
                kind: "trailing-bytes", text: "\(self.path) has bytes behind its end")
        }
        guard checksum == .absent else { return nil }
        return SourceNotice(kind: "no-checksum", text: "the snapshot was written without checksum")
    }

    /// Bytes that were read and are not the snapshot's: those of an AOF behind its preamble.
    var unread: [UInt8] { Array(self.decoder.unreadBytes) }
    /// Offset in the file behind the last byte that was read.
    var readOffset: UInt64 { self.fileOffset }
    /// Offset of the next byte to be decoded.
    var offset: UInt64 { self.decoder.offset }

    // MARK: - Conversions

    static func batch(_ strings: RDBStrings) -> StringBatch {
        StringBatch(
            database: Int(clamping: strings.database), bytes: strings.bytes, ends: strings.ends,
            deadlines: strings.deadlines)
    }

    static func head(_ key: RDBKey) -> KeyHead {
        let kind: KeyKind =
            switch key.kind {
            case .string: .string
            case .list: .list
            case .set: .set
            case .sortedSet: .sortedSet
            case .hash: .hash
            case .stream: .stream
            case .module: .module
            }
        return KeyHead(
            database: Int(clamping: key.database), name: key.name, kind: kind,
            deadlineMilliseconds: key.deadlineMilliseconds, moduleName: key.moduleName ?? "")
    }

    static func chunk(_ chunk: RDBChunk) -> ElementChunk {
        var result = ElementChunk()
        result.scores = chunk.scores
        result.fieldDeadlines = chunk.deadlines
        result.wholeBytes = chunk.wholeBytes
        result.ends.reserveCapacity(chunk.slices.count)
        var end = 0
        let isDense = chunk.slices.allSatisfy { slice in
            defer { end = slice.start + slice.count }
            return slice.start == end
        }
        if isDense {
            result.bytes = chunk.bytes
            for slice in chunk.slices { result.ends.append(slice.start + slice.count) }
        } else {
            for slice in chunk.slices {
                result.append(chunk.bytes[slice.start..<(slice.start + slice.count)])
            }
        }
        return result
    }

    static func sourceError(_ error: RDBError, path: String) -> SourceError {
        switch error {
        case .unsupportedVersion, .unsupportedType, .unsupportedRecord, .compressedEnvelope:
            .unsupported("\(path): \(error)")
        default: .corrupt("\(path): \(error)")
        }
    }
}

/// A place in a spooled snapshot, as a checkpoint keeps it.
///
/// ```text
/// u8 version 1 | u8 dialect | u16 RDB version | u32 generation | u64 stream database
/// u64 offset | u64 database | u64 checksum                            (little-endian)
/// ```
struct SnapshotToken: Equatable {
    static let version: UInt64 = 1
    static let encodedBytes = 40

    var generation: UInt32
    var streamDatabase: Int
    var point: RDBResumePoint

    func encode() -> [UInt8] {
        var bytes: [UInt8] = []
        let head =
            Self.version | UInt64(self.point.dialect.rawValue) << 8
            | UInt64(UInt16(clamping: self.point.version)) << 16 | UInt64(self.generation) << 32
        SpoolBytes.append(head, to: &bytes)
        SpoolBytes.append(UInt64(clamping: self.streamDatabase), to: &bytes)
        SpoolBytes.append(self.point.offset, to: &bytes)
        SpoolBytes.append(self.point.database, to: &bytes)
        SpoolBytes.append(self.point.checksum, to: &bytes)
        return bytes
    }

    init(generation: UInt32, streamDatabase: Int, point: RDBResumePoint) {
        self.generation = generation
        self.streamDatabase = streamDatabase
        self.point = point
    }

    init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.encodedBytes else { return nil }
        let head = SpoolBytes.load(bytes, at: 0)
        guard head & 0xff == Self.version,
            let dialect = RDBDialect(rawValue: UInt8(truncatingIfNeeded: head >> 8))
        else { return nil }
        self.generation = UInt32(truncatingIfNeeded: head >> 32)
        self.streamDatabase = Int(clamping: SpoolBytes.load(bytes, at: 8))
        self.point = RDBResumePoint(
            offset: SpoolBytes.load(bytes, at: 16), dialect: dialect,
            version: Int(head >> 16 & 0xffff), database: SpoolBytes.load(bytes, at: 24),
            checksum: SpoolBytes.load(bytes, at: 32))
    }
}
