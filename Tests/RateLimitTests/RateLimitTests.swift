import RateLimit
import TestKit
import Testing

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

private let millisecond: UInt64 = 1_000_000
private let second: UInt64 = 1_000_000_000

/// Asks as fast as it may until `end`, waking up to `lateness` too late.
private func saturate(
    _ bucket: inout TokenBucket, from start: UInt64, until end: UInt64, lateness: UInt64,
    generator: inout SplitMix, into ledger: inout TrafficLedger
) {
    var now = start
    while now < end {
        let bytes = UInt64.random(
            in: max(1, bucket.grantBytes / 2)...bucket.grantBytes, using: &generator)
        switch bucket.acquire(bytes, now: now) {
        case .granted: ledger.add(bytes, at: now)
        case .waitUntil(let nanoseconds):
            #expect(nanoseconds > now)
            now = nanoseconds + UInt64.random(in: 0...lateness, using: &generator)
        }
    }
}

@Suite("Token bucket")
struct TokenBucketTests {
    static let rates: [UInt64] = [
        25_000, 1_000_000, 5_242_880, 52_428_800, 307_200_000, 10_000_000_000,
    ]

    @Test(
        "Over any 10 s the error is at most 1 %, and no 100 ms has more than 1.6 of its share",
        arguments: rates)
    func accuracy(_ rate: UInt64) {
        var generator = SplitMix(state: rate)
        for lateness in [0, 1 * millisecond, 20 * millisecond] {
            var ledger = TrafficLedger()
            let start = UInt64.random(in: 0...(1 << 50), using: &generator)
            var bucket = TokenBucket(bytesPerSecond: rate, chunkBytes: 262_144, now: start)
            let end = start + 25 * second
            saturate(
                &bucket, from: start, until: end, lateness: lateness, generator: &generator,
                into: &ledger)
            let (fewest, most) = ledger.extremes(
                in: 10 * second, step: 37 * millisecond, from: start, to: end)
            #expect(Double(fewest) >= Double(rate) * 10 * 0.99, "lateness \(lateness)")
            #expect(Double(most) <= Double(rate) * 10 * 1.01, "lateness \(lateness)")
            #expect(Double(ledger.most(in: 100 * millisecond)) <= Double(rate) * 0.16)
        }
    }

