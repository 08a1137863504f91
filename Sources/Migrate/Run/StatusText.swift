internal import MigrateCore

/// What a run shows of itself, as JSON and for Prometheus.
struct StatusText {
    let figures: RunFigures
    let limits: [LimitName: UInt64]
    /// What the governor leaves of the speed, 1 = all.
    let share: Double
    let deadLetters: UInt64
    /// Unix time.
    let now: Int64

    private static let kinds: [(KeyKind, String)] = [
        (.string, "string"), (.list, "list"), (.set, "set"), (.sortedSet, "zset"), (.hash, "hash"),
        (.stream, "stream"), (.module, "module"),
    ]

    private var checkpointAge: Int64 {
        self.figures.checkpointMilliseconds == 0
            ? 0 : max(0, self.now - self.figures.checkpointMilliseconds)
    }

    // MARK: - JSON

    /// Whole numbers by name; always all of them.
    private var numbers: [(String, Int64)] {
        let figures = self.figures
        func number(_ value: UInt64) -> Int64 { Int64(clamping: value) }
        return [
            ("units_total", number(figures.units)),
            ("skipped_units_total", number(figures.skippedUnits)),
            ("commands_total", number(figures.commands)),
            ("applied_bytes_total", number(figures.appliedBytes)),
            ("received_bytes_total", number(figures.source.receivedBytes)),
            ("snapshot_bytes", number(figures.snapshotBytes)),
            ("snapshot_read_bytes", number(figures.snapshotReadBytes)),
            ("refreshed_keys_total", number(figures.refreshedKeys)),
            ("suspects_total", number(figures.suspects)),
            ("reconciled_keys_total", number(figures.reconciledDeletes)),
            ("dead_letters_total", number(self.deadLetters)),
            ("retries_total", number(figures.retries)),
            ("source_reconnects_total", number(figures.source.reconnects)),
            ("spool_bytes", number(figures.source.spoolBytes)),
            ("lag_bytes", number(figures.source.backlogBytes)),
            ("applied_offset", number(figures.appliedOffset)),
            ("checkpoint_age_milliseconds", self.checkpointAge),
            ("lag_milliseconds", figures.lagMilliseconds),
            ("throttle_wait_milliseconds_total", number(figures.throttledNanoseconds / 1_000_000)),
            ("target_latency_microseconds", figures.targetLatencyMicroseconds),
            ("commands_per_second", Int64(figures.rates.commandsPerSecond)),
            ("bytes_per_second", Int64(figures.rates.bytesPerSecond)),
            ("paused", figures.paused ? 1 : 0),
        ]
    }

    /// One JSON object.
    func json() -> String {
        var parts = ["\"phase\":\"\(self.figures.phase.rawValue)\""]
        parts += self.numbers.map { "\"\($0)\":\($1)" }
        let left = self.figures.rates.secondsLeft(self.figures)
        parts.append("\"eta_seconds\":\(left.map { "\(Int64($0))" } ?? "null")")
        parts.append("\"lag_seconds\":\(Double(self.figures.lagMilliseconds) / 1_000)")
        parts.append("\"governor_share\":\(self.share)")
        let keys = Self.kinds.map { "\"\($1)\":\(self.figures.keys[$0] ?? 0)" }
        parts.append("\"keys\":{\(keys.joined(separator: ","))}")
        let limits = LimitName.allCases.map { "\"\($0.rawValue)\":\(self.limits[$0] ?? 0)" }
        parts.append("\"limits\":{\(limits.joined(separator: ","))}")
        let notes = self.figures.notes.sorted { $0.key < $1.key }
            .map { "\"\(DeadLetters.escaped(Array($0.key.utf8)))\":\($0.value)" }
        parts.append("\"notes\":{\(notes.joined(separator: ","))}")
        let troubles = [self.figures.lastTrouble, self.figures.source.lastTrouble]
        let trouble = DeadLetters.escaped(
            Array((troubles.first { !$0.isEmpty } ?? "").utf8))
        parts.append("\"last_trouble\":\"\(trouble)\"")
        return "{\(parts.joined(separator: ","))}\n"
    }

    // MARK: - Prometheus

    /// One metric with all its series.
    private struct Metric {
        var name: String
        var help: String
        /// By the label's value; one with an empty name has no label.
        var series: [(label: String, value: Double)]
        var label = ""

        init(_ name: String, _ help: String, _ value: Double) {
            self.name = name
            self.help = help
            self.series = [("", value)]
        }

