internal import FileIO
internal import MigrateCore
internal import Synchronization

/// One job: tries until the source ends, an operator stops it, or it makes no sense to go on.
public final class Job: Sendable {
    /// The pause behind a lost target: twice as long each time, up to the limit.
    static let firstPauseMilliseconds: Int64 = 100
    static let maxPauseMilliseconds: Int64 = 2_000

    let settings: MigrateSettings
    let filter: KeyFilter
    let policy: PlanPolicy
    let directory: String
    let files: CheckpointFiles
    let meter = RunMeter()
    let throttle: Throttle
    let letters: DeadLetters
    let name: String
    /// Nodes of the target's cluster, as the last try knew them: the named ones may be gone.
    let clusterNodes = Mutex<[RedisAddress]>([])
    /// Ends a try from outside; a source rests between two tries.
    private let control = Mutex<(stops: Bool, source: (any Source)?, resting: (any Source)?)>(
        (false, nil, nil))

    /// A job from its settings; takes the lock of its directory later, in `run`.
    public init(_ settings: MigrateSettings) throws(RunError) {
        self.settings = settings
        self.filter = try settings.filter()
        self.policy = settings.policy()
        self.directory = settings.text("job.dir")
        self.name = settings.text("job.name")
        guard !self.name.isEmpty, !self.name.contains(":") else {
            throw .usage("job.name must not be empty or have a colon")
        }
        guard (1...WorkerLimits.maxWorkers).contains(settings.number("target.connections")) else {
            throw .usage("target.connections must be in 1...\(WorkerLimits.maxWorkers)")
        }
        self.files = CheckpointFiles(directory: self.directory, fileSystem: RealFileSystem())
        self.throttle = Throttle(
            plan: try settings.limitPlan(),
            latencyMicroseconds: Int64(settings.number("limit.target-latency")) * 1_000,
            clock: try LocalClock(zone: settings.text("limit.time-zone")), meter: self.meter)
        self.letters = DeadLetters(
            path: Path.join(self.directory, "dead-letters.jsonl"),
            keepsGoing: settings.text("target.on-rejected") == "dead-letter")
    }

    /// Drains and ends; `run` throws `.stopped`.
    public func stop() async {
        let source = self.control.withLock { control in
            control.stops = true
            return control.source
        }
        self.throttle.pause(false)
        await source?.stop()
    }

    var isStopping: Bool { self.control.withLock { $0.stops } }

    /// Keeps other processes out of the job's directory until the lock is released.
    func takeDirectory() throws(RunError) -> DirectoryLock {
        if try self.sourceLocation() == nil { _ = try self.settings.endpoint("source") }
        if try TargetLocation.parse(self.settings.text("target.url")) == nil {
            _ = try self.settings.endpoint("target")
        }
        do {
            try self.files.fileSystem.makeDirectory(self.directory)
            return try DirectoryLock(self.directory, fileSystem: self.files.fileSystem)
        } catch let error as DirectoryLockError {
            throw .fenced("\(error.description)")
        } catch { throw .io("\(error)") }
    }

    /// Runs to the end; throws how it ended otherwise.
    ///
    /// The directory must have been taken.
    func run() async throws(RunError) {
        let ended: Result<Void, RunError>
        do throws(RunError) { ended = .success(try await self.tries()) } catch {
            ended = .failure(error)
        }
        await self.rest(nil)?.stop()
        try ended.get()
    }

    private func tries() async throws(RunError) {
        var pause = Self.firstPauseMilliseconds
        while true {
            let began = systemMilliseconds()
            do throws(RunError) {
                try await self.tryOnce()
                return
            } catch {
                guard error.isTransient, !self.isStopping else { throw error }
                if systemMilliseconds() - began > Self.maxPauseMilliseconds {
                    pause = Self.firstPauseMilliseconds
                }
                let text = error.description
                self.meter.update {
                    $0.retries += 1
                    $0.lastTrouble = text
                    $0.phase = .reconnecting
                }
            }
            if let status = await self.control.withLock({ $0.resting })?.status() {
                self.meter.update { $0.source = status }
            }
            try? await Task.sleep(for: .milliseconds(pause / 2 + Int64.random(in: 0...pause / 2)))
            pause = min(pause * 2, Self.maxPauseMilliseconds)
            if self.isStopping { throw .stopped }
        }
    }

    /// Keeps a source until the target is back; returns the one that was kept.
    func rest(_ source: (any Source)?) -> (any Source)? {
        self.control.withLock { control in
            defer { control.resting = source }
            return control.resting
        }
    }

    /// What the run shows of itself.
    var statusText: StatusText {
        StatusText(
            figures: self.meter.current, limits: self.throttle.limits, share: self.throttle.share,
            deadLetters: self.letters.count, now: systemMilliseconds())
    }

