import CXXHash
public import NIOCore
import SwiftProtobuf

/// What a replica got from the file service.
public struct DecodedFileResponse: Sendable {
    /// The message.
    public var response: FileServiceResponse
    /// The bytes of a read response's chunk, sharing the frame's memory; empty otherwise.
    public var data: ByteBuffer

    /// Creates the pair.
    public init(response: FileServiceResponse, data: ByteBuffer) {
        self.response = response
        self.data = data
    }
}

/// Messages of the file service (port+10001), to and from frames.
public enum FileServiceCodec {
    /// Appends a request as one frame.
    public static func encode(_ request: FileServiceRequest, into buffer: inout ByteBuffer) {
        writeFrame(WireFiles_Request(request), into: &buffer)
    }

    /// Reads a request from a frame's body.
    ///
    /// A file name is limited in length only: the receiver compares it with the list that it gave.
    public static func decodeRequest(_ body: ByteBuffer) throws(WireError) -> FileServiceRequest {
        let type = try body.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try peekType(bytes, message: "file request")
        }
        guard type == 1 || type == 2 else { throw .unknownValue(field: "type", value: type) }
        let wire: WireFiles_Request = try parse(body, message: "file request")
        return try wire.plain()
    }

    /// Appends a list response as one frame.
    public static func encode(_ response: FileListResponse, into buffer: inout ByteBuffer) {
        writeFrame(WireFiles_Response(response), into: &buffer)
    }

    /// Appends a refusal of a read request (a response without a chunk) as one frame.
    public static func encodeRefusal(_ response: FileReadResponse, into buffer: inout ByteBuffer) {
        writeFrame(WireFiles_Response(refusal: response), into: &buffer)
    }

    /// Appends a read response as one frame, its bytes filled in by `fill`.
    ///
    /// `fill` gets room for exactly `chunk.count` bytes inside the frame (one `pread` goes straight
    /// into it) and must fill all of it. When it throws, the buffer is as it was.
    ///
    /// - Parameters:
    ///   - response: Must have a chunk; its `digest` is not looked at.
    ///   - addsDigest: Whether to add the XXH64 of the bytes (only to a replica of ours).
    public static func encodeRead<Failure: Error>(
        _ response: FileReadResponse, addsDigest: Bool, into buffer: inout ByteBuffer,
        fill: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        let layout = FileChunkLayout(response, addsDigest: addsDigest)
        try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: layout.frameBytes) {
            (memory) throws(Failure) -> Int in
            var writer = WireWriter(memory)
            writer.bytes(layout.head)
            let data = writer.room(layout.dataBytes)
            try fill(data)
            writer.bytes(layout.tail)
            if addsDigest {
                writer.bytes(FileChunkLayout.digestTag)
                writer.fixed64(XXH64(data.baseAddress, data.count, 0))
            }
            writer.bytes(layout.extensions)
            return writer.count
        }
    }

    /// Reads a response from a frame's body; file data stays in place.
    ///
    /// The digest, if there is one, is *not* compared here (see ``digest(of:)``): that may be done
    /// on another thread.
    public static func decodeResponse(_ body: ByteBuffer) throws(WireError) -> DecodedFileResponse {
        let type = try body.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try peekType(bytes, message: "file response")
        }
        switch type {
        case 1:
            let wire: WireFiles_Response = try parse(body, message: "file response")
            return DecodedFileResponse(
                response: .list(try wire.plainList()), data: ByteBuffer())
        case 2:
            var decoder = FileReadDecoder()
            try body.withUnsafeReadableBytes { (bytes) throws(WireError) in
                try decoder.decode(bytes)
            }
            let response = try decoder.response()
            let range = decoder.data ?? 0..<0
            let data = body.getSlice(at: body.readerIndex + range.lowerBound, length: range.count)
            return DecodedFileResponse(response: .read(response), data: data ?? ByteBuffer())
        default:
            throw .unknownValue(field: "type", value: type)
        }
    }

    /// XXH64 (seed 0) of a chunk, as in ``FileChunk/digest``.
    public static func digest(of data: ByteBuffer) -> UInt64 {
        data.withUnsafeReadableBytes { XXH64($0.baseAddress, $0.count, 0) }
    }
}

/// The bytes around a chunk's data, so that the data can be read straight into its place.
///
/// Fields come in the order of their numbers, as real Pika writes them:
/// ```
/// length BE | 08 02 | 10 reader | 1a snapshot | 22 database | 28 00 | 30 01 ok
///   | 42 len { 08 end | 10 count | 18 offset | 22 data | 2a checksum | 32 filename | digest }
///   | request id, refusal (extensions)
/// ```
private struct FileChunkLayout {
    /// Extension field 1000, fixed64.
    static let digestTag: [UInt8] = [0xC1, 0x3E]
    private static let digestBytes = 10

    let head: [UInt8]
    let dataBytes: Int
    let tail: [UInt8]
    let extensions: [UInt8]
    let frameBytes: Int

    init(_ response: FileReadResponse, addsDigest: Bool) {
        guard let chunk = response.chunk else { preconditionFailure("a read response has a chunk") }
        dataBytes = Int(chunk.count)
        var chunkHead: [UInt8] = [0x08, chunk.isEnd ? 1 : 0, 0x10]
        appendVarint(chunk.count, to: &chunkHead)
        chunkHead.append(0x18)
        appendVarint(chunk.offset, to: &chunkHead)
        chunkHead.append(0x22)
        appendVarint(chunk.count, to: &chunkHead)

        var tail: [UInt8] = []
        appendText(chunk.checksum, tag: 0x2A, to: &tail)
        appendText(chunk.filename, tag: 0x32, to: &tail)

        var extensions: [UInt8] = []
        if let id = response.requestID {
            extensions += [0xC8, 0x3E]
            appendVarint(id, to: &extensions)
        }

        var head: [UInt8] = [0, 0, 0, 0, 0x08, 0x02, 0x10]
        appendVarint(UInt64(bitPattern: Int64(response.readerIndex)), to: &head)
        appendText(response.snapshotID, tag: 0x1A, to: &head)
        appendText(response.database, tag: 0x22, to: &head)
        head += [0x28, 0x00, 0x30, UInt8(truncatingIfNeeded: response.status.rawValue), 0x42]
        let digestBytes = addsDigest ? Self.digestBytes : 0
        appendVarint(UInt64(chunkHead.count + dataBytes + tail.count + digestBytes), to: &head)
        head += chunkHead

        frameBytes = head.count + dataBytes + tail.count + digestBytes + extensions.count
        let bodyBytes = UInt32(frameBytes - WireLimits.frameHeaderBytes)
        for index in 0..<4 {
            head[index] = UInt8(truncatingIfNeeded: bodyBytes >> (24 - 8 * UInt32(index)))
        }
        self.head = head
        self.tail = tail
        self.extensions = extensions
    }
}

private func appendText(_ text: String, tag: UInt8, to bytes: inout [UInt8]) {
    bytes.append(tag)
    appendVarint(UInt64(text.utf8.count), to: &bytes)
    bytes += Array(text.utf8)
}
