import MigrateCore
import Testing

@Suite("Limits, their schedule and the governor")
struct LimitTests {
    private func at(_ day: Int, _ hour: Int, _ minute: Int = 0) -> LocalMoment {
        LocalMoment(weekday: day, minute: hour * 60 + minute)
    }

    @Test("Windows hold from their first minute to the one before their end")
    func windows() throws {
        let cases: [(String, LocalMoment, Bool)] = [
            ("08:00-18:00", self.at(0, 7, 59), false), ("08:00-18:00", self.at(0, 8), true),
            ("08:00-18:00", self.at(6, 17, 59), true), ("08:00-18:00", self.at(0, 18), false),
            ("00:00-24:00", self.at(3, 23, 59), true), ("00:00-24:00", self.at(3, 0), true),
            ("mon-fri 08:00-18:00", self.at(5, 9), false),
            ("fri 22:00-06:00", self.at(4, 23), true),
            ("fri 22:00-06:00", self.at(5, 5, 59), true), ("fri 22:00-06:00", self.at(5, 6), false),
            ("fri 22:00-06:00", self.at(4, 3), false), ("sun 22:00-06:00", self.at(0, 1), true),
            ("sat-mon,wed 00:00-24:00", self.at(0, 1), true),
            ("sat-mon,wed 00:00-24:00", self.at(2, 1), true),
            ("sat-mon,wed 00:00-24:00", self.at(1, 1), false),
        ]
        for (text, moment, expected) in cases {
            let window = try LimitWindow(text + " stream-bytes=1")
            #expect(window.contains(moment) == expected, "\(text) \(moment)")
        }
    }

    @Test("Windows without sense are refused")
    func refused() {
        for text in [
            "", "08:00-18:00", "08:00 stream-bytes=1", "8:00-18:00 stream-bytes=1",
            "24:00-08:00 stream-bytes=1", "08:00-08:00 stream-bytes=1",
            "08:60-09:00 stream-bytes=1",
            "08:00-24:01 stream-bytes=1", "mo 08:00-18:00 stream-bytes=1",
            "mon- 08:00-18:00 stream-bytes=1", "08:00-18:00 stream-byte=1",
            "08:00-18:00 stream-bytes=-1", "08:00-18:00 stream-bytes=1 stream-bytes=2",
        ] {
            #expect(throws: LimitWindowError.self, "\(text)") { try LimitWindow(text) }
        }
    }

    @Test("The operator goes before the schedule, the schedule before the settings")
    func order() throws {
        var plan = LimitPlan(
            base: [.streamBytes: 10, .snapshotKeys: 20],
            windows: [
                try LimitWindow("08:00-12:00 stream-bytes=30"),
                try LimitWindow("08:00-18:00 stream-bytes=40 stream-keys=50"),
            ])
        let night = plan.limits(at: self.at(0, 3))
        #expect(night[.streamBytes] == 10)
        #expect(night[.streamKeys] == 0)
        #expect(Set(night.keys) == Set(LimitName.allCases))
        let morning = plan.limits(at: self.at(0, 9))
        #expect(morning[.streamBytes] == 30)
        #expect(morning[.streamKeys] == 50)
        #expect(morning[.snapshotKeys] == 20)
        #expect(plan.limits(at: self.at(0, 13))[.streamBytes] == 40)
        plan.override(.streamBytes, 0)
        #expect(plan.limits(at: self.at(0, 9))[.streamBytes] == 0)
        plan.override(.streamBytes, nil)
        #expect(plan.limits(at: self.at(0, 9))[.streamBytes] == 30)
    }

    /// A target whose replies take longer the more it is kept busy above what it can do.
    private struct Target {
        var capacity: Double
        func latency(_ share: Double) -> Int64 {
            share <= self.capacity ? 2_000 : 2_000 + Int64((share - self.capacity) * 400_000)
        }
    }

    @Test("Over virtual time the governor holds the reply time, and uses what there is")
    func governor() {
        let limit: Int64 = 20_000
        var governor = LatencyGovernor(limitMicroseconds: limit)
        var now: UInt64 = 0
        /// Asks five times a second; returns the mean share and how often the limit was broken.
        func run(seconds: Int, _ target: Target) -> (share: Double, broken: Double) {
            var shares = 0.0
            var broken = 0
            for _ in 0..<seconds * 5 {
                now += 200_000_000
                let latency = target.latency(governor.share)
                if latency > limit { broken += 1 }
                governor.sample(microseconds: latency, now: now)
                #expect(governor.share >= LatencyGovernor.minShare && governor.share <= 1)
                shares += governor.share
            }
            return (shares / Double(seconds * 5), Double(broken) / Double(seconds * 5))
        }
        _ = run(seconds: 60, Target(capacity: 0.5))
        let steady = run(seconds: 300, Target(capacity: 0.5))
        #expect(steady.share > 0.3 && steady.share < 0.56, "\(steady)")
        #expect(steady.broken < 0.1, "\(steady)")
        _ = run(seconds: 5, Target(capacity: 0.1))
        let weak = run(seconds: 100, Target(capacity: 0.1))
        #expect(weak.share < 0.15 && weak.broken < 0.2, "\(weak)")
        _ = run(seconds: 40, Target(capacity: 1))
        #expect(governor.share == 1)
    }

    @Test("A governor rests in proportion to the work, a second at most; without a limit never")
    func pauses() {
        var governor = LatencyGovernor(limitMicroseconds: 1_000)
        #expect(governor.pause(after: 1_000_000) == 0)
        governor.sample(microseconds: 1_001, now: 1)
        #expect(governor.share == 0.5)
        #expect(governor.pause(after: 1_000_000) == 1_000_000)
        #expect(governor.pause(after: .max) == LatencyGovernor.maxPauseNanoseconds)
        // The cut must be seen before it is judged.
        governor.sample(microseconds: 5_000, now: 200_000_001)
        #expect(governor.share == 0.5)
        governor.sample(microseconds: 5_000, now: 600_000_001)
        #expect(governor.share == 0.25)
        var idle = LatencyGovernor(limitMicroseconds: 0)
        idle.sample(microseconds: .max, now: 1)
        #expect(idle.share == 1)
    }

    @Test("A rate follows what happens, and tells how long the rest takes")
    func rates() throws {
        var rate = ProgressRate()
        #expect(rate.secondsLeft(0, of: 100) == nil)
        for second in 0...60 { rate.sample(UInt64(second * 100), now: UInt64(second) << 30) }
        let perSecond = 100 / (Double(1 << 30) / 1e9)
        #expect(abs(rate.perSecond - perSecond) < 0.01)
        #expect(try abs(#require(rate.secondsLeft(0, of: 1_000)) - 1_000 / perSecond) < 0.01)
        #expect(rate.secondsLeft(1_000, of: 1_000) == 0)
        for second in 61...180 { rate.sample(6_000, now: UInt64(second) << 30) }
        #expect(rate.perSecond < 0.1)
        // A new copy counts from its beginning.
        rate.sample(0, now: 181 << 30)
        #expect(rate.perSecond == 0)
        #expect(rate.secondsLeft(0, of: 10) == nil)
    }
}
