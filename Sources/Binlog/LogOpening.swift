public import FileIO
public import SyncProtocol
import Synchronization

/// What opening gives to the log.
struct RecoveredLog {
    var directory: LogDirectory
    var manifest: ManifestFile
    var report: BinlogOpenReport
    var entries: [LogState.Entry]
    var current: LogFile
    var end: BinlogMark
    var logicIndex: UInt64
}

/// Opens a log directory: looks, decides, and only then changes.
struct LogOpening {
    /// How far before the last claim a scan begins: enough to notice damage near the end, little
    /// enough for a quick start.
    static let scanBytes: UInt64 = 8 << 20

    /// One file of the run that ends with the newest.
    struct Candidate {
        var number: UInt32
        var path: String
        var sizeBytes: UInt64
        var startOffset: UInt64
        var sidecar: SidecarContents?

        /// Where its data end if it is finished.
        var finishedEnd: UInt64 { sidecar?.fileEnd?.offset ?? sizeBytes }

        func start(digest: UInt64) -> BinlogMark {
            BinlogMark(
                position: BinlogPosition(fileNumber: number, offset: startOffset),
                digest: digest)
        }
    }

    let directory: LogDirectory
    let origin: BinlogOrigin
    let recovery: BinlogRecovery
    let requiredEnd: BinlogPosition

    private var report = BinlogOpenReport()
    private var run: [Candidate] = []
    private var manifest: Manifest?

    init(
        directory: LogDirectory, origin: BinlogOrigin, recovery: BinlogRecovery,
        requiredEnd: BinlogPosition
    ) {
        self.directory = directory
        self.origin = origin
        self.recovery = recovery
        self.requiredEnd = requiredEnd
    }

    /// Opens the log.
    mutating func open() throws(BinlogError) -> RecoveredLog {
        let names = try io { () throws(FileError) in
            try directory.fileSystem.makeDirectory(directory.path)
            return try directory.fileSystem.list(directory.path)
        }
        let numbers = names.compactMap(LogNames.dataNumber).sorted()
        guard numbers.count <= BinlogLimits.maxFiles else {
            throw .tooManyFiles(count: numbers.count, limit: BinlogLimits.maxFiles)
        }
        let found = try io { () throws(FileError) in try directory.readManifest() }
        manifest = found.manifest
        report.manifestIgnored = manifest == nil && !numbers.isEmpty
        if numbers.isEmpty { return try openEmpty() }
        try chooseRun(numbers)
        var scan = try decideEnd()
        if requiredEnd > scan.mark.position {
            throw .endsTooEarly(
                expected: requiredEnd, actual: scan.mark.position, source: .store)
        }
        try cutGroup(&scan)
        return try apply(scan)
    }

    private mutating func openEmpty() throws(BinlogError) -> RecoveredLog {
        if let manifest, manifest.fileNumber != 0 || manifest.offset != 0 {
            throw .manifestNamesMissingFile(
                path: directory.manifest, named: manifest.fileNumber, newest: nil)
        }
        guard requiredEnd == .zero else {
            throw .endsTooEarly(expected: requiredEnd, actual: .zero, source: .store)
        }
        let manifestFile = try io { () throws(FileError) in try ManifestFile(directory) }
        let file = try BinlogLog.makeEmpty(directory, at: .zero, manifestFile)
        try io { () throws(FileError) in try directory.syncParent() }
        return RecoveredLog(
            directory: directory, manifest: manifestFile, report: report,
            entries: [LogState.Entry(number: 0, startOffset: 0, endOffset: nil)], current: file,
            end: .zero, logicIndex: 0)
    }

    // MARK: Which files

    private mutating func chooseRun(_ numbers: [UInt32]) throws(BinlogError) {
        guard let greatest = numbers.last else { return }
        var sidecars: [UInt32: SidecarContents] = [:]
        if recovery != .foreignWriter {
            for number in numbers {
                let isNewest = number == greatest && numbers.count > 1
                guard let contents = try readSidecar(number, mayBeTorn: isNewest) else { continue }
                sidecars[number] = contents
                report.skippedSidecarRecords += contents.skippedRecords
            }
        }
        let named = manifest?.fileNumber ?? greatest
        if recovery != .powerLoss, named > greatest || recovery == .foreignWriter {
            guard numbers.contains(named) else {
                throw .manifestNamesMissingFile(
                    path: directory.manifest, named: named, newest: greatest)
            }
        }
        // A real Pika leaves files behind whose numbers are above its current one; what we wrote
        // above the manifest's number has a sidecar.
        var newest =
            recovery == .foreignWriter
            ? named : numbers.last { $0 <= named || sidecars[$0] != nil } ?? greatest
        newest = behindGap(newest, numbers)
        var first = newest
        while first > 0, numbers.contains(first - 1) { first -= 1 }
        report.staleFiles = numbers.filter { $0 < first || $0 > newest }
        for number in first...newest {
            run.append(try candidate(number, sidecars[number]))
            if sidecars[number] == nil { report.filesWithoutSidecar.append(number) }
        }
    }

