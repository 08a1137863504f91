public import FileIO
public import SyncProtocol

/// An item as it came from a master: 34 bytes of header, content, and where it ends there.
public struct ReceivedItem {
    /// Header and content; the memory is the caller's.
    public var bytes: UnsafeRawBufferPointer

    /// The item's end in the master's log.
    public var end: BinlogPosition

    /// Creates an item.
    public init(bytes: UnsafeRawBufferPointer, end: BinlogPosition) {
        self.bytes = bytes
        self.end = end
    }
}

/// The log of one database: a directory `log_db<N>` of `write2file<N>` files.
///
/// Threads: the methods that change the log (``append(_:execTimeSeconds:atomicGroup:)``,
/// ``appendReceived(_:)``, ``truncate(to:)``, ``reset(to:)``, ``startNewFile()``) MUST be called
/// under the database's commit lock. ``sync(published:)``, cursors, questions about positions and
/// purging may run on any thread at the same time.
public final class BinlogLog: Sendable {
    /// Opens the log in `directory`; makes an empty one if there is none.
    ///
    /// Finds the end, cuts what is torn, unverified or an incomplete own group, and makes the cut
    /// durable. Bytes that cannot be explained by a stop of the process or the machine are an
    /// error, and nothing is changed then.
    ///
    /// - Parameter requiredEnd: A position that the log must reach, because a store holds it.
    public static func open(
        directory: String, fileSystem: any FileSystem, configuration: BinlogConfiguration,
        origin: BinlogOrigin, recovery: BinlogRecovery, requiredEnd: BinlogPosition = .zero
    ) throws(BinlogError) -> BinlogLog {
        fatalError("skeleton")
    }

    /// Makes a new log in `directory` that starts at `mark`; all files of an old one are deleted.
    ///
    /// Idempotent and durable when it returns: the log reset of a switch. The part of the file
    /// before `mark` is filled as a real Pika does (spec: binlog-format 5).
    public static func create(
        directory: String, fileSystem: any FileSystem, configuration: BinlogConfiguration,
        at mark: BinlogMark
    ) throws(BinlogError) -> BinlogLog {
        fatalError("skeleton")
    }

    /// What opening found.
    public var openReport: BinlogOpenReport { fatalError("skeleton") }

    /// End of the log and running digest there (the *written* end: only whole own groups).
    public var end: BinlogMark { fatalError("skeleton") }

    /// Everything up to here survives a power loss; zero until the first ``sync(published:)``.
    public var durable: BinlogPosition { fatalError("skeleton") }

    /// Start of the oldest item that is here.
    public var start: BinlogPosition { fatalError("skeleton") }

    /// The number of times that the log was cut or emptied since it was opened.
    public var generation: UInt64 { fatalError("skeleton") }

    /// The failure after which the log takes no more writes, if there was one.
    public var failure: FileError? { fatalError("skeleton") }

    /// Appends a group in one `write()` per file touched.
    ///
    /// With `atomicGroup` the items' `term` counts down to 0. A failed call leaves the log as it
    /// was: what was written is cut off and the cut made durable. If even that fails, the log
    /// takes nothing more (``BinlogError/closedByFailure(_:)``).
    ///
    /// - Returns: the new end.
    @discardableResult
    public func append(
        _ items: borrowing BinlogItems, execTimeSeconds: UInt32, atomicGroup: Bool
    ) throws(BinlogError) -> BinlogMark {
        fatalError("skeleton")
    }

    /// Appends items of a master byte for byte and rolls where the master rolled.
    ///
    /// All or none: if an item does not end where the master says, nothing is appended.
    ///
    /// - Returns: the new end.
    @discardableResult
    public func appendReceived(
        _ items: UnsafeBufferPointer<ReceivedItem>
    ) throws(BinlogError) -> BinlogMark {
        fatalError("skeleton")
    }

    /// Cuts the log back to `mark`, which must be an item end of this log with its digest (one
    /// that ``end`` gave, or ``mark(at:)``); durable when it returns.
    public func truncate(to mark: BinlogMark) throws(BinlogError) {
        fatalError("skeleton")
    }

    /// Empties the log and starts it anew at `mark`: after a full sync.
    public func reset(to mark: BinlogMark) throws(BinlogError) {
        fatalError("skeleton")
    }

    /// Ends the current file and begins the next one, durably: a new history begins there.
    ///
    /// - Returns: the start of the new file, with the digest of what is before it.
    @discardableResult
    public func startNewFile() throws(BinlogError) -> BinlogMark {
        fatalError("skeleton")
    }

    /// Makes the log durable up to its written end.
    ///
    /// All changed files, then the sidecar with `published` and the written end, then `durable`
    /// moves. Calls from several threads follow each other. A failed call closes the log for
    /// writes: a failed fsync is never repeated.
    ///
    /// - Parameter published: End of what all stores hold; at most the written end, never inside
    ///   a group.
    public func sync(published: BinlogMark) throws(BinlogError) -> BinlogSyncOutcome {
        fatalError("skeleton")
    }

    /// Writes the manifest so that a real Pika can open the log, after a last ``sync(published:)``.
    public func close() throws(BinlogError) {
        fatalError("skeleton")
    }

    /// Whether a reader can start at `position`. (spec: binlog-format 2.4)
    public func verdict(at position: BinlogPosition) throws(BinlogError) -> PositionVerdict {
        fatalError("skeleton")
    }

    /// The mark of an item end: its digest is computed from the nearest sidecar entry before it.
    ///
    /// Reads up to some hundred KiB; not for a loop.
    ///
    /// - Throws: ``BinlogError/position(_:_:)`` if it is not an item end of this log.
    public func mark(at position: BinlogPosition) throws(BinlogError) -> BinlogMark {
        fatalError("skeleton")
    }

    /// A cursor that delivers the items behind `position`.
    ///
    /// - Throws: ``BinlogError/position(_:_:)`` if it is not an item end of this log.
    public func makeCursor(at position: BinlogPosition) throws(BinlogError) -> BinlogCursor {
        fatalError("skeleton")
    }

    /// The files in ascending order, the current one last.
    public func files() -> [BinlogFileInfo] { fatalError("skeleton") }

    /// Bytes of items between two positions of this log, record headers included.
    public func distanceBytes(from: BinlogPosition, to: BinlogPosition) -> UInt64 {
        fatalError("skeleton")
    }

    /// The last position at which a file ended without having reached `binlog-file-size`; nil if
    /// none did.
    ///
    /// A real Pika rolls by size itself and can't cross such an end: its TrySync at or before it
    /// is answered with BePurged.
    public func lastEarlyEnd() -> BinlogPosition? { fatalError("skeleton") }

    /// Removes files (and their sidecars) that a ``PurgePlan`` named, and stale ones.
    ///
    /// The current file is never removed, whatever the list says.
    ///
    /// - Returns: the numbers that were removed.
    @discardableResult
    public func purge(_ fileNumbers: [UInt32]) throws(BinlogError) -> [UInt32] {
        fatalError("skeleton")
    }
}
