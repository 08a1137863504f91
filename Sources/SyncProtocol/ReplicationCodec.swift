public import NIOCore

/// What a replica got on its replication connection.
public enum DecodedReplicationResponse: Sendable {
    /// An answer to one of its requests; never `.binlogSync`.
    case control(ReplicationResponse)
    /// Items or keep-alives, in place.
    case batch(BinlogSyncBatch)
}

/// Messages of the replication service (port+2000), to and from frames.
public enum ReplicationCodec {
    /// Appends a request as one frame.
    public static func encode(_ request: ReplicationRequest, into buffer: inout ByteBuffer) {
        fatalError("skeleton")
    }

    /// Appends a response as one frame.
    public static func encode(_ response: ReplicationResponse, into buffer: inout ByteBuffer) {
        fatalError("skeleton")
    }

    /// Reads a request from a frame's body.
    public static func decodeRequest(_ body: ByteBuffer) throws(WireError) -> ReplicationRequest {
        fatalError("skeleton")
    }

    /// Reads a response from a frame's body; items of BinlogSync stay in place.
    public static func decodeResponse(
        _ body: ByteBuffer
    ) throws(WireError) -> DecodedReplicationResponse {
        fatalError("skeleton")
    }
}
