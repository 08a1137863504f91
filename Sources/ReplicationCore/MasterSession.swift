public import SyncProtocol

/// One replica's conversation about one database, seen from the master; performs no I/O.
///
/// The shell feeds it what arrives and what it sent, and does what the directives say. What to send
/// next is pulled: while the channel is writable and the limiter grants it, the shell asks for
/// `allowance`, reads that much with its cursor, and reports `.framed`.
///
/// Invariants: `acknowledged <= sent <= sendable`; none of the three goes back while streaming; an
/// item is counted out of the window once, whatever a replica acknowledges twice.
/// Source: pika v3.5.0 src/pika_rm.cc SyncMasterSlot, src/pika_slave_node.cc SyncWindow.
public struct MasterSession: Equatable, Sendable {
    /// The limits of a session.
    public struct Configuration: Hashable, Sendable {
        /// Sent and unacknowledged items, at most (conf: sync-window-size).
        public var windowItems = 9_000
        /// Sent and unacknowledged bytes, at most.
        public var windowBytes = 256 << 20
        /// Items in one frame; a real Pika takes 100.
        public var frameItems = 100
        /// Bytes of items in one frame; one item alone may be larger.
        public var frameBytes = 256 << 10
        /// Silence from us after which a keep-alive is due.
        public var keepAliveInterval: Duration = .seconds(2)
        /// Silence from the replica after which the session ends.
        public var receiveTimeout: Duration = .seconds(20)

        /// The limits that a real Pika's replica needs.
        public init() {}
    }

    /// Where the conversation is.
    public enum State: Hashable, Sendable {
        /// TrySync was accepted at this position; its first BinlogSync is awaited.
        case waitingForFirstSend(BinlogPosition)
        /// A full copy runs; the binlog from here on is needed after it.
        case copying(pinned: BinlogPosition)
        /// Items are sent.
        case streaming
        /// Over; the session takes no more events.
        case ended(EndReason)
    }

    /// Why a session is over.
    public enum EndReason: Hashable, Sendable {
        case connectionLost
        /// Nothing was heard for the time-out.
        case timedOut
        /// The replica asked for it (RemoveSlaveNode).
        case removed
        /// A newer connection of the same replica took over.
        case replaced
        /// The log was exchanged or got a new history: the replica has to ask anew.
        case logExchanged
        /// The log could not be read on.
        case readFailed
        /// A message that the protocol does not allow here.
        case protocolViolation(Violation)
    }

    /// What a replica did that it must not do.
    public enum Violation: Hashable, Sendable {
        /// First BinlogSync whose range is not empty.
        case firstSendRange(start: BinlogPosition, end: BinlogPosition)
        /// First BinlogSync elsewhere than where TrySync was accepted.
        case firstSendPosition(expected: BinlogPosition, actual: BinlogPosition)
        /// First BinlogSync without an accepted TrySync.
        case firstSendUnasked
        /// An acknowledgement of more than was sent: its log is not ours.
        case acknowledgedUnsent(sent: BinlogPosition, acknowledged: BinlogPosition)
        /// A range that ends before it starts.
        case acknowledgedBackwards(start: BinlogPosition, end: BinlogPosition)
    }

    /// A frame of items that the shell has written to the channel.
    public struct Frame: Hashable, Sendable {
        /// The end of its last item.
        public var end: BinlogPosition
        /// Its items.
        public var itemCount: Int
        /// Their bytes.
        public var byteCount: Int

        /// Creates a frame's account.
        public init(end: BinlogPosition, itemCount: Int, byteCount: Int) {
            self.end = end
            self.itemCount = itemCount
            self.byteCount = byteCount
        }
    }

    /// What may be sent now.
    public struct Allowance: Hashable, Sendable {
        /// Where the cursor stands.
        public var from: BinlogPosition
        /// Not beyond this position.
        public var limit: BinlogPosition
        /// In one frame.
        public var itemCount: Int
        /// In one frame, but for a first item that is larger.
        public var byteCount: Int
    }

    /// What happened.
    public enum Event: Hashable, Sendable {
        /// TrySync was judged good at this position.
        case trySyncAccepted(at: BinlogPosition)
        /// DBSync; everything from here on is needed after the copy.
        case copyStarted(pinned: BinlogPosition)
        /// The snapshot was cut (or chosen): only the binlog behind it is needed.
        case snapshotChosen(at: BinlogPosition)
        /// BinlogSync with first_send.
        case firstSend(start: BinlogPosition, end: BinlogPosition, session: SessionID)
        /// BinlogSync: an acknowledgement, or a ping when both positions are zero.
        case acknowledgement(
            start: BinlogPosition, end: BinlogPosition, session: SessionID,
            progress: ReplicaProgress?)
        /// Any other sign of life.
        case heard
        /// The log may be sent up to here.
        case sendable(BinlogPosition)
        /// The shell wrote a frame of items.
        case framed(Frame)
        /// The shell's cursor failed.
        case readFailed
        /// RemoveSlaveNode.
        case removed
        /// The connection closed.
        case connectionLost
        /// A newer connection of this replica took over.
        case replaced
        /// The log was exchanged, or what its items mean.
        case logExchanged
        /// Time passed.
        case tick
    }

