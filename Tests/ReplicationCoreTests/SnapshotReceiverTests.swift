import ReplicationCore
import SyncProtocol
import Testing

/// Source: pika v3.5.0 src/rsync_client.cc; spec replication-protocol 8.
@Suite("Snapshot receiver")
struct SnapshotReceiverTests {
    @Test("All files come, each byte once, short replies included", arguments: [true, false])
    func whole(isPeer: Bool) {
        var bench = CopyBench(isPeer: isPeer)
        bench.feed(.begin)
        bench.run()
        #expect(bench.failure == nil)
        #expect(bench.outcome?.position == at(7, 300))
        #expect(bench.outcome?.digest == (isPeer ? 77 : 0))
        #expect(bench.isComplete)
        #expect(bench.receiver.bytesSentTwice == 0)
        #expect(bench.bytesServed == bench.totalBytes)
        #expect(bench.receiver.bytesDone == UInt64(bench.totalBytes))
    }

    @Test("Many ranges are in flight at one of ours, four with a real Pika, info alone first")
    func inFlight() {
        var peer = CopyBench(isPeer: true, sizes: [1_000_000])
        peer.feed(.begin)
        #expect(peer.ask().count == peer.receiver.configuration.requestsInFlight)

        var pika = CopyBench(isPeer: false)
        pika.feed(.begin)
        let first = pika.ask()
        #expect(first.map(\.name) == ["info"])
        for order in first { pika.feed(pika.reply(order)) }
        let next = pika.ask()
        #expect(next.count == 4)
        #expect(Set(next.map(\.reader)) == [0, 1, 2, 3])
        #expect(Set(next.map(\.name)).count == 4)
    }

    @Test("F1: late and foreign replies are dropped", arguments: [true, false])
    func lateReplies(isPeer: Bool) {
        var bench = CopyBench(isPeer: isPeer)
        bench.feed(.begin)
        let order = bench.ask()[0]
        var late = order
        late.id += 1_000
        late.offset += 64
        bench.feed(bench.reply(late, limit: 16))
        #expect(bench.failure == nil)
        #expect(bench.disk[order.name] == nil)
        bench.feed(bench.reply(order))
        bench.feed(bench.reply(order))
        bench.run()
        #expect(bench.isComplete)
        #expect(bench.outcome != nil)
    }

    @Test("F5: another snapshot id ends the copy, and what is here is of no use")
    func replaced() {
        for isPeer in [true, false] {
            var bench = CopyBench(isPeer: isPeer)
            bench.feed(.begin)
            let order = bench.ask()[0]
            bench.feed(bench.reply(order, uuid: "bbbb"))
            #expect(bench.failure?.discards == true)
            #expect(bench.outcome == nil)
        }
    }

    @Test("F5: a list that lacks a store's CURRENT is no snapshot")
    func incompleteList() {
        for missing in ["lists/CURRENT", "zsets/CURRENT"] {
            var bench = CopyBench(isPeer: false)
            bench.names.removeAll { $0 == missing }
            bench.feed(.begin)
            #expect(bench.failure != nil)
        }
        // A failed dump lists nothing but info.
        var failed = CopyBench(isPeer: false)
        failed.names = ["info"]
        failed.feed(.begin)
        #expect(failed.failure?.discards == false)
    }

    @Test(
        "C5: names that leave the five directories are refused",
        arguments: [
            "../../etc/passwd", "/etc/passwd", "strings/../../x", "strings/a/b", "streams/CURRENT",
            "strings/", "", "strings/..", "strings", "a\u{0}b", "strings/a b",
        ])
    func hostileNames(name: String) {
        #expect(!SnapshotPlan.isAllowed(name))
        var bench = CopyBench(isPeer: false)
        bench.names.append(name)
        bench.feed(.begin)
        #expect(bench.failure != nil)
        #expect(bench.ask().isEmpty)
    }

