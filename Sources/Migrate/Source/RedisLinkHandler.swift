internal import NIOCore
internal import NIOPosix
internal import RedisSync

/// Why a link to a source ended.
enum RedisLinkEnd: Error, Sendable {
    /// The connection is gone, or was quiet for too long.
    case lost(String)
    /// One end's certificate is none that the other trusts.
    case untrusted(String)
    /// The master does not serve: now, or at all.
    case refused(HandshakeError)
    /// The spool can't be written, and it does not pass by itself.
    case spool(SpoolError)
}

/// One connection to a source, from the first byte on: its replies into the spool.
///
/// Lives on its event loop, which has a thread of its own: the spool is written there.
final class RedisLinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How often it is said what is here.
    static let acknowledgeEvery = TimeAmount.seconds(1)
    /// A read of less than this of a snapshot is followed by a pause, in bytes: masters send 16 KiB at
    /// a time, and each costs a turn of every thread that it passes.
    static let smallReadBytes = 128 << 10
    /// How long that pause is; meanwhile the socket gathers.
    static let gatherFor = TimeAmount.milliseconds(2)
    /// How often a full spool is tried again.
    static let retryEvery = TimeAmount.milliseconds(200)

    private let core: RedisLinkCore
    private let ended: EventLoopPromise<Void>
    private var machine: ReplicaHandshake
    private var context: ChannelHandlerContext?
    /// What could not be written yet.
    private var waiting: [HandshakeEvent] = []
    private var acknowledges = false
    private var isCopying = false
    /// Bytes since reading was asked for.
    private var readBytes = 0
    private var lastRead = NIODeadline.now()
    private var end: RedisLinkEnd?

    init(core: RedisLinkCore, request: ReplicaRequest, ended: EventLoopPromise<Void>) {
        self.core = core
        self.ended = ended
        self.machine = ReplicaHandshake(request)
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        self.lastRead = .now()
        self.core.note(phase: .connecting)
        self.schedule(Self.acknowledgeEvery) { self.tick() }
        self.schedule(.milliseconds(self.core.configuration.syncEveryMilliseconds)) {
            self.synchronize(thenAcknowledge: false)
        }
        self.perform(self.machine.start())
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        self.lastRead = .now()
        self.core.count(received: bytes.readableBytes)
        self.readBytes += bytes.readableBytes
        do throws(HandshakeError) {
            self.perform(try self.machine.received(bytes.readableBytesView))
        } catch {
            self.fail(.refused(error))
        }
    }

    /// Not asked for while something waits for room: the source's bytes stay at the source.
    func channelReadComplete(context: ChannelHandlerContext) {
        if self.core.configuration.syncEveryMilliseconds <= 1 {
            self.synchronize(thenAcknowledge: false)
        }
        let isSmall = self.readBytes < Self.smallReadBytes
        self.readBytes = 0
        guard self.waiting.isEmpty else { return }
        guard self.isCopying, isSmall else { return context.read() }
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.gatherFor) {
            self.context?.read()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.finish()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.fail(RedisTLS.distrust(error).map { .untrusted($0) } ?? .lost("\(error)"))
    }

    /// Does something again and again while the connection lasts.
    private func schedule(_ pause: TimeAmount, _ body: @escaping () -> Void) {
        self.context?.eventLoop.assumeIsolated().scheduleTask(in: pause) {
            guard self.context != nil else { return }
            body()
            self.schedule(pause, body)
        }
    }

    private func finish() {
        self.context = nil
        self.ended.fail(self.end ?? .lost("the source closed the connection"))
    }

    private func fail(_ end: RedisLinkEnd) {
        if self.end == nil { self.end = end }
        self.context?.close(promise: nil)
    }

    // MARK: - Events

    private func perform(_ events: [HandshakeEvent]) {
        if self.waiting.isEmpty {
            self.write(events)
        } else {
            self.waiting += events
        }
    }

    private func write(_ events: [HandshakeEvent]) {
        for (index, event) in events.enumerated() {
            guard self.end == nil else { return }
            do throws(SpoolError) {
                try self.write(event, rest: events[(index + 1)...])
            } catch {
                guard error.isOutOfSpace else { return self.fail(.spool(error)) }
                if self.waiting.isEmpty { self.waiting = Array(events[index...]) }
                return self.waitForRoom(error)
            }
        }
        if self.core.isHeld { self.core.note(held: nil) }
    }

    private func waitForRoom(_ error: SpoolError) {
        self.core.note(held: error)
        self.context?.eventLoop.assumeIsolated().scheduleTask(in: Self.retryEvery) {
            let events = self.waiting
            self.waiting = []
            self.write(events)
            if self.waiting.isEmpty { self.context?.read() }
        }
    }

    private func write(
        _ event: HandshakeEvent, rest: ArraySlice<HandshakeEvent>
    ) throws(SpoolError) {
        switch event {
        case .send(let bytes): self.send(bytes)
        case .fullSync where self.core.configuration.refusesSnapshots:
            let reply = "it no longer has the history from where we were, and must not fork"
            self.fail(.refused(.unsupported(reply: reply)))
        case .fullSync(let id, let offset): try self.core.begin(id: id, offset: offset)
        case .snapshotStart(let size):
            self.core.note(snapshotBytes: size)
            self.isCopying = true
        case .snapshot(let bytes):
            let spool = self.core.spool
            try onBytes(bytes) { piece throws(SpoolError) in try spool.appendSnapshot(piece) }
        case .snapshotEnd:
            do throws(SpoolError) {
                try self.core.spool.finishSnapshot()
            } catch {
                // A sync that failed is not tried again.
                return self.fail(.spool(error))
            }
            self.startStream()
        case .continued(let id):
            try self.core.continued(id)
            self.startStream()
        case .stream(let bytes): try self.writeStream(bytes, rest: rest)
        }
    }

    private func startStream() {
        self.isCopying = false
        self.core.note(phase: .streaming)
        self.acknowledges = true
        self.acknowledge()
    }

    private func writeStream(
        _ bytes: [UInt8], rest: ArraySlice<HandshakeEvent>
    ) throws(SpoolError) {
        let now = self.core.configuration.wallClockMilliseconds()
        var start = 0
        while start < bytes.count {
            let end = min(start + Spool.maxAppendBytes, bytes.count)
            let spool = self.core.spool
            do throws(SpoolError) {
                try onBytes(bytes[start..<end]) { piece throws(SpoolError) in
                    try spool.append(piece, receivedAtMilliseconds: now)
                }
            } catch {
                self.waiting = [.stream(Array(bytes[start...]))] + rest
                throw error
            }
            start = end
        }
        if GetAckSearch.isIn(bytes) { self.synchronize(thenAcknowledge: true) }
    }

    // MARK: - Acknowledging

    private func tick() {
        if self.acknowledges { self.acknowledge() }
        let quiet = NIODeadline.now() - self.lastRead
        let limit = TimeAmount.milliseconds(self.core.configuration.quietLimitMilliseconds)
        if quiet > limit, self.waiting.isEmpty {
            self.fail(.lost("nothing was received for \(quiet.nanoseconds / 1_000_000_000) s"))
        }
    }

    private func acknowledge() {
        self.send(ReplicaHandshake.acknowledgement(self.core.acknowledgedOffset))
    }

    /// Off the loop: the disk may take its time.
    private func synchronize(thenAcknowledge: Bool) {
        guard let loop = self.context?.eventLoop else { return }
        let spool = self.core.spool
        let bound = NIOLoopBound(self, eventLoop: loop)
        self.core.pool.submit { _ in
            let failure: SpoolError?
            do throws(SpoolError) {
                try spool.synchronize()
                failure = nil
            } catch { failure = error }
            loop.execute {
                if let failure { return bound.value.fail(.spool(failure)) }
                if thenAcknowledge, bound.value.acknowledges { bound.value.acknowledge() }
            }
        }
    }

    private func send(_ bytes: [UInt8]) {
        guard let context = self.context else { return }
        let buffer = context.channel.allocator.buffer(bytes: bytes)
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }
}