    /// Follows the schedule, and measures how fast it goes, until it is cancelled.
    func watch() async {
        while !Task.isCancelled {
            self.throttle.applySchedule()
            let now = Throttle.now()
            self.meter.update { $0.rates.sample($0, now: now) }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// The source as `stop` knows it.
    func register(_ source: (any Source)?) -> Bool {
        self.control.withLock { control in
            control.source = source
            return !control.stops
        }
    }

    /// A new reader of the source.
    func makeSource() throws(RunError) -> any Source {
        let location = try self.sourceLocation()
        if let source = location?.makeFileSource() { return source }
        if case .sentinel(let addresses, let name) = location {
            return try self.makeSentinelSource(addresses, name)
        }
        let endpoint = try self.settings.endpoint("source")
        if ["pika", "pikas"].contains(endpoint.scheme) { return self.makePikaSource(endpoint) }
        if endpoint.isCluster { return self.makeClusterSource(endpoint) }
        let isShard = endpoint.scheme == "redis-shard"
        let scans = ["scan", "scans"].contains(endpoint.scheme)
        guard isShard || scans || ["redis", "rediss", "valkey"].contains(endpoint.scheme) else {
            throw .usage("sources of the kind \(endpoint.scheme):// are not supported")
        }
        var link = RedisLinkConfiguration(
            address: endpoint.address, user: endpoint.user,
            password: { (try? endpoint.password()) ?? nil }, tls: endpoint.tls)
        link.syncEveryMilliseconds = 1_000
        if scans { return ScanSource(self.redisConfiguration(link), directory: self.directory) }
        return self.makeRedisSource(link, isShard: isShard)
    }

    func sourceLocation() throws(RunError) -> SourceLocation? {
        do throws(SourceError) {
            return try SourceLocation.parse(self.settings.text("source.url"))
        } catch { throw .usage("\(error)") }
    }

    private func makePikaSource(_ endpoint: Endpoint) -> PikaSource {
        var configuration = PikaSourceConfiguration(
            address: endpoint.address, user: endpoint.user,
            password: { (try? endpoint.password()) ?? nil },
            directory: Path.join(self.directory, "replica"),
            announcedPort: self.settings.number("source.announced-port"))
        configuration.tls = endpoint.tls
        configuration.receiveBytesPerSecond = UInt64(self.settings.number("limit.receive-bytes"))
        let meter = self.meter
        configuration.log = { line in meter.update { $0.lastTrouble = line } }
        configuration.followsLostWrites = self.settings.text("source.lost-writes") == "follow"
        return PikaSource(configuration)
    }

    private func makeSentinelSource(
        _ addresses: [RedisAddress], _ name: String
    ) throws(RunError) -> RedisSource {
        // The address is that of a Sentinel; the settings of user and password are the master's.
        guard let first = addresses.first else { throw .usage("no Sentinel is named") }
        let endpoint = try self.settings.endpoint("source", url: "redis://\(first)")
        let password: @Sendable () -> [UInt8]? = { (try? endpoint.password()) ?? nil }
        let resolver = SentinelResolver(
            sentinels: addresses, name: name, password: password, tls: endpoint.tls)
        var link = RedisLinkConfiguration(
            address: first, password: password, tls: endpoint.tls)
        link.syncEveryMilliseconds = 1_000
        return self.makeRedisSource(link) { () async throws(SourceError) in
            try await resolver.resolve()
        }
    }

    private func makeClusterSource(_ endpoint: Endpoint) -> ClusterSource {
        ClusterSource(
            ClusterSourceConfiguration(endpoint: endpoint, directory: self.directory) {
                number, resolve in
                var link = RedisLinkConfiguration(
                    address: endpoint.address, user: endpoint.user,
                    password: { (try? endpoint.password()) ?? nil }, tls: endpoint.tls)
                link.syncEveryMilliseconds = 1_000
                return self.makeRedisSource(
                    link, isShard: true, spool: "shard-\(number)", resolve: resolve)
            })
    }

    private func makeRedisSource(
        _ link: RedisLinkConfiguration, isShard: Bool = false, spool: String? = nil,
        resolve: (@Sendable () async throws(SourceError) -> RedisAddress)? = nil
    ) -> RedisSource {
        var configuration = self.redisConfiguration(link, spool: spool)
        configuration.resolve = resolve
        configuration.allowsClusterNode = isShard
        configuration.origin = self.filter.origin
        return RedisSource(configuration)
    }

    var spoolDirectory: String {
        let directory = self.settings.text("spool.dir")
        return directory.isEmpty ? Path.join(self.directory, "spool") : directory
    }

    private func redisConfiguration(
        _ link: RedisLinkConfiguration, spool: String? = nil
    ) -> RedisSourceConfiguration {
        var directory = self.spoolDirectory
        if let spool {
            try? self.files.fileSystem.makeDirectory(directory)
            directory = Path.join(directory, spool)
        }
        var configuration = RedisSourceConfiguration(
            link: link, spoolDirectory: directory,
            spoolLimits: SpoolLimits(
                ceilingBytes: UInt64(self.settings.number("spool.max-gib")) << 30))
        configuration.acknowledgesApplied = self.settings.text("source.ack") == "applied"
        configuration.followsLostWrites = self.settings.text("source.lost-writes") == "follow"
        return configuration
    }
}
