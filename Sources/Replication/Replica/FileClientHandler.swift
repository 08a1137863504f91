internal import NIOCore
internal import ReplicationCore
internal import SyncProtocol

/// What a connection to a file service tells its owner; all on the loop.
protocol FileClientOwner: AnyObject {
    /// A reply arrived.
    func fileClient(_ handler: FileClientHandler, received response: DecodedFileResponse)
    /// Bytes came that are no whole reply yet.
    func fileClientHeard(_ handler: FileClientHandler)
    /// The connection is gone; bytes of a reply had come in part.
    func fileClientClosed(_ handler: FileClientHandler, _ reason: String, partialBytes: Int)
    /// More may be written.
    func fileClientWritable(_ handler: FileClientHandler)
}

/// The connection to a master's file service (port+10001).
///
/// Limited by what is asked for; by reading, too, where more comes than was paid for.
final class FileClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private weak var owner: (any FileClientOwner)?
    let gate: ReceiveGate
    private var reader = FrameReader(limits: .fileResponse)
    private var context: ChannelHandlerContext?
    private var hasFailed = false
    private var closeReason = "the file service closed the connection"
    private var needsFlush = false

    init(owner: any FileClientOwner, gate: ReceiveGate) {
        self.owner = owner
        self.gate = gate
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.hasFailed else { return }
        var bytes = self.unwrapInboundIn(data)
        self.reader.append(&bytes)
        do throws(WireError) {
            while !self.hasFailed, let body = try self.reader.next() {
                self.owner?.fileClient(
                    self, received: try FileServiceCodec.decodeResponse(body))
            }
        } catch {
            self.closeReason = "the file service sent what is no reply: \(error)"
            self.hasFailed = true
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.reader.pendingBytes > 0 { self.owner?.fileClientHeard(self) }
        self.flush()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.owner?.fileClientWritable(self) }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.hasFailed = true
        self.owner?.fileClientClosed(
            self, self.closeReason, partialBytes: self.reader.pendingBytes)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.closeReason = "the connection failed: \(error)"
        context.close(promise: nil)
    }

    var isWritable: Bool { self.context?.channel.isWritable ?? false }

    /// Writes a request; call ``flush()`` when done.
    func send(_ request: FileServiceRequest) {
        guard let context = self.context, !self.hasFailed else { return }
        var buffer = context.channel.allocator.buffer(capacity: 256)
        FileServiceCodec.encode(request, into: &buffer)
        context.write(self.wrapOutboundOut(buffer), promise: nil)
        self.needsFlush = true
    }

    func flush() {
        guard self.needsFlush else { return }
        self.needsFlush = false
        self.context?.flush()
    }

    /// Closes without a report to the owner.
    func close() {
        self.owner = nil
        self.hasFailed = true
        self.context?.close(promise: nil)
    }
}
