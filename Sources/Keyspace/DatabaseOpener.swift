internal import Binlog
internal import FileIO
internal import PikaStorage
internal import SyncProtocol

/// Log and stores of one database, as long as they are open.
struct LiveDatabase: Sendable {
    var logState: LogState
    var stores: StoreSet
    var hooks: [StoreKind: StoreHooks]
}

/// What opening a database came to.
struct OpenedDatabase {
    var live: LiveDatabase
    var history: [HistoryEntry]
    var clock: LogClock
    /// A received log ends inside a group.
    var tracker = GroupTracker()
    /// An item that is not known here; nothing is applied from it on.
    var stoppedBy: KeyspaceError?
    var ignoredItemCount: UInt64 = 0
    var flushRules = FlushRules()
    /// A master's log was cut by a power loss: its peers must know it by another run id.
    var hasNewHistory = false
}

/// Opens one database: finds out who wrote here last, recovers log and stores.
struct DatabaseOpener {
    let files: DatabaseFiles
    let role: LogRole
    /// The machine has been running since the node file was written.
    let isSameBoot: Bool

    private var configuration: KeyspaceConfiguration { files.configuration }
    private var fileSystem: any FileSystem { configuration.fileSystem }

    func open() throws(KeyspaceError) -> OpenedDatabase {
        try files.prepare()
        let state = try StateFile.read(in: files.directory, fileSystem: fileSystem)
        let history = try HistoryFile.read(in: files.logDirectory, fileSystem: fileSystem)
        let probes = try files.probeStores()
        let textLogs = try files.foreignTextLogs()
        if let history, !history.entries.isEmpty, textLogs.isEmpty,
            !isForeign(state: state, probes: probes)
        {
            return try recover(state: state, history: history.entries, probes: probes)
        }
        if history != nil {
            files.note(.warning, "a real Pika wrote here: its end of the log counts")
        }
        return try takeOver(textLogs: textLogs)
    }

    /// True if a store is not the one that our clean stop left.
    private func isForeign(state: StateFile?, probes: [StoreKind: DatabaseFiles.Probe]) -> Bool {
        guard let state else { return false }
        return StoreKind.allCases.contains { kind in
            let mark = state.stores[Int(kind.rawValue)]
            guard let probe = probes[kind] else { return true }
            return probe.identity != mark.identity || probe.sequenceNumber != mark.sequenceNumber
        }
    }

    // MARK: A real Pika's directory, or a new one

    /// A real Pika's convention: the stores hold everything up to the end of the log.
    private func takeOver(textLogs: [String]) throws(KeyspaceError) -> OpenedDatabase {
        let log = try onLog { () throws(BinlogError) in
            try BinlogLog.open(
                directory: files.logDirectory, fileSystem: fileSystem,
                configuration: configuration.binlog,
                origin: role == .master ? .own : .received, recovery: .foreignWriter)
        }
        noteReport(log.openReport)
        let end = log.end
        let logState = LogState(log: log, published: end)
        let hooks = files.hooks(
            for: FlushGuard(logState: logState, stopProcess: configuration.stopProcess))
        let stores = try files.openStores(hooks: hooks, createIfMissing: true)
        let entry = HistoryEntry(
            id: newReplicationID(), previousEnd: .zero, previousDigest: 0, start: log.start)
        do throws(KeyspaceError) {
            if configuration.writesBinlog {
                let row = AppliedPosition(
                    historyID: HistoryID(entry.id), position: end.position, highestEffectiveNow: 0)
                try writeRows(row, to: stores)
            }
            try StateFile.remove(in: files.directory, fileSystem: fileSystem)
            for path in textLogs {
                try onFiles { () throws(FileError) in
                    try fileSystem.unlink(path)
                    try fileSystem.syncDirectory(Path.directory(of: path))
                }
            }
            // Last: without this file the next start takes over again.
            if configuration.writesBinlog {
                try HistoryFile(entries: [entry]).write(
                    in: files.logDirectory, fileSystem: fileSystem)
            }
        } catch {
            stores.close(flush: false)
            throw error
        }
        return OpenedDatabase(
            live: LiveDatabase(logState: logState, stores: stores, hooks: hooks),
            history: [entry], clock: LogClock())
    }

    private func writeRows(_ row: AppliedPosition, to stores: StoreSet) throws(KeyspaceError) {
        _ = try StoreSet.inParallel { kind throws(KeyspaceError) in
            try onStores { () throws(StorageError) in
                let store = stores[kind]
                try store.writeApplied(row)
                try store.flush(allowStall: true)
                guard try store.appliedPosition(persistedOnly: true) == row else {
                    throw .flushIncomplete(memtables: store.memtablesLeft)
                }
            }
        }
    }

    // MARK: Our own directory

