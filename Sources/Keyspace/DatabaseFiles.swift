internal import Binlog
internal import FileIO
internal import PikaStorage
internal import Synchronization

/// Where one database's files lie, and how its stores are opened.
struct DatabaseFiles: Sendable {
    let index: Int
    let name: String
    let configuration: KeyspaceConfiguration
    let backgroundErrors: BackgroundErrors

    init(index: Int, configuration: KeyspaceConfiguration, backgroundErrors: BackgroundErrors) {
        self.index = index
        self.configuration = configuration
        self.backgroundErrors = backgroundErrors
        name = "db\(index)"
    }

    var fileSystem: any FileSystem { configuration.fileSystem }
    var directory: String { Path.join(configuration.databasePath, name) }
    var backupDirectory: String { directory + "_bak" }
    var logDirectory: String { Path.join(configuration.logPath, "log_" + name) }

    func storeDirectory(_ kind: StoreKind) -> String { Path.join(directory, kind.directoryName) }
    /// A store that takes the place of another, or the one whose place was taken.
    func newStoreDirectory(_ kind: StoreKind) -> String { storeDirectory(kind) + ".new" }

    func note(_ level: KeyspaceNote.Level, _ text: String) {
        configuration.note(KeyspaceNote(level: level, database: name, text: text))
    }

    /// Makes the directories and removes what an interrupted FLUSHDB left.
    func prepare() throws(KeyspaceError) {
        try onFiles { () throws(FileError) in
            try fileSystem.makeDirectory(directory)
            try fileSystem.makeDirectory(logDirectory)
        }
        try removeReplacedStores()
    }

    func removeReplacedStores() throws(KeyspaceError) {
        for kind in StoreKind.allCases {
            try onFiles { () throws(FileError) in
                try fileSystem.removeTree(newStoreDirectory(kind))
            }
        }
    }

    /// RocksDB's text logs: only a real Pika writes them.
    func foreignTextLogs() throws(KeyspaceError) -> [String] {
        var paths: [String] = []
        for kind in StoreKind.allCases {
            let directory = storeDirectory(kind)
            try onFiles { () throws(FileError) in
                guard try fileSystem.exists(directory) else { return }
                for name in try fileSystem.list(directory) {
                    if name == "LOG" || name.hasPrefix("LOG.old") {
                        paths.append(Path.join(directory, name))
                    }
                }
            }
        }
        return paths
    }

    // MARK: Stores

    /// What a store is before it is opened for writing.
    struct Probe: Sendable {
        var sequenceNumber: UInt64
        var identity: String
        var applied: AppliedPosition?
        /// The reserved row is there and can't be read.
        var appliedFault: String?
    }

    /// Looks into the stores without changing anything; a missing store is not in the answer.
    func probeStores() throws(KeyspaceError) -> [StoreKind: Probe] {
        let found = try StoreSet.inParallel { kind throws(KeyspaceError) -> Probe? in
            let path = storeDirectory(kind)
            let exists = try onFiles { () throws(FileError) in
                try fileSystem.exists(Path.join(path, "CURRENT"))
            }
            guard exists else { return nil }
            return try onStores { () throws(StorageError) in
                let store = try Store.openReadOnly(
                    path: path, kind: kind, environment: configuration.environment)
                defer { store.close(flush: false) }
                var probe = Probe(
                    sequenceNumber: store.sequenceNumber, identity: try store.identity())
                do throws(StorageError) {
                    probe.applied = try store.appliedPosition()
                } catch .corruptAppliedRow(let fault) {
                    probe.appliedFault = "\(fault)"
                }
                return probe
            }
        }
        return found.compactMapValues { $0 }
    }

    func openStore(
        _ kind: StoreKind, at path: String, hooks: StoreHooks, createIfMissing: Bool
    ) throws(KeyspaceError) -> Store {
        var options = configuration.store
        options.createIfMissing = createIfMissing
        options.writeAheadLog = !configuration.writesBinlog
        options.filterClock = configuration.writesBinlog ? .horizon : .wall
        let wanted = options
        return try onStores { () throws(StorageError) in
            let store = try Store.open(
                path: path, kind: kind, options: wanted, environment: configuration.environment,
                hooks: hooks)
            do throws(StorageError) {
                try store.removeUnseen()
            } catch {
                store.close(flush: false)
                throw error
            }
            return store
        }
    }

    /// Opens all stores at the same time.
    func openStores(
        hooks: [StoreKind: StoreHooks], createIfMissing: Bool
    ) throws(KeyspaceError) -> StoreSet {
        let opened = Opened()
        do throws(KeyspaceError) {
            _ = try StoreSet.inParallel { kind throws(KeyspaceError) in
                let store = try openStore(
                    kind, at: storeDirectory(kind), hooks: hooks[kind] ?? StoreHooks(),
                    createIfMissing: createIfMissing)
                opened.stores.withLock { $0.append(store) }
            }
        } catch {
            for store in opened.stores.withLock({ $0 }) { store.close(flush: false) }
            throw error
        }
        let stores = opened.stores.withLock { $0 }
        return StoreSet(stores.sorted { $0.kind.rawValue < $1.kind.rawValue })
    }

