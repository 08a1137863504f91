import Commands
import NIOPosix
import Synchronization

/// What every connection may need of the server, whatever its loop.
final class ClientServices: Sendable {
    let registry: ClientRegistry
    let slowPool: NIOThreadPool
    let environment: CommandEnvironment
    private let queryBufferLimit: Atomic<Int>
    private let limitsOfPushes = Mutex(PushLimits())

    init(
        registry: ClientRegistry, slowPool: NIOThreadPool, environment: CommandEnvironment,
        queryBufferLimitBytes: Int
    ) {
        self.registry = registry
        self.slowPool = slowPool
        self.environment = environment
        queryBufferLimit = Atomic(queryBufferLimitBytes)
    }

    /// Messages that may wait for a connection that listens; live.
    var pushLimits: PushLimits {
        get { limitsOfPushes.withLock { $0 } }
        set { limitsOfPushes.withLock { $0 = newValue } }
    }

    /// Input that one client may have waiting (`max-conn-rbuf-size`); live.
    var queryBufferLimitBytes: Int {
        get { queryBufferLimit.load(ordering: .relaxed) }
        set { queryBufferLimit.store(newValue, ordering: .relaxed) }
    }
}