    @Test("After a pause the burst is 40 ms of the rate, no more")
    func burst() {
        var bucket = TokenBucket(bytesPerSecond: 1_000_000, chunkBytes: 262_144, now: 0)
        #expect(bucket.burstBytes == 40_000)
        #expect(bucket.grantBytes == 20_000)
        #expect(bucket.acquire(40_000, now: 3_600 * second) == .granted)
        #expect(
            bucket.acquire(1, now: 3_600 * second)
                == .waitUntil(nanoseconds: 3_600 * second + 1_000))
        #expect(bucket.acquire(1, now: 3_600 * second + 999) != .granted)
        #expect(bucket.acquire(1, now: 3_600 * second + 1_000) == .granted)
    }

    @Test("A refusal takes nothing")
    func refusal() {
        var bucket = TokenBucket(bytesPerSecond: 1_000_000, chunkBytes: 50_000, now: 0)
        #expect(bucket.acquire(30_000, now: 0) == .granted)
        let before = bucket
        #expect(bucket.acquire(20_000, now: 0) == .waitUntil(nanoseconds: 10 * millisecond))
        #expect(bucket == before)
        #expect(bucket.acquire(10_000, now: 0) == .granted)
    }

    @Test("A request over the burst is granted when full, and its debt is paid")
    func debt() {
        var bucket = TokenBucket(bytesPerSecond: 1_000_000, chunkBytes: 50_000, now: 0)
        #expect(bucket.acquire(1_000_000, now: 0) == .granted)
        #expect(bucket.acquire(1, now: 0) == .waitUntil(nanoseconds: 960 * millisecond + 1_000))
        #expect(bucket.acquire(1_000_000, now: 0) == .waitUntil(nanoseconds: second))
    }

    @Test("A change of the rate holds from that moment on, up and down")
    func rateChange() {
        var generator = SplitMix(state: 5)
        var bucket = TokenBucket(bytesPerSecond: 50_000_000, chunkBytes: 262_144, now: 0)
        var now: UInt64 = 0
        for rate in [5_000_000, 100_000_000, 1_000_000, 50_000_000] as [UInt64] {
            var before = TrafficLedger()
            saturate(
                &bucket, from: now, until: now + second, lateness: 0, generator: &generator,
                into: &before)
            now += second
            bucket.setRate(bytesPerSecond: rate, now: now)
            #expect(bucket.bytesPerSecond == rate)
            var after = TrafficLedger()
            saturate(
                &bucket, from: now, until: now + second, lateness: 0, generator: &generator,
                into: &after)
            now += second
            let share = Double(after.totalBytes) / Double(rate)
            #expect(share > 0.94 && share < 1.06, "\(rate)")
            #expect(Double(after.most(in: 100 * millisecond)) <= Double(rate) * 0.16)
        }
    }

    @Test("0 = no limit, at once and back again")
    func noLimit() {
        var bucket = TokenBucket(bytesPerSecond: 1_000, chunkBytes: 10_000, now: 0)
        #expect(bucket.acquire(10_000, now: 0) == .granted)
        #expect(bucket.acquire(10_000, now: 0) != .granted)
        bucket.setRate(bytesPerSecond: 0, now: 0)
        for _ in 0..<100 { #expect(bucket.acquire(.max, now: 0) == .granted) }
        #expect(bucket.grantBytes == 10_000)
        bucket.setRate(bytesPerSecond: 1_000_000, now: 5)
        #expect(bucket.acquire(40_000, now: 5) == .granted)
        #expect(bucket.acquire(1, now: 5) == .waitUntil(nanoseconds: 1_005))
    }

    @Test("What is given back can be taken again, and not more")
    func refund() {
        var bucket = TokenBucket(bytesPerSecond: 1_000_000, chunkBytes: 50_000, now: 0)
        #expect(bucket.acquire(40_000, now: 0) == .granted)
        bucket.refund(20_000, now: 0)
        #expect(bucket.acquire(20_001, now: 0) != .granted)
        #expect(bucket.acquire(20_000, now: 0) == .granted)
        bucket.refund(10_000_000, now: 0)
        #expect(bucket.acquire(40_000, now: 0) == .granted)
        #expect(bucket.acquire(1, now: 0) != .granted)
    }

    @Test("A clock that steps back stands still, and extreme numbers do not trap")
    func extremes() {
        var bucket = TokenBucket(bytesPerSecond: .max, chunkBytes: .max, now: .max)
        #expect(bucket.acquire(.max, now: 0) == .granted)
        #expect(bucket.acquire(.max, now: .max) != .granted)
        bucket.setRate(bytesPerSecond: 1, now: 0)
        #expect(bucket.acquire(.max, now: .max) == .waitUntil(nanoseconds: .max))
        bucket.refund(.max, now: 0)
        bucket.setRate(bytesPerSecond: .max, now: .max)
        var slow = TokenBucket(bytesPerSecond: 1, chunkBytes: 1, now: 0)
        #expect(slow.acquire(1_024, now: 0) == .granted)
        #expect(slow.acquire(1, now: 0) == .waitUntil(nanoseconds: second))
        #expect(slow.acquire(1, now: .max) == .granted)
    }

    @Test("Random sequences never get more than burst + rate x time (+ one debt)")
    func randomSequences() {
        var generator = SplitMix(state: 99)
        for _ in 0..<300 {
            let rate = UInt64.random(in: 1...(1 << 34), using: &generator)
            var bucket = TokenBucket(bytesPerSecond: rate, chunkBytes: 65_536, now: 0)
            var now: UInt64 = 0
            var granted: Double = 0
            for _ in 0..<200 {
                now += UInt64.random(in: 0...(100 * millisecond), using: &generator)
                let bytes = UInt64.random(in: 1...bucket.burstBytes, using: &generator)
                switch bucket.acquire(bytes, now: now) {
                case .granted: granted += Double(bytes)
                case .waitUntil(let time):
                    #expect(time > now)
                    #expect(bucket.acquire(bytes, now: time) == .granted)
                    granted += Double(bytes)
                    now = time
                }
                let allowed = Double(bucket.burstBytes) + Double(rate) * Double(now) / 1e9
                #expect(granted <= allowed * 1.000_001 + 1)
            }
        }
    }
}

