/// Which bytes passed, and when: for questions about any window of time.
///
/// Times are nanoseconds, and do not go back.
public struct TrafficLedger: Sendable {
    private var times: [UInt64] = []
    /// Sum before each entry; one more than `times`.
    private var sums: [UInt64] = [0]

    /// An empty ledger.
    public init() {}

    /// All bytes so far.
    public var totalBytes: UInt64 { self.sums.last ?? 0 }

    /// Notes bytes.
    public mutating func add(_ bytes: UInt64, at now: UInt64) {
        self.times.append(now)
        self.sums.append(self.totalBytes + bytes)
    }

    /// Bytes from `start` on, and before `end`.
    public func bytes(from start: UInt64, to end: UInt64) -> UInt64 {
        self.total(before: end) - self.total(before: start)
    }

    /// Most bytes in any window of this length that begins at an entry of `range`.
    public func most(in window: UInt64, from: UInt64 = 0, to: UInt64 = .max) -> UInt64 {
        var most: UInt64 = 0
        var end = 0
        for start in self.times.indices where self.times[start] >= from {
            let (limit, overflow) = self.times[start].addingReportingOverflow(window)
            guard !overflow, limit <= to else { break }
            while end < self.times.count, self.times[end] < limit { end += 1 }
            most = max(most, self.sums[end] - self.sums[start])
        }
        return most
    }

    /// Fewest and most bytes in any window of this length within a range, in steps of `step`.
    public func extremes(
        in window: UInt64, step: UInt64, from: UInt64, to end: UInt64
    ) -> (fewest: UInt64, most: UInt64) {
        var fewest = UInt64.max
        var most: UInt64 = 0
        var start = from
        while start + window <= end {
            let count = self.bytes(from: start, to: start + window)
            fewest = min(fewest, count)
            most = max(most, count)
            start += step
        }
        return (fewest, most)
    }

    private func total(before time: UInt64) -> UInt64 {
        var low = 0
        var high = self.times.count
        while low < high {
            let middle = (low + high) / 2
            if self.times[middle] < time { low = middle + 1 } else { high = middle }
        }
        return self.sums[low]
    }
}
