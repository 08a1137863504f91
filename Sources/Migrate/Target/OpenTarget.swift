internal import FileIO
internal import MigrateCore

/// A target that was connected to and asked what it is.
struct OpenTarget: Sendable {
    let server: TargetServer
    /// For the engine.
    let state: any TargetMemory
    /// For checkpoints, beside it.
    let keeperState: any TargetMemory
    /// The same for a cluster's workers; nil = it is none.
    let cluster: ClusterMemory?
    /// The same for the worker of a file of commands; nil = it is none.
    var log: CommandLog?
    private let closing: @Sendable () -> Void

    func close() { self.closing() }

    /// Connects to a target of any kind.
    ///
    /// - Parameter known: More nodes of a cluster.
    static func open(
        _ endpoint: Endpoint, job: String, known: [RedisAddress]
    ) async throws(RunError) -> OpenTarget {
        if endpoint.isCluster {
            return try await Self.openCluster(endpoint, job: job, known: known)
        }
        let connection = try await TargetServer.connect(endpoint)
        var keeperConnection: RedisConnection?
        do throws(RunError) {
            let keeper = try await TargetServer.connect(endpoint)
            keeperConnection = keeper
            let server = try await TargetServer.probe(endpoint, job: job, connection)
            return OpenTarget(
                server: server, state: TargetState(server: server, connection: connection),
                keeperState: TargetState(server: server, connection: keeper), cluster: nil
            ) {
                connection.close()
                keeper.close()
            }
        } catch {
            connection.close()
            keeperConnection?.close()
            throw error
        }
    }

    /// Opens a file of commands.
    static func openLog(_ path: String, job: String) throws(RunError) -> OpenTarget {
        let log = try CommandLog(path, job: job)
        let server = TargetServer(
            endpoint: Endpoint(file: path), capabilities: .commandLog, job: job)
        let memory = LogMemory(server: server, log: log)
        return OpenTarget(
            server: server, state: memory, keeperState: memory, cluster: nil, log: log
        ) { log.close() }
    }

    private static func openCluster(
        _ endpoint: Endpoint, job: String, known: [RedisAddress]
    ) async throws(RunError) -> OpenTarget {
        let client = ClusterClient(endpoint, known: known)
        do throws(RunError) {
            try await client.waitUntilServed()
            guard let node = client.topology.masters.first,
                let slot = node.slots.first?.lowerBound
            else { throw .targetLost("the cluster has no masters") }
            // Whatever is asked of one node holds for all.
            let connection = try await TargetServer.connect(client.endpoint(node))
            defer { connection.close() }
            let server = try await TargetServer.probe(
                client.endpoint(node), job: job, connection, slot: slot)
            let memory = ClusterMemory(server: server, client: client, ledger: SlotLedger())
            return OpenTarget(
                server: server, state: memory, keeperState: memory, cluster: memory
            ) { client.close() }
        } catch {
            client.close()
            throw error
        }
    }
}
