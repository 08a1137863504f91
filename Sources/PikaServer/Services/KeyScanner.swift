import Keyspace
import NIOPosix
import PikaStorage
import Synchronization

/// INFO KEYSPACE 1: counts the keys of databases in the background, on one thread.
final class KeyScanner: Sendable {
    /// What is known of one database.
    struct Result: Sendable, Equatable {
        enum Phase: Sendable, Equatable {
            /// Never scanned.
            case none
            case waiting
            case processing
            case done(seconds: Int64)
            /// Stopped, or failed for the reason given; the counts are those from before.
            case stopped(String)
        }

        var phase = Phase.none
        var startedSeconds: Int64 = 0
        /// By kind, in the order in which INFO prints them.
        var counts: [StoreKind: KeyStatistics] = [:]

        var keys: UInt64 { counts.values.reduce(0) { $0 + $1.keys } }
    }

    private struct State {
        var results: [Result]
        var isRunning = false
    }

    private let databases: [Database]
    private let pool: NIOThreadPool
    private let state: Mutex<State>
    private let isCancelled = Atomic<Bool>(false)

    init(databases: [Database], pool: NIOThreadPool) {
        self.databases = databases
        self.pool = pool
        state = Mutex(State(results: databases.map { _ in Result() }))
    }

    var results: [Result] {
        state.withLock { $0.results }
    }

    var isRunning: Bool {
        state.withLock { $0.isRunning }
    }

    /// Starts a scan of these databases; a running one is let finish.
    func start(databases indexes: [Int]) {
        let starts = state.withLock { state in
            guard !state.isRunning else { return false }
            state.isRunning = true
            for index in indexes { state.results[index].phase = .waiting }
            return true
        }
        guard starts else { return }
        isCancelled.store(false, ordering: .relaxed)
        pool.submit { _ in self.run(indexes) }
    }

    /// Stops a running scan; what it had found so far is dropped.
    func stop() {
        isCancelled.store(true, ordering: .relaxed)
    }

    private func run(_ indexes: [Int]) {
        for index in indexes { scan(index) }
        state.withLock { $0.isRunning = false }
    }

    private func scan(_ index: Int) {
        let started = ServerClock.unixSeconds()
        state.withLock {
            $0.results[index].phase = .processing
            $0.results[index].startedSeconds = started
        }
        var counts: [StoreKind: KeyStatistics] = [:]
        var failure: String?
        for kind in StoreKind.allCases where failure == nil {
            do {
                counts[kind] = try databases[index].countKeys(kind)
                if isCancelled.load(ordering: .relaxed) { failure = "stopped" }
            } catch {
                failure = "\(error)"
            }
        }
        let seconds = ServerClock.unixSeconds() - started
        state.withLock { state in
            if let failure {
                state.results[index].phase = .stopped(failure)
            } else {
                state.results[index].phase = .done(seconds: seconds)
                state.results[index].counts = counts
            }
        }
    }
}
