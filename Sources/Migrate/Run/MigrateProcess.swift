internal import FileIO
internal import Glibc
internal import MigrateCore
internal import Synchronization

/// The process around a job: signals, progress, status.
public final class MigrateProcess: Sendable {
    private let job: Job
    private let settings: MigrateSettings

    /// A process for a job.
    public init(_ settings: MigrateSettings) throws(RunError) {
        self.settings = settings
        self.job = try Job(settings)
    }

    /// Runs the job to its end; being stopped by a signal is success.
    public func run() async throws(RunError) {
        let job = self.job
        Signals.install()
        let lock = try job.takeDirectory()
        defer { lock.release() }
        let drain = self.settings.number("job.drain-timeout")
        let watcher = Task {
            while !Task.isCancelled {
                if Signals.count > 0 {
                    await job.stop()
                    try? await Task.sleep(for: .seconds(drain))
                    // The checkpoint is right at any time.
                    if !Task.isCancelled { _exit(0) }
                    return
                }
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        let server = try await StatusServer.start(job)
        let printer = Task { await ProgressPrinter(job.meter).run() }
        let clock = Task { await job.watch() }
        defer {
            clock.cancel()
            watcher.cancel()
            printer.cancel()
        }
        let ended: Result<Void, RunError>
        do throws(RunError) { ended = .success(try await job.run()) } catch {
            ended = error == .stopped ? .success(()) : .failure(error)
        }
        await server?.stop()
        ProgressPrinter.report(job, ended)
        try ended.get()
    }
}

/// SIGTERM and SIGINT; the second one ends the process at once.
enum Signals {
    private static let received = Atomic<Int>(0)

    static var count: Int { self.received.load(ordering: .relaxed) }

    static func install() {
        signal(SIGPIPE, SIG_IGN)
        for number in [SIGTERM, SIGINT] {
            signal(number) { _ in
                let before = Signals.received.wrappingAdd(1, ordering: .relaxed).oldValue
                if before > 0 { _exit(0) }
            }
        }
    }
}

/// Shows how it goes: a line that is rewritten on a terminal, lines otherwise.
struct ProgressPrinter: Sendable {
    private let meter: RunMeter
    private let isTerminal: Bool

    init(_ meter: RunMeter) {
        self.meter = meter
        self.isTerminal = isatty(2) != 0
    }

    func run() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(self.isTerminal ? 250 : 1_000))
            let line = Self.line(self.meter.current)
            Self.write(self.isTerminal ? "\r\u{1B}[K" + line : line + "\n")
        }
        if self.isTerminal { Self.write("\n") }
    }

    private static let barWidth = 20

    /// One line about a run.
    static func line(_ now: RunFigures) -> String {
        var text = now.phase.rawValue
        switch now.phase {
        case .loading, .reconciling:
            text += Self.bar(now.snapshotReadBytes, of: now.snapshotBytes)
        case .spooling:
            text += Self.bar(now.source.snapshotReceivedBytes, of: now.source.snapshotBytes)
            text += " \(now.source.snapshotReceivedBytes >> 20) MiB received"
        default: break
        }
        if let left = now.rates.secondsLeft(now), left >= 1 { text += ", \(Int(left)) s left" }
        let keys = now.keys.values.reduce(0, +)
        text += ", \(keys) keys, \(now.units) units"
        text += ", \(Int(now.rates.commandsPerSecond)) commands/s"
        text += ", \(Int(now.rates.bytesPerSecond) >> 10) KiB/s"
        text += ", lag \(now.source.backlogBytes) B \(now.lagMilliseconds) ms"
        if now.paused { text += ", paused" }
        if !now.lastTrouble.isEmpty, now.phase == .reconnecting { text += ", \(now.lastTrouble)" }
        return text
    }

    private static func bar(_ done: UInt64, of total: UInt64) -> String {
        guard total > 0 else { return "" }
        let share = min(1, Double(done) / Double(total))
        let filled = Int(share * Double(Self.barWidth))
        return " [" + String(repeating: "#", count: filled)
            + String(repeating: ".", count: Self.barWidth - filled) + "] \(Int(share * 100))%"
    }

    /// The last word: what was done, as lines and as a file.
    static func report(_ job: Job, _ ended: Result<Void, RunError>) {
        var code = ExitStatus.done
        var reason = "stopped"
        switch ended {
        case .success:
            let figures = job.meter.current
            if figures.phase == .done {
                reason = figures.outcome.isEmpty ? "the source is at its end" : figures.outcome
            }
        case .failure(let error):
            code = error.status
            reason = error.description
            job.meter.update { $0.phase = .failed }
        }
        let text = job.statusText.json()
        let end =
            "{\"code\":\"\(code.code)\",\"reason\":\"\(DeadLetters.escaped(Array(reason.utf8)))\","
        let report = end + text.dropFirst()
        try? job.files.fileSystem.writeAtomically(
            Path.join(job.directory, "report.json"), Array(report.utf8))
        Self.write("report: " + report)
    }

    private static func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
