internal import Binlog
internal import Keyspace
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import RateLimit
internal import ReplicationCore
internal import SyncProtocol

extension ReplicaConnection {
    func send(_ response: ReplicationResponse) {
        guard let channel = self.channel else { return }
        var buffer = channel.channel.allocator.buffer(capacity: 256)
        ReplicationCodec.encode(response, into: &buffer)
        channel.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    func sendKeepAlive(_ stream: BinlogStream) {
        guard let channel = self.channel else { return }
        var buffer = channel.channel.allocator.buffer(capacity: 64)
        stream.encoder.encodeKeepAlive(into: &buffer)
        channel.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    /// Sends items while the channel takes them, the windows are open and the limiter agrees.
    ///
    /// Databases take turns, one frame each.
    func runPump() {
        guard !self.pump.isRunning, self.pump.timer == nil, let channel = self.channel else {
            return
        }
        self.pump.isRunning = true
        defer { self.pump.isRunning = false }
        var wrote = false
        defer { if wrote { channel.flush() } }
        var idle = 0
        var streams = self.sortedStreams
        let mostBytes = self.mostFrameBytes
        while idle < streams.count, channel.channel.isWritable {
            self.pump.turn = (self.pump.turn + 1) % streams.count
            let stream = streams[self.pump.turn]
            guard var allowance = stream.openAllowance else {
                idle += 1
                continue
            }
            allowance.byteCount = min(allowance.byteCount, mostBytes)
            if let deadline = self.acquire(stream, allowance) {
                self.waitForLimiter(until: deadline)
                return
            }
            if self.sendFrame(stream, allowance, channel) {
                wrote = true
                idle = 0
                // A large flush in the middle lets the kernel start early and shows back-pressure.
                self.pump.unflushed += stream.lastFrameBytes
                if self.pump.unflushed >= MasterSide.writeBufferBytes.low {
                    channel.flush()
                    self.pump.unflushed = 0
                }
            } else {
                idle += 1
                streams = self.sortedStreams
            }
        }
    }

    /// The most that the limiter should be asked for at once.
    private var mostFrameBytes: Int {
        self.address.map { self.core.context.sending.grantBytes(for: $0) } ?? .max
    }

    /// Asks the limiter for what the next frame will take; nil = granted.
    private func acquire(
        _ stream: BinlogStream, _ allowance: MasterSession.Allowance
    ) -> NIODeadline? {
        guard let address = self.address else { return nil }
        let limiter = self.core.context.sending
        if let deadline = self.pump.debt.pay(limiter, for: address, stream: .binlog) {
            return deadline
        }
        let wanted = stream.expectedBytes(allowance)
        if let deadline = limiter.acquire(wanted, for: address, stream: .binlog) {
            return deadline
        }
        self.pump.granted = wanted
        return nil
    }

    private func sendFrame(
        _ stream: BinlogStream, _ allowance: MasterSession.Allowance,
        _ channel: ChannelHandlerContext
    ) -> Bool {
        let granted = self.pump.granted
        do {
            var buffer = channel.channel.allocator.buffer(capacity: granted + 1_024)
            guard let frame = try stream.readFrame(allowance, granted: granted, into: &buffer)
            else {
                self.settle(granted: granted, used: 0)
                return false
            }
            self.settle(granted: granted, used: buffer.readableBytes)
            self.core.binlogBytesSent += UInt64(buffer.readableBytes)
            channel.write(self.wrapOutboundOut(buffer), promise: nil)
            self.feed(.framed(frame), to: stream)
            return true
        } catch {
            self.settle(granted: granted, used: 0)
            self.logger.error(
                "binlog can't be read on",
                metadata: [
                    "db": "\(stream.database.name)", "position": "\(allowance.from)",
                    "error": "\(error)",
                ])
            self.feed(.readFailed, to: stream)
            return false
        }
    }

    /// Gives back what was not used; what an item took beyond it is owed before the next frame.
    private func settle(granted: Int, used: Int) {
        self.pump.granted = 0
        if used > granted {
            self.pump.debt.add(used - granted)
        } else if used < granted, let address = self.address {
            self.core.context.sending.refund(granted - used, for: address, stream: .binlog)
        }
    }

    private func waitForLimiter(until deadline: NIODeadline) {
        guard let channel = self.channel else { return }
        self.pump.timer = channel.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) {
            self.pump.timer = nil
            self.runPump()
        }
    }
}

/// What the pump of a connection remembers between its runs.
struct PumpState {
    /// Whose turn it was.
    var turn = 0
    var isRunning = false
    /// Runs again when the limiter has something.
    var timer: Scheduled<Void>?
    /// Bytes granted for the frame at hand.
    var granted = 0
    /// Bytes sent beyond what was granted (one large item).
    var debt = SendingDebt()
    var unflushed = 0
}
