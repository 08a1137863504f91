internal import FileIO
internal import Glibc
internal import Keyspace
internal import Logging
internal import NIOPosix
internal import Synchronization

/// BGSAVE and SAVE: dumps `<dump-path><dump-prefix>YYYYMMDD/dbN/…` that a real Pika can open.
final class DumpWriter: Sendable {
    private let context: ReplicationContext
    private let state = Mutex(BackgroundSaveStatus())

    /// A dump that is being written, or the former one of the day that is being removed.
    private static let unfinishedSuffix = "_UNFINISHED"
    private static let replacedSuffix = "_REPLACED"

    init(context: ReplicationContext) {
        self.context = context
    }

    var status: BackgroundSaveStatus { self.state.withLock { $0 } }

    /// Starts a dump on the pool.
    func begin(databases: [Int]) throws(ReplicationError) {
        let (indexes, started) = try self.claim(databases)
        self.context.pool.submit { _ in _ = self.write(indexes, started: started) }
    }

    /// Makes a dump and returns when it is whole.
    ///
    /// Blocks.
    func save(databases: [Int]) throws(ReplicationError) {
        let (indexes, started) = try self.claim(databases)
        if let failure = self.write(indexes, started: started) {
            throw ReplicationError(.storage, "the snapshot failed", cause: failure)
        }
    }

    /// Keeps others from dumping until `write` is done.
    private func claim(
        _ databases: [Int]
    ) throws(ReplicationError) -> (indexes: [Int], started: Int64) {
        let all = Array(self.context.keyspace.databases.indices)
        let indexes = databases.isEmpty ? all : databases
        guard indexes.allSatisfy(all.contains) else {
            throw ReplicationError(.badArgument, "no such database")
        }
        let started = SnapshotStorage.wallSeconds()
        let isFree = self.state.withLock { state in
            guard !state.isRunning else { return false }
            state.isRunning = true
            state.startedAtSeconds = started
            return true
        }
        guard isFree else {
            throw ReplicationError(.busy, "Background save already in progress")
        }
        return (indexes, started)
    }

    /// Returns why it failed.
    private func write(_ indexes: [Int], started: Int64) -> String? {
        let target = self.dayPath(started)
        var failure: String?
        do {
            try self.write(indexes, target: target)
        } catch {
            failure = "\(error)"
            self.context.logger.error("BGSAVE failed", metadata: ["error": "\(error)"])
        }
        let finished = SnapshotStorage.wallSeconds()
        self.state.withLock { [failure] state in
            state.isRunning = false
            state.lastDurationSeconds = Int(max(0, finished - started))
            state.lastFailure = failure
            if failure == nil { state.lastDirectory = target }
        }
        return failure
    }

    /// Writes beside, then takes the place of the former dump of the day.
    private func write(_ indexes: [Int], target: String) throws {
        let fileSystem = self.context.configuration.fileSystem
        let parent = Path.directory(of: target)
        try fileSystem.makeDirectory(parent)
        let fresh = target + Self.unfinishedSuffix
        let old = target + Self.replacedSuffix
        try fileSystem.removeTree(fresh)
        try fileSystem.removeTree(old)
        _ = try self.context.keyspace.cutSnapshot(
            databases: indexes, into: fresh,
            host: SnapshotStorage(context: self.context).announcedHost,
            port: self.context.configuration.port)
        if try fileSystem.exists(target) { try fileSystem.rename(target, to: old) }
        try fileSystem.rename(fresh, to: target)
        try fileSystem.syncDirectory(parent)
        try fileSystem.removeTree(old)
        self.context.logger.info("BGSAVE done", metadata: ["path": "\(target)"])
    }

    /// `<dump-path><dump-prefix>YYYYMMDD`, local time as real Pika.
    private func dayPath(_ seconds: Int64) -> String {
        let configuration = self.context.configuration
        return Path.join(
            configuration.dumpPath, configuration.dumpPrefix + Self.day(seconds))
    }

    static func day(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var parts = tm()
        localtime_r(&time, &parts)
        let day = (Int(parts.tm_year) + 1_900) * 10_000 + (Int(parts.tm_mon) + 1) * 100
        return String(day + Int(parts.tm_mday))
    }

    /// Removes dumps older than so many days; 0 = never (`dump-expire`).
    ///
    /// Blocks.
    func removeExpired(days: Int) {
        guard days > 0 else { return }
        let configuration = self.context.configuration
        let limit = Self.day(SnapshotStorage.wallSeconds() - Int64(days) * 86_400)
        let names = (try? configuration.fileSystem.list(configuration.dumpPath)) ?? []
        for name in names where name.hasPrefix(configuration.dumpPrefix) {
            let day = name.dropFirst(configuration.dumpPrefix.count)
            guard day.count == 8, day.allSatisfy(\.isNumber), day < limit else { continue }
            let path = Path.join(configuration.dumpPath, name)
            do {
                try configuration.fileSystem.removeTree(path)
                self.context.logger.info("old dump removed", metadata: ["path": "\(path)"])
            } catch {
                self.context.logger.warning(
                    "old dump not removed",
                    metadata: [
                        "path": "\(path)", "error": "\(error)",
                    ])
            }
        }
    }
}