    /// What the shell has to do.
    public enum Directive: Hashable, Sendable {
        /// Place the cursor; items follow from here.
        case openCursor(at: BinlogPosition)
        /// Drop the cursor.
        case closeCursor
        /// There may be something to send: ask for `allowance`.
        case pump
        /// Send a keep-alive for this database.
        case sendKeepAlive
        /// No file from this position on may be purged for this replica's sake.
        case protect(from: BinlogPosition)
        /// The session is over; a lost replica's protection goes on until its lease expires.
        case ended(EndReason)
        /// Close the connection: the peer can't be followed any more.
        case closeConnection(Violation)
    }

    /// The id that acknowledgements must carry.
    public let id: SessionID
    /// The limits.
    public var configuration: Configuration
    /// Where the conversation is.
    public private(set) var state: State
    /// The end of the last item sent.
    public private(set) var sent: BinlogPosition
    /// The end of the last item that the replica acknowledged.
    public private(set) var acknowledged: BinlogPosition
    /// What a replica of ours reported; a real Pika's acknowledgements stand for all three.
    public private(set) var progress: ReplicaProgress
    /// Unacknowledged items.
    public private(set) var windowItems = 0
    /// Unacknowledged bytes.
    public private(set) var windowBytes = 0
    /// Items sent in this session.
    public private(set) var itemsSent: UInt64 = 0
    /// Item bytes sent in this session.
    public private(set) var bytesSent: UInt64 = 0

    private var sendable: BinlogPosition
    private var window = FrameWindow()
    private var lastReceive: MonotonicInstant
    private var lastSend: MonotonicInstant

    /// Creates the session of a replica that has just asked for this database.
    public init(
        id: SessionID, event: Event, sendable: BinlogPosition,
        configuration: Configuration = Configuration(), now: MonotonicInstant
    ) {
        self.id = id
        self.configuration = configuration
        self.sendable = sendable
        self.lastReceive = now
        self.lastSend = now
        let start: BinlogPosition
        switch event {
        case .trySyncAccepted(let position):
            start = position
            self.state = .waitingForFirstSend(position)
        case .copyStarted(let position):
            start = position
            self.state = .copying(pinned: position)
        default:
            preconditionFailure("a session starts with TrySync or DBSync, not \(event)")
        }
        self.sent = start
        self.acknowledged = start
        self.progress = ReplicaProgress(received: start, durable: start, applied: start)
    }

    /// The position from which on this replica needs the log.
    public var protectedPosition: BinlogPosition {
        switch self.state {
        case .waitingForFirstSend(let position), .copying(let position): position
        case .streaming, .ended: self.acknowledged
        }
    }

    /// What may be sent now; nil while there is nothing or the window is full.
    public var allowance: Allowance? {
        guard self.state == .streaming, self.sent < self.sendable else { return nil }
        let items = self.configuration.windowItems - self.windowItems
        guard items > 0, self.windowBytes < self.configuration.windowBytes else { return nil }
        return Allowance(
            from: self.sent, limit: self.sendable,
            itemCount: min(items, self.configuration.frameItems),
            byteCount: self.configuration.frameBytes)
    }

    /// Takes what happened and says what is to be done.
    public mutating func handle(_ event: Event, now: MonotonicInstant) -> [Directive] {
        if case .ended = self.state { return [] }
        switch event {
        case .trySyncAccepted(let position):
            return self.restart(.waitingForFirstSend(position), at: position, now: now)
        case .copyStarted(let pinned):
            return self.restart(.copying(pinned: pinned), at: pinned, now: now)
        case .snapshotChosen(let position):
            guard case .copying = self.state else { return [] }
            self.state = .copying(pinned: position)
            return [.protect(from: position)]
        case .firstSend(let start, let end, let session):
            guard session == self.id else { return [] }
            self.lastReceive = now
            return self.activate(start: start, end: end)
        case .acknowledgement(let start, let end, let session, let progress):
            guard session == self.id else { return [] }
            self.lastReceive = now
            return self.acknowledge(start: start, end: end, progress: progress)
        case .heard:
            self.lastReceive = now
            return []
        case .sendable(let position):
            if position > self.sendable { self.sendable = position }
            return self.allowance == nil ? [] : [.pump]
        case .framed(let frame):
            self.account(frame, now: now)
            return []
        case .readFailed:
            return self.end(.readFailed)
        case .removed:
            return self.end(.removed)
        case .connectionLost:
            return self.end(.connectionLost)
        case .replaced:
            return self.end(.replaced)
        case .logExchanged:
            return self.end(.logExchanged)
        case .tick:
            return self.tick(now: now)
        }
    }

