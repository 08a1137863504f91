public import NIOCore

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
        fatalError("skeleton")
    }

    /// Reads a request from a frame's body.
    public static func decodeRequest(_ body: ByteBuffer) throws(WireError) -> FileServiceRequest {
        fatalError("skeleton")
    }

    /// Appends a list response as one frame.
    public static func encode(_ response: FileListResponse, into buffer: inout ByteBuffer) {
        fatalError("skeleton")
    }

    /// Appends a refusal of a read request (a response without a chunk) as one frame.
    public static func encodeRefusal(_ response: FileReadResponse, into buffer: inout ByteBuffer) {
        fatalError("skeleton")
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
        fatalError("skeleton")
    }

    /// Reads a response from a frame's body; file data stays in place.
    ///
    /// The digest, if there is one, is *not* compared here (see ``digest(of:)``): that may be done
    /// on another thread.
    public static func decodeResponse(_ body: ByteBuffer) throws(WireError) -> DecodedFileResponse {
        fatalError("skeleton")
    }

    /// XXH64 (seed 0) of a chunk, as in ``FileChunk/digest``.
    public static func digest(of data: ByteBuffer) -> UInt64 {
        fatalError("skeleton")
    }
}
