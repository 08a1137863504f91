import Commands
import FileIO
import Keyspace
import NIOCore
import NIOPosix
import PikaStorage
import SyncProtocol
import Synchronization

/// What administrative commands ask of the server: INFO, CONFIG, replication, maintenance.
///
/// Only wires: every answer comes from the part that owns it.
final class Administration: ServerServices {
    let conf: Conf
    let keyspace: Keyspace
    let registry: ClientRegistry
    let statistics: Statistics
    let scanner: KeyScanner
    let maintenance: Maintenance
    let replication: (any ReplicationControl)?
    let fileSystem: any FileSystem
    /// Of the databases and of the logs.
    let directorySizes: DirectorySizes
    let startedSeconds: Int64
    let log: ServerLog
    private let timers: any EventLoopGroup
    private let redisItems = RedisItems()
    /// Slow commands go into the process's log, too (`slowlog-write-errorlog`).
    let slowLogIsWritten = Atomic<Bool>(false)
    private let stop: @Sendable () -> Void
    /// The command path, which is made after this part that it calls.
    let environment = Mutex<CommandEnvironment?>(nil)

    init(_ parts: Parts, stop: @escaping @Sendable () -> Void) {
        conf = parts.conf
        keyspace = parts.keyspace
        registry = parts.registry
        statistics = parts.statistics
        scanner = parts.scanner
        maintenance = parts.maintenance
        replication = parts.replication
        fileSystem = parts.fileSystem
        log = parts.log
        timers = parts.timers
        let pool = parts.pool
        directorySizes = DirectorySizes(
            of: [parts.conf.settings.dbPath, parts.conf.settings.logPath], parts.fileSystem,
            nowMilliseconds: ServerClock.monotonicMilliseconds()
        ) { body in pool.submit { _ in body() } }
        startedSeconds = ServerClock.unixSeconds()
        self.stop = stop
    }

    /// What the administration joins.
    struct Parts {
        var conf: Conf
        var keyspace: Keyspace
        var registry: ClientRegistry
        var statistics: Statistics
        var scanner: KeyScanner
        var maintenance: Maintenance
        var replication: (any ReplicationControl)?
        var fileSystem: any FileSystem
        var log: ServerLog
        var timers: any EventLoopGroup
        var pool: NIOThreadPool
    }

    var role: ServerRole {
        replication?.role ?? .master
    }

    // MARK: Connections

    func authenticate(user: String?, password: UnsafeRawBufferPointer) -> AccessLevel? {
        let settings = conf.settings
        func isRight(_ expected: String) -> Bool {
            !expected.isEmpty && Self.isEqual(Array(expected.utf8), password)
        }
        if user == nil || user == "default" {
            if isRight(settings.requirePass) { return .administrator }
            if isRight(settings.userPass) { return .user }
        } else if user == "limit", isRight(settings.userPass) {
            // 3.5.5 calls the user of userpass so.
            return .user
        }
        return nil
    }

    /// Compares in a time that does not tell how much of a password was right.
    static func isEqual(_ expected: [UInt8], _ found: UnsafeRawBufferPointer) -> Bool {
        var difference = expected.count ^ found.count
        for index in found.indices {
            difference |= Int(found[index] ^ expected[index % expected.count])
        }
        return difference == 0
    }

    func clients() -> [ClientRecord] { registry.records }

    func kill(clientIDs: [UInt64]) { registry.close(clientIDs) }

    func noteSlow(command: String, microseconds: Int64, client: ClientRecord) {
        guard slowLogIsWritten.load(ordering: .relaxed) else { return }
        log.warning("slow command: \(command), \(microseconds) us, from \(client.address)")
    }

    func replicaCount(database: Int, having position: BinlogPosition) -> Int {
        replication?.replicaCount(database: database, having: position) ?? 0
    }

    func after(milliseconds: Int64, _ body: @escaping @Sendable () -> Void) {
        let delay = TimeAmount.milliseconds(min(milliseconds, Self.longestDelayMilliseconds))
        timers.next().scheduleTask(in: delay, body)
    }

    /// A century, which the clock of the timers can hold.
    private static let longestDelayMilliseconds: Int64 = 100 * 365 * 86_400_000

    func shutdown(client: ClientRecord) -> AdminReply? {
        log.info("SHUTDOWN from \(client.address)")
        stop()
        return nil
    }