    private func recover(
        state: StateFile?, history: [HistoryEntry], probes: [StoreKind: DatabaseFiles.Probe]
    ) throws(KeyspaceError) -> OpenedDatabase {
        let rows = try rows(state: state, probes: probes)
        let lostPower = state == nil && !isSameBoot
        let required = rows.values.map(\.position).max() ?? .zero
        let log = try onLog { () throws(BinlogError) in
            try BinlogLog.open(
                directory: files.logDirectory, fileSystem: fileSystem,
                configuration: configuration.binlog,
                origin: role == .master ? .own : .received,
                recovery: lostPower ? .powerLoss : .sameBoot, requiredEnd: required)
        }
        noteReport(log.openReport)
        var entries = history
        if role == .master {
            try continueAsMaster(log, &entries, lostPower: lostPower)
        } else {
            let end = log.end.position
            entries.removeAll { $0.start > end && $0 != history[0] }
        }
        if entries != history {
            try HistoryFile(entries: entries).write(
                in: files.logDirectory, fileSystem: fileSystem)
        }
        let published = log.openReport.incompleteGroupStart ?? log.end
        try check(rows, log: log, published: published.position)

        let logState = LogState(log: log, published: published)
        let hooks = files.hooks(
            for: FlushGuard(logState: logState, stopProcess: configuration.stopProcess))
        let stores = try files.openStores(hooks: hooks, createIfMissing: false)
        var opened = OpenedDatabase(
            live: LiveDatabase(logState: logState, stores: stores, hooks: hooks),
            history: entries, clock: LogClock(),
            hasNewHistory: role == .master && lostPower)
        do throws(KeyspaceError) {
            opened.flushRules =
                try FlushRulesFile.read(in: files.logDirectory, fileSystem: fileSystem)?.rules
                ?? FlushRules()
            try restoreLostRows(rows, probes: probes, stores: stores)
            try LogReplay(files: files, rows: rows, historyID: historyID(entries)).run(
                &opened, until: published)
            try StateFile.remove(in: files.directory, fileSystem: fileSystem)
        } catch {
            opened.live.stores.close(flush: false)
            throw error
        }
        return opened
    }

    /// The position of each store: its row, or what a clean stop noted if the row is lost.
    private func rows(
        state: StateFile?, probes: [StoreKind: DatabaseFiles.Probe]
    ) throws(KeyspaceError) -> [StoreKind: AppliedPosition] {
        var rows: [StoreKind: AppliedPosition] = [:]
        for kind in StoreKind.allCases {
            if let row = probes[kind]?.applied {
                rows[kind] = row
            } else if let state {
                rows[kind] = AppliedPosition(
                    historyID: .zero, position: state.applied,
                    highestEffectiveNow: state.highestEffectiveNow)
            } else {
                throw .storePositionUnknown(database: files.name, store: kind)
            }
        }
        return rows
    }

    /// After a power loss a position that may have been seen must not be used for another item:
    /// a new file and a new history begin.
    private func continueAsMaster(
        _ log: BinlogLog, _ entries: inout [HistoryEntry], lostPower: Bool
    ) throws(KeyspaceError) {
        guard lostPower || entries[entries.count - 1].start > log.end.position else { return }
        let previous = BinlogMark(position: log.lastItemEnd, digest: log.end.digest)
        var mark: BinlogMark
        repeat {
            mark = try onLog { () throws(BinlogError) in try log.startNewFile() }
        } while entries[entries.count - 1].start >= mark.position
        entries.append(
            HistoryEntry(
                id: newReplicationID(), previousEnd: previous.position,
                previousDigest: previous.digest, start: mark.position))
        files.note(
            .warning, "the machine stopped: the log goes on in a new file at \(mark.position)")
    }

    private func check(
        _ rows: [StoreKind: AppliedPosition], log: BinlogLog, published: BinlogPosition
    ) throws(KeyspaceError) {
        let oldest = log.start
        for kind in StoreKind.allCases {
            guard let position = rows[kind]?.position else { continue }
            guard position <= published else {
                throw .storeAheadOfLog(
                    database: files.name, store: kind, applied: position, end: published)
            }
            guard position >= oldest else {
                throw .logTooYoung(
                    database: files.name, store: kind, applied: position, oldest: oldest)
            }
        }
    }

    private func restoreLostRows(
        _ rows: [StoreKind: AppliedPosition], probes: [StoreKind: DatabaseFiles.Probe],
        stores: StoreSet
    ) throws(KeyspaceError) {
        for kind in StoreKind.allCases where probes[kind]?.applied == nil {
            guard let row = rows[kind] else { continue }
            try onStores { () throws(StorageError) in
                try stores[kind].writeApplied(row)
                try stores[kind].flush(allowStall: true)
            }
        }
    }

    private func noteReport(_ report: BinlogOpenReport) {
        guard report.cutBytes > 0 || !report.removedFiles.isEmpty else { return }
        files.note(
            .warning,
            "log cut from \(report.foundEnd) to \(report.end): \(report.cutBytes) bytes were torn, "
                + "unverified or an incomplete group")
    }
}

/// The id under which rows are written now.
func historyID(_ entries: [HistoryEntry]) -> HistoryID {
    entries.last.map { HistoryID($0.id) } ?? .zero
}

/// 50 random hexadecimal digits.
func newReplicationID() -> ReplicationID {
    guard let id = ReplicationID(randomHexadecimal(count: ReplicationID.byteCount)) else {
        preconditionFailure("a random id is no id")
    }
    return id
}

/// 40 random hexadecimal digits.
func newRunID() -> RunID {
    guard let id = RunID(randomHexadecimal(count: RunID.byteCount)) else {
        preconditionFailure("a random id is no id")
    }
    return id
}

private func randomHexadecimal(count: Int) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var generator = SystemRandomNumberGenerator()
    let bytes = (0..<count).map { _ in digits[Int(generator.next() & 15)] }
    return String(decoding: bytes, as: UTF8.self)
}

extension BinlogLog {
    /// The end of the last item: not the start of a file that is empty still.
    var lastItemEnd: BinlogPosition {
        let current = end.position
        for file in files().reversed() {
            let fileEnd = file.endOffset ?? current.offset
            if fileEnd > file.startOffset {
                return BinlogPosition(fileNumber: file.number, offset: fileEnd)
            }
        }
        return start
    }
}
