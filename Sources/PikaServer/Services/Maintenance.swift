import FileIO
import Keyspace
import NIOPosix
import PikaStorage
import Synchronization

/// Compactions asked for by COMPACT or by the schedule, one at a time in the background.
final class Maintenance: Sendable {
    private struct State {
        var isCompacting = false
        var lastFailure: String?
        /// When the schedule last started one: Unix seconds.
        var lastScheduledSeconds: Int64 = 0
    }

    private let databases: [Database]
    private let pool: NIOThreadPool
    private let fileSystem: any FileSystem
    private let state = Mutex(State())
    private let log: ServerLog

    init(
        databases: [Database], pool: NIOThreadPool, fileSystem: any FileSystem, log: ServerLog
    ) {
        self.databases = databases
        self.pool = pool
        self.fileSystem = fileSystem
        self.log = log
    }

    var isCompacting: Bool {
        state.withLock { $0.isCompacting }
    }

    /// Starts a compaction; false if one is running.
    @discardableResult
    func compact(databases indexes: [Int], kinds: StoreKinds) -> Bool {
        let starts = state.withLock { state in
            guard !state.isCompacting else { return false }
            state.isCompacting = true
            return true
        }
        guard starts else { return false }
        pool.submit { _ in
            for index in indexes {
                do {
                    try self.databases[index].compact(kinds)
                } catch {
                    self.log.error("compaction of db\(index) failed: \(error)")
                }
            }
            self.state.withLock { $0.isCompacting = false }
        }
        return true
    }

    /// Starts what compact-interval or compact-cron ask for; called every few seconds.
    func runSchedule(_ settings: Settings, now: ScheduleClock) {
        let interval = CompactSchedule(settings.compactInterval, form: .compactInterval)
        let cron = CompactSchedule(settings.compactCron, form: .compactCron)
        guard let schedule = interval ?? cron else { return }
        let last = state.withLock { $0.lastScheduledSeconds }
        guard schedule.isDue(now: now, lastSeconds: last),
            freePercent(settings.dbPath) >= schedule.freePercent
        else { return }
        if compact(databases: Array(databases.indices), kinds: .all) {
            state.withLock { $0.lastScheduledSeconds = now.unixSeconds }
        }
    }

    private func freePercent(_ path: String) -> Int {
        guard let space = try? fileSystem.diskSpace(path), space.totalBytes > 0 else { return 0 }
        return Int(space.availableBytes / (space.totalBytes / 100 + 1))
    }
}

/// A moment as compact-cron looks at it.
struct ScheduleClock: Sendable, Equatable {
    var unixSeconds: Int64
    /// 1 is Monday, 7 is Sunday.
    var weekDay: Int
    /// 0 to 23, local time.
    var hour: Int
}

extension CompactSchedule {
    var freePercent: Int {
        switch self {
        case .window(_, _, _, let percent), .every(_, let percent): percent
        }
    }

    /// Whether a compaction is due; a window gives one in its length, over midnight, too.
    func isDue(now: ScheduleClock, lastSeconds: Int64) -> Bool {
        switch self {
        case .every(let hours, _):
            return now.unixSeconds - lastSeconds >= Int64(hours) * 3600
        case .window(let weekDay, let start, let end, _):
            let isOvernight = start > end
            let isInside =
                isOvernight
                ? now.hour >= start || now.hour < end : now.hour >= start && now.hour < end
            guard isInside else { return false }
            if let weekDay {
                // The hours after midnight belong to the day before.
                let day = isOvernight && now.hour < end ? (now.weekDay + 5) % 7 + 1 : now.weekDay
                guard day == weekDay else { return false }
            }
            let length = isOvernight ? 24 - start + end : end - start
            return now.unixSeconds - lastSeconds >= Int64(length) * 3600
        }
    }
}