        init(
            _ name: String, _ help: String, by label: String,
            _ series: [(label: String, value: Double)]
        ) {
            self.name = name
            self.help = help
            self.label = label
            self.series = series
        }

        var text: String {
            let full = "pika_migrate_\(self.name)"
            let kind = self.name.hasSuffix("_total") ? "counter" : "gauge"
            var text = "# HELP \(full) \(self.help)\n# TYPE \(full) \(kind)\n"
            for one in self.series {
                let label = self.label.isEmpty ? "" : "{\(self.label)=\"\(one.label)\"}"
                text += "\(full)\(label) \(Self.number(one.value))\n"
            }
            return text
        }

        private static func number(_ value: Double) -> String {
            value.isNaN
                ? "NaN"
                : value == value.rounded() && abs(value) < 1e15
                    ? "\(Int64(value))" : "\(value)"
        }
    }

    private var counters: [Metric] {
        let figures = self.figures
        return [
            Metric("units_total", "Units of the stream that were read.", Double(figures.units)),
            Metric(
                "skipped_units_total", "Units that the target had already.",
                Double(figures.skippedUnits)),
            Metric("commands_total", "Commands that the target did.", Double(figures.commands)),
            Metric(
                "bytes_total", "Bytes by the stage that they have passed.", by: "stage",
                [
                    ("received", Double(figures.source.receivedBytes)),
                    ("applied", Double(figures.appliedBytes)),
                ]),
            Metric(
                "keys_total", "Keys that were copied, by type.", by: "type",
                Self.kinds.map { ($1, Double(figures.keys[$0] ?? 0)) }),
            Metric(
                "refreshed_keys_total", "Keys that were read from the source by themselves.",
                Double(figures.refreshedKeys)),
            Metric(
                "suspects_total", "Keys in doubt after a crash that were read anew.",
                Double(figures.suspects)),
            Metric(
                "reconciled_keys_total", "Keys of older data that were looked up at the source.",
                Double(figures.reconciledDeletes)),
            Metric(
                "dead_letters_total", "Commands that the target rejected.",
                Double(self.deadLetters)),
            Metric("retries_total", "New tries with the target.", Double(figures.retries)),
            Metric(
                "source_reconnects_total", "New connections to the source.",
                Double(figures.source.reconnects)),
            Metric(
                "throttle_wait_seconds_total", "Time spent waiting for limits and governor.",
                Double(figures.throttledNanoseconds) / 1e9),
        ]
    }

    private var gauges: [Metric] {
        let figures = self.figures
        return [
            Metric("snapshot_bytes", "Size of the snapshot.", Double(figures.snapshotBytes)),
            Metric(
                "snapshot_read_bytes", "Bytes of the snapshot that were read.",
                Double(figures.snapshotReadBytes)),
            Metric("spool_bytes", "Size of the spool.", Double(figures.source.spoolBytes)),
            Metric(
                "lag_bytes", "Received and not yet applied.", Double(figures.source.backlogBytes)),
            Metric(
                "lag_seconds", "Age of the oldest unit that is not in the target.",
                Double(figures.lagMilliseconds) / 1_000),
            Metric(
                "applied_offset", "Offset of a Redis's stream that the checkpoint has.",
                Double(figures.appliedOffset)),
            Metric(
                "checkpoint_age_seconds", "Time since the last checkpoint.",
                Double(self.checkpointAge) / 1_000),
            Metric(
                "target_latency_seconds", "How long the target's last answer took.",
                Double(figures.targetLatencyMicroseconds) / 1e6),
            Metric(
                "governor_share_ratio", "What the governor leaves of the speed, 1 is all.",
                self.share),
            Metric(
                "eta_seconds", "Time to the end of the phase, NaN if not known.",
                figures.rates.secondsLeft(figures) ?? .nan),
            Metric(
                "limit", "Limits by name, a second; 0 is none.", by: "name",
                LimitName.allCases.map { ($0.rawValue, Double(self.limits[$0] ?? 0)) }),
            Metric("paused", "An operator holds the run back.", figures.paused ? 1 : 0),
            Metric(
                "phase", "What the run is doing: 1 for one of them.", by: "phase",
                RunPhase.allCases.map { ($0.rawValue, $0 == figures.phase ? 1 : 0) }),
        ]
    }

    /// Prometheus's text format: all series, from the beginning on.
    func metrics() -> String { (self.counters + self.gauges).map(\.text).joined() }
}
