public import SyncProtocol

/// Replies that must not be sent before this position of a database's log is durable
/// (`binlog-sync always`).
public struct DurableWait: Sendable, Equatable {
    /// Index of the database.
    public var database: Int
    /// Position that must be durable.
    public var position: BinlogPosition
}

/// What to do with a connection after `process` or `finish`.
public enum ProcessNext: Sendable {
    /// All complete requests are executed: read on.
    case readMore
    /// The connection is busy: run the work on the slow pool, then call `finish` on the loop, then
    /// `process` with the rest of the input. Read nothing from the connection until then (stop
    /// reading when more than a limit is buffered).
    case busy(SlowWork)
    /// Close the connection once the output is written.
    case close
}

/// Result of `process`.
public struct ProcessResult: Sendable {
    /// Bytes of the input that are used up; the rest must come first in the next input.
    public var consumed: Int
    /// What happens next with the connection.
    public var next: ProcessNext
    /// The output written so far must be held back until these positions are durable.
    ///
    /// Usually empty.
    public var waits: [DurableWait]
}

/// Commands of one connection that must run on the slow pool.
///
/// The work owns a copy of the requests. Its connection is busy until `finish`.
public final class SlowWork: @unchecked Sendable {
    // SAFETY: used by one thread at a time: made on the loop, run on the pool, finished on the loop;
    // the hand-overs order the accesses.

    /// Runs on a thread of the slow pool; may block.
    public func run() {
        fatalError("skeleton")
    }
}

/// The command path of one event loop, without I/O.
///
/// Not thread-safe: one processor per loop. For a connection's readable bytes:
/// ```
/// let result = processor.process(client, bytes)   // executes, commits, appends to `output`
/// buffer.writeBytes(processor.output); processor.clearOutput()
/// // drop result.consumed bytes, keep the rest; then look at result.next and result.waits
/// ```
/// `process` commits the writes of its input before it returns, so replies in `output` are true
/// (but for `waits`). Flush the socket once per read cycle.
public final class CommandProcessor {
    private let environment: CommandEnvironment

    /// Makes the processor of one event loop.
    public init(environment: CommandEnvironment) {
        self.environment = environment
    }

    /// Replies not yet taken; valid until the next call of the processor.
    public var output: UnsafeRawBufferPointer {
        fatalError("skeleton")
    }

    /// Forgets the replies that were taken.
    public func clearOutput() {
        fatalError("skeleton")
    }

    /// Executes the requests at the start of `input` and commits what they wrote.
    ///
    /// Incomplete requests stay unconsumed: call again with the same bytes and more behind them.
    public func process(_ client: ClientState, _ input: UnsafeRawBufferPointer) -> ProcessResult {
        fatalError("skeleton")
    }

    /// Takes over the replies of a slow work that ran; call on the connection's loop.
    ///
    /// `consumed` of the result is 0 and `next` is never `busy`.
    public func finish(_ work: SlowWork, _ client: ClientState) -> ProcessResult {
        fatalError("skeleton")
    }
}
