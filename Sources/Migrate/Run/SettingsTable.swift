/// One key of the settings file.
struct SettingRow: Sendable {
    enum Kind: Sendable, Equatable {
        case text
        case number
        case flag
        case texts
        case choice([String])
    }

    let section: String
    let name: String
    let kind: Kind
    /// As TOML.
    let initial: String
    let text: String

    var path: String { "\(self.section).\(self.name)" }
}

/// All keys of the settings file, with their defaults.
enum SettingsTable {
    private static func row(
        _ section: String, _ name: String, _ kind: SettingRow.Kind, _ initial: String,
        _ text: String
    ) -> SettingRow {
        SettingRow(section: section, name: name, kind: kind, initial: initial, text: text)
    }

    static let rows: [SettingRow] = [
        Self.row(
            "job", "name", .text, "\"default\"",
            "Name of the job: its markers in the target are called after it."),
        Self.row(
            "job", "dir", .text, "\"./migrate.job\"",
            "Directory of the job's checkpoints, spool and dead letters."),
        Self.row(
            "job", "drain-timeout", .number, "10",
            "Seconds that SIGTERM waits for the workers."),
        Self.row(
            "job", "stop-when-caught-up", .flag, "false",
            "End with exit code 0 once the stream has been followed to its present end."),
        Self.row(
            "source", "url", .text, "\"\"",
            "redis://[user@]host:port, redis-cluster://host:port,host:port, scan://host:port (no fork), pika://host:port, sentinel://host:port,host:port/NAME, rdb:PATH, aof:PATH, pika-dump:PATH, binlog:PATH?db=N; rediss:// = TLS, verified. Never with a password."
        ),
        Self.row(
            "source", "password-file", .text, "\"\"",
            "File with the password; read again at each connection. Without it: PIKA_MIGRATE_SOURCE_PASSWORD."
        ),
        Self.row(
            "source", "ca-file", .text, "\"\"",
            "PEM file of those who may vouch for the server; empty = the machine's."),
        Self.row(
            "source", "cert-file", .text, "\"\"",
            "PEM file of our own certificate, for servers that want one."),
        Self.row("source", "key-file", .text, "\"\"", "PEM file of its key."),
        Self.row(
            "source", "server-name", .text, "\"\"",
            "Name that the server's certificate must have, and that is asked for; empty = the URL's host."
        ),
        Self.row(
            "source", "ack", .choice(["spooled", "applied"]), "\"spooled\"",
            "What the source is told: what is durable in the spool, or what the target has."),
        Self.row(
            "source", "lost-writes", .choice(["stop", "follow"]), "\"stop\"",
            "A source that has less than was applied: end with exit code 6, or take over its data."),
        Self.row(
            "source", "announced-port", .number, "29221",
            "What a Pika source knows us by, beside our address; nothing listens there."),
        Self.row(
            "target", "url", .text, "\"\"",
            "pika://host:port, redis://host:port, redis-cluster://host:port,host:port (some nodes of it), codis://host:port, rdb:PATH, aof:PATH; pikas://, rediss:// and rediss-cluster:// = TLS, verified."
        ),
        Self.row(
            "target", "password-file", .text, "\"\"",
            "File with the password. Without it: PIKA_MIGRATE_TARGET_PASSWORD."),
        Self.row(
            "target", "ca-file", .text, "\"\"",
            "PEM file of those who may vouch for the server; empty = the machine's."),
        Self.row(
            "target", "cert-file", .text, "\"\"",
            "PEM file of our own certificate, for servers that want one."),
        Self.row("target", "key-file", .text, "\"\"", "PEM file of its key."),
        Self.row(
            "target", "server-name", .text, "\"\"",
            "Name that the server's certificate must have, and that is asked for; empty = the URL's host."
        ),
        Self.row(
            "target", "connections", .number, "4",
            "Workers, each with a connection. A job keeps the number it began with."),
        Self.row(
            "target", "on-nonempty",
            .choice(["require-empty", "flush", "reconcile", "merge"]), "\"require-empty\"",
            "Keys in the target before the first copy: refuse, delete all, delete what the source lacks, keep."
        ),
        Self.row(
            "target", "on-lost", .choice(["stop", "copy"]), "\"stop\"",
            "A target that was emptied or set back behind the spool: end with exit code 6, or copy anew."
        ),
        Self.row(
            "target", "on-rejected", .choice(["stop", "dead-letter"]), "\"stop\"",
            "A command that the target rejects: end with exit code 8, or note it and go on."),
        Self.row(
            "map", "databases", .texts, "[]",
            "Source and target databases, such as [\"0=0\", \"1=3\"]; empty = all, each to its number."
        ),
        Self.row(
            "map", "include", .texts, "[]",
            "Globs. Names, in this order: what an exclude list matches is left out; then, if any include list has entries, what none of them matches; then slots and types; what is left is renamed. All lists look at the source's name."
        ),
        Self.row(
            "map", "include-prefixes", .texts, "[]",
            "Beginnings of names, as one list with include."),
        Self.row(
            "map", "include-regexes", .texts, "[]",
            "Regular expressions over bytes, linear in time, matching anywhere unless anchored by ^ and $; as one list with include."
        ),
        Self.row(
            "map", "exclude", .texts, "[]",
            "Globs that are left out."),
        Self.row(
            "map", "exclude-prefixes", .texts, "[]",
            "Beginnings of names that are left out."),
        Self.row(
            "map", "exclude-regexes", .texts, "[]",
            "Regular expressions that are left out."),
        Self.row(
            "map", "slots", .texts, "[]",
            "Slots of a cluster, such as [\"0-8191\"]; empty = all."),
        Self.row(
            "map", "types", .texts, "[]",
            "string, list, set, zset, hash; empty = all."),
        Self.row(
            "map", "commands-deny", .texts, "[]",
            "Commands of the stream that are left out: the target differs from then on."),
        Self.row(
            "map", "commands-allow", .texts, "[]",
            "The only commands of the stream that are sent on, unless they are denied; empty = all."
        ),
        Self.row(
            "map", "rename-prefixes", .texts, "[]",
            "Beginnings that are exchanged, the first that fits, such as [\"old:=new:\"]; an equals sign can be no part of one."
        ),
        Self.row(
            "map", "strip-prefix", .text, "\"\"",
            "Taken off the names that have it, after rename-prefixes."),
        Self.row(
            "map", "template", .text, "\"\"",
            "What names stand in, after strip-prefix: a text with {key} once, and {db} for the source's database."
        ),
        Self.row(
            "map", "add-prefix", .text, "\"\"",
            "Put before all names, last. Names that become equal are one key: the later write counts."
        ),
        Self.row(
            "policy", "unknown-command", .choice(["fail", "skip"]), "\"fail\"",
            "Commands of the stream that are not known."),
        Self.row(
            "policy", "hyperloglog", .choice(["fail", "raw", "skip"]), "\"fail\"",
            "HyperLogLogs between Redis and Pika: their hashes differ, so they can't be converted."),
        Self.row("policy", "stream", .choice(["fail", "skip"]), "\"fail\"", "Streams."),
        Self.row("policy", "module", .choice(["fail", "skip"]), "\"fail\"", "Values of modules."),
        Self.row(
            "policy", "field-deadline", .choice(["fail", "drop"]), "\"fail\"",
            "Deadlines of single fields of hashes."),
        Self.row(
            "policy", "far-deadline", .choice(["clamp", "drop", "fail"]), "\"clamp\"",
            "Deadlines behind 2038-01-19 for a Pika."),
        Self.row(
            "policy", "nan-score", .choice(["fail", "skip"]), "\"fail\"",
            "Scores that are no number."),
        Self.row(
            "policy", "program", .choice(["fail", "skip"]), "\"skip\"",
            "Scripts and functions; what they wrote is copied."),
        Self.row(
            "policy", "same-name", .choice(["fail", "first"]), "\"fail\"",
            "Names that a Pika holds in several types, for a Redis: the first type, in the order string, hash, list, zset, set."
        ),
        Self.row(
            "limit", "receive-bytes", .number, "0",
            "Bytes a second received from a Pika source; 0 = none."),
        Self.row(
            "limit", "snapshot-bytes", .number, "0",
            "Bytes a second to the target while copying; 0 = none, as with all limits. `pika-migrate limit` changes them in a running job."
        ),
        Self.row(
            "limit", "snapshot-commands", .number, "0",
            "Commands a second to the target while copying."),
        Self.row(
            "limit", "snapshot-keys", .number, "0",
            "Keys a second to the target while copying."),
        Self.row(
            "limit", "stream-bytes", .number, "0",
            "Bytes a second to the target while following."),
        Self.row(
            "limit", "stream-commands", .number, "0",
            "Commands a second to the target while following."),
        Self.row(
            "limit", "stream-keys", .number, "0",
            "Keys a second that are touched in the target while following."),
        Self.row(
            "limit", "schedule", .texts, "[]",
            "Other limits for parts of the week, such as [\"mon-fri 08:00-18:00 snapshot-bytes=20000000 stream-commands=5000\"]; without days: every day; past midnight: 22:00-06:00. The first window that holds and names a limit counts."
        ),
        Self.row(
            "limit", "time-zone", .text, "\"UTC\"",
            "Time zone of the schedule, such as Europe/Berlin."),
        Self.row(
            "limit", "target-latency", .number, "0",
            "Milliseconds of the target's reply time above which the run slows down: it halves the time in which it keeps the target busy, and adds a thirty-second of it in each good second; 0 = never."
        ),
        Self.row(
            "two-way", "with", .text, "\"\"",
            "Name of the job of the other direction, whose writes are not sent back, or * for any job's; empty = one way."
        ),
        Self.row("spool", "dir", .text, "\"\"", "Directory of the spool; empty = in the job's."),
        Self.row(
            "spool", "max-gib", .number, "200",
            "The spool's ceiling in GiB: reading of the source pauses there."),
        Self.row("checkpoint", "interval", .number, "500", "Milliseconds between checkpoints."),
        Self.row(
            "status", "listen", .text, "\"127.0.0.1:0\"",
            "Address of JSON, metrics and admin commands, loopback only; 0 = any free port, empty = none."
        ),
    ]

    /// The shipped file.
    static var file: String {
        var text = """
            # pika-migrate: every key with its default. Unknown keys are errors.
            # `pika-migrate config explain -c FILE` shows what is in effect, and why.

            """
        var section = ""
        for row in Self.rows {
            if row.section != section {
                section = row.section
                text += "\n[\(section)]\n"
            }
            text += "# \(row.text)\n"
            if case .choice(let words) = row.kind {
                text += "# One of: \(words.joined(separator: ", ")).\n"
            }
            text += "\(row.name) = \(row.initial)\n"
        }
        return text
    }
}
