public import RESP
public import Synchronization

/// What all command processors of a server share.
public final class CommandEnvironment: Sendable {
    /// The commands.
    public let table: CommandTable
    /// The server around the command path.
    public let services: any ServerServices
    /// Bounds on requests.
    public let limits: RequestLimits
    /// True on a replica: write commands are refused; kept up to date by the server.
    public let isReadOnlyReplica = Atomic<Bool>(false)
    /// True while a password is set; kept up to date by the server.
    public let needsPassword = Atomic<Bool>(false)
    /// Longest reply of KEYS and SCAN, in bytes (`max-client-response-size`).
    public let maxReplyBytes = Atomic<Int>(1 << 30)
    /// Requests executed, over all processors.
    public let commandsProcessed = Atomic<Int>(0)

    /// Makes the shared part.
    public init(
        services: any ServerServices, table: CommandTable = CommandTable(),
        limits: RequestLimits = RequestLimits()
    ) {
        self.services = services
        self.table = table
        self.limits = limits
    }
}
