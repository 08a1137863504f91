public import Keyspace

/// What has to be done before a keyspace is opened.
public enum ReplicaStartup {
    /// Finishes switches that a crash interrupted: for every database whose resume point says
    /// `switching`, the copy takes its place.
    ///
    /// Idempotent; MUST be called before `Keyspace.open`, and a failure MUST stop the start: the
    /// directories may be half exchanged.
    ///
    /// - Parameter resumeDirectory: Where the resume points lie (`db-path`).
    public static func finishSwitches(
        resumeDirectory: String, keyspaceConfiguration: KeyspaceConfiguration
    ) throws(ReplicaStartupError) {
        fatalError("skeleton")
    }
}

/// Why a start can't go on.
public enum ReplicaStartupError: Error, Sendable, CustomStringConvertible {
    /// A resume point can't be read.
    case resumePoint(database: String, reason: String)
    /// An interrupted switch can't be finished.
    case unfinishedSwitch(database: String, reason: String)

    /// Text for an operator.
    public var description: String {
        switch self {
        case .resumePoint(let database, let reason):
            "resume point of \(database): \(reason)"
        case .unfinishedSwitch(let database, let reason):
            "the switch of \(database) to its new copy can't be finished: \(reason)"
        }
    }
}
