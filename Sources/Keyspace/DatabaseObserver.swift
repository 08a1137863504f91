public import SyncProtocol

/// Hears of a database's log; calls are cheap, coalesced and come from any thread.
///
/// An implementation must return at once: it sets a flag and wakes its own loop.
public protocol DatabaseObserver: AnyObject, Sendable {
    /// Bytes up to `position` may be sent to replicas: stores have them and, unless the policy is
    /// `never`, the disk has them.
    func sendable(_ position: BinlogPosition, database: Int)
    /// The log is durable up to `position` (masters: whole groups that are published; replicas:
    /// ``Database/receivedDurable``).
    func durable(_ position: BinlogPosition, database: Int)
    /// The items up to `position` are applied to the stores (replicas; masters: published).
    func applied(_ position: BinlogPosition, database: Int)
    /// The log of this database was exchanged, cut or got a new history: start over.
    func logReplaced(database: Int)
}
