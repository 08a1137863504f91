/// How a run ends, for the shell.
public enum ExitStatus: Int32, Sendable, Equatable, CaseIterable {
    /// Finished, or stopped when asked to.
    case done = 0
    /// Differences were found.
    case differences = 1
    /// Wrong flags or settings.
    case usage = 2
    /// A server does not let us in.
    case permission = 3
    /// Refused before anything was written.
    case refused = 4
    /// Corrupt data, or of a kind that is not supported.
    case corrupt = 5
    /// The source's or target's history does not fit: the operator must decide.
    case history = 6
    /// Another instance has taken over.
    case fenced = 7
    /// The target rejects what it is sent.
    case rejected = 8
    /// Out of disk.
    case outOfSpace = 9
    /// Incomplete after all tries.
    case incomplete = 10

    /// The code in JSON.
    public var code: String {
        switch self {
        case .done: "OK"
        case .differences: "E_DIFFERENCES"
        case .usage: "E_USAGE"
        case .permission: "E_PERMISSION"
        case .refused: "E_REFUSED"
        case .corrupt: "E_CORRUPT"
        case .history: "E_HISTORY_LOST"
        case .fenced: "E_FENCED"
        case .rejected: "E_REJECTED"
        case .outOfSpace: "E_OUT_OF_SPACE"
        case .incomplete: "E_INCOMPLETE"
        }
    }
}
