import Commands
public import FileIO
import Glibc
import Keyspace
public import Logging
import NIOCore
import NIOPosix
import Synchronization

/// One running server: databases, replication, command loops and listeners.
///
/// Only wires the parts together. Start and stop block; they are called by the main thread.
public final class Server: Sendable {
    /// Threads for compactions and key scans, which take long.
    private static let backgroundThreads = 2
    /// How often rates are computed and schedules are looked at.
    private static let sampleSeconds: Int64 = 5
    /// How often keys whose time is over are looked for, while somebody is to be told.
    private static let expiryCheckMilliseconds: Int64 = 100
    /// How often idle connections are looked for.
    private static let idleCheckSeconds: Int64 = 1
    /// How long clients have to take the replies that are owed when the server stops.
    private static let drainMilliseconds: Int64 = 200

    /// The port that clients connect to.
    public let port: Int

    private let conf: Conf
    private let opened: OpenedData
    private let administration: Administration
    private let environment: CommandEnvironment
    private let services: ClientServices
    private let network: Network
    private let log: ServerLog
    private let isStopped = Atomic<Bool>(false)

    /// Threads and sockets.
    private struct Network: Sendable {
        var group: MultiThreadedEventLoopGroup
        var loops: CommandLoops
        var slowPool: NIOThreadPool
        var backgroundPool: NIOThreadPool
        var listeners: [any Channel]
    }

    /// Opens the databases, starts replication and accepts clients.
    ///
    /// - Parameters:
    ///   - conf: the settings.
    ///   - fileSystem: where everything lies.
    ///   - logger: the process's log.
    ///   - onShutdown: called when a client asks for SHUTDOWN.
    /// - Throws: what is wrong, for the operator. Nothing is left running then.
    public init(
        conf: Conf, fileSystem: any FileSystem, logger: Logger,
        onShutdown: @escaping @Sendable () -> Void
    ) throws(ServerError) {
        let settings = conf.settings
        let log = ServerLog(logger: logger)
        let hosts = try ListenAddresses.hosts(interface: settings.networkInterface)
        let opened = try OpenedData(
            settings: settings, hosts: hosts, fileSystem: fileSystem, log: log)
        let loopCount = Self.loopCount(settings)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: loopCount)
        let slowPool = NIOThreadPool(numberOfThreads: settings.slowPoolThreads)
        let backgroundPool = NIOThreadPool(numberOfThreads: Self.backgroundThreads)
        slowPool.start()
        backgroundPool.start()

