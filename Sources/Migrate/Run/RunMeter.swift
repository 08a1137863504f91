internal import MigrateCore
internal import Synchronization

/// What a run is doing.
public enum RunPhase: String, Sendable, Equatable, CaseIterable {
    case connecting
    case waitingSnapshot = "waiting-snapshot"
    case spooling
    case loading
    case scanning
    case refreshing
    case streaming
    case reconciling
    case paused
    case reconnecting
    case failed
    case done

    /// Keys of a snapshot are on their way into the target.
    var isCopying: Bool { self == .loading || self == .reconciling }
}

/// Counters of a run; every one is there from the beginning.
struct RunFigures: Sendable {
    var phase = RunPhase.connecting
    var keys: [KeyKind: UInt64] = [:]
    var units: UInt64 = 0
    var skippedUnits: UInt64 = 0
    var commands: UInt64 = 0
    var appliedBytes: UInt64 = 0
    var snapshotReadBytes: UInt64 = 0
    var snapshotBytes: UInt64 = 0
    var refreshedKeys: UInt64 = 0
    var suspects: UInt64 = 0
    var retries: UInt64 = 0
    var lastTrouble = ""
    var notes: [String: UInt64] = [:]
    var appliedOffset: UInt64 = 0
    var checkpointMilliseconds: Int64 = 0
    var appliedTimeMilliseconds: Int64 = 0
    var lagMilliseconds: Int64 = 0
    var throttledNanoseconds: UInt64 = 0
    var targetLatencyMicroseconds: Int64 = 0
    var source = SourceStatus()
    var reconciledDeletes: UInt64 = 0
    var paused = false
    /// How the run has ended, if there is more to say than that it has.
    var outcome = ""
    var rates = RunRates()
}

/// Collects what a run does, from all its tasks.
final class RunMeter: Sendable {
    /// Most different notes that are told apart.
    static let maxNotes = 256

    private let figures = Mutex(RunFigures())

    var current: RunFigures { self.figures.withLock { $0 } }

    func update(_ body: (inout RunFigures) -> Void) { self.figures.withLock { body(&$0) } }

    func sent(commands: Int, bytes: Int) {
        self.figures.withLock {
            $0.commands += UInt64(commands)
            $0.appliedBytes += UInt64(bytes)
        }
    }

    func applied(_ time: Int64) {
        guard time > 0 else { return }
        let lag = systemMilliseconds() - time
        self.figures.withLock {
            $0.appliedTimeMilliseconds = max($0.appliedTimeMilliseconds, time)
            $0.lagMilliseconds = max(0, lag)
        }
    }

    func note(_ notes: [PlanNote]) {
        guard !notes.isEmpty else { return }
        self.figures.withLock {
            for note in notes {
                guard $0.notes[note.name] != nil || $0.notes.count < Self.maxNotes else { continue }
                $0.notes[note.name, default: 0] += 1
            }
        }
    }
}
