public import Binlog
public import FileIO
public import PikaStorage
public import SyncProtocol

/// Why the keyspace could not do something.
public enum KeyspaceError: Error, Sendable, Equatable {
    /// Another process works on the directory.
    case directoryInUse(String)
    /// The log failed.
    case binlog(BinlogError)
    /// A store failed.
    case storage(StorageError)
    /// A file of ours failed.
    case file(FileError)
    /// An item of the log can't be applied.
    case apply(ApplyError)
    /// A file of ours is damaged: its path and what is wrong.
    case damaged(path: String, reason: String)
    /// A store has no applied row, there is no clean mark, and the log is not empty.
    case storePositionUnknown(database: String, store: StoreKind)
    /// A store claims a position that its log does not have.
    case storeAheadOfLog(
        database: String, store: StoreKind, applied: BinlogPosition, end: BinlogPosition)
    /// The log does not reach back to what a store holds.
    case logTooYoung(
        database: String, store: StoreKind, applied: BinlogPosition, oldest: BinlogPosition)
    /// The database refuses writes until DISKRECOVERY or a restart; the reason is for the client.
    case writesRefused(String)
    /// The operation needs the other role.
    case wrongRole(expected: LogRole, actual: LogRole)
    /// Received items do not continue the log.
    case notContiguous(expected: BinlogPosition, actual: BinlogPosition)
    /// The keyspace or the database is closed or being exchanged.
    case closed
    /// A replica's database met an item that is not known here; nothing is applied behind it.
    case stoppedAtUnknownItem(position: BinlogPosition, word: String)
}

/// Why an item can't be applied.
public enum ApplyError: Error, Sendable, Equatable {
    /// The item's word is not known.
    case unknownItem(word: String)
    /// The item has the wrong number of arguments.
    case argumentCount(effect: Effect, actual: Int)
    /// An argument can't be read.
    case badArgument(effect: Effect, index: Int)
    /// The item's content is no array of strings.
    case malformedContent
    /// What a write group holds came to more bytes than its limit (`atomic-group-limit`).
    case groupTooLarge(limitBytes: Int)
    /// A store failed.
    case storage(StorageError)
}
