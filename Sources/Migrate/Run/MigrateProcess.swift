internal import FileIO
internal import Glibc
internal import MigrateCore
internal import Synchronization

/// The process around a job: signals, progress, status.
public final class MigrateProcess: Sendable {
    /// Between two lines of progress, in milliseconds.
    static let lineEveryMilliseconds: Int64 = 1_000

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
        defer {
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
        var last = RunFigures()
        var lastTime = systemMilliseconds()
        var lastLine: Int64 = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(self.isTerminal ? 250 : 1_000))
            let now = systemMilliseconds()
            let figures = self.meter.current
            let line = Self.line(figures, last, seconds: Double(now - lastTime) / 1_000)
            last = figures
            lastTime = now
            if self.isTerminal {
                Self.write("\r\u{1B}[K" + line)
            } else if now - lastLine >= 1_000 {
                lastLine = now
                Self.write(line + "\n")
            }
        }
        if self.isTerminal { Self.write("\n") }
    }

    /// One line about a run.
    static func line(_ now: RunFigures, _ before: RunFigures, seconds: Double) -> String {
        let elapsed = max(seconds, 0.001)
        let commands = Int(Double(now.commands &- before.commands) / elapsed)
        var text = now.phase.rawValue
        if now.snapshotBytes > 0, now.phase == .loading || now.phase == .reconciling {
            let share = min(1, Double(now.snapshotReadBytes) / Double(now.snapshotBytes))
            let width = 20
            let filled = Int(share * Double(width))
            text += " [" + String(repeating: "#", count: filled)
            text += String(repeating: ".", count: width - filled) + "] \(Int(share * 100))%"
            let speed = Double(now.snapshotReadBytes &- before.snapshotReadBytes) / elapsed
            if speed > 0 {
                let left = Double(now.snapshotBytes &- now.snapshotReadBytes) / speed
                text += ", \(Int(left)) s left"
            }
        }
        let keys = now.keys.values.reduce(0, +)
        text += ", \(keys) keys, \(now.units) units, \(commands) commands/s"
        text += ", lag \(now.source.backlogBytes) B \(now.lagMilliseconds) ms"
        if !now.lastTrouble.isEmpty, now.phase == .reconnecting { text += ", \(now.lastTrouble)" }
        return text
    }

    /// The last word: what was done, as lines and as a file.
    static func report(_ job: Job, _ ended: Result<Void, RunError>) {
        var code = ExitStatus.done
        var reason = "stopped"
        switch ended {
        case .success: if job.meter.current.phase == .done { reason = "the source is at its end" }
        case .failure(let error):
            code = error.status
            reason = error.description
            job.meter.update { $0.phase = .failed }
        }
        let text = StatusText(
            figures: job.meter.current, limits: job.throttle.limits, deadLetters: job.letters.count,
            now: systemMilliseconds()
        ).json()
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
