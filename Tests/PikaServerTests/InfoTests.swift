import Foundation
import Synchronization
import Testing

@testable import PikaServer

@Suite("INFO text")
struct InfoTests {
    @Test(
        "Numbers with two decimals are rounded, negative ones and nonsense included",
        arguments: [
            (0.0, "0.00"), (0.005, "0.01"), (1.5, "1.50"), (12.345, "12.35"), (-2.5, "-2.50"),
            (99.999, "100.00"), (-0.001, "0.00"), (.infinity, "0.00"), (.nan, "0.00"),
        ])
    func decimals(value: Double, text: String) {
        #expect(InfoText.decimal(value) == text)
    }

    @Test("Who asks for the size of directories never walks them: an old answer begins a walk")
    func directorySizes() throws {
        let fileSystem = RealFileSystemForTests.shared
        let path = NSTemporaryDirectory() + "sizes-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: path + "/inner", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        func add(_ name: String, _ count: Int) throws {
            try Data(count: count).write(to: URL(fileURLWithPath: path + "/" + name))
        }
        try add("inner/a", 100)
        let walks = Mutex<[@Sendable () -> Void]>([])
        let sizes = DirectorySizes(of: [path, path + "/none"], fileSystem, nowMilliseconds: 0) {
            walk in walks.withLock { $0.append(walk) }
        }
        try add("b", 20)
        let limit = DirectorySizes.ageLimitMilliseconds
        #expect(sizes.bytes(nowMilliseconds: limit) == [100, 0])
        #expect(walks.withLock { $0.count } == 0)
        #expect(sizes.bytes(nowMilliseconds: limit + 1) == [100, 0])
        #expect(sizes.bytes(nowMilliseconds: 2 * limit) == [100, 0])
        // One at a time.
        #expect(walks.withLock { $0.count } == 1)
        walks.withLock { $0.removeFirst() }()
        #expect(sizes.bytes(nowMilliseconds: limit + 2) == [120, 0])
        #expect(walks.withLock { $0.count } == 0)
    }

    @Test("Rates come from two moments; a counter that went back gives 0")
    func rates() {
        var before = StatisticsTotals()
        var now = StatisticsTotals()
        before.commands = 100
        now.commands = 1100
        before.inputBytes = 10
        now.inputBytes = 5
        now.outputBytes = 2048
        let rates = StatisticsRates(from: before, to: now, milliseconds: 2000)
        #expect(rates.operationsPerSecond == 500)
        #expect(rates.inputKilobytesPerSecond == 0)
        #expect(rates.outputKilobytesPerSecond == 1)
    }

    @Test("CONFIG RESETSTAT begins every total at 0 again, the commands and both directions too")
    func resetStatistics() {
        let loop = LoopCounters()
        let statistics = Statistics(loops: [loop], nowMilliseconds: 0)
        loop.connections.store(3, ordering: .relaxed)
        loop.inputBytes.store(500, ordering: .relaxed)
        statistics.reset(commands: 40, replicationInput: 1_000, replicationOutput: 2_000)
        #expect(
            statistics.totals(commands: 40, replicationInput: 1_000, replicationOutput: 2_000)
                == StatisticsTotals())
        loop.inputBytes.store(507, ordering: .relaxed)
        let later = statistics.totals(
            commands: 42, replicationInput: 1_003, replicationOutput: 2_000)
        #expect(later.commands == 2)
        #expect(later.inputBytes == 7)
        #expect(later.replicationInputBytes == 3)
        #expect(later.connections == 0)
        // The rates of the interval count from the reset on, not back to before it.
        statistics.sample(later, nowMilliseconds: 1_000)
        #expect(statistics.rates.operationsPerSecond == 2)
    }

    @Test("A schedule is due once in its window, over midnight too, and on its day only")
    func schedule() {
        func clock(day: Int, hour: Int) -> ScheduleClock {
            ScheduleClock(unixSeconds: 1_000_000, weekDay: day, hour: hour)
        }
        let daily = CompactSchedule.window(weekDay: nil, startHour: 2, endHour: 4, freePercent: 0)
        #expect(daily.isDue(now: clock(day: 1, hour: 2), lastSeconds: 0))
        #expect(!daily.isDue(now: clock(day: 1, hour: 4), lastSeconds: 0))
        #expect(!daily.isDue(now: clock(day: 1, hour: 3), lastSeconds: 1_000_000 - 3600))
        let night = CompactSchedule.window(weekDay: 3, startHour: 23, endHour: 2, freePercent: 0)
        #expect(night.isDue(now: clock(day: 3, hour: 23), lastSeconds: 0))
        #expect(night.isDue(now: clock(day: 4, hour: 1), lastSeconds: 0))
        #expect(!night.isDue(now: clock(day: 3, hour: 1), lastSeconds: 0))
        #expect(!night.isDue(now: clock(day: 4, hour: 23), lastSeconds: 0))
        let often = CompactSchedule.every(hours: 6, freePercent: 0)
        #expect(often.isDue(now: clock(day: 1, hour: 0), lastSeconds: 1_000_000 - 21_600))
        #expect(!often.isDue(now: clock(day: 1, hour: 0), lastSeconds: 1_000_000 - 21_599))
    }

    @Test("Passwords are compared whole")
    func passwords() {
        func isEqual(_ expected: String, _ found: String) -> Bool {
            Array(found.utf8).withUnsafeBytes {
                Administration.isEqual(Array(expected.utf8), $0)
            }
        }
        #expect(isEqual("secret", "secret"))
        for wrong in ["secre", "secrets", "Secret", "", "secretsecret"] {
            #expect(!isEqual("secret", wrong))
        }
    }
}
