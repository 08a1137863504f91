internal import MigrateCore

/// What a run shows of itself, as JSON and for Prometheus.
struct StatusText {
    let figures: RunFigures
    let limits: [LimitName: UInt64]
    let deadLetters: UInt64
    let now: Int64

    private static let kinds: [(KeyKind, String)] = [
        (.string, "string"), (.list, "list"), (.set, "set"), (.sortedSet, "zset"), (.hash, "hash"),
    ]

    private var checkpointAge: Int64 {
        self.figures.checkpointMilliseconds == 0
            ? 0 : max(0, self.now - self.figures.checkpointMilliseconds)
    }

    /// Numbers by name; the same in JSON and metrics, always all of them.
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
            ("throttle_wait_milliseconds_total", figures.throttledMilliseconds),
            ("target_latency_microseconds", figures.targetLatencyMicroseconds),
            ("paused", figures.paused ? 1 : 0),
        ]
    }

    /// One JSON object.
    func json() -> String {
        var parts = ["\"phase\":\"\(self.figures.phase.rawValue)\""]
        parts += self.numbers.map { "\"\($0)\":\($1)" }
        let keys = Self.kinds.map { "\"\($1)\":\(self.figures.keys[$0] ?? 0)" }
        parts.append("\"keys\":{\(keys.joined(separator: ","))}")
        let limits = LimitName.allCases.map { "\"\($0.rawValue)\":\(self.limits[$0] ?? 0)" }
        parts.append("\"limits\":{\(limits.joined(separator: ","))}")
        let notes = self.figures.notes.sorted { $0.key < $1.key }
            .map { "\"\(DeadLetters.escaped(Array($0.key.utf8)))\":\($0.value)" }
        parts.append("\"notes\":{\(notes.joined(separator: ","))}")
        let trouble = DeadLetters.escaped(Array(self.figures.lastTrouble.utf8))
        parts.append("\"last_trouble\":\"\(trouble)\"")
        return "{\(parts.joined(separator: ","))}\n"
    }

    /// Prometheus's text format.
    func metrics() -> String {
        var text = ""
        for (name, value) in self.numbers {
            let kind = name.hasSuffix("_total") ? "counter" : "gauge"
            text += "# TYPE pika_migrate_\(name) \(kind)\npika_migrate_\(name) \(value)\n"
        }
        text += "# TYPE pika_migrate_keys_total counter\n"
        for (kind, name) in Self.kinds {
            text += "pika_migrate_keys_total{type=\"\(name)\"} \(self.figures.keys[kind] ?? 0)\n"
        }
        text += "# TYPE pika_migrate_phase gauge\n"
        for phase in RunPhase.allCases {
            text += "pika_migrate_phase{phase=\"\(phase.rawValue)\"}"
            text += " \(phase == self.figures.phase ? 1 : 0)\n"
        }
        return text
    }
}
