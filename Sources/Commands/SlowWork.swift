import Keyspace
import PikaStorage
import RESP
import Synchronization

/// Requests of one connection that must run on the slow pool, or the wait for a stalled store.
///
/// The work owns a copy of the requests. Its connection is busy until `CommandProcessor.finish`.
public final class SlowWork: @unchecked Sendable {
    // SAFETY: used by one thread at a time: made on the loop, run on the pool, finished on the loop;
    // the hand-overs order the accesses. The connection's state is used by nobody else meanwhile.

    private enum Job {
        case requests([UInt8])
        case stalled(WriteGroup, reply: [UInt8], replies: Int)
    }

    private let environment: CommandEnvironment
    private let client: ClientState
    private let job: Job
    /// Replies, once it ran.
    private(set) var output: [UInt8] = []
    /// The connection is to be closed behind the replies.
    var closes = false
    /// A request that waits for elements.
    private(set) var blocked: BlockedRequest?
    /// Positions to wait for before the replies go out.
    private(set) var waits: [DurableWait] = []

    init(
        _ environment: CommandEnvironment, _ client: ClientState,
        _ requests: UnsafeRawBufferPointer
    ) {
        self.environment = environment
        self.client = client
        self.job = .requests(Array(requests))
    }

    init(
        _ environment: CommandEnvironment, _ client: ClientState, stalled group: WriteGroup,
        reply: [UInt8], replies: Int
    ) {
        self.environment = environment
        self.client = client
        self.job = .stalled(group, reply: reply, replies: replies)
    }

    /// The group that the loop gets back.
    var group: WriteGroup? {
        if case .stalled(let group, _, _) = self.job { group } else { nil }
    }

    /// Runs on a thread of the slow pool; may block.
    public func run() {
        switch self.job {
        case .requests(let bytes):
            self.environment.pool.withProcessor(self.environment) { processor in
                self.run(bytes, processor)
            }
        case .stalled(let group, let reply, let replies):
            self.finish(group, reply, replies)
        }
    }

    private func run(_ bytes: [UInt8], _ processor: CommandProcessor) {
        bytes.withUnsafeBytes { all in
            var position = 0
            while position < all.count {
                let result = processor.process(
                    self.client, UnsafeRawBufferPointer(rebasing: all[position...]))
                position += result.consumed
                self.waits += result.waits
                switch result.next {
                case .readMore, .yield: break
                case .close:
                    self.closes = true
                    position = all.count
                case .blocked(var blocked):
                    blocked.unread = Array(all[position...])
                    self.blocked = blocked
                    position = all.count
                case .busy, .gateClosed, .postponed:
                    preconditionFailure("the pool waits itself")
                }
            }
        }
        self.output = Array(processor.output)
        processor.clearOutput()
    }

    private func finish(_ group: WriteGroup, _ reply: [UInt8], _ replies: Int) {
        switch group.finishStalled() {
        case .committed(let position):
            self.output = reply
            guard self.environment.keyspace.syncPolicy == .always else { return }
            self.waits = [DurableWait(database: group.database.index, position: position)]
        case .failed(let error):
            let line = Array("-\(errorText(of: error))\r\n".utf8)
            for _ in 0..<replies { self.output += line }
        case .nothing, .busy, .stalled, .prepareAgain:
            preconditionFailure("a stalled group ended without an outcome")
        }
    }
}

/// Processors of the slow pool's threads, made when needed and reused.
final class PoolProcessors: @unchecked Sendable {
    // SAFETY: the list is guarded by the mutex; a processor belongs to whoever took it out.
    private struct Idle: @unchecked Sendable {
        // SAFETY: as above.
        let processor: CommandProcessor
    }

    private let idle = Mutex<[Idle]>([])

    /// Runs `body` with a processor of its own.
    func withProcessor(
        _ environment: CommandEnvironment, _ body: (CommandProcessor) -> Void
    ) {
        let taken = self.idle.withLock { $0.popLast() }
        let processor =
            taken?.processor ?? CommandProcessor(environment: environment, place: .pool)
        body(processor)
        let back = Idle(processor: processor)
        self.idle.withLock { $0.append(back) }
    }

    /// Lets go of all idle processors: at the end of the server.
    func removeAll() { self.idle.withLock { $0 = [] } }
}
