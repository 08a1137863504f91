import Commands
import NIOCore
import Synchronization

/// The connections of all loops, for CLIENT LIST, CLIENT KILL and the limit of connections.
final class ClientRegistry: Sendable {
    private struct Entry {
        let record: ClientRecord
        let channel: any Channel
    }

    private struct State {
        var entries: [UInt64: Entry] = [:]
        var nextID: UInt64 = 1
        var maxClients: Int
        var rootConnections: Int
    }

    private let state: Mutex<State>
    private let ownHosts: Set<String>

    /// - Parameter ownHosts: addresses of this host, whose clients may use the extra connections.
    init(maxClients: Int, rootConnections: Int, ownHosts: Set<String>) {
        state = Mutex(State(maxClients: maxClients, rootConnections: rootConnections))
        self.ownHosts = ownHosts
    }

    /// Changes the limits; connections that are here stay.
    func setLimits(maxClients: Int, rootConnections: Int) {
        state.withLock {
            $0.maxClients = maxClients
            $0.rootConnections = rootConnections
        }
    }

    /// Takes a connection in, unless there are too many.
    func register(
        _ channel: any Channel, host: String, makeRecord: (UInt64) -> ClientRecord
    ) -> ClientRecord? {
        state.withLock { state in
            let extra = ownHosts.contains(host) ? state.rootConnections : 0
            guard state.entries.count < state.maxClients + extra else { return nil }
            let record = makeRecord(state.nextID)
            state.nextID += 1
            state.entries[record.id] = Entry(record: record, channel: channel)
            return record
        }
    }

    func remove(_ id: UInt64) {
        _ = state.withLock { $0.entries.removeValue(forKey: id) }
    }

    var count: Int {
        state.withLock { $0.entries.count }
    }

    /// All connections, oldest first.
    var records: [ClientRecord] {
        state.withLock { $0.entries.values.map(\.record) }.sorted { $0.id < $1.id }
    }

    /// Closes connections.
    func close(_ ids: [UInt64]) {
        let channels = state.withLock { state in ids.compactMap { state.entries[$0]?.channel } }
        for channel in channels { channel.close(promise: nil) }
    }
}
