internal import SyncProtocol

/// Received ranges that are not acknowledged yet, in the order of the log.
///
/// A real master wants each item acknowledged once, by ranges whose ends are ends of items that it
/// sent: an item that is acknowledged twice makes its byte count underflow, an unknown end closes
/// the connection. So ranges are kept as they came and only merged with their neighbours.
/// (spec: replication-protocol 7.3)
struct AcknowledgementQueue: Equatable, Sendable {
    /// Ranges kept apart; beyond it the newest grow, and acknowledgements get coarser.
    static let maxRanges = 16_384

    private struct Range: Equatable, Sendable {
        var first: BinlogOffset
        var last: BinlogOffset
    }

    private var ranges: [Range] = []
    private var head = 0

    var isEmpty: Bool { self.head == self.ranges.count }

    mutating func append(first: BinlogOffset, last: BinlogOffset) {
        if self.ranges.count - self.head >= Self.maxRanges {
            self.ranges[self.ranges.count - 1].last = last
        } else {
            self.ranges.append(Range(first: first, last: last))
        }
    }

    /// Takes out what lies before `position` as one range.
    mutating func take(
        through position: BinlogPosition
    ) -> (first: BinlogOffset, last: BinlogOffset)? {
        let first = self.head
        while self.head < self.ranges.count, self.ranges[self.head].last.position <= position {
            self.head += 1
        }
        guard self.head > first else { return nil }
        let taken = (self.ranges[first].first, self.ranges[self.head - 1].last)
        if self.head == self.ranges.count {
            self.ranges.removeAll(keepingCapacity: true)
            self.head = 0
        } else if self.head > 1_024, self.head * 2 > self.ranges.count {
            self.ranges.removeFirst(self.head)
            self.head = 0
        }
        return taken
    }
}
