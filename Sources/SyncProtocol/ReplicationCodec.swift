public import NIOCore
import SwiftProtobuf

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
        writeFrame(WireRequest(request), into: &buffer)
    }

    /// Appends a response as one frame.
    public static func encode(_ response: ReplicationResponse, into buffer: inout ByteBuffer) {
        writeFrame(WireResponse(response), into: &buffer)
    }

    /// Reads a request from a frame's body.
    public static func decodeRequest(_ body: ByteBuffer) throws(WireError) -> ReplicationRequest {
        let type = try body.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try peekType(bytes, message: "replication request")
        }
        guard type >= 1, type <= 6, type != 5 else {
            throw .unknownValue(field: "type", value: type)
        }
        let wire: WireRequest = try parse(body, message: "replication request")
        guard !wire.hasConsensusMeta else {
            throw .unknownValue(field: "consensus_meta", value: 7)
        }
        return try wire.plain()
    }

    /// Reads a response from a frame's body; items of BinlogSync stay in place.
    public static func decodeResponse(
        _ body: ByteBuffer
    ) throws(WireError) -> DecodedReplicationResponse {
        let type = try body.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try peekType(bytes, message: "replication response")
        }
        guard type >= 1, type <= 6, type != 5 else {
            throw .unknownValue(field: "type", value: type)
        }
        if type == UInt64(WireMessageType.binlogSync.rawValue) {
            return .batch(try BinlogSyncBatch(decoding: body))
        }
        let wire: WireResponse = try parse(body, message: "replication response")
        guard !wire.hasConsensusMeta else {
            throw .unknownValue(field: "consensus_meta", value: 9)
        }
        return .control(try wire.plain())
    }
}

/// Appends a message as one frame.
func writeFrame(_ message: some SwiftProtobuf.Message, into buffer: inout ByteBuffer) {
    // Serializing fails only on a missing required field or past 2 GiB: our own broken invariant.
    guard let bytes: [UInt8] = try? message.serializedBytes() else {
        preconditionFailure("a message of ours lacks a required field")
    }
    buffer.writeInteger(UInt32(bytes.count), endianness: .big)
    buffer.writeBytes(bytes)
}

/// Parses a control message; BinlogSync responses and file data never come here.
func parse<Wire: SwiftProtobuf.Message>(
    _ body: ByteBuffer, message: String
) throws(WireError) -> Wire {
    let bytes = body.withUnsafeReadableBytes { Array($0) }
    do {
        return try Wire(serializedBytes: bytes, extensions: WireExt_Extensions_Extensions)
    } catch BinaryDecodingError.missingRequiredFields {
        throw .missingField("\(message): a required field")
    } catch BinaryDecodingError.invalidUTF8 {
        throw .invalidText(field: message)
    } catch {
        throw .malformed(message: message)
    }
}