    /// The newest file that the log may end in.
    ///
    /// Of files made since the last sync a power loss may leave any; a sync makes the names of all
    /// files durable before anything in them counts. So what lies behind a gap was never durable.
    private func behindGap(_ newest: UInt32, _ numbers: [UInt32]) -> UInt32 {
        let needed = requiredEnd.fileNumber
        guard recovery == .powerLoss, needed <= newest, numbers.contains(needed) else {
            return newest
        }
        var last = needed
        while last < newest, numbers.contains(last + 1) { last += 1 }
        return last
    }

    /// The sidecar of a file; nil if it was never written.
    ///
    /// A power loss may leave any part of the head that a new file's sidecar begins with.
    private func readSidecar(
        _ number: UInt32, mayBeTorn: Bool
    ) throws(BinlogError) -> SidecarContents? {
        let path = directory.sidecar(number)
        do throws(BinlogError) {
            return try SidecarFile.read(
                path: path, number: number, fileSystem: directory.fileSystem)
        } catch .sidecarDamaged(let path, let damage) {
            guard recovery == .powerLoss, mayBeTorn,
                try SidecarFile.provesNothing(
                    path: path, number: number, fileSystem: directory.fileSystem)
            else { throw .sidecarDamaged(path: path, damage) }
            return nil
        }
    }

    private func candidate(
        _ number: UInt32, _ sidecar: SidecarContents?
    ) throws(BinlogError) -> Candidate {
        let path = directory.data(number)
        let file = try io { () throws(FileError) in
            try directory.fileSystem.open(path, .readOnly)
        }
        let size = try io { () throws(FileError) in try file.size() }
        var start = sidecar?.startOffset
        if start == nil {
            let reader = ItemReader(file: file, offset: 0, bufferBytes: 2 * Record.blockSize)
            start = try reader.skipPadding(limit: size)
        }
        if let end = sidecar?.fileEnd?.offset, size < end, recovery != .powerLoss {
            throw .endsTooEarly(
                expected: BinlogPosition(fileNumber: number, offset: end),
                actual: BinlogPosition(fileNumber: number, offset: size), source: .sidecar)
        }
        return Candidate(
            number: number, path: path, sizeBytes: size, startOffset: start ?? 0,
            sidecar: sidecar)
    }

    // MARK: Where it ends

    private mutating func decideEnd() throws(BinlogError) -> LogScan {
        switch recovery {
        case .sameBoot, .foreignWriter:
            var scan = try structuralScan(fromIndex: run.count - 1)
            // A group may have begun in the file before.
            var index = run.count - 1
            while origin == .own, scan.groupStart != nil, scan.groupStartsAtScanStart, index > 0 {
                index -= 1
                scan = try structuralScan(fromIndex: index)
            }
            report.foundEnd = scan.mark.position
            report.verifiedEnd = scan.verified.position
            return scan
        case .powerLoss:
            return try verifiedScan()
        }
    }

    /// The place where a scan of a file begins: a proven end outside a group.
    private func scanStart(_ index: Int) -> BinlogMark {
        let candidate = run[index]
        guard let sidecar = candidate.sidecar else {
            let before = index > 0 ? run[index - 1].sidecar?.fileEnd?.digest : nil
            return candidate.start(digest: before ?? 0)
        }
        let last = sidecar.lastEnd?.offset ?? 0
        let entry = sidecar.ends.last { entry in
            (entry.kind == .published || entry.kind == .milestone)
                && entry.offset + Self.scanBytes <= last
        }
        guard let entry else { return candidate.start(digest: sidecar.startDigest) }
        return BinlogMark(
            position: BinlogPosition(fileNumber: candidate.number, offset: entry.offset),
            digest: entry.digest)
    }

    private func open(_ candidate: Candidate) throws(BinlogError) -> any File {
        try io { () throws(FileError) in
            try directory.fileSystem.open(candidate.path, .readOnly)
        }
    }

