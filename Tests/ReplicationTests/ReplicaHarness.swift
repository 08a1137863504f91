import Binlog
import FileIO
import Foundation
import Keyspace
import Logging
import NIOCore
import NIOPosix
import PikaStorage
import ReplicationCore
import SyncProtocol
import Testing

@testable import Replication

/// A replica in this process: a keyspace in a directory of its own, and the replica's side.
final class ReplicaHarness: Sendable {
    let directory: String
    let port: Int
    let keyspace: Keyspace
    let keyspaceConfiguration: KeyspaceConfiguration
    let link: ReplicaLink
    let limiter: ReceiveLimiter
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let pool = NIOThreadPool(numberOfThreads: 2)
    private let ownsDirectory: Bool

    init(
        directory: String? = nil, port: Int = 19_931, databases: Int = 1,
        bytesPerSecond: UInt64 = 0, fileSystem: any FileSystem = RealFileSystem(),
        change: (inout ReplicaConfiguration) -> Void = { _ in }
    ) throws {
        self.ownsDirectory = directory == nil
        self.directory = directory ?? Self.makeDirectory()
        self.port = port
        let database = "\(self.directory)/db"
        let staging = "\(self.directory)/dbsync"
        var configuration = KeyspaceConfiguration(
            databasePath: database, logPath: "\(self.directory)/log",
            fileSystem: RealFileSystem(),
            environment: StoreEnvironment(blockCacheBytes: 8 << 20, writeBufferBytes: 64 << 20))
        configuration.databaseCount = databases
        self.keyspaceConfiguration = configuration
        try ReplicaStartup.finishSwitches(
            resumeDirectory: database, stagingPath: staging, keyspaceConfiguration: configuration)
        self.keyspace = try Keyspace.open(configuration)
        self.pool.start()
        self.limiter = ReceiveLimiter(
            bytesPerSecond: bytesPerSecond, now: self.group.next().instant.nanoseconds)
        var replica = ReplicaConfiguration(
            ownPort: port, stagingPath: staging, resumePath: database, databasePath: database)
        // What a recorded master is asked must not depend on how slow the machine is.
        replica.firstSignTimeout = .seconds(60)
        change(&replica)
        var logger = Logger(label: "replica")
        logger.logLevel =
            ProcessInfo.processInfo.environment["PIKA_TEST_LOG"] == nil ? .critical : .debug
        self.link = ReplicaLink(
            replica,
            ReplicaEnvironment(
                keyspace: self.keyspace, keyspaceConfiguration: configuration,
                fileSystem: fileSystem, eventLoop: self.group.next(), pool: self.pool,
                limiter: self.limiter, logger: logger))
    }

    static func makeDirectory() -> String {
        let path = NSTemporaryDirectory() + "pika-replica-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
        return path
    }

    /// Stops everything; the directory stays if it was given or `keeps`.
    func stop(keeps: Bool = false) {
        self.link.shutdown()
        self.keyspace.close()
        try? self.pool.syncShutdownGracefully()
        try? self.group.syncShutdownGracefully()
        if self.ownsDirectory, !keeps {
            try? FileManager.default.removeItem(atPath: self.directory)
        }
    }

    var databases: [Database] { self.keyspace.databases }

    func status(_ index: Int = 0) -> ReplicaStatus.Database? {
        let databases = self.link.status().databases
        return index < databases.count ? databases[index] : nil
    }

    /// Waits for a condition; false after the time limit.
    func wait(
        seconds: Double = 20, _ condition: () throws -> Bool
    ) rethrows -> Bool {
        let end = Date().addingTimeInterval(seconds)
        while Date() < end {
            if try condition() { return true }
            usleep(10_000)
        }
        return try condition()
    }

    func waitForPhase(
        _ phase: ReplicaStatus.Phase, _ index: Int = 0, seconds: Double = 20
    ) -> Bool {
        self.wait(seconds: seconds) { self.status(index)?.phase == phase }
    }

    func waitUntilApplied(
        _ position: BinlogPosition, _ index: Int = 0, seconds: Double = 20
    ) -> Bool {
        self.wait(seconds: seconds) { self.databases[index].published >= position }
    }

    /// A string value, or nil.
    func string(_ key: String, _ index: Int = 0) throws -> String? {
        let reader = self.databases[index].makeReader()
        let now = Int64(Date().timeIntervalSince1970)
        var found: String?
        try Array(key.utf8).withUnsafeBytes { key in
            found = try Strings(reader.strings).withValue(key, now: now) { value, _ in
                value.map { String(decoding: $0, as: UTF8.self) }
            }
        }
        return found
    }

    /// All live keys of a kind.
    func keyCount(_ kind: StoreKind, _ index: Int = 0) throws -> UInt64 {
        try self.databases[index].countKeys(kind).keys
    }
}