/// Lends bytes to a body that throws a typed error.
func onBytes(
    _ bytes: some Collection<UInt8>,
    _ body: (UnsafeRawBufferPointer) throws(SpoolError) -> Void
) throws(SpoolError) {
    let slice = ArraySlice(bytes)
    let result = slice.withUnsafeBytes { buffer -> Result<Void, SpoolError> in
        do throws(SpoolError) { return .success(try body(buffer)) } catch {
            return .failure(error)
        }
    }
    try result.get()
}

/// Finds a master's wish for an acknowledgement in the stream.
///
/// A word within a value costs one acknowledgement too many; one that is cut in two is answered a
/// second later.
enum GetAckSearch {
    private static let word = Array("GETACK".utf8)

    static func isIn(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= Self.word.count else { return false }
        return bytes.withUnsafeBufferPointer { buffer in
            var at = 0
            let last = buffer.count - Self.word.count
            while at <= last {
                if buffer[at] & 0xdf == Self.word[0], Self.matches(buffer, at) { return true }
                at += 1
            }
            return false
        }
    }

    private static func matches(_ buffer: UnsafeBufferPointer<UInt8>, _ at: Int) -> Bool {
        for index in 1..<Self.word.count where buffer[at + index] & 0xdf != Self.word[index] {
            return false
        }
        return true
    }
}
