/// Why the server can't start or go on.
public struct ServerError: Error, Sendable, CustomStringConvertible {
    /// What kind of thing failed.
    public enum Code: String, Sendable {
        case network
        case keyspace
        case replication
        case process
    }

    /// What kind of thing failed.
    public var code: Code
    /// What happened, for the operator.
    public var message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The message.
    public var description: String { message }
}