    /// The hooks of all stores on top of a log.
    func hooks(for guardian: FlushGuard) -> [StoreKind: StoreHooks] {
        var hooks: [StoreKind: StoreHooks] = [:]
        for kind in StoreKind.allCases {
            let errors = backgroundErrors
            var hook = StoreHooks()
            if configuration.writesBinlog { hook.onFlushBegin = { guardian.beforeFlush() } }
            hook.onBackgroundError = { fault in errors.record(kind, fault.message) }
            hooks[kind] = hook
        }
        return hooks
    }

    /// Puts empty stores, which hold nothing but the row `applied`, in the place of `kinds`.
    ///
    /// At any crash each store is either the old one or the new one with its row. The replaced
    /// stores remain as `<type>.new` until ``removeReplacedStores()``.
    func replaceByEmpty(
        _ kinds: StoreKinds, of stores: StoreSet, hooks: [StoreKind: StoreHooks],
        applied: AppliedPosition?
    ) throws(KeyspaceError) -> StoreSet {
        try sealEmpty(try makeEmpty(kinds, hooks: hooks), applied: applied)
        return try exchangeEmpty(kinds, of: stores, hooks: hooks)
    }

    /// Makes empty stores beside those in use, and leaves them open: the part of a FLUSHDB that
    /// takes longest, for which nobody has to wait.
    func makeEmpty(
        _ kinds: StoreKinds, hooks: [StoreKind: StoreHooks]
    ) throws(KeyspaceError) -> [Store] {
        let opened = Opened()
        do throws(KeyspaceError) {
            _ = try StoreSet.inParallel(kinds) { kind throws(KeyspaceError) in
                let path = newStoreDirectory(kind)
                try onFiles { () throws(FileError) in try fileSystem.removeTree(path) }
                let store = try openStore(
                    kind, at: path, hooks: hooks[kind] ?? StoreHooks(), createIfMissing: true)
                opened.stores.withLock { $0.append(store) }
            }
        } catch {
            for store in opened.stores.withLock({ $0 }) { store.close(flush: false) }
            throw error
        }
        return opened.stores.withLock { $0 }
    }

    /// Gives new empty stores their row, and closes them, whatever happens; nothing else is changed
    /// by a failure.
    func sealEmpty(_ stores: [Store], applied: AppliedPosition?) throws(KeyspaceError) {
        let kinds = stores.reduce(into: StoreKinds()) { $0.insert(StoreKinds($1.kind)) }
        _ = try StoreSet.inParallel(kinds) { kind throws(KeyspaceError) in
            guard let store = stores.first(where: { $0.kind == kind }) else { return }
            defer { store.close(flush: false) }
            try onStores { () throws(StorageError) in
                if let applied { try store.writeApplied(applied) }
                try store.flush(allowStall: true)
                guard try store.appliedPosition(persistedOnly: true) == applied else {
                    throw .flushIncomplete(memtables: store.memtablesLeft)
                }
            }
        }
    }

    /// Exchanges stores with those built beside them, and opens the new ones.
    func exchangeEmpty(
        _ kinds: StoreKinds, of stores: StoreSet, hooks: [StoreKind: StoreHooks]
    ) throws(KeyspaceError) -> StoreSet {
        _ = try StoreSet.inParallel(kinds) { kind throws(KeyspaceError) in
            _ = stores[kind].close(flush: false)
        }
        for kind in StoreKind.allCases where kinds.has(kind) {
            try onFiles { () throws(FileError) in
                try fileSystem.exchange(storeDirectory(kind), newStoreDirectory(kind))
            }
        }
        try onFiles { () throws(FileError) in try fileSystem.syncDirectory(directory) }
        let opened = try StoreSet.inParallel(kinds) { kind throws(KeyspaceError) in
            try openStore(
                kind, at: storeDirectory(kind), hooks: hooks[kind] ?? StoreHooks(),
                createIfMissing: false)
        }
        for kind in opened.keys { backgroundErrors.clear(kind) }
        return stores.replacing(Array(opened.values))
    }
}

private final class Opened: Sendable {
    let stores = Mutex<[Store]>([])
}

/// The last background error of each store.
final class BackgroundErrors: Sendable {
    private let texts = Mutex<[StoreKind: String]>([:])

    func record(_ kind: StoreKind, _ text: String) { texts.withLock { $0[kind] = text } }
    func clear(_ kind: StoreKind) { texts.withLock { $0[kind] = nil } }
    func clearAll() { texts.withLock { $0 = [:] } }
    subscript(kind: StoreKind) -> String? { texts.withLock { $0[kind] } }
}
