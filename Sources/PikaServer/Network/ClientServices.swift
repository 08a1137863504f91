import Commands
import NIOPosix
import Synchronization

/// What every connection may need of the server, whatever its loop.
final class ClientServices: Sendable {
    let registry: ClientRegistry
    let slowPool: NIOThreadPool
    let environment: CommandEnvironment
    private let queryBufferLimit: Atomic<Int>

    init(
        registry: ClientRegistry, slowPool: NIOThreadPool, environment: CommandEnvironment,
        queryBufferLimitBytes: Int
    ) {
        self.registry = registry
        self.slowPool = slowPool
        self.environment = environment
        queryBufferLimit = Atomic(queryBufferLimitBytes)
    }

    /// Input that one client may have waiting (`max-conn-rbuf-size`); live.
    var queryBufferLimitBytes: Int {
        get { queryBufferLimit.load(ordering: .relaxed) }
        set { queryBufferLimit.store(newValue, ordering: .relaxed) }
    }
}
