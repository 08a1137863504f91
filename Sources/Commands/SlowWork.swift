import Keyspace
import PikaStorage
import RESP
import Synchronization

/// Bytes of requests that stay where the connection read them.
public protocol LentRequests: Sendable {
    /// Calls `body` with the bytes; on any thread.
    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void)
}

/// Requests of one connection that must run on the slow pool, or the wait for a stalled store.
///
/// The work owns a copy of the requests, or, when they are large, the connection's own buffer
/// (`lentRange`). Its connection is busy until `CommandProcessor.finish`.
public final class SlowWork: @unchecked Sendable {
    // SAFETY: used by one thread at a time: made on the loop, run on the pool, finished on the loop;
    // the hand-overs order the accesses. The connection's state is used by nobody else meanwhile.

    private enum Job {
        case requests([UInt8])
        case lentRequests(Range<Int>)
        case stalled(WriteGroup, reply: [UInt8], replies: Int)
    }

    private let environment: CommandEnvironment
    private let client: ClientState
    private let job: Job
    private var lent: (any LentRequests)?
    /// Replies, once it ran.
    private(set) var output: ReplyBuffer?
    /// The connection is to be closed behind the replies.
    var closes = false
    /// A request that waits for elements.
    private(set) var blocked: BlockedRequest?
    /// Positions to wait for before the replies go out.
    private(set) var waits: [DurableWait] = []

    /// - Parameters:
    ///   - environment: what all processors share.
    ///   - client: the connection.
    ///   - input: its unread bytes.
    ///   - requests: which of them are the requests.
    init(
        _ environment: CommandEnvironment, _ client: ClientState,
        _ input: UnsafeRawBufferPointer, _ requests: Range<Int>
    ) {
        self.environment = environment
        self.client = client
        self.job =
            requests.count > ExecutionPlace.requestLimitBytes
            ? .lentRequests(requests) : .requests(Array(input[requests]))
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

    /// Which bytes of the input, as `process` got it, the work must be lent before it runs; nil if
    /// it has what it needs.
    public var lentRange: Range<Int>? {
        if case .lentRequests(let range) = self.job { range } else { nil }
    }

    /// Gives the work the bytes that it asked for.
    public func lend(_ requests: any LentRequests) { self.lent = requests }

    /// Runs on a thread of the slow pool; may block.
    public func run() {
        switch self.job {
        case .requests(let bytes):
            bytes.withUnsafeBytes { self.run($0) }
        case .lentRequests:
            guard let lent = self.lent else { preconditionFailure("the requests were not lent") }
            lent.withBytes { self.run($0) }
            // Freeing much memory takes time: here it is nobody's.
            self.lent = nil
        case .stalled(let group, let reply, let replies):
            self.finish(group, reply, replies)
        }
    }

    private func run(_ all: UnsafeRawBufferPointer) {
        self.environment.pool.withProcessor(self.environment) { processor in
            self.run(all, processor)
        }
    }

    private func run(_ all: UnsafeRawBufferPointer, _ processor: CommandProcessor) {
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
            case .busy, .gateClosed, .postponed, .output:
                preconditionFailure("the pool waits itself")
            }
        }
        self.output = processor.takeOutput()
    }

    private func finish(_ group: WriteGroup, _ reply: [UInt8], _ replies: Int) {
        switch group.finishStalled() {
        case .committed(let position):
            self.output = Self.buffer { writer in reply.withUnsafeBytes { writer.raw($0) } }
            guard self.environment.keyspace.syncPolicy == .always else { return }
            self.waits = [DurableWait(database: group.database.index, position: position)]
        case .failed(let error):
            let text = errorText(of: error)
            self.output = Self.buffer { writer in
                for _ in 0..<replies { writer.error(text) }
            }
            // Some of its commands may be among the replies that are errors now.
            self.client.transaction?.hasFailed = true
        case .nothing, .busy, .stalled, .prepareAgain:
            preconditionFailure("a stalled group ended without an outcome")
        }
    }

    private static func buffer(_ write: (inout ReplyWriter) -> Void) -> ReplyBuffer {
        var writer = ReplyWriter()
        write(&writer)
        return writer.takeBuffer()
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
