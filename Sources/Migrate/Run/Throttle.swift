internal import Glibc
internal import MigrateCore
internal import RateLimit
internal import Synchronization

/// Holds the run to its limits; they may change at any time.
final class Throttle: Sendable {
    /// Asked again after at most so long: a new limit holds from then on.
    static let maxPauseNanoseconds: UInt64 = 100_000_000
    /// Tokens for one command or key: the buckets' smallest burst is then one of them.
    static let tokensPerCount: UInt64 = 1_024
    private static let chunkBytes: UInt64 = 65_536

    private struct State {
        var plan: LimitPlan
        var buckets: [LimitName: TokenBucket] = [:]
        var limits: [LimitName: UInt64] = [:]
        var governor: LatencyGovernor
        var isPaused = false
    }

    private let state: Mutex<State>
    private let meter: RunMeter
    private let clock: LocalClock
    /// What the engine hands over at once: no more than the limits give in a twentieth of a second.
    private let grants = Mutex<(bytes: Int, keys: Int)>((.max, .max))

    init(plan: LimitPlan, latencyMicroseconds: Int64, clock: LocalClock, meter: RunMeter) {
        self.meter = meter
        self.clock = clock
        self.state = Mutex(
            State(plan: plan, governor: LatencyGovernor(limitMicroseconds: latencyMicroseconds)))
        self.applySchedule()
    }

    /// All limits as they are now, 0 = none.
    var limits: [LimitName: UInt64] { self.state.withLock { $0.limits } }
    /// What the governor leaves of the speed, 1 = all.
    var share: Double { self.state.withLock { $0.governor.share } }

    /// Most bytes and keys of a copy that should be handed over at once.
    var grant: (bytes: Int, keys: Int) { self.grants.withLock { $0 } }

    /// Changes a limit at once, 0 = none; nil gives it back to the schedule.
    func set(_ name: LimitName, _ perSecond: UInt64?) {
        self.state.withLock { $0.plan.override(name, perSecond) }
        self.applySchedule()
    }

    /// Takes the limits that the plan has for this time; to be called every second or so.
    func applySchedule() {
        let moment = self.clock.moment(systemMilliseconds())
        let now = Self.now()
        self.state.withLock { state in
            for (name, limit) in state.plan.limits(at: moment) where state.limits[name] != limit {
                state.limits[name] = limit
                let (rate, overflow) = limit.multipliedReportingOverflow(by: Self.tokens(name))
                if state.buckets[name] == nil {
                    state.buckets[name] = TokenBucket(
                        bytesPerSecond: overflow ? .max : rate, chunkBytes: Self.chunkBytes,
                        now: now)
                } else {
                    state.buckets[name]?.setRate(
                        bytesPerSecond: overflow ? .max : rate, now: now)
                }
            }
        }
        let limits = self.limits
        func part(_ name: LimitName) -> Int {
            let limit = limits[name] ?? 0
            return limit == 0
                ? .max : max(1, Int(clamping: limit / TokenBucket.burstsPerSecond))
        }
        let keys = min(part(.snapshotKeys), part(.snapshotCommands))
        self.grants.withLock { $0 = (part(.snapshotBytes), keys) }
    }

    private static func tokens(_ name: LimitName) -> UInt64 {
        name == .snapshotBytes || name == .streamBytes ? 1 : Self.tokensPerCount
    }

    /// Stops or continues everything.
    func pause(_ isPaused: Bool) {
        self.state.withLock { $0.isPaused = isPaused }
        self.meter.update { $0.paused = isPaused }
    }

    /// The target has answered a question after so long.
    func sample(microseconds: Int64) {
        let now = Self.now()
        self.state.withLock { $0.governor.sample(microseconds: microseconds, now: now) }
    }

    /// Returns when so much may be sent.
    func take(isSnapshot: Bool, bytes: Int, commands: Int, keys: Int) async {
        await self.take(isSnapshot ? .snapshotBytes : .streamBytes, bytes)
        await self.take(isSnapshot ? .snapshotCommands : .streamCommands, commands)
        await self.take(isSnapshot ? .snapshotKeys : .streamKeys, keys)
        while self.state.withLock({ $0.isPaused }), !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private func take(_ name: LimitName, _ amount: Int) async {
        let tokens = UInt64(max(0, amount)) * Self.tokens(name)
        while !Task.isCancelled {
            let now = Self.now()
            let verdict = self.state.withLock { $0.buckets[name]?.acquire(tokens, now: now) }
            guard case .waitUntil(let time) = verdict, time > now else { return }
            await self.sleep(min(time - now, Self.maxPauseNanoseconds))
        }
    }

    /// For a worker whose window took so long: the governor's pause.
    func rest(after nanoseconds: UInt64) async {
        let pause = self.state.withLock { $0.governor.pause(after: nanoseconds) }
        if pause > 0 { await self.sleep(pause) }
    }

    private func sleep(_ nanoseconds: UInt64) async {
        self.meter.update { $0.throttledNanoseconds += nanoseconds }
        try? await Task.sleep(nanoseconds: nanoseconds)
    }

    /// Nanoseconds of the machine's monotonic clock.
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
