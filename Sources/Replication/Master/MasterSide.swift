internal import Keyspace
internal import NIOCore
internal import NIOPosix
internal import SyncProtocol
internal import Synchronization

/// The master's half of ``ReplicationService``.
final class MasterSide: Sendable {
    let context: ReplicationContext
    private let published = Mutex(MasterStatus())

    init(context: ReplicationContext) {
        self.context = context
    }

    func start() throws(ReplicationError) {}
    func shutdown() {}
    func backgroundSave(databases: [Int]) throws(ReplicationError) {}
    func purgeLogs(database: Int, upTo fileNumber: UInt32) throws(ReplicationError) {}
    func settingsChanged() {}
    func status() -> MasterStatus { self.published.withLock { $0 } }
}
