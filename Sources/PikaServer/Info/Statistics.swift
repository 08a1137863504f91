import Synchronization

/// Counters of one command loop; written by that loop, read by any thread.
public final class LoopCounters: Sendable {
    let connections = Atomic<UInt64>(0)
    let rejectedConnections = Atomic<UInt64>(0)
    /// Connections closed since too many messages waited for them.
    let closedForOutput = Atomic<UInt64>(0)
    let inputBytes = Atomic<UInt64>(0)
    let outputBytes = Atomic<UInt64>(0)

    init() {}
}

/// Totals over all loops at one moment.
struct StatisticsTotals: Sendable, Equatable {
    var connections: UInt64 = 0
    var rejectedConnections: UInt64 = 0
    var inputBytes: UInt64 = 0
    var outputBytes: UInt64 = 0
    var commands: UInt64 = 0
    var replicationInputBytes: UInt64 = 0
    var replicationOutputBytes: UInt64 = 0

    /// What came after an earlier moment.
    func since(_ earlier: StatisticsTotals) -> StatisticsTotals {
        var totals = self
        for path in Self.counters {
            totals[keyPath: path] -= min(earlier[keyPath: path], totals[keyPath: path])
        }
        return totals
    }

    private static var counters: [WritableKeyPath<StatisticsTotals, UInt64>] {
        [
            \.connections, \.rejectedConnections, \.inputBytes, \.outputBytes, \.commands,
            \.replicationInputBytes, \.replicationOutputBytes,
        ]
    }
}

/// Figures of the last interval.
struct StatisticsRates: Sendable, Equatable {
    var operationsPerSecond: UInt64 = 0
    var inputKilobytesPerSecond = 0.0
    var outputKilobytesPerSecond = 0.0
    var replicationInputKilobytesPerSecond = 0.0
    var replicationOutputKilobytesPerSecond = 0.0

    /// The rates between two moments, `milliseconds` apart; counters that went back count as 0.
    init(from before: StatisticsTotals, to now: StatisticsTotals, milliseconds: Int64) {
        let seconds = Double(max(1, milliseconds)) / 1000
        func rate(_ path: KeyPath<StatisticsTotals, UInt64>) -> Double {
            let (difference, overflow) = now[keyPath: path].subtractingReportingOverflow(
                before[keyPath: path])
            return overflow ? 0 : Double(difference) / seconds
        }
        operationsPerSecond = UInt64(rate(\.commands))
        inputKilobytesPerSecond = rate(\.inputBytes) / 1024
        outputKilobytesPerSecond = rate(\.outputBytes) / 1024
        replicationInputKilobytesPerSecond = rate(\.replicationInputBytes) / 1024
        replicationOutputKilobytesPerSecond = rate(\.replicationOutputBytes) / 1024
    }

    init() {}
}

/// The server's counters and rates.
final class Statistics: Sendable {
    private struct Interval {
        var totals = StatisticsTotals()
        var atMilliseconds: Int64
        var rates = StatisticsRates()
    }

    let loops: [LoopCounters]
    private let interval: Mutex<Interval>
    /// What CONFIG RESETSTAT found: the counters themselves only grow.
    private let origin = Mutex(StatisticsTotals())

    init(loops: [LoopCounters], nowMilliseconds: Int64) {
        self.loops = loops
        interval = Mutex(Interval(atMilliseconds: nowMilliseconds))
    }

    /// Totals since the start, or since CONFIG RESETSTAT.
    func totals(
        commands: UInt64, replicationInput: UInt64, replicationOutput: UInt64
    ) -> StatisticsTotals {
        let all = self.all(
            commands: commands, replicationInput: replicationInput,
            replicationOutput: replicationOutput)
        return all.since(origin.withLock { $0 })
    }

    private func all(
        commands: UInt64, replicationInput: UInt64, replicationOutput: UInt64
    ) -> StatisticsTotals {
        var sum = StatisticsTotals()
        for loop in loops {
            sum.connections += loop.connections.load(ordering: .relaxed)
            sum.rejectedConnections += loop.rejectedConnections.load(ordering: .relaxed)
            sum.inputBytes += loop.inputBytes.load(ordering: .relaxed)
            sum.outputBytes += loop.outputBytes.load(ordering: .relaxed)
        }
        sum.commands = commands
        sum.replicationInputBytes = replicationInput
        sum.replicationOutputBytes = replicationOutput
        return sum
    }

    var rates: StatisticsRates {
        interval.withLock { $0.rates }
    }

    /// Ends an interval; called every few seconds.
    func sample(_ totals: StatisticsTotals, nowMilliseconds: Int64) {
        interval.withLock { interval in
            interval.rates = StatisticsRates(
                from: interval.totals, to: totals,
                milliseconds: nowMilliseconds - interval.atMilliseconds)
            interval.totals = totals
            interval.atMilliseconds = nowMilliseconds
        }
    }

    /// CONFIG RESETSTAT: every total begins at 0 again; rates go on.
    func reset(commands: UInt64, replicationInput: UInt64, replicationOutput: UInt64) {
        let all = self.all(
            commands: commands, replicationInput: replicationInput,
            replicationOutput: replicationOutput)
        origin.withLock { $0 = all }
        interval.withLock { $0.totals = StatisticsTotals() }
    }
}
