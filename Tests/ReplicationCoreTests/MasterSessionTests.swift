import ReplicationCore
import SyncProtocol
import Testing

/// One replica's conversation about one database: spec replication-protocol 6 and 7.
@Suite("Master session")
struct MasterSessionTests {
    static let id = SessionID(rawValue: 3)
    let start = at(0, 100)

    func session(
        sendable: BinlogPosition = at(0, 1_000), windowItems: Int = 9_000,
        windowBytes: Int = 1 << 20
    ) -> MasterSession {
        var configuration = MasterSession.Configuration()
        configuration.windowItems = windowItems
        configuration.windowBytes = windowBytes
        return MasterSession(
            id: Self.id, event: .trySyncAccepted(at: start), sendable: sendable,
            configuration: configuration, now: seconds(0))
    }

    func streaming(
        sendable: BinlogPosition = at(0, 1_000), windowItems: Int = 9_000,
        windowBytes: Int = 1 << 20
    ) -> MasterSession {
        var session = session(
            sendable: sendable, windowItems: windowItems, windowBytes: windowBytes)
        _ = session.handle(.firstSend(start: start, end: start, session: Self.id), now: seconds(0))
        return session
    }

    func frame(_ end: UInt64, items: Int = 1, bytes: Int = 100) -> MasterSession.Event {
        .framed(MasterSession.Frame(end: at(0, end), itemCount: items, byteCount: bytes))
    }

    func ack(
        _ start: UInt64, _ end: UInt64, session: SessionID = id, progress: ReplicaProgress? = nil
    ) -> MasterSession.Event {
        .acknowledgement(
            start: at(0, start), end: at(0, end), session: session, progress: progress)
    }

    @Test("Nothing is sent before the first BinlogSync; then the cursor is placed")
    func activation() {
        var session = session()
        #expect(session.allowance == nil)
        #expect(session.handle(.sendable(at(0, 1_100)), now: seconds(0)) == [])
        let directives = session.handle(
            .firstSend(start: start, end: start, session: Self.id), now: seconds(1))
        #expect(directives == [.openCursor(at: start), .protect(from: start), .pump])
        #expect(session.state == .streaming)
        #expect(session.allowance?.from == start)
        #expect(session.allowance?.limit == at(0, 1_100))
    }

