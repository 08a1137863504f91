internal import MigrateCore
internal import RateLimit
internal import Synchronization

/// What a limit holds for.
public enum LimitName: String, Sendable, CaseIterable {
    case snapshotBytes = "snapshot-bytes"
    case snapshotKeys = "snapshot-keys"
    case streamBytes = "stream-bytes"
    case streamCommands = "stream-commands"
}

/// Holds the run to its limits; they may change at any time.
final class Throttle: Sendable {
    /// Asked again after at most so long: a new limit holds from then on.
    static let maxPauseNanoseconds: UInt64 = 100_000_000
    /// The governor never goes below this part of the full speed.
    static let minShare = 1.0 / 64

    private struct State {
        var buckets: [LimitName: TokenBucket] = [:]
        var limits: [LimitName: UInt64] = [:]
        /// What the governor leaves of the speed, 1 = all.
        var pauseNanoseconds: UInt64 = 0
        var isPaused = false
    }

    private let state = Mutex(State())
    private let meter: RunMeter

    init(limits: [LimitName: UInt64], meter: RunMeter) {
        self.meter = meter
        for (name, limit) in limits { self.set(name, limit) }
    }

    /// All limits, 0 = none.
    var limits: [LimitName: UInt64] { self.state.withLock { $0.limits } }

    /// Changes a limit at once; 0 = none.
    func set(_ name: LimitName, _ perSecond: UInt64) {
        let now = Self.now()
        self.state.withLock { state in
            state.limits[name] = perSecond
            if state.buckets[name] == nil {
                state.buckets[name] = TokenBucket(
                    bytesPerSecond: perSecond, chunkBytes: 65_536, now: now)
            } else {
                state.buckets[name]?.setRate(bytesPerSecond: perSecond, now: now)
            }
        }
    }

    /// Stops or continues everything.
    func pause(_ isPaused: Bool) {
        self.state.withLock { $0.isPaused = isPaused }
        self.meter.update { $0.paused = isPaused }
    }

    /// The governor's brake: a pause for each window sent.
    func brake(nanoseconds: UInt64) { self.state.withLock { $0.pauseNanoseconds = nanoseconds } }

    /// Returns when so much may be sent.
    func take(isSnapshot: Bool, bytes: Int, count: Int) async {
        await self.take(isSnapshot ? .snapshotBytes : .streamBytes, UInt64(bytes))
        await self.take(isSnapshot ? .snapshotKeys : .streamCommands, UInt64(count))
        var brake = self.state.withLock { $0.pauseNanoseconds }
        if brake > 0 {
            brake = min(brake, Self.maxPauseNanoseconds)
            try? await Task.sleep(nanoseconds: brake)
        }
        while self.state.withLock({ $0.isPaused }), !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private func take(_ name: LimitName, _ amount: UInt64) async {
        while !Task.isCancelled {
            let now = Self.now()
            let verdict = self.state.withLock { $0.buckets[name]?.acquire(amount, now: now) }
            guard case .waitUntil(let time) = verdict, time > now else { return }
            let pause = min(time - now, Self.maxPauseNanoseconds)
            self.meter.update { $0.throttledMilliseconds += Int64(pause / 1_000_000) }
            try? await Task.sleep(nanoseconds: pause)
        }
    }

    private static func now() -> UInt64 { UInt64(max(0, systemMilliseconds())) * 1_000_000 }
}
