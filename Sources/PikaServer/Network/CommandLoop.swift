import Commands
import NIOCore
import Synchronization

/// What the connections of one event loop share: the command path, scratch output, counters.
///
/// Used on its event loop only.
final class CommandLoop {
    /// Scratch output larger than this is given back after use, in bytes.
    private static let keptOutputBytes = 1 << 20

    let eventLoop: any EventLoop
    let processor: CommandProcessor
    let counters: LoopCounters
    /// Replies of the read cycle that is being served; empty between cycles.
    var output: ByteBuffer
    private var handlers: [ObjectIdentifier: ClientHandler] = [:]

    init(eventLoop: any EventLoop, processor: CommandProcessor, counters: LoopCounters) {
        self.eventLoop = eventLoop
        self.processor = processor
        self.counters = counters
        output = ByteBufferAllocator().buffer(capacity: 16 * 1024)
    }

    func add(_ handler: ClientHandler) {
        handlers[ObjectIdentifier(handler)] = handler
    }

    func remove(_ handler: ClientHandler) {
        handlers[ObjectIdentifier(handler)] = nil
    }

    /// Moves the processor's replies behind those of the read cycle.
    func takeReplies() {
        let replies = processor.output
        guard !replies.isEmpty else { return }
        output.writeBytes(replies)
        processor.clearOutput()
    }

    /// The read cycle's output was handed to the channel: makes the buffer ready for the next.
    func outputWasTaken() {
        if output.capacity > Self.keptOutputBytes {
            output = ByteBufferAllocator().buffer(capacity: 16 * 1024)
        } else {
            output.clear()
        }
    }

    /// Calls a closure on this loop again and again, until the loop ends.
    func repeatEvery(_ delay: TimeAmount, _ body: @escaping @Sendable (CommandLoop) -> Void) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleRepeatedTask(initialDelay: delay, delay: delay) { _ in body(bound.value) }
    }

    /// Closes connections that have been idle since before `limit` (Unix seconds).
    func closeIdle(since limit: Int64) {
        for handler in Array(handlers.values) where handler.isIdle(since: limit) {
            handler.closeNow()
        }
    }

    /// Closes connections that listen and have not taken their messages for too long.
    func checkSoftLimits() {
        for handler in Array(handlers.values) { handler.checkSoftLimit() }
    }

    /// Closes every connection once its replies are out.
    func closeAll() {
        for handler in Array(handlers.values) { handler.closeWhenIdle() }
    }

    var connectionCount: Int { handlers.count }
}
