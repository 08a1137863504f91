internal import MigrateCore

/// Why a run, or a try of it, ends.
public enum RunError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Flags or settings.
    case usage(String)
    /// Password or rights: exit code 3.
    case refused(String)
    /// Refused before anything was written: exit code 4.
    case preflight(String)
    /// The source or the plan can't go on: exit code 5.
    case corrupt(String)
    /// Histories that do not fit: exit code 6.
    case history(String)
    /// Another instance holds the target: exit code 7.
    case fenced(String)
    /// The target rejects what it is sent: exit code 8.
    case rejected(String)
    /// No room: exit code 9.
    case outOfSpace(String)
    /// Files: exit code 10.
    case io(String)
    /// The target is gone or not ready: tried again from the checkpoint.
    case targetLost(String)
    /// Asked to stop.
    case stopped

    /// Whether to go on from the checkpoint after a pause.
    var isTransient: Bool { if case .targetLost = self { true } else { false } }

    /// The exit code.
    public var status: ExitStatus {
        switch self {
        case .usage: .usage
        case .refused: .permission
        case .preflight: .refused
        case .corrupt: .corrupt
        case .history: .history
        case .fenced: .fenced
        case .rejected: .rejected
        case .outOfSpace: .outOfSpace
        case .io, .targetLost: .incomplete
        case .stopped: .done
        }
    }

    /// For the operator.
    public var description: String {
        switch self {
        case .usage(let text), .refused(let text), .preflight(let text), .corrupt(let text),
            .history(let text), .fenced(let text), .rejected(let text), .outOfSpace(let text),
            .io(let text), .targetLost(let text):
            text
        case .stopped: "stopped"
        }
    }

    /// A source's error as the run's.
    init(_ error: SourceError) {
        self =
            switch error {
            case .refused(let text): .refused(text)
            case .unsupported(let text): .preflight(text)
            case .corrupt(let text): .corrupt(text)
            case .lostWrites(_, let source):
                .history(
                    "the source has less than was applied (\(source)): what it lost is in the target."
                        + " lost-writes = \"follow\" takes over the source's data; in a two-way sync"
                        + " stop both jobs, empty the end that lost writes, and begin both anew")
            case .stranger(let text): .history(text)
            case .outOfSpace(let text): .outOfSpace(text)
            case .io(let text): .io(text)
            case .unreachable(let text): .targetLost("source: \(text)")
            case .keyTooLarge(let database, let key, let limit):
                .corrupt(
                    "a key of db\(database) (\(key.count) bytes long) is above \(limit) and can't be"
                        + " read at one instant")
            case .stopped: .stopped
            }
    }
}