@Suite("Bucket tree")
struct BucketTreeTests {
    @Test("A replica's own limit and the host's both hold")
    func bothLevels() {
        var tree = BucketTree<Int>(bytesPerSecond: 1_000_000, chunkBytes: 10_000, now: 0)
        tree.setReplica(1, bytesPerSecond: 200_000, now: 0)
        #expect(tree.grantBytes(for: 1) == 4_000)
        #expect(tree.acquire(8_000, for: 1, stream: .snapshot, now: 0) == .granted)
        #expect(
            tree.acquire(8_000, for: 1, stream: .snapshot, now: 0)
                == .waitUntil(nanoseconds: 40 * millisecond))
        // Waiting for its own limit, replica 1 keeps nobody from the host's bytes.
        #expect(tree.acquire(32_000, for: 2, stream: .snapshot, now: 0) == .granted)
        #expect(
            tree.acquire(10_000, for: 2, stream: .snapshot, now: 0)
                == .waitUntil(nanoseconds: 10 * millisecond))
    }

    @Test("A refusal of the host costs the replica nothing")
    func refusalOfParent() {
        var tree = BucketTree<Int>(bytesPerSecond: 1_000_000, chunkBytes: 10_000, now: 0)
        tree.setReplica(1, bytesPerSecond: 1_000_000, now: 0)
        #expect(tree.acquire(40_000, for: 2, stream: .snapshot, now: 0) == .granted)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 0) != .granted)
        // At 40 ms the host has it, and so has the replica: nothing was taken before.
        #expect(
            tree.acquire(40_000, for: 1, stream: .snapshot, now: 40 * millisecond) == .granted)
    }

    @Test("A binlog goes before a snapshot that waits longer, also another replica's")
    func priority() {
        var tree = BucketTree<Int>(bytesPerSecond: 1_000_000, chunkBytes: 10_000, now: 0)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 0) == .granted)
        #expect(
            tree.acquire(10_000, for: 1, stream: .snapshot, now: 0)
                == .waitUntil(nanoseconds: 10 * millisecond))
        #expect(
            tree.acquire(20_000, for: 2, stream: .binlog, now: 0)
                == .waitUntil(nanoseconds: 20 * millisecond))
        #expect(
            tree.acquire(10_000, for: 1, stream: .snapshot, now: 10 * millisecond)
                == .waitUntil(nanoseconds: 30 * millisecond))
        #expect(tree.acquire(20_000, for: 2, stream: .binlog, now: 20 * millisecond) == .granted)
        #expect(tree.acquire(10_000, for: 1, stream: .snapshot, now: 30 * millisecond) == .granted)
    }

    @Test("A claim whose owner does not come back lapses")
    func lapse() {
        var tree = BucketTree<Int>(bytesPerSecond: 1_000_000, chunkBytes: 10_000, now: 0)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 0) == .granted)
        #expect(tree.acquire(40_000, for: 2, stream: .binlog, now: 0) != .granted)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 0) != .granted)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 139 * millisecond) != .granted)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 141 * millisecond) == .granted)
        tree.removeReplica(1)
    }

    @Test("Equal replicas get equal shares, and a binlog all that it asks for")
    func fairness() {
        var tree = BucketTree<Int>(bytesPerSecond: 10_000_000, chunkBytes: 65_536, now: 0)
        var generator = SplitMix(state: 3)
        var next = [UInt64](repeating: 0, count: 4)
        var bytes = [UInt64](repeating: 0, count: 4)
        let end = 20 * second
        while let client = next.indices.min(by: { next[$0] < next[$1] }), next[client] < end {
            let now = next[client]
            // Client 3 streams a binlog of 1 MB/s; the others copy as fast as they may.
            let stream: BucketTree<Int>.Stream = client == 3 ? .binlog : .snapshot
            let amount = client == 3 ? 10_000 : tree.grantBytes(for: client)
            switch tree.acquire(amount, for: client, stream: stream, now: now) {
            case .granted:
                bytes[client] += amount
                next[client] = client == 3 ? now + 10 * millisecond : now + 1
            case .waitUntil(let time):
                next[client] = time + UInt64.random(in: 0...millisecond, using: &generator)
            }
        }
        let total = Double(bytes.reduce(0, +)) / 20
        #expect(total > 9_900_000 && total < 10_100_000)
        #expect(Double(bytes[3]) / 20 > 0.8e6)
        for client in 0..<3 {
            #expect(Double(bytes[client]) / Double(bytes[0]) > 0.95)
            #expect(Double(bytes[client]) / Double(bytes[0]) < 1.05)
        }
    }

    @Test("A live change of the host's limit holds at once, for those who wait too")
    func rateChange() {
        var tree = BucketTree<Int>(bytesPerSecond: 1_000, chunkBytes: 1_024, now: 0)
        #expect(tree.acquire(1_024, for: 1, stream: .snapshot, now: 0) == .granted)
        #expect(tree.acquire(1_024, for: 1, stream: .snapshot, now: 0) != .granted)
        tree.setRate(bytesPerSecond: 0, now: 0)
        #expect(tree.bytesPerSecond == 0)
        #expect(tree.acquire(1_000_000, for: 1, stream: .snapshot, now: 0) == .granted)
        tree.setRate(bytesPerSecond: 1_000_000, now: 0)
        #expect(tree.acquire(40_000, for: 1, stream: .snapshot, now: 0) == .granted)
        #expect(tree.acquire(1, for: 1, stream: .snapshot, now: 0) != .granted)
        tree.refund(1, for: 1, stream: .snapshot, now: 0)
        #expect(tree.acquire(1, for: 1, stream: .snapshot, now: 0) == .granted)
        tree.setReplica(1, bytesPerSecond: 5, now: 0)
        tree.setReplica(1, bytesPerSecond: 0, now: 0)
    }
}
