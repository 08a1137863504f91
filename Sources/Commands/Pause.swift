import Glibc
import Keyspace
import PikaStorage
import RESP
import SyncProtocol
import Synchronization

/// CLIENT PAUSE: commands of clients wait until a time, or until CLIENT UNPAUSE.
///
/// CLIENT itself is never paused, so that a pause can be ended.
public final class Pause: Sendable {
    /// What waits.
    enum Mode: Int {
        case none
        case writes
        case all
    }

    private struct State {
        var endMilliseconds: Int64 = 0
        var generation = 0
        var waiters: [@Sendable () -> Void] = []
    }

    private let current = Atomic<Int>(Mode.none.rawValue)
    private let state = Mutex(State())

    init() {}

    /// Read once per command.
    @inline(__always) var isOn: Bool { self.current.load(ordering: .relaxed) != 0 }

    var mode: Mode { Mode(rawValue: self.current.load(ordering: .relaxed)) ?? .none }

    /// Connections that wait for the end.
    public var waiterCount: Int { self.state.withLock { $0.waiters.count } }

    /// Begins or prolongs a pause: of two that overlap the stricter and the longer holds.
    func begin(_ mode: Mode, milliseconds: Int64, _ services: any ServerServices) {
        let now = monotonicMilliseconds()
        let (generation, remaining) = self.state.withLock { state in
            let (wanted, overflow) = now.addingReportingOverflow(milliseconds)
            let end = overflow ? .max : wanted
            state.endMilliseconds = self.isOn ? max(state.endMilliseconds, end) : end
            state.generation += 1
            let stricter = max(self.current.load(ordering: .relaxed), mode.rawValue)
            self.current.store(stricter, ordering: .relaxed)
            return (state.generation, state.endMilliseconds - now)
        }
        services.after(milliseconds: remaining) { [weak self] in self?.end(generation) }
    }

    /// Ends the pause; with a number, unless another one has been begun since.
    func end(_ generation: Int? = nil) {
        let waiters = self.state.withLock { state -> [@Sendable () -> Void] in
            guard generation == nil || generation == state.generation else { return [] }
            self.current.store(Mode.none.rawValue, ordering: .relaxed)
            state.generation += 1
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter() }
    }

    /// Calls `body` once, on any thread, when the pause is over.
    func whenOver(_ body: @escaping @Sendable () -> Void) {
        let waits = self.state.withLock { state -> Bool in
            guard self.isOn else { return false }
            state.waiters.append(body)
            return true
        }
        if !waits { body() }
    }
}

func monotonicMilliseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
}

extension CommandProcessor {
    /// True if the command has to wait for the end of a pause.
    func isPaused(_ row: UnsafePointer<HotRow>, _ index: Int, _ client: ClientState) -> Bool {
        // What is on the pool has passed the loop before.
        guard self.place == .loop, index != self.environment.table.transactionRows.client else {
            return false
        }
        switch self.environment.pause.mode {
        case .none: return false
        case .all: return true
        case .writes:
            if index == self.environment.table.transactionRows.exec {
                return client.transaction?.writes ?? false
            }
            return !row.pointee.flags.isDisjoint(with: [.write, .pausedWithWrites])
        }
    }
}

/// WAIT: how far replicas are.
enum ReplicaWait {
    static let rows: [CommandRow] = [
        CommandRow(
            "wait", arity: 3, flags: [.commitsFirst], keys: .none, group: .generic,
            since: "3.0.0", summary: "Waits until replicas have what was written.",
            handler: wait)
    ]

    /// Between two looks at the replicas.
    static let intervalMilliseconds: Int64 = 20

    /// A client's wait.
    struct Pending {
        var database: Int
        var position: BinlogPosition
        /// Nil = for ever.
        var endMilliseconds: Int64?
    }

    private static func wait(_ x: inout Execution) throws {
        let wanted = try x.integer(1)
        let timeout = try x.integer(2)
        guard timeout >= 0 else { throw CommandError.reply("ERR timeout is negative") }
        let index = x.client.database
        let pending =
            x.client.replicaWait
            ?? Pending(
                database: index, position: x.environment.keyspace.databases[index].written,
                endMilliseconds: timeout == 0
                    ? nil : monotonicMilliseconds().addingReportingOverflow(timeout).partialValue)
        let count = x.environment.services.replicaCount(
            database: pending.database, having: pending.position)
        let isOver = pending.endMilliseconds.map { monotonicMilliseconds() >= $0 } ?? false
        guard Int64(count) < wanted, !isOver, !x.isInTransaction, x.place == .loop else {
            x.client.replicaWait = nil
            x.reply.integer(count)
            return
        }
        x.client.replicaWait = pending
        throw CommandError.again
    }
}
