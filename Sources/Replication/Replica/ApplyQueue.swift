internal import Binlog
internal import Keyspace
internal import NIOCore
internal import NIOPosix
internal import SyncProtocol
internal import Synchronization

/// Appends and applies what a master sends about one database, in order, off the loop.
///
/// Everything that has to happen between items (a new history, the end of a session) goes through
/// the same queue.
final class ApplyQueue: Sendable {
    /// Queued bytes of all databases above which the connection is not read any more.
    static let highWaterBytes = 32 << 20
    /// … and below which it is read again.
    static let lowWaterBytes = 8 << 20

    /// Why items could not be taken.
    enum Failure: Sendable {
        /// They do not continue the log, or the disk failed: ask again from the own end.
        case session(String)
        /// An item is not known here: the database stops.
        case apply(String)
    }

    /// A run of items of one database in one frame.
    struct Run: Sendable {
        var batch: BinlogSyncBatch
        var chips: Range<Int>
        var byteCount: Int
    }

    private struct State: Sendable {
        /// Nothing is taken any more until the next session.
        var isPoisoned = false
        var queuedBytes = 0
    }

    let database: Database
    private let work: WorkQueue
    private let state = Mutex(State())
    private let onFailure: @Sendable (Failure) -> Void
    private let onTaken: @Sendable () -> Void

    /// - Parameters:
    ///   - onFailure: Called on a thread of the pool, once per session.
    ///   - onTaken: Called on a thread of the pool after every run.
    init(
        database: Database, pool: NIOThreadPool, onFailure: @escaping @Sendable (Failure) -> Void,
        onTaken: @escaping @Sendable () -> Void
    ) {
        self.database = database
        self.work = WorkQueue(pool: pool)
        self.onFailure = onFailure
        self.onTaken = onTaken
    }

    /// Bytes that wait.
    var queuedBytes: Int { self.state.withLock { $0.queuedBytes } }

    /// Adds items.
    func enqueue(_ run: Run) {
        let isTaken = self.state.withLock { state -> Bool in
            guard !state.isPoisoned else { return false }
            state.queuedBytes += run.byteCount
            return true
        }
        guard isTaken else { return }
        self.work.enqueue {
            let isWanted = self.state.withLock { state -> Bool in
                state.queuedBytes -= run.byteCount
                return !state.isPoisoned
            }
            if isWanted { self.apply(run) }
            self.onTaken()
        }
    }

    /// Runs `body` when everything before it is applied.
    func perform(_ body: @escaping @Sendable () -> Void) {
        self.work.enqueue(body)
    }

    /// What is still queued belongs to a session that is over: it is dropped.
    func poison() {
        self.state.withLock { $0.isPoisoned = true }
    }

    /// A new session begins; MUST be called inside `perform`, so that nothing old is left.
    func renew() {
        self.state.withLock { $0.isPoisoned = false }
    }

    private func apply(_ run: Run) {
        let outcome = run.batch.withUnsafeBytes { bytes -> Result<Void, KeyspaceError> in
            var items: [ReceivedItem] = []
            items.reserveCapacity(run.chips.count)
            for chip in run.batch.chips[run.chips] {
                items.append(
                    ReceivedItem(
                        bytes: UnsafeRawBufferPointer(rebasing: bytes[chip.itemRange]),
                        end: chip.end.position))
            }
            return items.withUnsafeBufferPointer { pointer in
                do throws(KeyspaceError) {
                    return .success(try self.database.appendReceived(pointer))
                } catch {
                    return .failure(error)
                }
            }
        }
        guard case .failure(let error) = outcome else { return }
        self.poison()
        switch error {
        case .stoppedAtUnknownItem, .apply:
            self.onFailure(.apply("\(error)"))
        default:
            self.onFailure(.session("\(error)"))
        }
    }
}
