public import NIOCore

/// A BinlogSync response, its items still in the frame's memory: the hot path of a replica.
public struct BinlogSyncBatch: Sendable {
    /// One item, or a keep-alive.
    public struct Chip: Hashable, Sendable {
        /// Index into ``BinlogSyncBatch/databases``.
        public var databaseIndex: Int
        /// The session that the chip belongs to.
        public var session: SessionID
        /// Where the item ends in the master's log; 0/0 in a keep-alive.
        public var end: BinlogOffset
        /// The item's bytes, as indexes into ``BinlogSyncBatch/body``'s readable bytes.
        public var itemRange: Range<Int>

        /// Whether this is a keep-alive.
        public var isKeepAlive: Bool { itemRange.isEmpty }
    }

    /// Always ok.
    public var status: StatusCode
    /// Error text.
    public var reply: String?
    /// Names of the databases in order of appearance.
    public var databases: [String]
    /// The chips in the order of the wire.
    public var chips: [Chip]
    /// Extension: how far the master's log of the first chip's database is on its disk.
    public var durableEnd: BinlogPosition?
    /// The frame's body, which the items are slices of.
    public let body: ByteBuffer

    /// Gives the bytes of all items: index the pointer with a chip's `itemRange`.
    public func withUnsafeBytes<Result, Failure: Error>(
        _ read: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        fatalError("skeleton")
    }

    /// The owned form, for machines and tests.
    public var owned: BinlogSyncResponse {
        fatalError("skeleton")
    }
}
