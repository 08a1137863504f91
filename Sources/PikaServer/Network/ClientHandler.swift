import Commands
import Keyspace
import NIOCore
import NIOPosix
import RESP
import Synchronization

/// One client's connection: bytes in, the command path, bytes out.
///
/// One write and flush per read cycle. While the connection is *busy* (a slow command runs on the
/// pool, or replies wait for the disk) its later input waits, and nothing is read once a read
/// cycle's worth of it is here. The same holds while the client does not take its replies.
final class ClientHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State: Equatable {
        /// Serving.
        case open
        /// A slow command runs, or replies wait for the disk.
        case busy
        /// A command waits for elements; what follows it waits, too.
        case blocked
        /// A long reply is being written, piece by piece.
        case sending
        /// There are more requests here, but the client has not taken their predecessors' replies.
        case outputFull
        /// Closing once the output is written; input is dropped.
        case closing
    }

    private let loop: CommandLoop
    private let client: ClientState
    private let services: ClientServices
    private var outlet: PushOutlet?
    private var state = State.open
    /// Input that is not used up; nil for nearly every connection at nearly every moment.
    private var rest: ByteBuffer?
    private var readIsWanted = false
    /// True while a slow command has the connection's state.
    private var poolHasClient = false
    /// Ends the wait of a blocked command.
    private var timeout: (waiter: KeyWaiter, task: Scheduled<Void>?)?
    /// A blocked connection goes on reading, so that its end is noticed, up to this many bytes.
    private static let readAheadBytes = 64 * 1024
    private var closesAfterBusy = false
    /// What is left of a long reply.
    private var longReply: LongReply?
    /// Messages that wait for the end of what keeps the connection busy.
    private var pushesWait = false
    /// Since when more than the soft limit has been waiting.
    private var overSoftLimit: NIODeadline?
    /// Bytes of replies written since it was last looked how many of them wait.
    private var unseenBytes = 0
    /// So many of them are worth a look.
    private static let unseenLimitBytes = 16 * 1024
    private var context: ChannelHandlerContext?

    init(loop: CommandLoop, client: ClientState, services: ClientServices) {
        self.loop = loop
        self.client = client
        self.services = services
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let outlet = PushOutlet(eventLoop: loop.eventLoop, services: services)
        let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
        outlet.open { handler.value.deliverPushes() }
        self.outlet = outlet
        client.record.outlet = outlet
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        outlet?.close()
        outlet = nil
        client.record.outlet = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        loop.add(self)
        loop.counters.connections.wrappingAdd(1, ordering: .relaxed)
    }

    func channelInactive(context: ChannelHandlerContext) {
        state = .closing
        rest = nil
        endLongReply()
        endTimeout()
        if !poolHasClient { client.disconnect() }
        loop.remove(self)
        services.registry.remove(client.record.id)
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var input = unwrapInboundIn(data)
        loop.counters.inputBytes.wrappingAdd(UInt64(input.readableBytes), ordering: .relaxed)
        if rest != nil {
            rest?.writeBuffer(&input)
        } else {
            rest = input
        }
        noteInput()
        defer { noteInput() }
        guard state == .open else { return checkQueryBuffer(context) }
        serve(context)
    }

    /// For CLIENT LIST: what is here before the requests run, and what is left behind them.
    private func noteInput() {
        client.record.inputBytes.store(rest?.readableBytes ?? 0, ordering: .relaxed)
        client.record.inputCapacity.store(rest?.storageCapacity ?? 0, ordering: .relaxed)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flushOutput(context)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            if state == .sending { sendLater() }
            if state == .outputFull {
                state = .open
                serve(context)
                flushOutput(context)
            }
            resumeReading(context)
        }
        context.fireChannelWritabilityChanged()
    }

    func read(context: ChannelHandlerContext) {
        if mayRead(context) {
            context.read()
        } else {
            readIsWanted = true
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // The client closed its side: what it asked for before is answered, then we close, too.
        if case .inputClosed? = event as? ChannelEvent {
            closeWhenIdle()
            return
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A broken connection ends that client only; there is nobody to tell.
        context.close(promise: nil)
    }

    // MARK: Serving

    private func mayRead(_ context: ChannelHandlerContext) -> Bool {
        switch state {
        case .open: context.channel.isWritable
        case .blocked: (rest?.readableBytes ?? 0) < Self.readAheadBytes
        case .busy, .sending, .outputFull, .closing: false
        }
    }

    private func resumeReading(_ context: ChannelHandlerContext) {
        guard readIsWanted, mayRead(context) else { return }
        readIsWanted = false
        context.read()
    }

    /// Runs the requests that are here, until none is complete or the connection may not go on.
    private func serve(_ context: ChannelHandlerContext) {
        guard state == .open, var input = rest else { return }
        guard input.readableBytes >= client.neededBytes else { return checkQueryBuffer(context) }
        // Out of the property while it is used, so that it stays uniquely referenced.
        rest = nil
        let result = input.withUnsafeReadableBytes { loop.processor.process(client, $0) }
        if case .busy(let work) = result.next, let range = work.lentRange {
            lend(&input, range, to: work, consumed: result.consumed)
        } else {
            input.moveReaderIndex(forwardBy: result.consumed)
        }
        keep(&input)
        loop.takeReplies()
        act(on: result, context)
    }

    /// Gives the buffer with large requests to the work that runs them, and keeps what is behind.
    private func lend(
        _ input: inout ByteBuffer, _ range: Range<Int>, to work: SlowWork, consumed: Int
    ) {
        let start = input.readerIndex
        let behind = input.readableBytesView[(start + consumed)...]
        let rest = ByteBuffer(bytes: behind)
        if let requests = input.getSlice(at: start + range.lowerBound, length: range.count) {
            work.lend(LentInput(buffer: requests))
        }
        input = rest
    }

    /// Keeps what is left of an input, without holding on to a large buffer for a few bytes.
    private func keep(_ input: inout ByteBuffer) {
        guard input.readableBytes > 0 else { return }
        let needed = min(client.neededBytes, services.queryBufferLimitBytes)
        if input.readableBytes < input.capacity / 2 || needed > input.capacity {
            var smaller = ByteBufferAllocator().buffer(capacity: max(input.readableBytes, needed))
            smaller.writeBuffer(&input)
            rest = smaller
        } else {
            rest = input
        }
    }

    private func checkQueryBuffer(_ context: ChannelHandlerContext) {
        guard let rest, rest.readableBytes > services.queryBufferLimitBytes else { return }
        context.close(promise: nil)
    }

    private func act(on result: ProcessResult, _ context: ChannelHandlerContext) {
        if !result.waits.isEmpty {
            hold(for: result, context)
            return
        }
        proceed(with: result.next, context)
    }

    private func proceed(with next: ProcessNext, _ context: ChannelHandlerContext) {
        switch next {
        case .readMore:
            checkQueryBuffer(context)
        case .yield:
            flushOutput(context)
            guard context.channel.isWritable else {
                state = .outputFull
                return
            }
            // Others have their turn first.
            state = .busy
            let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
            loop.eventLoop.execute { handler.value.becomeOpen() }
        case .gateClosed:
            flushOutput(context)
            state = .busy
            let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
            let eventLoop = loop.eventLoop
            services.environment.whenGateOpen {
                eventLoop.execute { handler.value.becomeOpen() }
            }
        case .postponed:
            flushOutput(context)
            state = .busy
            let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
            let eventLoop = loop.eventLoop
            services.environment.whenDue(client) {
                eventLoop.execute { handler.value.becomeOpen() }
            }
        case .blocked(let blocked):
            flushOutput(context)
            block(blocked, context)
        case .busy(let work):
            flushOutput(context)
            state = .busy
            poolHasClient = true
            let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
            let eventLoop = loop.eventLoop
            services.slowPool.submit { _ in
                work.run()
                eventLoop.execute { handler.value.workDone(work) }
            }
        case .output(let reply, let next):
            flushOutput(context)
            state = .sending
            longReply = LongReply(buffer: reply, next: next)
            sendPieces(context)
        case .close:
            closeGently()
        }
    }

    /// A slow command is done; also runs when the connection is gone, to give back what it holds.
    private func workDone(_ work: SlowWork) {
        poolHasClient = false
        let result = loop.processor.finish(work, client)
        guard let context, state == .busy else {
            loop.processor.clearOutput()
            if context == nil { client.disconnect() }
            return
        }
        loop.takeReplies()
        state = .open
        act(on: result, context)
        becomeOpen(context)
    }

    /// The first request of the rest waits for elements.
    private func block(_ blocked: BlockedRequest, _ context: ChannelHandlerContext) {
        if !blocked.unread.isEmpty {
            var input = ByteBufferAllocator().buffer(
                capacity: blocked.unread.count + (rest?.readableBytes ?? 0))
            input.writeBytes(blocked.unread)
            if var rest { input.writeBuffer(&rest) }
            rest = input
        }
        state = .blocked
        let waiter = blocked.waiter
        if timeout?.waiter !== waiter {
            endTimeout()
            let task = waiter.timeoutNanoseconds.map { delay in
                loop.eventLoop.scheduleTask(in: .nanoseconds(delay)) { waiter.interrupt(.timeout) }
            }
            timeout = (waiter, task)
        }
        let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
        let eventLoop = loop.eventLoop
        waiter.whenWoken { eventLoop.execute { handler.value.tryAgain() } }
    }

    private func endTimeout() {
        timeout?.task?.cancel()
        timeout = nil
    }

    /// Somebody added elements, or the time is over.
    private func tryAgain() {
        guard let context, state == .blocked else { return }
        state = .open
        becomeOpen(context)
        if state != .blocked { endTimeout() }
    }

    /// Writes pieces of the long reply while the socket takes them, a few in one turn of the loop.
    private func sendPieces(_ context: ChannelHandlerContext) {
        guard state == .sending, let reply = longReply else { return }
        var turns = 0
        while reply.sent < reply.count {
            guard context.channel.isWritable else { return }
            guard turns < LongReply.piecesPerTurn else { return sendLater() }
            turns += 1
            let end = min(reply.count, reply.sent + LongReply.pieceBytes)
            var piece = context.channel.allocator.buffer(capacity: end - reply.sent)
            reply.copy(reply.sent..<end, to: &piece)
            loop.counters.outputBytes.wrappingAdd(UInt64(end - reply.sent), ordering: .relaxed)
            reply.sent = end
            context.writeAndFlush(wrapOutboundOut(piece), promise: nil)
            // The write may have ended the connection.
            guard state == .sending else { return }
        }
        client.record.lastRequestSeconds.store(ServerClock.unixSeconds(), ordering: .relaxed)
        endLongReply()
        state = .open
        proceed(with: reply.next, context)
        becomeOpen(context)
    }

    /// In another turn, so that other connections have theirs.
    private func sendLater() {
        guard let reply = longReply, !reply.isScheduled else { return }
        reply.isScheduled = true
        let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
        loop.eventLoop.execute {
            reply.isScheduled = false
            guard let context = handler.value.context else { return }
            handler.value.sendPieces(context)
        }
    }

    /// Lets go of the long reply: on the pool, since freeing much memory takes time.
    private func endLongReply() {
        guard let reply = longReply else { return }
        longReply = nil
        services.slowPool.submit { _ in reply.free() }
    }

    private func becomeOpen() {
        guard let context, state == .busy else { return }
        state = .open
        becomeOpen(context)
    }

    /// Goes on with what is here, then with reading.
    private func becomeOpen(_ context: ChannelHandlerContext) {
        if pushesWait {
            flushOutput(context)
            deliverPushes()
        }
        serve(context)
        noteInput()
        flushOutput(context)
        if closesAfterBusy, state == .open { closeGently() }
        resumeReading(context)
    }

    // MARK: Output

    private func flushOutput(_ context: ChannelHandlerContext) {
        guard loop.output.readableBytes > 0 else { return }
        let count = loop.output.readableBytes
        loop.counters.outputBytes.wrappingAdd(UInt64(count), ordering: .relaxed)
        unseenBytes += count
        context.writeAndFlush(wrapOutboundOut(loop.output), promise: nil)
        // Behind the write: one that fails delivers, from within, what this socket has read, and its
        // replies must go the way of the others instead of to the loop's next client.
        loop.outputWasTaken()
    }

    /// Writes the messages that came for this connection, behind the replies before them.
    private func deliverPushes() {
        guard let context, let outlet, state != .closing else { return }
        guard state != .busy, state != .sending else {
            pushesWait = true
            return
        }
        pushesWait = false
        let bytes = outlet.take()
        guard !bytes.isEmpty else { return }
        loop.counters.outputBytes.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
        let waiting = bytes.count + bufferedBytes(context)
        // Else the socket will take these, or the next look finds them.
        if waiting > bytes.count {
            client.record.outputBytes.store(waiting, ordering: .relaxed)
        }
        unseenBytes += bytes.count
        let hardBytes = services.pushLimits.hardBytes
        if hardBytes > 0, waiting > hardBytes {
            loop.counters.closedForOutput.wrappingAdd(1, ordering: .relaxed)
            context.close(promise: nil)
            return
        }
        var buffer = context.channel.allocator.buffer(capacity: bytes.count)
        buffer.writeBytes(bytes)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Output that the socket has not taken.
    private func bufferedBytes(_ context: ChannelHandlerContext) -> Int {
        let options = context.channel.syncOptions
        return (try? options?.getOption(.bufferedWritableBytes)) ?? 0
    }

    /// Looks how much waits, and closes a connection that listens when that has been too much for too
    /// long.
    func checkSoftLimit() {
        let mayWait =
            client.record.isSubscribed || overSoftLimit != nil || longReply != nil
            || unseenBytes >= Self.unseenLimitBytes
            || client.record.outputBytes.load(ordering: .relaxed) > 0
        guard let context, mayWait || !context.channel.isWritable else { return }
        unseenBytes = 0
        let waiting = bufferedBytes(context) + (longReply.map { $0.count - $0.sent } ?? 0)
        client.record.outputBytes.store(waiting, ordering: .relaxed)
        guard client.record.isSubscribed || overSoftLimit != nil else { return }
        let limits = services.pushLimits
        guard limits.softBytes > 0, waiting > limits.softBytes else {
            overSoftLimit = nil
            return
        }
        let since = overSoftLimit ?? .now()
        overSoftLimit = since
        guard .now() - since >= .seconds(Int64(limits.softSeconds)) else { return }
        loop.counters.closedForOutput.wrappingAdd(1, ordering: .relaxed)
        context.close(promise: nil)
    }

    /// Keeps the replies of a burst until the disk has what they promise (`binlog-sync always`).
    private func hold(for result: ProcessResult, _ context: ChannelHandlerContext) {
        let replies = loop.output
        loop.outputWasTaken()
        client.record.heldReplyBytes.store(replies.readableBytes, ordering: .relaxed)
        state = .busy
        let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
        let eventLoop = loop.eventLoop
        let held = HeldReplies(replies: replies, next: result.next, remaining: result.waits.count)
        for wait in result.waits {
            services.environment.keyspace.databases[wait.database].whenDurable(wait.position) {
                isDurable in
                eventLoop.execute { handler.value.durable(held, isDurable) }
            }
        }
    }

    private func durable(_ held: HeldReplies, _ isDurable: Bool) {
        held.remaining -= 1
        if !isDurable { held.failed = true }
        guard held.remaining == 0, let context, state == .busy else { return }
        client.record.heldReplyBytes.store(0, ordering: .relaxed)
        guard !held.failed else {
            // The promise can't be kept: no reply is better than a false one.
            context.close(promise: nil)
            return
        }
        loop.output.writeImmutableBuffer(held.replies)
        state = .open
        proceed(with: held.next, context)
        becomeOpen(context)
    }

    // MARK: Closing

    /// True if nothing was asked of this connection since `limit` (Unix seconds).
    func isIdle(since limit: Int64) -> Bool {
        state != .busy && state != .blocked && !client.isListening
            && client.record.lastRequestSeconds.load(ordering: .relaxed) < limit
    }

    /// Closes at once.
    func closeNow() {
        context?.close(promise: nil)
    }

    /// Closes once what runs is answered.
    func closeWhenIdle() {
        if state == .busy || state == .sending { closesAfterBusy = true } else { closeGently() }
    }

    /// Closes once the output so far is written.
    func closeGently() {
        guard let context, state != .closing else { return }
        state = .closing
        rest = nil
        // close() drops writes that are pending, so it waits for the last one.
        let count = UInt64(loop.output.readableBytes)
        loop.counters.outputBytes.wrappingAdd(count, ordering: .relaxed)
        let written = loop.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(loop.output), promise: written)
        loop.outputWasTaken()
        let bound = NIOLoopBound(context, eventLoop: loop.eventLoop)
        written.futureResult.whenComplete { _ in bound.value.close(promise: nil) }
    }
}

/// Replies that wait for the disk; used on the connection's loop, handed through other threads.
private final class HeldReplies: @unchecked Sendable {
    // SAFETY: read and written on the connection's event loop only.
    let replies: ByteBuffer
    let next: ProcessNext
    var remaining: Int
    var failed = false

    init(replies: ByteBuffer, next: ProcessNext, remaining: Int) {
        self.replies = replies
        self.next = next
        self.remaining = remaining
    }
}

/// A reply that is written piece by piece; used on the connection's loop only, until it is freed.
private final class LongReply: @unchecked Sendable {
    // SAFETY: read and written on the connection's event loop, then, with nobody left there who would
    // read it, on the pool; the hand-over orders the accesses.

    /// Bytes that are copied and given to the socket at once.
    static let pieceBytes = 256 * 1024
    /// Pieces in one turn of the loop.
    static let piecesPerTurn = 4

    private var buffer: ReplyBuffer?
    let count: Int
    let next: ProcessNext
    var sent = 0
    var isScheduled = false

    init(buffer: ReplyBuffer, next: ProcessNext) {
        self.buffer = buffer
        count = buffer.count
        self.next = next
    }

    func copy(_ range: Range<Int>, to piece: inout ByteBuffer) {
        guard let buffer else { return }
        piece.writeBytes(UnsafeRawBufferPointer(rebasing: buffer.bytes[range]))
    }

    /// Gives the memory back, whoever may still hold on to the reply itself: a turn of the loop that
    /// is not quite over would be the last to do so, and would free it there.
    func free() { buffer = nil }
}

/// Large requests in the buffer that they were read into.
private struct LentInput: LentRequests {
    let buffer: ByteBuffer

    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        buffer.withUnsafeReadableBytes(body)
    }
}