        let registry = ClientRegistry(
            maxClients: ProcessLimits.raiseOpenFiles(forClients: settings.maxClients),
            rootConnections: settings.rootConnections,
            ownHosts: Set(["127.0.0.1", "::1"] + hosts))
        let counters = (0..<loopCount).map { _ in LoopCounters() }
        let databases = opened.keyspace.databases
        administration = Administration(
            Administration.Parts(
                conf: conf, keyspace: opened.keyspace, registry: registry,
                statistics: Statistics(
                    loops: counters, nowMilliseconds: ServerClock.monotonicMilliseconds()),
                scanner: KeyScanner(databases: databases, pool: backgroundPool),
                maintenance: Maintenance(
                    databases: databases, pool: backgroundPool, fileSystem: fileSystem, log: log),
                replication: opened.replication, fileSystem: fileSystem, log: log,
                timers: group, pool: backgroundPool),
            stop: onShutdown)
        environment = CommandEnvironment(
            keyspace: opened.keyspace, services: administration,
            readAheadNanoseconds: System.coreCount > 1 ? AheadRule.worthwhileNanoseconds : nil)
        administration.environment.withLock { [environment] in $0 = environment }
        services = ClientServices(
            registry: registry, slowPool: slowPool, environment: environment,
            queryBufferLimitBytes: settings.queryBufferBytes)
        self.conf = conf
        self.log = log
        self.opened = opened
        port = settings.port
        if let master = opened.rememberedMaster { conf.note("slaveof", master) }
        Self.apply(conf.settings, to: environment)
        services.pushLimits = OutputLimits(settings.outputBufferLimits)?.pubsub ?? PushLimits()
        administration.slowLogIsWritten.store(settings.slowLogIsWritten, ordering: .relaxed)
        do {
            let loops = try CommandLoops(
                group: group, counters: counters, environment: environment)
            let listener = ClientListener(
                group: group, loops: loops, services: services, environment: environment)
            let listeners = try listener.bind(
                hosts: hosts, port: settings.port, outputLimitBytes: settings.clientOutputBytes)
            network = Network(
                group: group, loops: loops, slowPool: slowPool, backgroundPool: backgroundPool,
                listeners: listeners)
        } catch {
            opened.close()
            try? group.syncShutdownGracefully()
            try? slowPool.syncShutdownGracefully()
            try? backgroundPool.syncShutdownGracefully()
            throw error as? ServerError ?? ServerError(.network, "\(error)")
        }
        startTimers()
        conf.observe { [weak self] name, settings in self?.apply(name, settings) }
    }

    /// Two loops on two cores read large data faster, but write no faster; and what one client sends
    /// after another is not always executed after it, which Redis's own suite takes for granted.
    private static func loopCount(_ settings: Settings) -> Int {
        settings.commandLoops > 0 ? settings.commandLoops : max(1, min(4, System.coreCount / 4))
    }

    // MARK: Running

    private func startTimers() {
        let administration = administration
        let conf = conf
        network.group.next().scheduleRepeatedTask(
            initialDelay: .seconds(Self.sampleSeconds), delay: .seconds(Self.sampleSeconds)
        ) { _ in
            administration.statistics.sample(
                administration.totals, nowMilliseconds: ServerClock.monotonicMilliseconds())
            administration.directorySizes.bytes(
                nowMilliseconds: ServerClock.monotonicMilliseconds(),
                ageLimitMilliseconds: DirectorySizes.idleMilliseconds)
            administration.checkMemory()
            administration.maintenance.runSchedule(conf.settings, now: .current())
        }
        startExpiryTimer()
        let idleCheck = TimeAmount.seconds(Self.idleCheckSeconds)
        for future in network.loops.forEach({ loop in
            loop.repeatEvery(idleCheck) { loop in
                loop.checkSoftLimits()
                let timeout = conf.settings.timeoutSeconds
                guard timeout > 0 else { return }
                loop.closeIdle(since: ServerClock.unixSeconds() - Int64(timeout))
            }
        }) {
            try? future.wait()
        }
    }

    private func startExpiryTimer() {
        let environment = environment
        let slowPool = network.slowPool
        let isLooking = Flag()
        let delay = TimeAmount.milliseconds(Self.expiryCheckMilliseconds)
        network.group.next().scheduleRepeatedTask(initialDelay: delay, delay: delay) { _ in
            guard environment.remembersDeadlines, isLooking.raise() else { return }
            slowPool.submit { _ in
                environment.publishExpired()
                isLooking.lower()
            }
        }
    }

    /// True while something is going on.
    private final class Flag: Sendable {
        private let isRaised = Atomic<Bool>(false)

        /// False if it was raised already.
        func raise() -> Bool { !isRaised.exchange(true, ordering: .acquiring) }
        func lower() { isRaised.store(false, ordering: .releasing) }
    }

    /// Takes over what CONFIG SET has changed.
    private func apply(_ name: String, _ settings: Settings) {
        Self.apply(settings, to: environment)
        services.queryBufferLimitBytes = settings.queryBufferBytes
        applyLimits(settings)
        switch name {
        case "maxclients", "root-connection-num":
            services.registry.setLimits(
                maxClients: ProcessLimits.raiseOpenFiles(forClients: settings.maxClients),
                rootConnections: settings.rootConnections)
        case "binlog-sync":
            opened.keyspace.setSyncPolicy(SyncPolicy(word: settings.binlogSync))
        default: break
        }
        administration.replication?.apply(settings)
    }

    private func applyLimits(_ settings: Settings) {
        services.pushLimits = OutputLimits(settings.outputBufferLimits)?.pubsub ?? PushLimits()
        administration.slowLogIsWritten.store(settings.slowLogIsWritten, ordering: .relaxed)
    }

    private static func apply(_ settings: Settings, to environment: CommandEnvironment) {
        let needsPassword = !settings.requirePass.isEmpty || !settings.userPass.isEmpty
        environment.needsPassword.store(needsPassword, ordering: .relaxed)
        environment.checksTypes.store(settings.wrongTypeCheck, ordering: .relaxed)
        environment.slowLog.thresholdMicroseconds.store(
            settings.slowLogMicroseconds, ordering: .relaxed)
        environment.slowLog.limit.store(settings.slowLogEntries, ordering: .relaxed)
        environment.setEventClasses(EventClasses(settings.keyspaceEvents) ?? [])
        environment.keyspace.setGroupLimit(bytes: settings.atomicGroupBytes)
        environment.maxReplyBytes.store(settings.maxClientResponseBytes, ordering: .relaxed)
        environment.isReadOnlyReplica.store(!settings.slaveOf.isEmpty, ordering: .relaxed)
        environment.setForbiddenForUsers(
            settings.userBlacklist.lowercased().split(separator: ",").map(String.init))
    }

    // MARK: Stopping

    /// Lets clients finish what runs, then stops replication and closes the databases.
    ///
    /// Everything that was acknowledged is in the log when it returns. A second call does nothing.
    public func stop() {
        guard !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
        log.info("stopping")
        for listener in network.listeners { try? listener.close().wait() }
        administration.scanner.stop()
        drain()
        environment.shutDown()
        // The two hold each other.
        administration.environment.withLock { $0 = nil }
        opened.close()
        try? network.slowPool.syncShutdownGracefully()
        try? network.backgroundPool.syncShutdownGracefully()
        try? network.group.syncShutdownGracefully()
        log.info("stopped")
    }

    /// Closes the connections when their replies are out, by force after a while.
    private func drain() {
        for future in network.loops.forEach({ $0.closeAll() }) { try? future.wait() }
        let limit = ServerClock.monotonicMilliseconds() + Self.drainMilliseconds
        while services.registry.count > 0, ServerClock.monotonicMilliseconds() < limit {
            usleep(2000)
        }
        for record in services.registry.records { services.registry.close([record.id]) }
    }
}
