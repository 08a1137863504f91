import NIOCore
import ReplicationCore
import SyncProtocol

/// A TCP connection: bytes in order, in pieces, with delay; or nothing any more.
final class Link {
    /// One end's ears.
    struct Handlers {
        var bytes: (ByteBuffer) -> Void
        var closed: (String) -> Void
    }

    enum Side: Int {
        case client = 0
        case server = 1

        var other: Side { self == .client ? .server : .client }
    }

    let id: Int
    private unowned let world: World
    private let nodes: [Node]
    private var handlers: [Handlers?] = [nil, nil]
    private var isOpen = [true, true]
    /// When the last bytes towards each side arrive.
    private var lastArrival: [MonotonicInstant]
    /// Bytes on their way are lost.
    private var isCut = false

    init(id: Int, world: World, client: Node, server: Node) {
        self.id = id
        self.world = world
        nodes = [client, server]
        lastArrival = [world.now, world.now]
    }

    func listen(_ side: Side, _ handlers: Handlers) { self.handlers[side.rawValue] = handlers }

    func side(of node: Node) -> Side { nodes[0] === node ? .client : .server }

    func send(_ bytes: ByteBuffer, from side: Side) {
        guard isOpen[side.rawValue], !isCut else { return }
        let to = side.other
        var rest = bytes
        while rest.readableBytes > 0 {
            // Mostly whole; sometimes in pieces.
            let count =
                world.random.oneIn(8)
                ? Int.random(in: 1...rest.readableBytes, using: &world.random)
                : rest.readableBytes
            guard let piece = rest.readSlice(length: count) else { return }
            deliver(piece, to: to)
        }
    }

    private func deliver(_ piece: ByteBuffer, to side: Side) {
        let arrival = max(
            lastArrival[side.rawValue], world.now + world.random.milliseconds(0...5))
        lastArrival[side.rawValue] = arrival
        world.after(arrival.since(world.now)) { [self] in arrive(piece, at: side) }
    }

    private func arrive(_ piece: ByteBuffer, at side: Side) {
        guard !isCut, isOpen[side.rawValue] else { return }
        // A stalled network holds what it has; order is kept because everything waits alike.
        if nodes.contains(where: \.isIsolated) {
            held.append((piece, side))
            return
        }
        if !held.isEmpty {
            held.append((piece, side))
            release()
            return
        }
        handlers[side.rawValue]?.bytes(piece)
    }

    private var held: [(ByteBuffer, Side)] = []

    /// The network moves again.
    func release() {
        guard !nodes.contains(where: \.isIsolated) else { return }
        let waiting = held
        held = []
        for (piece, side) in waiting where !isCut && isOpen[side.rawValue] {
            handlers[side.rawValue]?.bytes(piece)
        }
    }

    /// One end closes; the other hears of it behind what was sent.
    func close(from side: Side, _ reason: String) {
        guard isOpen[side.rawValue] else { return }
        isOpen[side.rawValue] = false
        handlers[side.rawValue] = nil
        let to = side.other
        let arrival = max(lastArrival[to.rawValue], world.now + world.random.milliseconds(0...5))
        world.after(arrival.since(world.now)) { [self] in hearClose(to, reason) }
    }

    private func hearClose(_ side: Side, _ reason: String) {
        guard isOpen[side.rawValue] else { return }
        isOpen[side.rawValue] = false
        let closed = handlers[side.rawValue]?.closed
        handlers[side.rawValue] = nil
        closed?(reason)
    }

    /// The connection breaks; what is under way is lost.
    ///
    /// A half-open end hears of it late.
    func cut(halfOpen: Bool) {
        guard !isCut else { return }
        isCut = true
        let late = Side(rawValue: Int.random(in: 0...1, using: &world.random)) ?? .client
        for side in [Side.client, .server] {
            let delay =
                halfOpen && side == late
                ? world.random.milliseconds(1_000...60_000) : world.random.milliseconds(0...50)
            world.after(delay) { [self] in hearClose(side, "connection reset") }
        }
    }

    /// A process ended: its end is gone; the other hears at once (kill) or much later (power).
    func lose(_ node: Node, isPowerLoss: Bool) {
        let side = side(of: node)
        isOpen[side.rawValue] = false
        handlers[side.rawValue] = nil
        isCut = true
        let delay = isPowerLoss ? world.random.milliseconds(500...40_000) : .milliseconds(1)
        world.after(delay) { [self] in hearClose(side.other, "connection reset by peer") }
    }
}

/// Collects bytes and cuts them into frames.
struct FrameBuffer {
    private var decoder: FrameDecoder
    private var buffer = ByteBuffer()

    init(_ limits: FrameLimits) { decoder = FrameDecoder(limits: limits) }

    mutating func append(_ piece: ByteBuffer) {
        buffer.writeImmutableBuffer(piece)
    }

    mutating func next() throws(WireError) -> ByteBuffer? {
        let frame = try decoder.next(from: &buffer)
        if frame != nil { buffer.discardReadBytes() }
        return frame
    }
}
