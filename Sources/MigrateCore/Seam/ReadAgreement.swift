/// Whether a key that was read belongs to the stream that is received; no I/O.
///
/// Whoever reads keys and whoever receives the stream find the server each for itself, so for a while
/// after a failover one may be at the old server and the other at the new one. What was read of a
/// history that never gets into the stream would stay in the target and keep the stream's units out. So
/// it only counts once the stream has come to that history, and both look for the server anew until
/// they are at the same one.
public struct ReadAgreement: Sendable, Equatable {
    /// What is to be done with what was read.
    public enum Step: Sendable, Equatable {
        /// It belongs to the stream.
        case take
        /// Read again, over another connection.
        case again
        /// As ``again``, and the stream's connection is given up: it may be at a server that is no
        /// longer the one.
        case reconnect
    }

    /// So many disagreements in a row, and the stream is asked to look for its server anew: a link
    /// mostly finds out by itself.
    public static let patience = 20

    private var disagreements = 0

    /// Nothing was read yet.
    public init() {}

    /// Judges what was read.
    ///
    /// - Parameters:
    ///   - read: The history that was read; empty for a server that does not tell.
    ///   - received: The one that was received last.
    ///   - isStreaming: The stream's connection is up and says nothing of another history.
    ///   - isHeld: The stream waits for room: it gets it only if the reader goes on.
    public mutating func judge(
        read: String, received: String, isStreaming: Bool, isHeld: Bool
    ) -> Step {
        guard !read.isEmpty, !received.isEmpty, read != received, !isHeld else { return .take }
        self.disagreements += 1
        guard isStreaming, self.disagreements >= Self.patience else { return .again }
        self.disagreements = 0
        return .reconnect
    }
}
