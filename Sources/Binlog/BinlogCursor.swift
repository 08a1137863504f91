public import SyncProtocol

/// What to do after an item was shown.
public enum CursorStep: Sendable, Equatable {
    /// Go on.
    case next

    /// Take the item and stop.
    case stopAfter

    /// Stop; the item comes again next time.
    case stopBefore
}

/// Reads items in order, in large pieces, and shows them in place.
///
/// A cursor reads independently of the writer and costs one buffer. One thread at a time. It goes
/// on reading a file that a purge removed; the next one is then
/// ``BinlogError/position(_:_:)`` `.purged`.
public final class BinlogCursor {
    /// End of the last item taken.
    public private(set) var position: BinlogPosition

    init(position: BinlogPosition) {
        self.position = position
    }

    /// Shows the items that end at or before `limit`.
    ///
    /// Nothing behind `limit` is read. `limit` MUST be an item end: published, durable, or the
    /// log's end.
    ///
    /// - Parameters:
    ///   - maxBytes: Stops once that many bytes of items were taken.
    ///   - body: Gets header and content (valid during the call), the decoded header, and the
    ///     item's end.
    /// - Returns: the number of items taken; 0 means that there is nothing more up to `limit`.
    @discardableResult
    public func next(
        upTo limit: BinlogPosition, maxBytes: Int = .max,
        _ body: (UnsafeRawBufferPointer, BinlogItemHeader, BinlogPosition) -> CursorStep
    ) throws(BinlogError) -> Int {
        fatalError("skeleton")
    }
}
