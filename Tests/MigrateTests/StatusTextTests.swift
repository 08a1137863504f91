import MigrateCore
import Testing

@testable import Migrate

@Suite("What a run shows of itself")
struct StatusTextTests {
    private func text(_ figures: RunFigures) -> StatusText {
        StatusText(figures: figures, limits: [:], share: 1, deadLetters: 0, now: 1_000)
    }

    /// Names with labels; checks the format on the way.
    private func series(_ metrics: String) throws -> [String] {
        var described: Set<String> = []
        var names: [String] = []
        for line in metrics.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            if line.hasPrefix("# HELP ") {
                #expect(words.count == 4, "\(line)")
                #expect(described.insert(words[2]).inserted, "twice: \(line)")
            } else if line.hasPrefix("# TYPE ") {
                #expect(words[3] == (words[2].hasSuffix("_total") ? "counter" : "gauge"))
            } else {
                #expect(words.count == 2 && Double(words[1]) != nil, "\(line)")
                let name = words[0].prefix { $0 != "{" }
                #expect(described.contains(String(name)), "\(line)")
                names.append(words[0])
            }
        }
        #expect(Set(names).count == names.count)
        return names
    }

    @Test("All series are there from the beginning, and none goes")
    func series() throws {
        let first = try self.series(self.text(RunFigures()).metrics())
        var figures = RunFigures()
        figures.phase = .loading
        figures.snapshotBytes = 100
        figures.snapshotReadBytes = 50
        figures.keys = [.list: 7]
        figures.notes = ["echo": 3]
        figures.throttledNanoseconds = 1_500_000_000
        figures.lagMilliseconds = 1_250
        let later = self.text(figures).metrics()
        #expect(try self.series(later) == first)
        #expect(first.count > 40)
        #expect(later.contains("\npika_migrate_keys_total{type=\"list\"} 7\n"))
        #expect(later.contains("\npika_migrate_lag_seconds 1.25\n"))
        #expect(later.contains("\npika_migrate_throttle_wait_seconds_total 1.5\n"))
        #expect(later.contains("\npika_migrate_phase{phase=\"loading\"} 1\n"))
    }

    @Test("The schedule's clock knows day and minute")
    func clock() throws {
        let clock = try LocalClock(zone: "UTC")
        // A Thursday, 00:00; a Friday, 16:39; a Sunday, 23:59:59.
        for (seconds, weekday, minute) in [
            (Int64(0), 3, 0), (1_700_239_140, 4, 16 * 60 + 39), (1_700_438_399, 6, 1_439),
        ] {
            #expect(
                clock.moment(seconds * 1_000) == LocalMoment(weekday: weekday, minute: minute))
        }
    }

    @Test("A line has phase, bar, rest, speed and lag")
    func line() {
        var figures = RunFigures()
        figures.phase = .loading
        figures.snapshotBytes = 1_000
        for second in 0...10 {
            figures.snapshotReadBytes = UInt64(second * 50)
            figures.commands = UInt64(second * 20)
            figures.rates.sample(figures, now: UInt64(second) * 1_000_000_000)
        }
        let line = ProgressPrinter.line(figures)
        #expect(line.hasPrefix("loading [##########..........] 50%, 10 s left"), "\(line)")
        #expect(line.contains("20 commands/s"), "\(line)")
        #expect(line.contains("lag 0 B 0 ms"), "\(line)")
        figures.phase = .streaming
        #expect(!ProgressPrinter.line(figures).contains("["))
    }
}
