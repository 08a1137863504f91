import ReplicationCore
import SyncProtocol
import Testing

/// What the file service gives to whom: spec replication-protocol 8.4, 8.7 and rules C1, C5, F3, F5.
@Suite("Snapshot sender")
struct SnapshotSenderTests {
    static let manifest = SnapshotManifest(
        id: snapshotID("0123456789abcdef0123456789abcdef"),
        files: [
            SnapshotFile(name: "strings/CURRENT", sizeBytes: 16),
            SnapshotFile(name: "strings/000012.sst", sizeBytes: 10 << 20),
            SnapshotFile(name: "sets/000001.log", sizeBytes: 0),
            SnapshotFile(name: "info", sizeBytes: 30),
        ],
        position: at(1, 50), digest: 5)
    let tag = SnapshotSender.Tag(readerIndex: 2, requestID: 77)

    func read(
        _ name: String, _ offset: UInt64, _ count: UInt64, snapshot: SnapshotID? = nil
    ) -> SnapshotSender.Request {
        .read(snapshot: snapshot, name: name, offset: offset, count: count)
    }

    func attached(_ peer: SnapshotSender.Peer) -> SnapshotSender {
        var sender = SnapshotSender(peer: peer)
        _ = sender.handle(
            .snapshotReady(database: "db0", Self.manifest), now: seconds(0))
        return sender
    }

    func request(
        _ request: SnapshotSender.Request, tag: SnapshotSender.Tag? = nil
    ) -> SnapshotSender.Event {
        .request(request, database: "db0", tag: tag ?? self.tag)
    }

    func refused(
        _ request: SnapshotSender.Request, _ reason: FileRefusalReason, retry: UInt32 = 0,
        tag: SnapshotSender.Tag? = nil
    ) -> SnapshotSender.Directive {
        .refuse(
            request, database: "db0", tag: tag ?? self.tag,
            FileRefusal(reason: reason, retryAfterMilliseconds: retry))
    }

