internal import NIOCore
internal import RateLimit
internal import ReplicationCore

/// Holds back the reading of a connection until the limiter has granted what was read already.
///
/// What arrives is paid for after the fact, piece by piece; while something is owed nothing more is
/// read, so the sender is slowed by TCP itself. What was paid for when it was asked for is not paid
/// again. Nearest to the socket in the pipeline; used on the loop of its connection.
final class ReceiveGate: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer

    /// A rate that was changed counts after this time, also for bytes that were waited for before.
    static let longestWait: TimeAmount = .milliseconds(50)

    private let limiter: ReceiveLimiter
    private var context: ChannelHandlerContext?
    private var owedBytes: UInt64 = 0
    /// Bytes granted before they came.
    private var prepaidBytes: UInt64 = 0
    private var isHeld = false
    private var wantsRead = false

    init(limiter: ReceiveLimiter) {
        self.limiter = limiter
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let count = UInt64(self.unwrapInboundIn(data).readableBytes)
        self.limiter.note(receivedBytes: count)
        let covered = min(count, self.prepaidBytes)
        self.prepaidBytes -= covered
        self.owedBytes += count - covered
        context.fireChannelRead(data)
    }

    func read(context: ChannelHandlerContext) {
        self.wantsRead = true
        self.readIfPossible()
    }

    /// Stops reading, or goes on.
    func setHeld(_ isHeld: Bool) {
        self.isHeld = isHeld
        if !isHeld { self.readIfPossible() }
    }

    /// Bytes that were granted already will come.
    func prepay(_ bytes: UInt64) {
        self.prepaidBytes += bytes
    }

    /// No more than `bytes` will come of what was granted: the rest is given back.
    func expect(atMost bytes: UInt64, now: MonotonicInstant) {
        guard self.prepaidBytes > bytes else { return }
        self.limiter.refund(self.prepaidBytes - bytes, now: now.nanoseconds)
        self.prepaidBytes = bytes
    }

    /// The rate fell: what was granted at the old one is paid again when it comes.
    func voidPrepaid() {
        self.prepaidBytes = 0
    }

    private func readIfPossible() {
        guard self.wantsRead, !self.isHeld, let context = self.context else { return }
        if let deadline = self.pay(now: context.eventLoop.instant) {
            let latest = context.eventLoop.now + Self.longestWait
            context.eventLoop.assumeIsolated().scheduleTask(deadline: min(deadline, latest)) {
                self.readIfPossible()
            }
            return
        }
        self.wantsRead = false
        context.read()
    }

    /// Pays as much as is granted now; returns when to try again, or nil when nothing is owed.
    private func pay(now: MonotonicInstant) -> NIODeadline? {
        while self.owedBytes > 0 {
            let piece = min(self.owedBytes, self.limiter.grantBytes)
            switch self.limiter.acquire(piece, now: now.nanoseconds) {
            case .granted:
                self.owedBytes -= piece
            case .waitUntil(let nanoseconds):
                return .uptimeNanoseconds(nanoseconds)
            }
        }
        return nil
    }
}

/// Read buffers that are a small part of what the limiter grants in a moment.
///
/// A read is paid for afterwards, so that its size adds to the burst: 1/160 s at most, and 40 ms of
/// the bucket, stay below 1.6 times the share of 100 ms.
struct LimitedReadBuffers: RecvByteBufferAllocator {
    /// The largest read as a part of a second.
    static let readsPerSecond: UInt64 = 160
    /// The read at very low rates.
    static let leastBytes = 1_024

    let limiter: ReceiveLimiter
    /// The read without a limit; a power of two.
    let mostBytes: Int

    /// A power of two, as buffers are rounded up to one.
    var readBytes: Int {
        let rate = self.limiter.bytesPerSecond
        guard rate > 0 else { return self.mostBytes }
        let share = max(Self.leastBytes, Int(clamping: rate / Self.readsPerSecond))
        return min(self.mostBytes, 1 << (Int.bitWidth - 1 - share.leadingZeroBitCount))
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        allocator.buffer(capacity: self.readBytes)
    }

    /// Buffers are used again only when there is no limit: a larger one would be filled whole.
    func nextBufferSize() -> Int? {
        self.limiter.bytesPerSecond == 0 ? self.mostBytes : nil
    }

    mutating func record(actualReadBytes: Int) -> Bool {
        self.limiter.bytesPerSecond > 0
    }
}