    /// Where the structure ends; anything that a killed process does not explain is an error.
    private func structuralScan(fromIndex first: Int) throws(BinlogError) -> LogScan {
        var scan = LogScan(from: scanStart(first))
        for index in first..<run.count {
            let candidate = run[index]
            let isLast = index == run.count - 1
            if index > first {
                scan.enter(
                    fileNumber: candidate.number, startOffset: candidate.startOffset,
                    claimedDigest: candidate.sidecar?.startDigest)
            }
            var limit = isLast ? candidate.sizeBytes : candidate.finishedEnd
            if recovery == .foreignWriter, isLast, let manifest {
                limit = min(limit, manifest.offset)
            }
            let claims = candidate.sidecar?.ends ?? []
            let file = try open(candidate)
            let stop = try scan.read(file, limit: limit, sidecar: candidate.sidecar)
            if let broken = scan.broken { throw broken }
            if case .damage(let error) = stop { throw error }
            if let claim = claims.last, claim.offset > scan.mark.position.offset {
                throw .endsTooEarly(
                    expected: BinlogPosition(
                        fileNumber: candidate.number, offset: claim.offset),
                    actual: scan.mark.position, source: .sidecar)
            }
            if let sidecar = candidate.sidecar { try scan.checkBegunBlock(file, sidecar) }
            if !isLast, stop != .end {
                throw .damaged(
                    path: candidate.path, offset: scan.mark.position.offset,
                    .truncated(expectedBytes: limit, actualBytes: scan.mark.position.offset))
            }
        }
        if let manifest, manifest.fileNumber == scan.mark.position.fileNumber,
            manifest.offset > scan.mark.position.offset
        {
            throw .endsTooEarly(
                expected: BinlogPosition(
                    fileNumber: manifest.fileNumber, offset: manifest.offset),
                actual: scan.mark.position, source: .manifest)
        }
        return scan
    }

    /// What the sidecars' digests confirm; the claims themselves must all hold, because they were
    /// written after the data were durable.
    private mutating func verifiedScan() throws(BinlogError) -> LogScan {
        guard let oldest = run.firstIndex(where: { $0.sidecar != nil }) else {
            throw .sidecarDamaged(
                path: directory.sidecar(run[run.count - 1].number), .missing)
        }
        let first = run.lastIndex { !($0.sidecar?.ends.isEmpty ?? true) } ?? oldest
        var index = first
        var scan = try verifiedScan(fromIndex: first)
        while origin == .own, scan.groupStart != nil, scan.groupStartsAtScanStart, index > 0,
            run[index - 1].sidecar != nil
        {
            index -= 1
            scan = try verifiedScan(fromIndex: index)
        }
        report.verifiedEnd = scan.mark.position
        return scan
    }

    private mutating func verifiedScan(fromIndex first: Int) throws(BinlogError) -> LogScan {
        var scan = LogScan(from: scanStart(first))
        for index in first..<run.count {
            let candidate = run[index]
            guard let sidecar = candidate.sidecar else { break }
            if index > first {
                scan.enter(
                    fileNumber: candidate.number, startOffset: candidate.startOffset,
                    claimedDigest: sidecar.startDigest)
                guard scan.verified == scan.mark else { break }
            }
            let isLast = index == run.count - 1
            let file = try open(candidate)
            let stop = try scan.read(
                file,
                limit: isLast
                    ? candidate.sizeBytes : min(candidate.finishedEnd, candidate.sizeBytes),
                sidecar: sidecar)
            if let broken = scan.broken { throw broken }
            if let claim = sidecar.ends.last, claim.offset > scan.mark.position.offset {
                if case .damage(let error) = stop { throw error }
                throw .endsTooEarly(
                    expected: BinlogPosition(
                        fileNumber: candidate.number, offset: claim.offset),
                    actual: scan.mark.position, source: .sidecar)
            }
            try scan.checkBegunBlock(file, sidecar)
            guard stop == .end else { break }
        }
        report.foundEnd = scan.mark.position
        scan.forgetUnverified()
        return scan
    }

    /// An own log ends with a whole group; a received one keeps what it has of it.
    private mutating func cutGroup(_ scan: inout LogScan) throws(BinlogError) {
        guard let start = scan.groupStart else { return }
        switch origin {
        case .received:
            report.incompleteGroupStart = start
        case .own:
            guard requiredEnd <= start.position else {
                throw .endsTooEarly(
                    expected: requiredEnd, actual: start.position, source: .store)
            }
            scan.cutToGroupStart()
        }
    }

    // MARK: What is changed

