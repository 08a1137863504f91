public import PikaStorage
public import SyncProtocol

/// Answer of an administrative service, written to the client by the command.
public enum AdminReply: Sendable, Equatable {
    /// `+OK`.
    case ok
    /// A simple string.
    case simple(String)
    /// An error with its code word, without the leading `-`: `ERR no such thing`.
    case error(String)
    /// A bulk string.
    case bulk(String)
    /// Text for people: verbatim in RESP3.
    case text(String)
    /// An integer.
    case integer(Int64)
}

/// Role of this server, as HELLO and INFO name it.
public enum ServerRole: String, Sendable {
    /// Takes writes.
    case master
    /// Follows a master.
    case replica = "slave"
    /// Follows a master and has replicas of its own.
    case both = "master&&slave"
}

/// What the server around the command path provides for administrative commands.
///
/// Called on event loops and, for commands tagged slow, on the slow pool. A method must not block
/// on a loop for longer than a few microseconds unless its comment says "slow pool".
public protocol ServerServices: AnyObject, Sendable {
    /// Role of this server.
    var role: ServerRole { get }

    // MARK: Connections

    /// What the password allows; nil when it is wrong. `user` is nil for plain `AUTH password`.
    func authenticate(user: String?, password: UnsafeRawBufferPointer) -> AccessLevel?
    /// All live connections.
    func clients() -> [ClientRecord]
    /// Closes these connections; the caller's own one is closed by its loop.
    func kill(clientIDs: [UInt64])

    // MARK: Information and settings

    /// INFO; all words behind it, in lower case (`INFO keyspace 1 db0`), none = default sections.
    func info(sections: [String]) -> AdminReply
    /// CONFIG GET: pairs of name and value that match any of the glob patterns.
    func configGet(patterns: [String]) -> [(name: String, value: String)]
    /// CONFIG SET; all pairs or none are applied.
    func configSet(_ pairs: [(name: String, value: String)]) -> AdminReply
    /// CONFIG REWRITE; slow pool.
    func configRewrite() -> AdminReply
    /// CONFIG RESETSTAT.
    func configResetStatistics() -> AdminReply

    // MARK: Replication

    /// SLAVEOF host port [force]; slow pool.
    func slaveOf(host: String, port: Int, force: Bool) -> AdminReply
    /// SLAVEOF NO ONE [FORCE]; slow pool.
    func slaveOfNoOne(force: Bool) -> AdminReply
    /// DBSLAVEOF db [force | NO ONE | filenum offset], arguments after the word; slow pool.
    func dbSlaveOf(_ arguments: [String]) -> AdminReply

    /// Replicas that have told that a position of a database's log is durable there (WAIT).
    func replicaCount(database: Int, having position: BinlogPosition) -> Int

    /// Calls `body` once, on any thread, after a time.
    func after(milliseconds: Int64, _ body: @escaping @Sendable () -> Void)

    // MARK: Data

    /// BGSAVE of these databases; slow pool.
    func backgroundSave(databases: [Int]) -> AdminReply
    /// SAVE of these databases: returns when the snapshot is whole; slow pool.
    func save(databases: [Int]) -> AdminReply
    /// COMPACT; slow pool.
    func compact(databases: [Int], kinds: StoreKinds) -> AdminReply
    /// PURGELOGSTO; slow pool.
    func purgeLogs(to fileNumber: UInt32, database: Int) -> AdminReply
    /// DISKRECOVERY; slow pool.
    func diskRecovery() -> AdminReply
    /// DBSIZE: keys of the database at the last key scan.
    func keyCount(database: Int) -> Int64
    /// A command was slow enough for the slow log; the log of the process may show it.
    func noteSlow(command: String, microseconds: Int64, client: ClientRecord)
    /// SHUTDOWN: begins a clean stop. Nil when it does, else the error.
    func shutdown(client: ClientRecord) -> AdminReply?
}