    // MARK: Settings

    func configGet(patterns: [String]) -> [(name: String, value: String)] {
        // Names are lower case, so a lower-case pattern makes it case-insensitive.
        let lowered = patterns.map { Array($0.lowercased().utf8) }
        func matches(_ name: String) -> Bool {
            let bytes = Array(name.utf8)
            return bytes.withUnsafeBytes { name in
                lowered.contains { pattern in
                    pattern.withUnsafeBytes { GlobPattern($0).matches(name) }
                }
            }
        }
        return conf.items(matching: matches) + redisItems.items(matching: matches)
    }

    func configSet(_ pairs: [(name: String, value: String)]) -> AdminReply {
        for (index, pair) in pairs.enumerated() {
            let name = pair.name.lowercased()
            if pairs[..<index].contains(where: { $0.name.lowercased() == name }) {
                return .error(Self.failedSet(pair.name, "duplicate parameter"))
            }
        }
        let (others, own) = pairs.partitioned { redisItems.isItem($0.name.lowercased()) }
        for (name, value) in others where !redisItems.accepts(name.lowercased(), value) {
            return .error("ERR Invalid argument '\(value)' for CONFIG SET '\(name)'")
        }
        do throws(Conf.SetError) {
            if !own.isEmpty { try conf.set(own) }
            for (name, value) in others { redisItems.set(name.lowercased(), to: value) }
            checkMemory()
            return .ok
        } catch {
            switch error {
            case .unsupported(let name) where ConfTable.index(of: name) != nil:
                return .error(Self.failedSet(name, "can't set immutable config"))
            case .unsupported(let name):
                return .error("ERR Unsupported CONFIG parameter: \(name)")
            case .invalid(let name, _, _) where name.lowercased() == "notify-keyspace-events":
                return .error(Self.failedSet(name, EventClasses.fault))
            case .invalid(let name, let value, _):
                return .error("ERR Invalid argument '\(value)' for CONFIG SET '\(name)'")
            }
        }
    }

    private static func failedSet(_ name: String, _ reason: String) -> String {
        "ERR CONFIG SET failed (possibly related to argument '\(name)') - \(reason)"
    }

    /// Has commands that may make data grow refused while the process is above `maxmemory`.
    func checkMemory() {
        let limit = redisItems.memoryLimitBytes
        let isAbove = limit > 0 && ProcessLimits.residentBytes() > limit
        environment.withLock { $0?.refusesGrowth.store(isAbove, ordering: .relaxed) }
    }

    func configRewrite() -> AdminReply {
        do throws(ConfError) {
            try conf.rewrite()
            return .ok
        } catch {
            log.error("CONFIG REWRITE failed: \(error)")
            return .error("ERR Rewriting config file: \(error)")
        }
    }

    func configResetStatistics() -> AdminReply {
        environment.withLock { $0 }?.resetCounts()
        resetTotals()
        return .ok
    }

    // MARK: Data

    func compact(databases: [Int], kinds: StoreKinds) -> AdminReply {
        guard !scanner.isRunning else {
            return .error("ERR The info keyspace operation is executing, Try again later")
        }
        maintenance.compact(databases: databases, kinds: kinds)
        return .ok
    }

    func keyCount(database: Int) -> Int64 {
        Int64(clamping: scanner.results[database].keys)
    }

    func diskRecovery() -> AdminReply {
        let settings = conf.settings
        do throws(FileError) {
            let space = try fileSystem.diskSpace(settings.dbPath)
            guard space.availableBytes >= UInt64(settings.leastFreeDiskBytes) else {
                return .error("ERR The available disk capacity is insufficient")
            }
        } catch {
            return .error("ERR \(error)")
        }
        for database in keyspace.databases {
            do throws(KeyspaceError) {
                try database.recoverDisk()
            } catch {
                log.error("DISKRECOVERY of \(database.name) failed: \(error)")
                return .error("ERR \(database.name): \(error)")
            }
        }
        return .ok
    }
}

extension Array {
    /// The elements for which `isFirst` holds, and the others, each in their order.
    fileprivate func partitioned(by isFirst: (Element) -> Bool) -> (first: [Element], [Element]) {
        (filter(isFirst), filter { !isFirst($0) })
    }
}
