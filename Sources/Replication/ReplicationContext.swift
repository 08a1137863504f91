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

    init(bytesPerSecond: UInt64) {
        self.tree = Mutex(
            BucketTree(
                bytesPerSecond: bytesPerSecond, chunkBytes: Self.chunkBytes,
                now: MonotonicInstant.now.nanoseconds))
    }

    var bytesPerSecond: UInt64 { self.tree.withLock { $0.bytesPerSecond } }

    /// The most to ask for at once, so that bursts stay within their bound.
    func grantBytes(for peer: ReplicaAddress) -> Int {
        Int(clamping: self.tree.withLock { $0.grantBytes(for: peer) })
    }

    func setRate(bytesPerSecond: UInt64) {
        self.tree.withLock {
            $0.setRate(bytesPerSecond: bytesPerSecond, now: MonotonicInstant.now.nanoseconds)
        }
    }

    /// Takes bytes; nil = granted, else the time to ask again.
    func acquire(
        _ bytes: Int, for peer: ReplicaAddress, stream: BucketTree<ReplicaAddress>.Stream
    ) -> NIODeadline? {
        let verdict = self.tree.withLock {
            $0.acquire(
                UInt64(bytes), for: peer, stream: stream, now: MonotonicInstant.now.nanoseconds)
        }
        switch verdict {
        case .granted: return nil
        case .waitUntil(let nanoseconds): return .uptimeNanoseconds(nanoseconds)
        }
    }

    func refund(
        _ bytes: Int, for peer: ReplicaAddress, stream: BucketTree<ReplicaAddress>.Stream
    ) {
        self.tree.withLock {
            $0.refund(
                UInt64(bytes), for: peer, stream: stream, now: MonotonicInstant.now.nanoseconds)
        }
    }
}

extension MonotonicInstant {
    /// The machine's monotonic clock, the same as NIO's.
    static var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: NIODeadline.now().uptimeNanoseconds)
    }
}