    @Test("A list is sent once the snapshot is there, and its lease begins")
    func list() {
        var sender = SnapshotSender(peer: .ours)
        #expect(
            sender.handle(request(.list(wanted: nil)), now: seconds(0)) == [
                .findSnapshot(database: "db0", wanted: nil)
            ])
        #expect(
            sender.handle(.snapshotReady(database: "db0", Self.manifest), now: seconds(3)) == [
                .renewLease(snapshotID: Self.manifest.id, database: "db0"),
                .sendList(database: "db0", Self.manifest, tag: tag),
            ])
    }

    @Test("F3: one of ours is told that the snapshot is being made, and when to ask again")
    func preparing() {
        var sender = SnapshotSender(peer: .ours)
        let list = SnapshotSender.Request.list(wanted: nil)
        _ = sender.handle(request(list), now: seconds(0))
        let refusal = FileRefusal(reason: .preparing, retryAfterMilliseconds: 250, percent: 40)
        #expect(
            sender.handle(
                .snapshotUnavailable(database: "db0", refusal), now: seconds(0)) == [
                    .refuse(list, database: "db0", tag: tag, refusal)
                ])
    }

    @Test("F3, F9: a real Pika hears nothing while the dump is made, then the answer in its second")
    func pikaWaits() {
        var sender = SnapshotSender(peer: .pika)
        let refusal = FileRefusal(reason: .preparing)
        _ = sender.handle(request(.list(wanted: nil)), now: seconds(0))
        #expect(
            sender.handle(.snapshotUnavailable(database: "db0", refusal), now: seconds(0)) == [])
        // Its first question has timed out; only the second one is answered, and once.
        _ = sender.handle(request(.list(wanted: nil)), now: seconds(1))
        let directives = sender.handle(
            .snapshotReady(database: "db0", Self.manifest), now: seconds(1.5))
        #expect(
            directives == [
                .renewLease(snapshotID: Self.manifest.id, database: "db0"),
                .sendList(database: "db0", Self.manifest, tag: tag),
            ])
    }

    @Test("An answer that would come too late for a real Pika is not sent")
    func pikaLate() {
        var sender = SnapshotSender(peer: .pika)
        _ = sender.handle(request(.list(wanted: nil)), now: seconds(0))
        let directives = sender.handle(
            .snapshotReady(database: "db0", Self.manifest), now: seconds(1))
        #expect(directives == [.renewLease(snapshotID: Self.manifest.id, database: "db0")])
    }

    struct RangeCase: Sendable {
        var offset: UInt64
        var count: UInt64
        var granted: Int
        var isLast: Bool
    }

    static let rangeCases = [
        RangeCase(offset: 0, count: 4 << 20, granted: 4 << 20, isLast: false),
        RangeCase(offset: 0, count: 5 << 20, granted: 4 << 20, isLast: false),
        RangeCase(offset: 8 << 20, count: 4 << 20, granted: 2 << 20, isLast: true),
        RangeCase(offset: 10 << 20, count: 100, granted: 0, isLast: true),
        RangeCase(offset: (10 << 20) - 1, count: .max, granted: 1, isLast: true),
    ]

    @Test(
        "Ranges are cut to the chunk and to the file; the last one says so", arguments: rangeCases)
    func ranges(expected: RangeCase) {
        var sender = attached(.pika)
        let directives = sender.handle(
            request(read("strings/000012.sst", expected.offset, expected.count)), now: seconds(1))
        guard case .sendChunk(let order)? = directives.first, directives.count == 1 else {
            Issue.record("no chunk: \(directives)")
            return
        }
        #expect(order.fileIndex == 1)
        #expect(order.snapshotID == Self.manifest.id)
        #expect(order.offset == expected.offset)
        #expect(order.count == expected.granted)
        #expect(order.isLast == expected.isLast)
        #expect(order.tag == tag)
    }

    @Test("An empty file is one reply without bytes")
    func emptyFile() {
        var sender = attached(.pika)
        guard
            case .sendChunk(let order)? = sender.handle(
                request(read("sets/000001.log", 0, 4 << 20)), now: seconds(1)
            ).first
        else {
            Issue.record("no chunk")
            return
        }
        #expect(order.count == 0)
        #expect(order.isLast)
    }

    @Test(
        "C5: only names of the list are read",
        arguments: [
            "../../../pika.conf", "strings/../info", "/etc/passwd", "strings", "", "strings/",
            "./info", "INFO", "strings//CURRENT", "info\0",
        ])
    func names(name: String) {
        var sender = attached(.ours)
        #expect(
            sender.handle(request(read(name, 0, 100)), now: seconds(1)) == [
                refused(read(name, 0, 100), .unknownFile)
            ])
    }

    @Test("C5: offsets behind the end, counts of nothing and reader indexes out of range")
    func hostileNumbers() {
        var sender = attached(.ours)
        let behind = read("info", 31, 1)
        #expect(
            sender.handle(request(behind), now: seconds(1)) == [refused(behind, .badRange)])
        let huge = read("info", .max, .max)
        #expect(sender.handle(request(huge), now: seconds(1)) == [refused(huge, .badRange)])
        let nothing = read("info", 0, 0)
        #expect(
            sender.handle(request(nothing), now: seconds(1)) == [refused(nothing, .badRange)])
        for index in [Int32(-1), 64, 77, .max, .min] {
            let hostile = SnapshotSender.Tag(readerIndex: index)
            let good = read("info", 0, 1)
            #expect(
                sender.handle(request(good, tag: hostile), now: seconds(1)) == [
                    refused(good, .badRange, tag: hostile)
                ])
        }
    }

    @Test("F13: requests in flight are bounded; one more is told to wait")
    func tooMany() {
        var configuration = SnapshotSender.Configuration()
        configuration.readsInFlight = 2
        var sender = SnapshotSender(peer: .ours, configuration: configuration)
        _ = sender.handle(.snapshotReady(database: "db0", Self.manifest), now: seconds(0))
        for _ in 0..<2 { _ = sender.handle(request(read("info", 0, 1)), now: seconds(0)) }
        let third = read("info", 0, 1)
        #expect(
            sender.handle(request(third), now: seconds(0)) == [
                refused(third, .busy, retry: 500)
            ])
        _ = sender.handle(.chunkSent(snapshotID: Self.manifest.id), now: seconds(0))
        #expect(sender.handle(request(third), now: seconds(0)).count == 1)
        #expect(sender.readsInFlight == 2)
    }

    @Test("F5: a read of a snapshot that was replaced is an error, never other bytes")
    func replaced() {
        var sender = attached(.ours)
        let stale = read("info", 0, 1, snapshot: snapshotID("ffffffffffffffffffffffffffffffff"))
        #expect(
            sender.handle(request(stale), now: seconds(0)) == [refused(stale, .snapshotGone)])
        let good = read("info", 0, 1, snapshot: Self.manifest.id)
        guard case .sendChunk? = sender.handle(request(good), now: seconds(0)).first else {
            Issue.record("the snapshot that it named is the one there")
            return
        }
    }

    @Test("A read without a list looks for the snapshot first (a connection that came back)")
    func readFirst() {
        var sender = SnapshotSender(peer: .ours)
        let wanted = read("info", 0, 30, snapshot: Self.manifest.id)
        #expect(
            sender.handle(request(wanted), now: seconds(0)) == [
                .findSnapshot(database: "db0", wanted: Self.manifest.id)
            ])
        let directives = sender.handle(
            .snapshotReady(database: "db0", Self.manifest), now: seconds(0))
        #expect(directives.count == 2)
        guard case .sendChunk(let order)? = directives.last else {
            Issue.record("no chunk: \(directives)")
            return
        }
        #expect(order.isLast)
    }

    @Test("F7: while it is read, a snapshot's lease is renewed; a gone one is looked for anew")
    func leases() {
        var sender = attached(.ours)
        let renewal = SnapshotSender.Directive.renewLease(
            snapshotID: Self.manifest.id, database: "db0")
        #expect(sender.handle(request(read("info", 0, 1)), now: seconds(5)).count == 1)
        #expect(sender.handle(request(read("info", 0, 1)), now: seconds(10)).first == renewal)
        #expect(sender.handle(.tick, now: seconds(15)) == [])
        #expect(sender.handle(.tick, now: seconds(20)) == [renewal])
        _ = sender.handle(.snapshotGone(id: Self.manifest.id), now: seconds(21))
        #expect(
            sender.handle(request(read("info", 0, 1)), now: seconds(21)) == [
                .findSnapshot(database: "db0", wanted: nil)
            ])
    }

    @Test("A read that fails is answered with the reason and frees its place")
    func readFails() {
        var sender = attached(.ours)
        guard
            case .sendChunk(let order)? = sender.handle(
                request(read("info", 0, 30)), now: seconds(0)
            ).first
        else {
            Issue.record("no chunk")
            return
        }
        #expect(
            sender.handle(.readFailed(order), now: seconds(0)) == [
                refused(read("info", 0, 30, snapshot: Self.manifest.id), .readFailed)
            ])
        #expect(sender.readsInFlight == 0)
    }

    @Test("Databases are independent of each other")
    func databases() {
        var sender = attached(.ours)
        _ = sender.handle(
            .request(.list(wanted: nil), database: "db1", tag: tag), now: seconds(0))
        let refusal = FileRefusal(reason: .unknownDatabase)
        let directives = sender.handle(
            .snapshotUnavailable(database: "db1", refusal), now: seconds(0))
        #expect(
            directives == [.refuse(.list(wanted: nil), database: "db1", tag: tag, refusal)])
        #expect(sender.snapshot(of: "db0") == Self.manifest)
    }
}
