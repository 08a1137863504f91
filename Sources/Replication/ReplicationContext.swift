internal import FileIO
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import RateLimit
internal import ReplicationCore
internal import SyncProtocol
internal import Synchronization

/// What both halves of the replication side share.
struct ReplicationContext: Sendable {
    let keyspace: Keyspace
    let keyspaceConfiguration: KeyspaceConfiguration
    let configuration: ReplicationConfiguration
    let settings: SettingsBox
    /// The replication loop: all connections, machines and timers live on it.
    let loop: any EventLoop
    /// For what blocks.
    let pool: NIOThreadPool
    /// Limits what this process sends.
    let sending: Limiter
    let logger: Logger
    /// This process in a chain of replicas.
    let nodeID = NodeID(rawValue: UInt64.random(in: 1...UInt64.max))

    /// Reads what lies in the directory of a snapshot of a former process.
    ///
    /// Blocks.
    func readSnapshot(_ directory: String) throws(KeyspaceError) -> Snapshot {
        try Keyspace.readSnapshot(directory, configuration: self.keyspaceConfiguration)
    }

    func database(named name: String) -> Database? {
        self.keyspace.databases.first { $0.name == name }
    }
}

/// A bandwidth limit of the process, usable from any thread.
final class Limiter: Sendable {
    /// The largest single request: what a real Pika asks for at once.
    static let chunkBytes: UInt64 = 4 << 20

    private let tree: Mutex<BucketTree<ReplicaAddress>>
    /// Tells the time; deadlines are of its clock.
    private let loop: any EventLoop

    init(bytesPerSecond: UInt64, loop: any EventLoop) {
        self.loop = loop
        self.tree = Mutex(
            BucketTree(
                bytesPerSecond: bytesPerSecond, chunkBytes: Self.chunkBytes,
                now: loop.instant.nanoseconds))
    }

    var bytesPerSecond: UInt64 { self.tree.withLock { $0.bytesPerSecond } }

    /// The most to ask for at once, so that bursts stay within their bound.
    func grantBytes(for peer: ReplicaAddress) -> Int {
        Int(clamping: self.tree.withLock { $0.grantBytes(for: peer) })
    }

    func setRate(bytesPerSecond: UInt64) {
        let now = self.loop.instant.nanoseconds
        self.tree.withLock { $0.setRate(bytesPerSecond: bytesPerSecond, now: now) }
    }

    /// Takes bytes; nil = granted, else the time to ask again.
    func acquire(
        _ bytes: Int, for peer: ReplicaAddress, stream: BucketTree<ReplicaAddress>.Stream
    ) -> NIODeadline? {
        let now = self.loop.instant.nanoseconds
        let verdict = self.tree.withLock {
            $0.acquire(UInt64(bytes), for: peer, stream: stream, now: now)
        }
        switch verdict {
        case .granted: return nil
        case .waitUntil(let nanoseconds): return .uptimeNanoseconds(nanoseconds)
        }
    }

    func refund(
        _ bytes: Int, for peer: ReplicaAddress, stream: BucketTree<ReplicaAddress>.Stream
    ) {
        let now = self.loop.instant.nanoseconds
        self.tree.withLock {
            $0.refund(UInt64(bytes), for: peer, stream: stream, now: now)
        }
    }
}

extension EventLoop {
    /// The time of this loop: all that replication knows of time, and a test's to move.
    ///
    /// Safe from any thread.
    var instant: MonotonicInstant {
        MonotonicInstant(nanoseconds: self.now.uptimeNanoseconds)
    }
}
