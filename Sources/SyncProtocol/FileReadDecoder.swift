/// The state of decoding one read response; agrees with protobuf where a sender repeats itself.
struct FileReadDecoder {
    private struct PartialChunk {
        var isEnd: Int32?
        var count: UInt64?
        var offset: UInt64?
        var hasData = false
        var checksum: String?
        var filename: String?
        var digest: UInt64?
    }

    private struct PartialRefusal {
        var reason = FileRefusalReason.unspecified
        var retryAfterMilliseconds: UInt32?
        var percent: UInt32?
    }

    private var readerIndex: Int32?
    private var snapshotID: String?
    private var database: String?
    private var hasPartition = false
    private var status: StatusCode?
    private var chunk: PartialChunk?
    private var requestID: UInt64?
    private var refusal: PartialRefusal?
    /// Where the chunk's bytes lie in the body.
    private(set) var data: Range<Int>?

    mutating func decode(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = WireReader(bytes, bytes.indices, message: "file response")
        while let field = try reader.next() {
            switch (field.number, field.kind) {
            case (2, .varint): readerIndex = Int32(truncatingIfNeeded: try reader.varint())
            case (3, .bytes):
                snapshotID = try reader.text(
                    "snapshot_id", limitBytes: WireLimits.maxSnapshotIDBytes)
            case (4, .bytes):
                database = try reader.text(
                    "database", limitBytes: WireLimits.maxDatabaseNameBytes)
            case (5, .varint):
                _ = try reader.varint()
                hasPartition = true
            case (6, .varint):
                let value = Int32(truncatingIfNeeded: try reader.varint())
                if value == 1 || value == 2 { status = StatusCode(rawValue: value) }
            case (7, .bytes):
                // A list's message; protobuf would look inside.
                throw .malformed(message: "file response")
            case (8, .bytes):
                var nested = try reader.nested("file chunk")
                try decodeChunk(&nested)
            case (1001, .varint): requestID = try reader.varint()
            case (1002, .bytes):
                var nested = try reader.nested("refusal")
                try decodeRefusal(&nested)
            default: try reader.skip(field.kind)
            }
        }
    }

    private mutating func decodeChunk(_ reader: inout WireReader) throws(WireError) {
        var partial = chunk ?? PartialChunk()
        while let field = try reader.next() {
            switch (field.number, field.kind) {
            case (1, .varint): partial.isEnd = Int32(truncatingIfNeeded: try reader.varint())
            case (2, .varint): partial.count = try reader.varint()
            case (3, .varint): partial.offset = try reader.varint()
            case (4, .bytes):
                data = try reader.bytes()
                partial.hasData = true
            case (5, .bytes):
                partial.checksum = try reader.text(
                    "checksum", limitBytes: WireLimits.maxReplyTextBytes)
            case (6, .bytes):
                partial.filename = try reader.text(
                    "filename", limitBytes: WireLimits.maxFileNameBytes)
            case (1000, .fixed64): partial.digest = try reader.fixed64()
            default: try reader.skip(field.kind)
            }
        }
        chunk = partial
    }

    private mutating func decodeRefusal(_ reader: inout WireReader) throws(WireError) {
        var partial = refusal ?? PartialRefusal()
        while let field = try reader.next() {
            switch (field.number, field.kind) {
            case (1, .varint):
                let value = UInt32(truncatingIfNeeded: try reader.varint())
                partial.reason = FileRefusalReason(rawValue: value) ?? partial.reason
            case (2, .varint):
                partial.retryAfterMilliseconds = UInt32(truncatingIfNeeded: try reader.varint())
            case (3, .varint): partial.percent = UInt32(truncatingIfNeeded: try reader.varint())
            default: try reader.skip(field.kind)
            }
        }
        refusal = partial
    }

    func response() throws(WireError) -> FileReadResponse {
        guard let readerIndex else { throw .missingField("reader_index") }
        guard let snapshotID else { throw .missingField("snapshot_id") }
        guard let database else { throw .missingField("database_name") }
        guard hasPartition else { throw .missingField("partition") }
        guard let status else { throw .missingField("status") }
        let plainChunk = try plainChunk()
        guard plainChunk != nil || status != .ok else { throw .missingField("read") }
        return FileReadResponse(
            status: status, database: database, readerIndex: readerIndex, snapshotID: snapshotID,
            chunk: plainChunk, requestID: requestID, refusal: try plainRefusal())
    }

    private func plainChunk() throws(WireError) -> FileChunk? {
        guard let chunk else { return nil }
        guard let isEnd = chunk.isEnd else { throw .missingField("read.is_end") }
        guard let count = chunk.count else { throw .missingField("read.count") }
        guard let offset = chunk.offset else { throw .missingField("read.offset") }
        guard chunk.hasData, let data else { throw .missingField("read.data") }
        guard let checksum = chunk.checksum else { throw .missingField("read.checksum") }
        guard let filename = chunk.filename else { throw .missingField("read.filename") }
        guard count == UInt64(data.count) else {
            let bytes = Int64(data.count)
            throw .outOfRange(
                field: "read.count", value: Int64(clamping: count), allowed: bytes...bytes)
        }
        guard offset <= UInt64(Int64.max) - count else {
            throw .outOfRange(
                field: "read.offset", value: Int64(clamping: offset),
                allowed: 0...(Int64.max - Int64(data.count)))
        }
        return FileChunk(
            filename: filename, offset: offset, count: count, isEnd: isEnd != 0,
            checksum: checksum, digest: chunk.digest)
    }

    private func plainRefusal() throws(WireError) -> FileRefusal? {
        guard let refusal else { return nil }
        guard let retryAfter = refusal.retryAfterMilliseconds else {
            throw .missingField("refusal.retry_after_milliseconds")
        }
        guard let percent = refusal.percent else { throw .missingField("refusal.percent") }
        return try FileRefusal(
            reason: refusal.reason, retryAfterMilliseconds: retryAfter, checkedPercent: percent)
    }
}

extension FileRefusal {
    init(
        reason: FileRefusalReason, retryAfterMilliseconds: UInt32, checkedPercent percent: UInt32
    ) throws(WireError) {
        guard percent <= 100 else {
            throw .outOfRange(field: "percent", value: Int64(percent), allowed: 0...100)
        }
        self.init(
            reason: reason, retryAfterMilliseconds: retryAfterMilliseconds, percent: percent)
    }
}