    /// A new TrySync or DBSync on a session that exists already: its id stays (spec 6.3).
    private mutating func restart(
        _ state: State, at position: BinlogPosition, now: MonotonicInstant
    ) -> [Directive] {
        self.lastReceive = now
        let hadCursor = self.state == .streaming
        self.state = state
        self.place(at: position)
        return (hadCursor ? [.closeCursor] : []) + [.protect(from: position)]
    }

    private mutating func activate(start: BinlogPosition, end: BinlogPosition) -> [Directive] {
        guard start == end else {
            return self.violate(.firstSendRange(start: start, end: end))
        }
        guard case .waitingForFirstSend(let position) = self.state else {
            return self.violate(.firstSendUnasked)
        }
        guard start == position else {
            return self.violate(.firstSendPosition(expected: position, actual: start))
        }
        self.state = .streaming
        self.place(at: position)
        return [.openCursor(at: position), .protect(from: position), .pump]
    }

    private mutating func place(at position: BinlogPosition) {
        self.sent = position
        self.acknowledged = position
        self.progress = ReplicaProgress(received: position, durable: position, applied: position)
        self.window = FrameWindow()
        self.windowItems = 0
        self.windowBytes = 0
    }

    private mutating func acknowledge(
        start: BinlogPosition, end: BinlogPosition, progress: ReplicaProgress?
    ) -> [Directive] {
        if start == .zero, end == .zero {
            self.note(progress)
            return []
        }
        // Acknowledgements of an earlier activation may still be under way: they mean nothing now.
        guard self.state == .streaming else { return [] }
        guard start <= end else {
            return self.violate(.acknowledgedBackwards(start: start, end: end))
        }
        guard end <= self.sent else {
            return self.violate(.acknowledgedUnsent(sent: self.sent, acknowledged: end))
        }
        self.note(progress)
        guard end > self.acknowledged else { return [] }
        self.acknowledged = end
        if progress == nil {
            self.progress = ReplicaProgress(received: end, durable: end, applied: end)
        }
        let released = self.window.release(through: end)
        self.windowItems -= released.items
        self.windowBytes -= released.bytes
        return [.protect(from: end)] + (self.allowance == nil ? [] : [.pump])
    }

    private mutating func note(_ progress: ReplicaProgress?) {
        guard let progress, self.state == .streaming else { return }
        self.progress.received = max(self.progress.received, min(progress.received, self.sent))
        self.progress.durable = max(self.progress.durable, min(progress.durable, self.sent))
        self.progress.applied = max(self.progress.applied, min(progress.applied, self.sent))
    }

    private mutating func account(_ frame: Frame, now: MonotonicInstant) {
        precondition(self.state == .streaming, "framed in \(self.state)")
        precondition(
            frame.end > self.sent && frame.end <= self.sendable,
            "framed \(frame.end) with sent \(self.sent), sendable \(self.sendable)")
        self.sent = frame.end
        self.lastSend = now
        self.window.append(frame)
        self.windowItems += frame.itemCount
        self.windowBytes += frame.byteCount
        self.itemsSent += UInt64(frame.itemCount)
        self.bytesSent += UInt64(frame.byteCount)
    }

    private mutating func tick(now: MonotonicInstant) -> [Directive] {
        if now.since(self.lastReceive) > self.configuration.receiveTimeout {
            return self.end(.timedOut)
        }
        // As Pika: only when all is acknowledged, else the window itself keeps the link alive.
        guard self.sent == self.acknowledged,
            now.since(self.lastSend) >= self.configuration.keepAliveInterval
        else { return [] }
        self.lastSend = now
        return [.sendKeepAlive]
    }

    private mutating func end(_ reason: EndReason) -> [Directive] {
        let hadCursor = self.state == .streaming
        self.state = .ended(reason)
        return (hadCursor ? [.closeCursor] : []) + [.ended(reason)]
    }

    private mutating func violate(_ violation: Violation) -> [Directive] {
        self.end(.protocolViolation(violation)) + [.closeConnection(violation)]
    }
}

/// The frames sent and not wholly acknowledged, oldest first.
///
/// One entry per frame, so that a window costs a few kilobytes however many items it has. A frame
/// counts as unacknowledged until its last item is.
struct FrameWindow: Equatable, Sendable {
    private var frames: [MasterSession.Frame] = []
    private var head = 0

    mutating func append(_ frame: MasterSession.Frame) {
        self.frames.append(frame)
    }

    mutating func release(through end: BinlogPosition) -> (items: Int, bytes: Int) {
        var items = 0
        var bytes = 0
        while self.head < self.frames.count, self.frames[self.head].end <= end {
            items += self.frames[self.head].itemCount
            bytes += self.frames[self.head].byteCount
            self.head += 1
        }
        if self.head == self.frames.count {
            self.frames.removeAll(keepingCapacity: true)
            self.head = 0
        } else if self.head > 512 {
            self.frames.removeFirst(self.head)
            self.head = 0
        }
        return (items, bytes)
    }

    static func == (left: FrameWindow, right: FrameWindow) -> Bool {
        left.frames[left.head...] == right.frames[right.head...]
    }
}