    private mutating func apply(_ scan: LogScan) throws(BinlogError) -> RecoveredLog {
        let end = scan.mark
        guard let index = run.firstIndex(where: { $0.number == end.position.fileNumber }) else {
            preconditionFailure("end \(end.position) is in none of the files")
        }
        let removed = run[(index + 1)...].map(\.number)
        let last = run[index]
        for candidate in run[index...] {
            let start = candidate.number == last.number ? end.position.offset : 0
            report.cutBytes += candidate.sizeBytes > start ? candidate.sizeBytes - start : 0
        }
        report.removedFiles = removed
        report.end = end.position
        if recovery == .foreignWriter { try removeSidecars() }
        let file = try openLogFile(index)
        let logicIndex =
            recovery == .foreignWriter
            ? manifest?.logicIndex ?? scan.logicIndex ?? 0
            : scan.logicIndex ?? manifest?.logicIndex ?? 0
        let manifestFile = try io { () throws(FileError) in
            let manifestFile = try ManifestFile(directory)
            try manifestFile.write(
                Manifest(
                    fileNumber: end.position.fileNumber, offset: end.position.offset,
                    logicIndex: logicIndex))
            return manifestFile
        }
        if !removed.isEmpty || last.sizeBytes != end.position.offset {
            try BinlogLog.cutFiles(
                directory, to: end, file, removing: removed, sidecarLock: Mutex(()))
        }
        return RecoveredLog(
            directory: directory, manifest: manifestFile, report: report,
            entries: entries(through: index), current: file, end: end, logicIndex: logicIndex)
    }

    private func entries(through index: Int) -> [LogState.Entry] {
        run[...index].map { candidate in
            LogState.Entry(
                number: candidate.number, startOffset: candidate.startOffset,
                endOffset: candidate.number == run[index].number ? nil : candidate.finishedEnd)
        }
    }

    private func removeSidecars() throws(BinlogError) {
        try io { () throws(FileError) in
            for name in try directory.fileSystem.list(directory.path)
            where LogNames.sidecarNumber(name) != nil {
                try directory.fileSystem.unlink(Path.join(directory.path, name))
            }
        }
    }

    private func openLogFile(_ index: Int) throws(BinlogError) -> LogFile {
        let candidate = run[index]
        let path = directory.sidecar(candidate.number)
        let start = scanStart(index)
        return try io { () throws(FileError) in
            let data = try directory.fileSystem.open(candidate.path, .readWrite)
            let sidecar: SidecarFile
            if let contents = candidate.sidecar {
                sidecar = try SidecarFile.open(
                    path: path, number: candidate.number, contents: contents,
                    fileSystem: directory.fileSystem)
            } else {
                sidecar = try SidecarFile.create(
                    path: path, number: candidate.number, start: start,
                    fileSystem: directory.fileSystem)
            }
            return LogFile(
                number: candidate.number, startOffset: candidate.startOffset, data: data,
                sidecar: sidecar)
        }
    }
}

extension BinlogLog {
    /// Opens the log in `directory`; makes an empty one if there is none.
    ///
    /// Finds the end, cuts what is torn, unverified or an incomplete own group, and makes the cut
    /// durable. Bytes that cannot be explained by a stop of the process or the machine are an
    /// error, and nothing is changed then.
    ///
    /// - Parameter requiredEnd: A position that the log must reach, because a store holds it.
    public static func open(
        directory: String, fileSystem: any FileSystem, configuration: BinlogConfiguration,
        origin: BinlogOrigin, recovery: BinlogRecovery, requiredEnd: BinlogPosition = .zero
    ) throws(BinlogError) -> BinlogLog {
        var opening = LogOpening(
            directory: LogDirectory(path: directory, fileSystem: fileSystem), origin: origin,
            recovery: recovery, requiredEnd: requiredEnd)
        return BinlogLog(try opening.open(), configuration: configuration)
    }

    /// Makes a new log in `directory` that starts at `mark`; all files of an old one are deleted.
    ///
    /// Idempotent and durable when it returns: the log reset of a switch. The part of the file
    /// before `mark` is filled as a real Pika does (spec: binlog-format 5).
    public static func create(
        directory: String, fileSystem: any FileSystem, configuration: BinlogConfiguration,
        at mark: BinlogMark
    ) throws(BinlogError) -> BinlogLog {
        let place = LogDirectory(path: directory, fileSystem: fileSystem)
        let manifest = try io { () throws(FileError) in
            try fileSystem.makeDirectory(directory)
            return try ManifestFile(place)
        }
        let file = try makeEmpty(place, at: mark, manifest)
        try io { () throws(FileError) in try place.syncParent() }
        let entry = LogState.Entry(
            number: mark.position.fileNumber, startOffset: mark.position.offset, endOffset: nil)
        var report = BinlogOpenReport()
        report.foundEnd = mark.position
        report.end = mark.position
        return BinlogLog(
            RecoveredLog(
                directory: place, manifest: manifest, report: report, entries: [entry],
                current: file, end: mark, logicIndex: 0),
            configuration: configuration)
    }
}