    @Test("A wrong chunk is fetched again after a pause, and only it")
    func damagedChunk() {
        var bench = CopyBench(isPeer: true)
        bench.disk = bench.master
        bench.feed(.begin)
        let orders = bench.ask()
        for order in orders.dropFirst() {
            _ = bench.receiver.handle(bench.reply(order), now: seconds(0))
            bench.feed(.stored(id: order.id, isIntact: true))
        }
        _ = bench.receiver.handle(bench.reply(orders[0]), now: seconds(0))
        bench.feed(.stored(id: orders[0].id, isIntact: false))
        #expect(bench.ask().isEmpty)
        #expect(bench.receiver.bytesSentTwice == orders[0].count)
        bench.time += 1
        let again = bench.ask()
        #expect(again.first?.offset == orders[0].offset)
        #expect(again.first?.name == orders[0].name)
    }

    @Test("F2: a chunk that stays wrong ends the copy after a bounded number of attempts")
    func alwaysDamaged() {
        var bench = CopyBench(isPeer: true, sizes: [])
        bench.feed(.begin)
        var rounds = 0
        while bench.failure == nil, rounds < 500 {
            for order in bench.ask() {
                _ = bench.receiver.handle(bench.reply(order), now: seconds(bench.time))
                bench.feed(.stored(id: order.id, isIntact: false))
            }
            bench.time += 0.5
            bench.feed(.tick)
            rounds += 1
        }
        #expect(bench.failure != nil)
        #expect(bench.failure?.madeProgress == false)
        #expect(bench.requested.count < 200)
    }

    @Test("A file read back damaged: the bad range comes again")
    func readBackDamaged() {
        var bench = CopyBench(isPeer: true, sizes: [9_000])
        bench.feed(.begin)
        // By hand, so that one answer differs.
        var damaged = false
        var queue: [SnapshotReceiver.Event] = []
        for _ in 0..<400 where bench.outcome == nil && bench.failure == nil {
            for order in bench.ask() {
                for directive in bench.receiver.handle(
                    bench.reply(order), now: seconds(bench.time))
                {
                    guard case .store(let order, _, _) = directive else { continue }
                    queue.append(.stored(id: order.id, isIntact: true))
                }
            }
            while !queue.isEmpty {
                let event = queue.removeFirst()
                for directive in bench.receiver.handle(event, now: seconds(bench.time)) {
                    switch directive {
                    case .verify(let index, let name, let size):
                        let bad = !damaged && size == 9_000
                        damaged = damaged || bad
                        queue.append(
                            .verified(
                                fileIndex: index,
                                digest: CopyBench.digest(bench.master[name] ?? []),
                                badRanges: bad ? [4_096..<8_192] : []))
                    case .finish(let outcome): bench.outcome = outcome
                    case .checkpoint: queue.append(.checkpointed)
                    default: break
                    }
                }
            }
            bench.time += 0.1
        }
        #expect(damaged)
        #expect(bench.outcome != nil)
        #expect(bench.receiver.bytesSentTwice == 4_096)
    }

