import Foundation
import Keyspace
import Synchronization
import TestKit
import Testing

@testable import Replication

/// `throttle-bytes-per-second` where bytes leave and enter: both services, over a clock by hand.
@Suite("Throttle of both services over virtual time", .serialized)
struct ThrottleTests {
    static let seed: UInt64 = 20_261_126

    /// Which half of the limit is looked at.
    enum Side: CaseIterable, Sendable { case sent, received }

    /// What flows.
    enum Flow: CaseIterable, Sendable { case files, binlog }

    /// A pair in the middle of a flow whose one side is limited.
    static func begin(
        _ side: Side, _ flow: Flow, rate: UInt64, bytes: Int
    ) async throws -> VirtualPair {
        let pair = try await VirtualPair()
        if flow == .files { try pair.write(bytes: bytes, seed: Self.seed) }
        if flow == .binlog {
            try pair.write(bytes: 8_000, seed: 1)
            try await pair.slaveOf()
            try await pair.wait("following") { pair.phase == .following }
        }
        switch side {
        case .sent: await pair.setRate(master: rate)
        case .received: await pair.setRate(replica: rate)
        }
        // A second of rest, so that the bucket is full and the change is history.
        await pair.advance(milliseconds: 1_000)
        switch flow {
        case .files:
            try await pair.slaveOf()
            try await pair.wait("the copy's first bytes") { pair.total(side) > UInt64(bytes / 50) }
        case .binlog:
            try pair.write(bytes: bytes, seed: Self.seed)
            await pair.settle()
        }
        return pair
    }

    @Test(
        "Over any 10 s the error is at most 1 %, in any 100 ms it is at most 1.6 of the share",
        arguments: Side.allCases, Flow.allCases)
    func accuracy(_ side: Side, _ flow: Flow) async throws {
        let rate: UInt64 = 2_000_000
        var random = SeededRandom(seed: Self.seed)
        let pair = try await Self.begin(side, flow, rate: rate, bytes: 28_000_000)
        let start = pair.now
        await pair.pass(milliseconds: 11_500, &random)
        pair.check(side, rate: rate, from: start, to: pair.now)
        let ledger = pair.ledger(side)
        let (fewest, most) = ledger.extremes(
            in: 10 * VirtualPair.second, step: 37 * VirtualPair.millisecond, from: start,
            to: pair.now)
        #expect(Double(fewest) >= Double(rate) * 10 * 0.99)
        #expect(Double(most) <= Double(rate) * 10 * 1.01)
        await pair.stop()
    }

    @Test(
        "Slow and fast limits keep to 1.6 of the share in any 100 ms",
        arguments: [200_000, 10_000_000] as [UInt64], Flow.allCases)
    func otherRates(_ rate: UInt64, _ flow: Flow) async throws {
        for side in Side.allCases {
            var random = SeededRandom(seed: rate)
            let pair = try await Self.begin(
                side, flow, rate: rate, bytes: Int(max(2_000_000, rate * 6 / 5)))
            let start = pair.now
            await pair.pass(milliseconds: 900, &random)
            pair.check(side, rate: rate, from: start, to: pair.now)
            await pair.stop()
        }
    }

    @Test(
        "A limit that is changed while bytes flow counts within 100 ms, down and up and off",
        arguments: Side.allCases, Flow.allCases)
    func change(_ side: Side, _ flow: Flow) async throws {
        var random = SeededRandom(seed: Self.seed)
        let pair = try await Self.begin(side, flow, rate: 4_000_000, bytes: 20_000_000)
        for rate: UInt64 in [1_000_000, 6_000_000, 500_000] {
            await pair.pass(milliseconds: 700, &random)
            let changed = pair.now
            switch side {
            case .sent: await pair.setRate(master: rate)
            case .received: await pair.setRate(replica: rate)
            }
            await pair.pass(milliseconds: 1_000, &random)
            pair.check(
                side, rate: rate, from: changed + 100 * VirtualPair.millisecond, to: pair.now)
        }
        let before = pair.total(side)
        await pair.setRate(master: 0, replica: 0)
        await pair.pass(milliseconds: 100, &random)
        #expect(pair.total(side) > before + 4_000_000, "no limit, and still held back")
        await pair.stop()
    }

    @Test("A limit that is set for the first time counts within 100 ms", arguments: Side.allCases)
    func firstLimit(_ side: Side) async throws {
        // The other side's limit keeps the flow going.
        let other: Side = side == .sent ? .received : .sent
        var random = SeededRandom(seed: Self.seed)
        let pair = try await Self.begin(other, .files, rate: 5_000_000, bytes: 12_000_000)
        await pair.pass(milliseconds: 500, &random)
        let changed = pair.now
        switch side {
        case .sent: await pair.setRate(master: 500_000)
        case .received: await pair.setRate(replica: 500_000)
        }
        await pair.pass(milliseconds: 1_500, &random)
        pair.check(
            side, rate: 500_000, from: changed + 100 * VirtualPair.millisecond, to: pair.now)
        await pair.stop()
    }

    @Test("Files and binlog of one process share the limit")
    func shared() async throws {
        let rate: UInt64 = 2_000_000
        var random = SeededRandom(seed: Self.seed)
        let pair = try await Self.begin(.sent, .files, rate: rate, bytes: 3_000_000)
        let start = pair.now
        try pair.write(bytes: 4_000_000, seed: 9)
        await pair.pass(milliseconds: 3_000, &random)
        #expect(pair.phase == .following, "the copy ended, the binlog goes on")
        pair.check(.sent, rate: rate, from: start, to: start + VirtualPair.second)
        await pair.stop()
    }
}

extension VirtualPair {
    func ledger(_ side: ThrottleTests.Side) -> TrafficLedger {
        self.traffic.withLock { side == .sent ? $0.sent : $0.received }
    }

    func total(_ side: ThrottleTests.Side) -> UInt64 { self.ledger(side).totalBytes }

    /// No 100 ms have more than 1.6 of their share, and all together have theirs.
    func check(_ side: ThrottleTests.Side, rate: UInt64, from: UInt64, to: UInt64) {
        let ledger = self.ledger(side)
        let share = Double(rate) / 10
        let most = ledger.most(in: 100 * Self.millisecond, from: from, to: to)
        #expect(Double(most) <= share * 1.6, "\(Double(most) / share) of the share in 100 ms")
        let all = Double(ledger.bytes(from: from, to: to))
        let wanted = Double(rate) * Double(to - from) / Double(Self.second)
        // The burst, and the piece that is under way.
        #expect(abs(all - wanted) <= share * 0.75, "\(all / wanted) of what there should be")
    }
}
