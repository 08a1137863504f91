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
        try body.withUnsafeReadableBytes(read)
    }

    /// The owned form, for machines and tests.
    public var owned: BinlogSyncResponse {
        BinlogSyncResponse(
            status: status, reply: reply,
            chips: chips.map { chip in
                BinlogChip(
                    database: databases[chip.databaseIndex], end: chip.end,
                    item: withUnsafeBytes { Array($0[chip.itemRange]) }, session: chip.session)
            },
            durableEnd: durableEnd)
    }

    init(decoding body: ByteBuffer) throws(WireError) {
        self.body = body
        status = .ok
        databases = []
        chips = []
        var decoder = BinlogSyncDecoder()
        try body.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try decoder.decode(bytes)
        }
        guard let status = decoder.status else { throw .missingField("status") }
        self.status = status
        reply = decoder.reply
        databases = decoder.databases
        chips = decoder.chips
        durableEnd = try decoder.durableEnd?.position("durable_end")
    }
}

/// The state of decoding one BinlogSync response.
///
/// Agrees with protobuf where a sender repeats itself: the last scalar counts, nested messages are
/// merged, and a known number with another wire type is an unknown field.
private struct BinlogSyncDecoder {
    /// An Offset or Position while its fields come in.
    struct PartialOffset {
        var fileNumber: UInt32?
        var offset: UInt64?
        var term: UInt32?
        var index: UInt64?

        func position(_ field: String) throws(WireError) -> BinlogPosition {
            guard let fileNumber else { throw .missingField("\(field).file_number") }
            guard let offset else { throw .missingField("\(field).offset") }
            return BinlogPosition(fileNumber: fileNumber, offset: offset)
        }

        mutating func merge(_ reader: inout WireReader) throws(WireError) {
            while let field = try reader.next() {
                switch (field.number, field.kind) {
                case (1, .varint): fileNumber = UInt32(truncatingIfNeeded: try reader.varint())
                case (2, .varint): offset = try reader.varint()
                case (3, .varint): term = UInt32(truncatingIfNeeded: try reader.varint())
                case (4, .varint): index = try reader.varint()
                default: try reader.skip(field.kind)
                }
            }
        }

        func wireOffset(_ field: String) throws(WireError) -> BinlogOffset {
            let position = try position(field)
            guard term != nil || index != nil else { return BinlogOffset(position) }
            return BinlogOffset(position, logicID: LogicID(term: term ?? 0, index: index ?? 0))
        }
    }

    var status: StatusCode?
    var reply: String?
    var durableEnd: PartialOffset?
    var databases: [String] = []
    var chips: [BinlogSyncBatch.Chip] = []
    /// Where the name of the last chip's database lies: the next one's is nearly always equal.
    private var lastName: Range<Int>?

    mutating func decode(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(bytes, bytes.indices, message: "BinlogSync response")
        while let field = try reader.next() {
            switch (field.number, field.kind) {
            case (2, .varint):
                let value = try reader.varint()
                status = StatusCode(rawValue: Int32(truncatingIfNeeded: value)) ?? status
            case (3, .bytes):
                reply = try reader.text("reply", limitBytes: WireLimits.maxReplyTextBytes)
            case (7, .bytes):
                guard chips.count < WireLimits.maxChipsPerResponse else {
                    throw .tooMany(
                        field: "binlog_sync", count: chips.count + 1,
                        limit: WireLimits.maxChipsPerResponse)
                }
                var nested = try reader.nested("BinlogSync chip")
                chips.append(try chip(&nested, bytes))
            case (4...6, .bytes), (8, .bytes):
                // Another type's message; protobuf would look inside.
                throw .malformed(message: "BinlogSync response")
            case (9, .bytes): throw .unknownValue(field: "consensus_meta", value: 9)
            case (1000, .bytes):
                var partial = durableEnd ?? PartialOffset()
                var nested = try reader.nested("durable_end")
                try partial.merge(&nested)
                durableEnd = partial
            default: try reader.skip(field.kind)
            }
        }
    }

    private mutating func chip(
        _ reader: inout WireReader, _ bytes: UnsafeRawBufferPointer
    ) throws(WireError) -> BinlogSyncBatch.Chip {
        var name: Range<Int>?
        var hasPartition = false
        var end: PartialOffset?
        var item: Range<Int>?
        var session: SessionID?
        while let field = try reader.next() {
            switch (field.number, field.kind) {
            case (1, .bytes):
                var nested = try reader.nested("database")
                while let inner = try nested.next() {
                    switch (inner.number, inner.kind) {
                    case (1, .bytes): name = try nested.bytes()
                    case (2, .varint):
                        _ = try nested.varint()
                        hasPartition = true
                    default: try nested.skip(inner.kind)
                    }
                }
            case (2, .bytes):
                var partial = end ?? PartialOffset()
                var nested = try reader.nested("offset")
                try partial.merge(&nested)
                end = partial
            case (3, .bytes): item = try reader.bytes()
            case (4, .varint):
                session = SessionID(rawValue: Int32(truncatingIfNeeded: try reader.varint()))
            default: try reader.skip(field.kind)
            }
        }
        guard let name else { throw .missingField("chip.database.name") }
        guard hasPartition else { throw .missingField("chip.database.partition") }
        guard let end else { throw .missingField("chip.end") }
        guard let item else { throw .missingField("chip.item") }
        guard let session else { throw .missingField("chip.session_id") }
        return BinlogSyncBatch.Chip(
            databaseIndex: try databaseIndex(name, bytes), session: session,
            end: try end.wireOffset("chip.end"), itemRange: item)
    }

    private mutating func databaseIndex(
        _ name: Range<Int>, _ bytes: UnsafeRawBufferPointer
    ) throws(WireError) -> Int {
        if let lastName, let last = chips.last, lastName.count == name.count,
            bytes[lastName].elementsEqual(bytes[name])
        {
            return last.databaseIndex
        }
        guard name.count <= WireLimits.maxDatabaseNameBytes else {
            throw .tooLong(
                field: "chip.database.name", bytes: name.count,
                limitBytes: WireLimits.maxDatabaseNameBytes)
        }
        let text = try decodeText(
            UnsafeRawBufferPointer(rebasing: bytes[name]), field: "chip.database.name")
        lastName = name
        if let known = databases.firstIndex(of: text) { return known }
        guard databases.count < WireLimits.maxDatabases else {
            throw .tooMany(
                field: "databases", count: databases.count + 1, limit: WireLimits.maxDatabases)
        }
        databases.append(text)
        return databases.count - 1
    }
}