    @Test("A file whose digest is not the master's comes anew, at most a few times")
    func wrongDigest() {
        var bench = CopyBench(isPeer: true, sizes: [5_000])
        let name = "strings/000000.sst"
        let honest = bench.master[name] ?? []
        // The list was made of other bytes than those that are served.
        bench.master[name] = [UInt8](repeating: 9, count: 5_000)
        bench.feed(.begin)
        bench.master[name] = honest
        bench.run()
        #expect(bench.failure?.discards == true)
        #expect(
            bench.requested.filter { $0.name == name }.count
                <= 2 * (bench.receiver.configuration.maxFileRestarts + 1) + 4)
    }

    @Test("Digests that the master did not know are asked for before the end")
    func lateDigests() {
        var bench = CopyBench(isPeer: true)
        bench.knowsDigests = false
        bench.feed(.begin)
        let first = bench.ask()
        bench.knowsDigests = true
        for order in first { bench.feed(bench.reply(order)) }
        bench.run()
        #expect(bench.outcome != nil)
        #expect(bench.listRequests == 2)
    }

    @Test("A master that never tells digests does not hold the copy up for ever")
    func noDigests() {
        var bench = CopyBench(isPeer: true)
        bench.knowsDigests = false
        bench.feed(.begin)
        bench.run()
        #expect(bench.outcome != nil)
        #expect(bench.listRequests == 1 + bench.receiver.configuration.maxDigestLists)
    }

    @Test("C2: after a lost link the copy goes on at the byte it had", arguments: [true, false])
    func lostLink(isPeer: Bool) {
        var bench = CopyBench(isPeer: isPeer, sizes: [20_000])
        bench.feed(.begin)
        for _ in 0..<(isPeer ? 1 : 6) {
            for order in bench.ask() {
                bench.bytesServed += Int(min(order.count, 3_000))
                bench.feed(bench.reply(order, limit: 3_000))
            }
        }
        let inFlight = bench.ask()
        #expect(!inFlight.isEmpty)
        bench.feed(.disconnected("reset", partialBytes: 100))
        #expect(bench.receiver.phase == .pausing)
        #expect(bench.ask().isEmpty)
        bench.time += 1
        bench.feed(.tick)
        bench.requested = []
        let before = bench.bytesServed
        bench.run()
        #expect(bench.isComplete)
        #expect(bench.connects == 2)
        #expect(bench.bytesServed >= before)
        #expect(bench.receiver.bytesSentTwice == 100)
    }

    @Test("C3: after a restart what is on the disk is not fetched again", arguments: [true, false])
    func resumed(isPeer: Bool) {
        var first = CopyBench(isPeer: isPeer, sizes: [20_000])
        first.feed(.begin)
        for _ in 0..<8 {
            for order in first.ask() { first.feed(first.reply(order, limit: 3_000)) }
        }
        let checkpoint = first.receiver.checkpoint
        let files = checkpoint.files.indices.map { index in
            SnapshotReceiver.Remainder.File(
                name: checkpoint.files[index].name,
                sizeBytes: checkpoint.hasSize[index] ? checkpoint.files[index].sizeBytes : nil,
                prefixBytes: checkpoint.prefixBytes[index])
        }
        let here = checkpoint.files.indices
            .filter { isPeer || checkpoint.files[$0].name.hasSuffix(".sst") }
            .reduce(UInt64(0)) { $0 + checkpoint.prefixBytes[$1] }
        #expect(here > 0)
        var second = CopyBench(
            isPeer: isPeer,
            remainder: SnapshotReceiver.Remainder(
                snapshotID: first.id, position: checkpoint.position, files: files,
                bytesSentTwice: 5),
            sizes: [20_000])
        second.disk = first.disk
        second.feed(.begin)
        second.run()
        #expect(second.outcome != nil)
        #expect(second.isComplete)
        #expect(second.discards == 0)
        #expect(second.receiver.bytesResumed == here)
        #expect(second.bytesServed == second.totalBytes - Int(here))
        #expect(second.receiver.bytesSentTwice == 5)
    }

    @Test("Islands behind a gap survive a restart: only the gap is fetched")
    func islands() {
        let file = SnapshotReceiver.Remainder.File(
            name: "strings/000000.sst", sizeBytes: 10_000, prefixBytes: 1_000,
            islands: [3_000..<4_000, 6_000..<10_000])
        var bench = CopyBench(
            isPeer: true,
            remainder: SnapshotReceiver.Remainder(
                snapshotID: snapshotID("aaaa"), position: nil, files: [file], bytesSentTwice: 0))
        bench.disk["strings/000000.sst"] = bench.master["strings/000000.sst"]
        bench.feed(.begin)
        bench.run()
        #expect(bench.isComplete)
        let ranges = bench.requested.filter { $0.name == file.name }
            .map { $0.offset..<$0.offset + $0.count }
        #expect(ranges.allSatisfy { $0.lowerBound >= 1_000 && $0.upperBound <= 6_000 })
        #expect(bench.bytesServed == bench.totalBytes - 6_000)
    }

    @Test("What is left of another snapshot is deleted before anything is asked for")
    func otherRemainder() {
        var bench = CopyBench(
            isPeer: true,
            remainder: SnapshotReceiver.Remainder(
                snapshotID: snapshotID("zzzz"), position: at(1, 1),
                files: [.init(name: "strings/000000.sst", sizeBytes: 10_000, prefixBytes: 9_000)],
                bytesSentTwice: 9))
        bench.feed(.begin)
        bench.run()
        #expect(bench.discards == 1)
        #expect(bench.isComplete)
        #expect(bench.receiver.bytesResumed == 0)
    }

    @Test("F3, F9: a master that makes its snapshot is waited for")
    func preparing() {
        var receiver = SnapshotReceiver(
            SnapshotReceiver.Configuration(database: "db0", isPeer: true), now: seconds(0))
        _ = receiver.handle(.begin, now: seconds(0))
        _ = receiver.handle(.connected, now: seconds(0))
        let refusal = FileListResponse(
            status: .error, database: "db0", snapshotID: "",
            refusal: FileRefusal(
                reason: .preparing, retryAfterMilliseconds: 300, percent: 40))
        #expect(receiver.handle(.listed(refusal), now: seconds(1)).isEmpty)
        #expect(receiver.preparingPercent == 40)
        #expect(receiver.handle(.tick, now: seconds(1.2)).isEmpty)
        let again = receiver.handle(.tick, now: seconds(1.4))
        guard case .requestList = again.first else {
            Issue.record("not asked again: \(again)")
            return
        }
    }

    @Test("A silent real Pika is asked once a second, not faster")
    func silentPika() {
        var receiver = SnapshotReceiver(
            SnapshotReceiver.Configuration(database: "db0", isPeer: false), now: seconds(0))
        _ = receiver.handle(.begin, now: seconds(0))
        _ = receiver.handle(.connected, now: seconds(0))
        var requests = 0
        for tenth in 1...100 {
            requests += receiver.handle(.tick, now: seconds(Double(tenth) / 10)).count
        }
        #expect((9...11).contains(requests))
        // An answer of 3.5.5 that says no, without a snapshot's id.
        let no = FileListResponse(status: .error, database: "db0", snapshotID: "")
        #expect(receiver.handle(.listed(no), now: seconds(10)).isEmpty)
        #expect(receiver.handle(.tick, now: seconds(10.5)).isEmpty)
        #expect(receiver.handle(.tick, now: seconds(11.1)).count == 1)
    }

    @Test("A copy that nobody makes ends in a clear failure")
    func neverPrepared() {
        var receiver = SnapshotReceiver(
            SnapshotReceiver.Configuration(database: "db0", isPeer: false), now: seconds(0))
        _ = receiver.handle(.begin, now: seconds(0))
        _ = receiver.handle(.connected, now: seconds(0))
        let directives = receiver.handle(.tick, now: seconds(3_601))
        #expect(receiver.phase == .failed)
        #expect(directives.count == 2)
    }

    @Test("F12: silence with requests out is borne longer when answers are slow, and ends")
    func silence() {
        var bench = CopyBench(isPeer: true)
        bench.feed(.begin)
        let orders = bench.ask()
        bench.time = 3
        bench.feed(.heard)
        bench.time = 3.9
        bench.feed(.tick)
        #expect(bench.receiver.phase == .reading)
        bench.time = 12
        bench.feed(bench.reply(orders[0], limit: 10))
        bench.time = 15
        bench.feed(.tick)
        #expect(bench.receiver.phase == .reading)
        bench.time = 80
        bench.feed(.tick)
        #expect(bench.receiver.phase == .pausing)
    }

    @Test("F12: requests follow the rate")
    func requestSize() {
        var bench = CopyBench(isPeer: true, sizes: [1_000_000])
        bench.feed(.begin)
        bench.receiver.limitBytesPerSecond = 100_000
        #expect(bench.receiver.nextReadBytes(now: seconds(0)) == 4_096)
        bench.receiver.limitBytesPerSecond = 0
        #expect(
            bench.receiver.nextReadBytes(now: seconds(0))
                == bench.receiver.configuration.chunkBytes)
    }

    @Test("A full disk ends the copy with its reason; what is here stays")
    func diskFull() {
        var bench = CopyBench(isPeer: true)
        bench.feed(.begin)
        _ = bench.ask()
        bench.feed(.storageFailed("the disk is full"))
        #expect(bench.failure?.reason == "the disk is full")
        #expect(bench.failure?.discards == false)
    }

    @Test("A real Pika's copy is opened and read before it counts; a damaged one is thrown away")
    func damagedStores() {
        var bench = CopyBench(isPeer: false, sizes: [100])
        bench.feed(.begin)
        // Up to the last check.
        var sawCheck = false
        for _ in 0..<200 where !sawCheck {
            for order in bench.ask() {
                var queue: [SnapshotReceiver.Event] = [bench.reply(order)]
                while !queue.isEmpty {
                    for directive in bench.receiver.handle(
                        queue.removeFirst(), now: seconds(bench.time))
                    {
                        switch directive {
                        case .store(let order, _, _):
                            queue.append(.stored(id: order.id, isIntact: true))
                        case .verify(let index, _, _):
                            queue.append(.verified(fileIndex: index, digest: 0, badRanges: []))
                        case .readInfo: queue.append(.info(bench.position))
                        case .checkpoint: queue.append(.checkpointed)
                        case .checkStores: sawCheck = true
                        case .finish: Issue.record("finished without the check")
                        default: break
                        }
                    }
                }
            }
        }
        #expect(sawCheck)
        bench.feed(.storesChecked("checksum mismatch in 000012.sst"))
        #expect(bench.failure?.discards == true)
        #expect(bench.outcome == nil)
    }

    @Test("A size that changes under the copy is an error")
    func changedSize() {
        var bench = CopyBench(isPeer: true, sizes: [5_000])
        bench.feed(.begin)
        let orders = bench.ask()
        bench.master["strings/000000.sst"] = [UInt8](repeating: 1, count: 4_500)
        for order in orders where order.name == "strings/000000.sst" {
            bench.feed(bench.reply(order))
        }
        #expect(bench.failure?.discards == true)
    }

    @Test("Any order of replies, losses and damage ends in a whole copy", arguments: 0..<40)
    func property(seed: Int) {
        var random = CopyDice(state: UInt64(seed) &+ 99)
        let isPeer = seed % 2 == 0
        var bench = CopyBench(
            isPeer: isPeer,
            sizes: (0..<4).map { _ in Int(random.next() % 30_000) })
        bench.feed(.begin)
        var out: [SnapshotReceiver.ReadOrder] = []
        for _ in 0..<20_000 where bench.outcome == nil && bench.failure == nil {
            out += bench.ask()
            switch random.next() % 40 {
            case 0:
                bench.feed(.disconnected("cut", partialBytes: 0))
                out = []
            case 1 where !out.isEmpty:
                // A reply that is lost with its connection by the time-out.
                bench.time += 120
                bench.feed(.tick)
                if bench.receiver.phase != .reading { out = [] }
            case 2 where !out.isEmpty && isPeer:
                let order = out.remove(at: Int(random.next() % UInt64(out.count)))
                for directive in bench.receiver.handle(
                    bench.reply(order), now: seconds(bench.time))
                {
                    if case .store(let order, _, _) = directive {
                        bench.feed(.stored(id: order.id, isIntact: false))
                    }
                }
            default:
                if out.isEmpty {
                    bench.time += 1
                    bench.feed(.tick)
                } else {
                    let index = Int(random.next() % UInt64(out.count))
                    let order = out.remove(at: index)
                    bench.feed(bench.reply(order, limit: Int(random.next() % 5_000) + 1))
                }
            }
        }
        #expect(bench.failure == nil, "seed \(seed): \(bench.failure?.reason ?? "")")
        #expect(bench.outcome != nil, "seed \(seed)")
        #expect(bench.isComplete, "seed \(seed)")
    }
}

private struct CopyDice {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
