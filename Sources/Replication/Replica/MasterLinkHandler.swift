internal import NIOCore
internal import ReplicationCore
internal import SyncProtocol

/// What a connection to a master tells its owner; all on the loop.
protocol MasterLinkOwner: AnyObject {
    /// A frame arrived.
    func masterLink(_ handler: MasterLinkHandler, received response: DecodedReplicationResponse)
    /// The bytes are no frames of the protocol.
    func masterLink(_ handler: MasterLinkHandler, failed error: WireError)
    /// The connection is gone.
    func masterLinkClosed(_ handler: MasterLinkHandler, _ reason: String)
    /// Bytes were read.
    func masterLink(_ handler: MasterLinkHandler, read count: Int)
}

/// The replication connection (port+2000) of a replica: frames in, requests out.
///
/// Reading stops while the apply queues are full or the limiter wants it: see ``ReceiveGate``.
final class MasterLinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private weak var owner: (any MasterLinkOwner)?
    private var reader = FrameReader(limits: .replicationResponse)
    private let gate: ReceiveGate
    private var context: ChannelHandlerContext?
    private var hasFailed = false
    private var closeReason = "the master closed the connection"

    init(owner: any MasterLinkOwner, gate: ReceiveGate) {
        self.owner = owner
        self.gate = gate
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.hasFailed else { return }
        var bytes = self.unwrapInboundIn(data)
        let count = bytes.readableBytes
        self.owner?.masterLink(self, read: count)
        self.reader.append(&bytes)
        do throws(WireError) {
            while !self.hasFailed, let body = try self.reader.next() {
                self.owner?.masterLink(
                    self, received: try ReplicationCodec.decodeResponse(body))
            }
        } catch {
            self.hasFailed = true
            self.owner?.masterLink(self, failed: error)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.hasFailed = true
        self.owner?.masterLinkClosed(self, self.closeReason)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.closeReason = "the connection failed: \(error)"
        context.close(promise: nil)
    }

    /// Stops reading, or goes on.
    func setHeld(_ isHeld: Bool) {
        self.gate.setHeld(isHeld)
    }

    /// Sends a request.
    func send(_ request: ReplicationRequest) {
        guard let context = self.context, !self.hasFailed else { return }
        var buffer = context.channel.allocator.buffer(capacity: 256)
        ReplicationCodec.encode(request, into: &buffer)
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    /// Closes without a report to the owner.
    func close() {
        self.owner = nil
        self.hasFailed = true
        self.context?.close(promise: nil)
    }
}
