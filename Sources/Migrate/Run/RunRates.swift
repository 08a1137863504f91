internal import MigrateCore

/// The speeds of a run, and how long it will take.
struct RunRates: Sendable {
    private var commands = ProgressRate()
    private var bytes = ProgressRate()
    private var snapshotReceived = ProgressRate()
    private var snapshotRead = ProgressRate()
    private var received = ProgressRate()

    /// To be called every second or so.
    mutating func sample(_ figures: RunFigures, now: UInt64) {
        self.commands.sample(figures.commands, now: now)
        self.bytes.sample(figures.appliedBytes, now: now)
        self.snapshotReceived.sample(figures.source.snapshotReceivedBytes, now: now)
        self.snapshotRead.sample(figures.snapshotReadBytes, now: now)
        self.received.sample(figures.source.receivedBytes, now: now)
    }

    var commandsPerSecond: Double { self.commands.perSecond }
    var bytesPerSecond: Double { self.bytes.perSecond }
    var receivedBytesPerSecond: Double { self.received.perSecond }

    /// Seconds to the end of the phase: of what is received, copied, or behind; nil = not known.
    func secondsLeft(_ figures: RunFigures) -> Double? {
        switch figures.phase {
        case .spooling:
            let total = figures.source.snapshotBytes
            guard total > 0 else { return nil }
            return self.snapshotReceived.secondsLeft(
                figures.source.snapshotReceivedBytes, of: total)
        case .loading, .reconciling:
            guard figures.snapshotBytes > 0 else { return nil }
            return self.snapshotRead.secondsLeft(
                figures.snapshotReadBytes, of: figures.snapshotBytes)
        case .streaming:
            guard figures.source.backlogBytes > 0 else { return 0 }
            let gain = self.bytes.perSecond - self.received.perSecond
            guard gain > 0 else { return nil }
            return Double(figures.source.backlogBytes) / gain
        default: return nil
        }
    }
}