    @Test(
        "A first BinlogSync that does not fit closes the connection",
        arguments: [
            (
                at(0, 100), at(0, 200),
                MasterSession.Violation.firstSendRange(start: at(0, 100), end: at(0, 200))
            ),
            (
                at(0, 200), at(0, 200),
                .firstSendPosition(expected: at(0, 100), actual: at(0, 200))
            ),
        ])
    func wrongActivation(
        from: BinlogPosition, to: BinlogPosition, violation: MasterSession.Violation
    ) {
        var session = session()
        let directives = session.handle(
            .firstSend(start: from, end: to, session: Self.id), now: seconds(0))
        #expect(
            directives == [
                .ended(.protocolViolation(violation)), .closeConnection(violation),
            ])
        #expect(session.handle(.tick, now: seconds(100)) == [])
    }

    @Test("A first BinlogSync during a copy is refused")
    func activationDuringCopy() {
        var session = MasterSession(
            id: Self.id, event: .copyStarted(pinned: at(0, 50)), sendable: at(0, 90),
            now: seconds(0))
        let directives = session.handle(
            .firstSend(start: start, end: start, session: Self.id), now: seconds(0))
        #expect(directives.last == .closeConnection(.firstSendUnasked))
    }

    @Test("Messages of another session are ignored")
    func otherSession() {
        var session = streaming()
        _ = session.handle(frame(200), now: seconds(0))
        let before = session
        #expect(
            session.handle(ack(200, 200, session: SessionID(rawValue: 4)), now: seconds(9)) == [])
        #expect(session == before)
    }

    @Test("The window closes by count at its limit and opens with the acknowledgement")
    func windowByCount() {
        var session = streaming(windowItems: 3)
        _ = session.handle(frame(200, items: 2), now: seconds(0))
        #expect(session.allowance?.itemCount == 1)
        _ = session.handle(frame(300), now: seconds(0))
        #expect(session.allowance == nil)
        #expect(session.handle(.sendable(at(0, 2_000)), now: seconds(0)) == [])
        #expect(
            session.handle(ack(200, 200), now: seconds(0)) == [.protect(from: at(0, 200)), .pump])
        #expect(session.windowItems == 1)
        #expect(session.allowance?.itemCount == 2)
    }

    @Test("The window closes by bytes once they exceed the limit")
    func windowByBytes() {
        var session = streaming(windowBytes: 150)
        _ = session.handle(frame(200), now: seconds(0))
        #expect(session.allowance != nil)
        _ = session.handle(frame(300), now: seconds(0))
        #expect(session.allowance == nil)
        _ = session.handle(ack(200, 300), now: seconds(0))
        #expect(session.windowBytes == 0)
        #expect(session.allowance != nil)
    }

    @Test("An item acknowledged twice is counted once (real Pika's counter underflows)")
    func acknowledgedTwice() {
        var session = streaming()
        _ = session.handle(frame(200), now: seconds(0))
        _ = session.handle(frame(300), now: seconds(0))
        _ = session.handle(ack(200, 200), now: seconds(0))
        _ = session.handle(ack(200, 300), now: seconds(0))
        #expect(session.handle(ack(200, 300), now: seconds(0)) == [])
        #expect(session.windowItems == 0)
        #expect(session.windowBytes == 0)
        #expect(session.acknowledged == at(0, 300))
    }

    @Test("An acknowledgement inside a frame moves the position, the frame counts until its end")
    func insideFrame() {
        var session = streaming()
        _ = session.handle(frame(400, items: 3, bytes: 300), now: seconds(0))
        #expect(session.handle(ack(200, 300), now: seconds(0)).first == .protect(from: at(0, 300)))
        #expect(session.windowItems == 3)
        _ = session.handle(ack(400, 400), now: seconds(0))
        #expect(session.windowItems == 0)
    }

    @Test("An acknowledgement of what was never sent ends the session: the logs differ")
    func acknowledgedUnsent() {
        var session = streaming()
        _ = session.handle(frame(200), now: seconds(0))
        let violation = MasterSession.Violation.acknowledgedUnsent(
            sent: at(0, 200), acknowledged: at(0, 212))
        #expect(
            session.handle(ack(200, 212), now: seconds(0)) == [
                .closeCursor, .ended(.protocolViolation(violation)), .closeConnection(violation),
            ])
    }

    @Test("F10: a range that ends before it starts drops the session, not the process")
    func backwards() {
        var session = streaming()
        _ = session.handle(frame(300), now: seconds(0))
        let directives = session.handle(ack(300, 200), now: seconds(0))
        #expect(
            directives.last
                == .closeConnection(
                    .acknowledgedBackwards(start: at(0, 300), end: at(0, 200))))
    }

    @Test("A keep-alive is due after two seconds of silence, only when all is acknowledged")
    func keepAlive() {
        var session = streaming()
        #expect(session.handle(.tick, now: seconds(1.9)) == [])
        #expect(session.handle(.tick, now: seconds(2)) == [.sendKeepAlive])
        #expect(session.handle(.tick, now: seconds(3)) == [])
        _ = session.handle(frame(200), now: seconds(3))
        #expect(session.handle(.tick, now: seconds(6)) == [])
        _ = session.handle(ack(200, 200), now: seconds(6))
        #expect(session.handle(.tick, now: seconds(6.1)) == [.sendKeepAlive])
    }

    @Test("Keep-alives go on during a full copy")
    func keepAliveDuringCopy() {
        var session = MasterSession(
            id: Self.id, event: .copyStarted(pinned: at(0, 50)), sendable: at(0, 90),
            now: seconds(0))
        #expect(session.handle(.tick, now: seconds(2)) == [.sendKeepAlive])
    }

    @Test("Silence of more than twenty seconds ends the session; pings are signs of life")
    func timeOut() {
        var session = streaming()
        _ = session.handle(.tick, now: seconds(2))
        _ = session.handle(
            .acknowledgement(start: .zero, end: .zero, session: Self.id, progress: nil),
            now: seconds(10))
        #expect(session.handle(.tick, now: seconds(30)) == [.sendKeepAlive])
        #expect(session.handle(.tick, now: seconds(30.1)) == [.closeCursor, .ended(.timedOut)])
    }

    @Test("F8: the log is pinned from before the cut, then from the snapshot on")
    func copyPins() {
        var session = MasterSession(
            id: Self.id, event: .copyStarted(pinned: at(0, 50)), sendable: at(0, 90),
            now: seconds(0))
        #expect(session.protectedPosition == at(0, 50))
        #expect(
            session.handle(.snapshotChosen(at: at(0, 80)), now: seconds(1)) == [
                .protect(from: at(0, 80))
            ])
        #expect(session.protectedPosition == at(0, 80))
        #expect(
            session.handle(.trySyncAccepted(at: at(0, 80)), now: seconds(5)) == [
                .protect(from: at(0, 80))
            ])
        #expect(session.state == .waitingForFirstSend(at(0, 80)))
    }

    @Test("A new TrySync keeps the session's id and starts over")
    func trySyncAgain() {
        var session = streaming()
        _ = session.handle(frame(300), now: seconds(0))
        #expect(
            session.handle(.trySyncAccepted(at: at(0, 200)), now: seconds(1)) == [
                .closeCursor, .protect(from: at(0, 200)),
            ])
        #expect(session.windowItems == 0)
        // An acknowledgement of the old flow that was under way means nothing now.
        #expect(session.handle(ack(300, 300), now: seconds(1)) == [])
        _ = session.handle(
            .firstSend(start: at(0, 200), end: at(0, 200), session: Self.id), now: seconds(1))
        #expect(session.sent == at(0, 200))
    }

    @Test("Received, durable and applied are kept apart and never exceed what was sent")
    func progress() {
        var session = streaming()
        _ = session.handle(frame(300), now: seconds(0))
        let progress = ReplicaProgress(
            received: at(0, 300), durable: at(0, 200), applied: at(9, 0))
        _ = session.handle(ack(200, 200, progress: progress), now: seconds(0))
        #expect(session.acknowledged == at(0, 200))
        #expect(
            session.progress
                == ReplicaProgress(
                    received: at(0, 300), durable: at(0, 200), applied: at(0, 300)))
    }

    @Test("Positions that go back in the log's news are ignored")
    func sendableGoesBack() {
        var session = streaming()
        #expect(session.handle(.sendable(at(0, 500)), now: seconds(0)) == [.pump])
        #expect(session.allowance?.limit == at(0, 1_000))
    }

    @Test(
        "However it ends, the cursor goes and no event counts afterwards",
        arguments: [
            (MasterSession.Event.removed, MasterSession.EndReason.removed),
            (.connectionLost, .connectionLost), (.replaced, .replaced), (.readFailed, .readFailed),
        ])
    func endings(event: MasterSession.Event, reason: MasterSession.EndReason) {
        var session = streaming()
        #expect(session.handle(event, now: seconds(0)) == [.closeCursor, .ended(reason)])
        #expect(session.handle(.sendable(at(9, 0)), now: seconds(0)) == [])
        #expect(session.allowance == nil)
    }

    @Test(
        "Acknowledgements of whole frames in any grouping leave the window empty", arguments: 0..<20
    )
    func manyFrames(seed: UInt64) {
        var random = SplitMix(state: seed)
        var session = streaming(sendable: at(0, 1 << 40), windowItems: 50)
        var end: UInt64 = 100
        var acknowledged: UInt64 = 100
        for _ in 0..<2_000 {
            if let allowance = session.allowance, random.next() % 3 != 0 {
                let items = 1 + Int(random.next() % UInt64(allowance.itemCount))
                end += UInt64(items) * 10
                _ = session.handle(frame(end, items: items, bytes: items * 10), now: seconds(0))
            } else if acknowledged < end {
                acknowledged += (1 + random.next() % ((end - acknowledged) / 10)) * 10
                _ = session.handle(ack(acknowledged, acknowledged), now: seconds(0))
            }
            #expect(session.windowItems <= 50)
            #expect(session.windowItems >= Int(end - acknowledged) / 10)
        }
        _ = session.handle(ack(end, end), now: seconds(0))
        #expect(session.windowItems == 0)
        #expect(session.windowBytes == 0)
    }
}

/// A small generator for repeatable random runs.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
